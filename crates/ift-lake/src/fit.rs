//! The fitted policy: a network that is fitted to the optimal state-action matrix (the paper's
//! optimal parameterised policy).

use crate::{
    network::{Gradient, Input, Network},
    optimizer::{NetworkOptimizer, Rule},
    optimum::StateActionMatrix,
    softmax::softmax,
    training::TrainingSettings,
    world::World,
};

/// Learning rate of the fit. It does not follow the settings: policies are measured against the
/// fitted policy, which must be the same for all settings.
const FIT_LR: f64 = 0.01;

/// Fits a policy to a matrix of action probabilities by Adam on the cross-entropy, the mean over
/// non-terminal states.
pub(crate) fn fit(
    world: &World,
    target: &StateActionMatrix,
    start: &Network,
    training: &TrainingSettings,
) -> Network {
    let mut network = start.clone();
    let mut optimizer = NetworkOptimizer::new(Rule::Adam, &network, FIT_LR);
    let mut gradient = Gradient::new(&network);
    let inputs: Vec<_> = world.non_terminal().map(Input::at).collect();
    let count = inputs.len().max(1) as f64;
    for _ in 0..training.fit_steps {
        let pass = network.forward(&inputs);
        let mut derivatives = Vec::with_capacity(4 * inputs.len());
        for (slot, input) in inputs.iter().enumerate() {
            let policy = softmax(pass.outputs(slot));
            derivatives
                .extend(policy.iter().zip(&target[input.state]).map(|(p, t)| (p - t) / count));
        }
        network.backward(&inputs, &pass, &derivatives, &mut gradient);
        optimizer.step(&mut network, &mut gradient);
    }
    network
}
