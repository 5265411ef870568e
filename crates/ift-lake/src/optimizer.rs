//! Adam and plain gradient descent.

use std::{mem, ops::Range};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::network::{Gradient, Network};

/// The rule by which a step changes the parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// Adam (arXiv 1412.6980) with torch's defaults. A parameter changes by about the learning
    /// rate, however small its derivative is.
    Adam,
    /// RMSprop with torch's defaults (decay 0.99, no momentum).
    Rmsprop,
    /// Plain gradient descent. A parameter changes by the learning rate times its derivative.
    Sgd,
}

/// Decay of the moving average of the gradient (first moment).
const BETA1: f64 = 0.9;
/// Decay of the moving average of the squared gradient (second moment).
const BETA2: f64 = 0.999;
/// Added to the square root of that mean.
const EPSILON: f64 = 1e-8;

/// An optimizer with its state.
///
/// A parameter whose derivative was always 0 does not change. So the rows of the first layer whose
/// states were never an input are skipped; on a large map this is most of the network.
#[derive(Clone, Debug)]
pub(crate) struct NetworkOptimizer {
    rule: Rule,
    lr: f64,
    /// Moving average of the gradient, by parameter.
    means: Vec<f64>,
    /// Moving average of the squared gradient, by parameter.
    squares: Vec<f64>,
    /// By input: whether its row of the first layer ever had a gradient.
    live: Vec<bool>,
    /// `β1ᵗ` and `β2ᵗ` after `t` steps, for bias correction.
    decays: [f64; 2],
}

impl NetworkOptimizer {
    /// An optimizer for a network, before the first step.
    pub(crate) fn new(rule: Rule, network: &Network, lr: f64) -> Self {
        let shape = network.shape();
        Self {
            rule,
            lr,
            means: vec![0.0; shape.parameters()],
            squares: vec![0.0; shape.parameters()],
            live: vec![false; shape.inputs],
            decays: [1.0; 2],
        }
    }

    /// Takes a step against the gradient and sets the gradient to 0.
    pub(crate) fn step(&mut self, network: &mut Network, gradient: &mut Gradient) {
        let shape = network.shape();
        let [mean_decay, square_decay] = &mut self.decays;
        *mean_decay *= BETA1;
        *square_decay *= BETA2;
        for state in 0..shape.inputs {
            self.live[state] |= mem::take(&mut gradient.touched[state]);
            if self.live[state] {
                self.update(state * shape.hidden..(state + 1) * shape.hidden, network, gradient);
            }
        }
        self.update(shape.first()..shape.parameters(), network, gradient);
    }

