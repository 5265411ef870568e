//! What a gradient does to a network.

use std::{mem, ops::Range};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::network::{Gradient, Network};

/// How a step follows a gradient.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// Adam (arXiv 1412.6980) with torch's defaults: every parameter moves by about the learning
    /// rate, however small its share in the loss.
    Adam,
    /// Plain gradient descent: every parameter moves as much as its slope says.
    Sgd,
}

/// Decay of the running mean of a parameter's slopes.
const BETA1: f64 = 0.9;
/// Decay of the running mean of their squares.
const BETA2: f64 = 0.999;
/// Added to the root of that mean.
const EPSILON: f64 = 1e-8;

/// An optimizer with its state.
///
/// A parameter that never had a slope does not move, so the rows of the first layer whose states
/// were never an input are passed over: most of the network on a large map.
#[derive(Clone, Debug)]
pub(crate) struct Optimizer {
    rule: Rule,
    lr: f64,
    /// Running means by parameter.
    means: Vec<f64>,
    /// Running means of squares by parameter.
    squares: Vec<f64>,
    /// By input: whether its row of the first layer ever had a slope.
    live: Vec<bool>,
    /// `β1ᵗ` and `β2ᵗ` after `t` steps: what the running means still lack.
    lacking: [f64; 2],
}

impl Optimizer {
    /// An optimizer for a network, before its first step.
    pub(crate) fn new(rule: Rule, network: &Network, lr: f64) -> Self {
        let shape = network.shape();
        Self {
            rule,
            lr,
            means: vec![0.0; shape.parameters()],
            squares: vec![0.0; shape.parameters()],
            live: vec![false; shape.inputs],
            lacking: [1.0; 2],
        }
    }

    /// Takes a step down the gradient and sets it to 0.
    pub(crate) fn step(&mut self, network: &mut Network, gradient: &mut Gradient) {
        let shape = network.shape();
        let [mean_lacks, square_lacks] = &mut self.lacking;
        *mean_lacks *= BETA1;
        *square_lacks *= BETA2;
        for state in 0..shape.inputs {
            self.live[state] |= mem::take(&mut gradient.touched[state]);
            if self.live[state] {
                self.update(state * shape.hidden..(state + 1) * shape.hidden, network, gradient);
            }
        }
        self.update(shape.first()..shape.parameters(), network, gradient);
    }

