//! Training on given trajectories, with any method of `ift-methods`: what `ift-train` is to a
//! language model.
//!
//! A trajectory is a row: its actions are the targets, the states they were done in are what
//! precedes them. In IFT's second pass the input of step `t` is `(1-λ)·onehot(s[t]) +
//! λ·onehot(ŝ[t])`, with `ŝ[t]` the state that the greedy policy reaches from the expert's previous
//! state, on the ice as the expert met it there. The one-hot encoding is the constant
//! that the embedding table is to a language model's IFT; both layers learn.

use ift_methods::{KlDirection, LookAhead, Method, RowKind, RowScores};
use rand::{Rng, RngExt};

use crate::{
    action::Action,
    network::{Gradient, Input, Network, Pass},
    optimizer::Optimizer,
    softmax::{log_softmax, softmax},
    training::{Trained, Training},
    trajectory::{Trajectory, rollout},
    world::World,
};

/// What all methods of a scene learn from.
#[derive(Clone, Copy)]
pub(crate) struct Lesson<'a> {
    pub(crate) world: &'a World,
    pub(crate) optimal: &'a Trajectory,
    pub(crate) suboptimal: &'a Trajectory,
    /// Whether an episode of the policy itself, drawn anew at every step, takes the sub-optimal
    /// trajectory's place.
    pub(crate) own: bool,
}

/// Trains a policy from `start`, which is also the reference of methods that have one. `observe` is
/// told of every step done, counted from 1.
pub(crate) fn train_offline(
    lesson: Lesson,
    method: &Method,
    start: &Network,
    training: &Training,
    steps: u64,
    seed: u64,
    rng: &mut impl Rng,
    mut observe: impl FnMut(u64, &Network),
) -> Trained {
    let mut network = start.clone();
    let mut reference = start.clone();
    let mut optimizer = Optimizer::new(training.optimizer, &network, training.lr);
    let mut gradient = Gradient::new(&network);
    let mut explored = vec![false; lesson.world.states()];
    let mut before = start.clone();
    let given = Batch::new(lesson, method);
    let needs = method.needs();
    for step in 0..steps {
        if needs.old_policy.is_some_and(|window| step % window == 0) {
            reference.clone_from(&network);
        }
        let episode = (lesson.own && needs.rows.compares())
            .then(|| rollout(lesson.world, &network.policy(lesson.world.states()), rng));
        let drawn = episode
            .as_ref()
            .map(|episode| Batch::new(Lesson { suboptimal: episode, ..lesson }, method));
        let Batch { rows, plain } = drawn.as_ref().unwrap_or(&given);
        let lambda = method.lambda_at(step, training.warm_up(), seed);
        let mixed = method
            .look_ahead()
            .filter(|_| lambda > 0.0)
            .map(|look| plain.mixed(rows, lesson.world, method, look, lambda, &network, rng));
        let inputs = mixed.as_ref().unwrap_or(plain);
        inputs.mark(&mut explored);
        let reference = needs.reference.then(|| reference.forward(&inputs.distinct));
        accumulate(method, rows, inputs, &network, reference.as_ref(), &mut gradient);
        before.clone_from(&network);
        optimizer.step(&mut network, &mut gradient);
        if network.diverged() {
            (step..steps).for_each(|step| observe(step + 1, &before));
            return Trained { network: before, explored, diverged: true };
        }
        observe(step + 1, &network);
    }
    Trained { network, explored, diverged: false }
}

