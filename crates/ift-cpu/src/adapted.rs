//! Row norms of a weight with a low-rank sum.

use crate::Cpu;
use crate::elements::ScratchVec;
use crate::instructions::kernel;
use crate::math::total;
use crate::number::Number;
use crate::parameters::values;
use crate::profile::Kind;
use crate::simd::Simd;
use crate::threads::Cut;
use ift_backend::{BackendError, LowRank, Weight};

type Result<T> = std::result::Result<T, BackendError>;

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
    pub(crate) fn adapted_norms_impl(
        &self,
        low_rank: &LowRank,
        weight: Weight<Self>,
        a: Weight<Self>,
        b: Weight<Self>,
    ) -> Result<Vec<f64>> {
        let LowRank { inputs, rank, ref rows, scale } = *low_rank;
        let flops = 2 * (rows.len() * inputs * (rank + 1)) as u64;
        let _timer = self.meter.start(Kind::Products, flops);
        let weight = values(weight);
        let a = self.weight_values(a, rank * inputs)?;
        let b = self.weight_values(b, rows.len() * rank)?;
        let mut norms = vec![0.0; rows.len()];
        let work = inputs * (1 + rank / 4);
        self.threads.rows(rows.len(), work, Cut(&mut norms, 1), |part, norms| {
            let (mut memory, mut factors) = (ScratchVec::default(), vec![0.0; rank]);
            for (row, norm) in part.zip(norms) {
                let b = &b[row * rank..(row + 1) * rank];
                factors.iter_mut().zip(b).for_each(|(factor, b)| *factor = scale as f32 * b);
                let at = (rows.start + row) * inputs;
                let w = weight.read(self.set, at..at + inputs, &mut memory);
                *norm = squares(self.set, w, &factors, &a).sqrt();
            }
        });
        Ok(norms)
    }
}
