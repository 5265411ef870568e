//! The study: every learner in every scene, for every seed.

use ift_methods::{Ift, Method};
use rayon::prelude::*;

use crate::{
    arena::{Arena, arenas},
    classroom::Classroom,
    error::LakeError,
    measure::Measured,
    network::Network,
    optimum::Matrix,
    settings::{Settings, Start, labels},
    summary::Findings,
    trajectory::{Suboptimal, Trajectory},
};

/// Who learns.
#[derive(Clone, Debug)]
pub(crate) struct Learner {
    pub(crate) label: String,
    /// The method, or PPO where there is none.
    pub(crate) method: Option<Method>,
}

impl Learner {
    /// Whether it learns from the sub-optimal trajectory, too.
    pub(crate) fn reads_suboptimal(&self) -> bool {
        self.method.as_ref().is_some_and(|method| method.needs().rows.compares())
    }
}

/// The learners of a study: its methods, then PPO.
pub(crate) fn learners(settings: &Settings) -> Vec<Learner> {
    let methods = settings.methods.iter().zip(labels(&settings.methods));
    let mut learners: Vec<_> =
        methods.map(|(method, label)| Learner { label, method: Some(method.clone()) }).collect();
    if settings.ppo.episodes > 0 {
        learners.push(Learner { label: "ppo".to_owned(), method: None });
    }
    learners
}

/// A setting of IFT and the values it is tried with.
pub(crate) struct Swept {
    pub(crate) setting: &'static str,
    pub(crate) values: Vec<f64>,
    methods: Vec<Method>,
}

/// A study: what all of its seeds share.
pub struct Study<'a> {
    pub(crate) settings: &'a Settings,
    pub(crate) arenas: Vec<Arena>,
    pub(crate) learners: Vec<Learner>,
    pub(crate) sweeps: Vec<Swept>,
    /// Steps after which a learner's curve has a point.
    pub(crate) curve_steps: Vec<u64>,
}

/// Points of a curve after the first.
const CURVE_POINTS: u64 = 24;

impl<'a> Study<'a> {
    /// Reads and draws the maps, and finds their optima.
    ///
    /// # Errors
    /// If a setting is unusable or a map cannot be read or drawn.
    pub fn new(settings: &'a Settings) -> Result<Self, LakeError> {
        settings.validate()?;
        let swept = |setting, values: &[f64], with: fn(f64) -> Ift| Swept {
            setting,
            values: values.to_vec(),
            methods: values.iter().map(|&value| Method::Ift(with(value))).collect(),
        };
        let mut sweeps = vec![
            swept("lambda", &settings.sweep.lambda, |lambda| Ift { lambda, ..Ift::default() }),
            swept("gamma", &settings.sweep.gamma, |gamma| Ift { gamma, ..Ift::default() }),
        ];
        sweeps.retain(|sweep| !sweep.values.is_empty());
        let steps = settings.training.steps;
        let mut curve_steps: Vec<_> =
            (0..=CURVE_POINTS).map(|point| steps * point / CURVE_POINTS).collect();
        curve_steps.dedup();
        Ok(Self {
            settings,
            arenas: arenas(settings)?,
            learners: learners(settings),
            sweeps,
            curve_steps,
        })
    }

    /// Number of policies that are trained.
    pub fn policies(&self) -> u64 {
        let kinds = self.settings.suboptimal.len();
        let runs: usize = self
            .learners
            .iter()
            .map(|learner| if learner.reads_suboptimal() { kinds } else { 1 })
            .sum();
        let sweeps: usize = self.sweeps.iter().map(|sweep| sweep.values.len()).sum();
        let per_seed = self.arenas.len() * self.settings.starts.len() * (runs + sweeps);
        per_seed as u64 * self.settings.seeds
    }

