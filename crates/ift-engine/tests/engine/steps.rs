//! What single steps do: budgets, places, blocks, cancelling.

use crate::model::{Texts, VOCABULARY, folder, model, request};
use ift_backend::Reference;
use ift_engine::{Engine, EngineError, EngineSettings, Event, Finish, RequestError};
use ift_model::{Model, Trained};
use std::sync::Arc;

fn settings() -> EngineSettings {
    EngineSettings { cache_tokens: 512, prefill_tokens: 64, max_running: 8 }
}

fn tokens_of(events: &[Event]) -> Vec<u64> {
    let tokens = events.iter().filter_map(|event| match event {
        Event::Token { request, .. } => request.to_string().parse().ok(),
        Event::Finished { .. } => None,
    });
    tokens.collect()
}

#[test]
fn a_long_prompt_does_not_stop_the_others() {
    let (_folder, model) = model(Reference, None, 200);
    let mut engine =
        Engine::new(&model, EngineSettings { prefill_tokens: 10, ..settings() }).unwrap();
    engine.submit(request(vec![1, 2, 3], 20)).unwrap();
    engine.step().unwrap();
    engine.submit(request(vec![4; 35], 20)).unwrap();
    // 35 tokens are four parts of at most ten.
    for _ in 0..3 {
        assert_eq!(tokens_of(&engine.step().unwrap()), [0]);
    }
    assert_eq!(tokens_of(&engine.step().unwrap()), [0, 1]);
}

#[test]
fn prompts_share_the_budget_of_a_step() {
    let (_folder, model) = model(Reference, None, 200);
    let mut engine =
        Engine::new(&model, EngineSettings { prefill_tokens: 10, ..settings() }).unwrap();
    for length in [6, 6, 4] {
        engine.submit(request(vec![1; length], 5)).unwrap();
    }
    // The second does not fit together with the first, the third does.
    assert_eq!(tokens_of(&engine.step().unwrap()), [0, 2]);
    assert_eq!(tokens_of(&engine.step().unwrap()), [0, 1, 2]);
}

#[test]
fn places_are_limited_and_given_on() {
    let (_folder, model) = model(Reference, None, 200);
    let mut engine = Engine::new(&model, EngineSettings { max_running: 2, ..settings() }).unwrap();
    for max_tokens in [2, 3, 2] {
        engine.submit(request(vec![1, 2], max_tokens)).unwrap();
    }
    assert_eq!(tokens_of(&engine.step().unwrap()), [0, 1]);
    assert_eq!((engine.running(), engine.waiting()), (2, 1));
    assert_eq!(tokens_of(&engine.step().unwrap()), [0, 1]);
    assert_eq!(tokens_of(&engine.step().unwrap()), [1, 2]);
    assert_eq!(tokens_of(&engine.step().unwrap()), [2]);
    assert!(engine.is_idle() && engine.step().unwrap().is_empty());
}

#[test]
fn the_youngest_gives_way_and_comes_back() {
    let (_folder, model) = model(Reference, None, 200);
    // Three blocks of 32: each of the two starts with one and comes to need two.
    let tight = EngineSettings { cache_tokens: 96, ..settings() };
    let requests = || [request(vec![1; 30], 30), request(vec![2; 31], 30)];
    let alone = requests().map(|request| {
        let mut engine = Engine::new(&model, tight).unwrap();
        let id = engine.submit(request).unwrap();
        let mut texts = Texts::default();
        while !engine.is_idle() {
            texts.take(engine.step().unwrap());
        }
        assert_eq!(engine.preemptions(), 0);
        texts.tokens.remove(&id).unwrap()
    });
    let mut engine = Engine::new(&model, tight).unwrap();
    let ids = requests().map(|request| engine.submit(request).unwrap());
    let mut texts = Texts::default();
    while !engine.is_idle() {
        texts.take(engine.step().unwrap());
    }
    assert!(engine.preemptions() > 0);
    assert_eq!(ids.map(|id| texts.tokens.remove(&id).unwrap()), alone);
    assert_eq!(texts.finished.values().collect::<Vec<_>>(), [&Finish::Length; 2]);
}

#[test]
fn cancelled_requests_are_silent_and_give_their_blocks_back() {
    let (_folder, model) = model(Reference, None, 200);
    let tight = EngineSettings { cache_tokens: 96, ..settings() };
    let mut engine = Engine::new(&model, tight).unwrap();
    let first = engine.submit(request(vec![1; 60], 30)).unwrap();
    let second = engine.submit(request(vec![2; 60], 30)).unwrap();
    let third = engine.submit(request(vec![3; 60], 2)).unwrap();
    assert_eq!(tokens_of(&engine.step().unwrap()), [0]);
    assert_eq!((engine.running(), engine.waiting()), (1, 2));
    assert!(engine.cancel(second) && engine.cancel(first));
    assert!(!engine.cancel(first) && !engine.cancel(second));
    let events = engine.step().unwrap();
    assert_eq!(tokens_of(&events), [2]);
    let events = engine.step().unwrap();
    assert_eq!(events[1], Event::Finished { request: third, finish: Finish::Length });
    assert!(engine.is_idle() && !engine.cancel(third));
}

#[test]
fn what_the_cache_could_never_hold_is_refused() {
    let (_folder, model) = model(Reference, None, 200);
    let mut engine =
        Engine::new(&model, EngineSettings { cache_tokens: 64, ..settings() }).unwrap();
    let error = engine.submit(request(vec![1; 60], 6)).unwrap_err();
    assert_eq!(error, RequestError::Cache { needed: 65, limit: 64 });
    assert!(error.to_string().contains("65 tokens in the KV cache, which holds 64"), "{error}");
    engine.submit(request(vec![1; 60], 5)).unwrap();
    let mut steps = 0;
    while !engine.is_idle() {
        engine.step().unwrap();
        steps += 1;
    }
    assert_eq!(steps, 5);
}

#[test]
fn logits_that_are_not_finite_are_an_error_that_names_the_request() {
    let folder = folder(None, 200);
    let trained = Trained::All { input_embeddings: true };
    let mut model = Model::load(folder.path(), Arc::new(Reference), trained).unwrap();
    let table = &model.trainable().tensors()[0];
    assert_eq!(table.name, "model.embed_tokens.weight");
    // The row of token 7 alone: requests that do not read it go on.
    let start = table.range.start + 7 * table.range.len() / VOCABULARY;
    model.write(start, &[f64::NAN]);
    let mut engine = Engine::new(&model, settings()).unwrap();
    engine.submit(request(vec![1], 3)).unwrap();
    let damaged = engine.submit(request(vec![1, 7], 3)).unwrap();
    for _ in 0..2 {
        let error = engine.step().unwrap_err();
        let EngineError::NotFinite { request, position: 2, .. } = error else { panic!("{error}") };
        assert_eq!(request, damaged);
        assert!(error.to_string().contains("not finite"), "{error}");
    }
    assert!(engine.cancel(damaged));
    assert_eq!(tokens_of(&engine.step().unwrap()), [0]);
}
