//! How weights that are never trained are stored.

/// Storage of a weight that is never trained. Products widen it as they read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Storage {
    /// As a trainable weight: exact.
    Exact,
    /// bfloat16.
    Bf16,
    /// Eight bits in blocks of [`Storage::BLOCK`]: `round(127·w / largest |w| of the block)`, and
    /// that largest as f32.
    Int8,
    /// Four bits in blocks: the nearest of sixteen levels made for normally distributed weights,
    /// times the block's largest `|w|` (NF4 of `QLoRA`, arXiv 2305.14314).
    Nf4,
}

impl Storage {
    /// Consecutive elements that share a scale; blocks are counted from the weight's first
    /// element, the last may be shorter.
    pub const BLOCK: usize = 64;

    /// Bytes of a weight of `len` elements, where an exact element takes `exact`
    /// ([`crate::Footprint::weight`]). A last block that is not full takes as much as a full one.
    pub fn bytes(self, len: usize, exact: usize) -> usize {
        let blocks = |bytes| len.div_ceil(Self::BLOCK) * (size_of::<f32>() + bytes);
        match self {
            Self::Exact => len * exact,
            Self::Bf16 => len * 2,
            Self::Int8 => blocks(Self::BLOCK),
            Self::Nf4 => blocks(Self::BLOCK / 2),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_takes_its_elements_and_its_scale() {
        let storages = [Storage::Exact, Storage::Bf16, Storage::Int8, Storage::Nf4];
        assert_eq!(storages.map(|storage| storage.bytes(6400, 4)), [25_600, 12_800, 6800, 3600]);
        assert_eq!(storages.map(|storage| storage.bytes(65, 6)), [390, 130, 136, 72]);
    }
}
