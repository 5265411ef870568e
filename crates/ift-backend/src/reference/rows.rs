//! Rows from one buffer to another.

use crate::RowMap;

/// `out[to] = x[from]`.
pub(super) fn copy(width: usize, map: &RowMap, x: &[f64], out: &mut [f64]) {
    for &(from, to) in map.pairs() {
        let source = &x[from as usize * width..][..width];
        out[to as usize * width..][..width].copy_from_slice(source);
    }
}

/// `out[to] += x[from]`.
pub(super) fn add(width: usize, map: &RowMap, x: &[f64], out: &mut [f64]) {
    for &(from, to) in map.pairs() {
        let source = &x[from as usize * width..][..width];
        for (o, v) in out[to as usize * width..][..width].iter_mut().zip(source) {
            *o += v;
        }
    }
}
