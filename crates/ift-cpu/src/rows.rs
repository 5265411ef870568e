//! Operations that move or add rows: the embedding, gathering and scattering, sums over rows.

use crate::Cpu;
use crate::instructions::kernel;
use crate::math::add_scaled;
use crate::number::Number;
use crate::stored::{Memory, Stored};
use crate::threads::{Cut, Shared};
use ift_backend::Mix;

/// Columns that one task of a sum over rows takes.
const COLUMNS: usize = 128;

kernel! {
    /// `out = a·x + b·y`.
    fn blend<S, N: Number>(a: f32, x: &[f32], b: f32, y: &[f32], out: &mut [N]) {
        for ((out, x), y) in out.iter_mut().zip(x).zip(y) {
            *out = N::round(S::mul_add(b, *y, a * *x));
        }
    }
}

kernel! {
    /// `out = a·x`.
    fn scaled<S, N: Number>(a: f32, x: &[f32], out: &mut [N]) {
        for (out, x) in out.iter_mut().zip(x) {
            *out = N::round(a * *x);
        }
    }
}

kernel! {
    /// `to += factor·x`.
    fn accumulate<S, T: Number, X: Number>(to: &mut [T], factor: f32, x: &[X]) {
        add_scaled::<S, T, X>(to, factor, x);
    }
}

impl<N: Number> Cpu<N> {
    pub(crate) fn embed_rows(
        &self,
        table: Stored<f32>,
        width: usize,
        tokens: &[u32],
        mix: Option<Mix>,
        scale: f64,
        out: &mut [N],
    ) {
        let row = |token: u32| token as usize * width..(token as usize + 1) * width;
        self.threads.rows(tokens.len(), 2 * width, Cut(out, width), |rows, out| {
            let (mut memory, mut other) = (Memory::default(), Memory::default());
            for (t, out) in rows.zip(out.chunks_exact_mut(width)) {
                let embedding = table.read(self.set, row(tokens[t]), &mut memory);
                match mix.and_then(|m| m.own[t].map(|own| (m.lambda, own))) {
                    Some((lambda, own)) => {
                        let (keep, take) =
                            ((scale * (1.0 - lambda)) as f32, (scale * lambda) as f32);
                        let own = table.read(self.set, row(own), &mut other);
                        blend(self.set, keep, embedding, take, own, out);
                    }
                    None => scaled(self.set, scale as f32, embedding, out),
                }
            }
        });
    }

    /// Runs `task` for runs of columns, so that sums over rows need no private copies: whoever has
    /// a column goes through the rows in their order.
    pub(crate) fn columns(&self, width: usize, rows: usize, task: impl Fn(usize, usize) + Sync) {
        let length = if rows * width < 16_384 { width.max(1) } else { COLUMNS };
        self.threads
            .each(width.div_ceil(length), |i| task(i * length, width.min((i + 1) * length)));
    }

    pub(crate) fn embed_gradients(
        &self,
        width: usize,
        tokens: &[u32],
        scale: f64,
        d_out: &[N],
        d_table: &mut [f32],
    ) {
        let d_table = Shared::new(d_table);
        self.columns(width, tokens.len(), |first, last| {
            for (t, &token) in tokens.iter().enumerate() {
                let at = token as usize * width;
                // SAFETY: tasks have different columns.
                let to = unsafe { d_table.range(at + first..at + last) };
                accumulate(self.set, to, scale as f32, &d_out[t * width + first..t * width + last]);
            }
        });
    }

    /// `sums += Σ_t x[t]`, `x`: `[n, width]`.
    pub(crate) fn add_column_sums(&self, n: usize, width: usize, x: &[N], sums: &mut [f32]) {
        let sums = Shared::new(&mut sums[..width]);
        self.columns(width, n, |first, last| {
            // SAFETY: tasks have different columns.
            let to = unsafe { sums.range(first..last) };
            for t in 0..n {
                accumulate(self.set, to, 1.0, &x[t * width + first..t * width + last]);
            }
        });
    }

    pub(crate) fn gather_rows(&self, width: usize, x: &[N], index: &[usize], out: &mut [N]) {
        self.threads.rows(index.len(), 2 * width, Cut(out, width), |rows, out| {
            for (&from, out) in index[rows].iter().zip(out.chunks_exact_mut(width)) {
                out.copy_from_slice(&x[from * width..(from + 1) * width]);
            }
        });
    }

    pub(crate) fn scatter_rows(&self, width: usize, x: &[N], index: &[usize], out: &mut [N]) {
        let out = Shared::new(out);
        self.threads.rows(index.len(), 3 * width, (), |rows, ()| {
            for i in rows {
                // SAFETY: `index` has no repeats, by the contract of `Backend::scatter_add`.
                let to = unsafe { out.range(index[i] * width..(index[i] + 1) * width) };
                accumulate(self.set, to, 1.0, &x[i * width..(i + 1) * width]);
            }
        });
    }

    pub(crate) fn add_numbers(&self, x: &[f32], out: &mut [N]) {
        self.threads
            .rows(x.len(), 3, Cut(out, 1), |range, out| accumulate(self.set, out, 1.0, &x[range]));
    }
}
