//! Policies that are fitted to given distributions of actions: the fitted policy and the initial
//! policy `both`.

use crate::{
    network::{Gradient, Input, Network},
    optimizer::{LearningRate, NetworkOptimizer, Rule},
    optimum::StateActionMatrix,
    settings::BothSettings,
    softmax::softmax,
    trajectory::Trajectory,
    world::World,
};

/// Learning rate of the fits. It does not follow the settings, nor does the optimizer, Adam:
/// policies are measured against the fitted policy, and `both` stands for a given base model, so
/// that both must be the same for all settings of training.
const FIT_LR: f64 = 0.01;

/// Examples that share a part of the loss of a fit: `share` times the mean of their cross-entropy.
struct Part {
    share: f64,
    /// States, each with the probabilities of its actions that the policy should have.
    examples: Vec<(usize, [f64; 4])>,
}

/// Fits a policy to the optimal state-action matrix on all non-terminal states: the paper's optimal
/// parameterised policy.
pub(crate) fn fit_optimum(
    world: &World,
    optimum: &StateActionMatrix,
    start: &Network,
    steps: u64,
) -> Network {
    let examples = world.non_terminal().map(|state| (state, optimum[state])).collect();
    fit(&[Part { share: 1.0, examples }], start, steps)
}

/// Fits a policy to the actions of two trajectories: the initial policy `both`. The loss has the
/// mean over the moves of `optimal` with the share of the settings and the mean over those of
/// `suboptimal` with the rest.
pub(crate) fn fit_both(
    optimal: &Trajectory,
    suboptimal: &Trajectory,
    start: &Network,
    settings: &BothSettings,
) -> Network {
    let part = |trajectory: &Trajectory, share| {
        let examples = trajectory.visits.iter().map(|visit| {
            let mut target = [0.0; 4];
            target[visit.action.index()] = 1.0;
            (visit.state, target)
        });
        Part { share, examples: examples.collect() }
    };
    let share = settings.share;
    fit(&[part(optimal, share), part(suboptimal, 1.0 - share)], start, settings.steps)
}

/// Fits a policy by Adam on the sum of the losses of all parts.
fn fit(parts: &[Part], start: &Network, steps: u64) -> Network {
    let mut network = start.clone();
    let lr = LearningRate::constant(FIT_LR);
    let mut optimizer = NetworkOptimizer::new(Rule::Adam, &network, lr);
    let mut gradient = Gradient::new(&network);
    let examples = || parts.iter().flat_map(|part| part.examples.iter().map(move |it| (part, it)));
    let inputs: Vec<_> = examples().map(|(_, &(state, _))| Input::at(state)).collect();
    for _ in 0..steps {
        let pass = network.forward(&inputs);
        let mut derivatives = Vec::with_capacity(4 * inputs.len());
        for (slot, (part, (_, target))) in examples().enumerate() {
            let policy = softmax(pass.outputs(slot));
            let count = part.examples.len() as f64;
            derivatives
                .extend(policy.iter().zip(target).map(|(p, t)| part.share * (p - t) / count));
        }
        network.backward(&inputs, &pass, &derivatives, &mut gradient);
        optimizer.step(&mut network, &mut gradient);
    }
    network
}

#[cfg(test)]
mod tests;
