//! The `[optimizer]` table, and the rule it gives for each step.

use ift_backend::{NumberType, Update};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::TrainError;

/// The optimizer and its settings, chosen by `name`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "name", rename_all = "lowercase")]
pub enum Optimizer {
    /// `torch.optim.RMSprop`: the gradient over the root of its running mean square. The paper's
    /// choice.
    Rmsprop(RmsProp),
    /// `torch.optim.RMSprop` on weights in bfloat16, as the authors of IFT train: weights,
    /// gradients and running mean squares are rounded to bfloat16 in every step, to the bits of
    /// torch on a CPU. An update below 1/512 of its weight has no effect at all. For reproduction
    /// only; it saves no memory, and not together with an `[adapter]` or `train.ema_decay`.
    #[serde(rename = "rmsprop_bf16")]
    RmspropBf16(RmsPropBf16),
    /// `torch.optim.AdamW`: Adam with decoupled weight decay (arXiv 1711.05101).
    Adamw(AdamW),
    /// `torch.optim.SGD`, with momentum if asked for.
    Sgd(Sgd),
}

/// Settings of `rmsprop`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RmsProp {
    /// Learning rate at its peak.
    #[schemars(range(min = 0.0))]
    pub lr: f64,
    /// Smoothing constant of the running mean square, from 0 to below 1.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub alpha: f64,
    /// Added to the root of the running mean square; above 0.
    #[schemars(extend("exclusiveMinimum" = 0.0))]
    pub eps: f64,
    /// Momentum, from 0 to below 1; 0 keeps no buffer.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub momentum: f64,
    /// Penalty added to the gradient of matrices (not of norms and biases).
    #[schemars(range(min = 0.0))]
    pub weight_decay: f64,
    /// Largest global norm of the gradient, which is scaled down to it; 0 for no limit.
    #[schemars(range(min = 0.0))]
    pub clip: f64,
}

/// Settings of `rmsprop_bf16`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RmsPropBf16 {
    /// Learning rate at its peak.
    #[schemars(range(min = 0.0))]
    pub lr: f64,
    /// Smoothing constant of the running mean square, from 0 to below 1.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub alpha: f64,
    /// Added to the root of the running mean square; above 0.
    #[schemars(extend("exclusiveMinimum" = 0.0))]
    pub eps: f64,
    /// Largest global norm of the gradient, which is scaled down to it; 0 for no limit.
    #[schemars(range(min = 0.0))]
    pub clip: f64,
}

/// Settings of `adamw`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AdamW {
    /// Learning rate at its peak.
    #[schemars(range(min = 0.0))]
    pub lr: f64,
    /// Decay of the running mean, from 0 to below 1.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub beta1: f64,
    /// Decay of the running mean square, from 0 to below 1.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub beta2: f64,
    /// Added to the root of the running mean square; above 0.
    #[schemars(extend("exclusiveMinimum" = 0.0))]
    pub eps: f64,
    /// Share of the weight, times the learning rate, by which matrices shrink in a step (norms and
    /// biases do not).
    #[schemars(range(min = 0.0))]
    pub weight_decay: f64,
    /// Largest global norm of the gradient, which is scaled down to it; 0 for no limit.
    #[schemars(range(min = 0.0))]
    pub clip: f64,
}

/// Settings of `sgd`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Sgd {
    /// Learning rate at its peak.
    #[schemars(range(min = 0.0))]
    pub lr: f64,
    /// Momentum, from 0 to below 1; 0 keeps no buffer.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub momentum: f64,
    /// Penalty added to the gradient of matrices (not of norms and biases).
    #[schemars(range(min = 0.0))]
    pub weight_decay: f64,
    /// Largest global norm of the gradient, which is scaled down to it; 0 for no limit.
    #[schemars(range(min = 0.0))]
    pub clip: f64,
}

/// The paper's learning rate and clipping norm.
const LR: f64 = 5e-7;
const CLIP: f64 = 10.0;

impl Default for RmsProp {
    fn default() -> Self {
        Self { lr: LR, alpha: 0.99, eps: 1e-8, momentum: 0.0, weight_decay: 0.0, clip: CLIP }
    }
}

