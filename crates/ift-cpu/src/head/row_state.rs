//! One row of logits, computed block by block: log-sum-exp, target and candidates.

use crate::arena::reserved;
use ift_backend::{BackendError, Select};
use ift_random::gumbel;

/// What is known of a row of logits after some blocks.
#[derive(Clone)]
pub(super) struct RowState {
    pub target: usize,
    pub target_logit: f32,
    /// The largest logit and `Σ exp(logit - largest)`.
    largest: f64,
    sum: f64,
    /// The best candidates so far, the best first; at most as many as are wanted.
    best: Vec<(f64, u32)>,
}

impl RowState {
    pub fn new(target: u32, wanted: usize) -> Result<Self, BackendError> {
        Ok(Self {
            target: target as usize,
            target_logit: f32::NAN,
            largest: f64::NEG_INFINITY,
            sum: 0.0,
            best: reserved("the candidates of a row of logits", wanted)?,
        })
    }

    /// Adds a block's `largest` logit and `Σ exp(logit - largest)`.
    pub fn add(&mut self, largest: f32, sum: f32) {
        let (largest, sum) = (f64::from(largest), f64::from(sum));
        if largest > self.largest {
            self.sum = self.sum * (self.largest - largest).exp() + sum;
            self.largest = largest;
        } else {
            self.sum += sum * (largest - self.largest).exp();
        }
    }

    /// Adds a candidate if it is among the `wanted` best. Candidates come in the order of their
    /// ids, so one with an equal score stays after those before it.
    fn push_candidate(&mut self, score: f64, id: u32, wanted: usize) {
        if self.best.len() == wanted {
            if self.best.last().is_some_and(|last| score <= last.0) {
                return;
            }
            self.best.pop();
        }
        let at = self.best.partition_point(|b| b.0 >= score);
        self.best.insert(at, (score, id));
    }

    /// The log-sum-exp of the logits.
    pub fn log_normalizer(&self) -> f64 {
        self.largest + self.sum.ln()
    }

    /// The token id of the last wanted candidate; 0 if there is none because every logit is NaN.
    pub fn selected(&self) -> u32 {
        self.best.last().map_or(0, |best| best.1)
    }

    /// The entropy of the softmax over the candidates; NaN if any logit is NaN.
    pub fn entropy(&self) -> f64 {
        let Some(&(largest, _)) = self.best.first().filter(|_| !self.sum.is_nan()) else {
            return f64::NAN;
        };
        let sum: f64 = self.best.iter().map(|(logit, _)| (logit - largest).exp()).sum();
        let mean: f64 =
            self.best.iter().map(|(logit, _)| (logit - largest).exp() * (logit - largest)).sum();
        sum.ln() - mean / sum
    }

    /// Adds a block's candidates: the logits of the entries from `first` on, of which `largest`
    /// is the largest.
    pub fn select(
        &mut self,
        (logits, largest): (&[f32], f32),
        first: usize,
        row: usize,
        select: &Select,
    ) {
        let ids = (first as u32..).zip(logits);
        match *select {
            Select::Nothing => {}
            Select::Argmax | Select::TopK(_) | Select::Entropy { .. } => {
                let wanted = wanted(select);
                let full = self.best.len() == wanted;
                if full && self.best.last().is_some_and(|last| f64::from(largest) <= last.0) {
                    return;
                }
                for (id, logit) in ids.filter(|(_, logit)| !logit.is_nan()) {
                    self.push_candidate(f64::from(*logit), id, wanted);
                }
            }
            Select::Sample { temperature, streams } => {
                for (id, logit) in ids.filter(|(_, logit)| !logit.is_nan()) {
                    self.push_candidate(
                        f64::from(*logit) / temperature + gumbel(streams[row], id),
                        id,
                        1,
                    );
                }
            }
        }
    }
}

/// The number of candidates to keep.
pub(super) fn wanted(select: &Select) -> usize {
    match *select {
        Select::Nothing => 0,
        Select::Argmax | Select::Sample { .. } => 1,
        Select::TopK(wanted) | Select::Entropy { top: wanted } => wanted.max(1),
    }
}
