//! The four moves.

use serde::Serialize;

/// A move; numbers are those of Gymnasium.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// 0: one column to the left.
    Left,
    /// 1: one row down.
    Down,
    /// 2: one column to the right.
    Right,
    /// 3: one row up.
    Up,
}

impl Action {
    /// All moves, ordered by number.
    pub const ALL: [Self; 4] = [Self::Left, Self::Down, Self::Right, Self::Up];

    /// The number of the move.
    pub fn index(self) -> usize {
        self as usize
    }

    /// The move after `turn` quarter turns: -1 is a quarter clockwise, 1 a quarter
    /// counter-clockwise.
    #[must_use]
    pub fn turned(self, turn: i8) -> Self {
        Self::ALL[(self as i8 + turn.rem_euclid(4)).rem_euclid(4) as usize]
    }

    /// The move of a letter: `L`, `D`, `R` or `U`.
    pub(crate) fn from_letter(letter: char) -> Option<Self> {
        Self::ALL.into_iter().find(|action| action.letter() == letter)
    }

    /// The first letter of its name.
    pub(crate) fn letter(self) -> char {
        match self {
            Self::Left => 'L',
            Self::Down => 'D',
            Self::Right => 'R',
            Self::Up => 'U',
        }
    }

    /// An arrow in the direction of the move.
    pub fn arrow(self) -> char {
        match self {
            Self::Left => '←',
            Self::Down => '↓',
            Self::Right => '→',
            Self::Up => '↑',
        }
    }
}
