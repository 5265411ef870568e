//! The engine: requests join and leave at any step.

use crate::sampling::not_finite;
use crate::sequence::Sequence;
use crate::{EngineError, Event, Finish, Request, RequestError, RequestId};
use ift_backend::{Backend, BackendError};
use ift_model::{Cache, Keep, Model, ModelError};
use std::collections::VecDeque;
use std::ops::Range;

/// How much an engine does at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EngineSettings {
    /// Most tokens in the KV cache, of all requests together. Its memory is taken when it is
    /// needed.
    pub cache_tokens: usize,
    /// Most tokens of prompts in a step, at least 1; longer prompts take several steps. Requests
    /// that are past their prompt add one token each.
    pub prefill_tokens: usize,
    /// Most requests that are run at a time, at least 1; others wait.
    pub max_running: usize,
}

impl Default for EngineSettings {
    fn default() -> Self {
        Self { cache_tokens: 1 << 16, prefill_tokens: 2048, max_running: 256 }
    }
}

/// Generates texts for any number of requests at a time.
///
/// Requests are served in the order in which they came: one is admitted when a place and blocks of
/// the KV cache for its prompt are free. When a running request needs a block and none is free,
/// the youngest running one is preempted: it gives its blocks back, waits in front of the
/// queue and is run again from its prompt, with the tokens it has. The oldest request therefore
/// always makes progress, and since none is accepted that the cache could not hold alone, every
/// request finishes.
///
/// A text depends on its request and [`EngineSettings::prefill_tokens`] alone: neighbours, the
/// time of joining, the size of the cache and preemption do not change it (beyond the rounding of
/// the backend, as the crate's documentation says).
///
/// ```
/// # use ift_backend::{NumberType, Reference};
/// # use ift_engine::{Engine, EngineSettings, Event, Request, Sampling};
/// # use std::sync::Arc;
/// # let folder = tempfile::tempdir()?;
/// # let config = serde_json::json!({"model_type": "llama", "vocab_size": 20, "hidden_size": 8,
/// #     "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2});
/// # let config = config.as_object().unwrap().clone();
/// # ift_model::random::create(config, 1, NumberType::F32, folder.path())?;
/// # let trained = ift_model::Trained::Nothing { storage: ift_backend::Storage::Exact };
/// # let model = ift_model::Model::load(folder.path(), Arc::new(Reference), trained)?;
/// let mut engine = Engine::new(&model, EngineSettings::default())?;
/// let request = engine.submit(Request {
///     prompt: vec![1, 2, 3],
///     sampling: Sampling::GREEDY,
///     max_tokens: 5,
///     stop: vec![],
///     seed: 0,
///     stream: 0,
/// })?;
/// let mut text = Vec::new();
/// while !engine.is_idle() {
///     for event in engine.step()? {
///         match event {
///             Event::Token { token, .. } => text.push(token),
///             Event::Finished { request: finished, .. } => assert_eq!(finished, request),
///         }
///     }
/// }
/// assert_eq!(text.len(), 5);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Engine<'a, B: Backend> {
    model: &'a Model<B>,
    settings: EngineSettings,
    cache: Cache<B>,
    /// Oldest first; all younger than those that are running.
    waiting: VecDeque<Sequence>,
    /// Oldest first.
    running: Vec<Sequence>,
    /// Of a step that is not complete yet.
    events: Vec<Event>,
    next_id: u64,
    preemptions: u64,
}

/// What a running request does in a step.
struct Part {
    /// Its index among the running.
    index: usize,
    /// The tokens that are run.
    tokens: Range<usize>,
}

impl<'a, B: Backend> Engine<'a, B> {
    /// An engine without requests.
    ///
    /// # Errors
    /// If memory runs out.
    pub fn new(model: &'a Model<B>, settings: EngineSettings) -> Result<Self, ModelError> {
        Ok(Self {
            model,
            settings,
            cache: Cache::new(model, settings.cache_tokens)?,
            waiting: VecDeque::new(),
            running: Vec::new(),
            events: Vec::new(),
            next_id: 0,
            preemptions: 0,
        })
    }

    /// Takes a request in; it is run from the next step on, as soon as there is room.
    ///
    /// # Errors
    /// If the prompt is empty, fills the model's context or has a token outside of the
    /// vocabulary; if `sampling` cannot be used; if the cache could not hold the text.
    pub fn submit(&mut self, request: Request) -> Result<RequestId, RequestError> {
        let id = RequestId(self.next_id);
        let sequence = Sequence::new(id, request, self.model.config(), self.cache.limit())?;
        self.waiting.push_back(sequence);
        self.next_id += 1;
        Ok(id)
    }

    /// Takes a request out, whether it waits or runs; no event is reported of it any more. `false`
    /// if there is none of that name, because it has finished.
    pub fn cancel(&mut self, request: RequestId) -> bool {
        if let Some(index) = self.running.iter().position(|s| s.id == request) {
            let mut sequence = self.running.remove(index);
            self.cache.release(&mut sequence.cached);
            return true;
        }
        let index = self.waiting.iter().position(|s| s.id == request);
        index.and_then(|index| self.waiting.remove(index)).is_some()
    }

