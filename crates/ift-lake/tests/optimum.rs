//! The optimum by two algorithms, compared with known values; success rates of policies.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use ift_compare::{Comparison, Tolerance};
use ift_lake::{
    Cell, Ice, LakeMap, Optimum, Rewards, StateActionMatrix, World, default_limit, greedy,
    policy_iteration, rollout, success_rate, value_iteration,
};

const ICES: [Ice; 2] = [Ice::Solid, Ice::Slippery];

fn world(map: LakeMap, ice: Ice) -> World {
    let limit = default_limit(&map);
    World::new(map, ice, 1.0 / 3.0, Rewards::default(), limit)
}

fn lake(letters: &str, ice: Ice) -> World {
    world(LakeMap::parse("map", letters).unwrap(), ice)
}

fn standard(name: &str, ice: Ice) -> World {
    world(LakeMap::standard(name).unwrap(), ice)
}

fn assert_close(found: &[f64], expected: &[f64], tolerance: f64, what: &str) {
    let mut comparison = Comparison::new(what, Tolerance::absolute(tolerance));
    comparison.values(what, found, expected);
    comparison.finish();
}

/// The optimum by both algorithms, which must agree.
fn agreed(world: &World, discount: f64) -> Optimum {
    let (by_values, by_policies) =
        (value_iteration(world, discount), policy_iteration(world, discount));
    let what = format!("{} {:?}, discount {discount}", world.map().name(), world.ice());
    assert_close(&by_policies.values, &by_values.values, 1e-10, &what);
    assert_close(
        by_policies.action_values.as_flattened(),
        by_values.action_values.as_flattened(),
        1e-10,
        &what,
    );
    assert_eq!(by_policies.policy, by_values.policy, "{what}");
    by_values
}

#[test]
fn value_and_policy_iteration_agree() {
    let standard = ["4x4", "8x8"].map(|name| LakeMap::standard(name).unwrap());
    let random = (0..20).map(|seed| LakeMap::random(4 + seed as usize % 7, 0.75, seed).unwrap());
    let wide = LakeMap::parse("wide", "SFFFFFFFG\nFFFHFHFFF\nFFHFFFFFS").unwrap();
    let corridor = LakeMap::parse("corridor", "GFFFSFFFH").unwrap();
    for map in standard.into_iter().chain(random).chain([wide, corridor]) {
        for ice in ICES {
            for discount in [0.9, 0.99, 1.0 - 1e-3] {
                agreed(&world(map.clone(), ice), discount);
            }
        }
    }
}

#[test]
fn both_algorithms_agree_with_any_rewards() {
    let rewards = [
        (2.0, -1.0, -0.1),
        (1.0, -100.0, 0.0),
        (1.0, 0.0, 0.5),
        (0.0, 0.0, 0.0),
        (-1.0, -2.0, -0.01),
    ];
    for (goal, hole, frozen) in rewards {
        for ice in ICES {
            for success_rate in [0.0, 0.5, 1.0] {
                let map = LakeMap::standard("8x8").unwrap();
                agreed(
                    &World::new(map, ice, success_rate, Rewards { goal, hole, frozen }, 200),
                    0.95,
                );
            }
        }
    }
}

#[test]
fn both_algorithms_agree_on_the_largest_maps() {
    agreed(&world(LakeMap::random(100, 0.8, 1).unwrap(), Ice::Slippery), 0.99);
    agreed(&lake(&format!("S{}G", "F".repeat(9998)), Ice::Solid), 0.99);
}

#[test]
fn values_of_a_solid_corridor_equal_those_by_hand() {
    let optimum = agreed(&lake("SFG", Ice::Solid), 0.9);
    assert_close(&optimum.values, &[0.9, 1.0, 0.0], 1e-15, "values");
    // Left, down, right, up; moves against the edge stay.
    let expected: StateActionMatrix =
        vec![[0.81, 0.81, 0.9, 0.81], [0.81, 0.9, 1.0, 0.9], [0.0; 4]];
    assert_close(
        optimum.action_values.as_flattened(),
        expected.as_flattened(),
        1e-15,
        "action values",
    );
    assert_eq!(optimum.policy, [[0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 1.0, 0.0], [0.25; 4]]);
}

#[test]
fn values_of_a_slippery_step_equal_those_by_hand() {
    // All actions except left reach the goal with probability 1/3: v = 1/3 + 2/3 · 0.9 · v.
    let optimum = agreed(&lake("SG", Ice::Slippery), 0.9);
    let value = 1.0 / 3.0 / (1.0 - 0.6);
    assert_close(&optimum.values, &[value, 0.0], 1e-14, "values");
    assert_close(
        &optimum.action_values[0],
        &[0.9 * value, value, value, value],
        1e-14,
        "action values",
    );
    let third = 1.0 / 3.0;
    assert_eq!(optimum.policy, [[0.0, third, third, third], [0.25; 4]]);
}

