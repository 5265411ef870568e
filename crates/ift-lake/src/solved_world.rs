//! The worlds of a study, each with its optimum.

use std::path::Path;

use ift_random::generator;

use crate::{
    designed::{DesignedPair, read_map, read_pair},
    error::LakeError,
    map::LakeMap,
    optimum::{Optimum, value_iteration},
    report::Origin,
    settings::{RandomMap, StudySettings, TrajectorySource},
    start::{InitialPolicy, Start},
    streams,
    trajectory::{Suboptimal, Trajectory, draw_optimal, draw_suboptimal},
    world::{Ice, World, default_limit},
};

/// Number of random maps that lack a trajectory after which drawing maps is given up.
const MOST_LEFT_OUT: u64 = 1000;

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
    fn new(settings: &StudySettings, map: &LakeMap, ice: Ice, origin: Origin) -> Self {
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

    /// Checks that every seed of a study can draw a trajectory of every kind of the settings.
    fn check_trajectories(&self, settings: &StudySettings) -> Result<(), LakeError> {
        let seeds = match settings.trajectories {
            TrajectorySource::Drawn => settings.seeds,
            TrajectorySource::Fixed => 1,
        };
        for seed in (0..seeds).map(|index| settings.seed.wrapping_add(index)) {
            let optimal = self.optimal(seed)?;
            for &kind in settings.suboptimal.iter().filter(|&&kind| kind != Suboptimal::Own) {
                self.suboptimal(kind, settings.noise, &optimal, seed)?;
            }
        }
        Ok(())
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

/// The worlds of a study: each map with each kind of ice, then the designed maps.
///
/// # Errors
/// If a map cannot be read or drawn, the trajectories of a designed map are wrong, or two worlds
/// would have the same name.
pub fn solved_worlds(settings: &StudySettings) -> Result<Vec<SolvedWorld>, LakeError> {
    let mut worlds = Vec::new();
    for name in &settings.maps {
        let of_map = match LakeMap::standard(name) {
            Some(map) => on_every_ice(settings, &map, Origin::Listed),
            None if name == "random" => random_worlds(settings)?,
            None => on_every_ice(settings, &LakeMap::read(Path::new(name))?, Origin::Listed),
        };
        for world in of_map {
            push(&mut worlds, world, "maps", "rename one of the map files")?;
        }
    }
    for (index, designed) in settings.designed.iter().enumerate() {
        let map = read_map(index, designed)?;
        let mut solved = SolvedWorld::new(settings, &map, Ice::Solid, Origin::Designed);
        solved.pair = Some(read_pair(index, designed, &solved.world, &solved.optimum)?);
        push(&mut worlds, solved, "designed", "change the name of the designed map")?;
    }
    Ok(worlds)
}

/// Appends a world. Its name is the key in result files and the stem of picture files, so that it
/// must be new.
fn push(
    worlds: &mut Vec<SolvedWorld>,
    world: SolvedWorld,
    field: &str,
    advice: &str,
) -> Result<(), LakeError> {
    let name = &world.name;
    if worlds.iter().any(|other| other.name == *name) {
        let problem = format!("has two worlds called `{name}`; {advice}");
        return Err(LakeError::Setting { field: field.to_owned(), problem });
    }
    worlds.push(world);
    Ok(())
}

/// A map with each kind of ice of the settings.
fn on_every_ice(settings: &StudySettings, map: &LakeMap, origin: Origin) -> Vec<SolvedWorld> {
    settings.ice.iter().map(|&ice| SolvedWorld::new(settings, map, ice, origin)).collect()
}

/// The random maps of the settings, each with each kind of ice. Maps on which a seed of the study
/// cannot draw a trajectory of every kind are left out, and maps with higher seeds take their
/// place.
fn random_worlds(settings: &StudySettings) -> Result<Vec<SolvedWorld>, LakeError> {
    let RandomMap { size, frozen, seed, count } = settings.random;
    let (mut worlds, mut used, mut next) = (Vec::new(), 0, seed);
    let mut left_out = 0;
    while used < count {
        let of_map = on_every_ice(settings, &LakeMap::random(size, frozen, next)?, Origin::Random);
        match of_map.iter().try_for_each(|solved| solved.check_trajectories(settings)) {
            Ok(()) => {
                worlds.extend(of_map);
                used += 1;
            }
            Err(LakeError::Impossible(reason)) => {
                left_out += 1;
                if left_out == MOST_LEFT_OUT {
                    return Err(LakeError::Impossible(format!(
                        "{used} of {count} random maps were found, and {left_out} were left out \
                         (seeds {seed} to {next}), the last one for this reason: {reason}"
                    )));
                }
            }
            Err(error) => return Err(error),
        }
        next = next.wrapping_add(1);
    }
    Ok(worlds)
}
