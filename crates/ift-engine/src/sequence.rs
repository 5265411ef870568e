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
/// and is run again, so that the bits of a text are independent of the other requests of a batch.
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

    /// The tokens that are run next: one of the parts of the prompt, which have at most `most`
    /// tokens each, then one token at a time.
    pub fn next(&self, most: usize) -> Range<usize> {
        let done = self.cached.len();
        let mut end = 0;
        if let Some(part) = self.parts(most).find(|part| {
            end += part;
            end > done
        }) {
            return end - part..end;
        }
        done..done + 1
    }

    /// The lengths of the parts in which the prompt is run. They are equal but for one token,
    /// because backends compute a few queries by another order of sums than many: a short rest
    /// would have other bits.
    fn parts(&self, most: usize) -> impl Iterator<Item = usize> {
        let (prompt, parts) = (self.prompt, self.prompt.div_ceil(most.max(1)));
        (0..parts).map(move |part| (part + 1) * prompt / parts - part * prompt / parts)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn sequence(prompt: usize) -> Sequence {
        Sequence {
            id: RequestId(0),
            tokens: vec![1; prompt],
            prompt,
            limit: 3,
            sampling: Sampling::GREEDY,
            stop: vec![],
            random: generator(0, 0),
            cached: CachedSequence::default(),
            finished: false,
        }
    }

    #[test]
    fn the_parts_of_a_prompt_are_equal_and_leave_nothing_out() {
        for (prompt, most, expected) in [
            (1, 8, vec![1]),
            (8, 8, vec![8]),
            (9, 8, vec![4, 5]),
            (17, 8, vec![5, 6, 6]),
            (3, 1, vec![1, 1, 1]),
            (2, 0, vec![1, 1]),
        ] {
            assert_eq!(sequence(prompt).parts(most).collect::<Vec<_>>(), expected);
        }
    }

    #[test]
    fn the_end_is_reported_once_and_a_stop_token_is_no_part_of_the_text() {
        let mut events = Vec::new();
        let mut short = Sequence { limit: 2, ..sequence(1) };
        short.add_token(&[0.0, 1.0], &mut events);
        short.add_token(&[2.0, 1.0], &mut events);
        let request = RequestId(0);
        let token = |token| Event::Token { request, token };
        let finished = |finish| Event::Finished { request, finish };
        assert_eq!(events, [token(1), token(0), finished(Finish::Length)]);
        assert!(short.finished && short.tokens == [1, 1, 0]);

        let mut events = Vec::new();
        let mut stopped = Sequence { stop: vec![1], ..sequence(1) };
        stopped.add_token(&[0.0, 1.0], &mut events);
        assert_eq!(events, [finished(Finish::Stop)]);
        assert!(stopped.finished && stopped.tokens == [1]);
    }
}
