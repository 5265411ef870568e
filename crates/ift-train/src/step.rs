//! Forward and backward over the rows of one optimizer step.
//!
//! Top to bottom: rows → micro-batches → the reference's log-probabilities → prompts' forward →
//! continuations' look-ahead and forward → log-probabilities → the method's loss and its gradient →
//! head, continuations, prompts backward. Everything is a sum; the caller divides once by the count
//! of the whole step.

use crate::micro_batch::{MicroBatch, Part, RowError, runs};
use crate::passes::Passes;
use crate::reference::{Reference, ReferenceScores};
use crate::sums::{self, AnswerDetail, Sums};
use ift_backend::Backend;
use ift_data::Row;
use ift_methods::{Coupling, KlDirection, LookAhead, Method, RowKind, RowLoss, RowScores};
use ift_model::{Gradients, Keep, Model, ScoredDivergence, Sequences};
use std::ops::Range;

/// What a step is told besides its rows.
#[derive(Clone, Copy, Debug)]
pub struct StepContext<'a> {
    /// The method.
    pub method: &'a Method,
    /// λ of this step.
    pub lambda: f64,
    /// Seed of the run.
    pub seed: u64,
    /// Number of the step, from 0; with the seed and a token's place it names the stream of
    /// everything random.
    pub step: u64,
    /// `NEFTune`'s α: embeddings get uniform noise of at most `α/√(tokens·hidden)` (arXiv
    /// 2310.05914); 0 for none.
    pub noise: f64,
    /// Whether blocks are computed again in the backward pass instead of keeping their
    /// activations.
    pub recompute: bool,
    /// Most tokens in one micro-batch (a longer row is one of its own).
    pub micro_batch_tokens: usize,
}

/// Adds the gradient sums of `rows`, the rows of one optimizer step, to `gradients`.
///
/// # Errors
/// If a row has no target, a token outside of the vocabulary, or nothing to compare with; nothing
/// was added then.
pub fn accumulate<B: Backend>(
    model: &Model<B>,
    reference: &Reference<B>,
    gradients: &mut Gradients<B>,
    rows: &[&Row],
    context: &StepContext,
) -> Result<Sums, RowError> {
    accumulate_with(model, reference, gradients, rows, context, &mut |_| {})
}

/// [`accumulate`], showing what happened to each row, in order: its answers, one, or two of a pair.
///
/// # Errors
/// As [`accumulate`].
pub fn accumulate_with<B: Backend>(
    model: &Model<B>,
    reference: &Reference<B>,
    gradients: &mut Gradients<B>,
    rows: &[&Row],
    context: &StepContext,
    show: &mut dyn FnMut(&[AnswerDetail]),
) -> Result<Sums, RowError> {
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
    reference: &Reference<B>,
    rows: &[&Row],
    context: &StepContext,
) -> Result<Sums, RowError> {
    Step::new(model, reference, rows, context, false)?.run(Keep::Nothing, None, &mut |_| {})
}

/// A step's rows, packed.
struct Step<'a, B: Backend> {
    model: &'a Model<B>,
    reference: &'a Reference<'a, B>,
    rows: &'a [&'a Row],
    context: &'a StepContext<'a>,
    part: Part,
    /// Rows of each micro-batch.
    runs: Vec<Range<usize>>,
    batches: Vec<MicroBatch>,
}