    /// Updates a range of parameters.
    fn update(&mut self, range: Range<usize>, network: &mut Network, gradient: &mut Gradient) {
        let parameters = network.parameters_mut()[range.clone()].iter_mut();
        let derivatives = gradient.values[range.clone()].iter_mut();
        match self.rule {
            Rule::Adam => {
                let [mean_decay, square_decay] = self.decays;
                let size = self.lr / (1.0 - mean_decay);
                let scale = 1.0 / (1.0 - square_decay).sqrt();
                let moments = self.means[range.clone()].iter_mut().zip(&mut self.squares[range]);
                for ((parameter, derivative), (mean, square)) in
                    parameters.zip(derivatives).zip(moments)
                {
                    *mean += (1.0 - BETA1) * (*derivative - *mean);
                    *square = BETA2 * *square + (1.0 - BETA2) * *derivative * *derivative;
                    *parameter -= size * *mean / (square.sqrt() * scale + EPSILON);
                    *derivative = 0.0;
                }
            }
            Rule::Rmsprop | Rule::Sgd => {
                for (parameter, derivative) in parameters.zip(derivatives) {
                    *parameter -= self.lr * *derivative;
                    *derivative = 0.0;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use ift_compare::{Comparison, Tolerance};
    use rand::RngExt;
    use serde::Deserialize;

    use super::*;
    use crate::{
        network::{ActivationFunction, Input},
        softmax::log_softmax,
    };

    /// Twenty steps of `torch.optim.Adam` in float64 on the cross-entropy of some mixed inputs,
    /// with parameters in the order of [`crate::network::NetworkShape`] and the losses before each
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
    fn twenty_steps_of_adam_equal_torch() {
        let torch: Torch =
            serde_json::from_str(include_str!("../tests/numbers/adam.json")).unwrap();
        let [inputs, hidden, outputs] = torch.shape;
        let mut network = Network::new(
            inputs,
            hidden,
            outputs,
            ActivationFunction::Relu,
            &mut ift_random::generator(0, 0),
        );
        network.parameters_mut().copy_from_slice(&torch.initial);
        let mut adam = NetworkOptimizer::new(Rule::Adam, &network, torch.lr);
        let mut gradient = Gradient::new(&network);
        let inputs: Vec<_> = torch
            .inputs
            .iter()
            .map(|&(state, other, share)| Input { state, other, share })
            .collect();
        assert_eq!(torch.losses.len(), 20);
        let mut losses = Vec::new();
        for _ in &torch.losses {
            let pass = network.forward(&inputs);
            let (mut loss, mut derivatives) = (0.0, Vec::new());
            for (index, &target) in torch.targets.iter().enumerate() {
                let logs = log_softmax(pass.outputs(index));
                loss -= logs[target] / inputs.len() as f64;
                derivatives.extend((0..outputs).map(|output| {
                    (logs[output].exp() - f64::from(u8::from(output == target)))
                        / inputs.len() as f64
                }));
            }
            losses.push(loss);
            network.backward(&inputs, &pass, &derivatives, &mut gradient);
            adam.step(&mut network, &mut gradient);
        }
        let mut comparison = Comparison::new("Adam", Tolerance::absolute(1e-12));
        comparison.values("losses", &losses, &torch.losses);
        comparison.values("parameters", network.parameters(), &torch.trained);
        comparison.finish();
    }

    #[test]
    fn skipping_rows_does_not_change_adam() {
        let rng = &mut ift_random::generator(1, 0);
        let mut network = Network::new(8, 5, 4, ActivationFunction::Relu, rng);
        let mut adam = NetworkOptimizer::new(Rule::Adam, &network, 0.02);
        let mut gradient = Gradient::new(&network);
        let mut parameters = network.parameters().to_vec();
        let (mut means, mut squares) = (vec![0.0; parameters.len()], vec![0.0; parameters.len()]);
        let mut comparison = Comparison::new("Adam", Tolerance::absolute(1e-12));
        for step in 1..=30 {
            // States 6 and 7 are never an input. States 0 to 2 are none after step 10; their rows
            // still change.
            let states = if step <= 10 { 0..4 } else { 3..6 };
            let inputs: Vec<_> = states.map(Input::at).collect();
            let derivatives: Vec<_> =
                (0..4 * inputs.len()).map(|_| rng.random::<f64>() - 0.5).collect();
            let pass = network.forward(&inputs);
            network.backward(&inputs, &pass, &derivatives, &mut gradient);
            let before = parameters.clone();
            let [mean_scale, square_scale] = [BETA1, BETA2].map(|beta| 1.0 - beta.powi(step));
            for (at, derivative) in gradient.values.iter().enumerate() {
                means[at] = BETA1 * means[at] + (1.0 - BETA1) * derivative;
                squares[at] = BETA2 * squares[at] + (1.0 - BETA2) * derivative * derivative;
                let (mean, square) = (means[at] / mean_scale, squares[at] / square_scale);
                parameters[at] -= 0.02 * mean / (square.sqrt() + EPSILON);
            }
            adam.step(&mut network, &mut gradient);
            comparison.values(&format!("step {step}"), network.parameters(), &parameters);
            assert!(
                gradient.values.iter().all(|&derivative| derivative == 0.0)
                    && !gradient.touched.contains(&true)
            );
            let moved = |state: usize| parameters[state * 5..][..5] != before[state * 5..][..5];
            let expected = [true, true, true, true, step > 10, step > 10, false, false];
            assert_eq!(std::array::from_fn(moved), expected, "step {step}");
        }
        comparison.finish();
    }

    #[test]
    fn plain_descent_subtracts_the_scaled_gradient() {
        let mut network =
            Network::new(3, 2, 4, ActivationFunction::Relu, &mut ift_random::generator(1, 0));
        let before = network.parameters().to_vec();
        let mut gradient = Gradient::new(&network);
        let inputs = [Input::at(1)];
        let pass = network.forward(&inputs);
        network.backward(&inputs, &pass, &[0.5, -0.25, 0.0, 0.75], &mut gradient);
        let derivatives = gradient.values.clone();
        NetworkOptimizer::new(Rule::Sgd, &network, 0.1).step(&mut network, &mut gradient);
        let expected: Vec<f64> = before
            .iter()
            .zip(&derivatives)
            .map(|(before, derivative)| before - 0.1 * derivative)
            .collect();
        assert_eq!(network.parameters(), expected);
        assert!(gradient.values.iter().all(|&derivative| derivative == 0.0));
    }
}
