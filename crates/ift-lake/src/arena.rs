//! The worlds of a study, with their optima.

use std::path::Path;

use crate::{
    error::LakeError,
    map::LakeMap,
    optimum::{Optimum, value_iteration},
    settings::{RandomMap, Settings},
    world::{Ice, World, default_limit},
};

/// A world with its optimum.
#[derive(Clone, Debug)]
pub struct Arena {
    /// The map's name and the ice: `4x4`, `4x4-slippery`.
    pub name: String,
    /// The world.
    pub world: World,
    /// Its optimum.
    pub optimum: Optimum,
}

/// The worlds of a study.
///
/// # Errors
/// If a map cannot be read or drawn, or two worlds would have the same name.
pub fn arenas(settings: &Settings) -> Result<Vec<Arena>, LakeError> {
    let mut arenas: Vec<Arena> = Vec::new();
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
            // Files and pictures are told apart by it.
            if arenas.iter().any(|other| other.name == name) {
                return Err(LakeError::Setting {
                    field: "maps".to_owned(),
                    problem: format!("has two worlds called `{name}`; rename a map's file"),
                });
            }
            arenas.push(Arena { name, world, optimum });
        }
    }
    Ok(arenas)
}
