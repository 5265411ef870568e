//! What a pass needs of the host, checked and kept in the form that operations read.

use crate::Scores;
use crate::arena::{collect, reserved};
use ift_backend::{BackendError, PassInputs, PastBlocks, Residual, Segment};

type Result<T> = std::result::Result<T, BackendError>;

/// What the errors of this file say that memory was needed for.
const WHAT: &str = "the inputs of a pass";

/// Inputs of a pass. The segments follow each other and cover the tokens exactly; every list is as
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
    fn new(blocks: &PastBlocks) -> Result<Self> {
        let table = collect(WHAT, blocks.table.iter().copied())?;
        Ok(Self { shift: blocks.size.trailing_zeros(), table })
    }

    /// The row of a past position.
    #[inline(always)]
    pub(crate) fn row(&self, past_start: usize, position: usize) -> usize {
        let block = self.table[past_start + (position >> self.shift)] as usize;
        (block << self.shift) + (position & ((1 << self.shift) - 1))
    }
}

/// The positions of the tokens. Attention writes to disjoint outputs because segments do not
/// overlap; so this holds even where the sum of their lengths overflows.
fn positions(tokens: usize, segments: &[Segment]) -> Result<Vec<u32>> {
    let mut positions = reserved(WHAT, tokens)?;
    for &Segment { start, len, past_len, .. } in segments {
        assert!(start == positions.len() && len <= tokens - start, "segments overlap");
        let end = past_len.checked_add(len).and_then(|end| u32::try_from(end).ok());
        assert!(end.is_some(), "position {past_len} + {len} does not fit 32 bits");
        positions.extend((past_len as u32..).take(len));
    }
    Ok(positions)
}

impl Inputs {
    pub(crate) fn new(inputs: &PassInputs<Scores>) -> Result<Self> {
        inputs.check();
        let PassInputs { tokens, segments, streams, noise, .. } = *inputs;
        let past_blocks = inputs.past_blocks.map(|blocks| BlockTable::new(&blocks));
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

    /// The token ids whose embeddings a pass reads.
    pub(crate) fn embedded(&self) -> impl Iterator<Item = u32> {
        let mixed = self.mix.iter().flat_map(|mix| mix.selected.iter().flatten());
        self.tokens.iter().chain(mixed).copied()
    }

    /// Number of tokens.
    pub(crate) fn len(&self) -> usize {
        self.tokens.len()
    }
}
