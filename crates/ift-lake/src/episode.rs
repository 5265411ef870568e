//! What a policy does in an episode: the states that it visits, and whether it reaches a goal.

use std::mem;

use crate::{action::Action, map::Cell, optimum::StateActionMatrix, world::World};

/// The visits of a policy are no longer followed when no state has a probability above this.
const NEGLIGIBLE: f64 = 1e-9;

/// The exact probability that `policy` reaches a goal within the limit of moves of the world,
/// computed by propagating the distribution over states. Rows of terminal states are ignored.
pub fn success_rate(world: &World, policy: &StateActionMatrix) -> f64 {
    propagate(world, policy, 0.0).arrivals
}

/// How often `policy` is expected to make a move from each state in an episode, from the start to
/// the limit of moves of the world; 0 for terminal states. `[states]`
///
/// An episode is no longer followed when no state has a probability above 1e-9, so the sum over
/// states is too small by at most 1e-9 per state and move of the limit.
pub(crate) fn expected_visits(world: &World, policy: &StateActionMatrix) -> Vec<f64> {
    propagate(world, policy, NEGLIGIBLE).visits
}

/// The course of an episode.
struct Course {
    /// Expected number of moves from each state; 0 for terminal states. `[states]`
    visits: Vec<f64>,
    /// Probability of reaching a goal.
    arrivals: f64,
}

/// Propagates the distribution over states from the start to the limit of moves, or until no state
/// has a probability above `negligible`.
fn propagate(world: &World, policy: &StateActionMatrix, negligible: f64) -> Course {
    let (states, columns) = (world.states(), world.map().columns());
    let arrivals = Arrivals::new(world, policy);
    let goals: Vec<_> =
        (0..states).filter(|&state| world.map().cell(state) == Cell::Goal).collect();
    // The probability of each state, with a row of zeros above the map and one below it.
    let mut here = vec![0.0; states + 2 * columns];
    for &start in world.starts() {
        here[columns + start] = 1.0 / world.starts().len() as f64;
    }
    let mut next = here.clone();
    let mut course = Course { visits: vec![0.0; states], arrivals: 0.0 };
    for _ in 0..world.limit() {
        if here.iter().all(|&probability| probability <= negligible) {
            break;
        }
        arrivals.step(columns, &here, &mut next[columns..], &mut course.visits);
        mem::swap(&mut here, &mut next);
        course.arrivals += goals.iter().map(|&goal| here[columns + goal]).sum::<f64>();
    }
    for (state, visits) in course.visits.iter_mut().enumerate() {
        if world.is_terminal(state) {
            *visits = 0.0;
        }
    }
    course
}

/// For each state, the probability that one move reaches it from the state above it, the one to its
/// left, itself, the one to its right and the one below it. Nothing leaves terminal states. Each
/// `[states]`
///
/// A loop over all states that reads five neighbours takes a fraction of the time of one over the
/// moves that are possible.
struct Arrivals([Vec<f64>; 5]);

impl Arrivals {
    fn new(world: &World, policy: &StateActionMatrix) -> Self {
        let columns = world.map().columns();
        let mut arrivals = [(); 5].map(|()| vec![0.0; world.states()]);
        for from in world.non_terminal() {
            for action in Action::ALL {
                for outcome in world.transitions(from, action) {
                    let to = outcome.state;
                    let neighbour = match to.abs_diff(from) {
                        0 => 2,
                        // With one column, the states above and below differ by 1 too.
                        distance if distance == columns => {
                            if from < to {
                                0
                            } else {
                                4
                            }
                        }
                        _ => {
                            if from < to {
                                1
                            } else {
                                3
                            }
                        }
                    };
                    arrivals[neighbour][to] += policy[from][action.index()] * outcome.probability;
                }
            }
        }
        Self(arrivals)
    }

