//! Adam, RMSprop and plain gradient descent, and their learning rate over the steps.

use std::{mem, ops::Range};

use ift_methods::Curve;
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
    /// RMSprop with torch's defaults: decay 0.99, no momentum, not centred. There is no bias
    /// correction: in the first step a parameter changes by ten times the learning rate.
    Rmsprop,
    /// Plain gradient descent. A parameter changes by the learning rate times its derivative.
    Sgd,
}

/// Decay of the moving average of the gradient (first moment).
const BETA1: f64 = 0.9;
/// Decay of the moving average of the squared gradient (second moment).
const BETA2: f64 = 0.999;
/// Decay of the moving average of the squared gradient in RMSprop.
const ALPHA: f64 = 0.99;
/// Added to the square root of that average.
const EPSILON: f64 = 1e-8;

/// The learning rate over the steps of a run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LearningRate {
    /// The learning rate after the warm-up.
    pub(crate) peak: f64,
    pub(crate) curve: Curve,
    /// All steps of the run.
    pub(crate) steps: u64,
    /// Steps of the warm-up.
    pub(crate) warmup: u64,
}

impl LearningRate {
    /// The same at every step.
    pub(crate) fn constant(peak: f64) -> Self {
        Self { peak, curve: Curve::Constant, steps: 0, warmup: 0 }
    }

    /// The learning rate at a step, counted from 0.
    pub(crate) fn at(self, step: u64) -> f64 {
        self.peak * self.curve.factor(step, self.steps, self.warmup, 0.0)
    }
}

/// An optimizer with its state.
///
/// A parameter whose derivative was always 0 does not change. So the rows of the first layer whose
/// states were never an input are skipped; on a large map this is most of the network.
#[derive(Clone, Debug)]
pub(crate) struct NetworkOptimizer {
    rule: Rule,
    lr: LearningRate,
    /// Steps taken so far.
    steps: u64,
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
    pub(crate) fn new(rule: Rule, network: &Network, lr: LearningRate) -> Self {
        let shape = network.shape();
        Self {
            rule,
            lr,
            steps: 0,
            means: vec![0.0; shape.parameters()],
            squares: vec![0.0; shape.parameters()],
            live: vec![false; shape.inputs],
            decays: [1.0; 2],
        }
    }

    /// Takes a step against the gradient and sets the gradient to 0.
    pub(crate) fn step(&mut self, network: &mut Network, gradient: &mut Gradient) {
        let shape = network.shape();
        let lr = self.lr.at(self.steps);
        self.steps += 1;
        let [mean_decay, square_decay] = &mut self.decays;
        *mean_decay *= BETA1;
        *square_decay *= BETA2;
        for state in 0..shape.inputs {
            self.live[state] |= mem::take(&mut gradient.touched[state]);
            if self.live[state] {
                let row = state * shape.hidden..(state + 1) * shape.hidden;
                self.update(row, lr, network, gradient);
            }
        }
        self.update(shape.first()..shape.parameters(), lr, network, gradient);
    }

    /// Updates a range of parameters with a learning rate.
    fn update(
        &mut self,
        range: Range<usize>,
        lr: f64,
        network: &mut Network,
        gradient: &mut Gradient,
    ) {
        let parameters = network.parameters_mut()[range.clone()].iter_mut();
        let derivatives = gradient.values[range.clone()].iter_mut();
        match self.rule {
            Rule::Adam => {
                let [mean_decay, square_decay] = self.decays;
                let size = lr / (1.0 - mean_decay);
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
            Rule::Rmsprop => {
                let squares = self.squares[range].iter_mut();
                for ((parameter, derivative), square) in parameters.zip(derivatives).zip(squares) {
                    *square = ALPHA * *square + (1.0 - ALPHA) * *derivative * *derivative;
                    *parameter -= lr * *derivative / (square.sqrt() + EPSILON);
                    *derivative = 0.0;
                }
            }
            Rule::Sgd => {
                for (parameter, derivative) in parameters.zip(derivatives) {
                    *parameter -= lr * *derivative;
                    *derivative = 0.0;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
