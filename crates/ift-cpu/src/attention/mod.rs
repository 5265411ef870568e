//! Causal softmax attention of each segment over its past and itself, in blocks (Dao et al.,
//! `FlashAttention`, arXiv 2205.14135): the scores of one block of queries and keys exist at a
//! time.
//!
//! The query heads that share a key-value head are rows of the same products, so its keys and
//! values are packed and read once for all of them. Row `r` of a block of queries is query
//! `r / group`, head `r % group`.

mod backward;
mod blocks;
mod few;
mod forward;
mod pack;

pub(crate) use backward::CHUNKS;

use crate::inputs::Inputs;
use crate::number::Number;
use crate::profile::Kind;
use crate::threads::Shared;
use crate::tile::tile_size;
use crate::{Buffer, Cpu};
use blocks::{Sizes, Source};
use ift_backend::{Attention, AttentionSaved, BackendError, Segment};

type Result<T> = std::result::Result<T, BackendError>;

/// Multiplications and additions of the forward pass: two products over the keys that each query
/// sees.
fn flops(attention: &Attention, segments: &[Segment]) -> u64 {
    let seen = |segment: &Segment| {
        (0..segment.len).map(|i| attention.visible(segment.past_len + i).len()).sum::<usize>()
    };
    let seen = segments.iter().map(seen).sum::<usize>();
    4 * (seen * attention.heads * attention.head_dim) as u64
}

impl<N: Number> Cpu<N> {
    pub(crate) fn attend(
        &self,
        attention: &Attention,
        inputs: &Inputs,
        (q, kv): (&[N], &[N]),
        past: Option<&Buffer<N>>,
        out: &mut [N],
        lse: &mut [f32],
    ) -> Result<()> {
        let _timer = self.meter.start(Kind::Attention, flops(attention, &inputs.segments));
        // A product that overflows is more than any buffer holds; from here on none does.
        let tokens = inputs.len();
        let q_len = tokens.saturating_mul(attention.q_width());
        let kv_len = tokens.saturating_mul(attention.kv_width());
        let source = Source {
            attention: *attention,
            past: past.map_or(&[], |past| past),
            blocks: inputs.past_blocks.as_ref(),
            own: &kv[..kv_len],
        };
        let call = forward::Call {
            sizes: Sizes::new(attention, tile_size(self.set)),
            source,
            q: &q[..q_len],
            out: Shared::new(&mut out[..q_len]),
            lse: Shared::new(&mut lse[..tokens * attention.heads]),
        };
        self.attend_few(&call, &inputs.segments);
        self.attend_blocks(&call, &inputs.segments)
    }

    pub(crate) fn attend_backward(
        &self,
        attention: &Attention,
        inputs: &Inputs,
        saved: AttentionSaved<Self>,
        d_out: &[N],
        (d_q, d_kv): (&mut [N], &mut [N]),
        d_past: Option<&mut [f32]>,
    ) -> Result<()> {
        assert!(inputs.past_blocks.is_none(), "no gradients go to a past in blocks");
        let flops = flops(attention, &inputs.segments) * 5 / 2;
        let _timer = self.meter.start(Kind::Attention, flops);
        let tokens = inputs.len();
        let q_len = tokens.saturating_mul(attention.q_width());
        let kv_len = tokens.saturating_mul(attention.kv_width());
        let source = Source {
            attention: *attention,
            past: saved.past.map_or(&[], |past| past),
            blocks: None,
            own: &saved.kv[..kv_len],
        };
        let call = backward::GradientCall {
            sizes: Sizes::new(attention, tile_size(self.set)),
            source,
            q: &saved.q[..q_len],
            out: &saved.out[..q_len],
            lse: &saved.lse[..tokens * attention.heads],
            d_out: &d_out[..q_len],
        };
        self.attention_gradients(
            &call,
            &inputs.segments,
            &mut d_q[..q_len],
            &mut d_kv[..kv_len],
            d_past,
        )
    }
}
