//! One or two queries over a long past, as in generation: keys and values are read in place, once.

use super::blocks::{Part, SCRATCH, Sizes};
use super::forward::{Call, UNPACKED_QUERIES};
use crate::Cpu;
use crate::instructions::kernel;
use crate::math::{add_scaled, dot, exp_in_place, max};
use crate::number::Number;
use crate::scalar::round_all;
use ift_backend::Segment;

kernel! {
    /// The queries of a segment and a group of heads.
    fn queries<S, N: Number>(
        call: &Call<N>,
        segment: &Segment,
        head: usize,
        scratch: &mut Vec<f32>,
    ) {
        let Sizes { attention, group, .. } = call.sizes;
        let d = attention.head_dim;
        for i in 0..segment.len {
            let visible = attention.visible(segment.past_len + i);
            let count = visible.len();
            scratch.resize(scratch.len().max(group * (count + d)), 0.0);
            let (scores, sums) = scratch.split_at_mut(group * count);
            let sums = &mut sums[..group * d];
            let token = segment.start + i;
            let at = token * attention.q_width() + head * group * d;
            let q = &call.q[at..at + group * d];
            for (j, position) in visible.clone().enumerate() {
                let key = call.source.get(segment, position, Part::Keys, head);
                for (g, q) in q.chunks_exact(d).enumerate() {
                    scores[g * count + j] = attention.scale as f32 * dot::<S, N, N>(q, key);
                }
            }
            let lse_at = token * attention.heads + head * group;
            // SAFETY: a task has its own tokens and heads.
            let (out, lse) = unsafe {
                (call.out.range(at..at + group * d), call.lse.range(lse_at..lse_at + group))
            };
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
                let value = call.source.get(segment, position, Part::Values, head);
                for (g, sums) in sums.chunks_exact_mut(d).enumerate() {
                    add_scaled::<S, f32, N>(sums, scores[g * count + j], value);
                }
            }
            round_all(sums, out);
        }
    }
}

impl<N: Number> Cpu<N> {
    /// All segments of at most [`UNPACKED_QUERIES`] queries.
    pub(super) fn attend_few(&self, call: &Call<N>, segments: &[Segment]) {
        let kv_heads = call.sizes.attention.kv_heads;
        let few: Vec<&Segment> =
            segments.iter().filter(|s| (1..=UNPACKED_QUERIES).contains(&s.len)).collect();
        self.threads.each(few.len() * kv_heads, |task| {
            let (segment, head) = (few[task / kv_heads], task % kv_heads);
            SCRATCH.with_borrow_mut(|scratch| {
                queries(self.set, call, segment, head, scratch);
            });
        });
    }
}
