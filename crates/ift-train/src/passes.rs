//! The passes of a model over a micro-batch: prompts, the look-ahead where a method has one,
//! continuations, the output head.

use ift_backend::{Backend, HeadScores, LookAheadInputs, Residual, Select};
use ift_data::Row;
use ift_engine::Packed;
use ift_methods::LookAhead;
use ift_model::{
    Continues, Gradients, Keep, Model, ModelError, Pass, PastOf, Scored, ScoredDivergence,
};
use ift_random::uniform;

use crate::context::StepContext;
use crate::draws;

/// The passes over a micro-batch before its loss is known.
pub(crate) struct Passes<B: Backend> {
    prompts: Pass<B>,
    /// What follows the prompts; none where the prompts are whole rows.
    continuations: Option<Pass<B>>,
    /// Scores of the pass that is trained.
    pub scored: Scored<B>,
    /// Scores of the look-ahead.
    pub first: Option<HeadScores>,
}

impl<B: Backend> Passes<B> {
    /// One pass over `batch`, after the look-ahead's if there is one.
    ///
    /// # Errors
    /// If memory runs out.
    pub fn run(
        model: &Model<B>,
        batch: &Packed,
        rows: &[&Row],
        context: &StepContext,
        keep: Keep,
    ) -> Result<Self, ModelError> {
        let prompts =
            model.forward(&batch.prompts, None, &PastOf::Nothing, keep_prompts(batch, keep))?;
        let past = PastOf::Pass(&prompts);
        let look_ahead = context.look_ahead().filter(|_| !batch.continuations.tokens.is_empty());
        let (first, continuations) = if let Some(look_ahead) = look_ahead {
            let (first, second) =
                look_ahead_passes(model, batch, rows, context, look_ahead, &prompts, keep)?;
            (Some(first), Some(second))
        } else if batch.has_continuations() {
            (None, Some(model.forward(&batch.continuations, None, &past, keep)?))
        } else {
            (None, None)
        };
        let entropy = context.method.needs().entropy;
        let select = entropy.map_or(Select::Nothing, |top| Select::Entropy { top });
        let goes_back = matches!(keep, Keep::BlockInputs | Keep::Everything);
        let pieces = batch.pieces(&prompts, continuations.as_ref());
        let scored = model.score(&pieces, &batch.targets, select, goes_back)?;
        Ok(Self { prompts, continuations, scored, first })
    }

    /// Adds the gradient of `Σ d_log_probs·log_probs` and of the divergence to `gradients`.
    ///
    /// # Errors
    /// If memory runs out.
    pub fn backward(
        self,
        model: &Model<B>,
        batch: &Packed,
        d_log_probs: &[f64],
        divergence: Option<ScoredDivergence<B>>,
        gradients: &mut Gradients<B>,
    ) -> Result<(), ModelError> {
        let Self { prompts, continuations, scored, .. } = self;
        let d = model.score_backward(scored, d_log_probs, divergence, gradients)?;
        let d_prompts = model.hidden_gradient(&d, &prompts, &batch.prompt_pieces())?;
        let Some(pass) = continuations else {
            return model.backward(prompts, d_prompts, None, None, gradients);
        };
        let d_pass = model.hidden_gradient(&d, &pass, &[batch.continuation_piece()])?;
        drop(d);
        let mut collected = model.past_gradient(&prompts)?;
        let continues = Continues { pass: &prompts, gradient: &mut collected };
        model.backward(pass, d_pass, Some(continues), None, gradients)?;
        model.backward(prompts, d_prompts, None, Some(collected), gradients)
    }
}

/// What is kept of prompts: enough to be continued, where something continues them.
fn keep_prompts(batch: &Packed, keep: Keep) -> Keep {
    if keep == Keep::Nothing && batch.has_continuations() { Keep::KeysAndValues } else { keep }
}

/// A pass over the continuations that selects tokens, and the pass that sees them: mixed into its
/// embeddings, or in place of its tokens. Returns the scores of the first and the second pass.
fn look_ahead_passes<B: Backend>(
    model: &Model<B>,
    batch: &Packed,
    rows: &[&Row],
    context: &StepContext,
    look_ahead: LookAhead,
    prompts: &Pass<B>,
    keep: Keep,
) -> Result<(HeadScores, Pass<B>), ModelError> {
    let past = PastOf::Pass(prompts);
    let streams = draws::of_scores(context, batch, rows);
    let select = match look_ahead {
        LookAhead::Greedy => Select::Argmax,
        LookAhead::TopK { k } => Select::TopK(k),
        LookAhead::Sample { temperature } => Select::Sample { temperature, streams: &streams },
    };
    let plain = model.forward(&batch.continuations, None, &past, Keep::Nothing)?;
    let pieces = batch.pieces(prompts, Some(&plain));
    let first = model.score(&pieces, &batch.targets, select, false)?;
    drop(plain);
    let (mut index, mut how) = (batch.input_scores(), Residual::Mix { lambda: context.lambda });
    if context.method.replaces_tokens() {
        how = Residual::Replace;
        for score in &mut index {
            // The draws of a sampled look-ahead are numbered by token ids; this number is none.
            let replaced =
                |score: &u32| uniform(streams[*score as usize], u32::MAX) < context.lambda;
            *score = score.filter(replaced);
        }
    }
    let inputs = LookAheadInputs { scores: first.scores(), index: &index, how };
    let second = model.forward(&batch.continuations, Some(inputs), &past, keep)?;
    Ok((model.read_scores(&first), second))
}
