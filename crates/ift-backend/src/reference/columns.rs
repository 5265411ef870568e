//! Some columns of a matrix.

use crate::Columns;

/// `out[t] = x[t][columns]`.
pub(super) fn take(columns: &Columns, x: &[f64], out: &mut [f64]) {
    let Columns { tokens, width, ref columns } = *columns;
    let count = columns.len();
    for t in 0..tokens {
        out[t * count..][..count].copy_from_slice(&x[t * width..][columns.clone()]);
    }
}

/// `out[t][columns] += scale·x[t]`.
pub(super) fn add(columns: &Columns, x: &[f64], scale: f64, out: &mut [f64]) {
    let Columns { tokens, width, ref columns } = *columns;
    for t in 0..tokens {
        for (i, c) in columns.clone().enumerate() {
            out[t * width + c] += scale * x[t * columns.len() + i];
        }
    }
}

/// `x[t][columns] *= factors`.
pub(super) fn scale(columns: &Columns, factors: &[f64], x: &mut [f64]) {
    let Columns { tokens, width, ref columns } = *columns;
    for t in 0..tokens {
        for (c, factor) in columns.clone().zip(factors) {
            x[t * width + c] *= factor;
        }
    }
}

/// `sums[c] += Σ_t x[t][columns][c]·y[t][columns][c]`.
pub(super) fn products(columns: &Columns, x: &[f64], y: &[f64], sums: &mut [f64]) {
    let Columns { tokens, width, ref columns } = *columns;
    for t in 0..tokens {
        for (sum, c) in sums.iter_mut().zip(columns.clone()) {
            *sum += x[t * width + c] * y[t * width + c];
        }
    }
}
