//! Operations with random draws: dropout, and noise on embeddings.

use crate::Cpu;
use crate::inputs::Inputs;
use crate::instructions::kernel;
use crate::number::Number;
use crate::profile::Kind;
use crate::threads::Cut;
use ift_backend::Dropout;
use ift_random::{DRAWS, draw, fraction, part_stream};

kernel! {
    /// `out = factor·x`, 0 where the draw is below `first_kept`.
    fn drop_some<S, N: Number>(x: &[N], stream: u64, first_kept: u64, factor: f32, out: &mut [N]) {
        for (i, (out, x)) in out.iter_mut().zip(x).enumerate() {
            let kept = N::round(x.widen() * factor);
            *out = if draw(stream, i as u32) >= first_kept { kept } else { N::zeroed() };
        }
    }
}

kernel! {
    /// `x += magnitude·(2·u - 1)`.
    fn disturb<S, N: Number>(x: &mut [N], stream: u64, magnitude: f64) {
        for (i, x) in x.iter_mut().enumerate() {
            let noise = magnitude * (2.0 * fraction(draw(stream, i as u32)) - 1.0);
            *x = N::round(x.widen() + noise as f32);
        }
    }
}

/// The lowest draw whose fraction in `(0, 1)` is not below `rate`; fractions rise with draws.
fn first_draw(rate: f64) -> u64 {
    let (mut below, mut at_least) = (0, DRAWS);
    while below < at_least {
        let middle = u64::midpoint(below, at_least);
        if fraction(middle) < rate {
            below = middle + 1;
        } else {
            at_least = middle;
        }
    }
    at_least
}

impl<N: Number> Cpu<N> {
    pub(crate) fn dropout_impl(&self, dropout: Dropout, inputs: &Inputs, x: &[N], out: &mut [N]) {
        let Dropout { width, rate, part } = dropout;
        let _timer = self.meter.start(Kind::Elementwise, (inputs.len() * width) as u64);
        let (first_kept, factor) = (first_draw(rate), (1.0 / (1.0 - rate)) as f32);
        self.threads.rows(inputs.len(), 2 * width, Cut(out, width), |rows, out| {
            for (row, out) in rows.zip(out.chunks_exact_mut(width)) {
                let stream = part_stream(inputs.streams[row], part);
                let x = &x[row * width..(row + 1) * width];
                drop_some(self.set, x, stream, first_kept, factor, out);
            }
        });
    }

    pub(crate) fn add_noise_impl(&self, width: usize, part: u64, inputs: &Inputs, x: &mut [N]) {
        if inputs.noise.is_empty() {
            return;
        }
        let _timer = self.meter.start(Kind::Embedding, 2 * (inputs.len() * width) as u64);
        self.threads.rows(inputs.len(), 2 * width, Cut(x, width), |rows, x| {
            for (row, x) in rows.zip(x.chunks_exact_mut(width)) {
                let stream = part_stream(inputs.streams[row], part);
                disturb(self.set, x, stream, inputs.noise[row]);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ift_random::uniform;

    #[test]
    fn draws_are_dropped_exactly_where_they_are_below_the_rate() {
        for rate in [0.0, 1e-17, 1e-9, 0.05, 0.1, 1.0 / 3.0, 0.5, 0.999_999, 1.0 - 1e-16] {
            let first = first_draw(rate);
            assert!(first == DRAWS || fraction(first) >= rate, "{rate}");
            assert!(first == 0 || fraction(first - 1) < rate, "{rate}");
            let (stream, ids) = (rate.to_bits(), 0..2000);
            assert!(
                ids.into_iter().all(|i| (draw(stream, i) < first) == (uniform(stream, i) < rate)),
                "{rate}"
            );
        }
    }
}