    /// Moves a range of parameters.
    fn update(&mut self, range: Range<usize>, network: &mut Network, gradient: &mut Gradient) {
        let parameters = network.parameters_mut()[range.clone()].iter_mut();
        let slopes = gradient.slopes[range.clone()].iter_mut();
        match self.rule {
            Rule::Adam => {
                let [mean_lacks, square_lacks] = self.lacking;
                let size = self.lr / (1.0 - mean_lacks);
                let scale = 1.0 / (1.0 - square_lacks).sqrt();
                let moments = self.means[range.clone()].iter_mut().zip(&mut self.squares[range]);
                for ((parameter, slope), (mean, square)) in parameters.zip(slopes).zip(moments) {
                    *mean += (1.0 - BETA1) * (*slope - *mean);
                    *square = BETA2 * *square + (1.0 - BETA2) * *slope * *slope;
                    *parameter -= size * *mean / (square.sqrt() * scale + EPSILON);
                    *slope = 0.0;
                }
            }
            Rule::Sgd => {
                for (parameter, slope) in parameters.zip(slopes) {
                    *parameter -= self.lr * *slope;
                    *slope = 0.0;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;
    use serde::Deserialize;

    use super::*;
    use crate::{
        network::{Activation, Input},
        softmax::log_softmax,
    };

    /// Twenty steps of `torch.optim.Adam` in float64 on the cross-entropy of some mixed inputs,
    /// with parameters in the order of [`crate::network::Shape`] and the losses before each
    /// step.
    #[derive(Deserialize)]
    struct Torch {
        shape: [usize; 3],
        lr: f64,
        inputs: Vec<(usize, usize, f64)>,
        targets: Vec<usize>,
        initial: Vec<f64>,
        losses: Vec<f64>,
        trained: Vec<f64>,
    }

    #[test]
    fn twenty_steps_are_those_of_torch() {
        let torch: Torch =
            serde_json::from_str(include_str!("../tests/numbers/adam.json")).unwrap();
        let [inputs, hidden, outputs] = torch.shape;
        let mut network = Network::new(
            inputs,
            hidden,
            outputs,
            Activation::Relu,
            &mut ChaCha8Rng::seed_from_u64(0),
        );
        network.parameters_mut().copy_from_slice(&torch.initial);
        let mut adam = Optimizer::new(Rule::Adam, &network, torch.lr);
        let mut gradient = Gradient::new(&network);
        let inputs: Vec<_> = torch
            .inputs
            .iter()
            .map(|&(state, other, share)| Input { state, other, share })
            .collect();
        assert_eq!(torch.losses.len(), 20);
        for (step, expected) in torch.losses.iter().enumerate() {
            let pass = network.forward(&inputs);
            let (mut loss, mut slopes) = (0.0, Vec::new());
            for (place, &target) in torch.targets.iter().enumerate() {
                let logs = log_softmax(pass.outputs(place));
                loss -= logs[target] / inputs.len() as f64;
                slopes.extend((0..outputs).map(|output| {
                    (logs[output].exp() - f64::from(u8::from(output == target)))
                        / inputs.len() as f64
                }));
            }
            assert!((loss - expected).abs() < 1e-12, "step {step}: {loss} {expected}");
            network.backward(&inputs, &pass, &slopes, &mut gradient);
            adam.step(&mut network, &mut gradient);
        }
        for (at, (found, expected)) in network.parameters().iter().zip(&torch.trained).enumerate() {
            assert!((found - expected).abs() < 1e-12, "parameter {at}: {found} {expected}");
        }
    }

    #[test]
    fn rows_passed_over_are_as_if_they_were_not() {
        let rng = &mut ChaCha8Rng::seed_from_u64(1);
        let mut network = Network::new(8, 5, 4, Activation::Relu, rng);
        let mut adam = Optimizer::new(Rule::Adam, &network, 0.02);
        let mut gradient = Gradient::new(&network);
        let mut parameters = network.parameters().to_vec();
        let (mut means, mut squares) = (vec![0.0; parameters.len()], vec![0.0; parameters.len()]);
        for step in 1..=30 {
            // States 6 and 7 never are an input; 0 to 2 stop being one, and still move.
            let states = if step <= 10 { 0..4 } else { 3..6 };
            let inputs: Vec<_> = states.map(Input::at).collect();
            let slopes: Vec<_> = (0..4 * inputs.len()).map(|_| rng.random::<f64>() - 0.5).collect();
            let pass = network.forward(&inputs);
            network.backward(&inputs, &pass, &slopes, &mut gradient);
            let before = parameters.clone();
            let [mean_scale, square_scale] = [BETA1, BETA2].map(|beta| 1.0 - beta.powi(step));
            for (at, slope) in gradient.slopes.iter().enumerate() {
                means[at] = BETA1 * means[at] + (1.0 - BETA1) * slope;
                squares[at] = BETA2 * squares[at] + (1.0 - BETA2) * slope * slope;
                let (mean, square) = (means[at] / mean_scale, squares[at] / square_scale);
                parameters[at] -= 0.02 * mean / (square.sqrt() + EPSILON);
            }
            adam.step(&mut network, &mut gradient);
            for (found, expected) in network.parameters().iter().zip(&parameters) {
                assert!((found - expected).abs() < 1e-12, "step {step}: {found} {expected}");
            }
            assert!(
                gradient.slopes.iter().all(|&slope| slope == 0.0)
                    && !gradient.touched.contains(&true)
            );
            let moved = |state: usize| parameters[state * 5..][..5] != before[state * 5..][..5];
            let expected = [true, true, true, true, step > 10, step > 10, false, false];
            assert_eq!(std::array::from_fn(moved), expected, "step {step}");
        }
    }

    #[test]
    fn plain_descent_follows_the_slope() {
        let mut network =
            Network::new(3, 2, 4, Activation::Relu, &mut ChaCha8Rng::seed_from_u64(1));
        let before = network.parameters().to_vec();
        let mut gradient = Gradient::new(&network);
        let inputs = [Input::at(1)];
        let pass = network.forward(&inputs);
        network.backward(&inputs, &pass, &[0.5, -0.25, 0.0, 0.75], &mut gradient);
        let slopes = gradient.slopes.clone();
        Optimizer::new(Rule::Sgd, &network, 0.1).step(&mut network, &mut gradient);
        for ((after, before), slope) in network.parameters().iter().zip(before).zip(slopes) {
            assert_eq!(*after, before - 0.1 * slope);
        }
        assert!(gradient.slopes.iter().all(|&slope| slope == 0.0));
    }
}
