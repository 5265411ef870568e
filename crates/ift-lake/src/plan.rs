//! What all seeds of a study share: solved worlds, learners, sweeps, points of the curves.

use crate::{
    error::LakeError,
    learner::{LearnerSpec, SweptSetting, learners, sweeps},
    settings::StudySettings,
    solved_world::{SolvedWorld, solved_worlds},
};

/// Points of a training curve after the first.
const CURVE_POINTS: u64 = 24;

/// What all seeds of a study share.
pub(crate) struct StudyPlan<'a> {
    pub(crate) settings: &'a StudySettings,
    pub(crate) worlds: Vec<SolvedWorld>,
    pub(crate) learners: Vec<LearnerSpec>,
    pub(crate) sweeps: Vec<SweptSetting>,
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
        let steps = settings.training.steps;
        let mut curve_steps: Vec<_> =
            (0..=CURVE_POINTS).map(|point| steps * point / CURVE_POINTS).collect();
        curve_steps.dedup();
        Ok(Self {
            settings,
            worlds: solved_worlds(settings)?,
            learners: learners(settings),
            sweeps: sweeps(settings),
            curve_steps,
        })
    }

    /// Number of policies that are trained for all seeds together.
    pub(crate) fn policies(&self) -> u64 {
        let kinds = self.settings.suboptimal.len();
        let runs: usize = self
            .learners
            .iter()
            .map(|learner| if learner.reads_suboptimal() { kinds } else { 1 })
            .sum();
        let sweeps: usize = self.sweeps.iter().map(|sweep| sweep.values.len()).sum();
        let per_seed = self.worlds.len() * self.settings.starts.len() * (runs + sweeps);
        per_seed as u64 * self.settings.seeds
    }
}
