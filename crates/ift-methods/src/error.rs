//! Errors in the settings of a method.

use thiserror::Error;

/// A field of the `[method]` table that cannot be used.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum MethodError {
    /// The value is out of range.
    #[error("`{field}` is {found}, expected {expected}")]
    OutOfRange {
        /// Name of the field.
        field: &'static str,
        /// The value that was found.
        found: String,
        /// The values that are expected.
        expected: &'static str,
    },
    /// The field was set, but has no effect under the other settings.
    #[error(
        "`{field}` = {found} has no effect: it applies only with {condition}; remove it or set \
         {condition}"
    )]
    NoEffect {
        /// Name of the field.
        field: &'static str,
        /// The value that was found.
        found: String,
        /// The setting under which the field applies.
        condition: &'static str,
    },
}

impl MethodError {
    /// Name of the field.
    pub fn field(&self) -> &'static str {
        match self {
            Self::OutOfRange { field, .. } | Self::NoEffect { field, .. } => field,
        }
    }
}
