//! The worlds of a study, each with its optimum.

use std::path::Path;

use crate::{
    error::LakeError,
    map::LakeMap,
    optimum::{Optimum, value_iteration},
    report::Origin,
    settings::{RandomMap, StudySettings},
    start::{InitialPolicy, Start},
    trajectory::{Suboptimal, Trajectory},
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

/// The trajectories that a map is designed around.
#[derive(Clone, Debug)]
pub struct DesignedPair {
    /// The optimal trajectory.
    pub optimal: Trajectory,
    /// The sub-optimal trajectory.
    pub suboptimal: Trajectory,
    /// Its kind.
    pub kind: Suboptimal,
}

impl SolvedWorld {
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

/// The worlds of a study: each map with each kind of ice.
///
/// # Errors
/// If a map cannot be read or drawn, or two worlds would have the same name.
pub fn solved_worlds(settings: &StudySettings) -> Result<Vec<SolvedWorld>, LakeError> {
    let mut worlds: Vec<SolvedWorld> = Vec::new();
    for name in &settings.maps {
        let map = match LakeMap::standard(name) {
            Some(map) => map,
            None if name == "random" => {
                let RandomMap { size, frozen, seed, count: _ } = settings.random;
                LakeMap::random(size, frozen, seed)?
            }
            None => LakeMap::read(Path::new(name))?,
        };
        for &ice in &settings.ice {
            let limit = if settings.limit == 0 { default_limit(&map) } else { settings.limit };
            let world =
                World::new(map.clone(), ice, settings.success_rate, settings.rewards, limit);
            let optimum = value_iteration(&world, settings.discount);
            let origin = if name == "random" { Origin::Random } else { Origin::Listed };
            let name = match ice {
                Ice::Solid => map.name().to_owned(),
                Ice::Slippery => format!("{}-slippery", map.name()),
            };
            // The name is the key in result files and the stem of picture files.
            if worlds.iter().any(|other| other.name == name) {
                return Err(LakeError::Setting {
                    field: "maps".to_owned(),
                    problem: format!("has two worlds called `{name}`; rename one of the map files"),
                });
            }
            worlds.push(SolvedWorld { name, world, optimum, origin, pair: None });
        }
    }
    Ok(worlds)
}
