//! What the passes of attention share: which keys a query sees, where keys and values lie, and the
//! sizes of blocks.

use crate::inputs::BlockTable;
use crate::scalar::Scalar;
use ift_backend::{Attention, Segment};
use std::cell::RefCell;

/// Keys in a block; a multiple of every tile width.
pub(super) const KEYS: usize = 64;
/// Rows (queries × heads of a group) in a block of queries, about.
const ROWS: usize = 96;

thread_local! {
    /// Blocks of queries, scores and sums.
    pub(super) static SCRATCH: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// A segment, and the keys that any of its queries sees. Local keys are numbered from the first of
/// them on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    pub segment: Segment,
    /// Position of the first key that is seen at all.
    pub first: usize,
    /// Number of keys from there on.
    pub keys: usize,
    /// `keys` rounded up to whole tiles.
    pub padded: usize,
    /// The sum of `padded` of the spans before.
    pub before: usize,
}

impl Span {
    /// The local keys that query `i` sees.
    pub fn visible(&self, attention: &Attention, i: usize) -> (usize, usize) {
        let visible = attention.visible(self.segment.past_len + i);
        (visible.start - self.first, visible.end - self.first)
    }
}

/// Which of keys and values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Keys = 0,
    Values = 1,
}

/// The keys and values of the past and of the pass.
#[derive(Clone, Copy)]
pub(super) struct Source<'a, N> {
    pub attention: Attention,
    pub past: &'a [N],
    /// The blocks of the past, if it lies in blocks.
    pub blocks: Option<&'a BlockTable>,
    pub own: &'a [N],
}

impl<'a, N> Source<'a, N> {
    /// The key or value of a head at a position of a segment.
    #[inline(always)]
    pub fn get(&self, segment: &Segment, position: usize, part: Part, head: usize) -> &'a [N] {
        let (buffer, token) = if position >= segment.past_len {
            (self.own, segment.start + position - segment.past_len)
        } else if let Some(blocks) = self.blocks {
            (self.past, blocks.row(segment.past_start, position))
        } else {
            (self.past, segment.past_start + position)
        };
        let at = token * self.attention.kv_width()
            + (part as usize * self.attention.kv_heads + head) * self.attention.head_dim;
        &buffer[at..at + self.attention.head_dim]
    }
}

/// Sizes that all blocks of one call share.
#[derive(Clone, Copy)]
pub(super) struct Sizes {
    pub attention: Attention,
    /// Query heads for each key-value head.
    pub group: usize,
    /// Queries in a block.
    pub queries: usize,
    /// `head_dim` rounded up to whole tiles.
    pub padded_dim: usize,
    tile_rows: usize,
    tile_columns: usize,
}

impl Sizes {
    /// The sizes for tiles of so many rows and columns.
    pub fn new(attention: &Attention, (tile_rows, tile_columns): (usize, usize)) -> Self {
        let group = attention.heads / attention.kv_heads;
        assert_eq!(group * attention.kv_heads, attention.heads, "as many query heads to each");
        let widest = attention.heads.saturating_add(attention.kv_heads.saturating_mul(2));
        assert!(widest.checked_mul(attention.head_dim).is_some(), "{widest} heads are too many");
        let queries = (ROWS / group).max(8);
        let padded_dim = attention.head_dim.next_multiple_of(tile_columns);
        Self { attention: *attention, group, queries, padded_dim, tile_rows, tile_columns }
    }

    /// Rows of a block of `queries`, rounded up to whole tiles.
    pub fn padded_rows(&self) -> usize {
        (self.queries * self.group).next_multiple_of(self.tile_rows)
    }

    /// The spans of the segments that are `wanted`.
    pub fn spans(&self, segments: &[Segment], wanted: impl Fn(&Segment) -> bool) -> Vec<Span> {
        let mut before = 0;
        let mut spans = Vec::with_capacity(segments.len());
        for &segment in segments.iter().filter(|segment| wanted(segment)) {
            let first = self.attention.visible(segment.past_len).start;
            let keys = segment.past_len + segment.len - first;
            let padded = keys.next_multiple_of(self.tile_columns);
            spans.push(Span { segment, first, keys, padded, before });
            before += padded;
        }
        spans
    }
}

/// Heads of some tokens, copied into a block.
#[derive(Clone, Copy)]
pub(super) struct QueryBlock {
    pub first_token: usize,
    pub queries: usize,
    /// The key-value head whose group is meant.
    pub head: usize,
}

/// Copies the heads of a group out of `[tokens, heads·head_dim]` rows into rows of `padded_dim`,
/// times `factor`.
#[inline(always)]
pub(super) fn load_rows<N: Scalar>(
    sizes: &Sizes,
    from: &[N],
    block: QueryBlock,
    factor: f32,
    to: &mut [f32],
) {
    let (d, group) = (sizes.attention.head_dim, sizes.group);
    let blocks = to.chunks_exact_mut(group * sizes.padded_dim);
    for (i, to) in blocks.enumerate().take(block.queries) {
        let at = (block.first_token + i) * sizes.attention.q_width() + block.head * group * d;
        let heads = from[at..at + group * d].chunks_exact(d);
        for (from, to) in heads.zip(to.chunks_exact_mut(sizes.padded_dim)) {
            let (to, padding) = to.split_at_mut(d);
            to.iter_mut().zip(from).for_each(|(to, x)| *to = factor * x.widen());
            padding.fill(0.0);
        }
    }
}
