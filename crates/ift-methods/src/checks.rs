//! The two things that can be wrong with a setting: its range, and being set where it has no
//! effect.

use std::fmt;

use serde::Serialize;

use crate::error::MethodError;

/// An error unless the value fits.
pub(crate) fn range(
    field: &'static str,
    value: f64,
    fits: bool,
    expected: &'static str,
) -> Result<(), MethodError> {
    if fits {
        Ok(())
    } else {
        Err(MethodError::OutOfRange { field, found: value.to_string(), expected })
    }
}

/// An error unless the value is from 0 to 1.
pub(crate) fn share(field: &'static str, value: f64) -> Result<(), MethodError> {
    range(field, value, (0.0..=1.0).contains(&value), "a number from 0 to 1")
}

/// An error unless the value is finite and above 0.
pub(crate) fn positive(field: &'static str, value: f64) -> Result<(), MethodError> {
    range(field, value, value > 0.0 && value.is_finite(), "a finite number above 0")
}

/// An error unless the value is finite and not below 0.
pub(crate) fn not_negative(field: &'static str, value: f64) -> Result<(), MethodError> {
    range(field, value, value >= 0.0 && value.is_finite(), "a finite number, 0 or more")
}

/// An error where a field differs from its default but does not apply; `condition` is the setting
/// under which it would.
pub(crate) fn effect<T: Serialize + PartialEq>(
    field: &'static str,
    value: &T,
    default: &T,
    applies: bool,
    condition: &'static str,
) -> Result<(), MethodError> {
    if applies || value == default {
        return Ok(());
    }
    Err(MethodError::NoEffect { field, found: AsWritten(value).to_string(), condition })
}

/// A number or a choice as the recipe spells it; serde writes such scalars to a formatter itself.
struct AsWritten<'a, T>(&'a T);

impl<T: Serialize> fmt::Display for AsWritten<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.serialize(f)
    }
}
