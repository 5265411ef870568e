//! The results of a study, from which tables, files and pictures are made.

use serde::{Serialize, Serializer};

use crate::{
    measure::Measure,
    optimum::StateActionMatrix,
    start::Start,
    statistics::Estimate,
    trajectory::{Suboptimal, Trajectory},
    verdict::{Claim, Verdict, tested_as},
    world::Ice,
};

/// The results of a study.
#[derive(Clone, Debug, Serialize)]
pub struct StudyReport {
    /// Number of seeds. Every mean is over all of them, but those of groups, which are over maps.
    pub seeds: u64,
    /// Training steps after which the points of the curves were measured.
    pub curve_steps: Vec<u64>,
    /// One entry per map and kind of ice.
    pub worlds: Vec<WorldReport>,
    /// Scenes over several maps: one entry for each scene that three or more maps of the same
    /// origin and ice have.
    pub groups: Vec<MapGroup>,
}

/// The results in one world.
#[derive(Clone, Debug, Serialize)]
pub struct WorldReport {
    /// Name of the map, with `-slippery` on slippery ice: `4x4`, `4x4-slippery`.
    pub name: String,
    /// The letters of the map, one string per row.
    pub map: Vec<String>,
    /// The ice.
    pub ice: Ice,
    /// Where the map comes from.
    pub origin: Origin,
    /// The optimal state-action matrix; equally good actions have the same probability.
    pub optimum: StateActionMatrix,
    /// Probability that the optimal policy reaches a goal within the limit of moves.
    pub optimum_success: f64,
    /// One entry per initial policy and kind of sub-optimal trajectory.
    pub scenes: Vec<Scene>,
    /// One entry per initial policy that is listed for sweeps and swept setting of IFT.
    pub sweeps: Vec<Sweep>,
}

/// Where a map comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// Gymnasium's, or a file.
    Listed,
    /// Drawn at random.
    Random,
    /// Designed around one pair of trajectories.
    Designed,
}

impl Origin {
    /// Name in result files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Listed => "listed",
            Self::Random => "random",
            Self::Designed => "designed",
        }
    }
}

/// A scene over all maps of the same origin and ice that have it: designed maps differ in the kind
/// of their sub-optimal trajectory. The unit of its means and tests is the map: each has one
/// sample, its mean over the seeds, and over its worlds if several are on the same map.
#[derive(Clone, Debug, Serialize)]
pub struct MapGroup {
    /// Maps, initial policy and kind: `random-slippery-both-hole-own`.
    pub name: String,
    /// Origin of the maps, with `-slippery` on slippery ice.
    pub maps: String,
    /// Where the maps come from.
    pub origin: Origin,
    /// The ice.
    pub ice: Ice,
    /// Number of different maps.
    pub different_maps: usize,
    /// Names of the worlds.
    pub worlds: Vec<String>,
    /// Means over the maps, without curves.
    #[serde(flatten)]
    pub results: SceneResults,
}

impl MapGroup {
    /// Heading in tables and pictures: `random-slippery, 24 maps`.
    pub fn heading(&self) -> String {
        format!("{}, {} maps", self.maps, self.different_maps)
    }
}

/// All learners in one world, from one initial policy and with one kind of sub-optimal trajectory.
#[derive(Clone, Debug, Serialize)]
pub struct Scene {
    /// World, initial policy and kind; also the stem of file names: `4x4-slippery-random-hole`.
    pub name: String,
    /// Means over the seeds.
    #[serde(flatten)]
    pub results: SceneResults,
    /// Every pair of learners, compared by [`Measure::Mse`].
    pub comparisons: Vec<PairedComparison>,
    /// The policies of the first seed.
    pub portrait: Portrait,
}

impl Scene {
    /// The comparison of `first` with `second`.
    pub fn comparison(&self, first: &str, second: &str) -> Option<PairedComparison> {
        self.comparisons.iter().find_map(|pair| match (pair.first.as_str(), pair.second.as_str()) {
            found if found == (first, second) => Some(pair.clone()),
            found if found == (second, first) => Some(pair.reversed()),
            _ => None,
        })
    }
}

