//! The optimum of a world, by classical reinforcement learning, and what a policy achieves.

use std::mem;

use crate::{action::Action, map::Cell, world::World};

/// Action probabilities by state; terminal states hold a quarter each. `[states, 4]`
pub type Matrix = Vec<[f64; 4]>;

/// Actions whose values differ by no more than this share of the largest are equally good.
const TIE: f64 = 1e-9;
/// Value iteration ends when no state's value changes by more than this share of itself: a few
/// roundings.
const CHANGE: f64 = 1e-15;
/// Policy iteration changes an action for a gain of more than this share of the value; less may be
/// rounding.
const GAIN: f64 = 1e-12;
/// Policies that policy iteration tries at most. It needs about ten; only rounding could make it go
/// on.
const MOST_POLICIES: usize = 1000;

/// The best that can be done in a world, without a limit of moves.
#[derive(Clone, Debug, PartialEq)]
pub struct Optimum {
    /// Discounted reward that is to be expected from each state; 0 for terminal states. `[states]`
    pub values: Vec<f64>,
    /// The same after each action. `[states, 4]`
    pub action_values: Matrix,
    /// The optimal state-action matrix: actions within 1e-9 of the largest value, as a share of
    /// it, are equally probable, all others have probability 0. Where no goal can be reached
    /// and nothing else is rewarded, all four are equal.
    pub policy: Matrix,
}

impl Optimum {
    fn of(world: &World, discount: f64, values: Vec<f64>) -> Self {
        let action_values: Matrix = (0..world.states())
            .map(|state| action_values(world, discount, &values, state))
            .collect();
        let policy = action_values.iter().map(share_ties).collect();
        Self { values, action_values, policy }
    }
}

/// The optimum by value iteration, for a `discount` within (0, 1).
///
/// Values are updated in place, forth and back over the states, until all changes are roundings.
/// Discounting alone sees to that after `1 / (1 - discount)` sweeps times a constant, which also
/// bounds the work.
pub fn value_iteration(world: &World, discount: f64) -> Optimum {
    let mut values = vec![0.0; world.states()];
    let enough = (40.0 / (1.0 - discount)) as usize + world.states();
    for _ in 0..enough {
        let mut settled = true;
        for state in world.non_terminal().chain(world.non_terminal().rev()) {
            let value = largest(&action_values(world, discount, &values, state));
            settled &= (value - values[state]).abs() <= CHANGE * value.abs();
            values[state] = value;
        }
        if settled {
            break;
        }
    }
    Optimum::of(world, discount, values)
}

/// The optimum by policy iteration, for a `discount` within (0, 1).
///
/// It starts from the policy that draws every action alike, which has a value wherever a goal can
/// be reached; each policy is evaluated by solving its linear equations.
pub fn policy_iteration(world: &World, discount: f64) -> Optimum {
    let mut policy = vec![[0.25; 4]; world.states()];
    let mut values = evaluate(world, discount, &policy);
    for _ in 0..MOST_POLICIES {
        let mut improved = false;
        for state in world.non_terminal() {
            let options = action_values(world, discount, &values, state);
            if largest(&options) - values[state] > GAIN * values[state].abs() {
                policy[state] = first_largest(&options);
                improved = true;
            }
        }
        if !improved {
            break;
        }
        values = evaluate(world, discount, &policy);
    }
    Optimum::of(world, discount, values)
}

/// The probability with which `policy` arrives at a goal within the world's limit of moves,
/// exactly: the distribution over states is followed move by move. Rows of terminal states are not
/// looked at.
pub fn success_rate(world: &World, policy: &Matrix) -> f64 {
    let ways: Vec<_> =
        world.non_terminal().flat_map(|state| ways_from(world, policy, state)).collect();
    let mut here = vec![0.0; world.states()];
    for &start in world.starts() {
        here[start] = 1.0 / world.starts().len() as f64;
    }
    let mut next = here.clone();
    let goals: Vec<_> =
        (0..world.states()).filter(|&state| world.map().cell(state) == Cell::Goal).collect();
    let mut arrived = 0.0;
    for _ in 0..world.limit() {
        next.fill(0.0);
        for way in &ways {
            next[way.to] += here[way.from] * way.probability;
        }
        mem::swap(&mut here, &mut next);
        arrived += goals.iter().map(|&goal| here[goal]).sum::<f64>();
    }
    arrived
}

