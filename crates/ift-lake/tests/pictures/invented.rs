//! Reports with invented but plausible values, made without training.

use std::collections::VecDeque;

use ift_lake::{
    Action, Claim, Estimate, Ice, LearnerReport, MapGroup, Measure, Origin, Outcome, Panel,
    Portrait, Scene, SceneResults, Start, StateActionMatrix, StudyReport, Suboptimal, Sweep,
    Trajectory, Verdict, Visit, WorldReport,
};
use rand::{Rng, RngExt};

/// The contents of an invented report.
pub struct InventedStudy<'a> {
    /// Names and rows of the maps.
    pub maps: &'a [(&'a str, &'a [&'a str])],
    pub learners: &'a [&'a str],
    pub starts: &'a [Start],
    pub kinds: &'a [Suboptimal],
    /// Number of seeds; with a single one intervals have width 0.
    pub seeds: u64,
}

pub const FOUR: &[&str] = &["SFFF", "FHFH", "FFFH", "HFFG"];
pub const EIGHT: &[&str] = &[
    "SFFFFFFF", "FFFFFFFF", "FFFHFFFF", "FFFFFHFF", "FFFHFFFF", "FHHFFFHF", "FHFFHFHF", "FFFHFFFG",
];

const ACTIONS: [Action; 4] = [Action::Left, Action::Down, Action::Right, Action::Up];
const STEPS: u64 = 300;
const LAMBDAS: [f64; 9] = [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0];
const GAMMAS: [f64; 7] = [0.0, 0.5, 0.8, 0.9, 0.95, 0.99, 1.0];

