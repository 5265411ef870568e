//! What a method compares the policy with: a reference model's log-probabilities, and its
//! distributions where a method asks for a divergence.

use crate::micro_batch::{MicroBatch, Part, RowError, runs};
use crate::passes::Passes;
use ift_backend::Backend;
use ift_data::Row;
use ift_methods::RowKind;
use ift_model::{Model, Scored};
use std::ops::Range;

/// Where a step finds the reference's log-probabilities.
pub enum ReferenceSource<'a, B: Backend> {
    /// Nowhere: the method needs none.
    None,
    /// Another model with the same vocabulary.
    Model(&'a Model<B>),
    /// The policy without its adapters.
    Base,
    /// They are known already, for each row of the step.
    Known(Vec<&'a KnownScores>),
}

/// A reference's log-probabilities of everything that a row holds. Empty where the row holds
/// nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct KnownScores {
    /// Of the row's own sequence. `[targets]`
    pub first: Vec<f64>,
    /// Of a pair's rejected side. `[targets]`
    pub rejected: Vec<f64>,
    /// Of a judged row's prompt with another answer. `[targets]`
    pub mismatched: Vec<f64>,
}

/// A reference's word on a micro-batch.
pub(crate) struct ReferenceScores<'a, B: Backend> {
    /// For each answer the log-probabilities of its targets.
    pub log_probs: Vec<Vec<f64>>,
    /// The model and what its head said, unless only log-probabilities are known.
    pub scored: Option<(&'a Model<B>, Scored<B>)>,
}

impl<'a, B: Backend> ReferenceSource<'a, B> {
    /// Scores `batch`, the sequences `part` of the rows numbered `rows`; `None` where there is no
    /// reference.
    pub(crate) fn score(
        &self,
        policy: &'a Model<B>,
        batch: &MicroBatch,
        part: Part,
        rows: Range<usize>,
    ) -> Option<ReferenceScores<'a, B>> {
        let (model, adapters_off) = match self {
            Self::None => return None,
            Self::Known(known) => {
                let log_probs =
                    known[rows].iter().flat_map(|row| row.of(part)).map(<[f64]>::to_vec);
                return Some(ReferenceScores { log_probs: log_probs.collect(), scored: None });
            }
            Self::Model(model) => (*model, false),
            Self::Base => (policy, true),
        };
        let scored = Passes::score(model, batch, adapters_off);
        let log_probs = batch.by_answer(&scored.scores.log_probs);
        Some(ReferenceScores { log_probs, scored: Some((model, scored)) })
    }
}

impl KnownScores {
    fn of(&self, part: Part) -> Vec<&[f64]> {
        match part {
            Part::Answers(RowKind::Pair) => vec![&self.first, &self.rejected],
            Part::Answers(_) => vec![&self.first],
            Part::Mismatched => vec![&self.mismatched],
        }
    }

    /// Scores rows with a reference model, so that it can go before training begins.
    ///
    /// # Errors
    /// If a row has no target or a token outside of the vocabulary.
    pub fn of_rows<B: Backend>(
        model: &Model<B>,
        rows: &[&Row],
        micro_batch_tokens: usize,
    ) -> Result<Vec<Self>, RowError> {
        let mut all = Vec::with_capacity(rows.len());
        for range in runs(rows.iter().map(|row| row.len_tokens()), micro_batch_tokens) {
            for rows in rows[range].chunk_by(|a, b| a.kind() == b.kind()) {
                all.extend(score_alike(model, rows)?);
            }
        }
        Ok(all)
    }
}

/// Rows of one kind in one micro-batch.
fn score_alike<B: Backend>(model: &Model<B>, rows: &[&Row]) -> Result<Vec<KnownScores>, RowError> {
    let vocabulary = model.config().vocabulary;
    let score = |part| -> Result<Vec<Vec<f64>>, RowError> {
        let batch = MicroBatch::new(rows, vocabulary, part, false)?;
        Ok(batch.by_answer(&Passes::score(model, &batch, false).scores.log_probs))
    };
    let Some(kind) = rows.first().map(|row| row.kind()) else { return Ok(Vec::new()) };
    let mut answers = score(Part::Answers(kind))?.into_iter();
    let judged = kind == RowKind::Judged;
    let mut mismatched = if judged { score(Part::Mismatched)? } else { Vec::new() }.into_iter();
    let known = rows.iter().map(|_| KnownScores {
        first: answers.next().unwrap_or_default(),
        rejected: match kind {
            RowKind::Pair => answers.next().unwrap_or_default(),
            _ => Vec::new(),
        },
        mismatched: mismatched.next().unwrap_or_default(),
    });
    Ok(known.collect())
}
