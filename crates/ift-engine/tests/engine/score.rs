//! Log-probabilities of given answers.

use crate::model::{folder, model, request};
use ift_backend::Reference;
use ift_compare::{Comparison, Tolerance};
use ift_engine::{
    Answer, AnswerScores, Engine, EngineError, EngineSettings, PackFault, ScoreSettings, score,
};
use ift_model::{Adapter, BaseStorage, Keep, Model, PastOf, Sequences, Trained};
use std::sync::Arc;

/// Log-probabilities and argmax of the targets, from all logits of the sequence.
fn from_logits(model: &Model<Reference>, answer: &Answer) -> (Vec<f64>, Vec<u32>) {
    let mut sequences = Sequences::default();
    sequences.push(answer.tokens);
    let pass = model.forward(&sequences, None, &PastOf::Nothing, Keep::Nothing).unwrap();
    let of_target = |&target: &usize| {
        let logits = model.logits(&pass, &[target - 1]).unwrap();
        let logits: Vec<f64> = logits.into_iter().map(f64::from).collect();
        let normalizer = logits.iter().map(|logit| logit.exp()).sum::<f64>().ln();
        let best = (0..logits.len()).rev().max_by(|&a, &b| logits[a].total_cmp(&logits[b]));
        (logits[answer.tokens[target] as usize] - normalizer, best.unwrap() as u32)
    };
    answer.targets.iter().map(of_target).unzip()
}

#[test]
fn scores_are_those_of_each_sequence_alone_for_any_budget() {
    let tokens: Vec<u32> = (0..60).map(|i| i * 7 % 37).collect();
    let answer = |range: std::ops::Range<usize>, targets: &[usize]| Answer {
        tokens: &tokens[range],
        targets: targets.to_vec(),
    };
    let other: Vec<u32> = tokens[..6].iter().copied().chain([1, 2, 3]).collect();
    let groups = [
        vec![answer(0..9, &[3, 4, 8])],
        vec![answer(0..12, &[6, 7, 11]), Answer { tokens: &other, targets: vec![6, 8] }],
        vec![],
        vec![answer(5..7, &[1]), answer(5..30, &[20]), answer(6..9, &[2])],
        vec![answer(20..60, &(1..40).collect::<Vec<_>>())],
    ];
    for window in [None, Some(4)] {
        let (_folder, model) = model(Reference, window, 100);
        for tokens in [1, 20, 45, 1000] {
            let settings = ScoreSettings { tokens, adapters_off: false, argmax: true };
            let scores = score(&model, &groups, settings).unwrap();
            assert_eq!(scores.iter().map(Vec::len).collect::<Vec<_>>(), [1, 2, 0, 3, 1]);
            // The logits on the host are in f32.
            let mut comparison = Comparison::new("scores", Tolerance::absolute(1e-5));
            for (answers, scores) in groups.iter().zip(&scores) {
                for (answer, scores) in answers.iter().zip(scores) {
                    let (log_probs, argmax) = from_logits(&model, answer);
                    comparison.values("log-probabilities", &scores.log_probs, &log_probs);
                    assert_eq!(scores.argmax, argmax);
                    assert!(scores.is_greedy(argmax.iter().copied()));
                    let targets = answer.targets.iter().map(|&t| answer.tokens[t]);
                    assert_eq!(scores.is_greedy(targets.clone()), targets.eq(argmax));
                }
            }
            comparison.finish();
        }
    }
}

#[test]
fn the_split_into_passes_changes_scores_by_rounding_at_most() {
    let tokens: Vec<u32> = (0..80).map(|i| i * 11 % 37).collect();
    let groups: Vec<Vec<Answer>> = (0..8)
        .map(|i| {
            let of = |length: usize| Answer {
                tokens: &tokens[i..i + length],
                targets: vec![4, length - 1],
            };
            vec![of(7 + i), of(20)]
        })
        .collect();
    let (_folder, model) = model(ift_cpu::CpuF32::new(2), None, 100);
    let scores = |tokens| {
        let settings = ScoreSettings { tokens, adapters_off: false, argmax: false };
        score(&model, &groups, settings).unwrap()
    };
    let log_probs = |scores: &[Vec<AnswerScores>]| -> Vec<f64> {
        scores.iter().flatten().flat_map(|answer| answer.log_probs.clone()).collect()
    };
    let whole = scores(10_000);
    assert!(whole.iter().flatten().all(|answer| answer.argmax.is_empty()));
    assert!(!whole[0][0].is_greedy([1, 2]));
    let mut comparison = Comparison::new("scores by budget", Tolerance::absolute(1e-5));
    for tokens in [1, 60, 100] {
        comparison.values(&tokens.to_string(), &log_probs(&scores(tokens)), &log_probs(&whole));
    }
    comparison.finish();
}

#[test]
fn the_group_that_cannot_be_scored_is_named_whatever_the_passes() {
    let (_folder, model) = model(Reference, None, 100);
    let good = || vec![Answer { tokens: &[1, 2], targets: vec![1] }];
    let groups = [good(), good(), vec![Answer { tokens: &[1, 99], targets: vec![1] }]];
    for tokens in [1, 100] {
        let settings = ScoreSettings { tokens, adapters_off: false, argmax: false };
        let Err(EngineError::Pack(error)) = score(&model, &groups, settings) else { panic!() };
        assert_eq!((error.group, error.answer), (2, 0));
        assert!(matches!(error.fault, PackFault::Token { token: 99, .. }));
    }
}

#[test]
fn without_its_adapters_a_model_scores_as_its_base() {
    let folder = folder(None, 100);
    let adapter = Adapter { base: BaseStorage::Exact, ..Adapter::default() };
    let trained = Trained::Adapters { adapter: &adapter, seed: 1 };
    let mut adapted = Model::load(folder.path(), Arc::new(Reference), trained).unwrap();
    let values: Vec<f64> = (0..adapted.trainable().len()).map(|i| (i as f64).sin()).collect();
    adapted.write(0, &values);
    adapted.adapters_changed().unwrap();
    let (_folder, base) = model(Reference, None, 100);
    let groups = [vec![
        Answer { tokens: &[1, 2, 3, 4], targets: vec![2, 3] },
        Answer { tokens: &[1, 2, 9], targets: vec![2] },
    ]];
    let settings = ScoreSettings { tokens: 100, adapters_off: false, argmax: true };
    let off = ScoreSettings { adapters_off: true, ..settings };
    let expected = score(&base, &groups, settings).unwrap();
    assert_eq!(score(&adapted, &groups, off).unwrap(), expected);
    assert_ne!(score(&adapted, &groups, settings).unwrap(), expected);
    // Generation uses them.
    let mut engine = Engine::new(&adapted, EngineSettings::default()).unwrap();
    engine.submit(request(vec![1, 2], 1)).unwrap();
    let token = crate::model::greedy_without_cache(&adapted, &[1, 2], 1)[0];
    let events = format!("{:?}", engine.step().unwrap());
    assert!(events.contains(&format!("token: {token}")), "{events}");
}