impl Default for RmsPropBf16 {
    fn default() -> Self {
        Self { lr: LR, alpha: 0.99, eps: 1e-8, clip: CLIP }
    }
}

impl Default for AdamW {
    fn default() -> Self {
        Self { lr: LR, beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0.01, clip: CLIP }
    }
}

impl Default for Sgd {
    fn default() -> Self {
        Self { lr: LR, momentum: 0.0, weight_decay: 0.0, clip: CLIP }
    }
}

impl Default for Optimizer {
    fn default() -> Self {
        Self::Rmsprop(RmsProp::default())
    }
}

impl Optimizer {
    /// Learning rate at its peak.
    pub fn lr(&self) -> f64 {
        match self {
            Self::Rmsprop(s) => s.lr,
            Self::RmspropBf16(s) => s.lr,
            Self::Adamw(s) => s.lr,
            Self::Sgd(s) => s.lr,
        }
    }

    /// Largest global norm of the gradient; 0 for no limit.
    pub fn clip(&self) -> f64 {
        match self {
            Self::Rmsprop(s) => s.clip,
            Self::RmspropBf16(s) => s.clip,
            Self::Adamw(s) => s.clip,
            Self::Sgd(s) => s.clip,
        }
    }

    /// The number type that weights are rounded to in every step, where it is narrower than that of
    /// the computation.
    pub fn rounds_to(&self) -> Option<NumberType> {
        matches!(self, Self::RmspropBf16(_)).then_some(NumberType::Bf16)
    }

    /// The rule of one step for one tensor: `step` counts from 0, `lr` is the scheduled learning
    /// rate, `decay` whether weight decay applies to the tensor.
    pub fn rule(&self, step: u64, lr: f64, decay: bool) -> Update {
        let decayed = |weight_decay: f64| if decay { weight_decay } else { 0.0 };
        match *self {
            Self::Rmsprop(RmsProp { alpha, eps, momentum, weight_decay, .. }) => {
                Update::RmsProp { lr, alpha, eps, momentum, weight_decay: decayed(weight_decay) }
            }
            Self::RmspropBf16(RmsPropBf16 { alpha, eps, .. }) => {
                Update::RmsPropBf16 { lr, alpha, eps }
            }
            Self::Adamw(AdamW { beta1, beta2, eps, weight_decay, .. }) => Update::AdamW {
                lr,
                beta1,
                beta2,
                eps,
                weight_decay: decayed(weight_decay),
                step: step + 1,
            },
            Self::Sgd(Sgd { momentum, weight_decay, .. }) => {
                Update::Sgd { lr, momentum, weight_decay: decayed(weight_decay) }
            }
        }
    }

    /// What torch calls the states of the rule, in the order in which [`Update`] keeps them.
    pub fn state_names(&self) -> &'static [&'static str] {
        let names: &[&str] = match self {
            Self::Rmsprop(_) | Self::RmspropBf16(_) => &["square_avg", "momentum_buffer"],
            Self::Adamw(_) => &["exp_avg", "exp_avg_sq"],
            Self::Sgd(_) => &["momentum_buffer"],
        };
        &names[..self.rule(0, self.lr(), false).states()]
    }

    /// Checks every setting.
    ///
    /// # Errors
    /// Names the first that cannot be used.
    pub fn validate(&self) -> Result<(), TrainError> {
        match *self {
            Self::Rmsprop(RmsProp { lr, alpha, eps, momentum, weight_decay, clip }) => {
                not_negative([("lr", lr), ("weight_decay", weight_decay), ("clip", clip)])?;
                divisor([("eps", eps)])?;
                below_one([("alpha", alpha), ("momentum", momentum)])
            }
            Self::RmspropBf16(RmsPropBf16 { lr, alpha, eps, clip }) => {
                not_negative([("lr", lr), ("clip", clip)])?;
                divisor([("eps", eps)])?;
                below_one([("alpha", alpha)])
            }
            Self::Adamw(AdamW { lr, beta1, beta2, eps, weight_decay, clip }) => {
                not_negative([("lr", lr), ("weight_decay", weight_decay), ("clip", clip)])?;
                divisor([("eps", eps)])?;
                below_one([("beta1", beta1), ("beta2", beta2)])
            }
            Self::Sgd(Sgd { lr, momentum, weight_decay, clip }) => {
                not_negative([("lr", lr), ("weight_decay", weight_decay), ("clip", clip)])?;
                below_one([("momentum", momentum)])
            }
        }
    }
}

