//! A tiny model, and texts made without the engine.

use ift_backend::{Backend, NumberType, Storage};
use ift_engine::{Event, Finish, Request, RequestId, Sampling};
use ift_model::{Keep, Model, PastOf, Sequences, Trained};
use std::collections::BTreeMap;
use std::sync::Arc;

pub const VOCABULARY: usize = 37;

/// A model with random weights, and the folder it lies in.
pub fn model<B: Backend>(
    backend: B,
    window: Option<usize>,
    context: usize,
) -> (tempfile::TempDir, Model<B>) {
    let folder = folder(window, context);
    let trained = Trained::Nothing { storage: Storage::Exact };
    let model = Model::load(folder.path(), Arc::new(backend), trained).unwrap();
    (folder, model)
}

/// A model folder with random weights.
pub fn folder(window: Option<usize>, context: usize) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let config = serde_json::json!({"model_type": "mistral", "vocab_size": VOCABULARY,
        "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "initializer_range": 0.4,
        "sliding_window": window, "max_position_embeddings": context});
    let config = config.as_object().unwrap().clone();
    ift_model::random::create(config, 3, NumberType::F32, folder.path()).unwrap();
    folder
}

pub fn request(prompt: Vec<u32>, max_tokens: usize) -> Request {
    let sampling = Sampling::GREEDY;
    Request { prompt, sampling, max_tokens, stop: vec![], seed: 5, stream: 0 }
}

/// The greedy text, for which the whole sequence is run again for each token.
pub fn greedy_without_cache<B: Backend>(
    model: &Model<B>,
    prompt: &[u32],
    count: usize,
) -> Vec<u32> {
    let mut tokens = prompt.to_vec();
    for _ in 0..count {
        let mut sequences = Sequences::default();
        sequences.push(&tokens);
        let pass = model.forward(&sequences, None, &PastOf::Nothing, Keep::Nothing).unwrap();
        let logits = model.logits(&pass, &[tokens.len() - 1]).unwrap();
        let mut best = 0;
        for (token, logit) in logits.iter().enumerate() {
            if *logit > logits[best] {
                best = token;
            }
        }
        tokens.push(best as u32);
    }
    tokens.split_off(prompt.len())
}

/// The texts that events tell of.
#[derive(Default)]
pub struct Texts {
    pub tokens: BTreeMap<RequestId, Vec<u32>>,
    pub finished: BTreeMap<RequestId, Finish>,
}

impl Texts {
    pub fn take(&mut self, events: Vec<Event>) {
        for event in events {
            match event {
                Event::Token { request, token } => {
                    assert!(!self.finished.contains_key(&request), "a token after the end");
                    self.tokens.entry(request).or_default().push(token);
                }
                Event::Finished { request, finish } => {
                    self.tokens.entry(request).or_default();
                    assert!(self.finished.insert(request, finish).is_none(), "finished twice");
                }
            }
        }
    }
}
