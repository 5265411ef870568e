//! Keys and values in the order in which tiles read them.

use super::blocks::{Part, Sizes, Source, Span};
use crate::instructions::kernel;
use crate::number::Number;
use crate::scalar::widen_all;
use crate::threads::Cut;
use crate::tile::Tiles;
use crate::{Buffer, Cpu};
use ift_backend::BackendError;

/// Keys that one packing task takes; a multiple of every tile width.
const PACK: usize = 256;

/// What is packed, and how.
#[derive(Clone, Copy)]
pub(super) struct Packing {
    pub part: Part,
    /// Panels of `[head_dim, TILE_COLUMNS]` instead of rows of `padded_dim`.
    pub transposed: bool,
}

/// Local keys of a span and a head, `from` the first.
#[derive(Clone, Copy)]
struct Run<'a> {
    span: &'a Span,
    head: usize,
    from: usize,
}

kernel! {
    /// Packs the keys of a run, as many as `to` has room for. Zeros where there is no key or no
    /// element of a head.
    fn pack<S: Tiles, N: Number>(
        sizes: &Sizes,
        source: &Source<N>,
        keys: Run,
        packing: Packing,
        to: &mut [f32],
    ) {
        let d = sizes.attention.head_dim;
        let Run { span, head, from } = keys;
        let get = |j: usize| {
            (j < span.keys).then(|| source.get(&span.segment, span.first + j, packing.part, head))
        };
        if packing.transposed {
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

/// The keys or values of some spans, packed.
pub(super) struct Packed {
    buffer: Buffer<f32>,
    width: usize,
    kv_heads: usize,
}

impl Packed {
    /// Those of one span and head, from local key `from` on (a multiple of the tile width).
    pub(super) fn at(&self, span: &Span, head: usize, from: usize) -> &[f32] {
        let start = (span.before * self.kv_heads + head * span.padded + from) * self.width;
        let end = (span.before * self.kv_heads + (head + 1) * span.padded) * self.width;
        &self.buffer[start..end]
    }
}

impl<N: Number> Cpu<N> {
    /// Packs the keys or values of all spans.
    pub(super) fn pack_heads(
        &self,
        sizes: &Sizes,
        source: &Source<N>,
        spans: &[Span],
        packing: Packing,
    ) -> Result<Packed, BackendError> {
        let kv_heads = sizes.attention.kv_heads;
        let width = if packing.transposed { sizes.attention.head_dim } else { sizes.padded_dim };
        let total = spans.last().map_or(0, |s| s.before + s.padded);
        let len = total.saturating_mul(kv_heads).saturating_mul(width);
        let mut buffer = self.arena.take("packed keys and values", len)?;
        let mut tasks = Vec::new();
        let mut rest = &mut buffer[..];
        for span in spans {
            for head in 0..kv_heads {
                for from in (0..span.padded).step_by(PACK) {
                    let (to, tail) = rest.split_at_mut(PACK.min(span.padded - from) * width);
                    tasks.push((Run { span, head, from }, to));
                    rest = tail;
                }
            }
        }
        self.threads.split(tasks.len(), Cut(&mut tasks, 1), |_, task| {
            for (keys, to) in task {
                pack(self.set, sizes, source, *keys, packing, to);
            }
        });
        Ok(Packed { buffer, width, kv_heads })
    }
}
