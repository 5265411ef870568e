//! Causal softmax attention over a past and the row itself, in blocks (Dao et al.,
//! `FlashAttention`, arXiv 2205.14135): no score outlives its block of queries and keys.
//!
//! The query heads that share a key-value head are rows of the same products, so that its keys and
//! values are packed and read once for all of them. Row `r` of a block of queries is query `r /
//! group`, head `r % group`.

mod backward;
mod few;
mod forward;

use super::instructions::kernel;
use super::number::{Number, widen_all};
use super::threads::Cut;
use super::tile::tile_size;
use super::{Buffer, Cpu};
use ift_backend::{AttentionRow, AttentionShape};
use std::cell::RefCell;

/// Keys in a block; a multiple of every tile width.
const KEYS: usize = 64;
/// Rows (queries × heads of a group) in a block of queries, about.
const ROWS: usize = 96;
/// Keys that one packing task takes; a multiple of every tile width.
const PACK: usize = 256;

thread_local! {
    /// Blocks of queries, scores and sums.
    static SCRATCH: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// A row, and the keys that any of its queries sees. Keys are numbered from `first` on: these
/// numbers are "local".
#[derive(Clone, Copy, Debug)]
struct Span {
    row: AttentionRow,
    /// Position of the first key that is seen at all.
    first: usize,
    /// How many there are from there on.
    keys: usize,
    /// `keys` rounded up to whole tiles.
    padded: usize,
    /// The sum of `padded` of the spans before.
    before: usize,
}

impl Span {
    /// The local keys that query `i` sees.
    fn visible(&self, shape: &AttentionShape, i: usize) -> (usize, usize) {
        let visible = shape.visible(self.row.past_len + i);
        (visible.start - self.first, visible.end - self.first)
    }
}

/// The keys and values, where they lie.
#[derive(Clone, Copy)]
struct Source<'a, N> {
    shape: AttentionShape,
    past: &'a [N],
    own: &'a [N],
}

impl<'a, N> Source<'a, N> {
    /// The key (`part` 0) or value (1) of head `head` at a position of a row.
    #[inline(always)]
    fn get(&self, row: &AttentionRow, position: usize, part: usize, head: usize) -> &'a [N] {
        let (buffer, token) = if position < row.past_len {
            (self.past, row.past_start + position)
        } else {
            (self.own, row.start + position - row.past_len)
        };
        let at = token * self.shape.kv_width()
            + (part * self.shape.kv_heads + head) * self.shape.head_dim;
        &buffer[at..at + self.shape.head_dim]
    }
}

/// Sizes that all blocks of one call share.
#[derive(Clone, Copy)]
struct Sizes {
    shape: AttentionShape,
    /// Query heads for each key-value head.
    group: usize,
    /// Queries in a block.
    queries: usize,
    /// `head_dim` rounded up to whole tiles.
    padded_dim: usize,
    tile_rows: usize,
    tile_columns: usize,
}

impl Sizes {
    /// Rows of a block of `queries`, rounded up to whole tiles.
    fn padded_rows(&self) -> usize {
        (self.queries * self.group).next_multiple_of(self.tile_rows)
    }
}

kernel! {
    /// Packs the local keys `from..` of a span, as many as `to` has room for: transposed, panels of
    /// `[head_dim, TILE_COLUMNS]`, or as rows of `padded_dim`. Zeros where there is no key or no dimension.
    fn pack<S, N: Number>(
        sizes: &Sizes,
        source: &Source<N>,
        span: &Span,
        from: usize,
        part: usize,
        head: usize,
        transposed: bool,
        to: &mut [f32],
    ) {
        let d = sizes.shape.head_dim;
        let get = |j: usize| (j < span.keys).then(|| source.get(&span.row, span.first + j, part, head));
        if transposed {
            for (panel, to) in to.chunks_exact_mut(d * S::TILE_COLUMNS).enumerate() {
                for r in 0..S::TILE_COLUMNS {
                    let column = to.iter_mut().skip(r).step_by(S::TILE_COLUMNS);
                    match get(from + panel * S::TILE_COLUMNS + r) {
                        Some(key) => column.zip(key).for_each(|(to, x)| *to = x.widen()),
                        None => column.for_each(|to| *to = 0.0),
                    }
                }
            }
        } else {
            for (j, to) in to.chunks_exact_mut(sizes.padded_dim).enumerate() {
                let key = get(from + j).unwrap_or(&[]);
                widen_all(key, to);
                to[key.len()..].fill(0.0);
            }
        }
    }
}