/// Adds the gradient of a step's mean loss; returns that loss.
fn accumulate(
    method: &Method,
    rows: &[Row],
    inputs: &Inputs,
    network: &Network,
    reference: Option<&Pass>,
    gradient: &mut Gradient,
) -> f64 {
    let needs = method.needs();
    let pass = network.forward(&inputs.distinct);
    let logs: Vec<_> =
        (0..inputs.distinct.len()).map(|slot| log_softmax(pass.outputs(slot))).collect();
    let reference: Vec<_> = reference
        .map(|pass| {
            (0..inputs.distinct.len()).map(|slot| log_softmax(pass.outputs(slot))).collect()
        })
        .unwrap_or_default();
    let scored: Vec<_> = rows
        .iter()
        .zip(&inputs.slots)
        .map(|(row, slots)| {
            let of_target = |logs: &[[f64; 4]]| -> Vec<f64> {
                if logs.is_empty() {
                    return Vec::new();
                }
                slots.iter().zip(&row.actions).map(|(&slot, &action)| logs[slot][action]).collect()
            };
            let divergence =
                |kind| slots.iter().map(|&s| divergence(kind, &reference[s], &logs[s]).0).collect();
            Scored {
                logps: of_target(&logs),
                reference: of_target(&reference),
                divergence: needs.divergence.map(divergence).unwrap_or_default(),
                entropy: needs
                    .entropy
                    .map(|top| slots.iter().map(|&slot| entropy(&logs[slot], top)).collect())
                    .unwrap_or_default(),
            }
        })
        .collect();
    let scores: Vec<_> = rows.iter().zip(&scored).map(|(row, scored)| scored.scores(row)).collect();
    // Both trajectories begin in the same state: one's mismatched sequence is the other.
    let kl_point = method.kl_point(&scores);
    let losses = method.losses(&scores, kl_point);
    let count: f64 = losses.iter().map(|loss| loss.count).sum();

    let mut slopes = vec![0.0; 4 * inputs.distinct.len()];
    for ((row, slots), loss) in rows.iter().zip(&inputs.slots).zip(&losses) {
        for (target, &slot) in slots.iter().enumerate() {
            let slopes = &mut slopes[4 * slot..4 * slot + 4];
            let slope = loss.gradient[target] / count;
            for (action, (total, log)) in slopes.iter_mut().zip(&logs[slot]).enumerate() {
                *total += slope * (f64::from(u8::from(action == row.actions[target])) - log.exp());
            }
            if let (Some(kind), Some(slope)) =
                (needs.divergence, loss.divergence_gradient.get(target))
            {
                let (_, by_logit) = divergence(kind, &reference[slot], &logs[slot]);
                for (total, part) in slopes.iter_mut().zip(by_logit) {
                    *total += slope / count * part;
                }
            }
        }
    }
    network.backward(&inputs.distinct, &pass, &slopes, gradient);
    losses.iter().map(|loss| loss.sum).sum::<f64>() / count
}

/// The rows of a step, and the inputs for their states as they are.
struct Batch<'a> {
    rows: Vec<Row<'a>>,
    plain: Inputs,
}

impl<'a> Batch<'a> {
    fn new(lesson: Lesson<'a>, method: &Method) -> Self {
        let rows = Row::of(lesson, method);
        Self { plain: Inputs::plain(&rows), rows }
    }
}

/// A trajectory as a method sees it.
struct Row<'a> {
    trajectory: &'a Trajectory,
    chosen: bool,
    /// `[targets]`
    actions: Vec<usize>,
    /// `[targets]`
    positions: Vec<usize>,
}

impl<'a> Row<'a> {
    /// The rows that a method learns from, in the order it wants them.
    fn of(lesson: Lesson<'a>, method: &Method) -> Vec<Self> {
        let row = |trajectory: &'a Trajectory, chosen| Self {
            trajectory,
            chosen,
            actions: trajectory.visits.iter().map(|visit| visit.action.index()).collect(),
            positions: (1..=trajectory.visits.len()).collect(),
        };
        match method.needs().rows {
            RowKind::Text | RowKind::Demonstration => vec![row(lesson.optimal, true)],
            RowKind::Pair | RowKind::Judged => {
                vec![row(lesson.optimal, true), row(lesson.suboptimal, false)]
            }
        }
    }
}

/// What is known of a row's targets, each `[targets]` or empty.
struct Scored {
    logps: Vec<f64>,
    reference: Vec<f64>,
    divergence: Vec<f64>,
    entropy: Vec<f64>,
}

impl Scored {
    fn scores<'a>(&'a self, row: &'a Row) -> RowScores<'a> {
        RowScores {
            logps: &self.logps,
            positions: &row.positions,
            reference: &self.reference,
            divergence: &self.divergence,
            entropy: &self.entropy,
            chosen: row.chosen,
        }
    }
}

/// What the network is given in a step: every distinct input once.
struct Inputs {
    distinct: Vec<Input>,
    /// For each row, the input of each target.
    slots: Vec<Vec<usize>>,
}

