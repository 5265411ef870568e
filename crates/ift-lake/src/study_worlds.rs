//! The worlds of a study: listed, random and designed maps.

use std::{
    fmt::{self, Write},
    path::Path,
};

use crate::{
    designed::{read_map, read_pair, wrong},
    error::LakeError,
    map::LakeMap,
    report::Origin,
    settings::{DesignedMap, RandomMap, StudySettings},
    solved_world::SolvedWorld,
    world::Ice,
};

/// Number of random maps that are left out after which drawing maps is given up.
const MOST_LEFT_OUT: usize = 1000;
/// The same number while no map could be used: then the settings are at fault, not the maps.
const MOST_LEFT_OUT_AT_FIRST: usize = 20;

/// A random map that a study leaves out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftOut {
    /// Seed of the map.
    pub map_seed: u64,
    /// Why it is left out.
    pub reason: LeftOutReason,
}

/// Why a study leaves out a random map. [`fmt::Display`] prints it as a sentence without subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeftOutReason {
    /// It has the cells of a map that the study uses, so that it is no independent unit.
    Repeated {
        /// Seed of the map that is used.
        map_seed: u64,
    },
    /// A seed of the study cannot draw a trajectory on it.
    NoTrajectory {
        /// The first such seed.
        seed: u64,
        /// What it cannot draw.
        problem: String,
    },
}

impl fmt::Display for LeftOutReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Repeated { map_seed } => write!(f, "has the same cells as seed {map_seed}"),
            Self::NoTrajectory { seed, problem } => {
                write!(f, "fails with seed {seed} of the study: {problem}")
            }
        }
    }
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
    /// Reads or draws the maps and computes the optimum of each world, for settings that are valid.
    ///
    /// # Errors
    /// Those of [`solved_worlds`].
    pub(crate) fn new(settings: &StudySettings) -> Result<Self, LakeError> {
        let mut worlds = Self { solved: Vec::new(), left_out: Vec::new() };
        // For each world, its entry in the settings.
        let mut entries = Vec::new();
        for name in &settings.maps {
            let of_map = if name == RANDOM {
                let drawn = random_worlds(settings, &settings.random)?;
                worlds.left_out.extend(drawn.left_out);
                drawn.solved
            } else {
                on_every_ice(settings, &listed_map(name)?, Origin::Listed)
            };
            for solved in of_map {
                if let Some(index) = worlds.of_name(&solved.name) {
                    let both = called(&worlds.solved[index].name, &solved.name);
                    let problem = format!(
                        "has two worlds {both}, of the entries `{}` and `{name}`; rename a map \
                         file",
                        entries[index]
                    );
                    return Err(LakeError::Setting { field: "maps".to_owned(), problem });
                }
                worlds.solved.push(solved);
                entries.push(name);
            }
        }
        for (index, DesignedMap { name, .. }) in settings.designed.iter().enumerate() {
            let solved = designed_world(settings, index)?;
            if let Some(other) = worlds.of_name(name) {
                let (entry, other) = (&entries[other], &worlds.solved[other].name);
                let problem = format!(
                    "is the name of a world of the entry `{entry}` of `maps`: both would be {}; \
                     choose another name",
                    called(other, name)
                );
                return Err(wrong(index, "name", problem));
            }
            check_distinct(settings, index, &worlds.solved[entries.len()..], &solved)?;
            worlds.solved.push(solved);
        }
        Ok(worlds)
    }

    /// The number of the world with a name. Names are keys in result files and stems of picture
    /// files, so that each must be new, also where file names have no upper and lower case.
    fn of_name(&self, name: &str) -> Option<usize> {
        let name = name.to_lowercase();
        self.solved.iter().position(|other| other.name.to_lowercase() == name)
    }
}

/// That two worlds have the same name, for messages.
fn called(first: &str, second: &str) -> String {
    if first == second {
        return format!("called `{first}`");
    }
    format!("called `{first}` and `{second}`, which differ only in upper and lower case")
}

