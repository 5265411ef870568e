//! What a pass needs of the host, checked and owned.

use super::memory::{Result, collected, copied};
use super::scores::Scores;
use crate::{LookAheadInputs, PassInputs, PastBlocks, Residual, Segment};
use ift_random::part_stream;

/// The inputs of a pass.
#[derive(Debug)]
pub struct Inputs {
    /// `[tokens]` token ids; where a look-ahead replaces a token, the one that takes its place.
    pub(super) tokens: Vec<u32>,
    /// What a look-ahead mixes into the embeddings.
    pub(super) mix: Option<Mix>,
    pub(super) segments: Vec<Segment>,
    streams: Vec<u64>,
    /// `[tokens]`, or empty where there is no noise.
    pub(super) noise: Vec<f64>,
    past_blocks: Option<(usize, Vec<u32>)>,
}

/// `(1-λ)·E[token] + λ·E[selected]`.
#[derive(Debug)]
pub(super) struct Mix {
    pub(super) lambda: f64,
    /// `[tokens]`; `None` where nothing is mixed in.
    pub(super) selected: Vec<Option<u32>>,
}

impl Inputs {
    pub(super) fn new(inputs: &PassInputs<Scores>) -> Result<Self> {
        inputs.check();
        let mut tokens = copied("token ids", inputs.tokens)?;
        let mut mix = None;
        if let Some(look_ahead) = &inputs.look_ahead {
            let selected = selected(look_ahead)?;
            match look_ahead.how {
                Residual::Mix { lambda } => mix = Some(Mix { lambda, selected }),
                Residual::Replace => {
                    let places = tokens.iter_mut().zip(selected);
                    places.for_each(|(token, selected)| *token = selected.unwrap_or(*token));
                }
            }
        }
        let past_blocks = match inputs.past_blocks {
            Some(PastBlocks { size, table }) => Some((size, copied("the block table", table)?)),
            None => None,
        };
        Ok(Self {
            tokens,
            mix,
            segments: copied("segments", inputs.segments)?,
            streams: copied("random streams", inputs.streams)?,
            noise: copied("magnitudes of noise", inputs.noise)?,
            past_blocks,
        })
    }

    /// The token ids whose embeddings a pass reads.
    pub(super) fn embedded(&self) -> impl Iterator<Item = u32> {
        let mixed = self.mix.iter().flat_map(|mix| mix.selected.iter().flatten());
        self.tokens.iter().chain(mixed).copied()
    }

    /// The stream of token `t`'s draws for one part of the model.
    pub(super) fn stream(&self, t: usize, part: u64) -> u64 {
        part_stream(self.streams[t], part)
    }

    /// The absolute position of each token in its sequence.
    pub(super) fn positions(&self) -> impl Iterator<Item = usize> {
        self.segments.iter().flat_map(|s| s.past_len..s.past_len + s.len)
    }

    /// Whether the past is a cache of blocks.
    pub(super) fn has_past_blocks(&self) -> bool {
        self.past_blocks.is_some()
    }

    /// The row of the past in which a past position of a segment lies.
    pub(super) fn past_row(&self, segment: &Segment, position: usize) -> usize {
        match &self.past_blocks {
            Some((size, table)) => {
                PastBlocks { size: *size, table }.row(segment.past_start, position)
            }
            None => segment.past_start + position,
        }
    }
}

/// The selected token that each token meets.
fn selected(look_ahead: &LookAheadInputs<Scores>) -> Result<Vec<Option<u32>>> {
    let of = |index: u32| look_ahead.scores.selected[index as usize];
    let met = look_ahead.index.iter().map(|index| index.map(of));
    collected("selected tokens", look_ahead.index.len(), met)
}
