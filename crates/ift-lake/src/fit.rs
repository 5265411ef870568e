//! The optimal parameterised policy: a network fitted to the optimal matrix.

use crate::{
    network::{Gradient, Input, Network},
    optimizer::{Optimizer, Rule},
    optimum::Matrix,
    softmax::softmax,
    training::Training,
    world::World,
};

/// Learning rate of the fit, whatever the methods are trained with: what they are measured against
/// must be the same.
const FIT_LR: f64 = 0.01;

/// Fits a policy to a matrix by its cross-entropy, mean over the states that are not terminal.
pub(crate) fn fit(world: &World, target: &Matrix, start: &Network, training: &Training) -> Network {
    let mut network = start.clone();
    let mut optimizer = Optimizer::new(Rule::Adam, &network, FIT_LR);
    let mut gradient = Gradient::new(&network);
    let inputs: Vec<_> = world.non_terminal().map(Input::at).collect();
    let count = inputs.len().max(1) as f64;
    for _ in 0..training.fit_steps {
        let pass = network.forward(&inputs);
        let mut slopes = Vec::with_capacity(4 * inputs.len());
        for (slot, input) in inputs.iter().enumerate() {
            let policy = softmax(pass.outputs(slot));
            slopes.extend(policy.iter().zip(&target[input.state]).map(|(p, t)| (p - t) / count));
        }
        network.backward(&inputs, &pass, &slopes, &mut gradient);
        optimizer.step(&mut network, &mut gradient);
    }
    network
}