/// One cell that a policy can lead to from another.
struct Way {
    from: usize,
    to: usize,
    probability: f64,
}

/// The cells that `policy` can lead to from a state, each once.
fn ways_from(world: &World, policy: &Matrix, from: usize) -> Vec<Way> {
    let mut ways: Vec<Way> = Vec::new();
    for action in Action::ALL {
        for outcome in world.outcomes(from, action) {
            let probability = policy[from][action.index()] * outcome.probability;
            match ways.iter_mut().find(|way| way.to == outcome.state) {
                Some(way) => way.probability += probability,
                None => ways.push(Way { from, to: outcome.state, probability }),
            }
        }
    }
    ways
}

/// All probability on each state's most probable action, the first among equals.
pub fn greedy(policy: &Matrix) -> Matrix {
    policy.iter().map(first_largest).collect()
}

/// What each action is worth in `state` if what follows is worth `values`. Terminal states' values
/// are 0.
fn action_values(world: &World, discount: f64, values: &[f64], state: usize) -> [f64; 4] {
    Action::ALL.map(|action| {
        let worth = world.outcomes(state, action).iter().map(|outcome| {
            outcome.probability * (outcome.reward + discount * values[outcome.state])
        });
        worth.sum()
    })
}

fn largest(options: &[f64; 4]) -> f64 {
    options.iter().copied().fold(f64::NEG_INFINITY, f64::max)
}

fn first_largest(options: &[f64; 4]) -> [f64; 4] {
    let best = largest(options);
    let mut chosen = [0.0; 4];
    if let Some(first) = options.iter().position(|&option| option == best) {
        chosen[first] = 1.0;
    }
    chosen
}

fn share_ties(options: &[f64; 4]) -> [f64; 4] {
    let best = largest(options);
    let ties = options.map(|option| best - option <= TIE * best.abs());
    let share = 1.0 / ties.iter().filter(|&&tie| tie).count() as f64;
    ties.map(|tie| if tie { share } else { 0.0 })
}

/// The values of a policy: the solution of `(I - discount · P) · values = rewards`. `[states]`
///
/// A move changes a cell's number by at most the shorter side of the map, if cells are numbered
/// along it: the matrix is a band about its diagonal. Its diagonal outweighs each row, so
/// elimination needs no pivots and, where no reward is negative, keeps even the smallest values
/// exact to rounding.
fn evaluate(world: &World, discount: f64, policy: &Matrix) -> Vec<f64> {
    let (rows, columns) = (world.map().rows(), world.map().columns());
    let band = rows.min(columns);
    let number = |state: usize| {
        if columns <= rows { state } else { state % columns * rows + state / columns }
    };
    // Entry (row, column) of the matrix stands at `column + band - row` of its row.
    let mut identity = vec![0.0; 2 * band + 1];
    identity[band] = 1.0;
    let mut matrix = vec![identity; world.states()];
    let mut values = vec![0.0; world.states()];
    for state in world.non_terminal() {
        let row = number(state);
        for action in Action::ALL {
            for outcome in world.outcomes(state, action) {
                let probability = policy[state][action.index()] * outcome.probability;
                matrix[row][number(outcome.state) + band - row] -= discount * probability;
                values[row] += probability * outcome.reward;
            }
        }
    }
    for pivot in 0..matrix.len() {
        let (above, below) = matrix.split_at_mut(pivot + 1);
        let upper = &above[pivot][band..];
        for (distance, row) in (1..=band).zip(below) {
            let factor = row[band - distance] / upper[0];
            if factor != 0.0 {
                for (entry, above) in row[band - distance..].iter_mut().zip(upper) {
                    *entry -= factor * above;
                }
                values[pivot + distance] -= factor * values[pivot];
            }
        }
    }
    for row in (0..matrix.len()).rev() {
        let (solved, known) = values.split_at_mut(row + 1);
        let rest: f64 =
            matrix[row][band + 1..].iter().zip(known).map(|(entry, value)| entry * *value).sum();
        solved[row] = (solved[row] - rest) / matrix[row][band];
    }
    (0..world.states()).map(|state| values[number(state)]).collect()
}
