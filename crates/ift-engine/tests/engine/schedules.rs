//! A text is a function of its request: random schedules give the texts of requests alone.

use crate::model::{Texts, VOCABULARY, greedy_without_cache, model};
use ift_backend::{Backend, Reference};
use ift_engine::{Engine, EngineSettings, Request, RequestId, Sampling};
use ift_model::Model;
use ift_random::{draw, stream};
use std::collections::BTreeMap;

/// Draws small numbers.
struct Random {
    stream: u64,
    index: u32,
}

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.index += 1;
        (draw(self.stream, self.index) % bound as u64) as usize
    }
}

fn random_request(random: &mut Random, id: usize) -> Request {
    let length = [1, 2, 3, 31, 32, 33, 50][random.below(7)];
    let sampling = match random.below(3) {
        0 => Sampling::GREEDY,
        1 => Sampling { temperature: 1.0, top_p: 0.9 },
        _ => Sampling { temperature: 0.7, top_p: 1.0 },
    };
    Request {
        prompt: (0..length).map(|_| random.below(VOCABULARY) as u32).collect(),
        sampling,
        max_tokens: [0, 1, 20, 40][random.below(4)],
        stop: if random.below(2) == 0 { vec![] } else { vec![3] },
        seed: 9,
        stream: id as u64,
    }
}

/// The text of a request that has an engine to itself.
fn alone<B: Backend>(model: &Model<B>, request: &Request, prefill_tokens: usize) -> Vec<u32> {
    let settings = EngineSettings { cache_tokens: 128, prefill_tokens, max_running: 1 };
    let mut engine = Engine::new(model, settings).unwrap();
    engine.submit(request.clone()).unwrap();
    let mut texts = Texts::default();
    while !engine.is_idle() {
        texts.take(engine.step().unwrap());
    }
    texts.tokens.into_values().next().unwrap()
}

/// Runs one random schedule; returns how often requests were preempted.
fn schedule<B: Backend>(model: &Model<B>, prefill_tokens: usize, seed: u64) -> u64 {
    let mut random = Random { stream: stream([seed, prefill_tokens as u64]), index: 0 };
    let settings = EngineSettings {
        cache_tokens: [96, 128, 160, 1024][random.below(4)],
        prefill_tokens,
        max_running: 1 + random.below(6),
    };
    let mut engine = Engine::new(model, settings).unwrap();
    let mut asked: BTreeMap<RequestId, Request> = BTreeMap::new();
    let mut cancelled: Vec<RequestId> = Vec::new();
    let mut texts = Texts::default();
    let mut to_come = 8;
    for steps in 0.. {
        assert!(steps < 5_000, "the engine does not come to an end");
        while to_come > 0 && (engine.is_idle() || random.below(4) == 0) {
            to_come -= 1;
            let request = random_request(&mut random, to_come);
            asked.insert(engine.submit(request.clone()).unwrap(), request);
        }
        if random.below(20) == 0 {
            let ids: Vec<RequestId> = asked.keys().copied().collect();
            let id = ids[random.below(ids.len())];
            let open = !texts.finished.contains_key(&id) && !cancelled.contains(&id);
            assert_eq!(engine.cancel(id), open);
            cancelled.extend(open.then_some(id));
        }
        if engine.is_idle() && to_come == 0 {
            break;
        }
        texts.take(engine.step().unwrap());
    }
    for (id, request) in &asked {
        let expected = alone(model, request, prefill_tokens);
        if cancelled.contains(id) {
            let text = texts.tokens.get(id).map_or(&[][..], Vec::as_slice);
            assert!(expected.starts_with(text) && !texts.finished.contains_key(id));
        } else {
            assert_eq!(texts.tokens[id], expected, "request {id} of schedule {seed}");
            assert!(texts.finished.contains_key(id));
        }
    }
    engine.preemptions()
}

#[test]
fn no_schedule_changes_a_text() {
    for window in [None, Some(5)] {
        let (_folder, model) = model(Reference, window, 100);
        let mut preemptions = 0;
        for prefill_tokens in [1, 3, 16, 256] {
            preemptions += (0..4).map(|seed| schedule(&model, prefill_tokens, seed)).sum::<u64>();
        }
        assert!(preemptions > 0, "no schedule was tight");
    }
}

/// With at most 6 tokens of prompts and 6 others no pass has more than the 12 rows up to which the
/// CPU backend gives a row the same bits in any company.
fn no_schedule_changes_a_text_on<B: Backend>(backend: fn() -> B) {
    for window in [None, Some(5)] {
        let (_folder, model) = model(backend(), window, 100);
        let mut preemptions = 0;
        for prefill_tokens in [2, 6] {
            preemptions += (0..8).map(|seed| schedule(&model, prefill_tokens, seed)).sum::<u64>();
        }
        assert!(preemptions > 0, "no schedule was tight");
    }
}

#[test]
fn no_schedule_changes_a_text_in_f32() {
    no_schedule_changes_a_text_on(|| ift_cpu::CpuF32::new(2));
}

#[test]
fn no_schedule_changes_a_text_in_bf16() {
    no_schedule_changes_a_text_on(|| ift_cpu::CpuBf16::new(2));
}

#[test]
fn the_parts_of_a_prompt_do_not_change_a_text() {
    for window in [None, Some(5)] {
        let (_folder, model) = model(Reference, window, 100);
        for length in [1, 2, 33, 50] {
            let prompt: Vec<u32> = (0..length).map(|i| (i * i % 37) as u32).collect();
            let expected = greedy_without_cache(&model, &prompt, 12);
            for prefill_tokens in [1, 2, 7, 16, 49, 50, 1000] {
                let request = crate::model::request(prompt.clone(), 12);
                assert_eq!(alone(&model, &request, prefill_tokens), expected, "{prefill_tokens}");
            }
        }
    }
}
