//! The output head by blocks of the vocabulary: a block of logits is computed, used and forgotten,
//! or kept where all of them fit a budget. The backward pass takes what was kept or computes a
//! block again, and turns it into the logits' gradient in place, so that each block of the weight's
//! gradient is touched once.

use crate::divergence::Share;
use crate::instructions::kernel;
use crate::math::{exp, max, sum_exp};
use crate::number::{Number, round_in_place};
use crate::pack::{Matrix, Operand};
use crate::product::Product;
use crate::stored::Stored;
use crate::threads::Cut;
use crate::{Buffer, Cpu};
use ift_backend::{Choice, HeadScores, Out};
use ift_random::gumbel;

/// Vocabulary entries in a block, at most; a multiple of every tile width.
pub(crate) const BLOCK: usize = 2048;
/// Rows whose logits exist at a time, at most: with `BLOCK`, 32 MiB.
pub(crate) const ROWS: usize = 4096;
/// Numbers of logits that may be kept for the backward pass (256 MiB).
const KEPT: usize = 64 << 20;
/// Rows of a block of logits that one task takes.
const TASK: usize = 8;

/// Logits kept for the backward pass, by block of the vocabulary.
pub(crate) type Kept = Vec<Buffer<f32>>;

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
        Self {
            target: target as usize,
            target_logit: f32::NAN,
            largest: f64::NEG_INFINITY,
            sum: 0.0,
            best,
        }
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

    /// Takes a candidate in if it is among the `wanted` best; candidates come in the order of their
    /// ids, so an equal one stays behind those before it.
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

    /// The entropy of the softmax over the candidates; not a number if any logit is not.
    fn entropy(&self) -> f64 {
        let Some(&(largest, _)) = self.best.first().filter(|_| !self.sum.is_nan()) else {
            return f64::NAN;
        };
        let sum: f64 = self.best.iter().map(|(logit, _)| (logit - largest).exp()).sum();
        let mean: f64 =
            self.best.iter().map(|(logit, _)| (logit - largest).exp() * (logit - largest)).sum();
        sum.ln() - mean / sum
    }

    /// The logits of the entries from `first` on.
    fn choose(&mut self, logits: &[f32], largest: f32, first: usize, row: usize, choice: &Choice) {
        let ids = (first as u32..).zip(logits);
        match *choice {
            Choice::Nothing => {}
            Choice::Greedy | Choice::TopK(_) | Choice::Entropy { .. } => {
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
        Choice::TopK(wanted) | Choice::Entropy { top: wanted } => wanted.max(1),
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
    /// `g = factor·(onehot - exp(logit - normalizer)) + more`, in place; `more` may be empty.
    /// Where numbers are narrow they are rounded too, to the beginning of the row.
    fn gradient<S, N: Number>(
        logits: &mut [f32],
        target: Option<usize>,
        normalizer: f32,
        factor: f32,
        more: &[f32],
    ) {
        for x in &mut *logits {
            *x = -factor * exp::<S>(*x - normalizer);
        }
        if let Some(x) = target.and_then(|t| logits.get_mut(t)) {
            *x += factor;
        }
        logits.iter_mut().zip(more).for_each(|(x, more)| *x += more);
        round_in_place::<N>(logits);
    }
}

/// The blocks of the vocabulary: `(first entry, entries)`.
pub(crate) fn blocks(vocabulary: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..vocabulary).step_by(BLOCK).map(move |first| (first, BLOCK.min(vocabulary - first)))
}

impl<N: Number> Cpu<N> {
    /// `x·Wᵀ` for the entries `first..first + size`.
    pub(crate) fn logits_block(
        &self,
        n: usize,
        width: usize,
        x: &[N],
        weight: Stored<N>,
        first: usize,
        size: usize,
        logits: &mut [f32],
    ) {
        self.linear_product(n, width, size, x, weight.skip(first * width), None, Out::Set, logits);
    }

    /// The scores; and with `keep` the logits, if they fit the budget: `[n, size]` for each block
    /// of the vocabulary, each a buffer of its own, which finds room where one of all would
    /// not.
    pub(crate) fn head_scores(
        &self,
        width: usize,
        vocabulary: usize,
        x: &[N],
        weight: Stored<N>,
        targets: &[u32],
        choice: &Choice,
        keep: bool,
    ) -> (HeadScores, Option<Kept>) {
        let wanted = wanted(choice).min(vocabulary);
        let choice = &match choice {
            Choice::TopK(_) => Choice::TopK(wanted),
            Choice::Entropy { .. } => Choice::Entropy { top: wanted },
            _ => *choice,
        };
        let mut rows: Vec<Row> = targets.iter().map(|&target| Row::new(target, wanted)).collect();
        let keep = keep && rows.len() <= ROWS && rows.len() * vocabulary <= KEPT;
        let mut kept = Vec::new();
        let most = rows.len().min(ROWS) * BLOCK.min(vocabulary);
        let mut block = self.pool.take(if keep { 0 } else { most });
        for (part, rows) in rows.chunks_mut(ROWS).enumerate() {
            let x = &x[part * ROWS * width..];
            for (first, size) in blocks(vocabulary) {
                let logits = if keep {
                    kept.push(self.pool.take(rows.len() * size));
                    kept.last_mut().unwrap_or(&mut block)
                } else {
                    &mut block
                };
                self.logits_block(rows.len(), width, x, weight, first, size, logits);
                let logits = &logits[..rows.len() * size];
                self.threads.split(rows.len().div_ceil(TASK), Cut(rows, TASK), |task, rows| {
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
            if let Choice::Entropy { .. } = choice {
                scores.entropies.push(row.entropy());
            } else if wanted > 0 {
                // Where every logit is NaN there is no best one; any token will do.
                scores.choices.push(row.best.last().map_or(0, |best| best.1));
            }
        }
        (scores, keep.then_some(kept))
    }

    pub(crate) fn head_gradients(
        &self,
        width: usize,
        vocabulary: usize,
        x: &[N],
        weight: Stored<N>,
        targets: &[u32],
        log_normalizers: &[f64],
        mut kept: Option<Kept>,
        d_log_probs: &[f64],
        divergence: Option<&Share<N>>,
        d_x: &mut [N],
        mut d_weight: Option<&mut [f32]>,
    ) {
        // The gradients that rows of narrow numbers hold lie this far apart.
        let spread = size_of::<f32>() / size_of::<N>();
        let most = targets.len().min(ROWS);
        let mut block = if kept.is_none() {
            self.pool.take(most * BLOCK.min(vocabulary))
        } else {
            self.pool.take(0)
        };
        let mut more =
            self.pool.take(if divergence.is_some() { most * BLOCK.min(vocabulary) } else { 0 });
        let mut sums = self.pool.take::<f32>(most * width);
        for (part, targets) in targets.chunks(ROWS).enumerate() {
            let (n, start) = (targets.len(), part * ROWS);
            let x = &x[start * width..(start + n) * width];
            for (i, (first, size)) in blocks(vocabulary).enumerate() {
                let g = if let Some(kept) = kept.as_mut().and_then(|kept| kept.get_mut(i)) {
                    kept
                } else {
                    self.logits_block(n, width, x, weight, first, size, &mut block);
                    &mut block
                };
                let g = &mut g[..n * size];
                if let Some(divergence) = divergence {
                    self.divergence_share(
                        divergence,
                        log_normalizers,
                        start,
                        (first, size),
                        g,
                        &mut more[..n * size],
                    );
                }
                self.threads.rows(n, size, Cut(&mut *g, size), |rows, g| {
                    for (row, g) in rows.zip(g.chunks_exact_mut(size)) {
                        let target = (targets[row] as usize).checked_sub(first);
                        let (normalizer, factor) =
                            (log_normalizers[start + row], d_log_probs[start + row]);
                        let more =
                            if more.is_empty() { &[] } else { &more[row * size..(row + 1) * size] };
                        gradient::<N>(self.set, g, target, normalizer as f32, factor as f32, more);
                    }
                });
                let g: &[N] = bytemuck::cast_slice(g);
                let entries = first * width..(first + size) * width;
                let to_x = Product {
                    m: n,
                    n: width,
                    k: size,
                    a: Matrix::by_rows(g, spread * size),
                    b: Operand::by_rows(weight.skip(entries.start), width),
                    bias: None,
                    to: if first == 0 { Out::Set } else { Out::Add },
                };
                self.multiply(&to_x, &mut sums);
                if let Some(d_weight) = &mut d_weight {
                    let to_weight = Product {
                        m: size,
                        n: width,
                        k: n,
                        a: Matrix::transposed(g, spread * size),
                        b: Operand::by_rows(x.into(), width),
                        bias: None,
                        to: Out::Add,
                    };
                    self.multiply(&to_weight, &mut d_weight[entries]);
                }
            }
            self.round_numbers(&sums, &mut d_x[start * width..(start + n) * width]);
        }
    }
}
