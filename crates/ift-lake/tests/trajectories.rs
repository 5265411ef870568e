//! Trajectories of all kinds, for many seeds and both kinds of ice.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking")]

use std::collections::{HashSet, VecDeque};

use ift_compare::{Comparison, Tolerance};
use ift_lake::{
    Action, Cell, Ice, LakeError, LakeMap, Optimum, Rewards, Suboptimal, Trajectory, World,
    default_limit, draw_optimal, draw_suboptimal, rollout, value_iteration,
};
use rand::Rng;

const ICES: [Ice; 2] = [Ice::Solid, Ice::Slippery];

fn random(seed: u64) -> impl Rng {
    ift_random::generator(seed, 0)
}

fn study(map: LakeMap, ice: Ice) -> (World, Optimum) {
    let limit = default_limit(&map);
    let world = World::new(map, ice, 1.0 / 3.0, Rewards::default(), limit);
    let optimum = value_iteration(&world, 0.99);
    (world, optimum)
}

fn maps() -> Vec<LakeMap> {
    let own = LakeMap::parse("own", "SFFFG\nFHFHF\nFFSFF").unwrap();
    let standard = ["4x4", "8x8"].map(|name| LakeMap::standard(name).unwrap());
    let drawn = (0..3).map(|seed| LakeMap::random(6, 0.9, seed).unwrap());
    standard.into_iter().chain([own]).chain(drawn).collect()
}

/// Every state that the trajectory visits, including the last.
fn cells(trajectory: &Trajectory) -> Vec<usize> {
    trajectory.visits.iter().map(|visit| visit.state).chain([trajectory.end]).collect()
}

/// Whether a state is visited twice.
fn revisits(trajectory: &Trajectory) -> bool {
    let cells = cells(trajectory);
    cells.iter().collect::<HashSet<_>>().len() < cells.len()
}

/// Asserts that each move follows the rules of the world and that the limit of moves is kept.
fn assert_walkable(world: &World, trajectory: &Trajectory) {
    let cells = cells(trajectory);
    assert!(world.starts().contains(&cells[0]));
    assert!(trajectory.visits.len() <= world.limit());
    for (visit, &next) in trajectory.visits.iter().zip(&cells[1..]) {
        assert!(!world.is_terminal(visit.state));
        assert!(visit.turn == 0 || (world.ice() == Ice::Slippery && visit.turn.abs() == 1));
        assert_eq!(world.arrive(visit.state, visit.action, visit.turn), next);
    }
}

/// Number of moves of a shortest path to a goal.
fn shortest(world: &World, start: usize) -> usize {
    let mut queue = VecDeque::from([(start, 0)]);
    let mut seen = HashSet::from([start]);
    while let Some((state, moves)) = queue.pop_front() {
        if world.map().cell(state) == Cell::Goal {
            return moves;
        }
        for next in Action::ALL.map(|action| world.arrive(state, action, 0)) {
            if seen.insert(next) {
                queue.push_back((next, moves + 1));
            }
        }
    }
    panic!("no goal can be reached from {start}");
}

#[test]
fn optimal_trajectories_take_optimal_actions_and_reach_a_goal() {
    for map in maps() {
        for ice in ICES {
            let (world, optimum) = study(map.clone(), ice);
            for seed in 0..20 {
                let trajectory = draw_optimal(&world, &optimum, &mut random(seed)).unwrap();
                assert_walkable(&world, &trajectory);
                assert_eq!(world.map().cell(trajectory.end), Cell::Goal);
                for visit in &trajectory.visits {
                    assert!(optimum.policy[visit.state][visit.action.index()] > 0.0);
                }
                assert_eq!(draw_optimal(&world, &optimum, &mut random(seed)).unwrap(), trajectory);
            }
        }
    }
}

#[test]
fn on_solid_ice_the_optimal_trajectory_is_a_shortest_path() {
    let large = (0..3).map(|seed| LakeMap::random(30, 0.75, seed).unwrap());
    for map in maps().into_iter().chain(large) {
        let (world, optimum) = study(map, Ice::Solid);
        for seed in 0..20 {
            let trajectory = draw_optimal(&world, &optimum, &mut random(seed)).unwrap();
            assert_eq!(trajectory.visits.len(), shortest(&world, cells(&trajectory)[0]));
        }
    }
}

