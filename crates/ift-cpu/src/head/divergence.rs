//! The divergence between two heads, by blocks of the vocabulary: the logits of one block of both
//! heads exist at a time.

use super::blocks::{Block, ROWS, States, blocks};
use super::scores::Scores;
use crate::Cpu;
use crate::arena::reserved;
use crate::instructions::kernel;
use crate::math::{LANES, exp, total};
use crate::number::Number;
use crate::parameters::operand;
use crate::profile::Kind;
use crate::threads::Cut;
use ift_backend::{BackendError, Distributions, Divergence, DivergenceGradient, Head, Weight};

type Result<T> = std::result::Result<T, BackendError>;

/// Hidden states and the log-sum-exps of their logits.
#[derive(Clone, Copy)]
struct Scored<'a, N> {
    states: States<'a, N>,
    log_normalizers: &'a [f64],
}

impl<'a, N: Number> Scored<'a, N> {
    fn new(of: Distributions<'a, Cpu<N>>) -> Self {
        let states = States { width: of.width, x: of.x, weight: operand(of.weight) };
        Self { states, log_normalizers: &of.scores.log_normalizers }
    }
}

/// What a divergence adds to the gradient of the logits.
pub(super) struct Term<'a, N> {
    reference: Scored<'a, N>,
    kind: Divergence,
    d_divergences: &'a [f64],
}

impl<'a, N: Number> Term<'a, N> {
    pub(super) fn new(of: &DivergenceGradient<'a, Cpu<N>>) -> Self {
        Self {
            reference: Scored::new(of.reference),
            kind: of.kind,
            d_divergences: of.d_divergences,
        }
    }
}

/// A log-sum-exp in two parts, `f32` each. A logit minus the first is nearly exact where it
/// matters, near the log-sum-exp; the second adds what `f32` leaves out. A divergence may be far
/// smaller than the rounding error of the log-sum-exp in `f32`.
#[derive(Clone, Copy)]
struct Normalizer(f32, f32);

impl Normalizer {
    fn new(normalizer: f64) -> Self {
        let first = normalizer as f32;
        Self(first, (normalizer - f64::from(first)) as f32)
    }

    /// The log-probability of a logit.
    #[inline(always)]
    fn of(self, logit: f32) -> f32 {
        (logit - self.0) - self.1
    }
}

kernel! {
    /// `Σ exp(a)·(a - b)` with `a` and `b` the log-probabilities of two rows of logits.
    fn terms<S>(
        from: &[f32],
        from_normalizer: Normalizer,
        to: &[f32],
        to_normalizer: Normalizer,
    ) -> f32 {
        let mut sums = [0.0; LANES];
        for (from, to) in from.chunks(LANES).zip(to.chunks(LANES)) {
            for ((sum, from), to) in sums.iter_mut().zip(from).zip(to) {
                let (a, b) = (from_normalizer.of(*from), to_normalizer.of(*to));
                *sum = S::mul_add(exp::<S>(a), a - b, *sum);
            }
        }
        total(sums)
    }
}

kernel! {
    /// `d_divergence·(p - r)` in place of the reference's logits.
    fn forward_term<S>(
        p: &[f32],
        p_normalizer: Normalizer,
        r: &mut [f32],
        r_normalizer: Normalizer,
        d_divergence: f32,
    ) {
        for (p, r) in p.iter().zip(r) {
            *r = d_divergence * (exp::<S>(p_normalizer.of(*p)) - exp::<S>(r_normalizer.of(*r)));
        }
    }
}

kernel! {
    /// `d_divergence·p·(log p - log r - value)` in place of the reference's logits.
    fn reverse_term<S>(
        p: &[f32],
        p_normalizer: Normalizer,
        r: &mut [f32],
        r_normalizer: Normalizer,
        d_divergence: f32,
        value: f32,
    ) {
        for (p, r) in p.iter().zip(r) {
            let log_p = p_normalizer.of(*p);
            *r = d_divergence * exp::<S>(log_p) * (log_p - r_normalizer.of(*r) - value);
        }
    }
}

impl<N: Number> Cpu<N> {
    /// Sets the divergences of the scores.
    pub(crate) fn add_divergences(
        &self,
        kind: Divergence,
        head: Head,
        (x, weight): (&[N], Weight<Self>),
        scores: &mut Scores,
        reference: Distributions<Self>,
    ) -> Result<()> {
        let Head { width, vocabulary } = head;
        let rows = scores.targets.len();
        let products = rows * vocabulary * (width + reference.width);
        let _timer = self.meter.start(Kind::Head, 2 * products as u64);
        let states = States { width, x, weight: operand(weight) };
        let policy = Scored { states, log_normalizers: &scores.log_normalizers };
        let reference = Scored::new(reference);
        let (from, to) = match kind {
            Divergence::Forward => (&reference, &policy),
            Divergence::Reverse => (&policy, &reference),
        };
        let mut values = reserved("divergences", rows)?;
        values.resize(rows, 0.0);
        let mut from_logits = self.logits_buffer(rows, vocabulary)?;
        let mut to_logits = self.logits_buffer(rows, vocabulary)?;
        for (part, values) in values.chunks_mut(ROWS).enumerate() {
            let (n, start) = (values.len(), part * ROWS);
            for block in blocks(vocabulary) {
                let size = block.size;
                self.logits_block(&from.states, start, n, block, &mut from_logits)?;
                self.logits_block(&to.states, start, n, block, &mut to_logits)?;
                self.threads.rows(n, 2 * size, Cut(&mut *values, 1), |rows, values| {
                    for (row, value) in rows.zip(values) {
                        let logits = row * size..(row + 1) * size;
                        let normalizer =
                            |of: &Scored<N>| Normalizer::new(of.log_normalizers[start + row]);
                        let (a, b) = (&from_logits[logits.clone()], &to_logits[logits]);
                        *value +=
                            f64::from(terms(self.set, a, normalizer(from), b, normalizer(to)));
                    }
                });
            }
        }
        scores.host.divergences = values;
        Ok(())
    }

    /// What a divergence adds to the gradient of a block of logits, for the rows from `start` on.
    pub(super) fn divergence_term(
        &self,
        of: &Term<N>,
        scores: &Scores,
        start: usize,
        block: Block,
        logits: &[f32],
        term: &mut [f32],
    ) -> Result<()> {
        let size = block.size;
        let n = logits.len() / size;
        self.logits_block(&of.reference.states, start, n, block, term)?;
        self.threads.rows(n, 2 * size, Cut(term, size), |rows, term| {
            for (row, r) in rows.zip(term.chunks_exact_mut(size)) {
                let p = &logits[row * size..(row + 1) * size];
                let row = start + row;
                let d_divergence = of.d_divergences[row] as f32;
                let p_normalizer = Normalizer::new(scores.log_normalizers[row]);
                let r_normalizer = Normalizer::new(of.reference.log_normalizers[row]);
                match of.kind {
                    Divergence::Forward => {
                        forward_term(self.set, p, p_normalizer, r, r_normalizer, d_divergence);
                    }
                    Divergence::Reverse => {
                        let value = scores.host.divergences[row] as f32;
                        reverse_term(
                            self.set,
                            p,
                            p_normalizer,
                            r,
                            r_normalizer,
                            d_divergence,
                            value,
                        );
                    }
                }
            }
        });
        Ok(())
    }
}
