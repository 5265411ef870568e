//! The settings of a step.

use ift_methods::{LookAhead, Method};
use ift_parallel::{Collective, Solo};

/// The settings that all steps of a run have in common.
#[derive(Clone, Copy, Debug)]
pub struct StepSettings<'a> {
    /// The method.
    pub method: &'a Method,
    /// Seed of everything random.
    pub seed: u64,
    /// Steps of the warm-up, which λ's schedule may follow.
    pub warmup_steps: u64,
    /// `NEFTune`'s α: embeddings get uniform noise of at most `α/√(tokens·hidden)` (arXiv
    /// 2310.05914); 0 for none.
    pub noise: f64,
    /// Whether blocks are computed again in the backward pass instead of keeping their
    /// activations.
    pub recompute: bool,
    /// Most tokens in one micro-batch (a longer row is one of its own).
    pub micro_batch_tokens: usize,
    /// The processes that the step's rows are divided over.
    pub collective: &'a dyn Collective,
}

/// The settings of one step.
#[derive(Clone, Copy, Debug)]
pub struct StepContext<'a> {
    /// The method.
    pub method: &'a Method,
    /// λ of this step.
    pub lambda: f64,
    /// Seed of the run.
    pub seed: u64,
    /// Number of the step, from 0; with the seed and a token's place it names the stream of
    /// everything random.
    pub step: u64,
    /// `NEFTune`'s α, or 0.
    pub noise: f64,
    /// Whether blocks are computed again in the backward pass.
    pub recompute: bool,
    /// Most tokens in one micro-batch (a longer row is one of its own).
    pub micro_batch_tokens: usize,
    /// The processes that the step's rows are divided over.
    pub collective: &'a dyn Collective,
}

impl<'a> StepSettings<'a> {
    /// The context of a step, counted from 0.
    pub fn at(&self, step: u64) -> StepContext<'a> {
        let Self { method, seed, warmup_steps, noise, recompute, micro_batch_tokens, collective } =
            *self;
        let lambda = method.lambda_at(step, warmup_steps, seed);
        StepContext { method, lambda, seed, step, noise, recompute, micro_batch_tokens, collective }
    }
}

impl<'a> StepContext<'a> {
    /// The method without look-ahead, noise or recomputation, to measure a loss
    /// ([`crate::examine`]).
    pub fn plain(method: &'a Method, micro_batch_tokens: usize) -> Self {
        Self {
            method,
            lambda: 0.0,
            seed: 0,
            step: 0,
            noise: 0.0,
            recompute: false,
            micro_batch_tokens,
            collective: &Solo,
        }
    }

    /// The look-ahead, unless nothing of it would be mixed in: with λ = 0 the second pass is the
    /// first.
    pub(crate) fn look_ahead(&self) -> Option<LookAhead> {
        self.method.look_ahead().filter(|_| self.lambda > 0.0)
    }
}
