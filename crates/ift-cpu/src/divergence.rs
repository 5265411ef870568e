//! The divergence between two heads, by blocks of the vocabulary: both heads' logits of a block
//! exist at a time.

use crate::head::{BLOCK, ROWS, blocks};
use crate::instructions::kernel;
use crate::math::{LANES, exp, total};
use crate::number::Number;
use crate::stored::Stored;
use crate::threads::Cut;
use crate::{Cpu, Weight};
use ift_backend::{Distributions, Divergence, DivergenceGradient};

/// A head over hidden states; see [`Distributions`].
#[derive(Clone, Copy)]
pub(crate) struct Head<'a, N> {
    width: usize,
    x: &'a [N],
    weight: Stored<'a, N>,
    log_normalizers: &'a [f64],
}

impl<'a, N: Number> From<Distributions<'a, crate::Buffer<N>, Weight<N>>> for Head<'a, N> {
    fn from(of: Distributions<'a, crate::Buffer<N>, Weight<N>>) -> Self {
        let Distributions { width, x, weight, log_normalizers } = of;
        Self { width, x, weight: weight.operand(), log_normalizers }
    }
}

/// What a divergence adds to the logits' gradient; see [`DivergenceGradient`].
pub(crate) struct Share<'a, N> {
    pub reference: Head<'a, N>,
    kind: Divergence,
    values: &'a [f64],
    slopes: &'a [f64],
}

impl<'a, N: Number> From<DivergenceGradient<'a, crate::Buffer<N>, Weight<N>>> for Share<'a, N> {
    fn from(of: DivergenceGradient<'a, crate::Buffer<N>, Weight<N>>) -> Self {
        let DivergenceGradient { reference, kind, values, slopes } = of;
        Self { reference: reference.into(), kind, values, slopes }
    }
}

/// A normaliser in two parts, `f32` each: a logit less the first is nearly exact where it matters,
/// near the normaliser, and the second adds what `f32` leaves out. A divergence may be far smaller
/// than an `f32` of the normaliser is off.
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
    fn terms<S>(from: &[f32], from_normalizer: Normalizer, to: &[f32], to_normalizer: Normalizer) -> f32 {
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
    /// `slope·(p - r)` in the place of the reference's logits.
    fn forward_share<S>(p: &[f32], p_normalizer: Normalizer, r: &mut [f32], r_normalizer: Normalizer, slope: f32) {
        for (p, r) in p.iter().zip(r) {
            *r = slope * (exp::<S>(p_normalizer.of(*p)) - exp::<S>(r_normalizer.of(*r)));
        }
    }
}

kernel! {
    /// `slope·p·(log p - log r - value)` in the place of the reference's logits.
    fn reverse_share<S>(
        p: &[f32],
        p_normalizer: Normalizer,
        r: &mut [f32],
        r_normalizer: Normalizer,
        slope: f32,
        value: f32,
    ) {
        for (p, r) in p.iter().zip(r) {
            let log_p = p_normalizer.of(*p);
            *r = slope * exp::<S>(log_p) * (log_p - r_normalizer.of(*r) - value);
        }
    }
}

impl<N: Number> Cpu<N> {
    /// The logits of a block for the rows from `start` on.
    fn logits_of(
        &self,
        head: &Head<N>,
        start: usize,
        n: usize,
        (first, size): (usize, usize),
        logits: &mut [f32],
    ) {
        let Head { width, x, weight, .. } = *head;
        self.logits_block(
            n,
            width,
            &x[start * width..(start + n) * width],
            weight,
            first,
            size,
            logits,
        );
    }

    pub(crate) fn divergences(
        &self,
        vocabulary: usize,
        policy: &Head<N>,
        reference: &Head<N>,
        kind: Divergence,
    ) -> Vec<f64> {
        let (from, to) = match kind {
            Divergence::Forward => (reference, policy),
            Divergence::Reverse => (policy, reference),
        };
        let mut values = vec![0.0; policy.log_normalizers.len()];
        let most = values.len().min(ROWS) * BLOCK.min(vocabulary);
        let (mut from_logits, mut to_logits) = (self.pool.take(most), self.pool.take(most));
        for (part, values) in values.chunks_mut(ROWS).enumerate() {
            let (n, start) = (values.len(), part * ROWS);
            for (first, size) in blocks(vocabulary) {
                self.logits_of(from, start, n, (first, size), &mut from_logits);
                self.logits_of(to, start, n, (first, size), &mut to_logits);
                self.threads.rows(n, 2 * size, Cut(&mut *values, 1), |rows, values| {
                    for (row, value) in rows.zip(values) {
                        let logits = row * size..(row + 1) * size;
                        let normalizer =
                            |head: &Head<N>| Normalizer::new(head.log_normalizers[start + row]);
                        let (a, b) = (&from_logits[logits.clone()], &to_logits[logits]);
                        *value +=
                            f64::from(terms(self.set, a, normalizer(from), b, normalizer(to)));
                    }
                });
            }
        }
        values
    }

    /// What a divergence adds to the gradient of a block of logits, for the rows from `start` on.
    pub(crate) fn divergence_share(
        &self,
        of: &Share<N>,
        log_normalizers: &[f64],
        start: usize,
        (first, size): (usize, usize),
        logits: &[f32],
        share: &mut [f32],
    ) {
        let n = logits.len() / size;
        self.logits_of(&of.reference, start, n, (first, size), share);
        self.threads.rows(n, 2 * size, Cut(share, size), |rows, share| {
            for (row, r) in rows.zip(share.chunks_exact_mut(size)) {
                let p = &logits[row * size..(row + 1) * size];
                let row = start + row;
                let (p_normalizer, slope) =
                    (Normalizer::new(log_normalizers[row]), of.slopes[row] as f32);
                let r_normalizer = Normalizer::new(of.reference.log_normalizers[row]);
                match of.kind {
                    Divergence::Forward => {
                        forward_share(self.set, p, p_normalizer, r, r_normalizer, slope)
                    }
                    Divergence::Reverse => {
                        let value = of.values[row] as f32;
                        reverse_share(self.set, p, p_normalizer, r, r_normalizer, slope, value);
                    }
                }
            }
        });
    }
}
