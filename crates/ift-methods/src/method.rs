//! [`Method`]: the `[method]` table of a recipe, and the functions that the trainer calls.

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
///
/// ```
/// use ift_methods::{Method, RowScores};
///
/// let method: Method = toml::from_str("name = 'sft'").unwrap();
/// // Two targets with probabilities 1/2 and 1/4.
/// let logps = [0.5_f64.ln(), 0.25_f64.ln()];
/// let row = RowScores { logps: &logps, positions: &[1, 2], ..RowScores::default() };
/// let loss = method.losses(&[row], 0.0).remove(0);
/// // The mean of -ln p over the targets, and its derivative by each one.
/// assert_eq!(loss.sum, 1.5 * 2.0_f64.ln());
/// assert_eq!((loss.count, loss.gradient), (1.0, vec![-0.5, -0.5]));
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "name", rename_all = "snake_case")]
pub enum Method {
    /// Plain next-token training on text, every token a target.
    Lm(Lm),
    /// Supervised fine-tuning on the turns of the assistant.
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
    /// Kahneman–Tversky Optimization (arXiv 2402.01306), on single answers with a binary label.
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
    /// The kind of rows, and the fields of [`RowScores`] that must be given in addition
    /// to the log-probabilities of the policy.
    pub fn needs(&self) -> Needs {
        self.objective().needs()
    }

    /// Losses and gradients of answers, in the order given.
    ///
    /// With [`Coupling::Row`] any subset of the rows of a step may be given, with
    /// [`Coupling::Batch`] all rows must be. Methods on pairs expect the answers alternately chosen
    /// and rejected, and return sum and count (1 per pair) with the chosen one. An answer without
    /// targets counts 0, and so does a pair if one of its answers is missing or without targets.
    /// Finite log-probabilities give finite results.
    ///
    /// `kl_point` is the result of [`Method::kl_point`] for the step; only KTO reads it. The type
    /// of each method documents its formula.
    pub fn losses(&self, rows: &[RowScores], kl_point: f64) -> Vec<RowLoss> {
        self.objective().losses(rows, kl_point)
    }

    /// KTO's reference point `z₀` of a step (the KL point), 0 for other methods:
    /// `z₀ = max(0, mean of S - R)` over mismatched sequences (a prompt with the answer of another
    /// row), with `S` and `R` the log-probabilities under policy and reference. It is a constant in
    /// the gradient.
    pub fn kl_point(&self, mismatched: &[RowScores]) -> f64 {
        self.objective().kl_point(mismatched)
    }

    /// The plain negative log-likelihood of an answer under the reduction of this method, without
    /// the weights of its targets: `(sum, count)`.
    ///
    /// It is logged next to the loss. For a first pass it is the SFT loss of the model, for the
    /// second pass of IFT its loss without weights, and for the chosen answer of a pair it shows
    /// whether the answer becomes less likely.
    pub fn unweighted(&self, row: RowScores) -> (f64, f64) {
        let row = RowScores { target_weights: &[], ..row };
        let loss = RowLoss::likelihood(&row, self.reduction());
        (loss.sum, loss.count)
    }

    /// How token losses are averaged over a step. [`Reduction::Sequence`] for methods whose loss
    /// depends only on sums over an answer.
    pub fn reduction(&self) -> Reduction {
        self.objective().reduction()
    }

    /// Which rows must be given to [`Method::losses`] together.
    pub fn coupling(&self) -> Coupling {
        self.objective().coupling()
    }

    /// How a first pass without gradient selects a token at each target; `None` for methods with
    /// one pass.
    pub fn look_ahead(&self) -> Option<LookAhead> {
        self.objective().look_ahead()
    }

    /// Share `λ` of the look-ahead token in the input of the second pass; 0 for methods with one
    /// pass.
    ///
    /// IFT mixes embeddings, `e[t] = (1-λ)·E[x[t]] + λ·E[ŷ[t]]` (eq. 17); a method that
    /// [replaces tokens](Method::replaces_tokens) reads `ŷ[t]` instead of `x[t]` with probability
    /// `λ`.
    ///
    /// `step` counts optimizer steps from 0. The result depends only on the arguments, so a resumed
    /// run gets the same values.
    pub fn lambda_at(&self, step: u64, warmup_steps: u64, seed: u64) -> f64 {
        self.objective().lambda_at(step, warmup_steps, seed)
    }

    /// Whether the look-ahead token replaces the input token, by a random draw for each target,
    /// instead of being mixed into its embedding.
    pub fn replaces_tokens(&self) -> bool {
        self.objective().replaces_tokens()
    }

    /// Whether the embedding table gets a gradient through the inputs. For IFT it does not, and SFT
    /// has a setting for it; a table that is tied to the output head still gets the gradient of the
    /// head.
    pub fn trains_input_embeddings(&self) -> bool {
        self.objective().trains_input_embeddings()
    }

    /// Checks that every field is in its range, and that no field is set which has no effect under
    /// the other settings.
    ///
    /// # Errors
    /// Names the field, the value found and the values expected.
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