#[test]
fn equally_good_actions_have_the_same_probability() {
    let optimum = agreed(&lake("SF\nFG", Ice::Solid), 0.9);
    assert_eq!(optimum.policy[0], [0.0, 0.5, 0.5, 0.0]);
    // Holes cut off the bottom row: all action values there are 0.
    let optimum = agreed(&lake("SFG\nHHH\nFFF", Ice::Slippery), 0.9);
    for state in 3..9 {
        assert_eq!((optimum.values[state], optimum.policy[state]), (0.0, [0.25; 4]));
    }
}

/// Values at the far end of a long path are smaller than any absolute tolerance, but still exact.
#[test]
fn optimal_actions_are_found_far_from_the_goal() {
    let rows = (0..35).map(|row| match row % 4 {
        1 => format!("{}F", "H".repeat(30)),
        3 => format!("F{}", "H".repeat(30)),
        _ => "F".repeat(31),
    });
    let mut letters = rows.collect::<Vec<_>>().join("\n");
    letters.replace_range(..1, "S");
    letters.replace_range(34 * 32..=34 * 32, "G");
    let optimum = agreed(&lake(&letters, Ice::Solid), 0.9);
    // 18 rows across and the steps down between them.
    let moves = 18 * 30 + 34;
    let mut comparison = Comparison::new("far", Tolerance::relative(1e-12));
    comparison.value("value", optimum.values[0], 0.9_f64.powi(moves - 1));
    comparison.finish();
    assert_eq!(optimum.policy[0], [0.0, 0.0, 1.0, 0.0]);
}

#[test]
fn values_solve_the_optimality_equations_and_terminal_ones_are_zero() {
    for ice in ICES {
        let world = standard("8x8", ice);
        let optimum = agreed(&world, 0.99);
        let largest = |values: &[f64; 4]| values.iter().copied().fold(f64::MIN, f64::max);
        let values: Vec<_> = optimum.action_values.iter().map(largest).collect();
        assert_close(&optimum.values, &values, 1e-14, "values");
        let sums: Vec<_> = optimum.policy.iter().map(|row| row.iter().sum::<f64>()).collect();
        assert_close(&sums, &vec![1.0; world.states()], 1e-15, "sums of probabilities");
        for (state, value) in optimum.values.iter().enumerate() {
            if world.is_terminal(state) {
                assert_eq!((*value, optimum.policy[state]), (0.0, [0.25; 4]));
            }
        }
    }
}

/// Values from numpy: value iteration and propagation with the tables of Gymnasium's environment.
/// Of 200 000 episodes of that environment with the policy of the first case, 74.03 ± 0.19 %
/// reached the goal.
#[test]
fn slippery_optima_equal_numpy() {
    for (name, discount, value, success) in [
        ("4x4", 0.99, 0.542_025_932_000_455_7, 0.740_164_897_758_705),
        ("4x4", 0.9, 0.068_890_904_888_996_02, 0.729_766_017_418_754_9),
        ("8x8", 0.99, 0.414_640_361_799_975_8, 0.862_955_379_961_112),
        ("8x8", 0.999, 0.892_635_494_944_821_4, 0.885_653_919_319_599_4),
    ] {
        let world = standard(name, Ice::Slippery);
        let optimum = agreed(&world, discount);
        assert_close(&optimum.values[..1], &[value], 1e-11, name);
        assert_close(&[success_rate(&world, &optimum.policy)], &[success], 1e-12, name);
    }
}

#[test]
fn solid_optima_reach_the_goal_unless_the_limit_is_too_short() {
    for (name, moves) in [("4x4", 6), ("8x8", 14)] {
        let optimum = agreed(&standard(name, Ice::Solid), 0.99);
        let limited = |limit| {
            let map = LakeMap::standard(name).unwrap();
            World::new(map, Ice::Solid, 1.0 / 3.0, Rewards::default(), limit)
        };
        assert_close(&[success_rate(&limited(moves), &optimum.policy)], &[1.0], 1e-15, name);
        assert_eq!(success_rate(&limited(moves - 1), &optimum.policy), 0.0);
    }
}

#[test]
fn the_success_rate_is_the_share_of_episodes_that_reach_a_goal() {
    let episodes = 20_000;
    let map = LakeMap::parse("two starts and two goals", "SFFFG\nFHFHF\nFFSFG").unwrap();
    let world = World::new(map, Ice::Slippery, 0.6, Rewards::default(), 12);
    let policy = vec![[0.1, 0.2, 0.4, 0.3]; world.states()];
    let expected = success_rate(&world, &policy);
    let mut rng = ift_random::generator(0, 0);
    let arrived = (0..episodes)
        .filter(|_| world.map().cell(rollout(&world, &policy, &mut rng).end) == Cell::Goal)
        .count();
    let deviation = (expected * (1.0 - expected) / episodes as f64).sqrt();
    let found = arrived as f64 / episodes as f64;
    assert_close(&[found], &[expected], 4.0 * deviation, "share of episodes");
}

#[test]
fn greedy_takes_the_first_of_the_most_probable() {
    let policy = vec![[0.1, 0.2, 0.4, 0.3], [0.25; 4], [0.1, 0.4, 0.4, 0.1]];
    assert_eq!(greedy(&policy), [[0.0, 0.0, 1.0, 0.0], [1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0]]);
}