    /// The distribution after a move; adds the one before it to `visits`. `here: [states +
    /// 2·columns]`, `next: [at least states]`, `visits: [states]`
    fn step(&self, columns: usize, here: &[f64], next: &mut [f64], visits: &mut [f64]) {
        let states = self.0[0].len();
        let [above, left, same, right, below] = self.0.each_ref().map(|list| &list[..states]);
        let at = |offset: usize| &here[offset..][..states];
        let (from_above, from_left, from_same) = (at(0), at(columns - 1), at(columns));
        let (from_right, from_below) = (at(columns + 1), at(2 * columns));
        let (next, visits) = (&mut next[..states], &mut visits[..states]);
        for state in 0..states {
            visits[state] += from_same[state];
            // The order of the sum is that of the numbers of the states.
            next[state] = above[state] * from_above[state]
                + left[state] * from_left[state]
                + same[state] * from_same[state]
                + right[state] * from_right[state]
                + below[state] * from_below[state];
        }
    }
}

#[cfg(test)]
mod tests {
    use ift_compare::{Comparison, Tolerance};
    use rand::RngExt;

    use super::*;
    use crate::{
        map::LakeMap,
        world::{Ice, Rewards},
    };

    fn world(letters: &str, ice: Ice, limit: usize) -> World {
        let map = LakeMap::parse("map", letters).unwrap();
        World::new(map, ice, 1.0 / 3.0, Rewards::default(), limit)
    }

    fn assert_close(found: &[f64], expected: &[f64], tolerance: f64) {
        let mut comparison = Comparison::new("episode", Tolerance::absolute(tolerance));
        comparison.values("values", found, expected);
        comparison.finish();
    }

    #[test]
    fn visits_of_the_uniform_policy_in_a_corridor_equal_those_by_hand() {
        // From the start three of four moves stay; from the second cell two do, and one each leads
        // back and to the goal. Before the three moves an episode is in the two cells with
        // probabilities (1, 0), (3/4, 1/4), (10/16, 5/16).
        for letters in ["SFG", "S\nF\nG"] {
            let world = world(letters, Ice::Solid, 3);
            let uniform = vec![[0.25; 4]; 3];
            let expected = [1.0 + 0.75 + 0.625, 0.25 + 0.3125, 0.0];
            assert_close(&expected_visits(&world, &uniform), &expected, 1e-15);
            assert_close(&[success_rate(&world, &uniform)], &[1.0 / 16.0 + 5.0 / 64.0], 1e-15);
        }
    }

    #[test]
    fn visits_of_a_deterministic_policy_are_its_moves() {
        // Left, down, right, up.
        let [left, down, right] =
            [[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0]];
        let world = world("SF\nFG", Ice::Solid, 5);
        let arrives = vec![right, down, left, left];
        assert_eq!(expected_visits(&world, &arrives), [1.0, 1.0, 0.0, 0.0]);
        assert_eq!(success_rate(&world, &arrives), 1.0);
        let returns = vec![right, left, left, left];
        assert_eq!(expected_visits(&world, &returns), [3.0, 2.0, 0.0, 0.0]);
        assert_eq!(success_rate(&world, &returns), 0.0);
    }

    #[test]
    fn visits_equal_those_of_a_loop_over_the_transitions() {
        let rng = &mut ift_random::generator(0, 0);
        for letters in ["SFFHF\nFHFFF\nFFFSG", "GFFSFFH", "F\nS\nF\nF\nG"] {
            for ice in [Ice::Solid, Ice::Slippery] {
                let world = world(letters, ice, 200);
                let policy: StateActionMatrix = (0..world.states())
                    .map(|_| {
                        let weights = [(); 4].map(|()| rng.random::<f64>().powi(3));
                        weights.map(|weight| weight / weights.iter().sum::<f64>())
                    })
                    .collect();
                let mut here = vec![0.0; world.states()];
                for &start in world.starts() {
                    here[start] = 1.0 / world.starts().len() as f64;
                }
                let (mut visits, mut arrivals) = (vec![0.0; world.states()], 0.0);
                for _ in 0..200 {
                    let mut next = vec![0.0; world.states()];
                    for from in world.non_terminal() {
                        visits[from] += here[from];
                        for action in Action::ALL {
                            for to in world.transitions(from, action) {
                                next[to.state] +=
                                    here[from] * policy[from][action.index()] * to.probability;
                            }
                        }
                    }
                    here = next;
                    for (state, probability) in here.iter().enumerate() {
                        if world.map().cell(state) == Cell::Goal {
                            arrivals += probability;
                        }
                    }
                }
                assert_close(&expected_visits(&world, &policy), &visits, 1e-6);
                assert_close(&[success_rate(&world, &policy)], &[arrivals], 1e-13);
            }
        }
    }
}
