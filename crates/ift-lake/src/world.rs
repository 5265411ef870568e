//! The world: Gymnasium's `FrozenLake-v1`, rule for rule.

use rand::{Rng, RngExt};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    action::Action,
    map::{Cell, LakeMap},
};

/// What arriving in a cell is worth.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Rewards {
    /// For arriving at a goal.
    pub goal: f64,
    /// For falling into a hole.
    pub hole: f64,
    /// For every other move.
    pub frozen: f64,
}

impl Default for Rewards {
    fn default() -> Self {
        Self { goal: 1.0, hole: 0.0, frozen: 0.0 }
    }
}

impl Rewards {
    fn of(self, cell: Cell) -> f64 {
        match cell {
            Cell::Goal => self.goal,
            Cell::Hole => self.hole,
            Cell::Start | Cell::Frozen => self.frozen,
        }
    }
}

/// Whether moves can slip.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Ice {
    /// A move goes where it was meant to.
    Solid,
    /// A move may go a quarter to either side of where it was meant to, never backwards.
    Slippery,
}

impl Ice {
    /// Its name in settings.
    pub fn name(self) -> &'static str {
        match self {
            Self::Solid => "solid",
            Self::Slippery => "slippery",
        }
    }
}

/// One thing that a move can lead to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Outcome {
    /// How probable it is.
    pub probability: f64,
    /// The cell arrived at.
    pub state: usize,
    /// What that is worth.
    pub reward: f64,
    /// Whether the episode ends there.
    pub ended: bool,
}

/// A lake with its rules. States that the map does not have panic wherever they are given.
#[derive(Clone, Debug)]
pub struct World {
    map: LakeMap,
    ice: Ice,
    success_rate: f64,
    limit: usize,
    starts: Vec<usize>,
    outcomes: Vec<Outcome>,
    /// Where the outcomes of state `s` and action `a` begin, at `4·s + a`, and end, one further.
    /// `[4·states + 1]`
    bounds: Vec<usize>,
}

impl World {
    /// A world on `map`. On slippery ice a move goes where it was meant to with probability
    /// `success_rate` (0 to 1; Gymnasium's default is 1/3), else to either side alike. An
    /// episode is cut after `limit` moves.
    pub fn new(map: LakeMap, ice: Ice, success_rate: f64, rewards: Rewards, limit: usize) -> Self {
        let starts = map.starts().collect();
        let mut world =
            Self { map, ice, success_rate, limit, starts, outcomes: Vec::new(), bounds: vec![0] };
        for state in 0..world.states() {
            for action in Action::ALL {
                world.push_outcomes(state, action, rewards);
                world.bounds.push(world.outcomes.len());
            }
        }
        world
    }

    /// Gymnasium's order, with an outcome for every turn even where two arrive in the same cell.
    fn push_outcomes(&mut self, state: usize, action: Action, rewards: Rewards) {
        if self.is_terminal(state) {
            self.outcomes.push(Outcome { probability: 1.0, state, reward: 0.0, ended: true });
            return;
        }
        let turns: &[i8] = match self.ice {
            Ice::Solid => &[0],
            Ice::Slippery => &[-1, 0, 1],
        };
        for &turn in turns {
            let arrived = self.arrive(state, action, turn);
            self.outcomes.push(Outcome {
                probability: self.turn_probability(turn),
                state: arrived,
                reward: rewards.of(self.map.cell(arrived)),
                ended: self.is_terminal(arrived),
            });
        }
    }

    fn turn_probability(&self, turn: i8) -> f64 {
        match (self.ice, turn) {
            (Ice::Solid, _) => 1.0,
            (Ice::Slippery, 0) => self.success_rate,
            (Ice::Slippery, _) => (1.0 - self.success_rate) / 2.0,
        }
    }

    /// The map.
    pub fn map(&self) -> &LakeMap {
        &self.map
    }

    /// The ice.
    pub fn ice(&self) -> Ice {
        self.ice
    }

    /// Moves after which an episode is cut.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Number of cells.
    pub fn states(&self) -> usize {
        self.map.states()
    }

    /// What a move can lead to: the list `P[state][action]` of Gymnasium's environment, in its
    /// order.
    pub fn outcomes(&self, state: usize, action: Action) -> &[Outcome] {
        let list = 4 * state + action.index();
        &self.outcomes[self.bounds[list]..self.bounds[list + 1]]
    }

    /// Whether an episode ends in this cell.
    pub fn is_terminal(&self, state: usize) -> bool {
        self.map.cell(state).is_terminal()
    }

    /// The states in which an episode goes on, ascending.
    pub fn non_terminal(&self) -> impl DoubleEndedIterator<Item = usize> {
        (0..self.states()).filter(|&state| !self.is_terminal(state))
    }

    /// The states an episode can start in, ascending; all are equally probable.
    pub fn starts(&self) -> &[usize] {
        &self.starts
    }

    /// Draws one of the starts.
    pub(crate) fn draw_start(&self, rng: &mut impl Rng) -> usize {
        self.starts[rng.random_range(0..self.starts.len())]
    }

    /// The cell that a move leads to when the ice turns it by `turn` (see [`Action::turned`]). What
    /// is in a hole or at a goal stays there.
    pub fn arrive(&self, state: usize, action: Action, turn: i8) -> usize {
        if self.is_terminal(state) { state } else { self.map.neighbour(state, action.turned(turn)) }
    }

    /// Draws how the ice turns a move: -1, 0 or 1; on solid ice 0, without a draw.
    pub fn draw_turn(&self, rng: &mut impl Rng) -> i8 {
        if self.ice == Ice::Solid {
            return 0;
        }
        let (aside, ahead) = (self.turn_probability(-1), self.turn_probability(0));
        let draw = rng.random::<f64>();
        i8::from(draw >= aside + ahead) - i8::from(draw < aside)
    }
}

/// Gymnasium's limits of moves for its maps, by size: 100 up to 16 cells, 200 above.
pub fn default_limit(map: &LakeMap) -> usize {
    if map.states() <= 16 { 100 } else { 200 }
}
