//! Forward and backward over the rows of one optimizer step.
//!
//! Top to bottom: rows → micro-batches → prompts' forward → continuations' look-ahead and forward → log-probabilities →
//! the method's loss and its gradient → head, continuations, prompts backward. Everything is a sum; the caller divides
//! once by the count of the whole step.

use crate::micro_batch::{MicroBatch, RowError, runs};
use ift_backend::{Backend, Choice, Mix};
use ift_data::Row;
use ift_methods::{Coupling, LookAhead, Method, RowLoss, RowScores};
use ift_model::{Continues, Gradients, Keep, Model, Pass, PastOf, Scored};
use std::ops::{AddAssign, Range};

/// What the rows of a step sum up to. Every loss divides by `count`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sums {
    /// The method's loss.
    pub loss: f64,
    /// The divisor: rows or targets, as the method's reduction says.
    pub count: f64,
    /// The plain negative log-likelihood in the first pass, on the data's own tokens (SFT's loss).
    pub first_pass: f64,
    /// The plain negative log-likelihood in the pass that is trained, without weights.
    pub unweighted: f64,
    /// Rows.
    pub rows: u64,
    /// Scored targets.
    pub targets: u64,
    /// Tokens of the rows.
    pub tokens: u64,
    /// Targets whose likelihood this step's gradient pushes down.
    pub pushed_down: u64,
}

impl AddAssign for Sums {
    fn add_assign(&mut self, other: Self) {
        self.loss += other.loss;
        self.count += other.count;
        self.first_pass += other.first_pass;
        self.unweighted += other.unweighted;
        self.rows += other.rows;
        self.targets += other.targets;
        self.tokens += other.tokens;
        self.pushed_down += other.pushed_down;
    }
}

/// What a step is told besides its rows.
#[derive(Clone, Copy, Debug)]
pub struct StepContext<'a> {
    /// The method.
    pub method: &'a Method,
    /// λ of this step.
    pub lambda: f64,
    /// Seed of the run.
    pub seed: u64,
    /// Number of the step, from 0; with the seed and a token's place it names the stream of a sampled look-ahead.
    pub step: u64,
    /// Whether blocks are computed again in the backward pass instead of keeping their activations.
    pub recompute: bool,
    /// Most tokens in one micro-batch (a longer row is one of its own).
    pub micro_batch_tokens: usize,
}

/// What a step did to one row, target by target.
#[derive(Clone, Debug)]
pub struct RowDetail {
    /// Positions of the targets in the row. `[targets]`
    pub positions: Vec<usize>,
    /// Log-probabilities in the trained pass. `[targets]`
    pub log_probs: Vec<f64>,
    /// Log-probabilities in the first pass; the same where there is only one. `[targets]`
    pub first_log_probs: Vec<f64>,
    /// The tokens the look-ahead chose; empty where there was none. `[targets]`
    pub choices: Vec<u32>,
    /// The row's loss, weights and gradient.
    pub loss: RowLoss,
}

/// Adds the gradient sums of `rows`, the rows of one optimizer step, to `gradients`.
///
/// # Errors
/// If a row has no target or a token outside of the vocabulary; nothing was added then.
pub fn accumulate<B: Backend>(
    model: &Model<B>,
    gradients: &mut Gradients<B>,
    rows: &[&Row],
    context: &StepContext,
) -> Result<Sums, RowError> {
    accumulate_with(model, gradients, rows, context, &mut |_| {})
}

