use ift_methods::{Dpo, Ift, Method, Sft};

use super::*;
use crate::{
    seed_setup::SeedSetup, settings::StudySettings, start::Start, study_worlds::solved_worlds,
    trajectory::Suboptimal, world::Rewards,
};

fn settings(training: TrainingSettings) -> StudySettings {
    StudySettings { maps: vec!["4x4".to_owned()], training, ..StudySettings::default() }
}

fn short(schedule: Curve, warmup_ratio: f64) -> TrainingSettings {
    TrainingSettings {
        steps: 12,
        sft_steps: 5,
        fit_steps: 1,
        schedule,
        warmup_ratio,
        ..TrainingSettings::default()
    }
}

#[test]
fn errors_name_the_setting_that_is_out_of_range() {
    let default = TrainingSettings::default;
    assert!(default().validate().is_ok());
    for (settings, expected) in [
        (
            TrainingSettings { lr: f64::NAN, ..default() },
            "`training.lr` is NaN, expected a finite number above 0",
        ),
        (TrainingSettings { hidden: 0, ..default() }, "`training.hidden` is 0, expected 1 or more"),
        (
            TrainingSettings { warmup_ratio: 1.5, ..default() },
            "`training.warmup_ratio` is 1.5, expected a number from 0 to 1",
        ),
        (
            TrainingSettings { warmup_ratio: f64::NAN, ..default() },
            "`training.warmup_ratio` is NaN, expected a number from 0 to 1",
        ),
        (
            TrainingSettings { steps: 1, warmup_ratio: 0.1, ..default() },
            "`training.warmup_ratio` is 0.1, but `training.steps` is 1, and the learning rate is \
             0 in the first step of a warm-up; expected 0, or more steps",
        ),
        (
            TrainingSettings { sft_steps: 1, warmup_ratio: 1.0, ..default() },
            "`training.warmup_ratio` is 1, but `training.sft_steps` is 1, and the learning rate \
             is 0 in the first step of a warm-up; expected 0, or more steps",
        ),
    ] {
        assert_eq!(settings.validate().unwrap_err().to_string(), expected);
    }
    for schedule in [Curve::Constant, Curve::Linear, Curve::Cosine] {
        for (steps, warmup_ratio) in [(1, 0.0), (2, 0.1), (2, 1.0), (200, 1.0)] {
            let settings =
                TrainingSettings { steps, sft_steps: steps, schedule, warmup_ratio, ..default() };
            assert!(settings.validate().is_ok(), "{settings:?}");
        }
    }
}

#[test]
fn every_learner_follows_the_schedule() {
    // The policy after each step.
    let train = |training: TrainingSettings, method: Option<&Method>| {
        // With a reward for falling into a hole, PPO learns from its first episodes.
        let rewards = Rewards { goal: 1.0, hole: -1.0, frozen: 0.0 };
        let settings = StudySettings { rewards, ..settings(training) };
        let worlds = solved_worlds(&settings).unwrap();
        let setup = SeedSetup::new(&settings, &worlds[0], 0).unwrap();
        let mut policies = vec![setup.start(Start::Random)];
        let start = policies[0].clone();
        let observe = |_, network: &Network| policies.push(network.clone());
        setup.train(method, &start, Some(Suboptimal::Hole), observe);
        policies
    };
    let distance = |policies: &[Network], step: usize| -> f64 {
        let pairs = policies[step].parameters().iter().zip(policies[step + 1].parameters());
        pairs.map(|(before, after)| (after - before).abs()).fold(0.0, f64::max)
    };
    let methods = [
        Some(Method::Sft(Sft::default())),
        Some(Method::Ift(Ift::default())),
        Some(Method::Dpo(Dpo::default())),
        None,
    ];
    for method in &methods {
        let constant = train(short(Curve::Constant, 0.0), method.as_ref());
        let cosine = train(short(Curve::Cosine, 0.2), method.as_ref());
        assert_eq!((constant.len(), cosine.len()), (13, 13));
        // A warm-up of three steps, the first without a learning rate, the second with a third.
        assert!(distance(&constant, 0) > 0.009 && distance(&cosine, 0) == 0.0, "{method:?}");
        let second = distance(&cosine, 1);
        assert!(second > 0.0 && second < 0.004, "{method:?}: {second}");
        // The last step has a factor of (1 + cos(8π/9)) / 2 = 0.03.
        let [last, before] = [11, 3].map(|step| distance(&cosine, step));
        assert!(last < 0.05 * before, "{method:?}: {last}, {before}");
    }
}

#[test]
fn the_initial_policy_sft_has_the_schedule_over_its_own_steps() {
    let start = |training: TrainingSettings| {
        let settings = settings(training);
        let worlds = solved_worlds(&settings).unwrap();
        SeedSetup::new(&settings, &worlds[0], 0).unwrap().start(Start::Sft)
    };
    let cosine = start(short(Curve::Cosine, 0.4));
    assert_ne!(cosine, start(short(Curve::Constant, 0.0)));
    assert_eq!(cosine, start(TrainingSettings { steps: 300, ..short(Curve::Cosine, 0.4) }));
}

#[test]
fn the_warmup_of_lambda_is_that_of_the_learning_rate_or_a_tenth() {
    let start = Network::new(1, 1, 4, ActivationFunction::Relu, &mut ift_random::generator(0, 0));
    let warmup = |warmup_ratio, steps| {
        let training = &TrainingSettings { warmup_ratio, ..TrainingSettings::default() };
        TrainingRun { start: &start, training, steps }.lambda_warmup()
    };
    assert_eq!([warmup(0.0, 200), warmup(0.1, 201), warmup(1.0, 7)], [20, 21, 7]);
}
