//! One policy, to be watched.

use crate::{
    arena::{Arena, arenas},
    classroom::{Classroom, episode_generator},
    error::LakeError,
    optimum::Matrix,
    settings::Settings,
    study::learners,
    trajectory::{Trajectory, rollout},
};

/// A policy in its world.
#[derive(Clone, Debug)]
pub struct Player {
    /// The world.
    pub arena: Arena,
    /// Action probabilities by state. `[states, 4]`
    pub policy: Matrix,
    seed: u64,
}

impl Player {
    /// The policy of a learner of the study, or `optimum` or `fitted`: in the settings' first
    /// world, trained from the first start against the first kind of sub-optimal trajectory,
    /// with the first seed.
    ///
    /// # Errors
    /// If a setting is unusable, there is no such learner, or the map cannot be read.
    pub fn new(settings: &Settings, who: &str) -> Result<Self, LakeError> {
        settings.validate()?;
        let learners = learners(settings);
        let learner = learners.iter().find(|learner| learner.label == who);
        if learner.is_none() && !["optimum", "fitted"].contains(&who) {
            let labels: Vec<_> =
                learners.iter().map(|learner| format!("`{}`", learner.label)).collect();
            return Err(LakeError::Impossible(format!(
                "there is no policy `{who}` to watch, expected `optimum`, `fitted` or one of {}",
                labels.join(", ")
            )));
        }
        let arena = arenas(settings)?.swap_remove(0);
        let seed = settings.seed;
        let policy = if who == "optimum" {
            arena.optimum.policy.clone()
        } else {
            let classroom = Classroom::new(settings, &arena, seed)?;
            match learner {
                None => classroom.fitted_matrix,
                Some(learner) => {
                    let start = classroom.start(settings.starts[0]);
                    let trained = classroom.train(learner.method.as_ref(), &start, 0, |_, _| {});
                    trained.network.policy(arena.world.states())
                }
            }
        };
        Ok(Self { arena, policy, seed })
    }

    /// An episode, its actions drawn from the policy; the same number is the same episode.
    pub fn play(&self, episode: u64) -> Trajectory {
        rollout(&self.arena.world, &self.policy, &mut episode_generator(self.seed, episode))
    }
}