fn not_negative<const N: usize>(settings: [(&str, f64); N]) -> Result<(), TrainError> {
    check(settings, |v| v.is_finite() && v >= 0.0, "a finite number, 0 or more")
}

/// Where a gradient is 0, the update divides 0 by this setting, perhaps in f32.
fn divisor<const N: usize>(settings: [(&str, f64); N]) -> Result<(), TrainError> {
    let fits = |v: f64| (v as f32) >= f32::MIN_POSITIVE && (v as f32).is_finite();
    check(settings, fits, "a number from 1.2e-38 on that f32 can represent")
}

fn below_one<const N: usize>(settings: [(&str, f64); N]) -> Result<(), TrainError> {
    check(settings, |v| (0.0..1.0).contains(&v), "a number from 0 to below 1")
}

fn check<const N: usize>(
    settings: [(&str, f64); N],
    fits: impl Fn(f64) -> bool,
    expected: &str,
) -> Result<(), TrainError> {
    match settings.iter().find(|(_, value)| !fits(*value)) {
        Some((name, value)) => Err(TrainError::recipe(
            format!("optimizer.{name}"),
            format!("is {value}, expected {expected}"),
        )),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eps_must_be_above_zero_in_f32() {
        for eps in [0.0, -1e-8, 1e-46, 1e-40, 1e39, f64::NAN] {
            for optimizer in [
                Optimizer::Rmsprop(RmsProp { eps, ..RmsProp::default() }),
                Optimizer::RmspropBf16(RmsPropBf16 { eps, ..RmsPropBf16::default() }),
                Optimizer::Adamw(AdamW { eps, ..AdamW::default() }),
            ] {
                let message = optimizer.validate().unwrap_err().to_string();
                assert!(message.contains("`optimizer.eps`"), "{message}");
            }
        }
        let smallest = RmsProp { eps: 1e-30, ..RmsProp::default() };
        Optimizer::Rmsprop(smallest).validate().unwrap();
    }

    #[test]
    fn rules_carry_the_settings() {
        let adamw = Optimizer::Adamw(AdamW::default());
        let rule = Update::AdamW {
            lr: 0.5,
            beta1: 0.9,
            beta2: 0.999,
            eps: 1e-8,
            weight_decay: 0.01,
            step: 4,
        };
        assert_eq!(adamw.rule(3, 0.5, true), rule);
        assert_eq!(adamw.state_names(), ["exp_avg", "exp_avg_sq"]);
        let rms = Optimizer::Rmsprop(RmsProp { weight_decay: 0.1, ..RmsProp::default() });
        let rule =
            Update::RmsProp { lr: 0.5, alpha: 0.99, eps: 1e-8, momentum: 0.0, weight_decay: 0.0 };
        assert_eq!(rms.rule(0, 0.5, false), rule);
        assert_eq!(rms.state_names(), ["square_avg"]);
        let momentum = Optimizer::Rmsprop(RmsProp { momentum: 0.9, ..RmsProp::default() });
        assert_eq!(momentum.state_names(), ["square_avg", "momentum_buffer"]);
        let bf16 = Optimizer::RmspropBf16(RmsPropBf16::default());
        assert_eq!(
            bf16.rule(0, 0.5, true),
            Update::RmsPropBf16 { lr: 0.5, alpha: 0.99, eps: 1e-8 }
        );
        assert_eq!(bf16.state_names(), ["square_avg"]);
        assert_eq!((bf16.rounds_to(), rms.rounds_to()), (Some(NumberType::Bf16), None));
        assert!(Optimizer::Sgd(Sgd::default()).state_names().is_empty());
        assert_eq!(
            Optimizer::Sgd(Sgd { momentum: 0.5, ..Sgd::default() }).state_names(),
            ["momentum_buffer"]
        );
    }
}
