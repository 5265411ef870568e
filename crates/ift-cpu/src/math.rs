//! Loops that every kernel needs: sums in lanes (a fixed order that vectorises), and an exponential
//! that vectorises.

use crate::scalar::Scalar;
use crate::simd::Simd;

/// Partial sums kept side by side; a whole number of vectors in every instruction set.
pub(crate) const LANES: usize = 32;

/// Joins the lanes, halves first, so that each step is one vector operation.
#[inline(always)]
fn fold(lanes: [f32; LANES], join: impl Fn(f32, f32) -> f32) -> f32 {
    let lanes: [f32; 16] = std::array::from_fn(|i| join(lanes[i], lanes[i + 16]));
    let lanes: [f32; 8] = std::array::from_fn(|i| join(lanes[i], lanes[i + 8]));
    let lanes: [f32; 4] = std::array::from_fn(|i| join(lanes[i], lanes[i + 4]));
    join(join(lanes[0], lanes[2]), join(lanes[1], lanes[3]))
}

/// The sum of the lanes.
#[inline(always)]
pub(crate) fn total(lanes: [f32; LANES]) -> f32 {
    fold(lanes, |a, b| a + b)
}

/// `Σ a·b`.
#[inline(always)]
pub(crate) fn dot<S: Simd, A: Scalar, B: Scalar>(a: &[A], b: &[B]) -> f32 {
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    let mut sums = [0.0; LANES];
    for (a, b) in a.iter().zip(b) {
        for i in 0..LANES {
            sums[i] = S::mul_add(a[i].widen(), b[i].widen(), sums[i]);
        }
    }
    for ((sum, a), b) in sums.iter_mut().zip(a_rest).zip(b_rest) {
        *sum = S::mul_add(a.widen(), b.widen(), *sum);
    }
    total(sums)
}

/// `Σ a·(b + offset)·c`.
#[inline(always)]
pub(crate) fn dot_offset<S: Simd, A: Scalar, C: Scalar>(
    a: &[A],
    b: &[f32],
    offset: f32,
    c: &[C],
) -> f32 {
    let mut sums = [0.0; LANES];
    for ((a, b), c) in a.chunks(LANES).zip(b.chunks(LANES)).zip(c.chunks(LANES)) {
        for (((sum, a), b), c) in sums.iter_mut().zip(a).zip(b).zip(c) {
            *sum = S::mul_add(a.widen() * (*b + offset), c.widen(), *sum);
        }
    }
    total(sums)
}

/// The largest element; `-∞` of none. NaN is ignored: callers use every element afterwards.
#[inline(always)]
pub(crate) fn max(x: &[f32]) -> f32 {
    let larger = |a: f32, b: f32| if b > a { b } else { a };
    let (chunks, rest) = x.as_chunks::<LANES>();
    let mut largest = [f32::NEG_INFINITY; LANES];
    for chunk in chunks {
        for i in 0..LANES {
            largest[i] = larger(largest[i], chunk[i]);
        }
    }
    for (largest, x) in largest.iter_mut().zip(rest) {
        *largest = larger(*largest, *x);
    }
    fold(largest, larger)
}

/// `Σ x`.
#[inline(always)]
fn sum(x: &[f32]) -> f32 {
    let (chunks, rest) = x.as_chunks::<LANES>();
    let mut sums = [0.0; LANES];
    for chunk in chunks {
        for i in 0..LANES {
            sums[i] += chunk[i];
        }
    }
    for (sum, x) in sums.iter_mut().zip(rest) {
        *sum += *x;
    }
    total(sums)
}

/// Replaces every `x` by `exp(x - shift)` and returns the sum. In two passes, because the
/// exponential alone fits the registers.
#[inline(always)]
pub(crate) fn exp_in_place<S: Simd>(x: &mut [f32], shift: f32) -> f32 {
    for x in &mut *x {
        *x = exp::<S>(*x - shift);
    }
    sum(x)
}

/// `Σ exp(x - shift)`.
#[inline(always)]
pub(crate) fn sum_exp<S: Simd>(x: &[f32], shift: f32) -> f32 {
    let mut sums = 0.0;
    let mut values = [0.0; 512];
    for x in x.chunks(values.len()) {
        values[..x.len()].copy_from_slice(x);
        sums += exp_in_place::<S>(&mut values[..x.len()], shift);
    }
    sums
}

/// `to += factor·x`.
#[inline(always)]
pub(crate) fn add_scaled<S: Simd, T: Scalar, X: Scalar>(to: &mut [T], factor: f32, x: &[X]) {
    for (to, x) in to.iter_mut().zip(x) {
        *to = T::round(S::mul_add(factor, x.widen(), to.widen()));
    }
}

/// `eˣ` within about 1 unit in the last place; 0 below -87.3 (where the result would be denormal),
/// ∞ above 88.37 (where `n` would be 128), NaN of NaN. `x = n·ln 2 + r` with `|r| ≤ ln 2 / 2`; `eʳ`
/// by a polynomial (Cephes' `expf` coefficients), `2ⁿ` by its bits.
#[inline(always)]
pub(crate) fn exp<S: Simd>(x: f32) -> f32 {
    /// 1.5·2²³: adding it leaves the nearest integer in the low bits of the mantissa.
    const SHIFT: f32 = 12_582_912.0;
    const LN_2_HIGH: f32 = 0.693_359_4;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    let shifted = S::mul_add(x, std::f32::consts::LOG2_E, SHIFT);
    let n = shifted - SHIFT;
    let r = S::mul_add(n, -LN_2_LOW, S::mul_add(n, -LN_2_HIGH, x));
    let mut p = 1.987_569_1e-4;
    for coefficient in [1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5] {
        p = S::mul_add(p, r, coefficient);
    }
    let mantissa = S::mul_add(p * r, r, r) + 1.0;
    let power = f32::from_bits((shifted.to_bits() << 23).wrapping_add(127 << 23));
    if x < -87.3 {
        0.0
    } else if x > 88.37 {
        f32::INFINITY
    } else {
        mantissa * power
    }
}

/// `1 / (1 + e⁻ˣ)`.
#[inline(always)]
pub(crate) fn sigmoid<S: Simd>(x: f32) -> f32 {
    1.0 / (1.0 + exp::<S>(-x))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Instructions;
    use crate::instructions::{Available, kernel};

    kernel! {
        fn exp_all<S>(x: &mut [f32]) -> f32 {
            exp_in_place::<S>(x, 0.0)
        }
    }

    #[test]
    fn miri_the_exponential_is_right_to_two_units_in_the_last_place() {
        let step = if cfg!(miri) { 4_001 } else { 1 };
        for set in Instructions::ALL.into_iter().filter_map(|set| Available::new(set).ok()) {
            let inputs: Vec<f32> =
                (-87_000..=88_370).step_by(step).map(|i| i as f32 * 1e-3).collect();
            let mut outputs = inputs.clone();
            exp_all(set, &mut outputs);
            for (x, y) in inputs.iter().zip(&outputs) {
                let exact = f64::from(*x).exp();
                let error = (f64::from(*y) - exact).abs() / exact;
                assert!(error < 2.4e-7, "exp({x}) = {y}, error {error:e}");
            }
            let mut edges = [f32::NEG_INFINITY, -100.0, 0.0, 88.37, 89.0, f32::INFINITY, f32::NAN];
            exp_all(set, &mut edges);
            assert_eq!(edges[..3], [0.0, 0.0, 1.0]);
            assert!(edges[3].is_finite() && edges[4..6] == [f32::INFINITY; 2] && edges[6].is_nan());
        }
    }
}
