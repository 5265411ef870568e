//! What can be done in a cell.

use serde::Serialize;

/// A move, numbered as in Gymnasium.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// 0: to the column before.
    Left,
    /// 1: to the row below.
    Down,
    /// 2: to the next column.
    Right,
    /// 3: to the row above.
    Up,
}

impl Action {
    /// All moves, by number.
    pub const ALL: [Self; 4] = [Self::Left, Self::Down, Self::Right, Self::Up];

    /// Its number.
    pub fn index(self) -> usize {
        self as usize
    }

    /// The move that is `turn` numbers further: -1 is a quarter clockwise, 1 one counter-clockwise.
    #[must_use]
    pub fn turned(self, turn: i8) -> Self {
        Self::ALL[(self as i8 + turn.rem_euclid(4)).rem_euclid(4) as usize]
    }

    /// An arrow that points where it leads.
    pub fn arrow(self) -> char {
        match self {
            Self::Left => '←',
            Self::Down => '↓',
            Self::Right => '→',
            Self::Up => '↑',
        }
    }
}
