//! Reports of studies that never ran, with numbers of a plausible size.

use std::collections::VecDeque;

use ift_lake::{
    Action, Estimate, Ice, LearnerReport, Matrix, Measure, Panel, Portrait, Report, Scene, Start,
    Suboptimal, Sweep, Trajectory, Visit, WorldReport,
};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// What a report is invented for.
pub struct Study<'a> {
    /// Names and rows.
    pub maps: &'a [(&'a str, &'a [&'a str])],
    pub learners: &'a [&'a str],
    pub starts: &'a [Start],
    pub kinds: &'a [Suboptimal],
    /// Seeds; a single one has intervals of no width.
    pub seeds: u64,
}

pub const FOUR: &[&str] = &["SFFF", "FHFH", "FFFH", "HFFG"];
pub const EIGHT: &[&str] = &[
    "SFFFFFFF", "FFFFFFFF", "FFFHFFFF", "FFFFFHFF", "FFFHFFFF", "FHHFFFHF", "FHFFHFHF", "FFFHFFFG",
];

const ACTIONS: [Action; 4] = [Action::Left, Action::Down, Action::Right, Action::Up];
const STEPS: u64 = 300;

impl Study<'_> {
    pub fn report(&self) -> Report {
        let mut rng = ChaCha8Rng::seed_from_u64(7);
        let worlds =
            self.maps.iter().map(|(name, rows)| self.world(name, rows, &mut rng)).collect();
        Report { seeds: self.seeds, curve_steps: (0..=STEPS).step_by(10).collect(), worlds }
    }

    fn world(&self, name: &str, rows: &[&str], rng: &mut ChaCha8Rng) -> WorldReport {
        let lake = Lake::new(rows);
        let optimum = lake.optimum();
        let scenes =
            self.starts.iter().flat_map(|start| self.kinds.iter().map(move |kind| (*start, *kind)));
        let scenes = scenes.collect::<Vec<_>>().into_iter();
        let sweep = |start: Start, setting, values: &[f64], rng: &mut ChaCha8Rng| {
            let mut over = |level: f64| {
                values.iter().map(|value| self.estimate(level * (1.0 - 0.3 * value), rng)).collect()
            };
            let (all, on, off) = (over(0.09), over(0.03), over(0.12));
            let name = format!("{name}-{}-{setting}", start.name());
            Sweep { name, start, setting, values: values.to_vec(), all, on, off }
        };
        let mut sweeps = Vec::new();
        for start in self.starts {
            sweeps.push(sweep(
                *start,
                "lambda",
                &[0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0],
                rng,
            ));
            sweeps.push(sweep(*start, "gamma", &[0.0, 0.5, 0.8, 0.9, 0.95, 0.99, 1.0], rng));
        }
        WorldReport {
            name: name.to_owned(),
            map: rows.iter().map(|row| (*row).to_owned()).collect(),
            ice: Ice::Solid,
            optimum_success: 0.74,
            scenes: scenes
                .map(|(start, kind)| self.scene(name, &lake, &optimum, start, kind, rng))
                .collect(),
            sweeps,
            optimum,
        }
    }

    fn scene(
        &self,
        world: &str,
        lake: &Lake,
        optimum: &Matrix,
        start: Start,
        kind: Suboptimal,
        rng: &mut ChaCha8Rng,
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

        let panel = |title: &str, policy, explored: &[bool]| Panel {
            title: title.to_owned(),
            policy,
            explored: explored.to_vec(),
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
            start,
            suboptimal: kind,
            learners: self.learners.iter().map(|label| self.learner(label, rng)).collect(),
            comparisons: Vec::new(),
            paper_order_share: None,
            portrait: Portrait { optimal, suboptimal, panels },
        }
    }

    fn learner(&self, label: &str, rng: &mut ChaCha8Rng) -> LearnerReport {
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

    fn estimate(&self, mean: f64, rng: &mut ChaCha8Rng) -> Estimate {
        let mean = mean * rng.random_range(0.98..1.02);
        Estimate { mean, half_width: if self.seeds > 1 { 0.05 * mean } else { 0.0 } }
    }
}

/// A matrix with so much of itself left and the rest of it noise.
fn blurred(matrix: &Matrix, sureness: impl Fn(usize) -> f64, rng: &mut ChaCha8Rng) -> Matrix {
    let row = |(state, row): (usize, &[f64; 4])| {
        let noise: [f64; 4] = std::array::from_fn(|_| rng.random_range(0.1..1.0));
        let (sum, sureness) = (noise.iter().sum::<f64>(), sureness(state));
        std::array::from_fn(|action| {
            sureness * row[action] + (1.0 - sureness) * noise[action] / sum
        })
    };
    matrix.iter().enumerate().map(row).collect()
}

struct Lake {
    columns: usize,
    cells: Vec<char>,
}

impl Lake {
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

    /// All actions that shorten the way to a goal.
    fn optimum(&self) -> Matrix {
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

    /// So many moves at random, then the shortest way to a goal unless it `stops` there.
    fn walk(
        &self,
        detour: usize,
        stops: impl Fn(usize) -> bool,
        optimum: &Matrix,
        rng: &mut ChaCha8Rng,
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