#[test]
fn equally_good_actions_and_starts_are_drawn() {
    let (world, optimum) = study(LakeMap::parse("open", "SFF\nFFF\nFFG").unwrap(), Ice::Solid);
    let paths: HashSet<_> = (0..100)
        .map(|seed| cells(&draw_optimal(&world, &optimum, &mut random(seed)).unwrap()))
        .collect();
    assert_eq!(paths.len(), 6, "all shortest paths on an open 3x3 map");
    let (world, optimum) = study(LakeMap::parse("two", "SGS").unwrap(), Ice::Solid);
    let starts: HashSet<_> = (0..100)
        .map(|seed| cells(&draw_optimal(&world, &optimum, &mut random(seed)).unwrap())[0])
        .collect();
    assert_eq!(starts, HashSet::from([0, 2]));
}

#[test]
fn suboptimal_trajectories_are_of_their_kind() {
    for map in maps() {
        for ice in ICES {
            let (world, optimum) = study(map.clone(), ice);
            for kind in Suboptimal::ALL {
                for seed in 0..20 {
                    let optimal = draw_optimal(&world, &optimum, &mut random(seed)).unwrap();
                    let draw = || {
                        draw_suboptimal(
                            &world,
                            &optimum,
                            kind,
                            0.5,
                            &optimal,
                            &mut random(seed + 100),
                        )
                    };
                    let trajectory = draw().unwrap();
                    assert_walkable(&world, &trajectory);
                    assert_eq!(cells(&trajectory)[0], cells(&optimal)[0]);
                    let (moves, end) = (trajectory.visits.len(), world.map().cell(trajectory.end));
                    match kind {
                        Suboptimal::Longer => {
                            assert!(end == Cell::Goal && moves > optimal.visits.len());
                        }
                        Suboptimal::Hole => assert_eq!(end, Cell::Hole),
                        Suboptimal::Wandering => {
                            assert!(!world.is_terminal(trajectory.end) && revisits(&trajectory));
                            assert_eq!(moves, world.limit().min(2 * optimal.visits.len()));
                        }
                        Suboptimal::Own => assert!(moves <= world.limit()),
                    }
                    if ice == Ice::Solid && matches!(kind, Suboptimal::Longer | Suboptimal::Hole) {
                        assert!(!revisits(&trajectory));
                    }
                    assert_eq!(draw().unwrap(), trajectory);
                }
            }
        }
    }
}

#[test]
fn an_impossible_kind_is_an_error_with_advice() {
    let cases = [
        ("SFG", Ice::Solid, Suboptimal::Hole, 0.5, "there may be no hole within reach"),
        ("SFG", Ice::Slippery, Suboptimal::Hole, 0.5, "there may be no hole within reach"),
        ("SFG", Ice::Solid, Suboptimal::Longer, 0.5, "no longer path that visits no cell twice"),
        ("SFFG", Ice::Solid, Suboptimal::Wandering, 0.0, "try another noise"),
    ];
    for (letters, ice, kind, noise, cause) in cases {
        let (world, optimum) = study(LakeMap::parse("brook", letters).unwrap(), ice);
        let optimal = draw_optimal(&world, &optimum, &mut random(0)).unwrap();
        let error =
            draw_suboptimal(&world, &optimum, kind, noise, &optimal, &mut random(0)).unwrap_err();
        assert!(matches!(error, LakeError::Impossible(_)));
        let error = error.to_string();
        for part in [
            "`brook`",
            &format!("{} ice", ice.name()),
            kind.name(),
            &format!("noise {noise}"),
            cause,
        ] {
            assert!(error.contains(part), "`{error}` lacks `{part}`");
        }
    }
}

#[test]
fn a_limit_that_is_too_short_for_the_optimum_is_an_error() {
    let map = LakeMap::standard("4x4").unwrap();
    let world = World::new(map, Ice::Solid, 1.0 / 3.0, Rewards::default(), 5);
    let optimum = value_iteration(&world, 0.99);
    let error = draw_optimal(&world, &optimum, &mut random(0)).unwrap_err().to_string();
    assert!(error.contains("no goal within 3 moves, half the limit"), "{error}");
}

