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
    use super::*;

    fn close(found: f64, expected: f64) -> bool {
        (found - expected).abs() <= 4.0 * f64::EPSILON * expected.abs()
    }

    #[test]
    fn softplus_and_sigmoid_on_both_sides() {
        // Beyond 40 the other term is below the last digit.
        for (x, expected) in
            [(0.0, LN_2), (1.0, 1.313_261_687_518_222_8), (800.0, 800.0), (1e300, 1e300)]
        {
            assert!(close(softplus(x), expected), "softplus({x}) = {}", softplus(x));
        }
        assert!(close(softplus(-1.0), 0.313_261_687_518_222_86));
        assert!(close(softplus(-700.0), (-700.0_f64).exp()));
        assert!(close(sigmoid(-1.0), 0.268_941_421_369_995_1));
        assert!(close(sigmoid(-700.0), (-700.0_f64).exp()));
        assert_eq!((sigmoid(1e300), sigmoid(-1e300), sigmoid(0.0)), (1.0, 0.0, 0.5));
    }

    #[test]
    fn log1mexp_near_probability_one_and_zero() {
        // 1 - e^x is -x to the last digit at the top, and log(1 - y) is -y at the bottom.
        assert!(close(log1mexp(-1e-20), 1e-20_f64.ln()));
        assert!(close(log1mexp(-700.0), -(-700.0_f64).exp()));
        assert!(close(log1mexp(-LN_2), -LN_2));
        assert!(close(log1mexp(-1.0), -0.458_675_145_387_081_9));
        assert!(close(log1mexp(-0.1), -2.352_168_461_044_090_8));
        assert_eq!(log1mexp(-1e300), 0.0);
        assert!(log1mexp(-f64::MIN_POSITIVE).is_finite());
    }
}
