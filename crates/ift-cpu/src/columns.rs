//! Operations on some columns of every row, which is where an adapter works.

use crate::Cpu;
use crate::instructions::kernel;
use crate::math::add_scaled;
use crate::number::Number;
use crate::threads::{Cut, Shared};
use std::ops::Range;

kernel! {
    /// `out += scale·x`.
    fn add<S, N: Number>(out: &mut [N], scale: f32, x: &[N]) {
        add_scaled::<S, N, N>(out, scale, x);
    }
}

kernel! {
    /// `x *= factors`.
    fn multiply<S, N: Number>(x: &mut [N], factors: &[f32]) {
        x.iter_mut().zip(factors).for_each(|(x, factor)| *x = N::round(x.widen() * factor));
    }
}

kernel! {
    /// `sums += x·y`.
    fn products<S, N: Number>(sums: &mut [f32], x: &[N], y: &[N]) {
        for ((sum, x), y) in sums.iter_mut().zip(x).zip(y) {
            *sum = S::mul_add(x.widen(), y.widen(), *sum);
        }
    }
}

impl<N: Number> Cpu<N> {
    pub(crate) fn columns_taken(
        &self,
        n: usize,
        width: usize,
        x: &[N],
        columns: Range<usize>,
        out: &mut [N],
    ) {
        let count = columns.len();
        self.threads.rows(n, 2 * count, Cut(out, count), |rows, out| {
            for (row, out) in rows.zip(out.chunks_exact_mut(count.max(1))) {
                out.copy_from_slice(&x[row * width..(row + 1) * width][columns.clone()]);
            }
        });
    }

    pub(crate) fn columns_added(
        &self,
        n: usize,
        width: usize,
        x: &[N],
        scale: f64,
        columns: Range<usize>,
        out: &mut [N],
    ) {
        let count = columns.len();
        self.threads.rows(n, 3 * count, Cut(out, width), |rows, out| {
            for (row, out) in rows.zip(out.chunks_exact_mut(width)) {
                add(
                    self.set,
                    &mut out[columns.clone()],
                    scale as f32,
                    &x[row * count..(row + 1) * count],
                );
            }
        });
    }

    pub(crate) fn columns_scaled(
        &self,
        n: usize,
        width: usize,
        factors: &[f64],
        columns: Range<usize>,
        x: &mut [N],
    ) {
        let factors: Vec<f32> =
            factors[..columns.len()].iter().map(|factor| *factor as f32).collect();
        self.threads.rows(n, 2 * columns.len(), Cut(x, width), |_, x| {
            x.chunks_exact_mut(width)
                .for_each(|x| multiply(self.set, &mut x[columns.clone()], &factors));
        });
    }

    pub(crate) fn column_product_sums(
        &self,
        n: usize,
        width: usize,
        x: &[N],
        y: &[N],
        columns: Range<usize>,
        sums: &mut [f32],
    ) {
        let count = columns.len();
        let sums = Shared::new(&mut sums[..count]);
        self.columns(count, n, |first, last| {
            // SAFETY: tasks have different columns.
            let to = unsafe { sums.range(first..last) };
            for t in 0..n {
                let at = t * width + columns.start;
                products(self.set, to, &x[at + first..at + last], &y[at + first..at + last]);
            }
        });
    }
}