impl InventedStudy<'_> {
    pub fn report(&self) -> StudyReport {
        let mut rng = ift_random::generator(7, 0);
        let worlds: Vec<_> =
            self.maps.iter().map(|(name, rows)| self.world(name, rows, &mut rng)).collect();
        StudyReport {
            seeds: self.seeds,
            curve_steps: (0..=STEPS).step_by(10).collect(),
            groups: groups(&worlds),
            worlds,
        }
    }

    fn world(&self, name: &str, rows: &[&str], rng: &mut impl Rng) -> WorldReport {
        let lake = InventedLake::new(rows);
        let optimum = lake.optimum();
        let scenes =
            self.starts.iter().flat_map(|start| self.kinds.iter().map(move |kind| (*start, *kind)));
        let scenes = scenes.collect::<Vec<_>>().into_iter();
        let mut sweeps = Vec::new();
        for &start in self.starts {
            sweeps.push(self.sweep(name, start, "lambda", &LAMBDAS, rng));
            sweeps.push(self.sweep(name, start, "gamma", &GAMMAS, rng));
        }
        WorldReport {
            name: name.to_owned(),
            map: rows.iter().map(|row| (*row).to_owned()).collect(),
            ice: Ice::Solid,
            origin: Origin::Listed,
            optimum_success: 0.74,
            scenes: scenes
                .map(|(start, kind)| self.scene(name, &lake, &optimum, start, kind, rng))
                .collect(),
            sweeps,
            optimum,
        }
    }

    fn sweep(
        &self,
        world: &str,
        start: Start,
        setting: &'static str,
        values: &[f64],
        rng: &mut impl Rng,
    ) -> Sweep {
        let mut over = |level: f64| {
            values.iter().map(|value| self.estimate(level * (1.0 - 0.3 * value), rng)).collect()
        };
        let (all, on, off) = (over(0.09), over(0.03), over(0.12));
        let name = format!("{world}-{}-{setting}", start.name());
        Sweep { name, start, setting, values: values.to_vec(), all, on, off }
    }

    fn scene(
        &self,
        world: &str,
        lake: &InventedLake,
        optimum: &StateActionMatrix,
        start: Start,
        kind: Suboptimal,
        rng: &mut impl Rng,
    ) -> Scene {
        let optimal = lake.walk(0, |_| false, optimum, rng);
        let detour = if kind == Suboptimal::Wandering { 2 * optimal.visits.len() } else { 4 };
        let suboptimal = lake.walk(detour, |_| kind != Suboptimal::Longer, optimum, rng);
        let visited =
            |walk: &Trajectory, state| walk.visits.iter().any(|visit| visit.state == state);
        let states = optimum.len();
        let on: Vec<bool> = (0..states).map(|state| visited(&optimal, state)).collect();
        let both: Vec<bool> =
            (0..states).map(|state| on[state] || visited(&suboptimal, state)).collect();

        let panel = |title: &str, policy, explored: &[bool]| {
            let count = explored.iter().filter(|explored| **explored).count() as f64;
            let inputs = explored.iter().map(|explored| f64::from(*explored) / count);
            Panel { title: title.to_owned(), policy, inputs: inputs.collect() }
        };
        let mut panels = vec![
            panel("optimum", optimum.clone(), &[]),
            panel("optimum, fitted", blurred(optimum, |_| 0.97, rng), &vec![true; states]),
        ];
        for (index, label) in self.learners.iter().enumerate() {
            let explored = if index % 3 == 0 { &both } else { &on };
            let sureness = 0.9 - 0.05 * (index % 12) as f64;
            let policy =
                blurred(optimum, |state| if explored[state] { sureness } else { 0.1 }, rng);
            panels.push(panel(label, policy, explored));
        }
        Scene {
            name: format!("{world}-{}-{}", start.name(), kind.name()),
            results: SceneResults {
                start,
                suboptimal: kind,
                learners: self.learners.iter().map(|label| self.learner(label, rng)).collect(),
                verdicts: verdicts([Outcome::Confirmed, Outcome::Undecided]),
            },
            comparisons: Vec::new(),
            portrait: Portrait { optimal, suboptimal, panels },
        }
    }

    fn learner(&self, label: &str, rng: &mut impl Rng) -> LearnerReport {
        let level: f64 = rng.random_range(0.04..0.16);
        let estimates = Measure::ALL.iter().map(|measure| {
            let mean = match measure {
                Measure::MseOn => 0.3 * level,
                Measure::MseOff => 1.3 * level,
                Measure::Success => 0.9 - 5.0 * level,
                Measure::GreedySuccess => 1.0 - 2.0 * level,
                _ => level,
            };
            self.estimate(mean, rng)
        });
        let estimates = estimates.collect();
        let pace = rng.random_range(20.0..90.0);
        let at = |step: u64| level + (0.17 - level) * (-(step as f64) / pace).exp();
        let curve = (0..=STEPS).step_by(10).map(|step| self.estimate(at(step), rng)).collect();
        LearnerReport { label: label.to_owned(), estimates, curve }
    }

    fn estimate(&self, mean: f64, rng: &mut impl Rng) -> Estimate {
        let mean = mean * rng.random_range(0.98..1.02);
        Estimate { mean, half_width: if self.seeds > 1 { 0.05 * mean } else { 0.0 } }
    }
}

/// Verdicts on both claims by the measures that the paper names.
pub fn verdicts(outcomes: [Outcome; 2]) -> Vec<Verdict> {
    let verdict = |(claim, outcome): (Claim, Outcome)| Verdict {
        claim,
        measure: claim.measures()[0],
        relations: Vec::new(),
        holds: outcome == Outcome::Confirmed,
        share: 0.5,
        p: 0.01,
        p_holm: 0.02,
        p_against: 0.5,
        p_against_holm: 1.0,
        outcome,
    };
    Claim::ALL.into_iter().zip(outcomes).map(verdict).collect()
}

