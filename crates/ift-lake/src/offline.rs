//! Training on given trajectories with the methods of `ift-methods`.
//!
//! A trajectory is a row: its actions are the targets, and the state of each move is the input that
//! predicts it. In the second pass of IFT the input of move `t` is `(1-λ)·onehot(s[t]) +
//! λ·onehot(ŝ[t])`. Here `ŝ[t]` is the state that the greedy policy reaches from the previous state
//! of the trajectory, with the slip of that move. The one-hot encoding takes the place of the
//! embedding table of a language model: IFT treats both as constants. Both layers are trained.

use ift_methods::{KlDirection, LookAhead, Method, RowScores};
use rand::{Rng, RngExt};

use crate::{
    action::Action,
    network::{Gradient, Input, Network},
    softmax::softmax,
    training::{Trained, TrainingRun},
    training_curve::InputCounts,
    trajectory::{Trajectory, rollout},
    world::World,
};

/// The trajectories of a scene, which all methods are trained on.
#[derive(Clone, Copy)]
pub(crate) struct TrajectoryPair<'a> {
    pub(crate) world: &'a World,
    pub(crate) optimal: &'a Trajectory,
    /// What methods on pairs reject. Other methods do not read it.
    pub(crate) rejected: Rejected<'a>,
}

/// What methods on pairs reject.
#[derive(Clone, Copy)]
pub(crate) enum Rejected<'a> {
    /// Nothing: the method is not one on pairs.
    Nothing,
    /// A trajectory.
    Given(&'a Trajectory),
    /// A new episode of the policy that is trained, at every step.
    Own,
}

/// Trains a policy with a method. `observe` is called after every step, counted from 1.
///
/// The initial policy is also the reference of methods that have one. If a step diverges, training
/// ends, and `observe` is called for the remaining steps with the policy before that step.
pub(crate) fn train_offline(
    pair: TrajectoryPair,
    method: &Method,
    run: TrainingRun,
    seed: u64,
    rng: &mut impl Rng,
    mut observe: impl FnMut(u64, &Network),
) -> Trained {
    let TrainingRun { start, steps, .. } = run;
    let needs = method.needs();
    let compares = needs.rows.compares();
    debug_assert!(!(compares && matches!(pair.rejected, Rejected::Nothing)), "nothing to reject");
    let own = compares && matches!(pair.rejected, Rejected::Own);
    let mut network = start.clone();
    let mut reference = start.clone();
    let mut optimizer = run.optimizer(&network);
    let mut gradient = Gradient::new(&network);
    let mut counts = InputCounts::new(pair.world.states(), steps);
    let mut before = start.clone();
    let given = RowsWithInputs::new(pair, method);
    // Log-probabilities of the reference for the inputs of `given`, once they are known.
    let mut given_reference = None;
    for step in 0..steps {
        if needs.old_policy.is_some_and(|window| step % window == 0) {
            reference.clone_from(&network);
            given_reference = None;
        }
        let episode = own.then(|| rollout(pair.world, &network.policy(pair.world.states()), rng));
        let drawn = episode.as_ref().map(|episode| {
            RowsWithInputs::new(
                TrajectoryPair { rejected: Rejected::Given(episode), ..pair },
                method,
            )
        });
        let RowsWithInputs { rows, plain } = drawn.as_ref().unwrap_or(&given);
        let lambda = method.lambda_at(step, run.lambda_warmup(), seed);
        let mixed = method.look_ahead().filter(|_| lambda > 0.0).map(|look_ahead| {
            let first =
                FirstPass { look_ahead, lambda, replaces: method.replaces_tokens(), rows, plain };
            first.mixed(pair.world, &network, rng)
        });
        let inputs = mixed.as_ref().unwrap_or(plain);
        inputs.count(step, &mut counts);
        let score = || reference.forward(&inputs.distinct).log_probabilities();
        let scored;
        let reference: &[_] = if !needs.reference {
            &[]
        } else if drawn.is_none() && mixed.is_none() {
            given_reference.get_or_insert_with(score)
        } else {
            scored = score();
            &scored
        };
        accumulate(method, rows, inputs, &network, reference, &mut gradient);
        before.clone_from(&network);
        optimizer.step(&mut network, &mut gradient);
        if network.diverged() {
            (step..steps).for_each(|step| observe(step + 1, &before));
            return Trained { network: before, inputs: counts, diverged: true };
        }
        observe(step + 1, &network);
    }
    Trained { network, inputs: counts, diverged: false }
}

