//! Small studies: consistency of their results, and what the results depend on.

#![allow(
    clippy::unwrap_used,
    missing_docs,
    reason = "tests fail by panicking and explain themselves"
)]

use std::sync::atomic::{AtomicU64, Ordering};

use ift_compare::{Comparison, Tolerance};
use ift_lake::{
    Estimate, Findings, Ice, Measure, PpoSettings, Start, Study, StudySettings, Suboptimal,
    SweepValues, TrainingSettings, TrajectorySource, solved_worlds,
};

fn settings() -> StudySettings {
    StudySettings {
        maps: vec!["4x4".to_owned()],
        seeds: 6,
        training: TrainingSettings {
            steps: 40,
            sft_steps: 20,
            fit_steps: 600,
            hidden: 12,
            ..TrainingSettings::default()
        },
        ppo: PpoSettings { episodes: 4, ..PpoSettings::default() },
        sweep: SweepValues { lambda: vec![0.0, 0.2], gamma: vec![0.95] },
        ..StudySettings::default()
    }
}

fn run(settings: &StudySettings) -> Findings {
    Study::new(settings).unwrap().run(|| ()).unwrap()
}

#[test]
fn means_and_comparisons_follow_from_the_runs() {
    let findings = run(&settings());
    let mut comparison = Comparison::new("study", Tolerance::absolute(1e-12));
    for world in &findings.report.worlds {
        assert_eq!(world.scenes.len(), 2 * 4);
        for scene in &world.scenes {
            let of = |learner: &str, measure: Measure| -> Vec<f64> {
                let belongs = |run: &&ift_lake::RunRow| {
                    run.world == world.name
                        && run.start == scene.start
                        && run.learner == learner
                        && run.suboptimal.is_none_or(|kind| kind == scene.suboptimal)
                };
                findings
                    .runs
                    .iter()
                    .filter(belongs)
                    .map(|run| run.measures[measure as usize])
                    .collect()
            };
            let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
            for learner in &scene.learners {
                for measure in Measure::ALL {
                    let values = of(&learner.label, measure);
                    let what = format!("{} {measure:?}", learner.label);
                    assert_eq!(values.len(), 6, "{what}");
                    comparison.value(&what, learner.estimate(measure).mean, mean(&values));
                }
                assert_eq!(learner.curve.len(), findings.report.curve_steps.len());
                assert_eq!(learner.curve.last(), Some(&learner.estimate(Measure::Mse)));
            }
            let (ift, sft) = (of("ift", Measure::Mse), of("sft", Measure::Mse));
            let pair = scene.comparison("ift", "sft").unwrap();
            let difference = mean(&ift) - mean(&sft);
            comparison.value("difference", pair.difference.mean, difference);
            let closer = ift.iter().zip(&sft).filter(|(ift, sft)| ift < sft).count();
            comparison.value("closer", pair.closer, closer as f64 / 6.0);
            let back = scene.comparison("sft", "ift").unwrap();
            let Estimate { mean, half_width } = pair.difference;
            assert_eq!(back.difference, Estimate { mean: -mean, half_width });
            assert_eq!((back.closer, back.farther, back.p), (pair.farther, pair.closer, pair.p));
            assert!(pair.p <= pair.p_holm && pair.p_holm <= 1.0);
        }
    }
    comparison.finish();
}

#[test]
fn methods_without_a_rejected_trajectory_do_not_depend_on_its_kind() {
    let report = run(&settings()).report;
    for world in &report.worlds {
        let scenes: Vec<_> =
            world.scenes.iter().filter(|scene| scene.start == Start::Random).collect();
        for (label, same) in
            [("sft", true), ("ift", true), ("ppo", true), ("dpo", false), ("kto", false)]
        {
            let means: Vec<_> = scenes
                .iter()
                .map(|scene| scene.learner(label).unwrap().estimate(Measure::Mse).mean)
                .collect();
            assert_eq!(means.windows(2).all(|pair| pair[0] == pair[1]), same, "{label} {means:?}");
        }
    }
}