/// On an open map a short random walk often visits no cell twice; such walks are rejected.
#[test]
fn wandering_trajectories_visit_a_cell_twice() {
    let open = "FFFFFFFFF\n".repeat(4);
    let (world, optimum) =
        study(LakeMap::parse("open", &format!("{open}FFFSFFGFF\n{open}")).unwrap(), Ice::Solid);
    let optimal = draw_optimal(&world, &optimum, &mut random(0)).unwrap();
    for seed in 0..50 {
        let wandering = draw_suboptimal(
            &world,
            &optimum,
            Suboptimal::Wandering,
            1.0,
            &optimal,
            &mut random(seed),
        )
        .unwrap();
        assert!(wandering.visits.len() == 6 && revisits(&wandering));
    }
}

#[test]
fn the_limit_cuts_wandering_trajectories() {
    let limited = |limit| {
        World::new(
            LakeMap::standard("4x4").unwrap(),
            Ice::Solid,
            1.0 / 3.0,
            Rewards::default(),
            limit,
        )
    };
    let world = limited(8);
    let optimum = value_iteration(&world, 0.99);
    let optimal = draw_optimal(&limited(12), &optimum, &mut random(0)).unwrap();
    let wandering =
        draw_suboptimal(&world, &optimum, Suboptimal::Wandering, 0.5, &optimal, &mut random(1))
            .unwrap();
    assert_eq!((optimal.visits.len(), wandering.visits.len()), (6, 8));
}

#[test]
fn rollouts_end_in_terminal_states_or_at_the_limit() {
    for ice in ICES {
        let (world, _) = study(LakeMap::standard("8x8").unwrap(), ice);
        for seed in 0..50 {
            let episode = rollout(&world, &vec![[0.25; 4]; world.states()], &mut random(seed));
            assert_walkable(&world, &episode);
            assert!(world.is_terminal(episode.end) || episode.visits.len() == world.limit());
        }
    }
}

#[test]
fn actions_and_slips_have_their_probabilities() {
    let draws = 30_000;
    let map = LakeMap::parse("map", "SFFG").unwrap();
    let world = World::new(map, Ice::Slippery, 0.8, Rewards::default(), draws);
    let probabilities = [0.5, 0.2, 0.0, 0.3];
    let (mut rng, mut visits) = (random(0), Vec::new());
    while visits.len() < draws {
        visits.extend(rollout(&world, &vec![probabilities; world.states()], &mut rng).visits);
    }
    let share = |wanted: &dyn Fn(&ift_lake::Visit) -> bool| {
        visits.iter().filter(|visit| wanted(visit)).count() as f64 / visits.len() as f64
    };
    let actions = Action::ALL.map(|action| share(&|visit| visit.action == action));
    let turns = [-1, 0, 1].map(|turn| share(&|visit| visit.turn == turn));
    let mut comparison = Comparison::new("shares", Tolerance::absolute(0.012));
    comparison.values("actions", &actions, &probabilities);
    comparison.values("slips", &turns, &[0.1, 0.8, 0.1]);
    comparison.finish();
    let (solid, _) = study(LakeMap::parse("map", "SFFG").unwrap(), Ice::Solid);
    assert!((0..100).all(|_| solid.draw_turn(&mut rng) == 0));
}

#[test]
fn turns_are_quarter_turns() {
    for (action, clockwise, counter, arrow) in [
        (Action::Left, Action::Up, Action::Down, '←'),
        (Action::Down, Action::Left, Action::Right, '↓'),
        (Action::Right, Action::Down, Action::Up, '→'),
        (Action::Up, Action::Right, Action::Left, '↑'),
    ] {
        assert_eq!(
            (action.turned(-1), action.turned(0), action.turned(1)),
            (clockwise, action, counter)
        );
        assert_eq!(
            (action.turned(-5), action.turned(i8::MAX), action.arrow()),
            (clockwise, clockwise, arrow)
        );
    }
}
