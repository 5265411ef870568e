//! The training and measurement of every learner for one seed in one world.

use std::collections::BTreeMap;

use crate::{
    error::LakeError,
    learner::{LearnerSpec, SweptSetting},
    measure::{Evaluator, Measured},
    network::Network,
    optimum::StateActionMatrix,
    plan::StudyPlan,
    seed_setup::SeedSetup,
    start::Start,
    trajectory::{Suboptimal, Trajectory},
};

/// The trained policy of one learner in one scene.
pub(crate) struct RunResult {
    pub(crate) start: Start,
    /// The kind of the rejected trajectory, for learners that are given one.
    pub(crate) suboptimal: Option<Suboptimal>,
    /// Share of the actions of the rejected trajectory that are optimal in their state; `None`
    /// without such a trajectory, or where every step draws a new one.
    pub(crate) rejected_optimal: Option<f64>,
    /// Index into [`StudyPlan::learners`].
    pub(crate) learner: usize,
    pub(crate) measured: Measured,
    /// Mean squared error from the optimum at each of [`StudyPlan::curve_steps`].
    pub(crate) curve: Vec<f64>,
    /// The policy, and for each state its share of the inputs of training. Only for the first
    /// seed.
    pub(crate) policy: Option<(StateActionMatrix, Vec<f64>)>,
}

/// Mean squared errors over all states, over those on the optimal trajectory and over the others.
pub(crate) type SweepErrors = [f64; 3];

/// All results of one seed in one world.
pub(crate) struct SeedResult {
    /// Index into [`StudyPlan::worlds`].
    pub(crate) world: usize,
    pub(crate) seed: u64,
    pub(crate) optimal: Trajectory,
    /// The sub-optimal trajectories by kind.
    pub(crate) suboptimal: BTreeMap<Suboptimal, Trajectory>,
    pub(crate) runs: Vec<RunResult>,
    /// By start, by entry of [`StudyPlan::sweeps`] from there, by value.
    pub(crate) sweeps: Vec<Vec<Vec<SweepErrors>>>,
    /// Action probabilities of the fitted policy.
    pub(crate) fitted: StateActionMatrix,
}

impl SeedResult {
    /// Trains and measures every learner and sweep for the seed number `index` in the world number
    /// `world`. `done` is called after each policy.
    ///
    /// # Errors
    /// If the world has no trajectory of a kind that the settings ask for.
    pub(crate) fn new(
        plan: &StudyPlan,
        world: usize,
        index: u64,
        done: &impl Fn(),
    ) -> Result<Self, LakeError> {
        let settings = plan.settings;
        let seed = settings.seed.wrapping_add(index);
        let setup = SeedSetup::new(settings, &plan.worlds[world], seed)?;
        let trainer = Trainer { plan, setup: &setup, evaluator: setup.evaluator(), index, done };
        let (mut runs, mut sweeps) = (Vec::new(), Vec::new());
        for (start, kinds) in plan.worlds[world].starts(settings) {
            let network = setup.start(start);
            for (learner, spec) in plan.learners.iter().enumerate() {
                let rejected = if spec.reads_suboptimal() {
                    kinds.iter().copied().map(Some).collect()
                } else {
                    vec![None]
                };
                runs.extend(rejected.into_iter().map(|suboptimal| {
                    let (measured, curve, policy) = trainer.run(spec, &network, suboptimal);
                    RunResult {
                        start,
                        suboptimal,
                        rejected_optimal: suboptimal.and_then(|kind| setup.optimal_share(kind)),
                        learner,
                        measured,
                        curve,
                        policy,
                    }
                }));
            }
            sweeps.push(
                plan.sweeps(start).iter().map(|sweep| trainer.sweep(sweep, &network)).collect(),
            );
        }
        drop(trainer);
        let SeedSetup { optimal, suboptimal, fitted_matrix: fitted, .. } = setup;
        Ok(Self { world, seed, optimal, suboptimal, runs, sweeps, fitted })
    }
}

/// Trains and measures policies for one seed in one world.
struct Trainer<'a, F> {
    plan: &'a StudyPlan<'a>,
    setup: &'a SeedSetup<'a>,
    evaluator: Evaluator<'a>,
    /// Number of the seed, counted from 0.
    index: u64,
    done: &'a F,
}

/// Measures, training curve, and the policy with the states' shares of the inputs.
type TrainedPolicy = (Measured, Vec<f64>, Option<(StateActionMatrix, Vec<f64>)>);

impl<F: Fn()> Trainer<'_, F> {
    /// Trains one learner from `start`; methods on pairs reject the trajectory of a kind.
    fn run(
        &self,
        learner: &LearnerSpec,
        start: &Network,
        rejected: Option<Suboptimal>,
    ) -> TrainedPolicy {
        let steps = &self.plan.curve_steps;
        let mut points = Vec::with_capacity(steps.len());
        let mut observe = |step: u64, network: &Network| {
            if steps.binary_search(&step).is_ok() {
                points.push(self.evaluator.point(network));
            }
        };
        observe(0, start);
        let trained = self.setup.train(learner.method.as_ref(), start, rejected, observe);
        let measured = self.evaluator.measure(&trained, &points);
        let curve = points.iter().map(|point| point.mse).collect();
        let states = self.evaluator.world.states();
        let policy =
            (self.index == 0).then(|| (trained.network.policy(states), trained.inputs.shares()));
        (self.done)();
        (measured, curve, policy)
    }

    /// Trains IFT from `start` with every value of a sweep.
    fn sweep(&self, sweep: &SweptSetting, start: &Network) -> Vec<SweepErrors> {
        let errors = |method| {
            let trained = self.setup.train(Some(method), start, None, |_, _| {});
            (self.done)();
            self.evaluator.mse(&trained.network)
        };
        sweep.methods.iter().map(errors).collect()
    }
}
