//! The element that is not finite.

use super::super::fixture::Fixture;
use crate::Backend;

/// NaN or an infinity.
#[derive(Clone, Copy, Debug)]
pub(super) struct Element(pub(super) f64);

impl Element {
    /// Finite values but for this one.
    pub(super) fn among<B: Backend>(
        self,
        f: &Fixture<B>,
        seed: u64,
        count: usize,
        at: usize,
    ) -> Vec<f64> {
        let mut values = f.values(seed, count);
        values[at] = self.0;
        values
    }
}
