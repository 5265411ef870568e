//! The two claims of the paper's section 5.3, and whether they hold in a scene.

use serde::Serialize;

use crate::{
    measure::Measure,
    statistics::{Estimate, holm, paired_p_above},
};

/// The four methods that the paper compares on Frozen Lake.
pub const PAPER_METHODS: [&str; 4] = ["dpo", "ift", "orpo", "sft"];

/// The learner by which a claim is tested for one of the [`PAPER_METHODS`], of the learners with
/// these labels: the method with its defaults, or else the first with other settings.
pub(crate) fn tested_as<'a>(labels: &[&'a str], method: &str) -> Option<&'a str> {
    let has_settings =
        |label: &&str| label.strip_prefix(method).is_some_and(|rest| rest.starts_with(' '));
    let labels = || labels.iter().copied();
    labels().find(|label| *label == method).or_else(|| labels().find(has_settings))
}

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
    /// `p` after Holm's correction over all scenes, or all groups, of the study, by claim and
    /// measure.
    pub p_holm: f64,
    /// p-value of the test against the claim: three times the smallest p-value of the opposite of a
    /// relation, at most 1.
    pub p_against: f64,
    /// `p_against` after Holm's correction over the same tests as `p_holm`.
    pub p_against_holm: f64,
    /// What the corrected p-values say.
    pub outcome: Outcome,
}

/// One relation of a claim, tested sample by sample.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Relation {
    /// Label of the learner that is claimed to be better.
    pub better: String,
    /// Label of the learner that is claimed to be worse.
    pub worse: String,
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

/// Level of significance after Holm's correction.
const LEVEL: f64 = 0.05;
/// Differences up to this size are 0: equal sums can differ by rounding.
const ROUNDING: f64 = 1e-12;

/// Every claim by every measure, not yet corrected by [`correct`]. `samples` returns the values of
/// a measure for one of the learners with these labels, in the same order for all learners. The
/// result is empty if the learners lack one of the [`PAPER_METHODS`].
pub(crate) fn verdicts(
    labels: &[&str],
    samples: impl Fn(&str, Measure) -> Option<Vec<f64>>,
) -> Vec<Verdict> {
    let mut verdicts = Vec::new();
    for claim in Claim::ALL {
        let tested = claim
            .relations()
            .into_iter()
            .map(|[better, worse]| Some([tested_as(labels, better)?, tested_as(labels, worse)?]));
        let Some(relations) = tested.collect::<Option<Vec<_>>>() else { return Vec::new() };
        for &measure in claim.measures() {
            let verdict = Verdict::new(claim, &relations, measure, &samples);
            let Some(verdict) = verdict else { return Vec::new() };
            verdicts.push(verdict);
        }
    }
    verdicts
}

/// Corrects the p-values of each claim and measure over all scenes, and sets the outcomes. Each
/// item is what [`verdicts`] returned for one scene.
pub(crate) fn correct<'a>(scenes: impl Iterator<Item = &'a mut Vec<Verdict>>) {
    let mut scenes: Vec<_> = scenes.filter(|verdicts| !verdicts.is_empty()).collect();
    let readings = scenes.iter().map(|verdicts| verdicts.len()).min().unwrap_or(0);
    for reading in 0..readings {
        let corrected = |p: fn(&Verdict) -> f64| {
            holm(&scenes.iter().map(|verdicts| p(&verdicts[reading])).collect::<Vec<_>>())
        };
        let (claimed, against) = (corrected(|v| v.p), corrected(|v| v.p_against));
        for ((verdicts, claimed), against) in scenes.iter_mut().zip(claimed).zip(against) {
            verdicts[reading].conclude(claimed, against);
        }
    }
}

impl Verdict {
    /// The verdict without correction; `None` without samples of a learner. `relations` are those
    /// of the claim, by the labels of learners.
    fn new(
        claim: Claim,
        relations: &[[&str; 2]],
        measure: Measure,
        samples: &impl Fn(&str, Measure) -> Option<Vec<f64>>,
    ) -> Option<Self> {
        // By relation, by sample.
        let mut advantages: Vec<Vec<f64>> = Vec::new();
        for [better, worse] in relations {
            let (better, worse) = (samples(better, measure)?, samples(worse, measure)?);
            advantages
                .push(better.iter().zip(&worse).map(|(b, w)| claim.advantage(*b, *w)).collect());
        }
        let relations = relations.iter().zip(&advantages);
        let relations: Vec<_> =
            relations.map(|(labels, advantages)| Relation::new(*labels, advantages)).collect();
        let count = advantages.iter().map(Vec::len).min().unwrap_or(0);
        let holding = (0..count).filter(|&sample| advantages.iter().all(|all| all[sample] > 0.0));
        let p = relations.iter().map(|relation| relation.p).fold(0.0, f64::max);
        let reversed = relations.iter().map(|relation| relation.p_opposite).fold(1.0, f64::min);
        let p_against = (reversed * relations.len() as f64).min(1.0);
        Some(Self {
            claim,
            measure,
            holds: relations.iter().all(|relation| relation.advantage.mean > 0.0),
            share: holding.count() as f64 / count.max(1) as f64,
            p,
            p_holm: p,
            p_against,
            p_against_holm: p_against,
            outcome: Outcome::Undecided,
            relations,
        })
    }

    /// Sets the corrected p-values and the outcome.
    fn conclude(&mut self, p_holm: f64, p_against_holm: f64) {
        (self.p_holm, self.p_against_holm) = (p_holm, p_against_holm);
        self.outcome = if p_holm < LEVEL {
            Outcome::Confirmed
        } else if p_against_holm < LEVEL {
            Outcome::Refuted
        } else {
            Outcome::Undecided
        };
    }
}

impl Claim {
    /// By how much the first value of a measure is better than the second; 0 if they differ only by
    /// rounding.
    pub fn advantage(self, first: f64, second: f64) -> f64 {
        let advantage = match self {
            Self::Distance => second - first,
            Self::Alignment => first - second,
        };
        if advantage.abs() <= ROUNDING { 0.0 } else { advantage }
    }
}

impl Relation {
    fn new([better, worse]: [&str; 2], advantages: &[f64]) -> Self {
        let opposite: Vec<_> = advantages.iter().map(|advantage| -advantage).collect();
        Self {
            better: better.to_owned(),
            worse: worse.to_owned(),
            advantage: Estimate::of(advantages),
            p: paired_p_above(advantages),
            p_opposite: paired_p_above(&opposite),
        }
    }
}

#[cfg(test)]
mod tests;
