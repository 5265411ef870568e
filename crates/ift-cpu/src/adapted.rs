//! Row norms of a weight with a low-rank sum.

use crate::instructions::kernel;
use crate::math::total;
use crate::number::Number;
use crate::simd::Simd;
use crate::stored::Memory;
use crate::threads::Cut;
use crate::{Cpu, Weight};
use std::ops::Range;

/// Half the columns of a row that are summed at a time, in registers.
const HALF: usize = 32;

/// `Σ (w + Σ_k factors[k]·a[k])²` over some columns. The rows of `a` begin `distance` apart.
#[inline(always)]
fn tile<S: Simd>(w: [[f32; HALF]; 2], factors: &[f32], a: &[f32], distance: usize) -> f64 {
    let mut adapted = w;
    for (k, factor) in factors.iter().enumerate() {
        for (to, a) in adapted.as_flattened_mut().iter_mut().zip(&a[k * distance..]) {
            *to = S::mul_add(*factor, *a, *to);
        }
    }
    let [first, second] = adapted.map(|half| f64::from(total(half.map(|x| x * x))));
    first + second
}

kernel! {
    /// `Σ (w + Σ_k factors[k]·a[k])²`, rows of `a` as long as `w`.
    fn squares<S>(w: &[f32], factors: &[f32], a: &[f32]) -> f64 {
        let (tiles, rest) = w.as_chunks::<{ 2 * HALF }>();
        let mut sum = 0.0;
        for (i, columns) in tiles.iter().enumerate() {
            let (first, second) = columns.split_at(HALF);
            let mut halves = [[0.0; HALF]; 2];
            halves[0].copy_from_slice(first);
            halves[1].copy_from_slice(second);
            sum += tile::<S>(halves, factors, &a[i * 2 * HALF..], w.len());
        }
        let done = w.len() - rest.len();
        for (i, x) in rest.iter().enumerate() {
            let products = factors.iter().zip(a[done + i..].iter().step_by(w.len()));
            let x = products.fold(*x, |x, (factor, a)| S::mul_add(*factor, *a, x));
            sum += f64::from(x) * f64::from(x);
        }
        sum
    }
}

impl<N: Number> Cpu<N> {
    pub(crate) fn norms_of_adapted(
        &self,
        inputs: usize,
        rank: usize,
        weight: &Weight<N>,
        rows: Range<usize>,
        a: &Weight<N>,
        b: &Weight<N>,
        scale: f64,
    ) -> Vec<f64> {
        let (a, b) = (self.values(a, 0..rank * inputs), self.values(b, 0..rows.len() * rank));
        let mut norms = vec![0.0; rows.len()];
        self.threads.rows(
            rows.len(),
            inputs * (1 + rank / 4),
            Cut(&mut norms, 1),
            |part, norms| {
                let (mut memory, mut factors) = (Memory::default(), vec![0.0; rank]);
                for (row, norm) in part.zip(norms) {
                    let b = &b[row * rank..(row + 1) * rank];
                    factors.iter_mut().zip(b).for_each(|(factor, b)| *factor = scale as f32 * b);
                    let at = (rows.start + row) * inputs;
                    let w = weight.values().read(self.set, at..at + inputs, &mut memory);
                    *norm = squares(self.set, w, &factors, &a).sqrt();
                }
            },
        );
        norms
    }
}