impl<'a, B: Backend> Step<'a, B> {
    /// All rows are packed before anything is added, so that a bad one leaves the gradients as they
    /// were. `random`: with dropout and noise, where the run has them.
    fn new(
        model: &'a Model<B>,
        reference: &'a Reference<'a, B>,
        rows: &'a [&'a Row],
        context: &'a StepContext,
        random: bool,
    ) -> Result<Self, RowError> {
        let part = Part::Answers(context.method.needs().rows);
        let split = context.look_ahead().is_some();
        let runs = runs(rows.iter().map(|row| part.tokens(row)), context.micro_batch_tokens);
        let pack = |range: &Range<usize>| {
            let rows = &rows[range.clone()];
            let mut batch = MicroBatch::new(rows, model.config().vocabulary, part, split)?;
            if random && (context.noise > 0.0 || model.is_adapted()) {
                context.randomize(&mut batch, rows, part, model.config().hidden);
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
    ) -> Result<Sums, RowError> {
        let method = self.context.method;
        let kl_point = self.kl_point()?;
        let coupled = method.coupling() == Coupling::Batch && self.batches.len() > 1;
        let mut known = coupled.then(|| self.coupled_losses(kl_point).into_iter());
        let mut sums = Sums { kl_point, ..Sums::default() };
        for (range, batch) in self.runs.iter().zip(&self.batches) {
            let reference = self.reference.score(self.model, batch, self.part, range.clone());
            let passes = self.passes(range, batch, keep);
            let mut details = self.details(range, batch, &passes, reference.as_ref());
            let losses = match &mut known {
                Some(losses) => losses.by_ref().take(details.len()).collect(),
                None => losses(method, &details, kl_point),
            };
            for (detail, loss) in details.iter_mut().zip(losses) {
                detail.loss = loss;
            }
            if let Some(gradients) = &mut gradients {
                self.backward(batch, passes, reference.as_ref(), &details, gradients);
            }
            for (row, answers) in
                self.rows[range.clone()].iter().zip(details.chunks(self.part.answers()))
            {
                sums += sums::of_row(row, self.part, answers, method);
                show(answers);
            }
        }
        Ok(sums)
    }

    fn passes(&self, range: &Range<usize>, batch: &MicroBatch, keep: Keep) -> Passes<B> {
        let entropy = self.context.method.needs().entropy;
        Passes::run(self.model, batch, &self.rows[range.clone()], self.context, keep, entropy)
    }

    /// What is known of every answer before its loss.
    fn details(
        &self,
        range: &Range<usize>,
        batch: &MicroBatch,
        passes: &Passes<B>,
        reference: Option<&ReferenceScores<B>>,
    ) -> Vec<AnswerDetail> {
        let scores = &passes.scored.scores;
        let nothing = || vec![Vec::new(); batch.answers.len()];
        let log_probs = batch.by_answer(&scores.log_probs);
        let (mut first, mut choices) = match &passes.first {
            Some((log_probs, choices)) => (batch.by_answer(log_probs), batch.by_answer(choices)),
            None => (log_probs.clone(), vec![Vec::new(); batch.answers.len()]),
        };
        let mut of_reference = reference.map_or_else(nothing, |r| r.log_probs.clone());
        let divergence = self.divergence_kind().zip(reference.and_then(|r| r.scored.as_ref()));
        let mut divergence = divergence.map_or_else(nothing, |(kind, (model, scored))| {
            batch.by_answer(&self.model.divergence(&passes.scored, model, scored, kind))
        });
        let entropies = &scores.entropies;
        let mut entropy = if entropies.is_empty() { nothing() } else { batch.by_answer(entropies) };
        let answers = batch.answers.iter().zip(log_probs).enumerate();
        answers
            .map(|(i, (answer, log_probs))| {
                let side = i % self.part.answers();
                let row = self.rows[range.start + i / self.part.answers()];
                AnswerDetail {
                    chosen: side == 0 && row.is_desirable(),
                    positions: answer.positions.clone(),
                    log_probs,
                    first_log_probs: std::mem::take(&mut first[i]),
                    choices: std::mem::take(&mut choices[i]),
                    reference: std::mem::take(&mut of_reference[i]),
                    divergence: std::mem::take(&mut divergence[i]),
                    entropy: std::mem::take(&mut entropy[i]),
                    loss: RowLoss::default(),
                }
            })
            .collect()
    }

    fn backward(
        &self,
        batch: &MicroBatch,
        passes: Passes<B>,
        reference: Option<&ReferenceScores<B>>,
        details: &[AnswerDetail],
        gradients: &mut Gradients<B>,
    ) {
        let d_log_probs = batch.by_score(details.iter().map(|d| d.loss.gradient.as_slice()));
        let values = batch.by_score(details.iter().map(|d| d.divergence.as_slice()));
        let slopes = batch.by_score(details.iter().map(|d| d.loss.divergence_gradient.as_slice()));
        let divergence = self.divergence_kind().zip(reference.and_then(|r| r.scored.as_ref()));
        let divergence = divergence.map(|(kind, (reference, scored))| ScoredDivergence {
            reference,
            scored,
            kind,
            values: &values,
            slopes: &slopes,
        });
        passes.backward(self.model, batch, &d_log_probs, divergence, gradients);
    }

    fn divergence_kind(&self) -> Option<ift_backend::Divergence> {
        self.context.method.needs().divergence.map(|kind| match kind {
            KlDirection::Forward => ift_backend::Divergence::Forward,
            KlDirection::Reverse => ift_backend::Divergence::Reverse,
        })
    }

    /// KTO's KL point: from the mismatched sequences of the whole step, without gradient.
    fn kl_point(&self) -> Result<f64, RowError> {
        let method = self.context.method;
        if method.needs().rows != RowKind::Judged {
            return Ok(0.0);
        }
        let part = Part::Mismatched;
        let (mut log_probs, mut of_reference) = (Vec::new(), Vec::new());
        let lengths = self.rows.iter().map(|row| part.tokens(row));
        for range in runs(lengths, self.context.micro_batch_tokens) {
            let rows = &self.rows[range.clone()];
            let batch = MicroBatch::new(rows, self.model.config().vocabulary, part, false)?;
            log_probs.extend(
                batch.by_answer(&Passes::score(self.model, &batch, false).scores.log_probs),
            );
            let reference = self.reference.score(self.model, &batch, part, range);
            of_reference
                .extend(reference.map_or_else(|| vec![Vec::new(); rows.len()], |r| r.log_probs));
        }
        let scores = log_probs.iter().zip(&of_reference);
        let scores =
            scores.map(|(logps, reference)| RowScores { logps, reference, ..RowScores::default() });
        Ok(method.kl_point(&scores.collect::<Vec<_>>()))
    }

    /// Losses of a method whose rows depend on each other, when they do not fit one micro-batch: a
    /// sweep without gradient collects everything first.
    fn coupled_losses(&self, kl_point: f64) -> Vec<RowLoss> {
        let mut details = Vec::with_capacity(self.rows.len());
        for (range, batch) in self.runs.iter().zip(&self.batches) {
            let reference = self.reference.score(self.model, batch, self.part, range.clone());
            let passes = self.passes(range, batch, Keep::KeysAndValues);
            details.extend(self.details(range, batch, &passes, reference.as_ref()));
        }
        losses(self.context.method, &details, kl_point)
    }
}

fn losses(method: &Method, details: &[AnswerDetail], kl_point: f64) -> Vec<RowLoss> {
    method.losses(&details.iter().map(AnswerDetail::scores).collect::<Vec<_>>(), kl_point)
}

impl<'a> StepContext<'a> {
    /// For [`examine`]: the method as it is at step 0 without anything random.
    pub fn plain(method: &'a Method, micro_batch_tokens: usize) -> Self {
        Self {
            method,
            lambda: 0.0,
            seed: 0,
            step: 0,
            noise: 0.0,
            recompute: false,
            micro_batch_tokens,
        }
    }

    /// The look-ahead, unless nothing of it would be mixed in: with λ = 0 the second pass is the
    /// first.
    pub(crate) fn look_ahead(&self) -> Option<LookAhead> {
        self.method.look_ahead().filter(|_| self.lambda > 0.0)
    }

    /// A stream of random numbers for each score, named by the seed, the step, the row and the
    /// position, so that neither the split into micro-batches nor a resume changes a draw.
    pub(crate) fn streams(&self, batch: &MicroBatch, rows: &[&Row]) -> Vec<u64> {
        let mut streams = vec![0; batch.targets.len()];
        let answers = batch.answers.len() / rows.len().max(1);
        for (i, answer) in batch.answers.iter().enumerate() {
            for (&position, &score) in answer.positions.iter().zip(&answer.scores) {
                streams[score] = self.stream(rows[i / answers.max(1)], position);
            }
        }
        streams
    }

    fn stream(&self, row: &Row, position: usize) -> u64 {
        let names = [self.seed, self.step, u64::from(row.source), row.record, position as u64];
        names.into_iter().fold(0, stir)
    }

    /// Names a stream for every token, for dropout and noise, and says how much noise its embedding
    /// gets.
    fn randomize(&self, batch: &mut MicroBatch, rows: &[&Row], part: Part, hidden: usize) {
        let answers = part.answers();
        let set = |sequences: &mut Sequences, owner: &dyn Fn(usize) -> (usize, usize)| {
            for (i, place) in sequences.rows.clone().iter().enumerate() {
                let (row, side) = owner(i);
                let length = part.of(rows[row]).map_or(0, |all| all[side].len());
                let magnitude = self.noise / ((length * hidden) as f64).sqrt();
                for position in place.past_len..place.past_len + place.len {
                    let stream = stir(self.stream(rows[row], position), 1 + side as u64);
                    sequences.streams.push(stream);
                    if self.noise > 0.0 {
                        sequences.noise.push(magnitude);
                    }
                }
            }
        };
        set(&mut batch.prompts, &|row| (row, 0));
        set(&mut batch.continuations, &|answer| (answer / answers, answer % answers));
    }
}

/// Folds a number into a hash; every bit of both spreads over the result.
fn stir(hash: u64, number: u64) -> u64 {
    let mut z = (hash ^ number).wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}
