//! Transitions compared with the tables of Gymnasium's environment (`numbers/README.md`).

#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use std::{collections::HashSet, fs};

use ift_compare::{Comparison, Tolerance};
use ift_lake::{Action, Ice, LakeMap, Rewards, World};
use serde::Deserialize;

/// Probability, next state, reward, whether the episode ends.
type Entry = (f64, usize, f64, bool);

#[derive(Deserialize)]
struct Table {
    map: Vec<String>,
    slippery: bool,
    success_rate: f64,
    rewards: (f64, f64, f64),
    /// Probability that an episode starts in each state.
    starts: Vec<f64>,
    #[serde(rename = "P")]
    transitions: Vec<Vec<Vec<Entry>>>,
}

impl Table {
    fn world(&self) -> World {
        let map = LakeMap::parse("map", &self.map.join("\n")).unwrap();
        let ice = if self.slippery { Ice::Slippery } else { Ice::Solid };
        let (goal, hole, frozen) = self.rewards;
        World::new(map, ice, self.success_rate, Rewards { goal, hole, frozen }, 100)
    }
}

fn tables() -> Vec<Table> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/numbers/gymnasium.json");
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

#[test]
fn transitions_equal_gymnasium_in_order() {
    let mut comparison = Comparison::new("probabilities", Tolerance::absolute(1e-15));
    for table in tables() {
        let world = table.world();
        assert_eq!(world.states(), table.transitions.len());
        for (state, by_action) in table.transitions.iter().enumerate() {
            assert_eq!(by_action.len(), 4);
            for (action, expected) in Action::ALL.into_iter().zip(by_action) {
                let found = world.transitions(state, action);
                assert_eq!(
                    found.len(),
                    expected.len(),
                    "{:?}, state {state}, {action:?}",
                    table.map
                );
                let what = format!("state {state}, {action:?}");
                let probabilities: Vec<_> = found.iter().map(|found| found.probability).collect();
                let wanted: Vec<_> = expected.iter().map(|entry| entry.0).collect();
                comparison.values(&what, &probabilities, &wanted);
                for (found, &(_, arrived, reward, ended)) in found.iter().zip(expected) {
                    assert_eq!((found.state, found.reward, found.ended), (arrived, reward, ended));
                }
            }
        }
    }
    comparison.finish();
}

#[test]
fn starts_equal_gymnasium() {
    for table in tables() {
        let world = table.world();
        let share = 1.0 / world.starts().len() as f64;
        let found: Vec<_> = (0..world.states())
            .map(|state| if world.starts().contains(&state) { share } else { 0.0 })
            .collect();
        assert_eq!(found, table.starts);
    }
}

#[test]
fn the_tables_cover_maps_ice_and_settings() {
    let tables = tables();
    for name in ["4x4", "8x8"] {
        let map = LakeMap::standard(name).unwrap();
        let ices: HashSet<_> = tables
            .iter()
            .filter(|table| *table.world().map().to_string() == map.to_string())
            .map(|table| table.slippery)
            .collect();
        assert_eq!(ices.len(), 2);
    }
    assert!(
        tables.iter().any(|table| table.success_rate == 0.8 && table.rewards == (2.0, -1.0, -0.1))
    );
    assert!(
        tables
            .iter()
            .any(|table| table.world().starts().len() == 2 && table.world().map().columns() == 5)
    );
}

/// The three transitions on slippery ice are those of the turns -1, 0 and 1.
#[test]
fn arrive_agrees_with_the_transitions() {
    for world in tables().iter().map(Table::world) {
        let turns: &[i8] = if world.ice() == Ice::Solid { &[0] } else { &[-1, 0, 1] };
        for state in world.non_terminal() {
            for action in Action::ALL {
                let arrived: Vec<_> =
                    turns.iter().map(|&turn| world.arrive(state, action, turn)).collect();
                let expected: Vec<_> = world
                    .transitions(state, action)
                    .iter()
                    .map(|transition| transition.state)
                    .collect();
                assert_eq!(arrived, expected);
            }
        }
        for state in (0..world.states()).filter(|&state| world.is_terminal(state)) {
            assert!(Action::ALL.iter().all(|&action| world.arrive(state, action, 1) == state));
        }
    }
}
