//! PPO, the only learner that plays episodes during training.

use std::slice;

use ift_methods::{Ppo, RowScores};
use rand::Rng;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    error::LakeError,
    network::{ForwardPass, Gradient, Input, Network},
    optimizer::NetworkOptimizer,
    optimum::StateActionMatrix,
    training::{Trained, TrainingRun},
    training_curve::InputCounts,
    trajectory::{Trajectory, rollout},
    world::World,
};

/// PPO (arXiv 1707.06347). Each iteration plays some episodes with the policy and then takes some
/// training steps on their moves.
///
/// Advantages come from generalised advantage estimation (arXiv 1506.02438) with a critic, a
/// network of the same size with one output that is 0 at first. They are normalised over the moves
/// of all episodes of an iteration. An episode that the limit of moves cuts counts the critic's
/// value of its last cell.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PpoSettings {
    /// Episodes per iteration; 0 leaves PPO out of the study.
    #[schemars(range(max = 100_000))]
    pub episodes: usize,
    /// Training steps per iteration, each on all of its episodes. They count towards
    /// `training.steps`.
    #[schemars(range(min = 1, max = 100_000))]
    pub epochs: u64,
    /// Clipping range: the ratio between the new and the old probability of an action is clipped
    /// to `1 ± epsilon`; from 0 to 1e9.
    #[schemars(range(min = 0.0, max = 1e9))]
    pub epsilon: f64,
    /// λ of generalised advantage estimation, 0 to 1: with 1 an advantage is the return minus the
    /// critic's value, with 0 the temporal-difference error of one move.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub gae_lambda: f64,
}

impl Default for PpoSettings {
    fn default() -> Self {
        Self { episodes: 16, epochs: 4, epsilon: Ppo::default().epsilon, gae_lambda: 0.95 }
    }
}

impl PpoSettings {
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

/// Trains a policy by playing episodes. `observe` is called after every step, counted from 1.
///
/// The steps of the run are those of the policy; the critic takes as many. If a step diverges,
/// training ends, and `observe` is called for the remaining steps with the policy before that step.
pub(crate) fn train_online(
    world: &World,
    settings: &PpoSettings,
    discount: f64,
    run: TrainingRun,
    rng: &mut impl Rng,
    mut observe: impl FnMut(u64, &Network),
) -> Trained {
    let TrainingRun { start, training, steps } = run;
    let objective = settings.objective();
    // The critic starts at 0. With random initial values all advantages would be noise before the
    // first reward, and normalising would make that noise large enough to move the policy.
    let critic = Network::new(world.states(), training.hidden, 1, training.activation, rng);
    let mut critic = NetworkTrainer::new(critic.silenced(), &run);
    let mut actor = NetworkTrainer::new(start.clone(), &run);
    let mut counts = InputCounts::new(world.states(), steps);
    let mut before = start.clone();
    let mut step = 0;
    while step < steps {
        let policy = actor.network.policy(world.states());
        let episodes: Vec<_> =
            (0..settings.episodes).map(|_| rollout(world, &policy, rng)).collect();
        let values = values(world, &critic.network);
        let gae = Gae { world, values, discount, lambda: settings.gae_lambda };
        let batch = Moves::new(&episodes, &policy, &gae);
        for _ in 0..settings.epochs.min(steps - step) {
            batch.count(step, &mut counts);
            before.clone_from(&actor.network);
            actor.step(&batch.inputs, |pass| batch.actor_gradient(pass, &objective));
            critic.step(&batch.inputs, |pass| batch.critic_gradient(pass));
            if actor.network.diverged() || critic.network.diverged() {
                (step..steps).for_each(|step| observe(step + 1, &before));
                return Trained { network: before, inputs: counts, diverged: true };
            }
            step += 1;
            observe(step, &actor.network);
        }
    }
    Trained { network: actor.network, inputs: counts, diverged: false }
}

/// A network with its optimizer.
struct NetworkTrainer {
    network: Network,
    optimizer: NetworkOptimizer,
    gradient: Gradient,
}

impl NetworkTrainer {
    fn new(network: Network, run: &TrainingRun) -> Self {
        let optimizer = run.optimizer(&network);
        Self { optimizer, gradient: Gradient::new(&network), network }
    }

    /// Takes a training step, given the gradient of the loss at the outputs for `inputs`.
    fn step(&mut self, inputs: &[Input], derivatives: impl FnOnce(&ForwardPass) -> Vec<f64>) {
        let pass = self.network.forward(inputs);
        self.network.backward(inputs, &pass, &derivatives(&pass), &mut self.gradient);
        self.optimizer.step(&mut self.network, &mut self.gradient);
    }
}

/// The critic's value of each state; 0 for terminal states. `[states]`
fn values(world: &World, critic: &Network) -> Vec<f64> {
    let inputs: Vec<_> = (0..world.states()).map(Input::at).collect();
    let pass = critic.forward(&inputs);
    (0..world.states())
        .map(|state| if world.is_terminal(state) { 0.0 } else { pass.outputs(state)[0] })
        .collect()
}

/// Generalised advantage estimation.
struct Gae<'a> {
    world: &'a World,
    values: Vec<f64>,
    discount: f64,
    lambda: f64,
}

