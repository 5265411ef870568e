//! The policy: two fully connected layers on a state's one-hot encoding.
//!
//! A study takes millions of training steps, so the network is written for what they are: the
//! product of the first layer with a one-hot vector is a row of its weights, and every inner loop
//! runs over contiguous numbers. The paper leaves open what stands between the layers; rectified
//! units cost next to nothing beside the products.

use rand::{Rng, RngExt};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{optimum::Matrix, softmax::softmax};

/// What the units between the layers do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// `max(0, x)`
    Relu,
    /// `tanh x`; takes longer than all the rest of a step.
    Tanh,
}

impl Activation {
    fn of(self, x: f64) -> f64 {
        match self {
            Self::Relu => x.max(0.0),
            Self::Tanh => x.tanh(),
        }
    }

    /// The derivative where the value is `y`.
    fn slope(self, y: f64) -> f64 {
        match self {
            Self::Relu => f64::from(u8::from(y > 0.0)),
            Self::Tanh => 1.0 - y * y,
        }
    }
}

/// What the network is given: `(1-share)·onehot(state) + share·onehot(other)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Input {
    /// The one state.
    pub(crate) state: usize,
    /// The other state.
    pub(crate) other: usize,
    /// Share of the other, 0 to 1.
    pub(crate) share: f64,
}

impl Input {
    /// The plain encoding of a state.
    pub(crate) fn at(state: usize) -> Self {
        Self { state, other: state, share: 0.0 }
    }

    /// The states that have a share, with it.
    fn parts(self) -> impl Iterator<Item = (usize, f64)> {
        [(self.state, 1.0 - self.share), (self.other, self.share)]
            .into_iter()
            .filter(|&(_, share)| share != 0.0)
    }
}

/// Sizes of a network, at least 1 each, and how its parameters lie in memory: the first layer's
/// weights, one row per input; its biases; the second layer's weights, one row per output; its
/// biases. A row is as wide as `hidden`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) inputs: usize,
    pub(crate) hidden: usize,
    pub(crate) outputs: usize,
}

impl Shape {
    /// Number of parameters.
    pub(crate) fn parameters(self) -> usize {
        self.first() + self.hidden + self.second() + self.outputs
    }

    /// Number of the first layer's weights.
    pub(crate) fn first(self) -> usize {
        self.inputs * self.hidden
    }

    fn second(self) -> usize {
        self.outputs * self.hidden
    }

    fn split(self, parameters: &[f64]) -> [&[f64]; 4] {
        let (first, rest) = parameters.split_at(self.first());
        let (first_bias, rest) = rest.split_at(self.hidden);
        let (second, second_bias) = rest.split_at(self.second());
        [first, first_bias, second, second_bias]
    }

    fn split_mut(self, parameters: &mut [f64]) -> [&mut [f64]; 4] {
        let (first, rest) = parameters.split_at_mut(self.first());
        let (first_bias, rest) = rest.split_at_mut(self.hidden);
        let (second, second_bias) = rest.split_at_mut(self.second());
        [first, first_bias, second, second_bias]
    }
}

/// Two fully connected layers with an activation between them.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Network {
    shape: Shape,
    activation: Activation,
    parameters: Vec<f64>,
}

/// What a forward pass found and its backward pass needs.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pass {
    /// Activations between the layers. `[inputs given × hidden]`
    hidden: Vec<f64>,
    /// `[inputs given × outputs]`
    outputs: Vec<f64>,
    width: usize,
}

impl Pass {
    /// The outputs for the input at a place in what was given.
    pub(crate) fn outputs(&self, place: usize) -> &[f64] {
        &self.outputs[place * self.width..][..self.width]
    }
}

/// The sum of the gradients of the passes since the last step.
#[derive(Clone, Debug)]
pub(crate) struct Gradient {
    /// By parameter, in the network's order.
    pub(crate) slopes: Vec<f64>,
    /// By input: whether its row of the first layer has a gradient.
    pub(crate) touched: Vec<bool>,
    /// Slopes at the units between the layers, of one input at a time. `[hidden]`
    units: Vec<f64>,
}

impl Gradient {
    /// No gradient yet.
    pub(crate) fn new(network: &Network) -> Self {
        let shape = network.shape;
        Self {
            slopes: vec![0.0; shape.parameters()],
            touched: vec![false; shape.inputs],
            units: vec![0.0; shape.hidden],
        }
    }
}

impl Network {
    /// Random weights and biases as `torch.nn.Linear` has them: uniform within `±1/√(inputs of the
    /// layer)`.
    pub(crate) fn new(
        inputs: usize,
        hidden: usize,
        outputs: usize,
        activation: Activation,
        rng: &mut impl Rng,
    ) -> Self {
        let shape = Shape { inputs, hidden, outputs };
        let first = shape.first() + hidden;
        let parameters = (0..shape.parameters())
            .map(|index| {
                let fan_in = if index < first { inputs } else { hidden };
                (2.0 * rng.random::<f64>() - 1.0) / (fan_in as f64).sqrt()
            })
            .collect();
        Self { shape, activation, parameters }
    }

