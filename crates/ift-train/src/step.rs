//! Forward and backward over the rows of one optimizer step, in three phases.
//!
//! 1. *Score*: everything that the losses of other rows depend on is computed without gradient:
//!    KTO's mismatched sequences, and all answers where the loss of a row depends on other rows.
//! 2. *Couple*: these scores are exchanged with the other processes of the run, and become the KL
//!    point and the coupled losses (`couple.rs`).
//! 3. *Backward*, micro-batch by micro-batch: the reference's log-probabilities → prompts' forward
//!    → continuations' look-ahead and forward → log-probabilities → the method's loss and its
//!    gradient → head, continuations, prompts backward.
//!
//! Everything is a sum; the caller divides once by the count of the whole step.

use std::mem::take;
use std::ops::Range;

use ift_backend::{Backend, Divergence, HeadScores, Select};
use ift_data::Row;
use ift_engine::{Packed, PackedAnswer, runs, score_packed};
use ift_methods::{Coupling, KlDirection, LookAhead, Method, RowKind, RowLoss};
use ift_model::{Gradients, Keep, Model, ModelError, ScoredDivergence};

use crate::context::StepContext;
use crate::couple::{Coupled, couple, losses};
use crate::draws::randomize;
use crate::pack::{Part, pack, target_weights};
use crate::passes::Passes;
use crate::reference::{ReferenceScores, ReferenceSource};
use crate::step_error::StepError;
use crate::sums::{self, AnswerDetail, Sums};

/// Adds the gradient sums of `rows`, this process's rows of one optimizer step, to `gradients`, and
/// returns the sums over the rows of all processes. Gradients are not exchanged here.
///
/// # Errors
/// If a row has no target, a token outside of the vocabulary, or nothing to compare with, or the
/// method does not go with the model; nothing was added then. Or if the exchange with the other
/// processes fails.
pub fn accumulate<B: Backend>(
    model: &Model<B>,
    reference: &ReferenceSource<B>,
    gradients: &mut Gradients<B>,
    rows: &[&Row],
    context: &StepContext,
) -> Result<Sums, StepError> {
    accumulate_with(model, reference, gradients, rows, context, &mut |_| {})
}

/// [`accumulate`], showing what happened to each row, in order: its answers, one, or two of a pair.
///
/// # Errors
/// As [`accumulate`].
pub fn accumulate_with<B: Backend>(
    model: &Model<B>,
    reference: &ReferenceSource<B>,
    gradients: &mut Gradients<B>,
    rows: &[&Row],
    context: &StepContext,
    show: &mut dyn FnMut(&[AnswerDetail]),
) -> Result<Sums, StepError> {
    let keep = if context.recompute { Keep::BlockInputs } else { Keep::Everything };
    Step::new(model, reference, rows, context, true)?.run(keep, Some(gradients), show)
}

/// The sums that [`accumulate`] would return, without a gradient and without anything random: the
/// method's loss on held-out rows.
///
/// # Errors
/// As [`accumulate`].
pub fn examine<B: Backend>(
    model: &Model<B>,
    reference: &ReferenceSource<B>,
    rows: &[&Row],
    context: &StepContext,
) -> Result<Sums, StepError> {
    Step::new(model, reference, rows, context, false)?.run(Keep::Nothing, None, &mut |_| {})
}

/// The largest `k` of a look-ahead or an entropy. The `k` largest logits of every target are kept,
/// 16 bytes each, and sorted by insertion.
const MOST_K: usize = 1024;

/// Checks that a method does not need more tokens than a vocabulary has, or than [`MOST_K`].
///
/// # Errors
/// Names the field whose value is too large.
pub(crate) fn check_method(method: &Method, vocabulary: usize) -> Result<(), StepError> {
    let look_ahead = match method.look_ahead() {
        Some(LookAhead::TopK { k }) => Some(k),
        _ => None,
    };
    let most = vocabulary.min(MOST_K);
    let Some(k) = look_ahead.into_iter().chain(method.needs().entropy).find(|&k| k > most) else {
        return Ok(());
    };
    let problem = if k > vocabulary {
        format!(
            "is {k}, but the model's vocabulary has {vocabulary} entries; expected at most {most}"
        )
    } else {
        format!("is {k}, expected at most {most}")
    };
    Err(StepError::Method { field: "method.k".to_owned(), problem })
}

/// A step's rows, packed.
struct Step<'a, B: Backend> {
    model: &'a Model<B>,
    reference: &'a ReferenceSource<'a, B>,
    rows: &'a [&'a Row],
    context: &'a StepContext<'a>,
    part: Part,
    /// Rows of each micro-batch.
    runs: Vec<Range<usize>>,
    batches: Vec<Packed>,
}

/// A micro-batch after its forward passes.
struct ScoredBatch<'a, B: Backend> {
    passes: Passes<B>,
    reference: Option<ReferenceScores<'a, B>>,
    /// One entry for each answer, still without its loss.
    details: Vec<AnswerDetail>,
}

