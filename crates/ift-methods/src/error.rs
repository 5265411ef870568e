//! What can be wrong with a method's settings.

use thiserror::Error;

/// A setting of a method's table that cannot be used.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum MethodError {
    /// The value lies outside its range.
    #[error("`{field}` is {found}, expected {expected}")]
    OutOfRange {
        /// Name of the field in the method's table.
        field: &'static str,
        /// The value as given.
        found: String,
        /// The values that can be used.
        expected: &'static str,
    },
    /// The field was set, but another setting leaves it without effect.
    #[error(
        "`{field}` = {found} has no effect: it applies only with {condition}; remove it or set {condition}"
    )]
    NoEffect {
        /// Name of the field in the method's table.
        field: &'static str,
        /// The value as given.
        found: String,
        /// The setting under which the field applies.
        condition: &'static str,
    },
}

impl MethodError {
    /// Name of the offending field in the method's table.
    pub fn field(&self) -> &'static str {
        match self {
            Self::OutOfRange { field, .. } | Self::NoEffect { field, .. } => field,
        }
    }
}
