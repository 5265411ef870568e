//! Direct Preference Optimization.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::answer::{Answer, Derivatives, PairLoss, logistic_loss, pair_losses};
use crate::{
    checks,
    error::MethodError,
    needs::{Needs, RowKind},
    objective::Objective,
    row::{RowLoss, RowScores},
};

/// Direct Preference Optimization (arXiv 2305.18290, eq. 7).
///
/// `-(1-ε)·log σ(β·h) - ε·log σ(-β·h)` with `h = (S_w - S_l) - (R_w - R_l)`, where `S` and `R` are
/// the log-probabilities of an answer under policy and reference, `w` chosen and `l` rejected. The
/// reward of an answer is `β·(S - R)`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Dpo {
    /// Strength of the KL regularisation towards the reference, above 0: the larger, the closer
    /// the policy stays to it.
    #[schemars(extend("exclusiveMinimum" = 0.0))]
    pub beta: f64,
    /// Assumed share of pairs with swapped labels `ε`, 0 to 0.5 (conservative DPO).
    #[schemars(range(min = 0.0, max = 0.5))]
    pub label_smoothing: f64,
    /// Use a uniform distribution instead of a reference model.
    pub reference_free: bool,
}

impl Default for Dpo {
    fn default() -> Self {
        Self { beta: 0.1, label_smoothing: 0.0, reference_free: false }
    }
}

impl Objective for Dpo {
    fn needs(&self) -> Needs {
        if self.reference_free {
            Needs::only(RowKind::Pair)
        } else {
            Needs::with_reference(RowKind::Pair)
        }
    }

    fn losses(&self, rows: &[RowScores], _: f64) -> Vec<RowLoss> {
        pair_losses(rows, |chosen, rejected| {
            let ratio = |answer: &Answer| {
                if self.reference_free { answer.logps } else { answer.log_ratio() }
            };
            let (chosen, rejected) = (ratio(chosen), ratio(rejected));
            let (loss, derivative) =
                logistic_loss(self.beta * (chosen - rejected), self.label_smoothing);
            let derivatives = |derivative, ratio| Derivatives {
                logps: derivative,
                divergence: None,
                reward: self.beta * ratio,
            };
            PairLoss {
                loss,
                chosen: derivatives(self.beta * derivative, chosen),
                rejected: derivatives(-self.beta * derivative, rejected),
            }
        })
    }

    fn validate(&self) -> Result<(), MethodError> {
        checks::positive("beta", self.beta)?;
        let smooth = (0.0..=0.5).contains(&self.label_smoothing);
        checks::range("label_smoothing", self.label_smoothing, smooth, "a number from 0 to 0.5")
    }
}
