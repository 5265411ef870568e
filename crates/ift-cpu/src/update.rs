//! The optimizer's pass over ranges of the parameters, and sums of squares of gradients.

use crate::Cpu;
use crate::arena::Buffer;
use crate::instructions::kernel;
use crate::number::Number;
use crate::parameters::Parameters;
use crate::profile::Kind;
use crate::rounding::round_copy;
use crate::scalar::Scalar;
use crate::threads::Cut;
use half::bf16;
use ift_backend::{RangeUpdate, Update};
use std::ops::Range;

/// Elements of one partial sum of squares.
const CHUNK: usize = 65_536;
/// Running sums in a chunk.
const LANES: usize = 16;

kernel! {
    /// `p`, `g`, the states and the rule are those of [`Update`]; a state that the rule does not
    /// keep is empty.
    fn update<S>(p: &mut [f32], g: &[f32], states: [&mut [f32]; 2], rule: &Update, scale: f64) {
        let [a, b] = states;
        let scale = scale as f32;
        match *rule {
            Update::RmsProp { lr, alpha, eps, momentum, weight_decay } => {
                let (alpha, one_minus_alpha) = (alpha as f32, (1.0 - alpha) as f32);
                let (lr, eps, decay) = (lr as f32, eps as f32, weight_decay as f32);
                let step = |p: f32, g: f32, v: &mut f32| {
                    let g = S::mul_add(decay, p, g * scale);
                    *v = S::mul_add(alpha, *v, one_minus_alpha * g * g);
                    g / (v.sqrt() + eps)
                };
                if momentum > 0.0 {
                    let momentum = momentum as f32;
                    for (((p, g), v), b) in p.iter_mut().zip(g).zip(a).zip(b) {
                        *b = S::mul_add(momentum, *b, step(*p, *g, v));
                        *p -= lr * *b;
                    }
                } else {
                    for ((p, g), v) in p.iter_mut().zip(g).zip(a) {
                        *p -= lr * step(*p, *g, v);
                    }
                }
            }
            Update::RmsPropBf16 { lr, alpha, eps } => {
                let (alpha, one_minus_alpha) = (alpha as f32, (1.0 - alpha) as f32);
                let (lr, eps) = (lr as f32, eps as f32);
                // No fused operation: each one is rounded as torch rounds it.
                let round = |x: f32| <bf16 as Scalar>::round(x).widen();
                for ((p, g), v) in p.iter_mut().zip(g).zip(a) {
                    let g = round(*g * scale);
                    *v = round(round(alpha * *v) + one_minus_alpha * g * g);
                    *p = round(*p + -lr * g / round(round(v.sqrt()) + eps));
                }
            }
            Update::AdamW { lr, beta1, beta2, eps, weight_decay, step } => {
                let shrink = (1.0 - lr * weight_decay) as f32;
                let rate = (lr / (1.0 - beta1.powf(step as f64))) as f32;
                let root = (1.0 / (1.0 - beta2.powf(step as f64)).sqrt()) as f32;
                let (one_minus_beta1, one_minus_beta2) =
                    ((1.0 - beta1) as f32, (1.0 - beta2) as f32);
                let (beta1, beta2) = (beta1 as f32, beta2 as f32);
                let eps = eps as f32;
                for (((p, g), m), v) in p.iter_mut().zip(g).zip(a).zip(b) {
                    let g = *g * scale;
                    *m = S::mul_add(beta1, *m, one_minus_beta1 * g);
                    *v = S::mul_add(beta2, *v, one_minus_beta2 * g * g);
                    *p = *p * shrink - rate * *m / S::mul_add(v.sqrt(), root, eps);
                }
            }
            Update::Sgd { lr, momentum, weight_decay } => {
                let (lr, momentum, decay) = (lr as f32, momentum as f32, weight_decay as f32);
                if momentum > 0.0 {
                    for ((p, g), b) in p.iter_mut().zip(g).zip(a) {
                        *b = S::mul_add(momentum, *b, S::mul_add(decay, *p, *g * scale));
                        *p -= lr * *b;
                    }
                } else {
                    for (p, g) in p.iter_mut().zip(g) {
                        *p -= lr * S::mul_add(decay, *p, *g * scale);
                    }
                }
            }
        }
    }
}

kernel! {
    /// `Σ x²`.
    fn squares<S>(x: &[f32]) -> f64 {
        let mut sums = [0.0f64; LANES];
        for chunk in x.chunks(LANES) {
            for (sum, x) in sums.iter_mut().zip(chunk) {
                *sum += f64::from(*x) * f64::from(*x);
            }
        }
        sums.iter().sum()
    }
}

/// The ranges cut into chunks, whose sums are added up in order.
fn chunks(ranges: &[Range<usize>]) -> impl Iterator<Item = Range<usize>> {
    ranges.iter().flat_map(|range| {
        let starts = range.clone().step_by(CHUNK);
        starts.map(|start| start..range.end.min(start.saturating_add(CHUNK)))
    })
}

impl<N: Number> Cpu<N> {
    pub(crate) fn update_ranges(
        &self,
        parameters: &mut Parameters<N>,
        gradient: &[f32],
        states: &mut [Buffer<f32>],
        updates: &[RangeUpdate],
        scale: f64,
    ) {
        let elements: usize = updates.iter().map(|update| update.range.len()).sum();
        let _timer = self.meter.start(Kind::Optimizer, 10 * elements as u64);
        let Parameters { exact, copy } = parameters;
        for RangeUpdate { range, rule } in updates {
            let mut states = states.iter_mut().map(|state| Cut(&mut state[range.clone()], 1));
            let (first, second) = (states.next(), states.next());
            let none = || Cut(&mut [][..], 0);
            let copy = if copy.is_empty() {
                Cut(&mut [][..], 0)
            } else {
                Cut(&mut copy[range.clone()], 1)
            };
            let outputs = (
                Cut(&mut exact[range.clone()], 1),
                copy,
                first.unwrap_or_else(none),
                second.unwrap_or_else(none),
            );
            let gradient = &gradient[range.clone()];
            self.threads.rows(range.len(), 1, outputs, |part, (p, copy, a, b)| {
                update(self.set, p, &gradient[part], [a, b], rule, scale);
                round_copy(self.set, p, copy);
            });
        }
    }

    /// Sets gradients to zero.
    pub(crate) fn clear_elements(&self, x: &mut [f32]) {
        let _timer = self.meter.start(Kind::Optimizer, 0);
        self.threads.rows(x.len(), 1, Cut(x, 1), |_, x| x.fill(0.0));
    }

    /// `Σ x²` of each range.
    pub(crate) fn squares_of(&self, x: &[f32], ranges: &[Range<usize>]) -> Vec<f64> {
        let elements: usize = ranges.iter().map(Range::len).sum();
        let _timer = self.meter.start(Kind::Optimizer, 2 * elements as u64);
        let chunks: Vec<Range<usize>> = chunks(ranges).collect();
        let mut sums = vec![0.0; chunks.len()];
        self.threads.split(sums.len(), Cut(&mut sums, 1), |i, sum| {
            sum[0] = squares(self.set, &x[chunks[i].clone()]);
        });
        let mut sums = &sums[..];
        let total = |range: &Range<usize>| {
            let (own, rest) = sums.split_at(range.len().div_ceil(CHUNK));
            sums = rest;
            own.iter().sum()
        };
        ranges.iter().map(total).collect()
    }
}
