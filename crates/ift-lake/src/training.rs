//! Settings and results of training that all learners share.

use ift_methods::Curve;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    error::LakeError,
    network::{ActivationFunction, Network},
    optimizer::{LearningRate, NetworkOptimizer, Rule},
    training_curve::InputCounts,
};

/// How policies are trained: full-batch steps on a network with two fully connected layers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TrainingSettings {
    /// Training steps of every learner.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub steps: u64,
    /// Learning rate, after the warm-up.
    #[schemars(extend("exclusiveMinimum" = 0.0))]
    pub lr: f64,
    /// The optimizer: `adam`, `rmsprop` or `sgd`.
    pub optimizer: Rule,
    /// How the learning rate moves after the warm-up: `constant`, or `linear` or `cosine` decay to
    /// 0. The SFT that makes the initial policy `sft` has the same schedule over its own steps.
    pub schedule: Curve,
    /// Steps of the warm-up as a share of all steps, 0 to 1, rounded up. The learning rate of the
    /// first of them is 0. It is also the warm-up of the `linear` λ of IFT, which is a tenth of all
    /// steps if this is 0.
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
    /// Checks ranges.
    ///
    /// # Errors
    /// Names the setting, what was found and what was expected.
    pub(crate) fn validate(&self) -> Result<(), LakeError> {
        let wrong = |field: &str, problem: String| {
            Err(LakeError::Setting { field: format!("training.{field}"), problem })
        };
        if !(self.lr > 0.0 && self.lr.is_finite()) {
            return wrong("lr", format!("is {}, expected a finite number above 0", self.lr));
        }
        let counts = [
            ("steps", self.steps),
            ("hidden", self.hidden as u64),
            ("sft_steps", self.sft_steps),
            ("fit_steps", self.fit_steps),
        ];
        if let Some((field, _)) = counts.into_iter().find(|&(_, count)| count == 0) {
            return wrong(field, "is 0, expected 1 or more".to_owned());
        }
        let ratio = self.warmup_ratio;
        if !(0.0..=1.0).contains(&ratio) {
            return wrong("warmup_ratio", format!("is {ratio}, expected a number from 0 to 1"));
        }
        for (field, steps) in [("steps", self.steps), ("sft_steps", self.sft_steps)] {
            let lr = self.learning_rate(steps);
            if (0..steps).all(|step| lr.at(step) == 0.0) {
                let problem = format!(
                    "is {ratio}, but `training.{field}` is {steps}, and the learning rate is 0 in \
                     the first step of a warm-up; expected 0, or more steps"
                );
                return wrong("warmup_ratio", problem);
            }
        }
        Ok(())
    }

    /// The learning rate of a run over `steps` steps.
    fn learning_rate(&self, steps: u64) -> LearningRate {
        let warmup = (steps as f64 * self.warmup_ratio).ceil() as u64;
        LearningRate { peak: self.lr, curve: self.schedule, steps, warmup }
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

impl TrainingRun<'_> {
    /// The optimizer of the run for a network, before the first step.
    pub(crate) fn optimizer(&self, network: &Network) -> NetworkOptimizer {
        let lr = self.training.learning_rate(self.steps);
        NetworkOptimizer::new(self.training.optimizer, network, lr)
    }

    /// Warm-up of a `linear` λ, in steps: that of the learning rate, or a tenth of all steps if it
    /// has none.
    pub(crate) fn lambda_warmup(&self) -> u64 {
        match self.training.learning_rate(self.steps).warmup {
            0 => self.steps / 10,
            warmup => warmup,
        }
    }
}

/// The result of a training run.
pub(crate) struct Trained {
    pub(crate) network: Network,
    /// How often training used each state as an input.
    pub(crate) inputs: InputCounts,
    /// Whether training diverged. If so, `network` is the policy before the step that diverged.
    pub(crate) diverged: bool,
}

#[cfg(test)]
mod tests;
