//! From single runs to a [`StudyReport`]: means with intervals, comparisons, and the policies of
//! the first seed.

use crate::{
    episode::success_rate,
    groups::groups,
    measure::Measure,
    optimum::StateActionMatrix,
    plan::StudyPlan,
    report::{
        LearnerReport, PairedComparison, Panel, Portrait, Scene, SceneResults, StudyReport, Sweep,
        WorldReport,
    },
    seed_result::{RunResult, SeedResult},
    solved_world::SolvedWorld,
    start::Start,
    statistics::{Estimate, holm, paired_p},
    trajectory::Suboptimal,
    verdict::{correct, verdicts},
};

/// All results of a study.
#[derive(Debug)]
pub struct Findings {
    /// Means, intervals and comparisons.
    pub report: StudyReport,
    /// Every trained policy with its measures.
    pub runs: Vec<RunRow>,
}

/// The measures of one policy: one learner, one seed, one scene.
#[derive(Clone, Debug)]
pub struct RunRow {
    /// The world, see [`WorldReport::name`].
    pub world: String,
    /// The policy that training started from.
    pub start: Start,
    /// The kind of the rejected trajectory, for learners that are given one.
    pub suboptimal: Option<Suboptimal>,
    /// Share of the actions of the rejected trajectory that are optimal in their state; `None`
    /// without such a trajectory, or where every step draws a new one.
    pub rejected_optimal: Option<f64>,
    /// The learner, see [`LearnerReport::label`].
    pub learner: String,
    /// The seed.
    pub seed: u64,
    /// One value per entry of [`Measure::ALL`].
    pub measures: Vec<f64>,
}

impl Findings {
    /// Summarises the results of all seeds and worlds, given in the order of seeds.
    pub(crate) fn new(plan: &StudyPlan, results: &[SeedResult]) -> Self {
        let mut runs = Vec::new();
        let mut worlds = Vec::new();
        for (index, solved) in plan.worlds.iter().enumerate() {
            let seeds: Vec<_> = results.iter().filter(|result| result.world == index).collect();
            for seed in &seeds {
                runs.extend(seed.runs.iter().map(|run| RunRow {
                    world: solved.name.clone(),
                    start: run.start,
                    suboptimal: run.suboptimal,
                    rejected_optimal: run.rejected_optimal,
                    learner: plan.learners[run.learner].label.clone(),
                    seed: seed.seed,
                    measures: run.measured.to_vec(),
                }));
            }
            if let Some(&first) = seeds.first() {
                worlds.push(WorldResults { plan, solved, first, seeds }.report());
            }
        }
        let scenes = worlds.iter_mut().flat_map(|world| &mut world.scenes);
        correct(scenes.map(|scene| &mut scene.results.verdicts));
        let report = StudyReport {
            seeds: plan.settings.seeds,
            curve_steps: plan.curve_steps.clone(),
            groups: groups(&worlds),
            worlds,
        };
        Self { report, runs }
    }
}

/// The results of one world.
struct WorldResults<'a> {
    plan: &'a StudyPlan<'a>,
    solved: &'a SolvedWorld,
    /// Results of the first seed.
    first: &'a SeedResult,
    seeds: Vec<&'a SeedResult>,
}