/// What a scene in one world and a scene over several maps have in common.
#[derive(Clone, Debug, Serialize)]
pub struct SceneResults {
    /// The policy that training starts from.
    pub start: Start,
    /// The kind of the sub-optimal trajectory, which methods on pairs reject.
    pub suboptimal: Suboptimal,
    /// The learners: methods in the order of the settings, then PPO.
    pub learners: Vec<LearnerReport>,
    /// Every claim by every measure that it can be read with; empty if one of the paper's four
    /// methods is not among the learners. Holm's correction is over all scenes of the study, or
    /// over all groups.
    pub verdicts: Vec<Verdict>,
}

impl SceneResults {
    /// The learner with a label.
    pub fn learner(&self, label: &str) -> Option<&LearnerReport> {
        self.learners.iter().find(|learner| learner.label == label)
    }

    /// The learner by which the claims about one of [`crate::PAPER_METHODS`] are tested: the method
    /// with its defaults, or else the first with other settings.
    pub fn tested_as(&self, method: &str) -> Option<&LearnerReport> {
        let labels: Vec<_> = self.learners.iter().map(|learner| learner.label.as_str()).collect();
        self.learner(tested_as(&labels, method)?)
    }

    /// The verdicts on a claim; the first is by the measure that the paper names.
    pub fn readings(&self, claim: Claim) -> impl Iterator<Item = &Verdict> {
        self.verdicts.iter().filter(move |verdict| verdict.claim == claim)
    }
}

/// Means of one learner over all samples: the seeds of a scene, or the maps of a group.
#[derive(Clone, Debug, Serialize)]
pub struct LearnerReport {
    /// Name of the method, followed by those of its settings that are not the defaults.
    pub label: String,
    /// One estimate per entry of [`Measure::ALL`]; in JSON, an object whose keys are the names of
    /// the measures.
    #[serde(serialize_with = "by_name")]
    pub estimates: Vec<Estimate>,
    /// [`Measure::Mse`] at [`StudyReport::curve_steps`]; empty for a group.
    pub curve: Vec<Estimate>,
}

impl LearnerReport {
    /// The estimate of one measure.
    pub fn estimate(&self, measure: Measure) -> Estimate {
        self.estimates[measure as usize]
    }
}

fn by_name<S: Serializer>(estimates: &[Estimate], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(Measure::ALL.map(Measure::name).into_iter().zip(estimates))
}

/// A comparison of two learners, seed by seed.
#[derive(Clone, Debug, Serialize)]
pub struct PairedComparison {
    /// Label of the first learner.
    pub first: String,
    /// Label of the second learner.
    pub second: String,
    /// Mean over seeds of [`Measure::Mse`] of the first learner minus that of the second: negative
    /// if the first is closer to the optimum.
    pub difference: Estimate,
    /// Share of the seeds in which the first is closer to the optimum.
    pub closer: f64,
    /// Share of the seeds in which the second is closer.
    pub farther: f64,
    /// Two-sided p-value of Student's paired t-test.
    pub p: f64,
    /// The p-value after Holm's correction over all comparisons of the scene.
    pub p_holm: f64,
}

impl PairedComparison {
    /// The comparison of the second with the first.
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

/// Trajectories and policies of the first seed.
#[derive(Clone, Debug, Serialize)]
pub struct Portrait {
    /// The optimal trajectory.
    pub optimal: Trajectory,
    /// The sub-optimal trajectory.
    pub suboptimal: Trajectory,
    /// The optimum, the fitted policy, then the learners.
    pub panels: Vec<Panel>,
}

/// One policy with its title.
#[derive(Clone, Debug, Serialize)]
pub struct Panel {
    /// `optimum`, `fitted` or the label of a learner.
    pub title: String,
    /// Action probabilities by state. `[states, 4]`
    pub policy: StateActionMatrix,
    /// For each state, its share of all inputs of training; 0 for policies that are not trained.
    /// `[states]`
    pub inputs: Vec<f64>,
}

/// Distance of IFT from the optimum for different values of one of its settings.
#[derive(Clone, Debug, Serialize)]
pub struct Sweep {
    /// World, initial policy and setting; also the stem of file names: `4x4-random-lambda`.
    pub name: String,
    /// The policy that training starts from.
    pub start: Start,
    /// Name of the setting: `lambda` or `gamma`.
    pub setting: &'static str,
    /// The values of the setting.
    pub values: Vec<f64>,
    /// [`Measure::Mse`] for each value.
    pub all: Vec<Estimate>,
    /// [`Measure::MseOn`] for each value.
    pub on: Vec<Estimate>,
    /// [`Measure::MseOff`] for each value.
    pub off: Vec<Estimate>,
}