/// Groups of all worlds, if there are several, with the learners of the first.
fn groups(worlds: &[WorldReport]) -> Vec<MapGroup> {
    let [first, _, ..] = worlds else { return Vec::new() };
    let group = |scene: &Scene| MapGroup {
        name: scene.name.replacen(&first.name, "listed", 1),
        maps: "listed".to_owned(),
        origin: Origin::Listed,
        ice: Ice::Solid,
        different_maps: worlds.len(),
        worlds: worlds.iter().map(|world| world.name.clone()).collect(),
        results: SceneResults {
            verdicts: verdicts([Outcome::Refuted, Outcome::Undecided]),
            ..scene.results.clone()
        },
    };
    first.scenes.iter().map(group).collect()
}

/// A mixture of a policy and random noise. `sureness` is the share of the policy in each state.
fn blurred(
    matrix: &StateActionMatrix,
    sureness: impl Fn(usize) -> f64,
    rng: &mut impl Rng,
) -> StateActionMatrix {
    let row = |(state, row): (usize, &[f64; 4])| {
        let noise: [f64; 4] = std::array::from_fn(|_| rng.random_range(0.1..1.0));
        let (sum, sureness) = (noise.iter().sum::<f64>(), sureness(state));
        std::array::from_fn(|action| {
            sureness * row[action] + (1.0 - sureness) * noise[action] / sum
        })
    };
    matrix.iter().enumerate().map(row).collect()
}

struct InventedLake {
    columns: usize,
    cells: Vec<char>,
}

impl InventedLake {
    fn new(rows: &[&str]) -> Self {
        Self { columns: rows[0].len(), cells: rows.concat().chars().collect() }
    }

    fn ends(&self, state: usize) -> bool {
        matches!(self.cells[state], 'H' | 'G')
    }

    fn arrive(&self, state: usize, action: Action) -> usize {
        let (row, column) = (state / self.columns, state % self.columns);
        match action {
            Action::Left if column > 0 => state - 1,
            Action::Down if row + 1 < self.cells.len() / self.columns => state + self.columns,
            Action::Right if column + 1 < self.columns => state + 1,
            Action::Up if row > 0 => state - self.columns,
            _ => state,
        }
    }

    /// The policy that takes all actions on shortest paths to a goal with equal probability.
    fn optimum(&self) -> StateActionMatrix {
        let states = self.cells.len();
        let mut distance = vec![usize::MAX; states];
        let mut queue: VecDeque<usize> =
            (0..states).filter(|state| self.cells[*state] == 'G').collect();
        for goal in &queue {
            distance[*goal] = 0;
        }
        while let Some(state) = queue.pop_front() {
            for before in 0..states {
                let leads = ACTIONS.iter().any(|action| self.arrive(before, *action) == state);
                if leads && !self.ends(before) && distance[before] == usize::MAX {
                    distance[before] = distance[state] + 1;
                    queue.push_back(before);
                }
            }
        }
        let row = |state: usize| {
            let best = ACTIONS.map(|action| {
                !self.ends(state) && distance[self.arrive(state, action)] < distance[state]
            });
            let count = best.iter().filter(|best| **best).count();
            best.map(|best| if count == 0 { 0.25 } else { f64::from(best) / count as f64 })
        };
        (0..states).map(row).collect()
    }

    /// `detour` random moves, then the shortest path to a goal unless it `stops` at a state.
    fn walk(
        &self,
        detour: usize,
        stops: impl Fn(usize) -> bool,
        optimum: &StateActionMatrix,
        rng: &mut impl Rng,
    ) -> Trajectory {
        let mut state = self.cells.iter().position(|cell| *cell == 'S').unwrap();
        let mut visits = Vec::new();
        while !self.ends(state) && visits.len() < 100 {
            let action = if visits.len() < detour {
                ACTIONS[rng.random_range(0..4)]
            } else if detour > 0 && stops(state) {
                break;
            } else {
                ACTIONS[(0..4).find(|action| optimum[state][*action] > 0.0).unwrap()]
            };
            visits.push(Visit { state, action, turn: 0 });
            state = self.arrive(state, action);
        }
        Trajectory { visits, end: state }
    }
}
