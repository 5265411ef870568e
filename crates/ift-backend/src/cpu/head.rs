//! The output head by blocks of the vocabulary: a block of logits is computed, used and forgotten. The backward pass
//! computes it again and turns it into the logits' gradient in place, so that each block of the weight's gradient is
//! touched once.

use super::Cpu;
use super::instructions::kernel;
use super::math::{exp, max, sum_exp};
use super::product::{Matrix, Product};
use crate::{Choice, HeadScores, Out, gumbel};

/// Vocabulary entries in a block, at most; a multiple of every tile width.
const BLOCK: usize = 2048;
/// Rows whose logits exist at a time, at most: with `BLOCK`, 32 MiB.
const ROWS: usize = 4096;
/// Rows of a block of logits that one task takes.
const TASK: usize = 8;

/// What is known of a row after some blocks.
#[derive(Clone)]
struct Row {
    target: usize,
    target_logit: f32,
    /// The largest logit and `Σ exp(logit - largest)`.
    largest: f64,
    sum: f64,
    /// The best candidates so far, best first; at most as many as are wanted.
    best: Vec<(f64, u32)>,
}

impl Row {
    fn new(target: u32, wanted: usize) -> Self {
        let best = Vec::with_capacity(wanted);
        Self { target: target as usize, target_logit: f32::NAN, largest: f64::NEG_INFINITY, sum: 0.0, best }
    }

    /// Adds a block's `largest` logit and `Σ exp(logit - largest)`.
    fn add(&mut self, largest: f32, sum: f32) {
        let (largest, sum) = (f64::from(largest), f64::from(sum));
        if largest > self.largest {
            self.sum = self.sum * (self.largest - largest).exp() + sum;
            self.largest = largest;
        } else {
            self.sum += sum * (largest - self.largest).exp();
        }
    }

    /// Takes a candidate in if it is among the `wanted` best; candidates come in the order of their ids, so an equal one
    /// stays behind those before it.
    fn offer(&mut self, score: f64, id: u32, wanted: usize) {
        if self.best.len() == wanted {
            if self.best.last().is_some_and(|last| score <= last.0) {
                return;
            }
            self.best.pop();
        }
        let at = self.best.partition_point(|b| b.0 >= score);
        self.best.insert(at, (score, id));
    }

    /// The logits of the entries from `first` on.
    fn choose(&mut self, logits: &[f32], largest: f32, first: usize, row: usize, choice: &Choice) {
        let ids = (first as u32..).zip(logits);
        match *choice {
            Choice::Nothing => {}
            Choice::Greedy | Choice::TopK(_) => {
                let wanted = wanted(choice);
                let full = self.best.len() == wanted;
                if full && self.best.last().is_some_and(|last| f64::from(largest) <= last.0) {
                    return;
                }
                for (id, logit) in ids.filter(|(_, logit)| !logit.is_nan()) {
                    self.offer(f64::from(*logit), id, wanted);
                }
            }
            Choice::Sample { temperature, streams } => {
                for (id, logit) in ids.filter(|(_, logit)| !logit.is_nan()) {
                    self.offer(f64::from(*logit) / temperature + gumbel(streams[row], id), id, 1);
                }
            }
        }
    }
}

/// How many candidates a choice has to keep.
fn wanted(choice: &Choice) -> usize {
    match *choice {
        Choice::Nothing => 0,
        Choice::Greedy | Choice::Sample { .. } => 1,
        Choice::TopK(k) => k.max(1),
    }
}

kernel! {
    /// The largest logit and `Σ exp(logit - largest)`.
    fn largest_and_sum<S>(logits: &[f32]) -> (f32, f32) {
        let largest = max(logits);
        (largest, sum_exp::<S>(logits, largest))
    }
}

kernel! {
    /// `g = factor·(onehot - exp(logit - normalizer))`, in place.
    fn gradient<S>(logits: &mut [f32], target: Option<usize>, normalizer: f32, factor: f32) {
        for x in &mut *logits {
            *x = -factor * exp::<S>(*x - normalizer);
        }
        if let Some(x) = target.and_then(|t| logits.get_mut(t)) {
            *x += factor;
        }
    }
}

/// The blocks of the vocabulary: `(first entry, entries)`.
fn blocks(vocabulary: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..vocabulary).step_by(BLOCK).map(move |first| (first, BLOCK.min(vocabulary - first)))
}