    /// The same with a second layer of zeros, so that every output is 0 until it learns.
    #[must_use]
    pub(crate) fn silenced(mut self) -> Self {
        let [_, _, second, second_bias] = self.shape.split_mut(&mut self.parameters);
        second.fill(0.0);
        second_bias.fill(0.0);
        self
    }

    /// Whether a parameter is no number, or so large that training has lost all measure.
    pub(crate) fn diverged(&self) -> bool {
        let square = dot(&self.parameters, &self.parameters);
        square.is_nan() || square > 1e12
    }

    /// The network's sizes.
    pub(crate) fn shape(&self) -> Shape {
        self.shape
    }

    /// All weights and biases, in the order of [`Shape`].
    pub(crate) fn parameters(&self) -> &[f64] {
        &self.parameters
    }

    /// The same, to be changed.
    pub(crate) fn parameters_mut(&mut self) -> &mut [f64] {
        &mut self.parameters
    }

    /// The outputs for some inputs.
    pub(crate) fn forward(&self, inputs: &[Input]) -> Pass {
        let Shape { hidden, outputs, .. } = self.shape;
        let [first, first_bias, second, second_bias] = self.shape.split(&self.parameters);
        let mut pass = Pass {
            hidden: Vec::with_capacity(inputs.len() * hidden),
            outputs: Vec::with_capacity(inputs.len() * outputs),
            width: outputs,
        };
        for (place, input) in inputs.iter().enumerate() {
            pass.hidden.extend_from_slice(first_bias);
            let units = &mut pass.hidden[place * hidden..];
            for (state, share) in input.parts() {
                add(units, share, &first[state * hidden..][..hidden]);
            }
            for unit in units.iter_mut() {
                *unit = self.activation.of(*unit);
            }
            let products = second.chunks_exact(hidden).map(|weights| dot(weights, units));
            pass.outputs.extend(products.zip(second_bias).map(|(product, bias)| product + bias));
        }
        pass
    }

    /// Adds the gradient of a loss whose slopes at the outputs of a pass are given. `slopes:
    /// [inputs given × outputs]`
    pub(crate) fn backward(
        &self,
        inputs: &[Input],
        pass: &Pass,
        slopes: &[f64],
        gradient: &mut Gradient,
    ) {
        let Shape { hidden, outputs, .. } = self.shape;
        let [_, _, second, _] = self.shape.split(&self.parameters);
        let Gradient { slopes: by_parameter, touched, units } = gradient;
        let [by_first, by_first_bias, by_second, by_second_bias] =
            self.shape.split_mut(by_parameter);
        let passed = pass.hidden.chunks_exact(hidden).zip(slopes.chunks_exact(outputs));
        for (input, (activations, slopes)) in inputs.iter().zip(passed) {
            units.fill(0.0);
            add(by_second_bias, 1.0, slopes);
            let rows = second.chunks_exact(hidden).zip(by_second.chunks_exact_mut(hidden));
            for (&slope, (weights, by_weight)) in slopes.iter().zip(rows) {
                add(by_weight, slope, activations);
                add(units, slope, weights);
            }
            for (unit, &activation) in units.iter_mut().zip(activations) {
                *unit *= self.activation.slope(activation);
            }
            add(by_first_bias, 1.0, units);
            for (state, share) in input.parts() {
                touched[state] = true;
                add(&mut by_first[state * hidden..][..hidden], share, units);
            }
        }
    }

    /// Action probabilities in each of the first `states` states.
    pub(crate) fn policy(&self, states: usize) -> Matrix {
        let inputs: Vec<_> = (0..states).map(Input::at).collect();
        let pass = self.forward(&inputs);
        (0..states).map(|state| softmax(pass.outputs(state))).collect()
    }
}

/// `sum += factor·numbers`.
fn add(sum: &mut [f64], factor: f64, numbers: &[f64]) {
    for (sum, number) in sum.iter_mut().zip(numbers) {
        *sum += factor * number;
    }
}

