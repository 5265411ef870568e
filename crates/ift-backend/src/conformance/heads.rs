//! Rotary angles, and the split of the fused projection into heads.

use super::fixture::{Fixture, Kept, Result, START, tokens};
use super::operation::Operation;
use super::results::Results;
use super::tolerances::CaseTolerance;
use crate::{
    Attention, Backend, HeadNormStarts, HeadNorms, Heads, Norm, PassInputs, Segment, Storage,
};

/// The split into heads, forward and backward.
#[derive(Debug)]
pub(super) struct HeadsCase {
    /// Tokens of each sequence and where its first token stands.
    sequences: &'static [(usize, usize)],
    attention: Attention,
    /// How the norms' weights are kept; `None` for no norms.
    norms: Option<Kept>,
    rotary: bool,
}

impl Operation for HeadsCase {
    fn tolerance(&self) -> CaseTolerance {
        CaseTolerance::stored_between(2e-5)
    }

    fn run<B: Backend>(&self, f: &Fixture<B>) -> Result<Results> {
        let (b, attention) = (f.backend, &self.attention);
        let d = attention.head_dim;
        let mut n = 0;
        let mut segments = Vec::new();
        for &(len, past_len) in self.sequences {
            segments.push(Segment { start: n, len, past_start: 0, past_len });
            n += len;
        }
        let inputs = b.upload(&PassInputs {
            tokens: &tokens(10, n, 37),
            segments: &segments,
            streams: &[],
            noise: &[],
            look_ahead: None,
            past_blocks: None,
        })?;
        let half = d / 2;
        let frequencies: Vec<f64> =
            (0..half).map(|i| 1e4f64.powf(-(i as f64) / half as f64)).collect();
        let rotary = b.rotary(&inputs, &frequencies)?;
        let mut results = Results::default();
        results.near("rotary", f.read_accumulator(&rotary, n * d));

        let kept = self.norms.unwrap_or(Kept::Trainable);
        let (q_norm, k_norm) = (f.weight(kept, 2, d)?, f.weight(kept, 3, d)?);
        let norm = Norm { width: d, eps: 1e-6, offset: 1.0 };
        let norms = HeadNorms { q: q_norm.weight(), k: k_norm.weight(), norm };
        let heads = Heads {
            tokens: n,
            attention,
            rotary: self.rotary.then_some(&rotary),
            norms: self.norms.map(|_| norms),
        };
        let qkv = f.activation(1, n * attention.qkv_width())?;
        let (q_size, kv_size) = (n * attention.q_width(), n * attention.kv_width());
        let (mut q, mut kv) = (f.activation(4, q_size + 1)?, f.activation(11, kv_size + 1)?);
        b.split_heads(&heads, &qkv, &mut q, &mut kv)?;
        results.near("q", f.read(&q, q_size + 1));
        results.near("kv", f.read(&kv, kv_size + 1));

        let (d_q, d_kv) = (f.activation(5, q_size)?, f.activation(6, kv_size)?);
        let d_size = n * attention.qkv_width() + 1;
        let qkv = self.norms.map(|_| &qkv);
        let mut d_qkv = f.activation(7, d_size)?;
        b.split_heads_backward(&heads, qkv, &d_q, &d_kv, &mut d_qkv, None)?;
        results.near("d_qkv", f.read(&d_qkv, d_size));
        if self.norms.is_some() {
            // The key's norm lies before the query's, a gap between them.
            let len = START + 2 * d + 3;
            let starts = HeadNormStarts { q: START + d + 2, k: START };
            let mut d_norms = f.accumulator(8, len)?;
            let mut d_qkv = f.activation(9, d_size)?;
            let to = Some((starts, &mut d_norms));
            b.split_heads_backward(&heads, qkv, &d_q, &d_kv, &mut d_qkv, to)?;
            results.near("d_qkv with d_norms", f.read(&d_qkv, d_size));
            results.near("d_norms", f.read_accumulator(&d_norms, len));
        }
        Ok(results)
    }
}

const SEQUENCES: [&[(usize, usize)]; 4] =
    [&[], &[(1, 0)], &[(2, 4000), (0, 17), (5, 0)], &[(100, 0), (1, 1234), (30, 77)]];

pub(super) fn cases() -> Vec<HeadsCase> {
    let mut cases = Vec::new();
    let attention = |heads, kv_heads, head_dim| Attention {
        heads,
        kv_heads,
        head_dim,
        scale: 1.0,
        window: None,
    };
    for (heads, kv_heads, head_dim) in [(1, 1, 2), (3, 1, 24), (8, 2, 16), (9, 3, 64)] {
        let attention = attention(heads, kv_heads, head_dim);
        for sequences in SEQUENCES {
            for norms in [None, Some(Kept::Trainable)] {
                for rotary in [false, true] {
                    cases.push(HeadsCase { sequences, attention, norms, rotary });
                }
            }
        }
    }
    for storage in [Storage::Exact, Storage::Bf16, Storage::Int8, Storage::Nf4] {
        let norms = Some(Kept::Frozen(storage));
        let attention = attention(4, 2, 24);
        cases.push(HeadsCase { sequences: SEQUENCES[2], attention, norms, rotary: true });
    }
    cases
}