#[test]
fn all_curves_start_at_the_initial_policy_and_the_fitted_policy_is_near_the_optimum() {
    let training = TrainingSettings { steps: 5, ..TrainingSettings::default() };
    let settings = StudySettings { training, ..settings() };
    let report = run(&settings).report;
    let mut comparison = Comparison::new("fitted policy", Tolerance::absolute(0.05));
    for (world, solved) in report.worlds.iter().zip(solved_worlds(&settings).unwrap()) {
        assert_eq!(world.optimum, solved.optimum.policy);
        for scene in &world.scenes {
            let begin = scene.learners[0].curve[0];
            assert!(scene.learners.iter().all(|learner| learner.curve[0] == begin));
            let fitted = &scene.portrait.panels[1];
            for state in solved.world.non_terminal() {
                let what = format!("{}, state {state}", world.name);
                comparison.values(&what, &fitted.policy[state], &world.optimum[state]);
            }
        }
    }
    comparison.finish();
}

#[test]
fn sweeps_agree_with_the_method_at_its_defaults() {
    let report = run(&settings()).report;
    for world in &report.worlds {
        for scene in &world.scenes {
            let ift = scene.learner("ift").unwrap();
            let of = |setting| {
                let sweep = world
                    .sweeps
                    .iter()
                    .find(|sweep| sweep.start == scene.start && sweep.setting == setting);
                sweep.unwrap()
            };
            for (sweep, index) in [(of("lambda"), 1), (of("gamma"), 0)] {
                assert_eq!(sweep.all[index], ift.estimate(Measure::Mse));
                assert_eq!(sweep.on[index], ift.estimate(Measure::MseOn));
                assert_eq!(sweep.off[index], ift.estimate(Measure::MseOff));
            }
            assert_ne!(of("lambda").all[0], of("lambda").all[1]);
        }
    }
}

#[test]
fn results_depend_on_seeds_and_not_on_threads() {
    let base = StudySettings {
        ice: vec![Ice::Slippery],
        suboptimal: vec![Suboptimal::Hole],
        ..settings()
    };
    let measures = |settings: &StudySettings| -> Vec<Vec<f64>> {
        run(settings).runs.into_iter().map(|run| run.measures).collect()
    };
    let first = measures(&StudySettings { threads: 1, ..base.clone() });
    assert_eq!(first, measures(&StudySettings { threads: 3, ..base.clone() }));
    // Seeds 0 to 5, then 2 to 7: four are in both.
    let later = measures(&StudySettings { seed: 2, ..base.clone() });
    let per_seed = first.len() / 6;
    assert_eq!(first[2 * per_seed..], later[..4 * per_seed]);
    assert_ne!(first[..per_seed], later[..per_seed]);
}

#[test]
fn fixed_trajectories_are_those_of_the_first_seed() {
    let base = StudySettings {
        suboptimal: vec![Suboptimal::Hole],
        ice: vec![Ice::Solid],
        seeds: 40,
        ..settings()
    };
    let shares = |trajectories| {
        let findings = run(&StudySettings { trajectories, ..base.clone() });
        let dpo = findings.runs.iter().filter(|run| run.learner == "dpo");
        let mut shares: Vec<_> = dpo.map(|run| run.rejected_optimal.unwrap().to_bits()).collect();
        let first = shares[0];
        shares.sort_unstable();
        shares.dedup();
        (first, shares.len())
    };
    let (drawn, fixed) = (shares(TrajectorySource::Drawn), shares(TrajectorySource::Fixed));
    assert_eq!((drawn.0, fixed.1), (fixed.0, 1));
    assert!(drawn.1 > 2);
}

#[test]
fn done_is_called_for_every_policy() {
    let settings = settings();
    let study = Study::new(&settings).unwrap();
    let calls = AtomicU64::new(0);
    let done = || _ = calls.fetch_add(1, Ordering::Relaxed);
    study.run(done).unwrap();
    // Two worlds, two initial policies and six seeds: eight methods on one trajectory, seven on two
    // (of four kinds), PPO, and three values of sweeps.
    assert_eq!(calls.into_inner(), study.policies());
    assert_eq!(study.policies(), 2 * 2 * 6 * (8 + 7 * 4 + 1 + 3));
}
