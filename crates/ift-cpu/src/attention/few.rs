//! A token or two over a long past, as in generation: the keys and values are read once, where they
//! lie.

use super::{Sizes, Source};
use crate::instructions::kernel;
use crate::math::{add_scaled, dot, exp_in_place, max};
use crate::number::{Number, round_all};
use crate::threads::Shared;
use ift_backend::AttentionRow;

kernel! {
    pub(super) fn queries<S, N: Number>(
        sizes: &Sizes,
        source: &Source<N>,
        row: &AttentionRow,
        head: usize,
        q: &[N],
        out: &Shared<N>,
        lse: &Shared<f32>,
        scratch: &mut Vec<f32>,
    ) {
        let (shape, group) = (sizes.shape, sizes.group);
        let d = shape.head_dim;
        for i in 0..row.len {
            let visible = shape.visible(row.past_len + i);
            let count = visible.len();
            scratch.resize(scratch.len().max(group * (count + d)), 0.0);
            let (scores, sums) = scratch.split_at_mut(group * count);
            let sums = &mut sums[..group * d];
            let token = row.start + i;
            let at = token * shape.q_width() + head * group * d;
            let q = &q[at..at + group * d];
            for (j, position) in visible.clone().enumerate() {
                let key = source.get(row, position, 0, head);
                for (g, q) in q.chunks_exact(d).enumerate() {
                    scores[g * count + j] = shape.scale as f32 * dot::<S, N, N>(q, key);
                }
            }
            let lse_at = token * shape.heads + head * group;
            // SAFETY: a task has its own tokens and heads.
            let (out, lse) = unsafe { (out.range(at..at + group * d), lse.range(lse_at..lse_at + group)) };
            for (scores, lse) in scores.chunks_exact_mut(count).zip(lse) {
                let largest = max(scores);
                let sum = exp_in_place::<S>(scores, largest);
                for p in scores {
                    *p /= sum;
                }
                *lse = largest + sum.ln();
            }
            sums.fill(0.0);
            for (j, position) in visible.enumerate() {
                let value = source.get(row, position, 1, head);
                for (g, sums) in sums.chunks_exact_mut(d).enumerate() {
                    add_scaled::<S, f32, N>(sums, scores[g * count + j], value);
                }
            }
            round_all(sums, out);
        }
    }
}