impl WorldResults<'_> {
    fn report(&self) -> WorldReport {
        let SolvedWorld { name, world, optimum, .. } = self.solved;
        let settings = self.plan.settings;
        let starts = self.solved.starts(settings);
        let scenes = starts
            .iter()
            .flat_map(|(start, kinds)| kinds.iter().map(|&kind| self.scene(*start, kind)));
        WorldReport {
            name: name.clone(),
            map: world.map().to_string().lines().map(str::to_owned).collect(),
            ice: world.ice(),
            origin: self.solved.origin,
            optimum: optimum.policy.clone(),
            optimum_success: success_rate(world, &optimum.policy),
            scenes: scenes.collect(),
            sweeps: starts
                .iter()
                .enumerate()
                .flat_map(|(index, (start, _))| self.sweeps(*start, index))
                .collect(),
        }
    }

    /// The scene of one start and one kind of rejected trajectory.
    fn scene(&self, start: Start, suboptimal: Suboptimal) -> Scene {
        let learners = &self.plan.learners;
        // By learner, by seed.
        let runs: Vec<Vec<&RunResult>> = (0..learners.len())
            .map(|learner| {
                let belongs = |run: &&RunResult| {
                    run.start == start
                        && run.learner == learner
                        && run.suboptimal.is_none_or(|kind| kind == suboptimal)
                };
                self.seeds.iter().filter_map(|seed| seed.runs.iter().find(belongs)).collect()
            })
            .collect();
        let reports = learners.iter().zip(&runs).map(|(learner, runs)| LearnerReport {
            label: learner.label.clone(),
            estimates: estimates(
                &runs.iter().map(|run| run.measured.as_slice()).collect::<Vec<_>>(),
            ),
            curve: estimates(&runs.iter().map(|run| run.curve.as_slice()).collect::<Vec<_>>()),
        });
        let samples = |label: &str, measure: Measure| -> Option<Vec<f64>> {
            let learner = learners.iter().position(|learner| learner.label == label)?;
            Some(runs[learner].iter().map(|run| run.measured[measure as usize]).collect())
        };
        let labels: Vec<_> = learners.iter().map(|learner| learner.label.as_str()).collect();
        Scene {
            name: format!("{}-{}-{}", self.solved.name, start.name(), suboptimal.name()),
            results: SceneResults {
                start,
                suboptimal,
                learners: reports.collect(),
                verdicts: verdicts(&labels, samples),
            },
            comparisons: self.comparisons(&runs),
            portrait: self.portrait(&runs, start, suboptimal),
        }
    }

    /// Every pair of learners, compared seed by seed.
    fn comparisons(&self, runs: &[Vec<&RunResult>]) -> Vec<PairedComparison> {
        let label = |learner: usize| self.plan.learners[learner].label.clone();
        let mut comparisons = Vec::new();
        for second in 1..runs.len() {
            for first in 0..second {
                let pairs = runs[first].iter().zip(&runs[second]);
                let mse = Measure::Mse as usize;
                let differences: Vec<_> = pairs
                    .map(|(first, second)| first.measured[mse] - second.measured[mse])
                    .collect();
                let share = |fits: fn(&f64) -> bool| {
                    differences.iter().copied().filter(fits).count() as f64
                        / differences.len().max(1) as f64
                };
                comparisons.push(PairedComparison {
                    first: label(first),
                    second: label(second),
                    difference: Estimate::of(&differences),
                    closer: share(|&difference| difference < 0.0),
                    farther: share(|&difference| difference > 0.0),
                    p: paired_p(&differences),
                    p_holm: 1.0,
                });
            }
        }
        let p_values: Vec<_> = comparisons.iter().map(|comparison| comparison.p).collect();
        for (comparison, corrected) in comparisons.iter_mut().zip(holm(&p_values)) {
            comparison.p_holm = corrected;
        }
        comparisons
    }

    /// The policies of the first seed. From [`Start::Both`] the sub-optimal trajectory is the one
    /// that the initial policy knows.
    fn portrait(&self, runs: &[Vec<&RunResult>], start: Start, kind: Suboptimal) -> Portrait {
        let shown = if let Start::Both(known) = start { known } else { kind };
        let seed = self.first;
        let untrained = vec![0.0; self.solved.world.states()];
        let panel = |title: &str, policy: &StateActionMatrix, inputs: &[f64]| Panel {
            title: title.to_owned(),
            policy: policy.clone(),
            inputs: inputs.to_vec(),
        };
        let mut panels = vec![
            panel("optimum", &self.solved.optimum.policy, &untrained),
            panel("fitted", &seed.fitted, &untrained),
        ];
        for (learner, runs) in self.plan.learners.iter().zip(runs) {
            if let Some((policy, inputs)) = runs.first().and_then(|run| run.policy.as_ref()) {
                panels.push(panel(&learner.label, policy, inputs));
            }
        }
        Portrait {
            optimal: seed.optimal.clone(),
            suboptimal: seed.suboptimal[&shown].clone(),
            panels,
        }
    }

    /// The sweeps that start from the initial policy number `index` of the world.
    fn sweeps(&self, start: Start, index: usize) -> Vec<Sweep> {
        let sweeps = self.plan.sweeps(start).iter().enumerate();
        let sweep = sweeps.map(|(number, swept)| {
            // By part of the states (all, on, off), by value: the mean over the seeds.
            let part = |part: usize| {
                let value = |value: usize| {
                    let of_seed = |seed: &&SeedResult| seed.sweeps[index][number][value][part];
                    Estimate::of(&self.seeds.iter().map(of_seed).collect::<Vec<_>>())
                };
                (0..swept.values.len()).map(value).collect()
            };
            Sweep {
                name: format!("{}-{}-{}", self.solved.name, start.name(), swept.name),
                start,
                setting: swept.name,
                values: swept.values.clone(),
                all: part(0),
                on: part(1),
                off: part(2),
            }
        });
        sweep.collect()
    }
}

/// The estimate of each column, given one row of values per seed.
fn estimates(rows: &[&[f64]]) -> Vec<Estimate> {
    let columns = rows.first().map_or(0, |row| row.len());
    let column =
        |column: usize| Estimate::of(&rows.iter().map(|row| row[column]).collect::<Vec<_>>());
    (0..columns).map(column).collect()
}
