//! Settings and results of training that all learners share.

use ift_methods::Curve;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    network::{ActivationFunction, Network},
    optimizer::Rule,
};

/// How policies are trained: full-batch steps on a network with two fully connected layers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TrainingSettings {
    /// Training steps of every learner.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub steps: u64,
    /// Learning rate.
    #[schemars(extend("exclusiveMinimum" = 0.0))]
    pub lr: f64,
    /// The optimizer: `adam`, `rmsprop` or `sgd`.
    pub optimizer: Rule,
    /// The learning rate after the warm-up: `constant`, `linear` or `cosine`.
    pub schedule: Curve,
    /// Steps of the warm-up of the learning rate as a share of all steps, 0 to 1.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub warmup_ratio: f64,
    /// Number of hidden units.
    #[schemars(range(min = 1, max = 4096))]
    pub hidden: usize,
    /// Activation function of the hidden units: `relu` or `tanh`.
    pub activation: ActivationFunction,
    /// Steps of SFT that make the initial policy `sft`.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub sft_steps: u64,
    /// Steps that fit a network to the optimal state-action matrix.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub fit_steps: u64,
}

impl TrainingSettings {
    /// Warm-up of a `linear` λ, in steps: a tenth of all steps.
    pub(crate) fn warm_up(&self) -> u64 {
        self.steps / 10
    }
}

impl Default for TrainingSettings {
    fn default() -> Self {
        Self {
            steps: 200,
            lr: 0.01,
            optimizer: Rule::Adam,
            schedule: Curve::Constant,
            warmup_ratio: 0.0,
            hidden: 32,
            activation: ActivationFunction::Relu,
            sft_steps: 100,
            fit_steps: 1000,
        }
    }
}

/// One training run: its initial policy, its settings and its number of steps.
#[derive(Clone, Copy)]
pub(crate) struct TrainingRun<'a> {
    /// The policy that training starts from. Methods with a reference compare with it.
    pub(crate) start: &'a Network,
    pub(crate) training: &'a TrainingSettings,
    /// Number of steps, which may differ from [`TrainingSettings::steps`].
    pub(crate) steps: u64,
}

/// The result of a training run.
pub(crate) struct Trained {
    pub(crate) network: Network,
    /// For each state, whether training ever used it as an input. `[states]`
    pub(crate) explored: Vec<bool>,
    /// Whether training diverged. If so, `network` is the policy before the step that diverged.
    pub(crate) diverged: bool,
}
