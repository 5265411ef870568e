//! The worlds of a study: listed, random and designed maps.

use std::path::Path;

use crate::{
    designed::{read_map, read_pair},
    error::LakeError,
    map::LakeMap,
    report::Origin,
    settings::{RandomMap, StudySettings},
    solved_world::SolvedWorld,
    world::Ice,
};

/// Number of random maps that are left out after which drawing maps is given up.
const MOST_LEFT_OUT: usize = 1000;
/// The same number while no map could be used: then the settings are at fault, not the maps.
const MOST_LEFT_OUT_AT_FIRST: usize = 20;

/// A random map that a study leaves out, because a seed cannot draw a trajectory on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftOut {
    /// Seed of the map.
    pub map_seed: u64,
    /// The first seed of the study that cannot draw a trajectory.
    pub seed: u64,
    /// What it cannot draw.
    pub reason: String,
}

/// The worlds of a study.
#[derive(Clone, Debug)]
pub(crate) struct StudyWorlds {
    /// Each map with each kind of ice, then the designed maps.
    pub(crate) solved: Vec<SolvedWorld>,
    /// The random maps that were left out, by ascending seed of the map.
    pub(crate) left_out: Vec<LeftOut>,
}

impl StudyWorlds {
    /// Reads or draws the maps and computes the optimum of each world.
    ///
    /// # Errors
    /// Those of [`solved_worlds`].
    pub(crate) fn new(settings: &StudySettings) -> Result<Self, LakeError> {
        let mut worlds = Self { solved: Vec::new(), left_out: Vec::new() };
        for name in &settings.maps {
            let of_map = if name == RANDOM {
                let drawn = random_worlds(settings, &settings.random)?;
                worlds.left_out.extend(drawn.left_out);
                drawn.solved
            } else {
                on_every_ice(settings, &listed_map(name)?, Origin::Listed)
            };
            for solved in of_map {
                worlds.push(solved, "maps", "rename one of the map files")?;
            }
        }
        for index in 0..settings.designed.len() {
            let solved = designed_world(settings, index)?;
            worlds.push(solved, "designed", "change the name of the designed map")?;
        }
        Ok(worlds)
    }

    /// Appends a world. Its name is the key in result files and the stem of picture files, so that
    /// it must be new, also where file names have no upper and lower case.
    fn push(&mut self, solved: SolvedWorld, field: &str, advice: &str) -> Result<(), LakeError> {
        let name = &solved.name;
        let same = |other: &&SolvedWorld| other.name.to_lowercase() == name.to_lowercase();
        if let Some(other) = self.solved.iter().find(same).map(|other| &other.name) {
            let problem = if other == name {
                format!("has two worlds called `{name}`; {advice}")
            } else {
                format!(
                    "has worlds called `{other}` and `{name}`, which differ only in upper and \
                     lower case; {advice}"
                )
            };
            return Err(LakeError::Setting { field: field.to_owned(), problem });
        }
        self.solved.push(solved);
        Ok(())
    }
}

/// The worlds of a study: each map with each kind of ice, then the designed maps.
///
/// # Errors
/// If a map cannot be read or drawn, the trajectories of a designed map are wrong, or two worlds
/// would have the same name.
pub fn solved_worlds(settings: &StudySettings) -> Result<Vec<SolvedWorld>, LakeError> {
    Ok(StudyWorlds::new(settings)?.solved)
}

/// The first of [`solved_worlds`], for settings that are valid. Other maps are neither read nor
/// drawn.
///
/// # Errors
/// If its map cannot be read or drawn, or the trajectories of a designed map are wrong.
pub(crate) fn first_world(settings: &StudySettings) -> Result<SolvedWorld, LakeError> {
    match settings.maps.first() {
        None => designed_world(settings, 0),
        Some(name) if name == RANDOM => {
            let one = RandomMap { count: 1, ..settings.random };
            Ok(random_worlds(settings, &one)?.solved.swap_remove(0))
        }
        Some(name) => {
            let map = listed_map(name)?;
            Ok(SolvedWorld::new(settings, &map, settings.ice[0], Origin::Listed))
        }
    }
}

/// The entry of the setting `maps` that stands for random maps.
const RANDOM: &str = "random";

/// The map of an entry of the setting `maps` that is not random.
fn listed_map(name: &str) -> Result<LakeMap, LakeError> {
    LakeMap::standard(name).map_or_else(|| LakeMap::read(Path::new(name)), Ok)
}

/// The world of entry number `index` of the setting `designed`.
fn designed_world(settings: &StudySettings, index: usize) -> Result<SolvedWorld, LakeError> {
    let designed = &settings.designed[index];
    let map = read_map(index, designed)?;
    let mut solved = SolvedWorld::new(settings, &map, Ice::Solid, Origin::Designed);
    solved.pair = Some(read_pair(index, designed, &solved.world, &solved.optimum)?);
    Ok(solved)
}

/// A map with each kind of ice of the settings.
fn on_every_ice(settings: &StudySettings, map: &LakeMap, origin: Origin) -> Vec<SolvedWorld> {
    settings.ice.iter().map(|&ice| SolvedWorld::new(settings, map, ice, origin)).collect()
}

/// Random maps, each with each kind of ice. Maps on which a seed of the study cannot draw a
/// trajectory of every kind are left out, and maps with higher seeds take their place.
fn random_worlds(settings: &StudySettings, random: &RandomMap) -> Result<StudyWorlds, LakeError> {
    let RandomMap { size, frozen, seed, count } = *random;
    let (mut solved, mut left_out) = (Vec::new(), Vec::new());
    let (mut used, mut next) = (0, seed);
    while used < count {
        let of_map = on_every_ice(settings, &LakeMap::random(size, frozen, next)?, Origin::Random);
        match of_map.iter().find_map(|solved| solved.first_failure(settings)) {
            None => {
                solved.extend(of_map);
                used += 1;
            }
            Some((of_study, LakeError::Impossible(reason))) => {
                left_out.push(LeftOut { map_seed: next, seed: of_study, reason });
            }
            Some((_, error)) => return Err(error),
        }
        let most = if used == 0 { MOST_LEFT_OUT_AT_FIRST } else { MOST_LEFT_OUT };
        if let Some(last) = left_out.last().filter(|_| left_out.len() >= most && used < count) {
            return Err(LakeError::Impossible(format!(
                "{used} of {count} random maps were found, and {} were left out (seeds {seed} to \
                 {next}), the last one for this reason: seed {} of the study: {}",
                left_out.len(),
                last.seed,
                last.reason
            )));
        }
        next = next.wrapping_add(1);
    }
    Ok(StudyWorlds { solved, left_out })
}
