//! One seed in one world: trajectories, initial weights, the fitted policy, and training from them.

use std::collections::BTreeMap;

use ift_methods::{Method, Sft};
use ift_random::generator;
use rand::Rng;

use crate::{
    action::Action,
    error::LakeError,
    fit::{fit_both, fit_optimum},
    measure::Evaluator,
    network::Network,
    offline::{Rejected, TrajectoryPair, train_offline},
    online::train_online,
    optimum::StateActionMatrix,
    settings::{StudySettings, TrajectorySource},
    solved_world::SolvedWorld,
    start::Start,
    streams,
    training::{Trained, TrainingRun},
    trajectory::{Suboptimal, Trajectory, rollout},
};

/// What all learners of one world and one seed share.
pub(crate) struct SeedSetup<'a> {
    settings: &'a StudySettings,
    solved: &'a SolvedWorld,
    seed: u64,
    initial: Network,
    /// The network that is fitted to the optimal matrix.
    fitted: Network,
    /// Action probabilities of `fitted`.
    pub(crate) fitted_matrix: StateActionMatrix,
    pub(crate) optimal: Trajectory,
    /// The sub-optimal trajectories by kind. That of [`Suboptimal::Own`] is an episode of the
    /// policy with random weights, which pictures show; training draws a new one at every step.
    pub(crate) suboptimal: BTreeMap<Suboptimal, Trajectory>,
}

impl<'a> SeedSetup<'a> {
    /// Draws the trajectories and the initial weights and fits a network to the optimum.
    ///
    /// # Errors
    /// If the world has no trajectory of a kind that the settings ask for.
    pub(crate) fn new(
        settings: &'a StudySettings,
        solved: &'a SolvedWorld,
        seed: u64,
    ) -> Result<Self, LakeError> {
        let SolvedWorld { world, optimum, .. } = solved;
        let training = &settings.training;
        let initial = Network::new(
            world.states(),
            training.hidden,
            Action::ALL.len(),
            training.activation,
            &mut generator(seed, streams::WEIGHTS),
        );
        let source = match settings.trajectories {
            TrajectorySource::Drawn => seed,
            TrajectorySource::Fixed => settings.seed,
        };
        let optimal = solved.optimal(source)?;
        let suboptimal = solved.kinds(settings).into_iter().map(|kind| {
            let trajectory = if kind == Suboptimal::Own {
                let generator = &mut generator(source, streams::SUBOPTIMAL + kind as u64);
                rollout(world, &initial.policy(world.states()), generator)
            } else {
                solved.suboptimal(kind, settings.noise, &optimal, source)?
            };
            Ok((kind, trajectory))
        });
        let suboptimal = suboptimal.collect::<Result<_, _>>()?;
        let fitted = fit_optimum(world, &optimum.policy, &initial, training.fit_steps);
        let fitted_matrix = fitted.policy(world.states());
        Ok(Self { settings, solved, seed, initial, fitted, fitted_matrix, optimal, suboptimal })
    }

    /// What the policies of this seed are measured against.
    pub(crate) fn evaluator(&self) -> Evaluator<'_> {
        let SolvedWorld { world, optimum, .. } = self.solved;
        let mut visited = vec![false; world.states()];
        for visit in &self.optimal.visits {
            visited[visit.state] = true;
        }
        let (on, off) = world.non_terminal().partition(|&state| visited[state]);
        let (fitted, fitted_matrix) = (&self.fitted, &self.fitted_matrix);
        Evaluator { world, optimum: &optimum.policy, fitted, fitted_matrix, on, off }
    }

    /// The policy that training starts from.
    pub(crate) fn start(&self, start: Start) -> Network {
        match start {
            Start::Random => self.initial.clone(),
            Start::Sft => {
                let sft = Method::Sft(Sft::default());
                self.train_for(
                    self.settings.training.sft_steps,
                    Some(&sft),
                    &self.initial,
                    None,
                    |_, _| {},
                )
                .network
            }
            Start::Both(kind) => {
                let suboptimal = &self.suboptimal[&kind];
                fit_both(&self.optimal, suboptimal, &self.initial, &self.settings.both)
            }
        }
    }

    /// Trains from `start` with a method, or with PPO if there is none. Methods on pairs reject
    /// the sub-optimal trajectory of the kind `rejected`, which is not read for other learners.
    /// `observe` is called after every step, counted from 1.
    pub(crate) fn train(
        &self,
        method: Option<&Method>,
        start: &Network,
        rejected: Option<Suboptimal>,
        observe: impl FnMut(u64, &Network),
    ) -> Trained {
        self.train_for(self.settings.training.steps, method, start, rejected, observe)
    }

    fn train_for(
        &self,
        steps: u64,
        method: Option<&Method>,
        start: &Network,
        rejected: Option<Suboptimal>,
        observe: impl FnMut(u64, &Network),
    ) -> Trained {
        let Self { settings, solved: SolvedWorld { world, .. }, .. } = *self;
        let run = TrainingRun { start, training: &settings.training, steps };
        let mut generator = generator(self.seed, streams::TRAINING);
        let Some(method) = method else {
            let discount = settings.discount;
            return train_online(world, &settings.ppo, discount, run, &mut generator, observe);
        };
        let rejected = match rejected {
            None => Rejected::Nothing,
            Some(Suboptimal::Own) => Rejected::Own,
            Some(kind) => Rejected::Given(&self.suboptimal[&kind]),
        };
        let pair = TrajectoryPair { world, optimal: &self.optimal, rejected };
        train_offline(pair, method, run, self.seed, &mut generator, observe)
    }

    /// Share of the actions of the sub-optimal trajectory of `kind` that are optimal in their
    /// state; `None` if every step draws a new trajectory.
    pub(crate) fn optimal_share(&self, kind: Suboptimal) -> Option<f64> {
        if kind == Suboptimal::Own {
            return None;
        }
        let visits = &self.suboptimal[&kind].visits;
        let optimal =
            visits.iter().filter(|visit| self.solved.optimum.is_optimal(visit.state, visit.action));
        Some(optimal.count() as f64 / visits.len().max(1) as f64)
    }
}

/// The random draws of an episode that is shown in the terminal.
pub(crate) fn episode_generator(seed: u64, episode: u64) -> impl Rng {
    generator(seed, streams::EPISODES.wrapping_add(episode))
}