/// Checks that no `earlier` designed map has the same cells and the same pair as number `index`:
/// the two would count as independent units.
fn check_distinct(
    settings: &StudySettings,
    index: usize,
    earlier: &[SolvedWorld],
    solved: &SolvedWorld,
) -> Result<(), LakeError> {
    let same = |other: &SolvedWorld| {
        other.world.map().has_cells_of(solved.world.map()) && other.pair == solved.pair
    };
    let Some(first) = earlier.iter().position(same) else { return Ok(()) };
    let problem = format!(
        "`{}` has the map and the trajectories of `designed.{first}.name` `{}`, so that one pair \
         would count twice; remove one of them",
        settings.designed[index].name, settings.designed[first].name
    );
    Err(wrong(index, "name", problem))
}

/// The worlds of a study: each map with each kind of ice, then the designed maps.
///
/// # Errors
/// If a setting is out of range, a map cannot be read or drawn, the trajectories of a designed map
/// are wrong, a designed map and its trajectories are there twice, or two worlds would have the
/// same name.
pub fn solved_worlds(settings: &StudySettings) -> Result<Vec<SolvedWorld>, LakeError> {
    settings.validate()?;
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
/// trajectory of every kind and maps that repeat a used one are left out, and maps with higher
/// seeds take their place.
fn random_worlds(settings: &StudySettings, random: &RandomMap) -> Result<StudyWorlds, LakeError> {
    let RandomMap { size, frozen, seed, count } = *random;
    let (mut solved, mut left_out) = (Vec::new(), Vec::new());
    let mut used: Vec<(u64, LakeMap)> = Vec::new();
    let mut next = seed;
    while (used.len() as u64) < count {
        let map = LakeMap::random(size, frozen, next)?;
        if let Some((map_seed, _)) = used.iter().find(|(_, other)| other.has_cells_of(&map)) {
            let reason = LeftOutReason::Repeated { map_seed: *map_seed };
            left_out.push(LeftOut { map_seed: next, reason });
        } else {
            let of_map = on_every_ice(settings, &map, Origin::Random);
            match of_map.iter().find_map(|solved| solved.first_failure(settings)) {
                None => {
                    solved.extend(of_map);
                    used.push((next, map));
                }
                Some((seed, LakeError::Impossible(problem))) => {
                    let reason = LeftOutReason::NoTrajectory { seed, problem };
                    left_out.push(LeftOut { map_seed: next, reason });
                }
                Some((_, error)) => return Err(error),
            }
        }
        let most = if used.is_empty() { MOST_LEFT_OUT_AT_FIRST } else { MOST_LEFT_OUT };
        if left_out.len() >= most && (used.len() as u64) < count {
            return Err(too_few(random, used.len(), &left_out));
        }
        next = next.wrapping_add(1);
    }
    Ok(StudyWorlds { solved, left_out })
}

/// The error that too few random maps can be used.
fn too_few(random: &RandomMap, used: usize, left_out: &[LeftOut]) -> LakeError {
    let RandomMap { size, frozen, seed, count } = *random;
    let total = left_out.len();
    let mut text = format!(
        "{used} of {count} random maps were found from seed {seed} on, and {total} were left out"
    );
    let repeated = |map: &&LeftOut| matches!(map.reason, LeftOutReason::Repeated { .. });
    let repeated = left_out.iter().filter(repeated).count();
    if repeated > 0 {
        _ = write!(text, ", {repeated} of them because they repeat one that is used");
    }
    let other = |map: &&LeftOut| matches!(map.reason, LeftOutReason::NoTrajectory { .. });
    if let Some(LeftOut { map_seed, reason }) = left_out.iter().rfind(other) {
        _ = write!(text, "; the map of seed {map_seed} {reason}");
    }
    if repeated > 0 {
        _ = write!(
            text,
            "; there are too few different usable maps of {size}x{size} cells with a share of \
             {frozen:?} frozen; lower `random.count` or raise `random.size`"
        );
    }
    LakeError::Impossible(text)
}
