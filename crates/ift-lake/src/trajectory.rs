//! The trajectories that methods are trained on: an optimal one and a sub-optimal one.

use std::mem;

use rand::{Rng, RngExt};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    action::Action,
    error::LakeError,
    map::Cell,
    optimum::{Optimum, StateActionMatrix},
    world::{Ice, World},
};

/// Number of walks after which the search for a trajectory is given up.
const TRIES: usize = 200_000;
/// Number of moves, over all walks, after which it is given up too: walks can be long.
const MOVES: usize = 20_000_000;

/// One move of a trajectory. [`World::arrive`] gives the state that it reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Visit {
    /// The state before the move.
    pub state: usize,
    /// The action.
    pub action: Action,
    /// The slip, in quarter turns: -1, 0 or 1 (see [`Action::turned`]).
    pub turn: i8,
}

/// The moves of an episode, or of its beginning.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Trajectory {
    /// The moves, in order.
    pub visits: Vec<Visit>,
    /// The state after the last move.
    pub end: usize,
}

/// The kind of a sub-optimal trajectory.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Suboptimal {
    /// It reaches a goal in more moves than the optimal one.
    Longer,
    /// It falls into a hole.
    Hole,
    /// It reaches neither a goal nor a hole. A drawn one makes twice the moves of the optimal one
    /// and visits a cell twice.
    Wandering,
    /// An episode of the policy that is trained; every training step draws a new one.
    Own,
}

impl Suboptimal {
    /// All kinds.
    pub const ALL: [Self; 4] = [Self::Longer, Self::Hole, Self::Wandering, Self::Own];

    /// Name in settings and result files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Longer => "longer",
            Self::Hole => "hole",
            Self::Wandering => "wandering",
            Self::Own => "own",
        }
    }

    /// Advice for the error that no such trajectory was found.
    fn advice(self, ice: Ice) -> &'static str {
        match (self, ice) {
            (Self::Longer, Ice::Solid) => {
                "there may be no longer path that visits no cell twice; try another noise, kind \
                 or map"
            }
            (Self::Longer, Ice::Slippery) => {
                "try another noise, a higher limit of moves, another kind or map"
            }
            (Self::Hole, _) => "there may be no hole within reach; try another noise, kind or map",
            (Self::Wandering | Self::Own, _) => "try another noise, kind or map",
        }
    }
}

/// Plays an episode with a policy until it ends or the limit of moves cuts it.
pub fn rollout(world: &World, policy: &StateActionMatrix, rng: &mut impl Rng) -> Trajectory {
    let walker = Walker { world, policy, noise: 0.0, most: world.limit(), revisits: true };
    let start = world.draw_start(rng);
    walker.walk(start, |_| false, rng).trajectory
}

/// Draws a trajectory whose actions are drawn from the optimal matrix and which reaches a goal
/// within half the limit of moves of the world, so that a longer trajectory fits the limit too. On
/// solid ice, if only goals are rewarded, it is a shortest path from its start.
///
/// # Errors
/// [`LakeError::Impossible`] if 200 000 episodes (fewer where they are long) reach no goal.
pub fn draw_optimal(
    world: &World,
    optimum: &Optimum,
    rng: &mut impl Rng,
) -> Result<Trajectory, LakeError> {
    let most = world.limit().div_ceil(2);
    let walker = Walker { world, policy: &optimum.policy, noise: 0.0, most, revisits: true };
    let reaches_goal = |walk: &Walk| world.map().cell(walk.trajectory.end) == Cell::Goal;
    walker.search(|rng| world.draw_start(rng), reaches_goal, rng).map_err(|tries| {
        LakeError::Impossible(format!(
            "map `{}`, {} ice: the optimal policy reached no goal within {most} moves, half the \
             limit, in {tries} tries; raise `limit` or `rewards.goal`",
            world.map().name(),
            world.ice().name(),
        ))
    })
}

