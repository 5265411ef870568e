//! One policy that plays episodes in the terminal.

use crate::{
    error::LakeError,
    learner::learners,
    optimum::StateActionMatrix,
    seed_setup::{SeedSetup, episode_generator},
    settings::StudySettings,
    solved_world::SolvedWorld,
    start::Start,
    study_worlds::first_world,
    trajectory::{Suboptimal, Trajectory, rollout},
};

/// A policy in its world.
#[derive(Clone, Debug)]
pub struct Player {
    /// The world with its optimum.
    pub solved: SolvedWorld,
    /// Action probabilities by state. `[states, 4]`
    pub policy: StateActionMatrix,
    /// The policy that training started from; `None` for a policy that is not trained.
    pub start: Option<Start>,
    /// The kind of the trajectory that training rejected; `None` if it saw none.
    pub suboptimal: Option<Suboptimal>,
    /// The seed of training and of the episodes.
    pub seed: u64,
}

impl Player {
    /// The optimal policy if `name` is `optimum`, the fitted one if it is `fitted`, or a learner of
    /// the study by its label.
    ///
    /// The policy is trained in the first world of the settings, from the first start, with the
    /// first kind of sub-optimal trajectory and the first seed. Other maps are neither read nor
    /// drawn.
    ///
    /// # Errors
    /// If a setting is out of range, there is no such policy, or the map cannot be read or drawn.
    pub fn new(settings: &StudySettings, name: &str) -> Result<Self, LakeError> {
        settings.validate()?;
        let learners = learners(settings);
        let learner = learners.iter().find(|learner| learner.label == name);
        if learner.is_none() && !["optimum", "fitted"].contains(&name) {
            let labels: Vec<_> =
                learners.iter().map(|learner| format!("`{}`", learner.label)).collect();
            return Err(LakeError::Policy { name: name.to_owned(), labels: labels.join(", ") });
        }
        let solved = first_world(settings)?;
        let seed = settings.seed;
        let (mut start, mut suboptimal) = (None, None);
        let policy = if name == "optimum" {
            solved.optimum.policy.clone()
        } else {
            let setup = SeedSetup::new(settings, &solved, seed)?;
            match learner {
                None => setup.fitted_matrix,
                Some(learner) => {
                    let (first, kinds) = &solved.starts(settings)[0];
                    start = Some(*first);
                    suboptimal = learner.reads_suboptimal().then(|| kinds[0]);
                    let network = setup.start(*first);
                    let method = learner.method.as_ref();
                    let trained = setup.train(method, &network, suboptimal, |_, _| {});
                    trained.network.policy(solved.world.states())
                }
            }
        };
        Ok(Self { solved, policy, start, suboptimal, seed })
    }

    /// Plays one episode, with actions drawn from the policy. The same number always gives the same
    /// episode.
    pub fn play(&self, episode: u64) -> Trajectory {
        rollout(&self.solved.world, &self.policy, &mut episode_generator(self.seed, episode))
    }
}
