//! PPO: the one method that plays in the world while it learns.

use std::slice;

use ift_methods::{Ppo, RowScores};
use rand::Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    error::LakeError,
    network::{Gradient, Input, Network, Pass},
    optimizer::Optimizer,
    optimum::Matrix,
    softmax::log_softmax,
    training::{Trained, Training},
    trajectory::{Trajectory, rollout},
    world::World,
};

/// PPO (arXiv 1707.06347): the policy plays some episodes, then takes some steps on what it met
/// there, and again.
///
/// Advantages are estimated with a critic, a network of the policy's shape with one output that
/// expects nothing at first (generalised advantage estimation, arXiv 1506.02438), and normalised
/// over the moves of all episodes. An episode that is cut by the limit of moves counts what the
/// critic expects of the cell it was cut in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Online {
    /// Episodes that are played before the steps on them; 0 leaves PPO out of the study.
    #[schemars(range(max = 100_000))]
    pub episodes: usize,
    /// Steps on the same episodes, each on all of them. Every one is one of `training.steps`.
    #[schemars(range(min = 1, max = 100_000))]
    pub epochs: u64,
    /// How far the probability of an action may be moved from what it was in the episodes, as a
    /// share of it, 0 or more.
    #[schemars(range(min = 0.0))]
    pub epsilon: f64,
    /// Decay per move, besides the discount, of what the critic did not expect, 0 to 1: with 1 an
    /// advantage is the whole return less what was expected, with 0 that of one move.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub gae_lambda: f64,
}

impl Default for Online {
    fn default() -> Self {
        Self { episodes: 16, epochs: 4, epsilon: Ppo::default().epsilon, gae_lambda: 0.95 }
    }
}

impl Online {
    /// Checks ranges.
    ///
    /// # Errors
    /// Names the setting, what was found and what was expected.
    pub(crate) fn validate(&self) -> Result<(), LakeError> {
        let wrong = |field: &str, problem: String| {
            Err(LakeError::Setting { field: format!("ppo.{field}"), problem })
        };
        if self.epochs == 0 {
            return wrong("epochs", "is 0, expected 1 or more".to_owned());
        }
        if !(0.0..=1.0).contains(&self.gae_lambda) {
            return wrong(
                "gae_lambda",
                format!("is {}, expected a number from 0 to 1", self.gae_lambda),
            );
        }
        self.objective()
            .validate()
            .or_else(|error| wrong(error.field(), format!("is wrong: {error}")))
    }

    fn objective(&self) -> Ppo {
        Ppo { epsilon: self.epsilon }
    }
}

/// Trains a policy by playing, for some `steps` of the policy; the critic takes as many. `observe`
/// is told of every step done, counted from 1. The states that training looks at are those that the
/// policy acts in.
pub(crate) fn train_online(
    world: &World,
    settings: &Online,
    training: &Training,
    start: &Network,
    steps: u64,
    discount: f64,
    rng: &mut impl Rng,
    mut observe: impl FnMut(u64, &Network),
) -> Trained {
    let objective = settings.objective();
    // A critic that expects nothing: as long as nothing was rewarded there are no advantages, and
    // no noise of its initial weights that normalising would make large enough to move the
    // policy before it has found anything.
    let critic = Network::new(world.states(), training.hidden, 1, training.activation, rng);
    let mut critic = Learner::new(critic.silenced(), training);
    let mut actor = Learner::new(start.clone(), training);
    let mut explored = vec![false; world.states()];
    let mut before = start.clone();
    let mut step = 0;
    while step < steps {
        let policy = actor.network.policy(world.states());
        let episodes: Vec<_> =
            (0..settings.episodes).map(|_| rollout(world, &policy, rng)).collect();
        let values = values(world, &critic.network);
        let gae = Gae { world, values, discount, lambda: settings.gae_lambda };
        let batch = Batch::new(&episodes, &policy, &gae);
        for input in &batch.inputs {
            explored[input.state] = true;
        }
        for _ in 0..settings.epochs.min(steps - step) {
            before.clone_from(&actor.network);
            actor.step(&batch.inputs, |pass| batch.actor_slopes(pass, &objective));
            critic.step(&batch.inputs, |pass| batch.critic_slopes(pass));
            if actor.network.diverged() || critic.network.diverged() {
                (step..steps).for_each(|step| observe(step + 1, &before));
                return Trained { network: before, explored, diverged: true };
            }
            step += 1;
            observe(step, &actor.network);
        }
    }
    Trained { network: actor.network, explored, diverged: false }
}

/// A network that learns.
struct Learner {
    network: Network,
    optimizer: Optimizer,
    gradient: Gradient,
}

impl Learner {
    fn new(network: Network, training: &Training) -> Self {
        let optimizer = Optimizer::new(training.optimizer, &network, training.lr);
        Self { optimizer, gradient: Gradient::new(&network), network }
    }

    /// A step down a loss, given its slopes at the outputs for the inputs.
    fn step(&mut self, inputs: &[Input], slopes: impl FnOnce(&Pass) -> Vec<f64>) {
        let pass = self.network.forward(inputs);
        self.network.backward(inputs, &pass, &slopes(&pass), &mut self.gradient);
        self.optimizer.step(&mut self.network, &mut self.gradient);
    }
}