/// All keys or values of some spans, packed.
struct Packed {
    buffer: Buffer<f32>,
    width: usize,
    kv_heads: usize,
}

impl Packed {
    /// Those of one span and head, from local key `from` on (a multiple of the tile width).
    fn at(&self, span: &Span, head: usize, from: usize) -> &[f32] {
        let start = (span.before * self.kv_heads + head * span.padded + from) * self.width;
        let end = (span.before * self.kv_heads + (head + 1) * span.padded) * self.width;
        &self.buffer[start..end]
    }
}

impl<N: Number> Cpu<N> {
    fn attention_sizes(&self, shape: &AttentionShape) -> Sizes {
        let group = shape.heads / shape.kv_heads;
        let (tile_rows, tile_columns) = tile_size(self.set);
        let queries = (ROWS / group).max(8);
        let padded_dim = shape.head_dim.next_multiple_of(tile_columns);
        Sizes { shape: *shape, group, queries, padded_dim, tile_rows, tile_columns }
    }

    /// The spans of the rows that `wanted` says.
    fn spans(
        sizes: &Sizes,
        rows: &[AttentionRow],
        wanted: impl Fn(&AttentionRow) -> bool,
    ) -> Vec<Span> {
        let mut before = 0;
        let mut spans = Vec::with_capacity(rows.len());
        for &row in rows.iter().filter(|row| wanted(row)) {
            let first = sizes.shape.visible(row.past_len).start;
            let keys = row.past_len + row.len - first;
            let padded = keys.next_multiple_of(sizes.tile_columns);
            spans.push(Span { row, first, keys, padded, before });
            before += padded;
        }
        spans
    }

    /// Packs the keys (`part` 0) or values (1) of all spans.
    fn pack_heads(
        &self,
        sizes: &Sizes,
        source: &Source<N>,
        spans: &[Span],
        part: usize,
        transposed: bool,
    ) -> Packed {
        let kv_heads = sizes.shape.kv_heads;
        let width = if transposed { sizes.shape.head_dim } else { sizes.padded_dim };
        let total = spans.last().map_or(0, |s| s.before + s.padded) * kv_heads * width;
        let mut buffer = self.pool.take(total);
        let mut tasks = Vec::new();
        let mut rest = &mut buffer[..];
        for span in spans {
            for head in 0..kv_heads {
                for from in (0..span.padded).step_by(PACK) {
                    let (to, tail) = rest.split_at_mut(PACK.min(span.padded - from) * width);
                    tasks.push((span, head, from, to));
                    rest = tail;
                }
            }
        }
        self.threads.split(tasks.len(), Cut(&mut tasks, 1), |_, task| {
            for (span, head, from, to) in task {
                pack(self.set, sizes, source, span, *from, part, *head, transposed, to);
            }
        });
        Packed { buffer, width, kv_heads }
    }
}

/// Copies the heads of a group out of `[tokens, heads·head_dim]` rows into rows of `padded_dim`,
/// times `factor`.
#[inline(always)]
fn load_rows<N: Number>(
    sizes: &Sizes,
    from: &[N],
    first_token: usize,
    queries: usize,
    head: usize,
    factor: f32,
    to: &mut [f32],
) {
    let (d, group) = (sizes.shape.head_dim, sizes.group);
    for (i, to) in to.chunks_exact_mut(group * sizes.padded_dim).enumerate().take(queries) {
        let at = (first_token + i) * sizes.shape.q_width() + head * group * d;
        let heads = from[at..at + group * d].chunks_exact(d);
        for (from, to) in heads.zip(to.chunks_exact_mut(sizes.padded_dim)) {
            let (to, padding) = to.split_at_mut(d);
            to.iter_mut().zip(from).for_each(|(to, x)| *to = factor * x.widen());
            padding.fill(0.0);
        }
    }
}
