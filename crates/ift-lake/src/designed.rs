//! Maps that are designed around one pair of trajectories.

use std::path::Path;

use crate::{
    action::Action,
    error::LakeError,
    map::{Cell, LakeMap},
    optimum::Optimum,
    settings::DesignedMap,
    trajectory::{Suboptimal, Trajectory, Visit},
    world::World,
};

/// The trajectories that a map is designed around.
#[derive(Clone, Debug, PartialEq)]
pub struct DesignedPair {
    /// The optimal trajectory.
    pub optimal: Trajectory,
    /// The sub-optimal trajectory.
    pub suboptimal: Trajectory,
    /// Its kind.
    pub kind: Suboptimal,
}

/// Reads the map of entry number `index` of the setting `designed`, under the name of the entry.
///
/// # Errors
/// [`LakeError::Setting`] if it is not a map, has several starts, or its file cannot be read or is
/// not a map.
pub(crate) fn read_map(index: usize, designed: &DesignedMap) -> Result<LakeMap, LakeError> {
    let text = &designed.map;
    let refused = |problem| Err(wrong(index, "map", problem));
    let lines = text.contains('\n') || text.chars().all(|c| Cell::from_letter(c).is_some());
    let read = match LakeMap::standard(text) {
        Some(map) => Ok(map),
        None if lines => LakeMap::parse(&designed.name, text),
        None if text == "random" => {
            let problem = "is `random`, whose ways are not known beforehand; expected the lines of \
                           a map, `4x4`, `8x8` or a file";
            return refused(problem.to_owned());
        }
        None => LakeMap::read(Path::new(text)),
    };
    let map = match read {
        Err(LakeError::Map { line: Some(line), problem, .. }) if lines => {
            return refused(format!("is wrong in line {line}: {problem}"));
        }
        Err(LakeError::Map { line: None, problem, .. }) if lines => return refused(problem),
        Err(LakeError::Read { source, .. }) => {
            return refused(format!(
                "is `{text}`, which cannot be read as a file: {source}; expected the lines of a \
                 map, `4x4`, `8x8` or a file"
            ));
        }
        Err(error @ LakeError::Map { .. }) => {
            return refused(format!("is a file that is not a map: {error}"));
        }
        map => map?.named(&designed.name),
    };
    match map.starts().count() {
        1 => Ok(map),
        starts => refused(format!("has {starts} cells `S`, expected one")),
    }
}

/// The trajectories of entry number `index` of the setting `designed`, on its map and solid ice.
///
/// # Errors
/// [`LakeError::Setting`] if the moves of one of them are wrong, the optimal one takes an action
/// that is not optimal or does not end at a goal, or the other one is no sub-optimal one.
pub(crate) fn read_pair(
    index: usize,
    designed: &DesignedMap,
    world: &World,
    optimum: &Optimum,
) -> Result<DesignedPair, LakeError> {
    let walk =
        |field, moves: &str| walk(world, moves).map_err(|problem| wrong(index, field, problem));
    let optimal = walk("optimal", &designed.optimal)?;
    check_optimal(world, optimum, &optimal).map_err(|problem| wrong(index, "optimal", problem))?;
    let suboptimal = walk("suboptimal", &designed.suboptimal)?;
    let kind = kind(world, &optimal, &suboptimal)
        .map_err(|problem| wrong(index, "suboptimal", problem))?;
    if suboptimal.visits.iter().all(|visit| optimum.is_optimal(visit.state, visit.action)) {
        let problem = "has optimal moves only, which methods on pairs would reject; expected at \
                       least one move that is not optimal";
        return Err(wrong(index, "suboptimal", problem.to_owned()));
    }
    Ok(DesignedPair { optimal, suboptimal, kind })
}

/// The error that a field of entry number `index` is wrong.
pub(crate) fn wrong(index: usize, field: &str, problem: String) -> LakeError {
    LakeError::Setting { field: format!("designed.{index}.{field}"), problem }
}

/// The trajectory of a string of moves from the start. The error is what is wrong with them.
fn walk(world: &World, moves: &str) -> Result<Trajectory, String> {
    if moves.is_empty() {
        return Err("is empty, expected moves such as `DDRR`".to_owned());
    }
    let mut end = world.starts()[0];
    let mut visits = Vec::new();
    for (number, letter) in (1..).zip(moves.chars()) {
        let action = Action::from_letter(letter).ok_or_else(|| {
            let found = format!("has `{}` as move {number}", letter.escape_debug());
            match Action::from_letter(letter.to_ascii_uppercase()) {
                Some(action) => format!("{found}, expected the capital `{}`", action.letter()),
                None => format!("{found}, expected `L`, `D`, `R` or `U`"),
            }
        })?;
        if world.is_terminal(end) {
            let (last, place) = (number - 1, place(world, end));
            return Err(format!(
                "has `{letter}` as move {number}, but move {last} ended the episode {place}; \
                 remove the moves after it"
            ));
        }
        visits.push(Visit { state: end, action, turn: 0 });
        end = world.arrive(end, action, 0);
    }
    let (moves, limit) = (visits.len(), world.limit());
    if moves > limit {
        return Err(format!("has {moves} moves, but the limit is {limit}; raise `limit`"));
    }
    Ok(Trajectory { visits, end })
}

/// Checks that a trajectory takes optimal actions only and ends at a goal.
fn check_optimal(world: &World, optimum: &Optimum, trajectory: &Trajectory) -> Result<(), String> {
    for (number, visit) in (1..).zip(&trajectory.visits) {
        if !optimum.is_optimal(visit.state, visit.action) {
            let best = Action::ALL.into_iter().filter(|a| optimum.is_optimal(visit.state, *a));
            let best: Vec<_> = best.map(|action| format!("`{}`", action.letter())).collect();
            return Err(format!(
                "has `{}` as move {number}, which is not optimal there; expected {}",
                visit.action.letter(),
                best.join(" or "),
            ));
        }
    }
    if world.map().cell(trajectory.end) == Cell::Goal {
        return Ok(());
    }
    Err(format!("ends {}, expected a goal", place(world, trajectory.end)))
}

/// The kind of a sub-optimal trajectory.
fn kind(
    world: &World,
    optimal: &Trajectory,
    suboptimal: &Trajectory,
) -> Result<Suboptimal, String> {
    let (moves, fewest) = (suboptimal.visits.len(), optimal.visits.len());
    match world.map().cell(suboptimal.end) {
        _ if suboptimal == optimal => {
            Err("is the optimal trajectory, expected other moves".to_owned())
        }
        Cell::Goal if moves <= fewest => Err(format!(
            "reaches a goal in {moves} moves and the optimal trajectory in {fewest}; expected \
             more moves, or another end"
        )),
        Cell::Goal => Ok(Suboptimal::Longer),
        Cell::Hole => Ok(Suboptimal::Hole),
        Cell::Start | Cell::Frozen => Ok(Suboptimal::Wandering),
    }
}

/// Where a trajectory is in this state, for messages.
fn place(world: &World, state: usize) -> String {
    let map = world.map();
    let cell = match map.cell(state) {
        Cell::Goal => "at a goal",
        Cell::Hole => "in a hole",
        Cell::Start | Cell::Frozen => "on the ice",
    };
    let (row, column) = (state / map.columns() + 1, state % map.columns() + 1);
    format!("{cell} (row {row}, column {column})")
}
