//! Elements rounded to a narrower type.

use crate::Cpu;
use crate::instructions::kernel;
use crate::number::Number;
use crate::scalar::{Scalar, round_all};
use crate::threads::Cut;

kernel! {
    /// `copy[i] = exact[i]`, rounded; as many as the shorter has.
    pub(crate) fn round_copy<S, N: Scalar>(exact: &[f32], copy: &mut [N]) {
        round_all(exact, copy);
    }
}

impl<N: Number> Cpu<N> {
    /// `to[i] = from[i]`, rounded.
    pub(crate) fn round_elements(&self, from: &[f32], to: &mut [N]) {
        self.threads
            .rows(to.len(), 2, Cut(to, 1), |range, to| round_copy(self.set, &from[range], to));
    }
}
