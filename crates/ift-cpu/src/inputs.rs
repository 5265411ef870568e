//! What a pass needs of the host, checked and kept in the form that operations read.

use crate::Scores;
use crate::arena::{collect, reserved};
use ift_backend::{BackendError, PassInputs, PastBlocks, Residual, Segment};

type Result<T> = std::result::Result<T, BackendError>;

/// What the errors of this file say that memory was needed for.
const WHAT: &str = "the inputs of a pass";

/// Inputs of a pass. The segments lie end to end and cover the tokens exactly; every list is as
/// long as the tokens, or empty where it may be.
#[derive(Debug)]
pub struct Inputs {
    /// Token ids; a selected token that replaces another one is already in its place.
    pub(crate) tokens: Vec<u32>,
    /// Absolute positions of the tokens in their sequences.
    pub(crate) positions: Vec<u32>,
    pub(crate) segments: Vec<Segment>,
    /// Streams of random draws, or empty.
    pub(crate) streams: Vec<u64>,
    /// Largest noise per embedding element, or empty.
    pub(crate) noise: Vec<f64>,
    pub(crate) mix: Option<Mix>,
    pub(crate) past_blocks: Option<BlockTable>,
}

/// Tokens whose embeddings are mixed into those of the tokens (IFT, eq. 17).
#[derive(Debug)]
pub(crate) struct Mix {
    pub lambda: f64,
    /// For each token the selected one, or `None` to leave it as it is.
    pub selected: Vec<Option<u32>>,
}

/// The blocks of a past. Position `p` of a segment is row
/// `table[past_start + p / size]·size + p % size`.
#[derive(Debug)]
pub(crate) struct BlockTable {
    /// The size of a block is `1 << shift` tokens.
    shift: u32,
    table: Vec<u32>,
}

impl BlockTable {
    /// A table, checked to hold all blocks that the segments name.
    fn new(blocks: &PastBlocks, segments: &[Segment]) -> Result<Self> {
        let PastBlocks { size, table } = *blocks;
        assert!(size.is_power_of_two(), "blocks of {size} tokens; the size is a power of two");
        for segment in segments {
            let end = segment.past_start.saturating_add(segment.past_len.div_ceil(size));
            assert!(end <= table.len(), "blocks up to {end}, the table has {}", table.len());
        }
        Ok(Self { shift: size.trailing_zeros(), table: collect(WHAT, table.iter().copied())? })
    }

    /// The row of a past position.
    #[inline(always)]
    pub(crate) fn row(&self, past_start: usize, position: usize) -> usize {
        let block = self.table[past_start + (position >> self.shift)] as usize;
        (block << self.shift) + (position & ((1 << self.shift) - 1))
    }
}

/// The positions of the tokens.
///
/// # Panics
/// If the segments do not lie end to end and cover the tokens exactly.
fn positions(tokens: usize, segments: &[Segment]) -> Result<Vec<u32>> {
    let mut positions = reserved(WHAT, tokens)?;
    for segment in segments {
        assert_eq!(segment.start, positions.len(), "segments do not lie end to end");
        let end = segment.past_len.checked_add(segment.len).and_then(|end| u32::try_from(end).ok());
        assert!(end.is_some(), "a position does not fit 32 bits");
        assert!(segment.len <= tokens - positions.len(), "segments cover more than the tokens");
        positions.extend((segment.past_len as u32..).take(segment.len));
    }
    assert_eq!(positions.len(), tokens, "segments do not cover the tokens");
    Ok(positions)
}

impl Inputs {
    pub(crate) fn new(inputs: &PassInputs<Scores>) -> Result<Self> {
        inputs.check();
        let PassInputs { tokens, segments, streams, noise, .. } = *inputs;
        let past_blocks = inputs.past_blocks.map(|blocks| BlockTable::new(&blocks, segments));
        let mut uploaded = Self {
            positions: positions(tokens.len(), segments)?,
            tokens: collect(WHAT, tokens.iter().copied())?,
            segments: collect(WHAT, segments.iter().copied())?,
            streams: collect(WHAT, streams.iter().copied())?,
            noise: collect(WHAT, noise.iter().copied())?,
            mix: None,
            past_blocks: past_blocks.transpose()?,
        };
        if let Some(look_ahead) = &inputs.look_ahead {
            assert_eq!(look_ahead.index.len(), tokens.len(), "one score for each token");
            let selected = look_ahead.scores.selected();
            let selected = look_ahead.index.iter().map(|i| i.map(|i| selected[i as usize]));
            match look_ahead.how {
                Residual::Mix { lambda } => {
                    uploaded.mix = Some(Mix { lambda, selected: collect(WHAT, selected)? });
                }
                Residual::Replace => {
                    for (token, selected) in uploaded.tokens.iter_mut().zip(selected) {
                        *token = selected.unwrap_or(*token);
                    }
                }
            }
        }
        Ok(uploaded)
    }

    /// Number of tokens.
    pub(crate) fn len(&self) -> usize {
        self.tokens.len()
    }
}