/// [`accumulate`], showing what happened to each row, in order.
///
/// # Errors
/// As [`accumulate`].
pub fn accumulate_with<B: Backend>(
    model: &Model<B>,
    gradients: &mut Gradients<B>,
    rows: &[&Row],
    context: &StepContext,
    show: &mut dyn FnMut(RowDetail),
) -> Result<Sums, RowError> {
    let split = context.look_ahead().is_some();
    let vocabulary = model.config().vocabulary;
    let parts = runs(rows, context.micro_batch_tokens);
    // All are packed before anything is added, so that a bad row leaves the gradients as they were.
    let batches: Vec<MicroBatch> = parts
        .iter()
        .map(|r| MicroBatch::new(&rows[r.clone()], vocabulary, split))
        .collect::<Result<_, _>>()?;
    let keep = if context.recompute { Keep::BlockInputs } else { Keep::Everything };
    let coupled = context.method.coupling() == Coupling::Batch && batches.len() > 1;
    let mut known = coupled.then(|| coupled_losses(model, rows, &parts, &batches, context).into_iter());
    let mut sums = Sums::default();
    for (part, batch) in parts.iter().zip(&batches) {
        let rows = &rows[part.clone()];
        let forward = Forward::run(model, batch, rows, context, keep);
        let log_probs = batch.by_row(&forward.scored.scores.log_probs);
        let losses = match &mut known {
            Some(losses) => losses.by_ref().take(rows.len()).collect(),
            None => context.method.losses(&row_scores(batch, &log_probs)),
        };
        let d_log_probs = batch.by_score(losses.iter().map(|l| l.gradient.as_slice()));
        let details = forward.details(batch, log_probs, losses);
        forward.backward(model, batch, &d_log_probs, gradients);
        for (row, detail) in rows.iter().zip(details) {
            sums += detail.sums(row, context.method);
            show(detail);
        }
    }
    Ok(sums)
}

/// For each row the log-probabilities of its targets, without gradient.
///
/// # Errors
/// As [`accumulate`].
pub fn score<B: Backend>(
    model: &Model<B>,
    rows: &[&Row],
    micro_batch_tokens: usize,
) -> Result<Vec<Vec<f64>>, RowError> {
    let mut scores = Vec::with_capacity(rows.len());
    for part in runs(rows, micro_batch_tokens) {
        let batch = MicroBatch::new(&rows[part], model.config().vocabulary, false)?;
        let pass = model.forward(&batch.prompts, None, &PastOf::Nothing, Keep::Nothing);
        let scored = model.score(&[(&pass, &batch.prompt_positions)], &batch.targets, Choice::Nothing, false);
        scores.extend(batch.by_row(&scored.scores.log_probs));
    }
    Ok(scores)
}

impl StepContext<'_> {
    /// The look-ahead, unless nothing of it would be mixed in: with λ = 0 the second pass is the first.
    fn look_ahead(&self) -> Option<LookAhead> {
        self.method.look_ahead().filter(|_| self.lambda > 0.0)
    }
}

fn row_scores<'a>(batch: &'a MicroBatch, log_probs: &'a [Vec<f64>]) -> Vec<RowScores<'a>> {
    let rows = batch.rows.iter().zip(log_probs);
    rows.map(|(row, logps)| RowScores { logps, positions: &row.positions }).collect()
}

/// Losses of a method whose rows depend on each other, when they do not fit one micro-batch: a sweep without gradient
/// collects all log-probabilities first.
fn coupled_losses<B: Backend>(
    model: &Model<B>,
    rows: &[&Row],
    parts: &[Range<usize>],
    batches: &[MicroBatch],
    context: &StepContext,
) -> Vec<RowLoss> {
    let mut log_probs = Vec::with_capacity(rows.len());
    for (part, batch) in parts.iter().zip(batches) {
        let forward = Forward::run(model, batch, &rows[part.clone()], context, Keep::KeysAndValues);
        log_probs.extend(batch.by_row(&forward.scored.scores.log_probs));
    }
    let targets = batches.iter().flat_map(|b| &b.rows);
    let scores = targets.zip(&log_probs).map(|(row, logps)| RowScores { logps, positions: &row.positions });
    context.method.losses(&scores.collect::<Vec<_>>())
}

/// The passes of a micro-batch, before the loss is known.
struct Forward<B: Backend> {
    prompts: Pass<B>,
    /// The continuations with the look-ahead mixed in; none for methods of one pass.
    continuations: Option<Pass<B>>,
    scored: Scored<B>,
    /// The look-ahead's log-probabilities and choices, in the order of the scores.
    first: Option<(Vec<f64>, Vec<u32>)>,
}

