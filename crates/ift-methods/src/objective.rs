//! The functions of a method, with defaults for the simplest methods.

use crate::{
    error::MethodError,
    needs::{Coupling, LookAhead, Needs, RowKind},
    row::{Reduction, RowLoss, RowScores},
};

/// One method behind [`crate::Method`], whose functions of the same names are documented there.
///
/// The defaults are for one pass over demonstrations without a reference.
pub(crate) trait Objective {
    fn losses(&self, rows: &[RowScores], kl_point: f64) -> Vec<RowLoss>;

    fn needs(&self) -> Needs {
        Needs::only(RowKind::Demonstration)
    }

    fn kl_point(&self, _mismatched: &[RowScores]) -> f64 {
        0.0
    }

    /// Methods on whole answers give each answer the same weight.
    fn reduction(&self) -> Reduction {
        Reduction::Sequence
    }

    fn coupling(&self) -> Coupling {
        Coupling::Row
    }

    fn look_ahead(&self) -> Option<LookAhead> {
        None
    }

    fn lambda_at(&self, _step: u64, _warmup_steps: u64, _seed: u64) -> f64 {
        0.0
    }

    fn replaces_tokens(&self) -> bool {
        false
    }

    fn trains_input_embeddings(&self) -> bool {
        true
    }

    fn validate(&self) -> Result<(), MethodError> {
        Ok(())
    }
}
