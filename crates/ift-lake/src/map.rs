//! Maps: parsing, reading, drawing at random.

use std::{fmt, fs, path::Path};

use ift_random::generator;
use rand::RngExt;

use crate::{action::Action, error::LakeError, streams};

/// Largest number of cells of a map.
const MOST_CELLS: usize = 10_000;
/// Largest number of rows of a random map, so that it has at most `MOST_CELLS` cells.
const MOST_ROWS: usize = 100;
/// Number of draws after which drawing a random map is given up.
const DRAWS: usize = 10_000;

/// A cell of a map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cell {
    /// `S`: frozen, and an episode may start here.
    Start,
    /// `F`: frozen.
    Frozen,
    /// `H`: ends an episode.
    Hole,
    /// `G`: ends an episode, in success.
    Goal,
}

impl Cell {
    /// The cell of a letter. Only capitals are valid, as in Gymnasium.
    pub(crate) fn from_letter(letter: char) -> Option<Self> {
        Some(match letter {
            'S' => Self::Start,
            'F' => Self::Frozen,
            'H' => Self::Hole,
            'G' => Self::Goal,
            _ => return None,
        })
    }

    /// The letter of the cell.
    pub fn letter(self) -> char {
        match self {
            Self::Start => 'S',
            Self::Frozen => 'F',
            Self::Hole => 'H',
            Self::Goal => 'G',
        }
    }

    /// Whether an episode ends in the cell.
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Hole | Self::Goal)
    }
}

/// A rectangular map of cells. A *state* is the number of a cell, `row · columns + column`, as in
/// Gymnasium.
///
/// A map has at least one start and one goal, and every start has a path to a goal.
/// [`fmt::Display`] prints the letters, one line per row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LakeMap {
    name: String,
    columns: usize,
    cells: Vec<Cell>,
}

impl LakeMap {
    /// Gymnasium's maps: `4x4` and `8x8`.
    pub fn standard(name: &str) -> Option<Self> {
        let letters = match name {
            "4x4" => "SFFF\nFHFH\nFFFH\nHFFG",
            "8x8" => {
                "SFFFFFFF\nFFFFFFFF\nFFFHFFFF\nFFFFFHFF\nFFFHFFFF\nFHHFFFHF\nFHFFHFHF\nFFFHFFFG"
            }
            _ => return None,
        };
        Self::parse(name, letters).ok()
    }

    /// Parses a map from its letters, one line per row. White space at the end of lines and blank
    /// lines at the end are ignored.
    ///
    /// # Errors
    /// [`LakeError::Map`] with `name` and, if the mistake is in one line, its number: for an
    /// unknown letter, rows of different lengths, more than 10 000 cells, no start, no goal, or
    /// a start without a path to a goal.
    pub fn parse(name: &str, text: &str) -> Result<Self, LakeError> {
        let refused = |line: Option<usize>, problem: String| LakeError::Map {
            name: name.to_owned(),
            line,
            problem,
        };
        let text = text.trim_end();
        if text.is_empty() {
            return Err(refused(
                None,
                "is empty; a map is lines of `S`, `F`, `H` and `G`".to_owned(),
            ));
        }
        let mut map = Self { name: name.to_owned(), columns: 0, cells: Vec::new() };
        for (line, row) in (1..).zip(text.lines()) {
            let before = map.cells.len();
            for (column, letter) in (1..).zip(row.trim_end().chars()) {
                let cell = Cell::from_letter(letter)
                    .ok_or_else(|| refused(Some(line), unknown_letter(letter, column)))?;
                map.cells.push(cell);
            }
            let found = map.cells.len() - before;
            if found == 0 {
                return Err(refused(
                    Some(line),
                    "is blank; blank lines are allowed only at the end of a map".to_owned(),
                ));
            }
            if line == 1 {
                map.columns = found;
            } else if found != map.columns {
                let expected = map.columns;
                return Err(refused(
                    Some(line),
                    format!("has {found} cells, but line 1 has {expected}"),
                ));
            }
            if map.cells.len() > MOST_CELLS {
                return Err(refused(
                    Some(line),
                    format!("exceeds the {MOST_CELLS} cells that a map may have"),
                ));
            }
        }
        for needed in [Cell::Start, Cell::Goal] {
            if !map.cells.contains(&needed) {
                return Err(refused(None, format!("has no `{}`", needed.letter())));
            }
        }
        let reaches = map.reaches_goal();
        if let Some(state) = map.starts().find(|&state| !reaches[state]) {
            let column = state % map.columns + 1;
            let problem = format!("there is no path from the `S` in column {column} to a `G`");
            return Err(refused(Some(state / map.columns + 1), problem));
        }
        Ok(map)
    }

