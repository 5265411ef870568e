//! The passes of a model over a micro-batch: prompts, the look-ahead where a method has one,
//! continuations, the head.

use crate::context::StepContext;
use crate::draws;
use crate::micro_batch::MicroBatch;
use ift_backend::{Backend, Choice, Mix};
use ift_data::Row;
use ift_methods::LookAhead;
use ift_model::{
    Continues, Gradients, Keep, Model, Pass, PastOf, Scored, ScoredDivergence, Sequences,
};
use ift_random::uniform;

/// What a micro-batch's passes hold before the loss is known.
pub(crate) struct Passes<B: Backend> {
    prompts: Pass<B>,
    /// What follows the prompts; none where the prompts are whole rows.
    continuations: Option<Pass<B>>,
    /// The head's scores of the pass that is trained.
    pub scored: Scored<B>,
    /// The look-ahead's log-probabilities and choices, in the order of the scores.
    pub first: Option<(Vec<f64>, Vec<u32>)>,
}

/// Packed positions of passes, in the order of a micro-batch's scores.
fn pieces<'a, B: Backend>(
    batch: &'a MicroBatch,
    prompts: &'a Pass<B>,
    continuations: Option<&'a Pass<B>>,
) -> Vec<(&'a Pass<B>, &'a [usize])> {
    let of_prompts = batch.prompt_positions.iter().map(|positions| (prompts, positions.as_slice()));
    let of_continuations =
        continuations.map(|pass| (pass, batch.continuation_positions.as_slice()));
    of_prompts.chain(of_continuations).collect()
}

impl<B: Backend> Passes<B> {
    /// One pass over `batch`, with the look-ahead's before it if there is one.
    pub fn run(
        model: &Model<B>,
        batch: &MicroBatch,
        rows: &[&Row],
        context: &StepContext,
        keep: Keep,
        entropy: Option<usize>,
    ) -> Self {
        let goes_back = matches!(keep, Keep::BlockInputs | Keep::Everything);
        let prompts =
            model.forward(&batch.prompts, None, &PastOf::Nothing, keep_prompts(batch, keep));
        let look_ahead = context.look_ahead().filter(|_| !batch.continuations.tokens.is_empty());
        let past = PastOf::Pass(&prompts);
        let choice = entropy.map_or(Choice::Nothing, |top| Choice::Entropy { top });
        let (first, continuations) = if let Some(look_ahead) = look_ahead {
            let streams = draws::of_scores(context, batch, rows);
            let choice = match look_ahead {
                LookAhead::Greedy => Choice::Greedy,
                LookAhead::TopK { k } => Choice::TopK(k),
                LookAhead::Sample { temperature } => {
                    Choice::Sample { temperature, streams: &streams }
                }
            };
            let plain = model.forward(&batch.continuations, None, &past, Keep::Nothing);
            let first = model
                .score(&pieces(batch, &prompts, Some(&plain)), &batch.targets, choice, false)
                .scores;
            drop(plain);
            let second = second_pass(model, batch, &first.choices, &streams, context, &past, keep);
            (Some((first.log_probs, first.choices)), Some(second))
        } else if batch.continuations.rows.is_empty() {
            (None, None)
        } else {
            (None, Some(model.forward(&batch.continuations, None, &past, keep)))
        };
        let pieces = pieces(batch, &prompts, continuations.as_ref());
        let scored = model.score(&pieces, &batch.targets, choice, goes_back);
        Self { prompts, continuations, scored, first }
    }

    /// The scores of one pass without gradient; with `adapters_off` those of an adapted model's
    /// base.
    pub fn score(model: &Model<B>, batch: &MicroBatch, adapters_off: bool) -> Scored<B> {
        let sequences = |sequences: &Sequences| Sequences {
            adapters_off,
            streams: Vec::new(),
            noise: Vec::new(),
            ..sequences.clone()
        };
        let keep = keep_prompts(batch, Keep::Nothing);
        let prompts = model.forward(&sequences(&batch.prompts), None, &PastOf::Nothing, keep);
        let continuations = (!batch.continuations.rows.is_empty()).then(|| {
            model.forward(
                &sequences(&batch.continuations),
                None,
                &PastOf::Pass(&prompts),
                Keep::Nothing,
            )
        });
        let pieces = pieces(batch, &prompts, continuations.as_ref());
        model.score(&pieces, &batch.targets, Choice::Nothing, false)
    }

    /// Adds the gradient of `Σ d_log_probs·log_probs` and of the divergence to `gradients`.
    pub fn backward(
        self,
        model: &Model<B>,
        batch: &MicroBatch,
        d_log_probs: &[f64],
        divergence: Option<ScoredDivergence<B>>,
        gradients: &mut Gradients<B>,
    ) {
        let Self { prompts, continuations, scored, .. } = self;
        let d = model.score_backward(scored, d_log_probs, divergence, gradients);
        let [first, second] = &batch.prompt_positions;
        let of_prompts = [(0, first.as_slice()), (first.len(), second.as_slice())];
        let d_prompts = model.hidden_gradient(&d, &prompts, &of_prompts);
        let Some(pass) = continuations else {
            return model.backward(prompts, d_prompts, None, None, gradients);
        };
        let before = first.len() + second.len();
        let d_pass = model.hidden_gradient(&d, &pass, &[(before, &batch.continuation_positions)]);
        drop(d);
        let mut collected = model.past_gradient(&prompts);
        let continues = Continues { pass: &prompts, gradient: &mut collected };
        model.backward(pass, d_pass, Some(continues), None, gradients);
        model.backward(prompts, d_prompts, None, Some(collected), gradients);
    }
}

/// What is kept of prompts: enough to be continued, where there is something that continues them.
fn keep_prompts(batch: &MicroBatch, keep: Keep) -> Keep {
    if keep == Keep::Nothing && !batch.continuations.rows.is_empty() {
        Keep::KeysAndValues
    } else {
        keep
    }
}

/// The pass that sees the look-ahead: mixed into the embeddings, or in place of tokens.
fn second_pass<B: Backend>(
    model: &Model<B>,
    batch: &MicroBatch,
    choices: &[u32],
    streams: &[u64],
    context: &StepContext,
    past: &PastOf<B>,
    keep: Keep,
) -> Pass<B> {
    let inputs = batch.answers.iter().flat_map(|answer| answer.inputs.iter().zip(&answer.scores));
    let inputs = inputs.filter_map(|(input, &score)| Some(((*input)?, score)));
    if context.method.replaces_tokens() {
        // The stream's draws of a sampled look-ahead are those of token ids; this one is of none.
        let replaced =
            inputs.filter(|(_, score)| uniform(streams[*score], u32::MAX) < context.lambda);
        let mut sequences = batch.continuations.clone();
        replaced.for_each(|(input, score)| sequences.tokens[input] = choices[score]);
        return model.forward(&sequences, None, past, keep);
    }
    let mut own = vec![None; batch.continuations.tokens.len()];
    inputs.for_each(|(input, score)| own[input] = Some(choices[score]));
    let mix = Mix { lambda: context.lambda, own: &own };
    model.forward(&batch.continuations, Some(mix), past, keep)
}
