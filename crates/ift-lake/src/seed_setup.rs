//! One seed in one world: trajectories, initial weights, the fitted policy, and training from them.

use ift_methods::{Method, Sft};
use ift_random::generator;
use rand::Rng;

use crate::{
    action::Action,
    error::LakeError,
    fit::fit,
    measure::Evaluator,
    network::Network,
    offline::{TrajectoryPair, train_offline},
    online::train_online,
    optimum::StateActionMatrix,
    settings::{InitialPolicy, StudySettings, TrajectorySource},
    solved_world::SolvedWorld,
    training::{Trained, TrainingRun},
    trajectory::{Suboptimal, Trajectory, draw_optimal, draw_suboptimal, rollout},
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
    /// In the order of [`StudySettings::suboptimal`].
    pub(crate) suboptimal: Vec<Trajectory>,
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
            &mut generator(seed, stream::WEIGHTS),
        );
        let source = match settings.trajectories {
            TrajectorySource::Drawn => seed,
            TrajectorySource::Fixed => settings.seed,
        };
        let optimal = draw_optimal(world, optimum, &mut generator(source, stream::OPTIMAL))?;
        let suboptimal = settings.suboptimal.iter().map(|&kind| {
            let generator = &mut generator(source, stream::SUBOPTIMAL + kind as u64);
            match kind {
                // Shown in pictures; training draws a new episode at every step.
                Suboptimal::Own => Ok(rollout(world, &initial.policy(world.states()), generator)),
                _ => draw_suboptimal(world, optimum, kind, settings.noise, &optimal, generator),
            }
        });
        let suboptimal = suboptimal.collect::<Result<_, _>>()?;
        let fitted = fit(world, &optimum.policy, &initial, training);
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
    pub(crate) fn start(&self, start: InitialPolicy) -> Network {
        match start {
            InitialPolicy::Random => self.initial.clone(),
            InitialPolicy::Sft => {
                let sft = Method::Sft(Sft::default());
                self.train_for(
                    self.settings.training.sft_steps,
                    Some(&sft),
                    &self.initial,
                    0,
                    |_, _| {},
                )
                .network
            }
        }
    }

    /// Trains from `start` with a method, or with PPO if there is none, and with the sub-optimal
    /// trajectory number `kind`. `observe` is called after every step, counted from 1.
    pub(crate) fn train(
        &self,
        method: Option<&Method>,
        start: &Network,
        kind: usize,
        observe: impl FnMut(u64, &Network),
    ) -> Trained {
        self.train_for(self.settings.training.steps, method, start, kind, observe)
    }

    fn train_for(
        &self,
        steps: u64,
        method: Option<&Method>,
        start: &Network,
        kind: usize,
        observe: impl FnMut(u64, &Network),
    ) -> Trained {
        let Self { settings, solved: SolvedWorld { world, .. }, .. } = *self;
        let run = TrainingRun { start, training: &settings.training, steps };
        let mut generator = generator(self.seed, stream::TRAINING);
        let Some(method) = method else {
            let discount = settings.discount;
            return train_online(world, &settings.ppo, discount, run, &mut generator, observe);
        };
        let own = settings.suboptimal[kind] == Suboptimal::Own;
        let suboptimal = &self.suboptimal[kind];
        let pair = TrajectoryPair { world, optimal: &self.optimal, suboptimal, own };
        train_offline(pair, method, run, self.seed, &mut generator, observe)
    }

    /// Share of the actions of the sub-optimal trajectory number `kind` that are optimal in their
    /// state; `None` if every step draws a new trajectory.
    pub(crate) fn optimal_share(&self, kind: usize) -> Option<f64> {
        if self.settings.suboptimal[kind] == Suboptimal::Own {
            return None;
        }
        let visits = &self.suboptimal[kind].visits;
        let optimal = visits
            .iter()
            .filter(|visit| self.solved.optimum.policy[visit.state][visit.action.index()] > 0.0);
        Some(optimal.count() as f64 / visits.len().max(1) as f64)
    }
}

/// The random draws of an episode that is shown in the terminal.
pub(crate) fn episode_generator(seed: u64, episode: u64) -> impl Rng {
    generator(seed, stream::EPISODES.wrapping_add(episode))
}

/// Numbers of the random streams of a seed.
mod stream {
    pub(super) const WEIGHTS: u64 = 0;
    pub(super) const OPTIMAL: u64 = 1;
    pub(super) const SUBOPTIMAL: u64 = 2;
    pub(super) const TRAINING: u64 = 16;
    pub(super) const EPISODES: u64 = 1 << 32;
}
