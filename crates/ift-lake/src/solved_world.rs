//! The worlds of a study, each with its optimum.

use std::path::Path;

use crate::{
    error::LakeError,
    map::LakeMap,
    optimum::{Optimum, value_iteration},
    settings::{RandomMap, StudySettings},
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
                let RandomMap { size, frozen, seed } = settings.random;
                LakeMap::random(size, frozen, seed)?
            }
            None => LakeMap::read(Path::new(name))?,
        };
        for &ice in &settings.ice {
            let limit = if settings.limit == 0 { default_limit(&map) } else { settings.limit };
            let world =
                World::new(map.clone(), ice, settings.success_rate, settings.rewards, limit);
            let optimum = value_iteration(&world, settings.discount);
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
            worlds.push(SolvedWorld { name, world, optimum });
        }
    }
    Ok(worlds)
}