/// Adds the gradient of the mean loss of a step to `gradient` and returns the loss. `reference` has
/// the log-probabilities of the reference by distinct input; it is empty if the method needs none.
fn accumulate(
    method: &Method,
    rows: &[TrajectoryRow],
    inputs: &Inputs,
    network: &Network,
    reference: &[[f64; 4]],
    gradient: &mut Gradient,
) -> f64 {
    let needs = method.needs();
    let pass = network.forward(&inputs.distinct);
    let logs = pass.log_probabilities();
    let probabilities: Vec<_> = logs.iter().map(|logs| logs.map(f64::exp)).collect();
    let divergences: Vec<_> = needs
        .divergence
        .map(|kind| {
            let pairs = reference.iter().zip(&logs);
            pairs.map(|(reference, logs)| divergence(kind, reference, logs)).collect()
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
            let divergence = |_| slots.iter().map(|&slot| divergences[slot].0).collect();
            TargetScores {
                logps: of_target(&logs),
                reference: of_target(reference),
                divergence: needs.divergence.map(divergence).unwrap_or_default(),
                entropy: needs
                    .entropy
                    .map(|top| slots.iter().map(|&slot| entropy(&logs[slot], top)).collect())
                    .unwrap_or_default(),
            }
        })
        .collect();
    let scores: Vec<_> = rows.iter().zip(&scored).map(|(row, scored)| scored.scores(row)).collect();
    // Both trajectories start in the same state, so each is the mismatched sequence of the other.
    let kl_point = method.kl_point(&scores);
    let losses = method.losses(&scores, kl_point);
    let count: f64 = losses.iter().map(|loss| loss.count).sum();

    let mut derivatives = vec![0.0; 4 * inputs.distinct.len()];
    for ((row, slots), loss) in rows.iter().zip(&inputs.slots).zip(&losses) {
        for (target, &slot) in slots.iter().enumerate() {
            let derivatives = &mut derivatives[4 * slot..4 * slot + 4];
            let derivative = loss.gradient[target] / count;
            let chances = derivatives.iter_mut().zip(&probabilities[slot]);
            for (action, (total, chance)) in chances.enumerate() {
                *total +=
                    derivative * (f64::from(u8::from(action == row.actions[target])) - chance);
            }
            if let (Some((_, by_logit)), Some(derivative)) =
                (divergences.get(slot), loss.divergence_gradient.get(target))
            {
                for (total, part) in derivatives.iter_mut().zip(by_logit) {
                    *total += derivative / count * part;
                }
            }
        }
    }
    network.backward(&inputs.distinct, &pass, &derivatives, gradient);
    losses.iter().map(|loss| loss.sum).sum::<f64>() / count
}

/// The rows of a step and their inputs without look-ahead.
struct RowsWithInputs<'a> {
    rows: Vec<TrajectoryRow<'a>>,
    plain: Inputs,
}

impl<'a> RowsWithInputs<'a> {
    fn new(pair: TrajectoryPair<'a>, method: &Method) -> Self {
        let rows = TrajectoryRow::of(pair, method);
        Self { plain: Inputs::plain(&rows), rows }
    }
}

/// A trajectory as a row of a method.
struct TrajectoryRow<'a> {
    trajectory: &'a Trajectory,
    chosen: bool,
    /// The target of each move: the number of its action. `[targets]`
    actions: Vec<usize>,
    /// Position of each target in the row, counted from 1. `[targets]`
    positions: Vec<usize>,
}

impl<'a> TrajectoryRow<'a> {
    /// The rows that a method is trained on, in the order that it expects.
    fn of(pair: TrajectoryPair<'a>, method: &Method) -> Vec<Self> {
        let row = |trajectory: &'a Trajectory, chosen| Self {
            trajectory,
            chosen,
            actions: trajectory.visits.iter().map(|visit| visit.action.index()).collect(),
            positions: (1..=trajectory.visits.len()).collect(),
        };
        let mut rows = vec![row(pair.optimal, true)];
        if let Rejected::Given(rejected) = pair.rejected
            && method.needs().rows.compares()
        {
            rows.push(row(rejected, false));
        }
        rows
    }
}

