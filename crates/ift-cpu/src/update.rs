//! The optimizer's pass over a tensor, and the norm of a gradient.

use crate::Cpu;
use crate::buffer::Buffer;
use crate::instructions::kernel;
use crate::number::{Number, round_all};
use crate::threads::Cut;
use ift_backend::Update;

/// Numbers in one partial sum of squares.
const CHUNK: usize = 65_536;
/// Running sums in a chunk.
const LANES: usize = 16;

kernel! {
    /// `p`, `g`, the states and the rule, as in [`Update`]; a state that the rule does not keep is empty.
    fn update<S>(p: &mut [f32], g: &[f32], a: &mut [f32], b: &mut [f32], rule: &Update, scale: f64) {
        let scale = scale as f32;
        match *rule {
            Update::RmsProp { lr, alpha, eps, momentum, weight_decay } => {
                let (keep, take) = (alpha as f32, (1.0 - alpha) as f32);
                let (lr, eps, decay) = (lr as f32, eps as f32, weight_decay as f32);
                let step = |p: f32, g: f32, v: &mut f32| {
                    let g = S::mul_add(decay, p, g * scale);
                    *v = S::mul_add(keep, *v, take * g * g);
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
            Update::AdamW { lr, beta1, beta2, eps, weight_decay, step } => {
                let shrink = (1.0 - lr * weight_decay) as f32;
                let rate = (lr / (1.0 - beta1.powf(step as f64))) as f32;
                let root = (1.0 / (1.0 - beta2.powf(step as f64)).sqrt()) as f32;
                let (keep1, take1, keep2, take2) =
                    (beta1 as f32, (1.0 - beta1) as f32, beta2 as f32, (1.0 - beta2) as f32);
                let eps = eps as f32;
                for (((p, g), m), v) in p.iter_mut().zip(g).zip(a).zip(b) {
                    let g = *g * scale;
                    *m = S::mul_add(keep1, *m, take1 * g);
                    *v = S::mul_add(keep2, *v, take2 * g * g);
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

kernel! {
    pub(crate) fn round_copy<S, N: Number>(exact: &[f32], copy: &mut [N]) {
        round_all(exact, copy);
    }
}

impl<N: Number> Cpu<N> {
    /// `copy` is empty or follows the weight.
    pub(crate) fn update_numbers(
        &self,
        weight: &mut [f32],
        copy: &mut [N],
        gradient: &[f32],
        states: &mut [Buffer<f32>],
        rule: &Update,
        scale: f64,
    ) {
        let n = weight.len();
        let mut states = states.iter_mut().map(|s| Cut(&mut s[..], 1));
        let (first, second) = (states.next(), states.next());
        let none = || Cut(&mut [][..], 0);
        let copy_width = usize::from(!copy.is_empty());
        let outputs = (
            Cut(weight, 1),
            Cut(copy, copy_width),
            first.unwrap_or_else(none),
            second.unwrap_or_else(none),
        );
        self.threads.rows(n, 1, outputs, |range, (p, copy, a, b)| {
            update(self.set, p, &gradient[range], a, b, rule, scale);
            round_copy(self.set, p, copy);
        });
    }

    /// `to[i] = from[i]`, rounded.
    pub(crate) fn round_numbers(&self, from: &[f32], to: &mut [N]) {
        self.threads
            .rows(to.len(), 2, Cut(to, 1), |range, to| round_copy(self.set, &from[range], to));
    }

    pub(crate) fn squares(&self, x: &[f32]) -> f64 {
        let mut sums = vec![0.0; x.len().div_ceil(CHUNK)];
        self.threads.split(sums.len(), Cut(&mut sums, 1), |i, sum| {
            sum[0] = squares(self.set, &x[i * CHUNK..x.len().min((i + 1) * CHUNK)]);
        });
        sums.iter().sum()
    }
}
