//! [`Method`]: the recipe's `[method]` table, and what the trainer asks of it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    error::MethodError,
    ift::Ift,
    likelihood::{Lm, Sft},
    needs::{Coupling, LookAhead, Needs},
    objective::Objective,
    pairs::{Dpo, Ipo, Kto, Orpo, Simpo, Tdpo1, Tdpo2},
    row::{Reduction, RowLoss, RowScores},
    siblings::{Asft, Dft, Eaft, IwSft, Psft, ScheduledSampling},
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
    /// Direct Preference Optimization (arXiv 2305.18290), on pairs.
    Dpo(Dpo),
    /// Identity Preference Optimization (arXiv 2310.12036), on pairs.
    Ipo(Ipo),
    /// Odds Ratio Preference Optimization (arXiv 2403.07691), on pairs, without a reference.
    Orpo(Orpo),
    /// Simple Preference Optimization (arXiv 2405.14734), on pairs, without a reference.
    Simpo(Simpo),
    /// Token-level DPO, first form (arXiv 2404.11999), on pairs.
    Tdpo1(Tdpo1),
    /// Token-level DPO, second form (arXiv 2404.11999), on pairs.
    Tdpo2(Tdpo2),
    /// Kahneman–Tversky Optimization (arXiv 2402.01306), on answers judged one by one.
    Kto(Kto),
    /// Dynamic Fine-Tuning (arXiv 2508.05629).
    Dft(Dft),
    /// Anchored Supervised Fine-Tuning (arXiv 2509.23753).
    Asft(Asft),
    /// Entropy-Adaptive Fine-Tuning (arXiv 2601.02151).
    Eaft(Eaft),
    /// Importance-weighted SFT (arXiv 2507.12856).
    IwSft(IwSft),
    /// Proximal Supervised Fine-Tuning (arXiv 2508.17784).
    Psft(Psft),
    /// Scheduled sampling (arXiv 1506.03099, 1906.07651).
    ScheduledSampling(ScheduledSampling),
}

impl Method {
    /// What the rows are, and what [`RowScores`] must hold beside the policy's log-probabilities.
    pub fn needs(&self) -> Needs {
        self.objective().needs()
    }

    /// Losses and gradients of rows, in the order given.
    ///
    /// Under [`Coupling::Row`] any subset of a step's rows may be given, under [`Coupling::Batch`]
    /// all of them. Methods on pairs take the rows alternately chosen and rejected, and report
    /// sum and count (1 per pair) at the chosen row; a pair of which one answer is missing or
    /// without targets counts 0, as does any row without targets. Finite log-probabilities give
    /// finite results.
    ///
    /// `kl_point` is what [`Method::kl_point`] found for the step; only KTO reads it. The formulas
    /// stand at the settings of each method.
    pub fn losses(&self, rows: &[RowScores], kl_point: f64) -> Vec<RowLoss> {
        self.objective().losses(rows, kl_point)
    }

    /// KTO's KL point of a step, `z = max(0, mean of S - R)` over mismatched sequences (a prompt
    /// with another prompt's answer) under policy and reference; 0 for other methods. It is a
    /// constant in the gradient.
    pub fn kl_point(&self, mismatched: &[RowScores]) -> f64 {
        self.objective().kl_point(mismatched)
    }

    /// The plain negative log-likelihood of a row under this method's reduction: `(sum, count)`.
    ///
    /// It is what to log beside the loss: of the first pass, the SFT loss of the model; of IFT's
    /// second pass, its loss without weights; of a pair's chosen answer, how likely it still
    /// is.
    pub fn unweighted(&self, row: RowScores) -> (f64, f64) {
        let loss = RowLoss::unweighted(&row, self.reduction());
        (loss.sum, loss.count)
    }

    /// How token losses become the mean of a step. [`Reduction::Sequence`] for methods that see an
    /// answer as a whole.
    pub fn reduction(&self) -> Reduction {
        self.objective().reduction()
    }

    /// Which rows [`Method::losses`] needs together.
    pub fn coupling(&self) -> Coupling {
        self.objective().coupling()
    }

    /// What a first pass without gradient must choose at each target; `None` for methods of one
    /// pass.
    pub fn look_ahead(&self) -> Option<LookAhead> {
        self.objective().look_ahead()
    }

    /// Share `λ` of the look-ahead token in the second pass's input; 0 for methods of one pass.
    ///
    /// IFT mixes embeddings, `e[t] = (1-λ)·E[x[t]] + λ·E[ŷ[t]]` (eq. 17); a method that
    /// [replaces tokens](Method::replaces_tokens) reads `ŷ[t]` instead of `x[t]` with probability
    /// `λ`.
    ///
    /// `step` counts optimizer steps from 0. A pure function of its arguments, so a resumed run
    /// sees the same values.
    pub fn lambda_at(&self, step: u64, warmup_steps: u64, seed: u64) -> f64 {
        self.objective().lambda_at(step, warmup_steps, seed)
    }

    /// Whether the look-ahead token takes the input token's place, drawn for each target, instead
    /// of being mixed into its embedding.
    pub fn replaces_tokens(&self) -> bool {
        self.objective().replaces_tokens()
    }

    /// Whether the gradient reaches the embedding table through the inputs. IFT's table is a
    /// constant there; a tied one still gets the gradient of the output head.
    pub fn trains_input_embeddings(&self) -> bool {
        self.objective().trains_input_embeddings()
    }

    /// Checks ranges, and that no field is set which another setting leaves without effect.
    ///
    /// # Errors
    /// Names the field, what was found and what was expected.
    pub fn validate(&self) -> Result<(), MethodError> {
        self.objective().validate()
    }

    fn objective(&self) -> &dyn Objective {
        match self {
            Self::Lm(lm) => lm,
            Self::Sft(sft) => sft,
            Self::Ift(ift) => ift,
            Self::Dpo(dpo) => dpo,
            Self::Ipo(ipo) => ipo,
            Self::Orpo(orpo) => orpo,
            Self::Simpo(simpo) => simpo,
            Self::Tdpo1(tdpo1) => tdpo1,
            Self::Tdpo2(tdpo2) => tdpo2,
            Self::Kto(kto) => kto,
            Self::Dft(dft) => dft,
            Self::Asft(asft) => asft,
            Self::Eaft(eaft) => eaft,
            Self::IwSft(iw_sft) => iw_sft,
            Self::Psft(psft) => psft,
            Self::ScheduledSampling(scheduled_sampling) => scheduled_sampling,
        }
    }
}
