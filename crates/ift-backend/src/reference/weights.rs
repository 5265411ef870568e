//! Weights out of the bytes of files.

use super::memory::{Result, filled};
use crate::{HostTensor, Storage, quantize};

/// The concatenated elements of `parts`, rounded as their storage rounds.
pub(super) fn frozen(parts: &[HostTensor], storage: Storage) -> Result<Vec<f64>> {
    let lengths = parts.iter().map(HostTensor::len);
    let len = lengths.fold(0, |sum: usize, len| sum.saturating_add(len));
    let mut weight = filled("a frozen weight", len, 0.0)?;
    let mut rest = &mut weight[..];
    for part in parts {
        let (head, tail) = rest.split_at_mut(part.len());
        part.convert_into(head);
        rest = tail;
    }
    quantize::round(&mut weight, storage);
    Ok(weight)
}
