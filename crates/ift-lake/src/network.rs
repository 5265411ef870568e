//! The policy network: two fully connected layers on the one-hot encoding of a state.
//!
//! A study takes millions of training steps, so the network is written for these inputs: the
//! product of the first layer with a one-hot vector is one row of its weights, and every inner loop
//! runs over contiguous elements. The paper does not name the activation function; `relu`, the
//! default, takes little time compared with the products.

use rand::{Rng, RngExt};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    optimum::StateActionMatrix,
    softmax::{log_softmax, softmax},
};

/// Activation function of the hidden units.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ActivationFunction {
    /// `max(0, x)`
    Relu,
    /// `tanh x`; takes longer than the rest of a training step.
    Tanh,
}

impl ActivationFunction {
    fn of(self, x: f64) -> f64 {
        match self {
            Self::Relu => x.max(0.0),
            Self::Tanh => x.tanh(),
        }
    }

    /// The derivative, given the value `y` of the function.
    fn derivative(self, y: f64) -> f64 {
        match self {
            Self::Relu => f64::from(u8::from(y > 0.0)),
            Self::Tanh => 1.0 - y * y,
        }
    }
}

/// An input of the network: `(1-share)·onehot(state) + share·onehot(other)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Input {
    /// The first state.
    pub(crate) state: usize,
    /// The second state.
    pub(crate) other: usize,
    /// Share of the second state, 0 to 1.
    pub(crate) share: f64,
}

impl Input {
    /// The one-hot encoding of one state.
    pub(crate) fn at(state: usize) -> Self {
        Self { state, other: state, share: 0.0 }
    }

    /// The states with a share other than 0, and their shares.
    pub(crate) fn parts(self) -> impl Iterator<Item = (usize, f64)> {
        [(self.state, 1.0 - self.share), (self.other, self.share)]
            .into_iter()
            .filter(|&(_, share)| share != 0.0)
    }
}

/// Sizes of a network, each at least 1, and the order of its parameters: weights of the first layer
/// `[inputs, hidden]`, its biases `[hidden]`, weights of the second layer `[outputs, hidden]`, its
/// biases `[outputs]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NetworkShape {
    pub(crate) inputs: usize,
    pub(crate) hidden: usize,
    pub(crate) outputs: usize,
}

impl NetworkShape {
    /// Number of parameters.
    pub(crate) fn parameters(self) -> usize {
        self.first() + self.hidden + self.second() + self.outputs
    }

    /// Number of weights of the first layer.
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

/// Two fully connected layers with an activation function between them.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Network {
    shape: NetworkShape,
    activation: ActivationFunction,
    parameters: Vec<f64>,
}

/// Results of a forward pass, as its backward pass needs them.
#[derive(Clone, Debug, Default)]
pub(crate) struct ForwardPass {
    /// Activations of the hidden units. `[batch, hidden]`
    hidden: Vec<f64>,
    /// `[batch, outputs]`
    outputs: Vec<f64>,
    width: usize,
}

impl ForwardPass {
    /// The outputs for the input number `index` of the batch.
    pub(crate) fn outputs(&self, index: usize) -> &[f64] {
        &self.outputs[index * self.width..][..self.width]
    }

    /// Log-probabilities of the actions for each input, nats, of a network with four outputs.
    pub(crate) fn log_probabilities(&self) -> Vec<[f64; 4]> {
        self.outputs.chunks_exact(4).map(log_softmax).collect()
    }
}

/// The sum of the gradients of all backward passes since the last step.
#[derive(Clone, Debug)]
pub(crate) struct Gradient {
    /// By parameter, in the order of [`NetworkShape`].
    pub(crate) values: Vec<f64>,
    /// By input: whether its row of the first layer has a gradient.
    pub(crate) touched: Vec<bool>,
    /// Scratch space: derivatives at the hidden units for one input. `[hidden]`
    units: Vec<f64>,
}

impl Gradient {
    /// A gradient of 0.
    pub(crate) fn new(network: &Network) -> Self {
        let shape = network.shape;
        Self {
            values: vec![0.0; shape.parameters()],
            touched: vec![false; shape.inputs],
            units: vec![0.0; shape.hidden],
        }
    }
}

