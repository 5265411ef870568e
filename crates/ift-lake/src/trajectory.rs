//! The trajectories that methods learn from: an optimal one, and one that is worse.

use std::mem;

use rand::{Rng, RngExt};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    action::Action,
    error::LakeError,
    map::Cell,
    optimum::{Matrix, Optimum},
    world::{Ice, World},
};

/// Walks that are tried before a trajectory is taken to be impossible.
const TRIES: usize = 200_000;
/// Moves of all tries together, for worlds whose walks are long.
const MOVES: usize = 20_000_000;

/// One move of a trajectory. [`World::arrive`] says where it led.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Visit {
    /// The cell it was made in.
    pub state: usize,
    /// What was meant.
    pub action: Action,
    /// How the ice turned it: -1, 0 or 1 (see [`Action::turned`]).
    pub turn: i8,
}

/// A walk over the lake.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Trajectory {
    /// The moves, in order.
    pub visits: Vec<Visit>,
    /// The cell that the last move led to.
    pub end: usize,
}

/// What makes a trajectory worse than the optimal one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Suboptimal {
    /// It reaches a goal in more moves.
    Longer,
    /// It falls into a hole.
    Hole,
    /// It returns to where it was and arrives nowhere in twice the moves.
    Wandering,
    /// It is what the policy itself does, drawn anew at every step of training.
    Own,
}

impl Suboptimal {
    /// All kinds.
    pub const ALL: [Self; 4] = [Self::Longer, Self::Hole, Self::Wandering, Self::Own];

    /// Its name in settings.
    pub fn name(self) -> &'static str {
        match self {
            Self::Longer => "longer",
            Self::Hole => "hole",
            Self::Wandering => "wandering",
            Self::Own => "own",
        }
    }

    /// What may help where there is none.
    fn advice(self, ice: Ice) -> &'static str {
        match (self, ice) {
            (Self::Longer, Ice::Solid) => {
                "there may be no longer way that crosses no cell twice; try another noise, kind or map"
            }
            (Self::Longer, Ice::Slippery) => {
                "try another noise, a higher limit of moves, another kind or map"
            }
            (Self::Hole, _) => "there may be no hole within reach; try another noise, kind or map",
            (Self::Wandering | Self::Own, _) => "try another noise, kind or map",
        }
    }
}

/// An episode by a policy, until it ends or the world's limit cuts it.
pub fn rollout(world: &World, policy: &Matrix, rng: &mut impl Rng) -> Trajectory {
    let walker = Walker { world, policy, noise: 0.0, most: world.limit(), crosses: true };
    let start = world.draw_start(rng);
    walker.walk(start, |_| false, rng).trajectory
}

/// Draws a trajectory that acts by the optimal matrix, so that equally good actions are drawn
/// alike, and reaches a goal within half the world's limit of moves, so that there is room for a
/// longer way. On solid ice, with rewards for goals alone, it is a shortest path from its start.
///
/// # Errors
/// [`LakeError::Impossible`] if 200 000 episodes (fewer where they are long) reach no goal.
pub fn draw_optimal(
    world: &World,
    optimum: &Optimum,
    rng: &mut impl Rng,
) -> Result<Trajectory, LakeError> {
    let most = world.limit().div_ceil(2);
    let walker = Walker { world, policy: &optimum.policy, noise: 0.0, most, crosses: true };
    let arrives = |walk: &Walk| world.map().cell(walk.trajectory.end) == Cell::Goal;
    walker.search(|rng| world.draw_start(rng), arrives, rng).map_err(|tries| {
        LakeError::Impossible(format!(
            "map `{}`, {} ice: the optimal policy reached no goal within {most} moves, half the limit, in {tries} tries; \
             allow more moves or reward goals more",
            world.map().name(),
            world.ice().name(),
        ))
    })
}