impl Gae<'_> {
    /// Advantages of the moves of an episode, `A[t] = δ[t] + γλ·A[t+1]` with `δ[t] = r[t] +
    /// γ·V(s[t+1]) - V(s[t])`.
    fn advantages(&self, episode: &Trajectory) -> Vec<f64> {
        let (mut arrived, mut advantage) = (episode.end, 0.0);
        let mut advantages: Vec<_> = episode
            .visits
            .iter()
            .rev()
            .map(|visit| {
                let transitions = self.world.transitions(visit.state, visit.action);
                let reward = transitions
                    .iter()
                    .find(|outcome| outcome.state == arrived)
                    .map_or(0.0, |o| o.reward);
                let error =
                    reward + self.discount * self.values[arrived] - self.values[visit.state];
                advantage = error + self.discount * self.lambda * advantage;
                arrived = visit.state;
                advantage
            })
            .collect();
        advantages.reverse();
        advantages
    }
}

/// The moves of some episodes, one after the other; the objective does not need to know where an
/// episode ends.
struct Moves {
    /// The states of the moves, each once.
    inputs: Vec<Input>,
    /// Number of moves from each of these states.
    times: Vec<f64>,
    /// By move: index of its state in `inputs`.
    slots: Vec<usize>,
    /// By move: number of its action.
    actions: Vec<usize>,
    /// By move: log-probability of its action under the policy that played it.
    logps: Vec<f64>,
    /// By move: its advantage, normalised to mean 0 and standard deviation 1 over all moves.
    advantages: Vec<f64>,
    /// By move: the target of the critic.
    returns: Vec<f64>,
}

impl Moves {
    fn new(episodes: &[Trajectory], policy: &StateActionMatrix, gae: &Gae) -> Self {
        let visits = || episodes.iter().flat_map(|episode| &episode.visits);
        let mut states: Vec<_> = visits().map(|visit| visit.state).collect();
        states.sort_unstable();
        states.dedup();
        let mut slot_of = vec![0; policy.len()];
        for (slot, &state) in states.iter().enumerate() {
            slot_of[state] = slot;
        }
        let slots: Vec<_> = visits().map(|visit| slot_of[visit.state]).collect();
        let mut times = vec![0.0; states.len()];
        for &slot in &slots {
            times[slot] += 1.0;
        }
        let mut advantages: Vec<_> =
            episodes.iter().flat_map(|episode| gae.advantages(episode)).collect();
        let returns =
            visits().zip(&advantages).map(|(visit, advantage)| gae.values[visit.state] + advantage);
        let returns = returns.collect();
        normalise(&mut advantages);
        Self {
            inputs: states.into_iter().map(Input::at).collect(),
            times,
            slots,
            actions: visits().map(|visit| visit.action.index()).collect(),
            logps: visits().map(|visit| policy[visit.state][visit.action.index()].ln()).collect(),
            advantages,
            returns,
        }
    }

    /// Counts the states of all moves as the inputs of a step.
    fn count(&self, step: u64, counts: &mut InputCounts) {
        counts.add(step, self.inputs.iter().copied().zip(self.times.iter().copied()));
    }

    /// Gradient of PPO's loss, the mean over moves, at the logits of the states.
    fn actor_gradient(&self, pass: &ForwardPass, objective: &Ppo) -> Vec<f64> {
        let logs = pass.log_probabilities();
        let moves = || self.slots.iter().zip(&self.actions);
        let logps: Vec<_> = moves().map(|(&slot, &action)| logs[slot][action]).collect();
        let row = RowScores { logps: &logps, reference: &self.logps, ..RowScores::default() };
        let mut by_action = vec![[0.0; 4]; self.inputs.len()];
        for loss in objective.losses(&[row], slice::from_ref(&self.advantages)) {
            for ((&slot, &action), derivative) in moves().zip(&loss.gradient) {
                by_action[slot][action] += derivative / loss.count;
            }
        }
        // A gradient `g` at a log-probability is `g·(onehot − p)` at the logits; the gradients of
        // all moves from a state are added.
        let mut derivatives = Vec::with_capacity(4 * self.inputs.len());
        for (by_action, logs) in by_action.iter().zip(&logs) {
            let all: f64 = by_action.iter().sum();
            derivatives.extend(
                by_action.iter().zip(logs).map(|(derivative, log)| derivative - all * log.exp()),
            );
        }
        derivatives
    }

    /// Gradient of half the mean squared error of the critic at its outputs for the states.
    fn critic_gradient(&self, pass: &ForwardPass) -> Vec<f64> {
        let mut derivatives = vec![0.0; self.inputs.len()];
        for (&slot, target) in self.slots.iter().zip(&self.returns) {
            derivatives[slot] += (pass.outputs(slot)[0] - target) / self.returns.len() as f64;
        }
        derivatives
    }
}

/// Normalises to mean 0 and standard deviation 1. Equal values all become 0.
fn normalise(values: &mut [f64]) {
    let count = values.len().max(1) as f64;
    let mean = values.iter().sum::<f64>() / count;
    let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / count;
    for value in values {
        *value = (*value - mean) / (variance.sqrt() + 1e-8);
    }
}

#[cfg(test)]
mod tests;
