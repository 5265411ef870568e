//! How a policy is trained, whatever it learns from, and what comes out.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    network::{Activation, Network},
    optimizer::Rule,
};

/// How policies are trained: full-batch steps on a network of two fully connected layers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Training {
    /// Steps of every method.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub steps: u64,
    /// Learning rate.
    #[schemars(extend("exclusiveMinimum" = 0.0))]
    pub lr: f64,
    /// How a step follows the gradient: `adam` or `sgd`.
    pub optimizer: Rule,
    /// Hidden units.
    #[schemars(range(min = 1, max = 4096))]
    pub hidden: usize,
    /// What they do: `relu` or `tanh`.
    pub activation: Activation,
    /// SFT steps before the start `sft`.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub sft_steps: u64,
    /// Steps that fit the optimal parameterised policy to the optimal matrix.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub fit_steps: u64,
}

impl Training {
    /// Steps over which a `linear` λ grows: a tenth.
    pub(crate) fn warm_up(&self) -> u64 {
        self.steps / 10
    }
}

impl Default for Training {
    fn default() -> Self {
        Self {
            steps: 200,
            lr: 0.01,
            optimizer: Rule::Adam,
            hidden: 32,
            activation: Activation::Relu,
            sft_steps: 100,
            fit_steps: 1000,
        }
    }
}

/// A policy that a learner ended with.
pub(crate) struct Trained {
    pub(crate) network: Network,
    /// Whether training ever looked at a state. `[states]`
    pub(crate) explored: Vec<bool>,
    /// Whether training diverged; `network` is the last before it did.
    pub(crate) diverged: bool,
}