    /// Trains and measures everything, each seed of each world by itself; `done` is told of every
    /// policy.
    ///
    /// # Errors
    /// If a trajectory of some kind does not exist, or the threads cannot be started.
    pub fn run(&self, done: impl Fn() + Sync) -> Result<Findings, LakeError> {
        let threads = rayon::ThreadPoolBuilder::new().num_threads(self.settings.threads).build();
        let threads = threads.map_err(|error| LakeError::Setting {
            field: "threads".to_owned(),
            problem: format!("is {}: {error}", self.settings.threads),
        })?;
        // By seed first, so that no thread is left with the largest world at the end.
        let tasks: Vec<_> = (0..self.settings.seeds)
            .flat_map(|seed| (0..self.arenas.len()).map(move |arena| (arena, seed)))
            .collect();
        let results = threads.install(|| {
            let of = |(arena, index)| SeedResult::new(self, arena, index, &done);
            tasks.into_par_iter().map(of).collect::<Result<Vec<_>, _>>()
        })?;
        Ok(Findings::new(self, &results))
    }
}

/// One learner's policy in one scene.
pub(crate) struct Run {
    pub(crate) start: Start,
    /// The kind of the rejected trajectory, for learners that read one.
    pub(crate) suboptimal: Option<Suboptimal>,
    /// Share of that trajectory's actions that are optimal where they are done, if it is always
    /// the same.
    pub(crate) rejected_optimal: Option<f64>,
    /// Index into [`Study::learners`].
    pub(crate) learner: usize,
    pub(crate) measured: Measured,
    /// Mean squared error from the optimum at [`Study::curve_steps`].
    pub(crate) curve: Vec<f64>,
    /// The policy and the states that training looked at; kept of the first seed alone.
    pub(crate) policy: Option<(Matrix, Vec<bool>)>,
}

/// All that one seed gave in one world.
pub(crate) struct SeedResult {
    /// Index into [`Study::arenas`].
    pub(crate) arena: usize,
    pub(crate) seed: u64,
    pub(crate) optimal: Trajectory,
    /// By [`Settings::suboptimal`].
    pub(crate) suboptimal: Vec<Trajectory>,
    pub(crate) runs: Vec<Run>,
    /// For each start, for each of [`Study::sweeps`], for each value: mean squared error over all
    /// states, on and off the trajectory.
    pub(crate) sweeps: Vec<Vec<Vec<[f64; 3]>>>,
    /// The fitted policy's matrix.
    pub(crate) fitted: Matrix,
}

impl SeedResult {
    fn new(study: &Study, arena: usize, index: u64, done: &impl Fn()) -> Result<Self, LakeError> {
        let settings = study.settings;
        let seed = settings.seed.wrapping_add(index);
        let classroom = Classroom::new(settings, &study.arenas[arena], seed)?;
        let states = study.arenas[arena].world.states();
        let yardstick = classroom.yardstick();
        let mut runs = Vec::new();
        let mut sweeps = Vec::new();
        for &start in &settings.starts {
            let network = classroom.start(start);
            for (learner, who) in study.learners.iter().enumerate() {
                let kinds = if who.reads_suboptimal() { settings.suboptimal.len() } else { 1 };
                for kind in 0..kinds {
                    let mut curve = Vec::with_capacity(study.curve_steps.len());
                    let mut observe = |step: u64, network: &Network| {
                        if study.curve_steps.binary_search(&step).is_ok() {
                            curve.push(yardstick.mse(network)[0]);
                        }
                    };
                    observe(0, &network);
                    let trained = classroom.train(who.method.as_ref(), &network, kind, observe);
                    runs.push(Run {
                        start,
                        suboptimal: who.reads_suboptimal().then(|| settings.suboptimal[kind]),
                        rejected_optimal: if who.reads_suboptimal() {
                            classroom.optimal_share(kind)
                        } else {
                            None
                        },
                        learner,
                        measured: yardstick.measure(&trained),
                        curve,
                        policy: (index == 0)
                            .then(|| (trained.network.policy(states), trained.explored)),
                    });
                    done();
                }
            }
            let sweep = |sweep: &Swept| {
                let distance = |method| {
                    let trained = classroom.train(Some(method), &network, 0, |_, _| {});
                    done();
                    yardstick.mse(&trained.network)
                };
                sweep.methods.iter().map(distance).collect()
            };
            sweeps.push(study.sweeps.iter().map(sweep).collect());
        }
        drop(yardstick);
        let Classroom { optimal, suboptimal, fitted_matrix: fitted, .. } = classroom;
        Ok(Self { arena, seed, optimal, suboptimal, runs, sweeps, fitted })
    }
}
