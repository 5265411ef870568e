//! One seed in one world: the trajectories, the weights that training starts from, and the
//! training.

use ift_methods::{Method, Sft};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use crate::{
    action::Action,
    arena::Arena,
    error::LakeError,
    fit::fit,
    measure::Yardstick,
    network::Network,
    offline::{Lesson, train_offline},
    online::train_online,
    optimum::Matrix,
    settings::{Settings, Start, Trajectories},
    training::Trained,
    trajectory::{Suboptimal, Trajectory, draw_optimal, draw_suboptimal, rollout},
};

/// What all learners of one world and seed share.
pub(crate) struct Classroom<'a> {
    settings: &'a Settings,
    arena: &'a Arena,
    seed: u64,
    initial: Network,
    /// The optimal parameterised policy.
    fitted: Network,
    /// Its matrix.
    pub(crate) fitted_matrix: Matrix,
    pub(crate) optimal: Trajectory,
    /// By [`Settings::suboptimal`].
    pub(crate) suboptimal: Vec<Trajectory>,
}

impl<'a> Classroom<'a> {
    /// # Errors
    /// If the world has no trajectory of a kind asked for.
    pub(crate) fn new(
        settings: &'a Settings,
        arena: &'a Arena,
        seed: u64,
    ) -> Result<Self, LakeError> {
        let Arena { world, optimum, .. } = arena;
        let training = &settings.training;
        let initial = Network::new(
            world.states(),
            training.hidden,
            Action::ALL.len(),
            training.activation,
            &mut generator(seed, stream::WEIGHTS),
        );
        let source = match settings.trajectories {
            Trajectories::Drawn => seed,
            Trajectories::Fixed => settings.seed,
        };
        let optimal = draw_optimal(world, optimum, &mut generator(source, stream::OPTIMAL))?;
        let suboptimal = settings.suboptimal.iter().map(|&kind| {
            let mut generator = generator(source, stream::SUBOPTIMAL + kind as u64);
            match kind {
                // The first of many.
                Suboptimal::Own => {
                    Ok(rollout(world, &initial.policy(world.states()), &mut generator))
                }
                _ => {
                    draw_suboptimal(world, optimum, kind, settings.noise, &optimal, &mut generator)
                }
            }
        });
        let suboptimal = suboptimal.collect::<Result<_, _>>()?;
        let fitted = fit(world, &optimum.policy, &initial, training);
        let fitted_matrix = fitted.policy(world.states());
        Ok(Self { settings, arena, seed, initial, fitted, fitted_matrix, optimal, suboptimal })
    }

    pub(crate) fn yardstick(&self) -> Yardstick<'_> {
        let Arena { world, optimum, .. } = self.arena;
        let mut visited = vec![false; world.states()];
        for visit in &self.optimal.visits {
            visited[visit.state] = true;
        }
        let (on, off) = world.non_terminal().partition(|&state| visited[state]);
        let (fitted, fitted_matrix) = (&self.fitted, &self.fitted_matrix);
        Yardstick { world, optimum: &optimum.policy, fitted, fitted_matrix, on, off }
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
                    0,
                    |_, _| {},
                )
                .network
            }
        }
    }

    /// A policy trained by a method, or by PPO, with the sub-optimal trajectory number `kind`.
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
        let Self { settings, arena: Arena { world, .. }, .. } = *self;
        let training = &settings.training;
        let mut generator = generator(self.seed, stream::TRAINING);
        let Some(method) = method else {
            let ppo = &settings.ppo;
            let discount = settings.discount;
            return train_online(
                world,
                ppo,
                training,
                start,
                steps,
                discount,
                &mut generator,
                observe,
            );
        };
        let own = settings.suboptimal[kind] == Suboptimal::Own;
        let lesson =
            Lesson { world, optimal: &self.optimal, suboptimal: &self.suboptimal[kind], own };
        train_offline(lesson, method, start, training, steps, self.seed, &mut generator, observe)
    }

    /// Share of the actions of sub-optimal trajectory number `kind` that are optimal where they are
    /// done; `None` where it is another at every step.
    pub(crate) fn optimal_share(&self, kind: usize) -> Option<f64> {
        if self.settings.suboptimal[kind] == Suboptimal::Own {
            return None;
        }
        let visits = &self.suboptimal[kind].visits;
        let optimal = visits
            .iter()
            .filter(|visit| self.arena.optimum.policy[visit.state][visit.action.index()] > 0.0);
        Some(optimal.count() as f64 / visits.len().max(1) as f64)
    }
}

/// The random numbers of an episode that is watched.
pub(crate) fn episode_generator(seed: u64, episode: u64) -> ChaCha8Rng {
    generator(seed, stream::EPISODES.wrapping_add(episode))
}

/// Independent streams of random numbers of one seed.
mod stream {
    pub(super) const WEIGHTS: u64 = 0;
    pub(super) const OPTIMAL: u64 = 1;
    pub(super) const SUBOPTIMAL: u64 = 2;
    pub(super) const TRAINING: u64 = 16;
    pub(super) const EPISODES: u64 = 1 << 32;
}

fn generator(seed: u64, stream: u64) -> ChaCha8Rng {
    let mut generator = ChaCha8Rng::seed_from_u64(seed);
    generator.set_stream(stream);
    generator
}
