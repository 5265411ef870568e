//! The two claims of the paper's section 5.3, and whether they hold in a scene.

use serde::Serialize;

use crate::{measure::Measure, statistics::Estimate};

/// The four methods that the paper compares on Frozen Lake.
pub const PAPER_METHODS: [&str; 4] = ["dpo", "ift", "orpo", "sft"];

/// A claim of section 5.3.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Claim {
    /// The policy of IFT is closer to the optimal one than those of SFT and ORPO, and that of DPO
    /// is closer still. The paper says nothing about SFT against ORPO.
    Distance,
    /// The cells that training explores agree with the agent's own preference, most with DPO, then
    /// IFT, then ORPO, then SFT.
    Alignment,
}

impl Claim {
    /// Both claims.
    pub const ALL: [Self; 2] = [Self::Distance, Self::Alignment];

    /// Name in result files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Distance => "distance",
            Self::Alignment => "alignment",
        }
    }

    /// The relations that the claim asserts: the first method of each has a smaller distance
    /// ([`Claim::Distance`]) or a larger alignment ([`Claim::Alignment`]) than the second.
    pub fn relations(self) -> [[&'static str; 2]; 3] {
        match self {
            Self::Distance => [["dpo", "ift"], ["ift", "orpo"], ["ift", "sft"]],
            Self::Alignment => [["dpo", "ift"], ["ift", "orpo"], ["orpo", "sft"]],
        }
    }

    /// The measures that the claim can be read with; the first is the one that the paper names.
    pub fn measures(self) -> &'static [Measure] {
        match self {
            Self::Distance => &[
                Measure::Fitted,
                Measure::Mse,
                Measure::FittedTerminal,
                Measure::MseTerminal,
                Measure::MseFirst,
                Measure::MseFirstTerminal,
                Measure::FittedBest,
                Measure::MseBest,
            ],
            Self::Alignment => &[
                Measure::Aligned,
                Measure::AlignedStart,
                Measure::AlignedEnd,
                Measure::AlignedCells,
            ],
        }
    }
}

/// Whether a claim holds in a scene by one measure.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Verdict {
    /// The claim.
    pub claim: Claim,
    /// The measure that it is read with.
    pub measure: Measure,
    /// The relations of the claim, in the order of [`Claim::relations`].
    pub relations: Vec<Relation>,
    /// Whether all means are in the claimed relations.
    pub holds: bool,
    /// Share of the samples in which all relations hold.
    pub share: f64,
    /// p-value of the test of the claim: the largest of those of its relations (an
    /// intersection-union test).
    pub p: f64,
    /// `p` after Holm's correction over all scenes of the study, by claim and measure.
    pub p_holm: f64,
    /// p-value of the test against the claim: three times the smallest p-value of the opposite of a
    /// relation, at most 1.
    pub p_against: f64,
    /// `p_against` after Holm's correction over all scenes of the study, by claim and measure.
    pub p_against_holm: f64,
    /// What the corrected p-values say.
    pub outcome: Outcome,
}

/// One relation of a claim, tested sample by sample.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Relation {
    /// The method that is claimed to be better.
    pub better: &'static str,
    /// The method that is claimed to be worse.
    pub worse: &'static str,
    /// Mean advantage of the first over the second: positive if the relation holds.
    pub advantage: Estimate,
    /// One-sided p-value of Student's paired t-test: small if the relation holds.
    pub p: f64,
    /// One-sided p-value of the opposite: small if the relation is reversed.
    pub p_opposite: f64,
}

/// What a study says about a claim in a scene, at a level of 0.05 after Holm's correction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// All relations hold significantly.
    Confirmed,
    /// At least one relation is significantly reversed.
    Refuted,
    /// Neither.
    Undecided,
}

impl Outcome {
    /// Name in result files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Confirmed => "confirmed",
            Self::Refuted => "refuted",
            Self::Undecided => "undecided",
        }
    }
}