    /// Whether there is nothing to do.
    pub fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.running.is_empty()
    }

    /// Requests that wait, preempted ones included.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Requests that are in the KV cache.
    pub fn running(&self) -> usize {
        self.running.len()
    }

    /// How often a request was preempted.
    pub fn preemptions(&self) -> u64 {
        self.preemptions
    }

    /// Runs the model once: the next part of every prompt that the budget allows, and the next
    /// token of every other running request. Events come in the order of the requests.
    ///
    /// # Errors
    /// If memory runs out for a request that nothing else can make room for, or for the pass; or
    /// if the logits of a token are not finite. No token is lost then: the step can be taken
    /// again, after [`Engine::cancel`] has made room or taken the request out.
    pub fn step(&mut self) -> Result<Vec<Event>, EngineError> {
        self.admit()?;
        let parts = self.plan()?;
        if !parts.is_empty() {
            self.run(&parts)?;
        }
        Ok(std::mem::take(&mut self.events))
    }

    /// Makes a pass over parts of running requests and gives those a token that are run to their
    /// end.
    fn run(&mut self, parts: &[Part]) -> Result<(), EngineError> {
        let inputs = parts.iter().map(|part| {
            let sequence = &self.running[part.index];
            (&sequence.cached, &sequence.tokens[part.tokens.clone()])
        });
        let inputs = self.cache.next(inputs);
        let pass = self.model.forward(&inputs, None, &self.cache.past(), Keep::KeysAndValues)?;

        let is_last = |part: &Part| part.tokens.end == self.running[part.index].tokens.len();
        let complete: Vec<bool> = parts.iter().map(is_last).collect();
        let segments = pass.sequences().segments.iter().zip(&complete);
        let positions: Vec<usize> = segments
            .filter(|(_, complete)| **complete)
            .map(|(segment, _)| segment.start + segment.len - 1)
            .collect();
        let logits =
            if positions.is_empty() { Vec::new() } else { self.model.logits(&pass, &positions)? };

        // Checked before anything changes, so that the step can be taken again.
        let vocabulary = self.model.config().vocabulary;
        let ends = parts.iter().zip(&complete).filter(|(_, complete)| **complete);
        for ((part, _), logits) in ends.zip(logits.chunks_exact(vocabulary)) {
            if let Some((token, logit)) = not_finite(logits) {
                let (request, position) = (self.running[part.index].id, part.tokens.end);
                return Err(EngineError::NotFinite { request, position, token, logit });
            }
        }

        let mut planned = vec![false; self.running.len()];
        for part in parts {
            planned[part.index] = true;
        }
        let sequences = self.running.iter_mut().zip(planned).filter(|(_, planned)| *planned);
        self.cache.extend(self.model, &pass, sequences.map(|(sequence, _)| &mut sequence.cached));
        drop(pass);

        let complete = parts.iter().zip(complete).filter(|(_, complete)| *complete);
        let logits = logits.chunks_exact(vocabulary);
        for ((part, _), logits) in complete.zip(logits) {
            self.running[part.index].add_token(logits, &mut self.events);
        }
        self.running.retain_mut(|sequence| {
            if sequence.finished {
                self.cache.release(&mut sequence.cached);
            }
            !sequence.finished
        });
        Ok(())
    }

    /// Moves waiting requests to the running ones while there is room for all their tokens. Where
    /// others run, each of them can then get another block too: else the new one would soon be
    /// preempted. Memory that is short is no room while others run: they go on.
    fn admit(&mut self) -> Result<(), ModelError> {
        while let Some(first) = self.waiting.front_mut() {
            if first.is_full() {
                let (request, finish) = (first.id, Finish::Length);
                self.events.push(Event::Finished { request, finish });
                self.waiting.pop_front();
                continue;
            }
            let spare = self.running.len() * Cache::<B>::BLOCK;
            let wanted = first.tokens.len().next_multiple_of(Cache::<B>::BLOCK) + spare;
            if self.running.len() >= self.settings.max_running.max(1)
                || (spare > 0 && wanted > self.cache.free())
            {
                break;
            }
            let reserved = self.cache.reserve(self.model, &mut first.cached, first.tokens.len());
            if !has_room(reserved, self.running.is_empty())? {
                break;
            }
            self.running.extend(self.waiting.pop_front());
        }
        Ok(())
    }

    /// What every running request does in this step, with room in the cache for it. Where memory
    /// is short and several run, the youngest gives its blocks back, as where no block is free.
    fn plan(&mut self) -> Result<Vec<Part>, ModelError> {
        let budget = self.settings.prefill_tokens.max(1);
        let (mut parts, mut prefill, mut index) = (Vec::new(), 0, 0);
        while index < self.running.len() {
            let sequence = &mut self.running[index];
            let tokens = sequence.next(budget);
            let prompt = if sequence.in_prompt() { tokens.len() } else { 0 };
            if prefill + prompt > budget {
                index += 1;
                continue;
            }
            let reserved = self.cache.reserve(self.model, &mut sequence.cached, tokens.end);
            if has_room(reserved, self.running.len() == 1)? {
                prefill += prompt;
                parts.push(Part { index, tokens });
                index += 1;
            } else if let Some(mut youngest) = self.running.pop() {
                // Perhaps the very request that needs the room; else it is tried again.
                self.cache.release(&mut youngest.cached);
                self.waiting.push_front(youngest);
                self.preemptions += 1;
            }
        }
        Ok(parts)
    }
}

/// What [`Cache::reserve`] said; too little memory is no room, unless the request is `alone`: then
/// waiting for others would not end.
fn has_room(reserved: Result<bool, ModelError>, alone: bool) -> Result<bool, ModelError> {
    match reserved {
        Err(ModelError::Backend(BackendError::OutOfMemory { .. })) if !alone => Ok(false),
        reserved => reserved,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_that_is_short_is_no_room_while_others_run() {
        let short = || Err(BackendError::OutOfMemory { what: "the KV cache", bytes: 1 }.into());
        assert!(!has_room(short(), false).unwrap());
        assert!(matches!(has_room(short(), true), Err(ModelError::Backend(_))));
        assert!(has_room(Ok(true), false).unwrap() && !has_room(Ok(false), true).unwrap());
        assert!(has_room(Err(ModelError::NotKept), false).is_err());
    }
}
