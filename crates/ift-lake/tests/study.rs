//! Small studies: consistency of their results, and what the results depend on.

#![allow(
    clippy::unwrap_used,
    missing_docs,
    reason = "tests fail by panicking and explain themselves"
)]

use std::sync::atomic::{AtomicU64, Ordering};

use ift_compare::{Comparison, Tolerance};
use ift_lake::{
    BothSettings, Estimate, Findings, Ice, InitialPolicy, Measure, PpoSettings, Rule, Start, Study,
    StudySettings, Suboptimal, SweepValues, TrainingSettings, TrajectorySource, solved_worlds,
};
use ift_methods::{Ift, Method, Sft};

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
        sweep: SweepValues { lambda: vec![0.0, 0.2], gamma: vec![0.95], ..SweepValues::default() },
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
        // From `both` a kind is rejected, or the policy's own episodes.
        assert_eq!(world.scenes.len(), 2 * 4 + 3 * 2);
        for scene in &world.scenes {
            let of = |learner: &str, measure: Measure| -> Vec<f64> {
                let belongs = |run: &&ift_lake::RunRow| {
                    run.world == world.name
                        && run.start == scene.results.start
                        && run.learner == learner
                        && run.suboptimal.is_none_or(|kind| kind == scene.results.suboptimal)
                };
                findings
                    .runs
                    .iter()
                    .filter(belongs)
                    .map(|run| run.measures[measure as usize])
                    .collect()
            };
            let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
            for learner in &scene.results.learners {
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
            world.scenes.iter().filter(|scene| scene.results.start == Start::Random).collect();
        for (label, same) in
            [("sft", true), ("ift", true), ("ppo", true), ("dpo", false), ("kto", false)]
        {
            let means: Vec<_> = scenes
                .iter()
                .map(|scene| scene.results.learner(label).unwrap().estimate(Measure::Mse).mean)
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
            let begin = scene.results.learners[0].curve[0];
            assert!(scene.results.learners.iter().all(|learner| learner.curve[0] == begin));
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
        // By default there are no sweeps from `both`.
        assert_eq!(world.sweeps.len(), 2 * 2);
        for scene in
            world.scenes.iter().filter(|scene| !matches!(scene.results.start, Start::Both(_)))
        {
            let ift = scene.results.learner("ift").unwrap();
            let of = |setting| {
                let sweep = world
                    .sweeps
                    .iter()
                    .find(|sweep| sweep.start == scene.results.start && sweep.setting == setting);
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
    let measures = |settings: &StudySettings| -> Vec<Vec<u64>> {
        keys(settings).into_iter().map(|(.., measures)| measures).collect()
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
    assert_eq!(calls.into_inner(), study.policies());
    // From `random` and `sft`: ten methods on one trajectory, seven on two (of four kinds), PPO,
    // and three values of sweeps. From each of three `both`: two kinds and no sweeps.
    let per_seed = 2 * (10 + 7 * 4 + 1 + 3) + 3 * (10 + 7 * 2 + 1);
    assert_eq!(study.policies(), 2 * 6 * per_seed);
}

/// World, start, kind, learner, seed, and the bits of the measures of a run.
type Key = (String, Start, Option<Suboptimal>, String, u64, Vec<u64>);

fn keys(settings: &StudySettings) -> Vec<Key> {
    let key = |run: ift_lake::RunRow| {
        let measures = run.measures.into_iter().map(f64::to_bits).collect();
        (run.world, run.start, run.suboptimal, run.learner, run.seed, measures)
    };
    run(settings).runs.into_iter().map(key).collect()
}

#[test]
fn more_starts_learners_and_sweeps_leave_the_other_runs_as_they_are() {
    let mut few = settings();
    few.starts.retain(|&start| start != InitialPolicy::Both);
    let components = |method: &Method| matches!(method, Method::Ift(ift) if *ift != Ift::default());
    few.methods.retain(|method| !components(method));
    few.sweep.starts.clear();
    let mut many = keys(&settings());
    let extra = |key: &Key| {
        matches!(key.1, Start::Both(_)) || ["ift lambda=0", "ift gamma=0"].contains(&&*key.3)
    };
    assert_eq!(many.iter().filter(|key| extra(key)).count(), 2 * 6 * (2 * 2 + 3 * 25));
    many.retain(|key| !extra(key));
    assert_eq!(many, keys(&few));
}

#[test]
fn the_components_of_ift_have_short_labels_and_results_of_their_own() {
    let report = run(&settings()).report;
    for scene in report.worlds.iter().flat_map(|world| &world.scenes) {
        let labels: Vec<_> = scene.results.learners.iter().map(|learner| &*learner.label).collect();
        assert_eq!(labels[..4], ["sft", "ift", "ift lambda=0", "ift gamma=0"]);
        // Elsewhere the greedy policy may be the expert's, so that λ has no effect.
        if scene.results.start != Start::Random {
            continue;
        }
        let mut means: Vec<_> =
            scene.results.learners[..4].iter().map(|it| it.estimate(Measure::Mse).mean).collect();
        means.dedup();
        assert_eq!(means.len(), 4, "{}", scene.name);
    }
    // Other settings of IFT have labels as before.
    let ift = |lambda, gamma| Method::Ift(Ift { lambda, gamma, ..Ift::default() });
    let methods = vec![ift(0.3, Ift::default().gamma), ift(1.0, Ift::default().gamma)];
    let study = StudySettings { methods, seeds: 1, ..settings() };
    let report = run(&study).report;
    let learners = &report.worlds[0].scenes[0].results.learners;
    let labels: Vec<_> = learners.iter().map(|learner| &*learner.label).collect();
    assert_eq!(labels, ["ift lambda=0.3", "ift lambda=1", "ppo"]);
}

#[test]
fn sweeps_run_from_the_listed_starts() {
    let mut study = StudySettings { ice: vec![Ice::Solid], seeds: 1, ..settings() };
    study.suboptimal = vec![Suboptimal::Hole, Suboptimal::Own];
    study.sweep.starts = vec![InitialPolicy::Both];
    let report = run(&study).report;
    let names: Vec<_> = report.worlds[0].sweeps.iter().map(|sweep| &*sweep.name).collect();
    assert_eq!(names, ["4x4-both-hole-lambda", "4x4-both-hole-gamma"]);
    let scene = report.worlds[0].scenes.iter().find(|it| it.name == "4x4-both-hole-own").unwrap();
    let ift = scene.results.learner("ift").unwrap();
    assert_eq!(report.worlds[0].sweeps[0].all[1], ift.estimate(Measure::Mse));
}

#[test]
fn training_from_both_starts_at_a_policy_that_was_fitted_to_two_ways() {
    let base = StudySettings {
        ice: vec![Ice::Solid],
        starts: vec![InitialPolicy::Both],
        suboptimal: vec![Suboptimal::Hole],
        methods: vec![Method::Sft(Sft::default())],
        ..settings()
    };
    let begin = |settings: &StudySettings| {
        let report = run(settings).report;
        let scene = &report.worlds[0].scenes[0];
        assert_eq!(scene.name, "4x4-both-hole-hole");
        scene.results.learners[0].curve[0].mean
    };
    let first = begin(&base);
    let mut other = base.clone();
    other.training = TrainingSettings { optimizer: Rule::Sgd, lr: 0.5, ..other.training };
    assert_eq!(begin(&other), first, "it stands for a given base model");
    for both in [BothSettings { steps: 50, share: 0.5 }, BothSettings { steps: 100, share: 0.9 }] {
        assert_ne!(begin(&StudySettings { both, ..base.clone() }), first);
    }
}
