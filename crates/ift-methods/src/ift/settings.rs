//! IFT's settings: the fields of the `[method]` table with `name = "ift"`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    checks::{effect, positive, range, share},
    error::MethodError,
    lambda::{LambdaSchedule, Schedule},
    needs::LookAhead,
    row::Reduction,
};

/// Intuitive Fine-Tuning (arXiv 2405.11870). The defaults are the published values.
///
/// A first pass without gradient selects a token `ŷ[t]` at each target. The input embeddings of the
/// second pass are `(1-λ)·E[x[t]] + λ·E[ŷ[t]]` (eq. 17). Its token losses `l[t]` are weighted by
/// their relations to other targets (eq. 21): `L = (1/n)·Σ W[t]·l[t]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Ift {
    /// Share of the look-ahead token in the input embedding of the second pass, 0 to 1.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub lambda: f64,
    /// Decay of a relation per position, 0 to 1; 0 makes all weights 1.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub gamma: f64,
    /// The values that are propagated: `loss` the token losses divided by the number of targets of
    /// the row, `logps` the token losses, `mask` 1 for each target.
    pub source: Source,
    /// `left`: the weight of a target grows with the values after it. `right`: it is the inverse
    /// of the values before it.
    pub side: Side,
    /// How relations become weights.
    pub norm: Norm,
    /// Whether the weights are constants in the gradient.
    pub detach_weights: bool,
    /// `sequence`: mean over rows of the mean over the targets of each row. `token`: mean over all
    /// targets of the step.
    pub reduction: Reduction,
    /// How targets are weighted: `code` as in the program of the authors; the others by positions
    /// alone. `paper` is eq. 21 with weights scaled to sum to the number of targets, `equation`
    /// eq. 21 as printed and `algorithm` Algorithm 1 as printed. The weights of the last two are
    /// not scaled, so the size of the gradient, and with it the effective learning rate, depends
    /// on the length of a row.
    pub formula: Formula,
    /// With `side = "right"`, the range of the smallest relation, which is added to all: `batch`
    /// as in the program of the authors, where the loss of a row depends on the other rows of
    /// the step, or `row`.
    pub minimum: Minimum,
    /// How the first pass selects a token.
    pub look_ahead: LookAheadKind,
    /// With `look_ahead = "topk"`: the rank of the token, at most 1024; 1 is the most probable one.
    #[schemars(range(min = 1))]
    pub k: usize,
    /// With `look_ahead = "sample"`: the temperature, by which the logits are divided; above 0.
    pub temperature: f64,
    /// How λ changes over the optimizer steps.
    pub lambda_schedule: LambdaSchedule,
    /// With `lambda_schedule = "linear"`: λ of the first step.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub min_lambda: f64,
    /// With `lambda_schedule = "linear"`: λ after the warm-up.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub max_lambda: f64,
    /// With `lambda_schedule = "noisy"`: standard deviation of the noise, as a share of λ.
    #[schemars(range(min = 0.0))]
    pub sigma: f64,
}

/// The source values of relation propagation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// `-ℓ[t]/n`
    Loss,
    /// `-ℓ[t]`
    Logps,
    /// 1
    Mask,
}

/// The direction in which relations accumulate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// From the end of the row: `C[t] = a[t] + γ·C[t+1]`.
    Left,
    /// From the start of the row, inverted: `C[t] = a[t] + γ·C[t-1]`.
    Right,
}

impl Side {
    pub(super) fn opposite(self) -> Self {
        match self {
            Self::Left => Self::Right,
            Self::Right => Self::Left,
        }
    }
}

/// How relations `C` become weights, before they are scaled to sum to the number of targets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Norm {
    /// `C`, or `1/C` for the right side.
    #[serde(rename = "L1")]
    L1,
    /// `C²`, or `1/C²` for the right side.
    #[serde(rename = "L2")]
    L2,
    /// Softmax over the row of `C`, or of `1/C` for the right side.
    Softmax,
    /// `log(1+C)`, or its inverse for the right side.
    Log,
}

