//! Log-probabilities of given answers, without a gradient.

use crate::{Answer, EngineError, Packed, runs};
use ift_backend::{Backend, Select};
use ift_model::{Keep, Model, ModelError, PastOf, Scored, Sequences};

/// How answers are scored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScoreSettings {
    /// Most tokens of a pass, prompts and answers together; a longer group is a pass of its own.
    pub tokens: usize,
    /// Leaves the adapters of an adapted model out: its base alone.
    pub adapters_off: bool,
    /// Whether to report the most probable token at each target too.
    pub argmax: bool,
}

/// Scores of one answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AnswerScores {
    /// `[targets]` log-probability of each target, in nats.
    pub log_probs: Vec<f64>,
    /// `[targets]` the most probable token in its place, the lowest id among equals; empty unless
    /// asked for.
    pub argmax: Vec<u32>,
}

impl AnswerScores {
    /// Whether greedy decoding would have produced the targets.
    ///
    /// `targets`: the token ids at the answer's targets. False where the argmax is unknown.
    pub fn is_greedy(&self, targets: impl IntoIterator<Item = u32>) -> bool {
        self.argmax.iter().copied().eq(targets)
    }
}

/// Scores the answers of groups; the answers of a group share their prompt. The result has a list
/// for each group, with an entry for each answer.
///
/// Neither the split into passes nor the other groups change a score beyond rounding.
///
/// # Errors
/// If an answer cannot be packed ([`crate::PackError`]), or memory runs out.
pub fn score<B: Backend>(
    model: &Model<B>,
    groups: &[Vec<Answer>],
    settings: ScoreSettings,
) -> Result<Vec<Vec<AnswerScores>>, EngineError> {
    let select = if settings.argmax { Select::Argmax } else { Select::Nothing };
    let mut all = Vec::with_capacity(groups.len());
    let lengths = groups.iter().map(|answers| answers.iter().map(|a| a.tokens.len()).sum());
    for run in runs(lengths, settings.tokens) {
        let first = run.start;
        let packed = Packed::new(&groups[run.clone()], model.config().vocabulary, false)
            .map_err(|error| crate::PackError { group: first + error.group, ..error })?;
        let scored = score_packed(model, &packed, settings.adapters_off, select)?;
        let scores = model.read_scores(&scored);
        let mut of_run = vec![Vec::new(); run.len()];
        let mut argmax = if settings.argmax {
            packed.by_answer(&scores.selected)
        } else {
            vec![Vec::new(); packed.answers.len()]
        }
        .into_iter();
        for (answer, log_probs) in packed.answers.iter().zip(packed.by_answer(&scores.log_probs)) {
            let argmax = argmax.next().unwrap_or_default();
            of_run[answer.group].push(AnswerScores { log_probs, argmax });
        }
        all.extend(of_run);
    }
    Ok(all)
}

/// Scores packed groups in one pass each over prompts and continuations, without anything random.
/// With `adapters_off` an adapted model's base is scored.
///
/// # Errors
/// If memory runs out.
pub fn score_packed<B: Backend>(
    model: &Model<B>,
    packed: &Packed,
    adapters_off: bool,
    select: Select,
) -> Result<Scored<B>, ModelError> {
    let plain = |sequences: &Sequences| Sequences {
        adapters_off,
        streams: Vec::new(),
        noise: Vec::new(),
        ..sequences.clone()
    };
    let keep = if packed.has_continuations() { Keep::KeysAndValues } else { Keep::Nothing };
    let prompts = model.forward(&plain(&packed.prompts), None, &PastOf::Nothing, keep)?;
    let continuations = if packed.has_continuations() {
        let past = PastOf::Pass(&prompts);
        Some(model.forward(&plain(&packed.continuations), None, &past, Keep::Nothing)?)
    } else {
        None
    };
    let pieces = packed.pieces(&prompts, continuations.as_ref());
    model.score(&pieces, &packed.targets, select, false)
}
