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

/// Intuitive Fine-Tuning (arXiv 2405.11870), with the values the paper published as defaults.
///
/// A first pass without gradient chooses a token `ŷ[t]` at each target; a second pass reads
/// `(1-λ)·E[x[t]] + λ·E[ŷ[t]]` there (eq. 17); its token losses `l[t]` are weighted by what they
/// influence (eq. 21): `L = (1/n)·Σ W[t]·l[t]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Ift {
    /// Share of the look-ahead token in the second pass's input embedding, 0 to 1.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub lambda: f64,
    /// Decay of a relation per position, 0 to 1; 0 makes all weights 1.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub gamma: f64,
    /// What is propagated: `loss` the token losses over the row's number of targets, `logps` the
    /// token losses, `mask` one per target.
    pub source: Source,
    /// `left`: a target weighs what follows it. `right`: a target weighs the inverse of what came
    /// before it.
    pub side: Side,
    /// How relations become weights.
    pub norm: Norm,
    /// Whether the weights count as constants in the gradient.
    pub detach_weights: bool,
    /// `sequence`: mean over rows of each row's mean. `token`: mean over all targets of the step.
    pub reduction: Reduction,
    /// `code`: the authors' program. `paper`: eq. 21 as printed, with weights that depend on
    /// positions alone.
    pub formula: Formula,
    /// With `side = "right"`, where the smallest relation that is added to all is looked for:
    /// `batch` as the authors do, which makes a row's loss depend on its neighbours, or `row`.
    pub minimum: Minimum,
    /// How the first pass chooses its tokens.
    pub look_ahead: LookAheadKind,
    /// With `look_ahead = "topk"`: the rank of the chosen token, 1 being the most probable.
    #[schemars(range(min = 1))]
    pub k: usize,
    /// With `look_ahead = "sample"`: what the logits are divided by.
    pub temperature: f64,
    /// How λ moves over the optimizer steps.
    pub lambda_schedule: LambdaSchedule,
    /// With `lambda_schedule = "linear"`: λ of the first step.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub min_lambda: f64,
    /// With `lambda_schedule = "linear"`: λ from the end of the warm-up on.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub max_lambda: f64,
    /// With `lambda_schedule = "noisy"`: standard deviation of the noise, as a share of λ.
    #[schemars(range(min = 0.0))]
    pub sigma: f64,
}

/// What relation propagation starts from.
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
    /// From the row's end: `C[t] = a[t] + γ·C[t+1]`.
    Left,
    /// From the row's start, inverted: `C[t] = a[t] + γ·C[t-1]`.
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

/// Which reading of eq. 21 the weights follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Formula {
    /// The authors' program: weights made of the losses, by `source`, `side` and `norm`.
    Code,
    /// As printed, `Σ_n Σ_{i≥n} γ^(i-n)·l[i]`: target `i` weighs `Σ_{n≤i} γ^(i-n)`.
    Paper,
}

/// Where the smallest relation is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Minimum {
    /// Among all rows of an optimizer step.
    Batch,
    /// Within each row.
    Row,
}

/// How the first pass chooses its tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LookAheadKind {
    /// The most probable token.
    Greedy,
    /// The `k`-th most probable token.
    Topk,
    /// A draw from the softmax at `temperature`.
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
    /// What the first pass chooses.
    pub(super) fn first_pass(&self) -> LookAhead {
        match self.look_ahead {
            LookAheadKind::Greedy => LookAhead::Greedy,
            LookAheadKind::Topk => LookAhead::TopK { k: self.k },
            LookAheadKind::Sample => LookAhead::Sample { temperature: self.temperature },
        }
    }

    /// λ over the optimizer steps.
    pub(super) fn residual(&self) -> Schedule {
        Schedule {
            kind: self.lambda_schedule,
            lambda: self.lambda,
            min: self.min_lambda,
            max: self.max_lambda,
            sigma: self.sigma,
        }
    }

    /// Ranges first, then fields that another setting leaves without effect.
    pub(super) fn validate_settings(&self) -> Result<(), MethodError> {
        self.residual().validate_ranges()?;
        share("gamma", self.gamma)?;
        positive("temperature", self.temperature)?;
        range("k", self.k as f64, self.k >= 1, "a whole number, 1 or more")?;
        self.validate_effects()
    }

    /// A field that differs from its default must have an effect.
    fn validate_effects(&self) -> Result<(), MethodError> {
        let default = Self::default();
        let code = self.formula == Formula::Code;
        let right = code && self.side == Side::Right;

        self.residual().validate_effects(default.residual())?;
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