/// Scores that are shared by the rows of a step.
#[derive(Default)]
struct Shared {
    /// Scores of the mismatched sequences, where the method has a KL point.
    mismatched: Vec<AnswerDetail>,
    /// Scores of all answers, where the loss of a row depends on its neighbours.
    answers: Vec<AnswerDetail>,
}

impl<'a, B: Backend> Step<'a, B> {
    /// All rows are packed before anything is added, so that a bad one leaves the gradients as they
    /// were. `random`: with dropout and noise, where the run has them.
    fn new(
        model: &'a Model<B>,
        reference: &'a ReferenceSource<'a, B>,
        rows: &'a [&'a Row],
        context: &'a StepContext<'a>,
        random: bool,
    ) -> Result<Self, StepError> {
        let config = model.config();
        check_method(context.method, config.vocabulary)?;
        let part = Part::Answers(context.method.needs().rows);
        let split = context.look_ahead().is_some();
        let runs = runs(rows.iter().map(|row| part.tokens(row)), context.micro_batch_tokens);
        let pack = |range: &Range<usize>| -> Result<Packed, StepError> {
            let rows = &rows[range.clone()];
            let mut batch = pack(rows, config.vocabulary, part, split)?;
            if random && (context.noise > 0.0 || model.is_adapted()) {
                randomize(context, &mut batch, rows, part, config.hidden);
            }
            Ok(batch)
        };
        let batches = runs.iter().map(pack).collect::<Result<_, _>>()?;
        Ok(Self { model, reference, rows, context, part, runs, batches })
    }

    fn run(
        &self,
        keep: Keep,
        mut gradients: Option<&mut Gradients<B>>,
        show: &mut dyn FnMut(&[AnswerDetail]),
    ) -> Result<Sums, StepError> {
        let (method, collective) = (self.context.method, self.context.collective);
        let (shared, mut first_batch) = self.score_shared(keep)?;
        let Coupled { kl_point, losses: coupled } =
            couple(method, collective, &shared.mismatched, &shared.answers)?;
        let mut coupled = coupled.map(Vec::into_iter);
        let mut sums = Sums::default();
        for (i, (range, batch)) in self.runs.iter().zip(&self.batches).enumerate() {
            let scored = first_batch.take().map_or_else(|| self.score(i, keep), Ok)?;
            let ScoredBatch { passes, reference, mut details } = scored;
            let losses = match &mut coupled {
                Some(losses) => losses.by_ref().take(details.len()).collect(),
                None => losses(method, &details, kl_point),
            };
            for (detail, loss) in details.iter_mut().zip(losses) {
                detail.loss = loss;
            }
            if let Some(gradients) = &mut gradients {
                self.backward(batch, passes, reference.as_ref(), &details, gradients)?;
            }
            for (row, answers) in
                self.rows[range.clone()].iter().zip(details.chunks(self.part.answers()))
            {
                sums += sums::of_row(row, self.part, answers, method);
                show(answers);
            }
        }
        sums.exchange(collective)?;
        sums.kl_point = kl_point;
        Ok(sums)
    }

    /// The first phase. Where all coupled rows fit one micro-batch, its passes are kept for the
    /// third phase.
    fn score_shared(&self, keep: Keep) -> Result<(Shared, Option<ScoredBatch<'a, B>>), StepError> {
        let method = self.context.method;
        let mut shared = Shared::default();
        if method.needs().rows == RowKind::Judged {
            shared.mismatched = self.score_mismatched()?;
        }
        if method.coupling() == Coupling::Row {
            return Ok((shared, None));
        }
        if self.batches.len() == 1 {
            let scored = self.score(0, keep)?;
            shared.answers.clone_from(&scored.details);
            return Ok((shared, Some(scored)));
        }
        for i in 0..self.batches.len() {
            shared.answers.extend(self.score(i, Keep::KeysAndValues)?.details);
        }
        Ok((shared, None))
    }

    /// The mismatched sequences of the step's rows.
    fn score_mismatched(&self) -> Result<Vec<AnswerDetail>, StepError> {
        let part = Part::Mismatched;
        let mut all = Vec::with_capacity(self.rows.len());
        let lengths = self.rows.iter().map(|row| part.tokens(row));
        for range in runs(lengths, self.context.micro_batch_tokens) {
            let rows = &self.rows[range.clone()];
            let batch = pack(rows, self.model.config().vocabulary, part, false)?;
            let scored = score_packed(self.model, &batch, false, Select::Nothing)?;
            let scores = self.model.read_scores(&scored);
            let log_probs = batch.by_answer(&scores.log_probs).into_iter();
            let reference = self.reference.score(self.model, &batch, part, range)?;
            let mut reference = reference.map_or_else(Vec::new, |r| r.log_probs).into_iter();
            all.extend(log_probs.map(|log_probs| AnswerDetail {
                log_probs,
                reference: reference.next().unwrap_or_default(),
                ..AnswerDetail::default()
            }));
        }
        Ok(all)
    }

    /// The forward passes over a micro-batch.
    fn score(&self, batch: usize, keep: Keep) -> Result<ScoredBatch<'a, B>, ModelError> {
        let (range, batch) = (&self.runs[batch], &self.batches[batch]);
        let (model, rows) = (self.model, &self.rows[range.clone()]);
        let reference = self.reference.score(model, batch, self.part, range.clone())?;
        let mut passes = Passes::run(model, batch, rows, self.context, keep)?;
        let compared = reference.as_ref().and_then(|reference| reference.scored.as_ref());
        if let Some((kind, (other, scored))) = self.divergence_kind().zip(compared) {
            model.divergence(&mut passes.scored, other, scored, kind)?;
        }
        let scores = model.read_scores(&passes.scored);
        let of_reference = reference.as_ref().map(|reference| reference.log_probs.as_slice());
        let mut details = details(batch, rows, &scores, passes.first.as_ref(), of_reference);
        for (detail, answer) in details.iter_mut().zip(&batch.answers) {
            detail.target_weights = target_weights(rows[answer.group], self.part, answer.side);
        }
        Ok(ScoredBatch { passes, reference, details })
    }

    /// The backward pass over a micro-batch whose losses are known.
    fn backward(
        &self,
        batch: &Packed,
        passes: Passes<B>,
        reference: Option<&ReferenceScores<B>>,
        details: &[AnswerDetail],
        gradients: &mut Gradients<B>,
    ) -> Result<(), ModelError> {
        let d_log_probs = batch.by_score(details.iter().map(|d| d.loss.gradient.as_slice()));
        let d_divergences =
            batch.by_score(details.iter().map(|d| d.loss.divergence_gradient.as_slice()));
        let divergence = self.divergence_kind().zip(reference.and_then(|r| r.scored.as_ref()));
        let divergence = divergence.map(|(kind, (reference, scored))| ScoredDivergence {
            reference,
            scored,
            kind,
            d_divergences: &d_divergences,
        });
        passes.backward(self.model, batch, &d_log_probs, divergence, gradients)
    }

    fn divergence_kind(&self) -> Option<Divergence> {
        self.context.method.needs().divergence.map(|kind| match kind {
            KlDirection::Forward => Divergence::Forward,
            KlDirection::Reverse => Divergence::Reverse,
        })
    }
}

