//! Scores of targets and selected tokens.

use super::blocks::{KEPT, ROWS, States, blocks};
use super::row_state::{RowState, wanted};
use super::scores::Scores;
use crate::arena::{collect, reserved};
use crate::instructions::kernel;
use crate::math::{max, sum_exp};
use crate::number::Number;
use crate::parameters::operand;
use crate::profile::Kind;
use crate::threads::Cut;
use crate::{Buffer, Cpu};
use ift_backend::{BackendError, Head, HeadScores, HeadTargets, Linear, Out, Select, Weight};

type Result<T> = std::result::Result<T, BackendError>;

/// Rows of a block of logits that one task takes.
const TASK: usize = 8;
/// What the errors of this file say that memory was needed for.
const WHAT: &str = "scores of the head";

kernel! {
    /// The largest logit and `Σ exp(logit - largest)`.
    fn largest_and_sum<S>(logits: &[f32]) -> (f32, f32) {
        let largest = max(logits);
        (largest, sum_exp::<S>(logits, largest))
    }
}

impl<N: Number> Cpu<N> {
    pub(crate) fn head_scores(
        &self,
        head: Head,
        x: &[N],
        weight: Weight<Self>,
        targets: &HeadTargets,
    ) -> Result<Scores> {
        let Head { width, vocabulary } = head;
        let n = targets.ids.len();
        let _timer = self.meter.start(Kind::Head, 2 * (n * width * vocabulary) as u64);
        let wanted = wanted(&targets.select).min(vocabulary);
        let select = match targets.select {
            Select::TopK(_) => Select::TopK(wanted),
            Select::Entropy { .. } => Select::Entropy { top: wanted },
            other => other,
        };
        let states = States { width, x, weight: operand(weight) };
        let mut rows = reserved(WHAT, n)?;
        for &target in targets.ids {
            rows.push(RowState::new(target, wanted)?);
        }
        let keep = targets.keep_logits && n <= ROWS && n * vocabulary <= KEPT;
        let mut kept = Vec::new();
        let mut buffer = self.logits_buffer(if keep { 0 } else { n }, vocabulary)?;
        for (part, rows) in rows.chunks_mut(ROWS).enumerate() {
            let start = part * ROWS;
            for block in blocks(vocabulary) {
                let len = rows.len() * block.size;
                let logits: &mut Buffer<f32> = if keep {
                    kept.push(self.arena.take("kept logits", len)?);
                    kept.last_mut().unwrap_or(&mut buffer)
                } else {
                    &mut buffer
                };
                self.logits_block(&states, start, rows.len(), block, logits)?;
                let logits = &logits[..len];
                self.threads.split(rows.len().div_ceil(TASK), Cut(rows, TASK), |task, rows| {
                    for (i, row) in rows.iter_mut().enumerate() {
                        let at = task * TASK + i;
                        let logits = &logits[at * block.size..(at + 1) * block.size];
                        let (largest, sum) = largest_and_sum(self.set, logits);
                        row.add(largest, sum);
                        if (block.first..block.first + block.size).contains(&row.target) {
                            row.target_logit = logits[row.target - block.first];
                        }
                        row.select((logits, largest), block.first, start + at, &select);
                    }
                });
            }
        }
        let mut host = HeadScores::default();
        let log_normalizers = collect(WHAT, rows.iter().map(RowState::log_normalizer))?;
        let log_prob =
            |(row, normalizer): (&RowState, &f64)| f64::from(row.target_logit) - normalizer;
        host.log_probs = collect(WHAT, rows.iter().zip(&log_normalizers).map(log_prob))?;
        if let Select::Entropy { .. } = select {
            host.entropies = collect(WHAT, rows.iter().map(RowState::entropy))?;
        } else if wanted > 0 {
            host.selected = collect(WHAT, rows.iter().map(RowState::selected))?;
        }
        let targets = collect(WHAT, targets.ids.iter().copied())?;
        Ok(Scores { targets, log_normalizers, host, kept: keep.then_some(kept) })
    }

    /// All logits of `n` hidden states on the host.
    pub(crate) fn all_logits(
        &self,
        head: Head,
        n: usize,
        x: &[N],
        weight: Weight<Self>,
    ) -> Result<Vec<f32>> {
        let Head { width, vocabulary } = head;
        let _timer = self.meter.start(Kind::Head, 2 * (n * width * vocabulary) as u64);
        let len = n.saturating_mul(vocabulary);
        let mut logits = reserved("logits on the host", len)?;
        logits.resize(len, 0.0f32);
        let linear = Linear { tokens: n, inputs: width, outputs: vocabulary };
        self.linear_product(linear, x, operand(weight), None, Out::Set, &mut logits)?;
        Ok(logits)
    }
}