/// Draws a trajectory that is worse than `optimal` in the way `kind` says, from the same first
/// cell. Its policy acts by the optimal matrix with probability `1 - noise` and else draws any
/// action alike; walks that are not of the kind are drawn again.
///
/// * [`Suboptimal::Longer`] reaches a goal in more moves than `optimal`, [`Suboptimal::Hole`] falls
///   into a hole; both within the world's limit, and on solid ice without being in a cell twice, as
///   a bump into the map's edge would be.
/// * [`Suboptimal::Wandering`] makes twice the moves of `optimal` (at most the limit), is at no
///   goal and in no hole after them, and was in a cell twice.
/// * [`Suboptimal::Own`] is any walk: what else it is, the policy decides that is trained.
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
    let wanders = kind == Suboptimal::Wandering;
    let most = if wanders { world.limit().min(2 * length) } else { world.limit() };
    let crosses =
        !matches!(kind, Suboptimal::Longer | Suboptimal::Hole) || world.ice() == Ice::Slippery;
    let walker = Walker { world, policy: &optimum.policy, noise, most, crosses };
    let is_of_kind = |walk: &Walk| {
        let end = world.map().cell(walk.trajectory.end);
        match kind {
            Suboptimal::Longer => end == Cell::Goal && walk.trajectory.visits.len() > length,
            Suboptimal::Hole => end == Cell::Hole,
            Suboptimal::Wandering => !end.is_terminal() && walk.crossed,
            Suboptimal::Own => true,
        }
    };
    walker.search(|_| start, is_of_kind, rng).map_err(|tries| {
        LakeError::Impossible(format!(
            "map `{}`, {} ice: no sub-optimal trajectory of kind `{}` in {tries} tries with noise {noise}; {}",
            world.map().name(),
            world.ice().name(),
            kind.name(),
            kind.advice(world.ice()),
        ))
    })
}

/// What draws walks.
struct Walker<'a> {
    world: &'a World,
    policy: &'a Matrix,
    /// Probability of an action that is drawn from all alike.
    noise: f64,
    /// Moves after which a walk is cut.
    most: usize,
    /// Whether a walk may be in a cell twice; else it is given up there, where no episode ends.
    crosses: bool,
}

/// What was walked.
struct Walk {
    trajectory: Trajectory,
    /// Whether it was in a cell twice.
    crossed: bool,
}

impl Walker<'_> {
    /// The first walk that is wanted; else the number of tries.
    fn search<R: Rng>(
        &self,
        start: impl Fn(&mut R) -> usize,
        wanted: impl Fn(&Walk) -> bool,
        rng: &mut R,
    ) -> Result<Trajectory, usize> {
        // The last try that entered each cell.
        let mut entered = vec![0; self.world.states()];
        let (mut tries, mut moves) = (0, 0);
        while tries < TRIES && moves < MOVES {
            tries += 1;
            let start = start(rng);
            let walk =
                self.walk(start, |state| mem::replace(&mut entered[state], tries) == tries, rng);
            if wanted(&walk) {
                return Ok(walk.trajectory);
            }
            moves += walk.trajectory.visits.len();
        }
        Err(tries)
    }

    /// Walks until the episode ends or is cut. `enter` says of each cell whether the walk was there
    /// before.
    fn walk(&self, start: usize, mut enter: impl FnMut(usize) -> bool, rng: &mut impl Rng) -> Walk {
        let (mut visits, mut state, mut crossed) = (Vec::new(), start, enter(start));
        while visits.len() < self.most
            && !self.world.is_terminal(state)
            && (self.crosses || !crossed)
        {
            let visit = Visit {
                state,
                action: self.draw_action(state, rng),
                turn: self.world.draw_turn(rng),
            };
            visits.push(visit);
            state = self.world.arrive(state, visit.action, visit.turn);
            crossed |= enter(state);
        }
        Walk { trajectory: Trajectory { visits, end: state }, crossed }
    }

    fn draw_action(&self, state: usize, rng: &mut impl Rng) -> Action {
        let any = [0.25; 4];
        let probabilities =
            if rng.random::<f64>() < self.noise { &any } else { &self.policy[state] };
        let mut draw = rng.random::<f64>();
        let mut drawn = Action::Left;
        for (action, &probability) in Action::ALL.into_iter().zip(probabilities) {
            // An action of probability 0 is not drawn even if rounding leaves a rest after the last
            // that is not.
            if probability > 0.0 && draw >= 0.0 {
                drawn = action;
                draw -= probability;
            }
        }
        drawn
    }
}
