//! Inputs of a pass, as the host gives them to a backend.

/// One sequence inside a packed batch, perhaps continuing a past. Absolute positions are
/// `0..past_len` for the past and `past_len..past_len + len` for the sequence's own tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Segment {
    /// First token in the packed batch.
    pub start: usize,
    /// Number of tokens; may be 0.
    pub len: usize,
    /// Where its past begins: the first token in the past's packed batch, or with
    /// [`PassInputs::past_blocks`] the first entry of the sequence's blocks in their table.
    pub past_start: usize,
    /// Number of past tokens; 0 for a sequence that starts afresh.
    pub past_len: usize,
}

/// Where the tokens of a past lie when it is a cache of blocks: position `p` of a segment is row
/// `table[past_start + p / size]·size + p % size`.
#[derive(Clone, Copy, Debug)]
pub struct PastBlocks<'a> {
    /// Tokens in a block, a power of two.
    pub size: usize,
    /// Numbers of blocks, those of a segment one after the other.
    pub table: &'a [u32],
}

impl PastBlocks<'_> {
    /// The row of a past position.
    #[inline]
    pub fn row(&self, past_start: usize, position: usize) -> usize {
        let block = self.table[past_start + position / self.size] as usize;
        block * self.size + position % self.size
    }
}

/// The inputs of a pass on the host; [`crate::Backend::upload`] copies them to the device.
#[derive(Debug)]
pub struct PassInputs<'a, S> {
    /// `[tokens]` token ids, below the vocabulary's size.
    pub tokens: &'a [u32],
    /// The sequences, in the order of their tokens, without gaps.
    pub segments: &'a [Segment],
    /// `[tokens]` the stream of each token's random draws; empty where nothing is random.
    pub streams: &'a [u64],
    /// `[tokens]` the largest noise on an element of the token's embedding; empty for no noise.
    pub noise: &'a [f64],
    /// Selected tokens of an earlier pass that enter the embeddings.
    pub look_ahead: Option<LookAheadInputs<'a, S>>,
    /// The block table, if the past is a cache of blocks.
    pub past_blocks: Option<PastBlocks<'a>>,
}

impl<S> Clone for PassInputs<'_, S> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<S> Copy for PassInputs<'_, S> {}

impl<S> PassInputs<'_, S> {
    /// Checks what operations rely on; every backend calls it in [`crate::Backend::upload`].
    ///
    /// # Panics
    /// If the segments do not follow each other and cover the tokens exactly, a list has another
    /// length than the tokens, the table of blocks is too short for a segment's past, or a sum of
    /// lengths overflows.
    pub fn check(&self) {
        let tokens = self.tokens.len();
        let end = self.segments.iter().fold(0, |end, segment| {
            let Segment { start, len, past_start, past_len } = *segment;
            assert!(start == end, "a segment starts at token {start}, expected {end}");
            let sum = |what: &str, a: usize, b: usize| {
                let sum = a.checked_add(b);
                assert!(sum.is_some(), "{what} {a} + {b} is not a length");
                sum.unwrap_or_default()
            };
            sum("a segment of past and own tokens", past_len, len);
            sum("a past up to token", past_start, past_len);
            sum("segments up to token", start, len)
        });
        assert!(end == tokens, "the segments hold {end} tokens, expected {tokens}");
        let check = |what: &str, len: usize, needed: bool| {
            assert!(len == tokens || !needed, "there are {len} {what} for {tokens} tokens");
        };
        check("streams", self.streams.len(), !self.streams.is_empty() || !self.noise.is_empty());
        check("magnitudes of noise", self.noise.len(), !self.noise.is_empty());
        if let Some(look_ahead) = &self.look_ahead {
            check("indices of look-ahead tokens", look_ahead.index.len(), true);
        }
        if let Some(PastBlocks { size, table }) = self.past_blocks {
            assert!(size.is_power_of_two(), "blocks of {size} tokens, expected a power of two");
            for Segment { past_start, past_len, .. } in self.segments {
                let end = past_start.saturating_add(past_len.div_ceil(size));
                let len = table.len();
                assert!(end <= len, "a past needs {end} blocks in the table, which has {len}");
            }
        }
    }
}

