//! Logistic functions that neither overflow nor lose precision, for any argument.

use std::f64::consts::LN_2;

/// `log(1 + eˣ)`; `-log σ(x)` is `softplus(-x)`.
pub(crate) fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

/// `σ(x) = 1/(1 + e⁻ˣ)`, to full precision on both sides; `1 - σ(x)` is `sigmoid(-x)`.
pub(crate) fn sigmoid(x: f64) -> f64 {
    let small = (-x.abs()).exp();
    if x < 0.0 { small / (1.0 + small) } else { 1.0 / (1.0 + small) }
}

/// `log(1 - eˣ)` for `x < 0`: the log-probability of the complement of an event with
/// log-probability `x`.
///
/// Either formula loses precision on one side of `-ln 2` (Mächler 2012, "Accurately computing log(1
/// − exp(−|a|))").
pub(crate) fn log1mexp(x: f64) -> f64 {
    if x > -LN_2 { (-x.exp_m1()).ln() } else { (-x.exp()).ln_1p() }
}

#[cfg(test)]
mod tests {
    use ift_compare::{Comparison, Tolerance};

    use super::*;

    const TOLERANCE: Tolerance = Tolerance::relative(4.0 * f64::EPSILON);

    #[test]
    fn softplus_and_sigmoid_on_both_sides() {
        let mut comparison = Comparison::new("softplus and sigmoid", TOLERANCE);
        // Above 40 the other term is below the precision of f64.
        for (x, expected) in [
            (0.0, LN_2),
            (1.0, 1.313_261_687_518_222_8),
            (800.0, 800.0),
            (1e300, 1e300),
            (-1.0, 0.313_261_687_518_222_86),
            (-700.0, (-700.0_f64).exp()),
        ] {
            comparison.value(&format!("softplus({x})"), softplus(x), expected);
        }
        for (x, expected) in [
            (-1.0, 0.268_941_421_369_995_1),
            (-700.0, (-700.0_f64).exp()),
            (1e300, 1.0),
            (-1e300, 0.0),
            (0.0, 0.5),
        ] {
            comparison.value(&format!("sigmoid({x})"), sigmoid(x), expected);
        }
        comparison.finish();
    }

    #[test]
    fn log1mexp_near_probability_one_and_zero() {
        let mut comparison = Comparison::new("log1mexp", TOLERANCE);
        // 1 - e^x is -x within precision near 0, and log(1 - y) is -y for small y.
        for (x, expected) in [
            (-1e-20, 1e-20_f64.ln()),
            (-700.0, -(-700.0_f64).exp()),
            (-LN_2, -LN_2),
            (-1.0, -0.458_675_145_387_081_9),
            (-0.1, -2.352_168_461_044_090_8),
            (-1e300, 0.0),
        ] {
            comparison.value(&format!("log1mexp({x})"), log1mexp(x), expected);
        }
        comparison.finish();
        assert!(log1mexp(-f64::MIN_POSITIVE).is_finite());
    }
}