/// What the passes tell about the answers of a micro-batch.
fn details(
    batch: &Packed,
    rows: &[&Row],
    scores: &HeadScores,
    first: Option<&HeadScores>,
    reference: Option<&[Vec<f64>]>,
) -> Vec<AnswerDetail> {
    // A list that has a value for each score, or is empty.
    let optional = |values: &[f64]| {
        if values.is_empty() {
            vec![Vec::new(); batch.answers.len()]
        } else {
            batch.by_answer(values)
        }
    };
    let mut log_probs = batch.by_answer(&scores.log_probs);
    let mut first_log_probs =
        first.map_or_else(|| log_probs.clone(), |first| batch.by_answer(&first.log_probs));
    let mut look_ahead = first.map(|first| batch.by_answer(&first.selected));
    let mut divergence = optional(&scores.divergences);
    let mut entropy = optional(&scores.entropies);
    let detail = |(i, answer): (usize, &PackedAnswer)| AnswerDetail {
        chosen: answer.side == 0 && rows[answer.group].is_desirable(),
        positions: answer.positions.clone(),
        log_probs: take(&mut log_probs[i]),
        first_log_probs: take(&mut first_log_probs[i]),
        look_ahead: look_ahead.as_mut().map(|all| take(&mut all[i])).unwrap_or_default(),
        reference: reference.map(|all| all[i].clone()).unwrap_or_default(),
        target_weights: Vec::new(),
        divergence: take(&mut divergence[i]),
        entropy: take(&mut entropy[i]),
        loss: RowLoss::default(),
    };
    batch.answers.iter().enumerate().map(detail).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ift_methods::{Eaft, Ift, LookAheadKind};

    #[test]
    fn k_is_bounded_by_the_vocabulary_and_by_what_is_kept() {
        let methods = |k| {
            [
                Method::Ift(Ift { look_ahead: LookAheadKind::Topk, k, ..Ift::default() }),
                Method::Eaft(Eaft { k, ..Eaft::default() }),
            ]
        };
        for method in methods(1024) {
            check_method(&method, 50_000).unwrap();
            let message = check_method(&method, 1000).unwrap_err().to_string();
            assert!(message.contains("`method.k` is 1024"), "{message}");
            assert!(message.contains("vocabulary has 1000 entries"), "{message}");
        }
        for method in methods(1025) {
            let message = check_method(&method, 50_000).unwrap_err().to_string();
            assert_eq!(message, "`method.k` is 1025, expected at most 1024");
        }
        // Without a look-ahead of this kind its `k` does not count.
        let unused = Method::Ift(Ift { k: 1_000_000, ..Ift::default() });
        check_method(&unused, 100).unwrap();
    }
}