impl<B: Backend> Forward<B> {
    fn run(model: &Model<B>, batch: &MicroBatch, rows: &[&Row], context: &StepContext, keep: Keep) -> Self {
        let prompts = model.forward(&batch.prompts, None, &PastOf::Nothing, keep);
        let on_prompts = (&prompts, batch.prompt_positions.as_slice());
        let goes_back = matches!(keep, Keep::BlockInputs | Keep::Everything);
        let targets = &batch.targets;
        let Some(look_ahead) = context.look_ahead().filter(|_| !batch.continuations.tokens.is_empty()) else {
            let scored = model.score(&[on_prompts], targets, Choice::Nothing, goes_back);
            return Self { prompts, continuations: None, scored, first: None };
        };
        let streams;
        let choice = match look_ahead {
            LookAhead::Greedy => Choice::Greedy,
            LookAhead::TopK { k } => Choice::TopK(k),
            LookAhead::Sample { temperature } => {
                streams = context.streams(batch, rows);
                Choice::Sample { temperature, streams: &streams }
            }
        };
        let past = PastOf::Pass(&prompts);
        let first = {
            let plain = model.forward(&batch.continuations, None, &past, Keep::Nothing);
            model.score(&[on_prompts, (&plain, &batch.continuation_positions)], targets, choice, false).scores
        };
        let mut own = vec![None; batch.continuations.tokens.len()];
        for row in &batch.rows {
            for (input, &score) in row.inputs.iter().zip(&row.scores) {
                if let Some(input) = input {
                    own[*input] = Some(first.choices[score]);
                }
            }
        }
        let mix = Mix { lambda: context.lambda, own: &own };
        let mixed = model.forward(&batch.continuations, Some(mix), &past, keep);
        let pieces = [on_prompts, (&mixed, &batch.continuation_positions)];
        let scored = model.score(&pieces, targets, Choice::Nothing, goes_back);
        Self { prompts, continuations: Some(mixed), scored, first: Some((first.log_probs, first.choices)) }
    }

    fn details(&self, batch: &MicroBatch, log_probs: Vec<Vec<f64>>, losses: Vec<RowLoss>) -> Vec<RowDetail> {
        let (first, choices) = match &self.first {
            Some((log_probs, choices)) => (batch.by_row(log_probs), batch.by_row(choices)),
            None => (log_probs.clone(), vec![Vec::new(); log_probs.len()]),
        };
        let rows = batch.rows.iter().zip(log_probs).zip(first.into_iter().zip(choices)).zip(losses);
        rows.map(|(((row, log_probs), (first_log_probs, choices)), loss)| RowDetail {
            positions: row.positions.clone(),
            log_probs,
            first_log_probs,
            choices,
            loss,
        })
        .collect()
    }

    fn backward(
        self,
        model: &Model<B>,
        batch: &MicroBatch,
        d_log_probs: &[f64],
        gradients: &mut Gradients<B>,
    ) {
        let Self { prompts, continuations, scored, .. } = self;
        let d = model.score_backward(scored, d_log_probs, gradients);
        let d_prompts = model.hidden_gradient(&d, 0, &prompts, &batch.prompt_positions);
        let Some(pass) = continuations else {
            return model.backward(prompts, d_prompts, None, None, gradients);
        };
        let d_pass =
            model.hidden_gradient(&d, batch.prompt_positions.len(), &pass, &batch.continuation_positions);
        drop(d);
        let mut collected = model.past_gradient(&prompts);
        let continues = Continues { pass: &prompts, gradient: &mut collected };
        model.backward(pass, d_pass, Some(continues), None, gradients);
        model.backward(prompts, d_prompts, None, Some(collected), gradients);
    }
}

impl RowDetail {
    fn sums(&self, row: &Row, method: &Method) -> Sums {
        let plain = |logps| method.unweighted(RowScores { logps, positions: &self.positions }).0;
        Sums {
            loss: self.loss.sum,
            count: self.loss.count,
            first_pass: plain(&self.first_log_probs),
            unweighted: plain(&self.log_probs),
            rows: 1,
            targets: self.positions.len() as u64,
            tokens: row.tokens.len() as u64,
            pushed_down: self.loss.targets_pushed_down() as u64,
        }
    }
}

impl StepContext<'_> {
    /// A stream of random numbers for each score, named by the seed, the step, the row and the position, so that neither
    /// the split into micro-batches nor a resume changes a draw.
    fn streams(&self, batch: &MicroBatch, rows: &[&Row]) -> Vec<u64> {
        let mut streams = vec![0; batch.targets.len()];
        for (row, targets) in rows.iter().zip(&batch.rows) {
            for (&position, &score) in targets.positions.iter().zip(&targets.scores) {
                let names = [self.seed, self.step, u64::from(row.source), row.record, position as u64];
                streams[score] = names.into_iter().fold(0, stir);
            }
        }
        streams
    }
}

/// Folds a number into a hash; every bit of both spreads over the result.
fn stir(hash: u64, number: u64) -> u64 {
    let mut z = (hash ^ number).wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}