    /// Reads a map from a file in the format of [`LakeMap::parse`]. Its name is the stem of the
    /// file name. A byte order mark at the start, which editors on Windows write, is skipped.
    ///
    /// # Errors
    /// [`LakeError::Read`] if the file cannot be read as text, and the errors of `parse`, which
    /// name the path.
    pub fn read(path: &Path) -> Result<Self, LakeError> {
        let text = fs::read_to_string(path)
            .map_err(|source| LakeError::Read { path: path.to_owned(), source })?;
        let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
        let map = Self::parse(&path.display().to_string(), text)?;
        Ok(match path.file_stem() {
            Some(stem) => map.named(&stem.to_string_lossy()),
            None => map,
        })
    }

    /// The same map with another name.
    #[must_use]
    pub(crate) fn named(self, name: &str) -> Self {
        Self { name: name.to_owned(), ..self }
    }

    /// Draws a square map with `size` rows, the start at the top left and the goal at the bottom
    /// right. Every other cell is frozen with probability `frozen`, otherwise a hole. A map without
    /// a path from start to goal is drawn again.
    ///
    /// # Errors
    /// [`LakeError::Setting`] if `size` is not within 2 to 100 or `frozen` is not within (0, 1];
    /// [`LakeError::Impossible`] if none of 10 000 draws has a path.
    pub fn random(size: usize, frozen: f64, seed: u64) -> Result<Self, LakeError> {
        if !(2..=MOST_ROWS).contains(&size) {
            let problem = format!("is {size}, expected 2 to {MOST_ROWS} rows");
            return Err(LakeError::Setting { field: "random.size".to_owned(), problem });
        }
        if !(frozen > 0.0 && frozen <= 1.0) {
            let problem = format!("is {frozen:?}, expected a number above 0, up to 1");
            return Err(LakeError::Setting { field: "random.frozen".to_owned(), problem });
        }
        let mut rng = generator(seed, streams::RANDOM_MAP);
        let name = format!("random-{size}x{size}-{seed}");
        let mut map = Self { name, columns: size, cells: vec![Cell::Start; size * size] };
        for _ in 0..DRAWS {
            map.cells.fill_with(|| if rng.random_bool(frozen) { Cell::Frozen } else { Cell::Hole });
            map.cells[0] = Cell::Start;
            map.cells[size * size - 1] = Cell::Goal;
            if map.reaches_goal()[0] {
                return Ok(map);
            }
        }
        Err(LakeError::Impossible(format!(
            "none of {DRAWS} random maps of {size}x{size} cells with a share of {frozen} frozen \
             has a path to its goal; raise `random.frozen` or lower `random.size`"
        )))
    }

    /// The name of the map: that of a standard map, the stem of its file, `random-` with size and
    /// seed, or the name of a designed map.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.cells.len() / self.columns
    }

    /// Number of columns.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Number of cells.
    pub fn states(&self) -> usize {
        self.cells.len()
    }

    /// The cell of a state.
    ///
    /// # Panics
    /// If the map has no such state.
    pub fn cell(&self, state: usize) -> Cell {
        self.cells[state]
    }

    /// Whether another map has the same cells, whatever its name.
    pub(crate) fn has_cells_of(&self, other: &Self) -> bool {
        self.columns == other.columns && self.cells == other.cells
    }

    /// The states of the cells `S`.
    pub(crate) fn starts(&self) -> impl Iterator<Item = usize> {
        (0..self.states()).filter(|&state| self.cells[state] == Cell::Start)
    }

    /// The state after a move without a slip; at the edge of the map, the same state.
    pub(crate) fn neighbour(&self, state: usize, action: Action) -> usize {
        let (row, column) = (state / self.columns, state % self.columns);
        match action {
            Action::Left if column > 0 => state - 1,
            Action::Down if row + 1 < self.rows() => state + self.columns,
            Action::Right if column + 1 < self.columns => state + 1,
            Action::Up if row > 0 => state - self.columns,
            _ => state,
        }
    }

    /// By state, whether it has a path to a goal; searched backwards from the goals. `[states]`
    fn reaches_goal(&self) -> Vec<bool> {
        let mut reaches: Vec<_> = self.cells.iter().map(|&cell| cell == Cell::Goal).collect();
        let mut frontier: Vec<_> = (0..self.states()).filter(|&state| reaches[state]).collect();
        while let Some(state) = frontier.pop() {
            for before in Action::ALL.map(|action| self.neighbour(state, action)) {
                if !reaches[before] && !self.cells[before].is_terminal() {
                    reaches[before] = true;
                    frontier.push(before);
                }
            }
        }
        reaches
    }
}

impl fmt::Display for LakeMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for row in self.cells.chunks(self.columns) {
            writeln!(f, "{}", row.iter().map(|cell| cell.letter()).collect::<String>())?;
        }
        Ok(())
    }
}

fn unknown_letter(letter: char, column: usize) -> String {
    let found = format!("found `{}` in column {column}", letter.escape_debug());
    match Cell::from_letter(letter.to_ascii_uppercase()) {
        Some(cell) => format!("{found}, expected the capital `{}`", cell.letter()),
        None => format!("{found}, expected `S`, `F`, `H` or `G`"),
    }
}
