//! [`Method`]: the recipe's `[method]` table, and what the trainer asks of it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    error::MethodError,
    ift::Ift,
    likelihood::{self, Lm, Sft},
    row::{Reduction, RowLoss, RowScores},
};

/// The training method and its settings, chosen by `name`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "name", rename_all = "snake_case")]
pub enum Method {
    /// Plain next-token training on text, every token a target.
    Lm(Lm),
    /// Supervised fine-tuning on the assistant's turns.
    Sft(Sft),
    /// Intuitive Fine-Tuning (arXiv 2405.11870).
    Ift(Ift),
}

/// Which rows must be given to [`Method::losses`] together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coupling {
    /// Rows do not know each other: any split of a batch gives the same sums and gradients.
    Row,
    /// The loss of a row depends on its neighbours: all rows of an optimizer step belong in one call.
    Batch,
}

/// What the first pass chooses at each target, from the distribution that predicts it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum LookAhead {
    /// The most probable token.
    Greedy,
    /// The `k`-th most probable token, `k` counted from 1.
    TopK {
        /// Rank of the chosen token, at least 1.
        k: usize,
    },
    /// A draw from the softmax at a temperature.
    Sample {
        /// What the logits are divided by, greater than 0.
        temperature: f64,
    },
}

impl Method {
    /// Losses and gradients of rows, in the order given.
    ///
    /// Under [`Coupling::Row`] any subset of a step's rows may be given, under [`Coupling::Batch`] all of
    /// them. Finite log-probabilities give finite results; a row without targets gives sum and count 0.
    ///
    /// `lm` and `sft` are `-Σ ℓ[t]`; IFT is `-Σ W[t]·ℓ[t]` with the weights of eq. 21 (see [`Ift`]). The sum
    /// is divided by the row's number of targets under [`Reduction::Sequence`].
    pub fn losses(&self, rows: &[RowScores]) -> Vec<RowLoss> {
        match self {
            Self::Lm(_) | Self::Sft(_) => likelihood::losses(rows, self.reduction()),
            Self::Ift(ift) => ift.losses(rows),
        }
    }

    /// The plain negative log-likelihood of a row under this method's reduction: `(sum, count)`.
    ///
    /// It is what to log beside the loss: of the first pass, the SFT loss of the model; of IFT's second pass,
    /// its loss without weights.
    pub fn unweighted(&self, row: RowScores) -> (f64, f64) {
        let loss = RowLoss::weighted(&row.token_losses(), vec![1.0; row.logps.len()], self.reduction());
        (loss.sum, loss.count)
    }

    /// How token losses become the mean of a step.
    pub fn reduction(&self) -> Reduction {
        match self {
            Self::Lm(lm) => lm.reduction,
            Self::Sft(sft) => sft.reduction,
            Self::Ift(ift) => ift.reduction,
        }
    }

    /// Which rows [`Method::losses`] needs together.
    pub fn coupling(&self) -> Coupling {
        match self {
            Self::Lm(_) | Self::Sft(_) => Coupling::Row,
            Self::Ift(ift) => ift.coupling(),
        }
    }

    /// What a first pass without gradient must choose at each target; `None` for methods of one pass.
    pub fn look_ahead(&self) -> Option<LookAhead> {
        match self {
            Self::Lm(_) | Self::Sft(_) => None,
            Self::Ift(ift) => Some(ift.look_ahead()),
        }
    }

    /// Share `λ` of the look-ahead token's embedding in the second pass's input (eq. 17):
    /// `e[t] = (1-λ)·E[x[t]] + λ·E[ŷ[t]]`; 0 for methods of one pass.
    ///
    /// `step` counts optimizer steps from 0. A pure function of its arguments, so a resumed run sees the same
    /// values.
    pub fn lambda_at(&self, step: u64, warmup_steps: u64, seed: u64) -> f64 {
        match self {
            Self::Lm(_) | Self::Sft(_) => 0.0,
            Self::Ift(ift) => ift.lambda_at(step, warmup_steps, seed),
        }
    }

    /// Whether the gradient reaches the embedding table through the inputs. IFT's table is a constant there;
    /// a tied one still gets the gradient of the output head.
    pub fn trains_input_embeddings(&self) -> bool {
        match self {
            Self::Lm(_) | Self::Sft(_) => true,
            Self::Ift(_) => false,
        }
    }

    /// Checks ranges, and that no field is set which another setting leaves without effect.
    ///
    /// # Errors
    /// Names the field, what was found and what was expected.
    pub fn validate(&self) -> Result<(), MethodError> {
        match self {
            Self::Lm(_) | Self::Sft(_) => Ok(()),
            Self::Ift(ift) => ift.validate(),
        }
    }
}