/// Tokens that an earlier pass selected, as inputs of this one. They stay on the backend.
#[derive(Debug)]
pub struct LookAheadInputs<'a, S> {
    /// The scores that hold them.
    pub scores: &'a S,
    /// `[tokens]` for each token the index of the score whose selected token is mixed into it or
    /// replaces it; `None` leaves the token as it is.
    pub index: &'a [Option<u32>],
    /// How they enter.
    pub how: Residual,
}

impl<S> Clone for LookAheadInputs<'_, S> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<S> Copy for LookAheadInputs<'_, S> {}

/// How a token that an earlier pass selected changes the embedding of an input token.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Residual {
    /// The temporal residual connection (IFT eq. 17): `e = (1-λ)·E[token] + λ·E[selected]`.
    Mix {
        /// λ in `[0, 1]`.
        lambda: f64,
    },
    /// The selected token takes the token's place (scheduled sampling); the embedding's gradient
    /// is the selected token's too.
    Replace,
}

/// Pairs of rows, from one buffer to another; no destination occurs twice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RowMap {
    pairs: Vec<(u32, u32)>,
}

impl RowMap {
    /// The pairs `(from, to)`; `None` if a destination occurs twice.
    pub fn new(pairs: Vec<(u32, u32)>) -> Option<Self> {
        let mut to: Vec<u32> = pairs.iter().map(|&(_, to)| to).collect();
        to.sort_unstable();
        to.windows(2).all(|pair| pair[0] != pair[1]).then_some(Self { pairs })
    }

    /// `out[start + i] = x[index[i]]`.
    ///
    /// # Panics
    /// If the number of a row does not fit 32 bits.
    pub fn gather(index: impl IntoIterator<Item = usize>, start: usize) -> Self {
        let pairs = index.into_iter().zip(start..);
        Self { pairs: pairs.map(|(from, to)| (row_number(from), row_number(to))).collect() }
    }

    /// `out[index[i]] = x[start + i]`; `None` if an index occurs twice.
    ///
    /// # Panics
    /// If the number of a row does not fit 32 bits.
    pub fn scatter(start: usize, index: &[usize]) -> Option<Self> {
        let pairs = (start..).zip(index);
        Self::new(pairs.map(|(from, &to)| (row_number(from), row_number(to))).collect())
    }

    /// The pairs `(from, to)`.
    pub fn pairs(&self) -> &[(u32, u32)] {
        &self.pairs
    }
}

/// A cut off number would be another row.
fn row_number(row: usize) -> u32 {
    let number = u32::try_from(row);
    assert!(number.is_ok(), "row {row} of a row map, expected one that fits 32 bits");
    number.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_map_has_no_destination_twice() {
        assert!(RowMap::new(vec![(0, 1), (0, 2)]).is_some());
        assert!(RowMap::new(vec![(0, 1), (2, 1)]).is_none());
        assert!(RowMap::scatter(3, &[4, 4]).is_none());
        assert_eq!(RowMap::scatter(3, &[4, 1]).unwrap().pairs(), [(3, 4), (4, 1)]);
        assert_eq!(RowMap::gather([7, 7], 2).pairs(), [(7, 2), (7, 3)]);
    }

    #[test]
    #[should_panic(expected = "row 4294967296 of a row map")]
    fn a_row_that_does_not_fit_32_bits_is_refused() {
        RowMap::gather([1 << 32], 0);
    }

    #[test]
    #[should_panic(expected = "row 4294967296 of a row map")]
    fn rows_from_a_start_that_ends_beyond_32_bits_are_refused() {
        RowMap::gather([0, 1], u32::MAX as usize);
    }

    #[test]
    fn blocks_are_looked_up_by_position() {
        let blocks = PastBlocks { size: 4, table: &[9, 9, 5, 2] };
        assert_eq!(blocks.row(2, 0), 20);
        assert_eq!(blocks.row(2, 3), 23);
        assert_eq!(blocks.row(2, 4), 8);
    }
}
