//! A world with its optimum, and the trajectories and initial policies of a study in it.

use ift_random::generator;
use rayon::prelude::*;

use crate::{
    designed::DesignedPair,
    error::LakeError,
    map::LakeMap,
    optimum::{Optimum, value_iteration},
    report::Origin,
    settings::{StudySettings, TrajectorySource},
    start::{InitialPolicy, Start},
    streams,
    trajectory::{Suboptimal, Trajectory, draw_optimal, draw_suboptimal},
    world::{Ice, World, default_limit},
};

/// A world with its optimum.
#[derive(Clone, Debug)]
pub struct SolvedWorld {
    /// Name of the map, with `-slippery` on slippery ice: `4x4`, `4x4-slippery`.
    pub name: String,
    /// The world.
    pub world: World,
    /// Its optimum.
    pub optimum: Optimum,
    /// Where the map comes from.
    pub origin: Origin,
    /// The trajectories of all seeds, if the map is designed around them.
    pub pair: Option<DesignedPair>,
}

impl SolvedWorld {
    pub(crate) fn new(settings: &StudySettings, map: &LakeMap, ice: Ice, origin: Origin) -> Self {
        let name = match ice {
            Ice::Solid => map.name().to_owned(),
            Ice::Slippery => format!("{}-slippery", map.name()),
        };
        let limit = if settings.limit == 0 { default_limit(map) } else { settings.limit };
        let world = World::new(map.clone(), ice, settings.success_rate, settings.rewards, limit);
        let optimum = value_iteration(&world, settings.discount);
        Self { name, world, optimum, origin, pair: None }
    }

    /// The optimal trajectory: the designed one, or the one that `seed` draws.
    ///
    /// # Errors
    /// Those of [`draw_optimal`].
    pub(crate) fn optimal(&self, seed: u64) -> Result<Trajectory, LakeError> {
        if let Some(pair) = &self.pair {
            return Ok(pair.optimal.clone());
        }
        let generator = &mut generator(seed, streams::OPTIMAL);
        draw_optimal(&self.world, &self.optimum, generator)
    }

    /// The sub-optimal trajectory of a kind but [`Suboptimal::Own`]: the designed one, or the one
    /// that `seed` draws.
    ///
    /// # Errors
    /// Those of [`draw_suboptimal`].
    pub(crate) fn suboptimal(
        &self,
        kind: Suboptimal,
        noise: f64,
        optimal: &Trajectory,
        seed: u64,
    ) -> Result<Trajectory, LakeError> {
        if let Some(pair) = &self.pair {
            return Ok(pair.suboptimal.clone());
        }
        let generator = &mut generator(seed, streams::SUBOPTIMAL + kind as u64);
        draw_suboptimal(&self.world, &self.optimum, kind, noise, optimal, generator)
    }

    /// The first seed of a study that cannot draw a trajectory of every kind of the settings, with
    /// the reason. Seeds are tried in parallel.
    pub(crate) fn first_failure(&self, settings: &StudySettings) -> Option<(u64, LakeError)> {
        let seeds = match settings.trajectories {
            TrajectorySource::Drawn => settings.seeds,
            TrajectorySource::Fixed => 1,
        };
        let draw = |seed| {
            let optimal = self.optimal(seed)?;
            for &kind in settings.suboptimal.iter().filter(|&&kind| kind != Suboptimal::Own) {
                self.suboptimal(kind, settings.noise, &optimal, seed)?;
            }
            Ok(())
        };
        (0..seeds).into_par_iter().find_map_first(|index| {
            let seed = settings.seed.wrapping_add(index);
            draw(seed).err().map(|error| (seed, error))
        })
    }

    /// The kinds of sub-optimal trajectory in this world: those of the settings, or the kind of the
    /// designed pair and, if the settings list it, `own`.
    pub(crate) fn kinds(&self, settings: &StudySettings) -> Vec<Suboptimal> {
        match &self.pair {
            None => settings.suboptimal.clone(),
            Some(pair) => {
                let own = settings.suboptimal.iter().filter(|&&kind| kind == Suboptimal::Own);
                [pair.kind].into_iter().chain(own.copied()).collect()
            }
        }
    }

    /// The initial policies in this world, each with the kinds of trajectory that methods on pairs
    /// reject from there. From [`Start::Both`] they reject the trajectory that the policy knows,
    /// or their own.
    pub(crate) fn starts(&self, settings: &StudySettings) -> Vec<(Start, Vec<Suboptimal>)> {
        let kinds = self.kinds(settings);
        let mut starts = Vec::new();
        for start in &settings.starts {
            match start {
                InitialPolicy::Random => starts.push((Start::Random, kinds.clone())),
                InitialPolicy::Sft => starts.push((Start::Sft, kinds.clone())),
                InitialPolicy::Both => {
                    let given = kinds.iter().filter(|&&kind| kind != Suboptimal::Own);
                    starts.extend(given.map(|&given| {
                        let rejected =
                            |kind: &&Suboptimal| **kind == given || **kind == Suboptimal::Own;
                        (Start::Both(given), kinds.iter().filter(rejected).copied().collect())
                    }));
                }
            }
        }
        starts
    }
}