/// Draws a trajectory of the given kind from the first state of `optimal`. An action is drawn from
/// the optimal matrix with probability `1 - noise`, otherwise uniformly. Walks that are not of the
/// kind are drawn again.
///
/// * [`Suboptimal::Longer`] reaches a goal in more moves than `optimal`, [`Suboptimal::Hole`] falls
///   into a hole. Both stay within the limit of moves. On solid ice they visit no cell twice, and
///   so never move against the edge of the map.
/// * [`Suboptimal::Wandering`] makes twice the moves of `optimal`, at most the limit, visits a cell
///   twice and ends neither at a goal nor in a hole.
/// * [`Suboptimal::Own`] accepts any walk.
///
/// # Errors
/// [`LakeError::Impossible`] if none of 200 000 walks (fewer where they are long) is of the kind.
pub fn draw_suboptimal(
    world: &World,
    optimum: &Optimum,
    kind: Suboptimal,
    noise: f64,
    optimal: &Trajectory,
    rng: &mut impl Rng,
) -> Result<Trajectory, LakeError> {
    let start = optimal.visits.first().map_or(optimal.end, |visit| visit.state);
    let length = optimal.visits.len();
    let wandering = kind == Suboptimal::Wandering;
    let most = if wandering { world.limit().min(2 * length) } else { world.limit() };
    let revisits =
        !matches!(kind, Suboptimal::Longer | Suboptimal::Hole) || world.ice() == Ice::Slippery;
    let walker = Walker { world, policy: &optimum.policy, noise, most, revisits };
    let is_of_kind = |walk: &Walk| {
        let end = world.map().cell(walk.trajectory.end);
        match kind {
            Suboptimal::Longer => end == Cell::Goal && walk.trajectory.visits.len() > length,
            Suboptimal::Hole => end == Cell::Hole,
            Suboptimal::Wandering => !end.is_terminal() && walk.revisited,
            Suboptimal::Own => true,
        }
    };
    walker.search(|_| start, is_of_kind, rng).map_err(|tries| {
        LakeError::Impossible(format!(
            "map `{}`, {} ice: no sub-optimal trajectory of kind `{}` in {tries} tries with noise \
             {noise}; {}",
            world.map().name(),
            world.ice().name(),
            kind.name(),
            kind.advice(world.ice()),
        ))
    })
}

/// Draws walks with a noisy policy.
struct Walker<'a> {
    world: &'a World,
    policy: &'a StateActionMatrix,
    /// Probability that an action is drawn uniformly.
    noise: f64,
    /// Number of moves after which a walk is cut.
    most: usize,
    /// Whether a walk may visit a cell twice. If not, it stops there.
    revisits: bool,
}

/// A drawn walk.
struct Walk {
    trajectory: Trajectory,
    /// Whether it visited a cell twice.
    revisited: bool,
}

impl Walker<'_> {
    /// Draws walks until one is accepted. The error is the number of tries.
    fn search<R: Rng>(
        &self,
        start: impl Fn(&mut R) -> usize,
        accepts: impl Fn(&Walk) -> bool,
        rng: &mut R,
    ) -> Result<Trajectory, usize> {
        // By state: the last try that visited it.
        let mut entered = vec![0; self.world.states()];
        let (mut tries, mut moves) = (0, 0);
        while tries < TRIES && moves < MOVES {
            tries += 1;
            let start = start(rng);
            let walk =
                self.walk(start, |state| mem::replace(&mut entered[state], tries) == tries, rng);
            if accepts(&walk) {
                return Ok(walk.trajectory);
            }
            moves += walk.trajectory.visits.len();
        }
        Err(tries)
    }

    /// Draws a walk until the episode ends or is cut. `enter` is called with every state that the
    /// walk visits and returns whether it has visited the state before.
    fn walk(&self, start: usize, mut enter: impl FnMut(usize) -> bool, rng: &mut impl Rng) -> Walk {
        let (mut visits, mut state, mut revisited) = (Vec::new(), start, enter(start));
        while visits.len() < self.most
            && !self.world.is_terminal(state)
            && (self.revisits || !revisited)
        {
            let visit = Visit {
                state,
                action: self.draw_action(state, rng),
                turn: self.world.draw_turn(rng),
            };
            visits.push(visit);
            state = self.world.arrive(state, visit.action, visit.turn);
            revisited |= enter(state);
        }
        Walk { trajectory: Trajectory { visits, end: state }, revisited }
    }

    fn draw_action(&self, state: usize, rng: &mut impl Rng) -> Action {
        let any = [0.25; 4];
        let probabilities =
            if rng.random::<f64>() < self.noise { &any } else { &self.policy[state] };
        let mut draw = rng.random::<f64>();
        let mut drawn = Action::Left;
        for (action, &probability) in Action::ALL.into_iter().zip(probabilities) {
            // An action with probability 0 is never drawn, even if rounding errors leave a positive
            // rest after all others.
            if probability > 0.0 && draw >= 0.0 {
                drawn = action;
                draw -= probability;
            }
        }
        drawn
    }
}