/// Scores of the targets of a row, each `[targets]`; empty if the method does not need them.
struct TargetScores {
    logps: Vec<f64>,
    reference: Vec<f64>,
    divergence: Vec<f64>,
    entropy: Vec<f64>,
}

impl TargetScores {
    fn scores<'a>(&'a self, row: &'a TrajectoryRow) -> RowScores<'a> {
        RowScores {
            logps: &self.logps,
            positions: &row.positions,
            reference: &self.reference,
            divergence: &self.divergence,
            entropy: &self.entropy,
            chosen: row.chosen,
            ..RowScores::default()
        }
    }
}

/// The inputs of a step, each distinct one once.
struct Inputs {
    distinct: Vec<Input>,
    /// By row, by target: index of its input in `distinct`.
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

    /// The inputs without look-ahead: the states of the trajectories.
    fn plain(rows: &[TrajectoryRow]) -> Self {
        Self::new(
            rows.iter()
                .map(|row| row.trajectory.visits.iter().map(|v| Input::at(v.state)).collect()),
        )
    }

    /// Counts the inputs of all targets of a step.
    fn count(&self, step: u64, counts: &mut InputCounts) {
        let slots = self.slots.iter().flatten();
        counts.add(step, slots.map(|&slot| (self.distinct[slot], 1.0)));
    }
}

/// The first pass of a method with a look-ahead, and the settings of its second pass.
struct FirstPass<'a> {
    look_ahead: LookAhead,
    /// Share of the look-ahead state in an input, or the probability that it replaces the state.
    lambda: f64,
    /// Whether look-ahead states replace states instead of being mixed with them.
    replaces: bool,
    rows: &'a [TrajectoryRow<'a>],
    /// The inputs of the first pass.
    plain: &'a Inputs,
}

impl FirstPass<'_> {
    /// The inputs of the second pass. The first input of each row stays as it is, since no move
    /// precedes it.
    fn mixed(&self, world: &World, network: &Network, rng: &mut impl Rng) -> Inputs {
        let pass = network.forward(&self.plain.distinct);
        Inputs::new(self.rows.iter().zip(&self.plain.slots).map(|(row, slots)| {
            let visits = &row.trajectory.visits;
            let mut inputs: Vec<_> = visits.iter().map(|visit| Input::at(visit.state)).collect();
            for ((before, &slot), input) in visits.iter().zip(slots).zip(inputs.iter_mut().skip(1))
            {
                let action = choose(self.look_ahead, pass.outputs(slot), rng);
                let reached = world.arrive(before.state, action, before.turn);
                if !self.replaces {
                    *input = Input { state: input.state, other: reached, share: self.lambda };
                } else if rng.random::<f64>() < self.lambda {
                    *input = Input::at(reached);
                }
            }
            inputs
        }))
    }
}

/// The action that the look-ahead takes.
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

/// The `k`-th most probable action, `k` counted from 1. Among equally probable actions the one with
/// the lower number is first.
fn ranked(logits: &[f64], k: usize) -> Action {
    let mut actions = Action::ALL;
    actions.sort_by(|a, b| logits[b.index()].total_cmp(&logits[a.index()]));
    actions[k.clamp(1, actions.len()) - 1]
}

/// A divergence between reference and policy, nats, and its gradient at the logits of the policy.
/// Arguments are log-probabilities.
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

/// Entropy of the `top` most probable actions, whose probabilities are scaled to sum to 1, nats.
fn entropy(logs: &[f64; 4], top: usize) -> f64 {
    let mut sorted = *logs;
    sorted.sort_by(|a, b| b.total_cmp(a));
    let kept = &sorted[..top.min(sorted.len())];
    let total: f64 = kept.iter().map(|log| log.exp()).sum();
    kept.iter().map(|log| log.exp() / total).map(|p| if p > 0.0 { -p * p.ln() } else { 0.0 }).sum()
}

#[cfg(test)]
mod tests;
