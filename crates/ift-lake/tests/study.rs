//! A whole small study: that its numbers belong together, and what they depend on.

#![allow(
    clippy::unwrap_used,
    missing_docs,
    reason = "tests fail by panicking and explain themselves"
)]

use std::sync::atomic::{AtomicU64, Ordering};

use ift_lake::{
    Estimate, Findings, Ice, Measure, Online, PAPER_ORDER, Settings, Start, Study, Suboptimal,
    SweepValues, Training, Trajectories, arenas,
};

fn settings() -> Settings {
    Settings {
        maps: vec!["4x4".to_owned()],
        seeds: 6,
        training: Training {
            steps: 40,
            sft_steps: 20,
            fit_steps: 600,
            hidden: 12,
            ..Training::default()
        },
        ppo: Online { episodes: 4, ..Online::default() },
        sweep: SweepValues { lambda: vec![0.0, 0.2], gamma: vec![0.95] },
        ..Settings::default()
    }
}

fn run(settings: &Settings) -> Findings {
    Study::new(settings).unwrap().run(|| ()).unwrap()
}

#[test]
fn means_and_comparisons_are_those_of_the_runs() {
    let findings = run(&settings());
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
            let mean = |numbers: &[f64]| numbers.iter().sum::<f64>() / numbers.len() as f64;
            for learner in &scene.learners {
                for measure in Measure::ALL {
                    let numbers = of(&learner.label, measure);
                    assert_eq!(numbers.len(), 6, "{} {measure:?}", learner.label);
                    assert!((learner.estimate(measure).mean - mean(&numbers)).abs() < 1e-12);
                }
                assert_eq!(learner.curve.len(), findings.report.curve_steps.len());
                assert_eq!(learner.curve.last(), Some(&learner.estimate(Measure::Mse)));
            }
            let (ift, sft) = (of("ift", Measure::Mse), of("sft", Measure::Mse));
            let pair = scene.comparison("ift", "sft").unwrap();
            assert!((pair.difference.mean - (mean(&ift) - mean(&sft))).abs() < 1e-12);
            let closer = ift.iter().zip(&sft).filter(|(ift, sft)| ift < sft).count();
            assert!((pair.closer - closer as f64 / 6.0).abs() < 1e-12);
            let back = scene.comparison("sft", "ift").unwrap();
            let Estimate { mean, half_width } = pair.difference;
            assert_eq!(back.difference, Estimate { mean: -mean, half_width });
            assert_eq!((back.closer, back.farther, back.p), (pair.farther, pair.closer, pair.p));
            assert!(pair.p <= pair.p_holm && pair.p_holm <= 1.0);

            let four: Vec<_> = PAPER_ORDER.iter().map(|name| of(name, Measure::Mse)).collect();
            let ordered =
                (0..6).filter(|&seed| four.windows(2).all(|pair| pair[0][seed] < pair[1][seed]));
            assert_eq!(scene.paper_order_share, Some(ordered.count() as f64 / 6.0));
        }
    }
}

#[test]
fn methods_that_see_no_rejected_trajectory_are_the_same_for_every_kind() {
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
fn all_curves_begin_at_the_start_and_the_fitted_policy_is_the_optimum() {
    let training = Training { steps: 5, ..Training::default() };
    let settings = Settings { training, ..settings() };
    let report = run(&settings).report;
    for (world, arena) in report.worlds.iter().zip(arenas(&settings).unwrap()) {
        assert_eq!(world.optimum, arena.optimum.policy);
        for scene in &world.scenes {
            let begin = scene.learners[0].curve[0];
            assert!(scene.learners.iter().all(|learner| learner.curve[0] == begin));
            let fitted = &scene.portrait.panels[1];
            let largest =
                world.optimum.iter().zip(&fitted.policy).enumerate().flat_map(|(state, (o, f))| {
                    let terminal = arena.world.is_terminal(state);
                    o.iter().zip(f).map(move |(o, f)| if terminal { 0.0 } else { (o - f).abs() })
                });
            let largest = largest.fold(0.0, f64::max);
            assert!(largest < 0.05, "{}: {largest}", world.name);
        }
    }
}

#[test]
fn a_sweep_passes_through_the_method_itself() {
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
    let base =
        Settings { ice: vec![Ice::Slippery], suboptimal: vec![Suboptimal::Hole], ..settings() };
    let numbers = |settings: &Settings| -> Vec<Vec<f64>> {
        run(settings).runs.into_iter().map(|run| run.measures).collect()
    };
    let first = numbers(&Settings { threads: 1, ..base.clone() });
    assert_eq!(first, numbers(&Settings { threads: 3, ..base.clone() }));
    // Seeds 0 to 5, then 2 to 7: four are in both.
    let later = numbers(&Settings { seed: 2, ..base.clone() });
    let per_seed = first.len() / 6;
    assert_eq!(first[2 * per_seed..], later[..4 * per_seed]);
    assert_ne!(first[..per_seed], later[..per_seed]);
}

#[test]
fn fixed_trajectories_are_those_of_the_first_seed() {
    let base = Settings {
        suboptimal: vec![Suboptimal::Hole],
        ice: vec![Ice::Solid],
        seeds: 40,
        ..settings()
    };
    let shares = |trajectories| {
        let findings = run(&Settings { trajectories, ..base.clone() });
        let dpo = findings.runs.iter().filter(|run| run.learner == "dpo");
        let mut shares: Vec<_> = dpo.map(|run| run.rejected_optimal.unwrap().to_bits()).collect();
        let first = shares[0];
        shares.sort_unstable();
        shares.dedup();
        (first, shares.len())
    };
    let (drawn, fixed) = (shares(Trajectories::Drawn), shares(Trajectories::Fixed));
    assert_eq!((drawn.0, fixed.1), (fixed.0, 1));
    assert!(drawn.1 > 2);
}

#[test]
fn every_policy_is_told_of() {
    let settings = settings();
    let study = Study::new(&settings).unwrap();
    let told = AtomicU64::new(0);
    let tell = || _ = told.fetch_add(1, Ordering::Relaxed);
    study.run(tell).unwrap();
    // Two worlds, two starts, six seeds: eight methods that see one trajectory, seven that see both
    // (of four kinds), PPO, three of a sweep.
    assert_eq!(told.into_inner(), study.policies());
    assert_eq!(study.policies(), 2 * 2 * 6 * (8 + 7 * 4 + 1 + 3));
}
