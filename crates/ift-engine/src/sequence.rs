//! A request that was accepted: its tokens, and which of them the model runs next.

use crate::{Event, Finish, Request, RequestError, RequestId, Sampling};
use ift_model::{CachedSequence, Config};
use ift_random::generator;
use rand_chacha::ChaCha8Rng;
use std::ops::Range;

/// The state of a request.
///
/// The parts in which its tokens are run depend on the request alone, never on its neighbours:
/// the prompt in equal parts, then one token at a time. They stay the same when it was preempted
/// and is run again, so that a text has the same bits in any company.
pub(crate) struct Sequence {
    pub id: RequestId,
    /// The prompt and the text so far.
    pub tokens: Vec<u32>,
    /// Tokens of the prompt.
    prompt: usize,
    /// Most tokens that are added.
    limit: usize,
    sampling: Sampling,
    stop: Vec<u32>,
    random: ChaCha8Rng,
    pub cached: CachedSequence,
    /// Whether the text is complete.
    pub finished: bool,
}

impl Sequence {
    /// Checks a request against a model and the limit of the cache.
    pub fn new(
        id: RequestId,
        request: Request,
        config: &Config,
        cache: usize,
    ) -> Result<Self, RequestError> {
        let Request { prompt, sampling, max_tokens, stop, seed, stream } = request;
        let (context, vocabulary) = (config.max_positions, config.vocabulary);
        if prompt.is_empty() {
            return Err(RequestError::EmptyPrompt);
        }
        if prompt.len() >= context {
            return Err(RequestError::TooLong { tokens: prompt.len(), context });
        }
        if let Some(&token) = prompt.iter().find(|&&t| t as usize >= vocabulary) {
            return Err(RequestError::Token { token, vocabulary });
        }
        if let Some((field, value, expected)) = sampling.fault() {
            return Err(RequestError::Sampling { field, value, expected });
        }
        // The prediction of the context's last position is a token too.
        let limit = max_tokens.min(context - prompt.len() + 1);
        let needed = prompt.len() + limit.saturating_sub(1);
        if needed > cache {
            return Err(RequestError::Cache { needed, limit: cache });
        }
        Ok(Self {
            id,
            prompt: prompt.len(),
            tokens: prompt,
            limit,
            sampling,
            stop,
            random: generator(seed, stream),
            cached: CachedSequence::default(),
            finished: false,
        })
    }

    /// Whether no token is to be added.
    pub fn is_full(&self) -> bool {
        self.tokens.len() - self.prompt >= self.limit
    }

    /// Whether the prompt is not in the cache yet.
    pub fn in_prompt(&self) -> bool {
        self.cached.len() < self.prompt
    }

    /// The tokens that are run next: of the prompt as many as there are in one of the equal parts
    /// of at most `most` tokens, then one. (Equal, because backends compute one or two queries by
    /// another order of sums than many: a short rest would have other bits.)
    pub fn next(&self, most: usize) -> Range<usize> {
        let done = self.cached.len();
        if !self.in_prompt() {
            return done..done + 1;
        }
        let parts = self.prompt.div_ceil(most.max(1));
        let end = |part: usize| part * self.prompt / parts;
        let end = (1..=parts).map(end).find(|&end| end > done).unwrap_or(self.prompt);
        done..end
    }

    /// Chooses the next token from the `logits` (`[vocabulary]`) of the last one and reports it.
    pub fn add_token(&mut self, logits: &[f32], events: &mut Vec<Event>) {
        let (request, token) = (self.id, self.sampling.choose(logits, &mut self.random));
        let stops = self.stop.contains(&token);
        if !stops {
            self.tokens.push(token);
            events.push(Event::Token { request, token });
        }
        self.finished = stops || self.is_full();
        if self.finished {
            let finish = if stops { Finish::Stop } else { Finish::Length };
            events.push(Event::Finished { request, finish });
        }
    }
}
