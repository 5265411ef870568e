//! Operations on some columns of every row: those that an adapter changes.

use crate::Cpu;
use crate::instructions::kernel;
use crate::math::add_scaled;
use crate::number::Number;
use crate::profile::Kind;
use crate::threads::{Cut, Shared};
use ift_backend::Columns;

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
    pub(crate) fn take_columns_impl(&self, of: &Columns, x: &[N], out: &mut [N]) {
        let Columns { tokens, width, ref columns } = *of;
        let _timer = self.meter.start(Kind::Elementwise, 0);
        let count = columns.len();
        self.threads.rows(tokens, 2 * count, Cut(out, count), |rows, out| {
            for (row, out) in rows.zip(out.chunks_exact_mut(count.max(1))) {
                out.copy_from_slice(&x[row * width..(row + 1) * width][columns.clone()]);
            }
        });
    }

    pub(crate) fn add_columns_impl(&self, of: &Columns, x: &[N], scale: f64, out: &mut [N]) {
        let Columns { tokens, width, ref columns } = *of;
        let count = columns.len();
        let _timer = self.meter.start(Kind::Elementwise, 2 * (tokens * count) as u64);
        self.threads.rows(tokens, 3 * count, Cut(out, width), |rows, out| {
            for (row, out) in rows.zip(out.chunks_exact_mut(width)) {
                let x = &x[row * count..(row + 1) * count];
                add(self.set, &mut out[columns.clone()], scale as f32, x);
            }
        });
    }

    pub(crate) fn scale_columns_impl(&self, of: &Columns, factors: &[f64], x: &mut [N]) {
        let Columns { tokens, width, ref columns } = *of;
        let count = columns.len();
        let _timer = self.meter.start(Kind::Elementwise, (tokens * count) as u64);
        let factors: Vec<f32> = factors[..count].iter().map(|factor| *factor as f32).collect();
        self.threads.rows(tokens, 2 * count, Cut(x, width), |_, x| {
            x.chunks_exact_mut(width)
                .for_each(|x| multiply(self.set, &mut x[columns.clone()], &factors));
        });
    }

    pub(crate) fn column_products_impl(&self, of: &Columns, x: &[N], y: &[N], sums: &mut [f32]) {
        let Columns { tokens, width, ref columns } = *of;
        let count = columns.len();
        let _timer = self.meter.start(Kind::Elementwise, 2 * (tokens * count) as u64);
        let sums = Shared::new(&mut sums[..count]);
        self.each_columns(count, tokens, |own| {
            // SAFETY: tasks have different columns.
            let to = unsafe { sums.range(own.clone()) };
            for t in 0..tokens {
                let at = t * width + columns.start;
                let own = at + own.start..at + own.end;
                products(self.set, to, &x[own.clone()], &y[own]);
            }
        });
    }
}
