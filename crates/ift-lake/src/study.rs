//! The study: every learner in every scene, for every seed.

use rayon::{ThreadPool, ThreadPoolBuilder, prelude::*};

use crate::{
    error::LakeError, plan::StudyPlan, seed_result::SeedResult, settings::StudySettings,
    study_worlds::LeftOut, summary::Findings,
};

/// A study that is ready to run.
///
/// ```
/// use ift_lake::{
///     Ice, Measure, PpoSettings, Study, StudySettings, SweepValues, TrainingSettings,
/// };
///
/// // One small world, one seed, short training, no sweeps.
/// let settings = StudySettings {
///     maps: vec!["4x4".to_owned()],
///     ice: vec![Ice::Solid],
///     seeds: 1,
///     training: TrainingSettings {
///         steps: 10,
///         sft_steps: 10,
///         fit_steps: 10,
///         ..TrainingSettings::default()
///     },
///     ppo: PpoSettings { episodes: 0, ..PpoSettings::default() },
///     sweep: SweepValues { lambda: Vec::new(), gamma: Vec::new(), ..SweepValues::default() },
///     ..StudySettings::default()
/// };
/// let study = Study::new(&settings)?;
/// let findings = study.run(|| ())?;
/// assert_eq!(findings.runs.len() as u64, study.policies());
///
/// let scene = &findings.report.worlds[0].scenes[0];
/// let sft = scene.results.learner("sft").map(|learner| learner.estimate(Measure::Mse));
/// assert!(sft.is_some_and(|distance| distance.mean > 0.0));
/// # Ok::<(), ift_lake::LakeError>(())
/// ```
pub struct Study<'a> {
    plan: StudyPlan<'a>,
    threads: ThreadPool,
}

impl<'a> Study<'a> {
    /// Checks the settings, reads or draws the maps and computes the optimum of each world.
    ///
    /// # Errors
    /// If a setting is out of range, a map cannot be read or drawn, or the threads cannot be
    /// started.
    pub fn new(settings: &'a StudySettings) -> Result<Self, LakeError> {
        let threads = ThreadPoolBuilder::new().num_threads(settings.threads).build();
        let threads = threads.map_err(|error| LakeError::Setting {
            field: "threads".to_owned(),
            problem: format!("is {}: {error}", settings.threads),
        })?;
        let plan = threads.install(|| StudyPlan::new(settings))?;
        Ok(Self { plan, threads })
    }

    /// The random maps that the study leaves out, by ascending seed of the map, with the reasons.
    pub fn left_out(&self) -> &[LeftOut] {
        &self.plan.left_out
    }

    /// Number of policies that [`Study::run`] trains.
    pub fn policies(&self) -> u64 {
        self.plan.policies()
    }

    /// Trains and measures all policies, in parallel over seeds and worlds. `done` is called after
    /// each policy. Results do not depend on the number of threads.
    ///
    /// # Errors
    /// If a world has no trajectory of a kind that the settings ask for.
    pub fn run(&self, done: impl Fn() + Sync) -> Result<Findings, LakeError> {
        let settings = self.plan.settings;
        // Seeds are the outer loop, so that the largest world is not left for the end.
        let tasks: Vec<_> = (0..settings.seeds)
            .flat_map(|seed| (0..self.plan.worlds.len()).map(move |world| (world, seed)))
            .collect();
        let results = self.threads.install(|| {
            let result = |(world, index)| SeedResult::new(&self.plan, world, index, &done);
            tasks.into_par_iter().map(result).collect::<Result<Vec<_>, _>>()
        })?;
        Ok(Findings::new(&self.plan, &results))
    }
}