impl Network {
    /// A network with random weights and biases, as `torch.nn.Linear` initialises them: uniform
    /// within `±1/√(inputs of the layer)`.
    pub(crate) fn new(
        inputs: usize,
        hidden: usize,
        outputs: usize,
        activation: ActivationFunction,
        rng: &mut impl Rng,
    ) -> Self {
        let shape = NetworkShape { inputs, hidden, outputs };
        let first = shape.first() + hidden;
        let parameters = (0..shape.parameters())
            .map(|index| {
                let fan_in = if index < first { inputs } else { hidden };
                (2.0 * rng.random::<f64>() - 1.0) / (fan_in as f64).sqrt()
            })
            .collect();
        Self { shape, activation, parameters }
    }

    /// The same network with a second layer of zeros, so that every output is 0 before training.
    #[must_use]
    pub(crate) fn silenced(mut self) -> Self {
        let [_, _, second, second_bias] = self.shape.split_mut(&mut self.parameters);
        second.fill(0.0);
        second_bias.fill(0.0);
        self
    }

    /// Whether training has diverged: a parameter is NaN, or the norm of all parameters is above
    /// 1e6.
    pub(crate) fn diverged(&self) -> bool {
        let square = dot(&self.parameters, &self.parameters);
        square.is_nan() || square > 1e12
    }

    /// The sizes of the network.
    pub(crate) fn shape(&self) -> NetworkShape {
        self.shape
    }

    /// All weights and biases, in the order of [`NetworkShape`].
    pub(crate) fn parameters(&self) -> &[f64] {
        &self.parameters
    }

    /// All weights and biases, mutable.
    pub(crate) fn parameters_mut(&mut self) -> &mut [f64] {
        &mut self.parameters
    }

    /// Computes the outputs for a batch of inputs.
    pub(crate) fn forward(&self, inputs: &[Input]) -> ForwardPass {
        let NetworkShape { hidden, outputs, .. } = self.shape;
        let [first, first_bias, second, second_bias] = self.shape.split(&self.parameters);
        let mut pass = ForwardPass {
            hidden: Vec::with_capacity(inputs.len() * hidden),
            outputs: Vec::with_capacity(inputs.len() * outputs),
            width: outputs,
        };
        for (index, input) in inputs.iter().enumerate() {
            pass.hidden.extend_from_slice(first_bias);
            let units = &mut pass.hidden[index * hidden..];
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

    /// Adds the gradient of a loss to `gradient`, given its derivatives at the outputs of a pass.
    /// `derivatives: [batch, outputs]`
    pub(crate) fn backward(
        &self,
        inputs: &[Input],
        pass: &ForwardPass,
        derivatives: &[f64],
        gradient: &mut Gradient,
    ) {
        let NetworkShape { hidden, outputs, .. } = self.shape;
        let [_, _, second, _] = self.shape.split(&self.parameters);
        let Gradient { values: by_parameter, touched, units } = gradient;
        let [by_first, by_first_bias, by_second, by_second_bias] =
            self.shape.split_mut(by_parameter);
        let passed = pass.hidden.chunks_exact(hidden).zip(derivatives.chunks_exact(outputs));
        for (input, (activations, derivatives)) in inputs.iter().zip(passed) {
            units.fill(0.0);
            add(by_second_bias, 1.0, derivatives);
            let rows = second.chunks_exact(hidden).zip(by_second.chunks_exact_mut(hidden));
            for (&derivative, (weights, by_weight)) in derivatives.iter().zip(rows) {
                add(by_weight, derivative, activations);
                add(units, derivative, weights);
            }
            for (unit, &activation) in units.iter_mut().zip(activations) {
                *unit *= self.activation.derivative(activation);
            }
            add(by_first_bias, 1.0, units);
            for (state, share) in input.parts() {
                touched[state] = true;
                add(&mut by_first[state * hidden..][..hidden], share, units);
            }
        }
    }

    /// Action probabilities in each of the first `states` states.
    pub(crate) fn policy(&self, states: usize) -> StateActionMatrix {
        let inputs: Vec<_> = (0..states).map(Input::at).collect();
        let pass = self.forward(&inputs);
        (0..states).map(|state| softmax(pass.outputs(state))).collect()
    }
}

/// `sum += factor·values`.
fn add(sum: &mut [f64], factor: f64, values: &[f64]) {
    for (sum, value) in sum.iter_mut().zip(values) {
        *sum += factor * value;
    }
}

/// The dot product in eight running sums: with a single one, every addition would wait for the one
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
mod tests;
