//! Operations that copy or add rows: the embedding, row maps, sums over rows.

use crate::Cpu;
use crate::elements::ScratchVec;
use crate::inputs::Inputs;
use crate::instructions::kernel;
use crate::math::add_scaled;
use crate::number::Number;
use crate::parameters::values;
use crate::profile::Kind;
use crate::scalar::Scalar;
use crate::threads::{Cut, Shared};
use ift_backend::{Embedding, RowMap, Weight};
use std::ops::Range;

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
    fn accumulate<S, T: Scalar, X: Scalar>(to: &mut [T], factor: f32, x: &[X]) {
        add_scaled::<S, T, X>(to, factor, x);
    }
}

impl<N: Number> Cpu<N> {
    pub(crate) fn embed_rows(
        &self,
        embedding: Embedding,
        inputs: &Inputs,
        table: Weight<Self>,
        out: &mut [N],
    ) {
        let Embedding { width, scale, .. } = embedding;
        embedding.check(inputs.embedded());
        let _timer = self.meter.start(Kind::Embedding, (inputs.len() * width) as u64);
        let table = values(table);
        let row = |token: u32| token as usize * width..(token as usize + 1) * width;
        let mix = inputs.mix.as_ref();
        self.threads.rows(inputs.len(), 2 * width, Cut(out, width), |rows, out| {
            let (mut memory, mut other) = (ScratchVec::default(), ScratchVec::default());
            for (t, out) in rows.zip(out.chunks_exact_mut(width)) {
                let embedding = table.read(self.set, row(inputs.tokens[t]), &mut memory);
                match mix.and_then(|mix| mix.selected[t].map(|token| (mix.lambda, token))) {
                    Some((lambda, token)) => {
                        let (keep, take) =
                            ((scale * (1.0 - lambda)) as f32, (scale * lambda) as f32);
                        let selected = table.read(self.set, row(token), &mut other);
                        blend(self.set, keep, embedding, take, selected, out);
                    }
                    None => scaled(self.set, scale as f32, embedding, out),
                }
            }
        });
    }

    pub(crate) fn embed_gradients(
        &self,
        embedding: Embedding,
        inputs: &Inputs,
        d_out: &[N],
        d_table: &mut [f32],
    ) {
        let Embedding { width, scale, .. } = embedding;
        embedding.check(inputs.embedded());
        let _timer = self.meter.start(Kind::Embedding, 2 * (inputs.len() * width) as u64);
        let rows = inputs.tokens.iter().max().map_or(0, |last| *last as usize + 1);
        // A product that overflows is more than any buffer holds; from here on none does.
        let d_table = Shared::new(&mut d_table[..rows.saturating_mul(width)]);
        self.each_columns(width, inputs.len(), |own| {
            for (t, &token) in inputs.tokens.iter().enumerate() {
                let at = token as usize * width;
                // SAFETY: tasks have different columns, inside the width.
                let to = unsafe { d_table.range(at + own.start..at + own.end) };
                let d_out = &d_out[t * width + own.start..t * width + own.end];
                accumulate(self.set, to, scale as f32, d_out);
            }
        });
    }

    /// Runs `task` for ranges of columns. Each task goes through all rows in their order, so sums
    /// over rows need no private copies.
    pub(crate) fn each_columns(
        &self,
        width: usize,
        rows: usize,
        task: impl Fn(Range<usize>) + Sync,
    ) {
        let length = if rows * width < 16_384 { width.max(1) } else { COLUMNS };
        self.threads
            .each(width.div_ceil(length), |i| task(i * length..width.min((i + 1) * length)));
    }

    /// `sums += Σ_t x[t]`, `x`: `[n, width]`.
    pub(crate) fn add_column_sums(&self, n: usize, width: usize, x: &[N], sums: &mut [f32]) {
        let sums = Shared::new(&mut sums[..width]);
        self.each_columns(width, n, |own| {
            // SAFETY: tasks have different columns.
            let to = unsafe { sums.range(own.clone()) };
            for t in 0..n {
                accumulate(self.set, to, 1.0, &x[t * width + own.start..t * width + own.end]);
            }
        });
    }

    pub(crate) fn copy_rows_impl(&self, width: usize, map: &RowMap, x: &[N], out: &mut [N]) {
        let _timer = self.meter.start(Kind::Elementwise, 0);
        self.each_pair(width, 2, map, x, out, |x, out| out.copy_from_slice(x));
    }

    pub(crate) fn add_rows_impl(&self, width: usize, map: &RowMap, x: &[N], out: &mut [N]) {
        let _timer = self.meter.start(Kind::Elementwise, (map.pairs().len() * width) as u64);
        self.each_pair(width, 3, map, x, out, |x, out| accumulate(self.set, out, 1.0, x));
    }

    /// Runs `task(x[from], out[to])` for each pair of the map; it touches each element of a row
    /// `work` times.
    fn each_pair(
        &self,
        width: usize,
        work: usize,
        map: &RowMap,
        x: &[N],
        out: &mut [N],
        task: impl Fn(&[N], &mut [N]) + Sync,
    ) {
        let pairs = map.pairs();
        // Destinations of more rows would not be distinct numbers of 32 bits.
        assert!(pairs.len() as u64 <= 1 << 32, "a map of {} rows", pairs.len());
        let rows = pairs.iter().map(|(_, to)| *to as usize + 1).max().unwrap_or(0);
        // A product that overflows is more than any buffer holds; from here on none does.
        let out = Shared::new(&mut out[..rows.saturating_mul(width)]);
        self.threads.rows(pairs.len(), work.saturating_mul(width), (), |own, ()| {
            for &(from, to) in &pairs[own] {
                let (from, to) = (from as usize, to as usize);
                // SAFETY: no destination of a `RowMap` occurs twice.
                let to = unsafe { out.range(to * width..(to + 1) * width) };
                task(&x[from * width..(from + 1) * width], to);
            }
        });
    }

    /// `x = 0`.
    pub(crate) fn fill_zero(&self, x: &mut [N]) {
        let _timer = self.meter.start(Kind::Elementwise, 0);
        self.threads.rows(x.len(), 1, Cut(x, 1), |_, x| x.fill(N::zeroed()));
    }

    /// `out += x`.
    pub(crate) fn add_elements(&self, x: &[f32], out: &mut [N]) {
        let _timer = self.meter.start(Kind::Elementwise, x.len() as u64);
        self.threads
            .rows(x.len(), 3, Cut(out, 1), |range, out| accumulate(self.set, out, 1.0, &x[range]));
    }
}
