//! Memory that may run out without an abort.

use crate::BackendError;

pub(super) type Result<T> = std::result::Result<T, BackendError>;

/// An empty vector with room for `len` elements.
pub(super) fn room<T>(what: &'static str, len: usize) -> Result<Vec<T>> {
    let mut elements = Vec::new();
    match elements.try_reserve_exact(len) {
        Ok(()) => Ok(elements),
        Err(_) => Err(BackendError::OutOfMemory {
            what,
            bytes: len.saturating_mul(size_of::<T>()) as u64,
        }),
    }
}

/// The product of the sizes of a buffer; `usize::MAX` if it is larger, which no
/// memory holds.
pub(super) fn size(sizes: &[usize]) -> usize {
    sizes
        .iter()
        .try_fold(1, |product: usize, &size| product.checked_mul(size))
        .unwrap_or(usize::MAX)
}

/// `len` equal elements.
pub(super) fn filled<T: Clone>(what: &'static str, len: usize, value: T) -> Result<Vec<T>> {
    let mut elements = room(what, len)?;
    elements.resize(len, value);
    Ok(elements)
}

/// The `len` elements of an iterator.
pub(super) fn collected<T>(
    what: &'static str,
    len: usize,
    values: impl IntoIterator<Item = T>,
) -> Result<Vec<T>> {
    let mut elements = room(what, len)?;
    elements.extend(values.into_iter().take(len));
    Ok(elements)
}

/// A copy.
pub(super) fn copied<T: Clone>(what: &'static str, values: &[T]) -> Result<Vec<T>> {
    collected(what, values.len(), values.iter().cloned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_that_does_not_exist_is_an_error() {
        for len in [usize::MAX, size(&[1 << 40, 1 << 40]), 1 << 60] {
            let error = filled("the test", len, 0.0).unwrap_err();
            let BackendError::OutOfMemory { what, bytes } = error;
            assert_eq!(what, "the test");
            assert!(bytes > 1 << 60, "{bytes}");
        }
        assert_eq!(size(&[3, 0, 5]), 0);
        assert_eq!(filled("the test", 2, 1.5).unwrap(), [1.5, 1.5]);
    }
}
