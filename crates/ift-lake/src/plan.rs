//! What all seeds of a study share: solved worlds, learners, sweeps, points of the curves.

use crate::{
    error::LakeError,
    learner::{LearnerSpec, SweptSetting, learners, sweeps},
    settings::StudySettings,
    solved_world::SolvedWorld,
    start::Start,
    study_worlds::{LeftOut, StudyWorlds},
    training_curve::curve_steps,
    trajectory::Suboptimal,
};

/// What all seeds of a study share.
pub(crate) struct StudyPlan<'a> {
    pub(crate) settings: &'a StudySettings,
    pub(crate) worlds: Vec<SolvedWorld>,
    /// The random maps that were left out.
    pub(crate) left_out: Vec<LeftOut>,
    pub(crate) learners: Vec<LearnerSpec>,
    sweeps: Vec<SweptSetting>,
    /// Training steps after which the curve of a learner has a point, ascending from 0.
    pub(crate) curve_steps: Vec<u64>,
}

impl<'a> StudyPlan<'a> {
    /// Reads or draws the maps and computes the optimum of each world.
    ///
    /// # Errors
    /// If a setting is out of range or a map cannot be read or drawn.
    pub(crate) fn new(settings: &'a StudySettings) -> Result<Self, LakeError> {
        settings.validate()?;
        let StudyWorlds { solved: worlds, left_out } = StudyWorlds::new(settings)?;
        Ok(Self {
            settings,
            worlds,
            left_out,
            learners: learners(settings),
            sweeps: sweeps(settings),
            curve_steps: curve_steps(settings.training.steps),
        })
    }

    /// The sweeps from an initial policy; none if the settings do not list it for sweeps.
    pub(crate) fn sweeps(&self, start: Start) -> &[SweptSetting] {
        let listed = self.settings.sweep.starts.contains(&start.setting());
        if listed { &self.sweeps } else { &[] }
    }

    /// Number of policies that are trained for all seeds together.
    pub(crate) fn policies(&self) -> u64 {
        let of_start = |(start, kinds): (Start, Vec<Suboptimal>)| {
            let sweeps: usize = self.sweeps(start).iter().map(|sweep| sweep.values.len()).sum();
            let runs = self
                .learners
                .iter()
                .map(|learner| if learner.reads_suboptimal() { kinds.len() } else { 1 });
            runs.sum::<usize>() + sweeps
        };
        let of_world = |world: &SolvedWorld| {
            world.starts(self.settings).into_iter().map(of_start).sum::<usize>()
        };
        let per_seed: usize = self.worlds.iter().map(of_world).sum();
        per_seed as u64 * self.settings.seeds
    }
}