/// What the critic expects to follow each state: 0 where nothing does. `[states]`
fn values(world: &World, critic: &Network) -> Vec<f64> {
    let inputs: Vec<_> = (0..world.states()).map(Input::at).collect();
    let pass = critic.forward(&inputs);
    (0..world.states())
        .map(|state| if world.is_terminal(state) { 0.0 } else { pass.outputs(state)[0] })
        .collect()
}

/// How much better moves were than expected.
struct Gae<'a> {
    world: &'a World,
    values: Vec<f64>,
    discount: f64,
    lambda: f64,
}

impl Gae<'_> {
    /// Generalised advantages of an episode's moves, `A[t] = δ[t] + γλ·A[t+1]` with `δ[t] = r[t] +
    /// γ·V(s[t+1]) - V(s[t])`.
    fn advantages(&self, episode: &Trajectory) -> Vec<f64> {
        let (mut arrived, mut advantage) = (episode.end, 0.0);
        let mut advantages: Vec<_> = episode
            .visits
            .iter()
            .rev()
            .map(|visit| {
                let outcomes = self.world.outcomes(visit.state, visit.action);
                let reward = outcomes
                    .iter()
                    .find(|outcome| outcome.state == arrived)
                    .map_or(0.0, |o| o.reward);
                let surprise =
                    reward + self.discount * self.values[arrived] - self.values[visit.state];
                advantage = surprise + self.discount * self.lambda * advantage;
                arrived = visit.state;
                advantage
            })
            .collect();
        advantages.reverse();
        advantages
    }
}

/// The moves of some episodes, end to end: the objective knows no episodes.
struct Batch {
    /// The states they were made in, each once.
    inputs: Vec<Input>,
    /// By move, the place of its state among the inputs.
    slots: Vec<usize>,
    /// By move, the number of its action.
    actions: Vec<usize>,
    /// By move, its log-probability when it was drawn.
    logps: Vec<f64>,
    /// By move, its advantage; over all moves of mean 0 and standard deviation 1.
    advantages: Vec<f64>,
    /// By move, what the critic should have expected.
    returns: Vec<f64>,
}

impl Batch {
    fn new(episodes: &[Trajectory], policy: &Matrix, gae: &Gae) -> Self {
        let visits = || episodes.iter().flat_map(|episode| &episode.visits);
        let mut states: Vec<_> = visits().map(|visit| visit.state).collect();
        states.sort_unstable();
        states.dedup();
        let mut slot_of = vec![0; policy.len()];
        for (slot, &state) in states.iter().enumerate() {
            slot_of[state] = slot;
        }
        let mut advantages: Vec<_> =
            episodes.iter().flat_map(|episode| gae.advantages(episode)).collect();
        let returns =
            visits().zip(&advantages).map(|(visit, advantage)| gae.values[visit.state] + advantage);
        let returns = returns.collect();
        normalise(&mut advantages);
        Self {
            inputs: states.into_iter().map(Input::at).collect(),
            slots: visits().map(|visit| slot_of[visit.state]).collect(),
            actions: visits().map(|visit| visit.action.index()).collect(),
            logps: visits().map(|visit| policy[visit.state][visit.action.index()].ln()).collect(),
            advantages,
            returns,
        }
    }

    /// Slopes of PPO's loss, the mean over moves, at the logits of the states.
    fn actor_slopes(&self, pass: &Pass, objective: &Ppo) -> Vec<f64> {
        let logs: Vec<_> =
            (0..self.inputs.len()).map(|slot| log_softmax(pass.outputs(slot))).collect();
        let moves = || self.slots.iter().zip(&self.actions);
        let logps: Vec<_> = moves().map(|(&slot, &action)| logs[slot][action]).collect();
        let row = RowScores { logps: &logps, reference: &self.logps, ..RowScores::default() };
        let mut by_action = vec![[0.0; 4]; self.inputs.len()];
        for loss in objective.losses(&[row], slice::from_ref(&self.advantages)) {
            for ((&slot, &action), slope) in moves().zip(&loss.gradient) {
                by_action[slot][action] += slope / loss.count;
            }
        }
        // A move's slope `g` at its log-probability is `g·(onehot − p)` at the logits; those of a
        // state add up.
        let mut slopes = Vec::with_capacity(4 * self.inputs.len());
        for (by_action, logs) in by_action.iter().zip(&logs) {
            let all: f64 = by_action.iter().sum();
            slopes.extend(by_action.iter().zip(logs).map(|(slope, log)| slope - all * log.exp()));
        }
        slopes
    }

    /// Slopes of half the mean squared error of the critic at its outputs for the states.
    fn critic_slopes(&self, pass: &Pass) -> Vec<f64> {
        let mut slopes = vec![0.0; self.inputs.len()];
        for (&slot, worth) in self.slots.iter().zip(&self.returns) {
            slopes[slot] += (pass.outputs(slot)[0] - worth) / self.returns.len() as f64;
        }
        slopes
    }
}

/// Scales to mean 0 and standard deviation 1, or leaves all at 0 if they are equal.
fn normalise(numbers: &mut [f64]) {
    let count = numbers.len().max(1) as f64;
    let mean = numbers.iter().sum::<f64>() / count;
    let variance = numbers.iter().map(|number| (number - mean).powi(2)).sum::<f64>() / count;
    for number in numbers {
        *number = (*number - mean) / (variance.sqrt() + 1e-8);
    }
}

#[cfg(test)]
mod tests;