impl Cpu {
    /// `x·Wᵀ` for the entries `first..first + size`.
    fn logits_block(
        &self,
        n: usize,
        width: usize,
        x: &[f32],
        weight: &[f32],
        first: usize,
        size: usize,
        logits: &mut [f32],
    ) {
        let weight = &weight[first * width..(first + size) * width];
        self.linear_product(n, width, size, x, weight, None, Out::Set, logits);
    }

    pub(super) fn head_scores(
        &self,
        width: usize,
        vocabulary: usize,
        x: &[f32],
        weight: &[f32],
        targets: &[u32],
        choice: &Choice,
    ) -> HeadScores {
        let wanted = wanted(choice).min(vocabulary);
        let choice = &if let Choice::TopK(_) = choice { Choice::TopK(wanted) } else { *choice };
        let mut rows: Vec<Row> = targets.iter().map(|&target| Row::new(target, wanted)).collect();
        let mut logits = self.pool.take(rows.len().min(ROWS) * BLOCK.min(vocabulary));
        for (part, rows) in rows.chunks_mut(ROWS).enumerate() {
            let x = &x[part * ROWS * width..];
            for (first, size) in blocks(vocabulary) {
                self.logits_block(rows.len(), width, x, weight, first, size, &mut logits);
                let logits = &logits[..rows.len() * size];
                self.threads.split(rows.len().div_ceil(TASK), [(rows, TASK)], |task, [rows]| {
                    for (i, row) in rows.iter_mut().enumerate() {
                        let at = task * TASK + i;
                        let logits = &logits[at * size..(at + 1) * size];
                        let (largest, sum) = largest_and_sum(self.set, logits);
                        row.add(largest, sum);
                        if (first..first + size).contains(&row.target) {
                            row.target_logit = logits[row.target - first];
                        }
                        row.choose(logits, largest, first, part * ROWS + at, choice);
                    }
                });
            }
        }
        let mut scores = HeadScores::default();
        for row in &rows {
            let normalizer = row.largest + row.sum.ln();
            scores.log_normalizers.push(normalizer);
            scores.log_probs.push(f64::from(row.target_logit) - normalizer);
            if wanted > 0 {
                // Where every logit is NaN there is no best one; any token will do.
                scores.choices.push(row.best.last().map_or(0, |best| best.1));
            }
        }
        scores
    }

    pub(super) fn head_gradients(
        &self,
        width: usize,
        vocabulary: usize,
        x: &[f32],
        weight: &[f32],
        targets: &[u32],
        log_normalizers: &[f64],
        d_log_probs: &[f64],
        d_x: &mut [f32],
        mut d_weight: Option<&mut [f32]>,
    ) {
        let mut logits = self.pool.take(targets.len().min(ROWS) * BLOCK.min(vocabulary));
        for (part, targets) in targets.chunks(ROWS).enumerate() {
            let (n, start) = (targets.len(), part * ROWS);
            let x = &x[start * width..(start + n) * width];
            let d_x = &mut d_x[start * width..(start + n) * width];
            for (first, size) in blocks(vocabulary) {
                self.logits_block(n, width, x, weight, first, size, &mut logits);
                let g = &mut logits[..n * size];
                self.threads.rows(n, size, [(&mut *g, size)], |rows, [g]| {
                    for (row, g) in rows.zip(g.chunks_exact_mut(size)) {
                        let target = (targets[row] as usize).checked_sub(first);
                        let normalizer = log_normalizers[start + row] as f32;
                        gradient(self.set, g, target, normalizer, d_log_probs[start + row] as f32);
                    }
                });
                let block = first * width..(first + size) * width;
                let to = if first == 0 { Out::Set } else { Out::Add };
                let to_x = Product {
                    m: n,
                    n: width,
                    k: size,
                    a: Matrix::by_rows(g, size),
                    b: Matrix::by_rows(&weight[block.clone()], width),
                    bias: None,
                    to,
                };
                self.multiply(&to_x, d_x);
                if let Some(d_weight) = &mut d_weight {
                    let to_weight = Product {
                        m: size,
                        n: width,
                        k: n,
                        a: Matrix::transposed(g, size),
                        b: Matrix::by_rows(x, width),
                        bias: None,
                        to: Out::Add,
                    };
                    self.multiply(&to_weight, &mut d_weight[block]);
                }
            }
        }
    }
}
