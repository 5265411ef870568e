//! The optimum of a world by dynamic programming.

use crate::{action::Action, world::World};

/// One value per state and action, mostly a probability. In terminal states every action has
/// probability 1/4. `[states, 4]`
pub type StateActionMatrix = Vec<[f64; 4]>;

/// Actions count as equally good if their values differ by at most this share of the largest value.
const TIE: f64 = 1e-9;
/// Value iteration ends when no value changes by more than this share of itself, a few rounding
/// errors.
const CHANGE: f64 = 1e-15;
/// Policy iteration changes an action only if it gains more than this share of the value; a smaller
/// gain may be a rounding error.
const GAIN: f64 = 1e-12;
/// Largest number of iterations of policy iteration. It needs about ten; only rounding errors could
/// make it continue.
const MOST_POLICIES: usize = 1000;

/// Values and policy that are optimal in a world without a limit of moves.
#[derive(Clone, Debug, PartialEq)]
pub struct Optimum {
    /// Expected discounted return from each state; 0 for terminal states. `[states]`
    pub values: Vec<f64>,
    /// Expected discounted return after each action. `[states, 4]`
    pub action_values: StateActionMatrix,
    /// The optimal state-action matrix. Actions whose value is within 1e-9 of the largest,
    /// relative to it, have equal probability; all others have probability 0. Where no goal
    /// can be reached and nothing else is rewarded, all four actions have probability 1/4.
    pub policy: StateActionMatrix,
}

impl Optimum {
    fn of(world: &World, discount: f64, values: Vec<f64>) -> Self {
        let action_values: StateActionMatrix = (0..world.states())
            .map(|state| action_values(world, discount, &values, state))
            .collect();
        let policy = action_values.iter().map(share_ties).collect();
        Self { values, action_values, policy }
    }

    /// Whether an action is optimal in a state.
    pub(crate) fn is_optimal(&self, state: usize, action: Action) -> bool {
        self.policy[state][action.index()] > 0.0
    }
}

/// The optimum by value iteration, for a `discount` within (0, 1).
///
/// Values are updated in place, forwards and backwards over the states, until all changes are
/// rounding errors. With discounting this takes at most a constant times `1 / (1 - discount)`
/// sweeps, which bounds the number of sweeps.
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
/// It starts from the uniform policy, under which every state that can reach a goal has a non-zero
/// value. Each policy is evaluated by solving its linear equations.
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

/// The greedy policy: probability 1 for the most probable action of each state, the first one if
/// several are equally probable.
pub fn greedy(policy: &StateActionMatrix) -> StateActionMatrix {
    policy.iter().map(first_largest).collect()
}

/// The value of each action in `state`, given the values of all states. Terminal states must have
/// the value 0.
fn action_values(world: &World, discount: f64, values: &[f64], state: usize) -> [f64; 4] {
    Action::ALL.map(|action| {
        let worth = world.transitions(state, action).iter().map(|outcome| {
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
/// If cells are numbered along the shorter side of the map, a move changes the number by at most
/// the length of that side, so the matrix is banded. It is diagonally dominant, so Gaussian
/// elimination needs no pivoting and, where no reward is negative, computes even the smallest
/// values to rounding precision.
fn evaluate(world: &World, discount: f64, policy: &StateActionMatrix) -> Vec<f64> {
    let (rows, columns) = (world.map().rows(), world.map().columns());
    let band = rows.min(columns);
    let number = |state: usize| {
        if columns <= rows { state } else { state % columns * rows + state / columns }
    };
    // Element (row, column) of the matrix is stored at `column + band - row` of its row.
    let mut identity = vec![0.0; 2 * band + 1];
    identity[band] = 1.0;
    let mut matrix = vec![identity; world.states()];
    let mut values = vec![0.0; world.states()];
    for state in world.non_terminal() {
        let row = number(state);
        for action in Action::ALL {
            for outcome in world.transitions(state, action) {
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
