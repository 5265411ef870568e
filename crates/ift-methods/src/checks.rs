//! The two checks of a setting: that it is in its range, and that it has an effect.

use std::fmt;

use serde::Serialize;

use crate::error::MethodError;

/// An error unless `fits`.
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

/// An error unless the value is above 0 and neither so small nor so large that sums over a row
/// could overflow.
pub(crate) fn positive(field: &'static str, value: f64) -> Result<(), MethodError> {
    range(field, value, (1e-9..=1e9).contains(&value), "a number from 1e-9 to 1e9")
}

/// An error unless the value is 0 or more and not so large that sums over a row could overflow.
pub(crate) fn not_negative(field: &'static str, value: f64) -> Result<(), MethodError> {
    range(field, value, (0.0..=1e9).contains(&value), "a number from 0 to 1e9")
}

/// An error if a field differs from its default although it has no effect; `condition` is the
/// setting under which it would have one.
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

/// A number or an enum value as the recipe spells it; serde can write such scalars to a formatter.
struct AsWritten<'a, T>(&'a T);

impl<T: Serialize> fmt::Display for AsWritten<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.serialize(f)
    }
}
