//! What rounding takes back of a change of weights.

use crate::tensor_files::round_as_saved;
use ift_backend::{Element, NumberType};

/// How much of a change of weights is left after rounding to another type, summed over tensors.
#[derive(Clone, Copy, Debug, Default)]
pub struct ChangeLost {
    /// `⟨r, d⟩`: the change `r` of the rounded weights, on the change `d`.
    kept: f64,
    /// `⟨d, d⟩`.
    all: f64,
}

impl ChangeLost {
    /// Adds elements as they were before the change, and as they are before they are rounded to
    /// `number`; as many of each.
    pub fn add<E: Element>(&mut self, before: &[E], exact: &[E], number: NumberType) {
        let mut rounded = exact.to_vec();
        round_as_saved(&mut rounded, number);
        for ((before, exact), rounded) in before.iter().zip(exact).zip(&rounded) {
            let change = exact.to_f64() - before.to_f64();
            self.kept += change * (rounded.to_f64() - before.to_f64());
            self.all += change * change;
        }
    }

    /// The share of the change that rounding takes back, by its projection on the change:
    /// `1 - ⟨r, d⟩/⟨d, d⟩`; 0 where nothing changed.
    pub fn share(&self) -> f64 {
        if self.all > 0.0 { 1.0 - self.kept / self.all } else { 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_is_that_of_the_change() {
        let before = [1.0f32, 1.0, -2.0];
        let share = |exact: &[f32], number| {
            let mut lost = ChangeLost::default();
            // In pieces, as the caller reads them.
            lost.add(&before[..1], &exact[..1], number);
            lost.add(&before[1..], &exact[1..], number);
            lost.share()
        };
        // Between 1 and the next bfloat16, 1 + 1/128.
        assert_eq!(share(&[1.001, 1.0, -2.0], NumberType::Bf16), 1.0);
        assert_eq!(share(&[1.001, 1.0, -2.0], NumberType::F32), 0.0);
        assert_eq!(share(&[1.0 + 1.0 / 128.0, 1.0, -3.0], NumberType::Bf16), 0.0);
        // A small change is lost beside one that is kept, and three times as large.
        let lost = share(&[1.0 + 1.0 / 1024.0, 1.0 + 3.0 / 1024.0, -2.0], NumberType::F16);
        assert_eq!(lost, 0.0);
        let lost = share(&[1.0 + 1.0 / 384.0, 1.0 + 3.0 / 384.0, -2.0], NumberType::Bf16);
        assert!((lost - 0.1).abs() < 1e-5, "{lost}");
        assert_eq!(share(&before, NumberType::Bf16), 0.0);
    }
}
