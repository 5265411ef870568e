//! IFT with each of its formulas on Frozen Lake.

#![allow(
    clippy::unwrap_used,
    missing_docs,
    reason = "tests fail by panicking and explain themselves"
)]

use ift_lake::{
    Ice, InitialPolicy, Measure, PpoSettings, Rule, RunRow, Start, Study, StudySettings,
    Suboptimal, SweepValues, TrainingSettings,
};
use ift_methods::{Formula, Ift, Method};

const FORMULAS: [Formula; 4] =
    [Formula::Code, Formula::Paper, Formula::Equation, Formula::Algorithm];
const LABELS: [&str; 4] =
    ["ift", "ift formula=paper", "ift formula=equation", "ift formula=algorithm"];

/// The runs of a small study of all formulas.
fn runs(optimizer: Rule, lr: f64) -> Vec<RunRow> {
    let settings = StudySettings {
        maps: vec!["4x4".to_owned()],
        ice: vec![Ice::Solid],
        starts: vec![InitialPolicy::Random, InitialPolicy::Sft],
        suboptimal: vec![Suboptimal::Hole],
        seeds: 2,
        training: TrainingSettings { optimizer, lr, fit_steps: 200, ..TrainingSettings::default() },
        methods: FORMULAS.map(|formula| Method::Ift(Ift { formula, ..Ift::default() })).to_vec(),
        ppo: PpoSettings { episodes: 0, ..PpoSettings::default() },
        sweep: SweepValues { lambda: Vec::new(), gamma: Vec::new(), ..SweepValues::default() },
        ..StudySettings::default()
    };
    Study::new(&settings).unwrap().run(|| ()).unwrap().runs
}

fn measure(run: &RunRow, measure: Measure) -> f64 {
    run.measures[measure as usize]
}

#[test]
fn every_formula_learns_the_optimal_trajectory() {
    for (optimizer, lr) in [(Rule::Adam, 0.01), (Rule::Sgd, 1.0)] {
        let runs = runs(optimizer, lr);
        assert_eq!(runs.len(), 2 * 2 * 4);
        for (run, label) in runs.iter().zip(LABELS.iter().cycle()) {
            assert_eq!(run.learner, *label);
            assert!(run.measures.iter().all(|measure| measure.is_finite()), "{run:?}");
            assert_eq!(measure(run, Measure::Diverged), 0.0, "{run:?}");
            assert!(measure(run, Measure::Mse) < 0.25, "{run:?}");
            assert!(measure(run, Measure::Success) > 0.9, "{run:?}");
        }
    }
}

/// With one row the weights of `equation` are those of `paper` times a constant. Adam's steps do
/// not depend on the size of the gradient, those of plain descent do.
#[test]
fn the_size_of_the_gradient_matters_to_plain_descent_alone() {
    let largest = |optimizer, lr| {
        let runs = runs(optimizer, lr);
        let from = |label: &str| -> Vec<f64> {
            let runs = runs.iter().filter(|run| run.start == Start::Random);
            runs.filter(|run| run.learner == label).map(|run| measure(run, Measure::Mse)).collect()
        };
        let pairs = from(LABELS[1]).into_iter().zip(from(LABELS[2]));
        pairs.map(|(paper, equation)| (paper - equation).abs()).fold(0.0, f64::max)
    };
    let (adam, plain) = (largest(Rule::Adam, 0.01), largest(Rule::Sgd, 0.1));
    assert!(adam > 0.0 && adam < 1e-4, "{adam}");
    assert!(plain > 1e-3, "{plain}");
}
