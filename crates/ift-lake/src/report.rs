//! What a study found: the numbers that tables, files and pictures are made of.

use serde::Serialize;

use crate::{
    measure::Measure,
    optimum::Matrix,
    settings::Start,
    statistics::Estimate,
    trajectory::{Suboptimal, Trajectory},
    world::Ice,
};

/// A whole study.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Seeds that every number is a mean over.
    pub seeds: u64,
    /// Steps after which the curves' points were measured.
    pub curve_steps: Vec<u64>,
    /// One entry per map and ice.
    pub worlds: Vec<WorldReport>,
}

/// What was found in one world.
#[derive(Clone, Debug, Serialize)]
pub struct WorldReport {
    /// The map's name and the ice: `4x4`, `4x4-slippery`.
    pub name: String,
    /// The map's letters, one string a row.
    pub map: Vec<String>,
    /// The ice.
    pub ice: Ice,
    /// The optimal state-action matrix, ties shared.
    pub optimum: Matrix,
    /// How often the optimum arrives within the limit of steps.
    pub optimum_success: f64,
    /// One entry per start and kind of sub-optimal trajectory.
    pub scenes: Vec<Scene>,
    /// One entry per start and swept setting of IFT.
    pub sweeps: Vec<Sweep>,
}

/// All learners under the same conditions.
#[derive(Clone, Debug, Serialize)]
pub struct Scene {
    /// World, start and kind, fit for a file's name: `4x4-slippery-random-hole`.
    pub name: String,
    /// Where training starts.
    pub start: Start,
    /// The kind of the sub-optimal trajectory.
    pub suboptimal: Suboptimal,
    /// The learners, in the order of the settings.
    pub learners: Vec<LearnerReport>,
    /// Every pair of learners, compared by their distance from the optimal matrix.
    pub comparisons: Vec<Comparison>,
    /// Share of seeds in which the paper's four methods stand in [`PAPER_ORDER`]; `None` where one
    /// did not learn.
    pub paper_order_share: Option<f64>,
    /// The first seed's policies.
    pub portrait: Portrait,
}

/// The order of closeness that IFT's paper reports, closest first.
pub const PAPER_ORDER: [&str; 4] = ["dpo", "ift", "orpo", "sft"];

impl Scene {
    /// The paper's methods by their mean distance from the optimal matrix, closest first; `None`
    /// where one did not learn.
    pub fn paper_order(&self) -> Option<Vec<&'static str>> {
        let mut found = PAPER_ORDER
            .into_iter()
            .map(|name| Some((self.learner(name)?.estimate(Measure::Mse).mean, name)))
            .collect::<Option<Vec<_>>>()?;
        found.sort_by(|(a, _), (b, _)| a.total_cmp(b));
        Some(found.into_iter().map(|(_, name)| name).collect())
    }

    /// The learner of that label.
    pub fn learner(&self, label: &str) -> Option<&LearnerReport> {
        self.learners.iter().find(|learner| learner.label == label)
    }

    /// `first` compared with `second`.
    pub fn comparison(&self, first: &str, second: &str) -> Option<Comparison> {
        self.comparisons.iter().find_map(|pair| match (pair.first.as_str(), pair.second.as_str()) {
            found if found == (first, second) => Some(pair.clone()),
            found if found == (second, first) => Some(pair.reversed()),
            _ => None,
        })
    }
}

/// One learner over all seeds.
#[derive(Clone, Debug, Serialize)]
pub struct LearnerReport {
    /// The method's name, and its settings where they are not the defaults.
    pub label: String,
    /// By [`Measure::ALL`].
    pub estimates: Vec<Estimate>,
    /// [`Measure::Mse`] at [`Report::curve_steps`].
    pub curve: Vec<Estimate>,
}

impl LearnerReport {
    /// The estimate of one measure.
    pub fn estimate(&self, measure: Measure) -> Estimate {
        self.estimates[measure as usize]
    }
}

/// Two learners on the same seeds.
#[derive(Clone, Debug, Serialize)]
pub struct Comparison {
    /// Label of the one.
    pub first: String,
    /// Label of the other.
    pub second: String,
    /// Mean over seeds of the first's measure less the second's: negative where the first is
    /// closer to the optimum.
    pub difference: Estimate,
    /// Share of seeds in which the first is closer.
    pub closer: f64,
    /// Share of seeds in which the second is closer.
    pub farther: f64,
    /// Two-sided p of Student's paired test.
    pub p: f64,
    /// The same after Holm's correction over the scene's comparisons.
    pub p_holm: f64,
}

impl Comparison {
    /// The second compared with the first.
    fn reversed(&self) -> Self {
        let Estimate { mean, half_width } = self.difference;
        Self {
            first: self.second.clone(),
            second: self.first.clone(),
            difference: Estimate { mean: -mean, half_width },
            closer: self.farther,
            farther: self.closer,
            ..*self
        }
    }
}

/// What the first seed's policies look like.
#[derive(Clone, Debug, Serialize)]
pub struct Portrait {
    /// The optimal trajectory learned from.
    pub optimal: Trajectory,
    /// The sub-optimal one.
    pub suboptimal: Trajectory,
    /// The optimum, the optimal parameterised policy, then the learners.
    pub panels: Vec<Panel>,
}

/// One policy on its grid.
#[derive(Clone, Debug, Serialize)]
pub struct Panel {
    /// Whose policy it is.
    pub title: String,
    /// Action probabilities by state. `[states, 4]`
    pub policy: Matrix,
    /// Whether training ever looked at a cell. `[states]`
    pub explored: Vec<bool>,
}

/// IFT over the values of one of its settings.
#[derive(Clone, Debug, Serialize)]
pub struct Sweep {
    /// World, start and setting, fit for a file's name: `4x4-random-lambda`.
    pub name: String,
    /// Where training starts.
    pub start: Start,
    /// The setting: `lambda` or `gamma`.
    pub setting: &'static str,
    /// The setting's values.
    pub values: Vec<f64>,
    /// Distance from the optimal matrix over all states at each value.
    pub all: Vec<Estimate>,
    /// The same over the states of the optimal trajectory.
    pub on: Vec<Estimate>,
    /// The same over the other states.
    pub off: Vec<Estimate>,
}
