//! A case, written once for all backends.

use super::fixture::{Fixture, Result};
use super::results::Results;
use super::tolerances::CaseTolerance;
use crate::Backend;
use std::fmt::Debug;

/// Something to compute on a backend.
pub(super) trait Operation: Debug {
    /// The difference allowed.
    fn tolerance(&self) -> CaseTolerance;

    /// Computes it.
    fn run<B: Backend>(&self, fixture: &Fixture<B>) -> Result<Results>;
}
