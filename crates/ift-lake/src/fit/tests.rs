//! Fits to trajectories, and the fit to the optimum.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use ift_compare::{Comparison, Tolerance};
use ift_random::generator;

use super::{fit_both, fit_optimum};
use crate::{
    action::Action,
    map::LakeMap,
    network::{ActivationFunction, Network},
    optimum::value_iteration,
    settings::BothSettings,
    trajectory::{Trajectory, Visit},
    world::{Ice, Rewards, World},
};

const MAP: &str = "SFF\nFFF\nFHG";

fn world() -> World {
    World::new(LakeMap::parse("fork", MAP).unwrap(), Ice::Solid, 1.0, Rewards::default(), 20)
}

/// The trajectory of these actions from the first cell.
fn trajectory(actions: &[Action]) -> Trajectory {
    let world = world();
    let mut end = 0;
    let mut visits = Vec::new();
    for &action in actions {
        visits.push(Visit { state: end, action, turn: 0 });
        end = world.arrive(end, action, 0);
    }
    Trajectory { visits, end }
}

fn network() -> Network {
    Network::new(9, 16, 4, ActivationFunction::Relu, &mut generator(3, 0))
}

/// Two ways that part in the first cell and share no other.
fn ways() -> [Trajectory; 2] {
    use Action::{Down, Right};
    [trajectory(&[Right, Right, Down, Down]), trajectory(&[Down, Right, Down])]
}

#[test]
fn where_the_ways_part_both_actions_have_their_share() {
    let [optimal, suboptimal] = ways();
    // With equal shares, the shorter way counts more for each move: 1/3 against 1/4.
    for (share, right) in [(0.5, 3.0 / 7.0), (4.0 / 7.0, 0.5), (0.8, 0.75)] {
        let settings = BothSettings { steps: 3000, share };
        let policy = fit_both(&optimal, &suboptimal, &network(), &settings).policy(9);
        let mut comparison = Comparison::new(format!("share {share}"), Tolerance::absolute(0.01));
        comparison.values("fork", &policy[0], &[0.0, 1.0 - right, right, 0.0]);
        for visit in optimal.visits[1..].iter().chain(&suboptimal.visits[1..]) {
            let probability = policy[visit.state][visit.action.index()];
            comparison.value(&format!("state {}", visit.state), probability, 1.0);
        }
        comparison.finish();
    }
}

#[test]
fn with_all_of_the_share_the_policy_follows_one_trajectory() {
    let [optimal, suboptimal] = ways();
    for (share, followed) in [(1.0, &optimal), (0.0, &suboptimal)] {
        let settings = BothSettings { steps: 500, share };
        let network = fit_both(&optimal, &suboptimal, &network(), &settings);
        let policy = network.policy(9);
        for visit in &followed.visits {
            assert!(policy[visit.state][visit.action.index()] > 0.95, "share {share}: {visit:?}");
        }
        // The other trajectory has no effect at all.
        let alone = fit_both(followed, followed, &self::network(), &settings);
        assert_eq!(alone.policy(9)[0].map(f64::to_bits), policy[0].map(f64::to_bits));
    }
}

#[test]
fn the_optimum_is_fitted_in_every_state() {
    let world = world();
    let optimum = value_iteration(&world, 0.99).policy;
    let policy = fit_optimum(&world, &optimum, &network(), 3000).policy(9);
    let mut comparison = Comparison::new("optimum", Tolerance::absolute(0.01));
    for state in world.non_terminal() {
        comparison.values(&format!("state {state}"), &policy[state], &optimum[state]);
    }
    comparison.finish();
}
