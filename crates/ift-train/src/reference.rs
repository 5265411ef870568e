//! What a method compares the policy with: a reference model's log-probabilities, and its
//! distributions where a method asks for a divergence.

use ift_backend::{Backend, Select};
use ift_data::Row;
use ift_engine::{Answer, EngineError, PackError, Packed, ScoreSettings, score, score_packed};
use ift_methods::RowKind;
use ift_model::{Model, ModelError, Scored};
use std::ops::Range;

use crate::pack::{Part, RowError, group_of};
use crate::step_error::StepError;

/// Where a step finds the reference's log-probabilities.
pub enum ReferenceSource<'a, B: Backend> {
    /// No reference: the method needs none.
    None,
    /// Another model with the same vocabulary.
    Model(&'a Model<B>),
    /// The policy without its adapters.
    Base,
    /// Precomputed scores, for each row of the step.
    Known(Vec<&'a KnownScores>),
}

/// A reference's log-probabilities of all sequences of a row. Empty where the row has no such
/// sequence.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct KnownScores {
    /// Of the row's own sequence. `[targets]`
    pub first: Vec<f64>,
    /// Of a pair's rejected side. `[targets]`
    pub rejected: Vec<f64>,
    /// Of a judged row's prompt with another answer. `[targets]`
    pub mismatched: Vec<f64>,
}

/// A reference's scores of a micro-batch.
pub(crate) struct ReferenceScores<'a, B: Backend> {
    /// For each answer the log-probabilities of its targets.
    pub log_probs: Vec<Vec<f64>>,
    /// The model and its scores, unless only log-probabilities are known.
    pub scored: Option<(&'a Model<B>, Scored<B>)>,
}

impl<'a, B: Backend> ReferenceSource<'a, B> {
    /// Scores `batch`, the sequences `part` of the rows numbered `rows`; `None` where there is no
    /// reference.
    pub(crate) fn score(
        &self,
        policy: &'a Model<B>,
        batch: &Packed,
        part: Part,
        rows: Range<usize>,
    ) -> Result<Option<ReferenceScores<'a, B>>, ModelError> {
        let (model, adapters_off) = match self {
            Self::None => return Ok(None),
            Self::Known(known) => {
                let log_probs =
                    known[rows].iter().flat_map(|row| row.of(part)).map(<[f64]>::to_vec);
                return Ok(Some(ReferenceScores { log_probs: log_probs.collect(), scored: None }));
            }
            Self::Model(model) => (*model, false),
            Self::Base => (policy, true),
        };
        let scored = score_packed(model, batch, adapters_off, Select::Nothing)?;
        let log_probs = batch.by_answer(&model.read_scores(&scored).log_probs);
        Ok(Some(ReferenceScores { log_probs, scored: Some((model, scored)) }))
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
    /// If a row has no target or a token outside of the vocabulary, or memory runs out.
    pub fn of_rows<B: Backend>(
        model: &Model<B>,
        rows: &[&Row],
        micro_batch_tokens: usize,
    ) -> Result<Vec<Self>, StepError> {
        let first = score_groups(model, rows, answers_of, micro_batch_tokens)?;
        let second = score_groups(model, rows, mismatched_of, micro_batch_tokens)?;
        let known = first.into_iter().zip(second).map(|(answers, mismatched)| {
            let (mut answers, mut mismatched) = (answers.into_iter(), mismatched.into_iter());
            Self {
                first: answers.next().unwrap_or_default(),
                rejected: answers.next().unwrap_or_default(),
                mismatched: mismatched.next().unwrap_or_default(),
            }
        });
        Ok(known.collect())
    }
}

fn answers_of(row: &Row) -> Result<Vec<Answer<'_>>, RowError> {
    group_of(row, Part::Answers(row.kind()))
}

fn mismatched_of(row: &Row) -> Result<Vec<Answer<'_>>, RowError> {
    match row.kind() {
        RowKind::Judged => group_of(row, Part::Mismatched),
        _ => Ok(Vec::new()),
    }
}

/// Log-probabilities of a group of answers of each row; rows may have none.
fn score_groups<'r, B: Backend>(
    model: &Model<B>,
    rows: &[&'r Row],
    group: fn(&'r Row) -> Result<Vec<Answer<'r>>, RowError>,
    tokens: usize,
) -> Result<Vec<Vec<Vec<f64>>>, StepError> {
    let groups = rows.iter().map(|row| group(row)).collect::<Result<Vec<_>, _>>()?;
    if groups.iter().all(Vec::is_empty) {
        return Ok(vec![Vec::new(); rows.len()]);
    }
    let settings = ScoreSettings { tokens, adapters_off: false, argmax: false };
    let scores = score(model, &groups, settings).map_err(|error| match error {
        EngineError::Pack(PackError { group, fault, .. }) => {
            StepError::Row(RowError::of_fault(rows[group].record, &fault))
        }
        EngineError::Model(error) => StepError::Model(error),
        error @ (EngineError::Prompt { .. } | EngineError::NotFinite { .. }) => {
            StepError::Engine(error)
        }
    })?;
    Ok(scores.into_iter().map(|row| row.into_iter().map(|s| s.log_probs).collect()).collect())
}