/// How the targets of a row are weighted: four readings of eq. 21 and Algorithm 1 of the paper.
///
/// `l` are the token losses of a row, `n` is its number of targets and `N` the last of them.
/// Distances are in positions, so masked positions between two targets count. With `gamma = 0`
/// every formula has weights of 1. The sum of the weighted losses is divided as the `reduction`
/// says.
///
/// The weights of `code` and `paper` sum to `n`. Those of `equation` and `algorithm` do not: they
/// change the size of the gradient with the length of the row, and so the effective learning rate.
/// Their sums below are for targets without gaps, `1/(1-γ)` being 20 with the published `γ`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Formula {
    /// As in the program of the authors: weights by `source`, `side` and `norm`.
    Code,
    /// `Σ_t Σ_{i≥t} γ^(i-t)·l[i]` (eq. 21), scaled: the weight of target `i` is
    /// `Σ_{t≤i} γ^(i-t)`, times a factor with which the weights sum to `n`.
    Paper,
    /// Eq. 21 as printed: the weight of target `i` is `Σ_{t≤i} γ^(i-t)`, 1 for the first target and
    /// up to `1/(1-γ)` for later ones. The weights sum to `Σ_{k=1..n} (1-γ^k)/(1-γ)`: the gradient
    /// of a row of one target is SFT's, that of a long row up to `1/(1-γ)` times as large.
    Equation,
    /// Algorithm 1 as printed, `Σ_t γ^(N-t)·Σ_{i≥t} l[i]`: the weight of target `i` is
    /// `Σ_{t≤i} γ^(N-t)`, which is `γ^(N-i)` times that of `equation`. Only the end of a row has
    /// weights that matter. They sum to `Σ_{k=1..n} k·γ^(k-1)`, at most `1/(1-γ)²` whatever `n`,
    /// so the gradient of a long row is small. A small `γ` leaves only the last target, while
    /// `γ = 0` has weights of 1 as under every formula.
    Algorithm,
}

/// The rows over which the smallest relation is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Minimum {
    /// All rows of an optimizer step.
    Batch,
    /// Each row by itself.
    Row,
}

/// How the first pass selects a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LookAheadKind {
    /// The most probable token.
    Greedy,
    /// The `k`-th most probable token.
    Topk,
    /// A draw from the softmax of the logits divided by `temperature`.
    Sample,
}

impl Default for Ift {
    fn default() -> Self {
        Self {
            lambda: 0.2,
            gamma: 0.95,
            source: Source::Loss,
            side: Side::Left,
            norm: Norm::L1,
            detach_weights: false,
            reduction: Reduction::Sequence,
            formula: Formula::Code,
            minimum: Minimum::Batch,
            look_ahead: LookAheadKind::Greedy,
            k: 2,
            temperature: 0.7,
            lambda_schedule: LambdaSchedule::Fixed,
            min_lambda: 0.0,
            max_lambda: 0.2,
            sigma: 0.5,
        }
    }
}

impl Ift {
    /// How the first pass selects a token.
    pub(super) fn first_pass(&self) -> LookAhead {
        match self.look_ahead {
            LookAheadKind::Greedy => LookAhead::Greedy,
            LookAheadKind::Topk => LookAhead::TopK { k: self.k },
            LookAheadKind::Sample => LookAhead::Sample { temperature: self.temperature },
        }
    }

    /// The schedule of λ.
    pub(super) fn schedule(&self) -> Schedule {
        Schedule {
            kind: self.lambda_schedule,
            lambda: self.lambda,
            min: self.min_lambda,
            max: self.max_lambda,
            sigma: self.sigma,
        }
    }

    /// Checks ranges, then fields without effect.
    pub(super) fn validate_settings(&self) -> Result<(), MethodError> {
        self.schedule().validate_ranges()?;
        share("gamma", self.gamma)?;
        positive("temperature", self.temperature)?;
        range("k", self.k as f64, self.k >= 1, "a whole number, 1 or more")?;
        self.validate_effects()
    }

    /// Checks that a field that differs from its default has an effect.
    fn validate_effects(&self) -> Result<(), MethodError> {
        let default = Self::default();
        let code = self.formula == Formula::Code;
        let right = code && self.side == Side::Right;

        self.schedule().validate_effects(default.schedule())?;
        effect("k", &self.k, &default.k, self.look_ahead == LookAheadKind::Topk, TOPK)?;
        let samples = self.look_ahead == LookAheadKind::Sample;
        effect("temperature", &self.temperature, &default.temperature, samples, SAMPLE)?;
        effect("source", &self.source, &default.source, code, CODE)?;
        effect("side", &self.side, &default.side, code, CODE)?;
        effect("norm", &self.norm, &default.norm, code, CODE)?;
        effect("detach_weights", &self.detach_weights, &default.detach_weights, code, CODE)?;
        effect("minimum", &self.minimum, &default.minimum, right, RIGHT)
    }
}

const TOPK: &str = "`look_ahead = \"topk\"`";
const SAMPLE: &str = "`look_ahead = \"sample\"`";
const CODE: &str = "`formula = \"code\"`";
const RIGHT: &str = "`side = \"right\"`";