/// The scalar product, in several running sums: in one alone every addition would wait for the one
/// before.
fn dot(a: &[f64], b: &[f64]) -> f64 {
    let (a_chunks, a_rest) = a.as_chunks::<8>();
    let (b_chunks, b_rest) = b.as_chunks::<8>();
    let mut sums = [0.0; 8];
    for (a, b) in a_chunks.iter().zip(b_chunks) {
        for (sum, (a, b)) in sums.iter_mut().zip(a.iter().zip(b)) {
            *sum += a * b;
        }
    }
    let rest: f64 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    sums.iter().sum::<f64>() + rest
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;

    fn network(shape: [usize; 3], seed: u64) -> Network {
        activated(shape, Activation::Relu, seed)
    }

    fn activated(
        [inputs, hidden, outputs]: [usize; 3],
        activation: Activation,
        seed: u64,
    ) -> Network {
        Network::new(inputs, hidden, outputs, activation, &mut ChaCha8Rng::seed_from_u64(seed))
    }

    /// Plain, mixed, wholly another, mixed with itself; 1 is only ever the other, 5 in none.
    const INPUTS: [Input; 6] = [
        Input { state: 0, other: 0, share: 0.0 },
        Input { state: 2, other: 4, share: 0.2 },
        Input { state: 4, other: 2, share: 0.7 },
        Input { state: 3, other: 1, share: 1.0 },
        Input { state: 2, other: 2, share: 0.3 },
        Input { state: 0, other: 3, share: 0.5 },
    ];

    #[test]
    fn outputs_are_those_of_the_mixed_encoding() {
        // 11 units: eight at once and three more.
        let network = network([6, 11, 3], 1);
        let pass = network.forward(&INPUTS);
        let [first, first_bias, second, second_bias] = network.shape.split(&network.parameters);
        for (place, input) in INPUTS.iter().enumerate() {
            let encoding: [f64; 6] = std::array::from_fn(|state| {
                let share = |of: usize, share: f64| if of == state { share } else { 0.0 };
                share(input.state, 1.0 - input.share) + share(input.other, input.share)
            });
            let unit = |unit: usize| {
                let products = encoding
                    .iter()
                    .enumerate()
                    .map(|(state, part)| part * first[state * 11 + unit]);
                (products.sum::<f64>() + first_bias[unit]).max(0.0)
            };
            assert_eq!(pass.outputs(place).len(), 3);
            for (output, found) in pass.outputs(place).iter().enumerate() {
                let products = (0..11).map(|at| second[output * 11 + at] * unit(at));
                let expected = products.sum::<f64>() + second_bias[output];
                assert!((found - expected).abs() < 1e-15, "{place}, {output}: {found} {expected}");
            }
        }
    }

    #[test]
    fn gradients_are_central_differences_by_every_parameter() {
        for (outputs, activation) in
            [(1, Activation::Relu), (4, Activation::Relu), (4, Activation::Tanh)]
        {
            let network = activated([6, 11, outputs], activation, 2);
            let weights: Vec<f64> =
                (0..INPUTS.len() * outputs).map(|at| (at as f64).sin()).collect();
            // Curved in the outputs, so that slopes at the wrong ones would show.
            let loss = |network: &Network| {
                let outputs = network.forward(&INPUTS).outputs;
                outputs
                    .iter()
                    .zip(&weights)
                    .map(|(output, weight)| weight * output.powi(2))
                    .sum::<f64>()
            };
            let pass = network.forward(&INPUTS);
            let slopes: Vec<_> = pass
                .outputs
                .iter()
                .zip(&weights)
                .map(|(output, weight)| 2.0 * weight * output)
                .collect();
            let mut gradient = Gradient::new(&network);
            network.backward(&INPUTS, &pass, &slopes, &mut gradient);
            let h = 1e-5;
            for (at, slope) in gradient.slopes.iter().enumerate() {
                let nudged = |nudge: f64| {
                    let mut network = network.clone();
                    network.parameters_mut()[at] += nudge;
                    loss(&network)
                };
                let expected = (nudged(h) - nudged(-h)) / (2.0 * h);
                assert!(
                    (slope - expected).abs() < 1e-8,
                    "{outputs}, {activation:?}, {at}: {slope} {expected}"
                );
            }
            assert_eq!(gradient.touched, [true, true, true, true, true, false]);
            let once = gradient.slopes.clone();
            network.backward(&INPUTS, &pass, &slopes, &mut gradient);
            for (sum, slope) in gradient.slopes.iter().zip(once) {
                assert!((sum - 2.0 * slope).abs() < 1e-14);
            }
        }
    }

    #[test]
    fn initial_weights_fill_the_range_of_their_layer() {
        let network = network([16, 64, 4], 3);
        for (layer, bound) in
            network.shape.split(&network.parameters).iter().zip([0.25, 0.25, 0.125, 0.125])
        {
            let largest = layer.iter().fold(0.0_f64, |largest, weight| largest.max(weight.abs()));
            assert!(largest <= bound && largest > bound / 2.0, "{largest} of {bound}");
            assert!(
                layer.iter().any(|&weight| weight > 0.0)
                    && layer.iter().any(|&weight| weight < 0.0)
            );
        }
        let mean = network.parameters().iter().sum::<f64>() / network.parameters().len() as f64;
        assert!(mean.abs() < 0.02, "{mean}");
    }

    #[test]
    fn a_seed_is_a_network() {
        assert_eq!(network([16, 32, 4], 4), network([16, 32, 4], 4));
        assert_ne!(network([16, 32, 4], 4), network([16, 32, 4], 5));
    }

    #[test]
    fn the_policy_is_the_softmax_of_every_state() {
        let network = network([6, 8, 4], 6);
        let policy = network.policy(6);
        assert_eq!(policy.len(), 6);
        for (state, probabilities) in policy.iter().enumerate() {
            let pass = network.forward(&[Input::at(state)]);
            let total: f64 = pass.outputs(0).iter().map(|output| output.exp()).sum();
            for (found, output) in probabilities.iter().zip(pass.outputs(0)) {
                assert!((found - output.exp() / total).abs() < 1e-15);
            }
        }
    }
}
