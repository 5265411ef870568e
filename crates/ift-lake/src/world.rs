//! The world, with the rules of Gymnasium's `FrozenLake-v1`.

use rand::{Rng, RngExt};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    action::Action,
    map::{Cell, LakeMap},
};

/// Rewards of moves, by the cell that a move reaches.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Rewards {
    /// Reward for reaching a goal.
    pub goal: f64,
    /// Reward for falling into a hole.
    pub hole: f64,
    /// Reward for every other move.
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
    /// A move goes in the direction of its action.
    Solid,
    /// A move may slip a quarter turn to either side, never backwards.
    Slippery,
}

impl Ice {
    /// Name in settings and result files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Solid => "solid",
            Self::Slippery => "slippery",
        }
    }
}

/// A possible result of an action in a state.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Transition {
    /// Its probability.
    pub probability: f64,
    /// The state reached.
    pub state: usize,
    /// The reward.
    pub reward: f64,
    /// Whether the episode ends.
    pub ended: bool,
}

/// A map with its rules. Methods panic if they are given a state that the map does not have.
#[derive(Clone, Debug)]
pub struct World {
    map: LakeMap,
    ice: Ice,
    success_rate: f64,
    limit: usize,
    starts: Vec<usize>,
    transitions: Vec<Transition>,
    /// Transitions of state `s` and action `a` begin at element `4·s + a` and end at the next one.
    /// `[4·states + 1]`
    bounds: Vec<usize>,
}

impl World {
    /// A world on `map`. On slippery ice a move goes in the direction of its action with
    /// probability `success_rate` (0 to 1; Gymnasium's default is 1/3), otherwise to either
    /// side with equal probability. An episode is cut after `limit` moves.
    pub fn new(map: LakeMap, ice: Ice, success_rate: f64, rewards: Rewards, limit: usize) -> Self {
        let starts = map.starts().collect();
        let mut world = Self {
            map,
            ice,
            success_rate,
            limit,
            starts,
            transitions: Vec::new(),
            bounds: vec![0],
        };
        for state in 0..world.states() {
            for action in Action::ALL {
                world.push_transitions(state, action, rewards);
                world.bounds.push(world.transitions.len());
            }
        }
        world
    }

    /// Appends the transitions in the order of Gymnasium: one per turn, even if two turns reach the
    /// same state.
    fn push_transitions(&mut self, state: usize, action: Action, rewards: Rewards) {
        if self.is_terminal(state) {
            self.transitions.push(Transition { probability: 1.0, state, reward: 0.0, ended: true });
            return;
        }
        let turns: &[i8] = match self.ice {
            Ice::Solid => &[0],
            Ice::Slippery => &[-1, 0, 1],
        };
        for &turn in turns {
            let arrived = self.arrive(state, action, turn);
            self.transitions.push(Transition {
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

    /// Number of moves after which an episode is cut.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// Number of cells.
    pub fn states(&self) -> usize {
        self.map.states()
    }

    /// The possible results of an action: the list `P[state][action]` of Gymnasium's environment,
    /// in the same order.
    pub fn transitions(&self, state: usize, action: Action) -> &[Transition] {
        let list = 4 * state + action.index();
        &self.transitions[self.bounds[list]..self.bounds[list + 1]]
    }

    /// Whether an episode ends in this state.
    pub fn is_terminal(&self, state: usize) -> bool {
        self.map.cell(state).is_terminal()
    }

    /// The non-terminal states, ascending.
    pub fn non_terminal(&self) -> impl DoubleEndedIterator<Item = usize> {
        (0..self.states()).filter(|&state| !self.is_terminal(state))
    }

    /// The states that an episode can start in, ascending. All are equally probable.
    pub fn starts(&self) -> &[usize] {
        &self.starts
    }

    /// Draws the first state of an episode.
    pub(crate) fn draw_start(&self, rng: &mut impl Rng) -> usize {
        self.starts[rng.random_range(0..self.starts.len())]
    }

    /// The state that a move reaches if it slips by `turn` (see [`Action::turned`]). Terminal
    /// states are never left.
    pub fn arrive(&self, state: usize, action: Action, turn: i8) -> usize {
        if self.is_terminal(state) { state } else { self.map.neighbour(state, action.turned(turn)) }
    }

    /// Draws the slip of a move: -1, 0 or 1 quarter turns. On solid ice it is 0, without a draw.
    pub fn draw_turn(&self, rng: &mut impl Rng) -> i8 {
        if self.ice == Ice::Solid {
            return 0;
        }
        let (aside, ahead) = (self.turn_probability(-1), self.turn_probability(0));
        let draw = rng.random::<f64>();
        i8::from(draw >= aside + ahead) - i8::from(draw < aside)
    }
}

/// The limit of moves by the size of a map, after Gymnasium: 100 up to 16 cells, 200 above.
pub fn default_limit(map: &LakeMap) -> usize {
    if map.states() <= 16 { 100 } else { 200 }
}