impl Inputs {
    fn new(rows: impl Iterator<Item = Vec<Input>>) -> Self {
        let mut distinct: Vec<Input> = Vec::new();
        let mut slot = |input: Input| {
            distinct.iter().position(|&known| known == input).unwrap_or_else(|| {
                distinct.push(input);
                distinct.len() - 1
            })
        };
        let slots = rows.map(|row| row.into_iter().map(&mut slot).collect()).collect();
        Self { distinct, slots }
    }

    /// The states as they were.
    fn plain(rows: &[Row]) -> Self {
        Self::new(
            rows.iter()
                .map(|row| row.trajectory.visits.iter().map(|v| Input::at(v.state)).collect()),
        )
    }

    /// The states of the second pass. The first has nothing before it and stays as it is.
    fn mixed(
        &self,
        rows: &[Row],
        world: &World,
        method: &Method,
        look: LookAhead,
        lambda: f64,
        network: &Network,
        rng: &mut impl Rng,
    ) -> Self {
        let pass = network.forward(&self.distinct);
        Self::new(rows.iter().zip(&self.slots).map(|(row, slots)| {
            let visits = &row.trajectory.visits;
            let mut inputs: Vec<_> = visits.iter().map(|visit| Input::at(visit.state)).collect();
            for ((before, &slot), input) in visits.iter().zip(slots).zip(inputs.iter_mut().skip(1))
            {
                let action = choose(look, pass.outputs(slot), rng);
                let reached = world.arrive(before.state, action, before.turn);
                if !method.replaces_tokens() {
                    *input = Input { state: input.state, other: reached, share: lambda };
                } else if rng.random::<f64>() < lambda {
                    *input = Input::at(reached);
                }
            }
            inputs
        }))
    }

    fn mark(&self, explored: &mut [bool]) {
        for input in &self.distinct {
            if input.share < 1.0 {
                explored[input.state] = true;
            }
            if input.share > 0.0 {
                explored[input.other] = true;
            }
        }
    }
}

/// The action of the first pass.
fn choose(look: LookAhead, logits: &[f64], rng: &mut impl Rng) -> Action {
    match look {
        LookAhead::Greedy => ranked(logits, 1),
        LookAhead::TopK { k } => ranked(logits, k),
        LookAhead::Sample { temperature } => {
            let scaled: Vec<_> = logits.iter().map(|logit| logit / temperature).collect();
            let mut left = rng.random::<f64>();
            let chances = softmax(&scaled);
            let drawn = Action::ALL.into_iter().zip(chances).find(|&(_, chance)| {
                left -= chance;
                left < 0.0
            });
            drawn.map_or(Action::Up, |(action, _)| action)
        }
    }
}

/// The `k`-th most probable action, counted from 1; of equal ones the first.
fn ranked(logits: &[f64], k: usize) -> Action {
    let mut actions = Action::ALL;
    actions.sort_by(|a, b| logits[b.index()].total_cmp(&logits[a.index()]));
    actions[k.clamp(1, actions.len()) - 1]
}

/// A divergence between reference and policy, nats, and its derivatives by the policy's logits.
fn divergence(kind: KlDirection, reference: &[f64; 4], policy: &[f64; 4]) -> (f64, [f64; 4]) {
    let (p, r) = (policy.map(f64::exp), reference.map(f64::exp));
    let terms = |weights: &[f64; 4], over: &[f64; 4], under: &[f64; 4]| -> f64 {
        weights
            .iter()
            .zip(over.iter().zip(under))
            .map(|(w, (over, under))| w * (over - under))
            .sum()
    };
    match kind {
        KlDirection::Forward => {
            (terms(&r, reference, policy), std::array::from_fn(|action| p[action] - r[action]))
        }
        KlDirection::Reverse => {
            let value = terms(&p, policy, reference);
            (
                value,
                std::array::from_fn(|action| {
                    p[action] * (policy[action] - reference[action] - value)
                }),
            )
        }
    }
}

/// Entropy of the most probable actions, scaled to sum to 1, nats.
fn entropy(logs: &[f64; 4], top: usize) -> f64 {
    let mut sorted = *logs;
    sorted.sort_by(|a, b| b.total_cmp(a));
    let kept = &sorted[..top.min(sorted.len())];
    let total: f64 = kept.iter().map(|log| log.exp()).sum();
    kept.iter().map(|log| log.exp() / total).map(|p| if p > 0.0 { -p * p.ln() } else { 0.0 }).sum()
}

#[cfg(test)]
mod tests;
