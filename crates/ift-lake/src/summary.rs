//! From runs to a [`Report`]: means with intervals, comparisons, and the first seed's policies.

use crate::{
    arena::Arena,
    measure::Measure,
    optimum::{Matrix, success_rate},
    report::{
        Comparison, LearnerReport, PAPER_ORDER, Panel, Portrait, Report, Scene, Sweep, WorldReport,
    },
    settings::Start,
    statistics::{Estimate, holm, paired_p},
    study::{Run, SeedResult, Study},
    trajectory::Suboptimal,
};

/// All that a study found.
#[derive(Debug)]
pub struct Findings {
    /// Means, intervals, comparisons.
    pub report: Report,
    /// Every single policy.
    pub runs: Vec<RunRow>,
}

/// One policy, trained by one learner for one seed.
#[derive(Clone, Debug)]
pub struct RunRow {
    /// As in [`WorldReport::name`].
    pub world: String,
    /// Where training started.
    pub start: Start,
    /// The kind of the rejected trajectory, for learners that read one.
    pub suboptimal: Option<Suboptimal>,
    /// Share of that trajectory's actions that are optimal where they are done, if it is always
    /// the same.
    pub rejected_optimal: Option<f64>,
    /// As in [`LearnerReport::label`].
    pub learner: String,
    /// The seed.
    pub seed: u64,
    /// By [`Measure::ALL`].
    pub measures: Vec<f64>,
}

impl Findings {
    /// `results` of all seeds and arenas, in the order of seeds.
    pub(crate) fn new(study: &Study, results: &[SeedResult]) -> Self {
        let mut runs = Vec::new();
        let mut worlds = Vec::new();
        for (index, arena) in study.arenas.iter().enumerate() {
            let seeds: Vec<_> = results.iter().filter(|result| result.arena == index).collect();
            for seed in &seeds {
                runs.extend(seed.runs.iter().map(|run| RunRow {
                    world: arena.name.clone(),
                    start: run.start,
                    suboptimal: run.suboptimal,
                    rejected_optimal: run.rejected_optimal,
                    learner: study.learners[run.learner].label.clone(),
                    seed: seed.seed,
                    measures: run.measured.to_vec(),
                }));
            }
            if let Some(&first) = seeds.first() {
                worlds.push(World { study, arena, first, seeds }.report());
            }
        }
        let report =
            Report { seeds: study.settings.seeds, curve_steps: study.curve_steps.clone(), worlds };
        Self { report, runs }
    }
}

/// The results of one world.
struct World<'a> {
    study: &'a Study<'a>,
    arena: &'a Arena,
    first: &'a SeedResult,
    seeds: Vec<&'a SeedResult>,
}

impl World<'_> {
    fn report(&self) -> WorldReport {
        let Arena { name, world, optimum } = self.arena;
        let settings = self.study.settings;
        let scenes = settings.starts.iter().flat_map(|&start| {
            let kinds = settings.suboptimal.iter().enumerate();
            kinds.map(move |(index, &kind)| self.scene(start, kind, index))
        });
        let starts = settings.starts.iter().enumerate();
        WorldReport {
            name: name.clone(),
            map: world.map().to_string().lines().map(str::to_owned).collect(),
            ice: world.ice(),
            optimum: optimum.policy.clone(),
            optimum_success: success_rate(world, &optimum.policy),
            scenes: scenes.collect(),
            sweeps: starts.flat_map(|(index, &start)| self.sweeps(start, index)).collect(),
        }
    }

    fn scene(&self, start: Start, suboptimal: Suboptimal, kind: usize) -> Scene {
        let learners = &self.study.learners;
        // For each learner, its runs by seed.
        let runs: Vec<Vec<&Run>> = (0..learners.len())
            .map(|learner| {
                let belongs = |run: &&Run| {
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
        Scene {
            name: format!("{}-{}-{}", self.arena.name, start.name(), suboptimal.name()),
            start,
            suboptimal,
            learners: reports.collect(),
            comparisons: self.comparisons(&runs),
            paper_order_share: self.paper_order_share(&runs),
            portrait: self.portrait(&runs, kind),
        }
    }

    fn comparisons(&self, runs: &[Vec<&Run>]) -> Vec<Comparison> {
        let label = |learner: usize| self.study.learners[learner].label.clone();
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
                comparisons.push(Comparison {
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

    /// In how many of the seeds the paper's four methods stand in its order.
    fn paper_order_share(&self, runs: &[Vec<&Run>]) -> Option<f64> {
        let of = |name| self.study.learners.iter().position(|learner| learner.label == name);
        let four =
            PAPER_ORDER.into_iter().map(|name| runs.get(of(name)?)).collect::<Option<Vec<_>>>()?;
        let mse = |learner: &[&Run], seed: usize| learner[seed].measured[Measure::Mse as usize];
        let ordered =
            |seed: &usize| four.windows(2).all(|pair| mse(pair[0], *seed) < mse(pair[1], *seed));
        let seeds = self.seeds.len();
        Some((0..seeds).filter(ordered).count() as f64 / seeds as f64)
    }

    /// The first seed's policies.
    fn portrait(&self, runs: &[Vec<&Run>], kind: usize) -> Portrait {
        let seed = self.first;
        let unexplored = vec![false; self.arena.world.states()];
        let panel = |title: &str, policy: &Matrix, explored: &[bool]| Panel {
            title: title.to_owned(),
            policy: policy.clone(),
            explored: explored.to_vec(),
        };
        let mut panels = vec![
            panel("optimum", &self.arena.optimum.policy, &unexplored),
            panel("fitted", &seed.fitted, &unexplored),
        ];
        for (learner, runs) in self.study.learners.iter().zip(runs) {
            if let Some((policy, explored)) = runs.first().and_then(|run| run.policy.as_ref()) {
                panels.push(panel(&learner.label, policy, explored));
            }
        }
        Portrait {
            optimal: seed.optimal.clone(),
            suboptimal: seed.suboptimal[kind].clone(),
            panels,
        }
    }

    /// The sweeps from start number `index`.
    fn sweeps(&self, start: Start, index: usize) -> Vec<Sweep> {
        let sweeps = self.study.sweeps.iter().enumerate();
        let sweep = sweeps.map(|(number, swept)| {
            // For each part of the states, for each value, the mean over seeds.
            let part = |part: usize| {
                let value = |value: usize| {
                    let of_seed = |seed: &&SeedResult| seed.sweeps[index][number][value][part];
                    Estimate::of(&self.seeds.iter().map(of_seed).collect::<Vec<_>>())
                };
                (0..swept.values.len()).map(value).collect()
            };
            Sweep {
                name: format!("{}-{}-{}", self.arena.name, start.name(), swept.setting),
                start,
                setting: swept.setting,
                values: swept.values.clone(),
                all: part(0),
                on: part(1),
                off: part(2),
            }
        });
        sweep.collect()
    }
}

/// The estimate of each column of numbers, given a row for each seed.
fn estimates(rows: &[&[f64]]) -> Vec<Estimate> {
    let columns = rows.first().map_or(0, |row| row.len());
    let column =
        |column: usize| Estimate::of(&rows.iter().map(|row| row[column]).collect::<Vec<_>>());
    (0..columns).map(column).collect()
}
