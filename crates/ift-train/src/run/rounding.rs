//! Rounding of the final weights to the type of the model's files: what it does to the loss, and
//! the type to save in.

use std::path::{Path, PathBuf};

use ift_backend::{Backend, Element, HostTensor, NumberType};
use ift_data::Row;
use ift_methods::Method;
use ift_model::{ChangeLost, Model, TensorFiles, round_as_saved, weight_files};

use crate::data::Data;
use crate::error::TrainError;
use crate::evaluate::evaluate;
use crate::kept_reference::KeptReference;
use crate::learner::Learner;
use crate::metrics::{EvalMetrics, Rounding};
use crate::recipe::{Precision, Recipe, SaveAs};
use crate::reference::ReferenceSource;
use crate::saved::number_name;

/// Most of the gain that rounding may lose before `checkpoint.number = "auto"` saves in f32: runs
/// that differ only in their seed differ by as much, and f32 takes twice the space.
const MOST_LOST: f64 = 0.05;

/// Training rows, at most, that are measured where there are no held-out ones.
const SAMPLE: usize = 64;

/// Weights, at most, that are read at a time to compare them.
const PIECE: usize = 1 << 22;

/// What the loss is measured on: the held-out rows, or without them training rows at equal
/// distances.
pub(super) struct Measured<'a, B: Backend> {
    pub method: &'a Method,
    pub micro_batch_tokens: usize,
    pub data: &'a Data,
    pub reference: &'a KeptReference<B>,
}

impl<B: Backend> Measured<'_, B> {
    /// The loss that is compared: that of the method where answers are compared, else the plain
    /// one.
    pub fn loss(metrics: &EvalMetrics) -> f64 {
        metrics.method_loss.unwrap_or(metrics.loss)
    }

    /// Measures a model after `step` steps.
    pub fn measure(&self, model: &Model<B>, step: u64) -> Result<EvalMetrics, TrainError> {
        let (rows, reference): (Vec<&Row>, _) = if let Some(held_out) = &self.data.held_out {
            (held_out.rows.iter().collect(), self.reference.of_held_out())
        } else {
            let all = &self.data.train.rows;
            let count = all.len().min(SAMPLE);
            let numbers: Vec<usize> = (0..count).map(|i| i * all.len() / count).collect();
            // An old policy knows only the rows of its window, and nothing is compared with it.
            let compares = self.method.needs().rows.compares();
            let reference =
                if compares { self.reference.of_train(&numbers) } else { ReferenceSource::None };
            (numbers.iter().map(|&number| &all[number]).collect(), reference)
        };
        Ok(evaluate(model, &reference, &rows, self.method, self.micro_batch_tokens, step)?)
    }

    fn rows(&self) -> &'static str {
        if self.data.held_out.is_some() { "held-out" } else { "sampled training" }
    }
}

/// Whether rounding to a type can take back what was learned.
pub(super) fn narrow(number: NumberType) -> bool {
    matches!(number, NumberType::Bf16 | NumberType::F16)
}

/// The losses of a run that is done.
pub(super) struct Losses {
    /// Steps done.
    pub step: u64,
    /// Before training, where it is known.
    pub before: Option<f64>,
    /// Of the trained weights.
    pub in_memory: f64,
}

/// Measures what rounding to `number` does to the trained weights, and chooses the type to save in.
pub(super) fn measure<B: Backend>(
    learner: &mut Learner<B>,
    measured: &Measured<B>,
    recipe: &Recipe,
    number: NumberType,
    losses: &Losses,
) -> Result<(NumberType, Rounding), TrainError> {
    let Losses { step, before, in_memory } = *losses;
    let round = |values: &mut [B::Element]| round_as_saved(values, number);
    let fits = learner.model().fits(number);
    let rounded = if fits {
        let evaluated = learner.while_rounded(round, |model| measured.measure(model, step))??;
        Some(Measured::<B>::loss(&evaluated))
    } else {
        None
    };
    // Products of this precision see rounded weights anyway, so the losses cannot tell.
    let is_blind = recipe.train.precision == Precision::Bf16;
    // A loss that did not fall is no gain, of which a share could be lost.
    let gain = before.map(|before| before - in_memory);
    let gain = gain.filter(|gain| *gain > 0.0 && gain.is_finite() && !is_blind);
    let share_of_loss = gain.zip(rounded).map(|(gain, rounded)| (rounded - in_memory) / gain);
    let (mut share_of_change, mut problem) = (None, None);
    if fits && share_of_loss.is_none() {
        // The weights are all in memory: what became of the files loses nothing.
        match change_lost(learner.model(), &recipe.model.path, number) {
            Ok(share) => share_of_change = share,
            Err(error) => {
                problem =
                    Some(format!("the weights at the beginning cannot be read again ({error})"));
            }
        }
    }
    let keeps = fits && share_of_change.or(share_of_loss).is_some_and(|lost| lost <= MOST_LOST);
    let saved_as = match recipe.checkpoint.number {
        SaveAs::Auto if !keeps => NumberType::F32,
        _ => number,
    };
    let rounding = Rounding {
        step,
        number: number_name(number).to_owned(),
        rows: measured.rows().to_owned(),
        before,
        in_memory,
        as_saved: rounded,
        share_of_loss,
        share_of_change,
        problem,
        saved_as: number_name(saved_as).to_owned(),
    };
    Ok((saved_as, rounding))
}

/// The share of the change of the weights that rounding takes back. `None` where the weights at the
/// beginning are not in files (adapters, a merged base).
fn change_lost<B: Backend>(
    model: &Model<B>,
    start: &Path,
    number: NumberType,
) -> Result<Option<f64>, TrainError> {
    if model.is_adapted() || ift_model::base_folder(start)?.is_some() {
        return Ok(None);
    }
    let mut files: Vec<PathBuf> = weight_files(start)?;
    files.retain(|file| file.extension().is_some_and(|ending| ending == "safetensors"));
    let files = TensorFiles::open(files)?;
    let tensors = files.tensors()?;
    let mut lost = ChangeLost::default();
    for tensor in model.trainable().tensors() {
        let old = tensors.read(&tensor.name, &tensor.shape, "the run")?;
        let pieces = old.bytes.chunks(PIECE * old.number.size());
        for (i, bytes) in pieces.enumerate() {
            let old = HostTensor { number: old.number, bytes };
            let mut before = vec![B::Element::from_f64(0.0); old.len()];
            old.convert_into(&mut before);
            let start = tensor.range.start + i * PIECE;
            let exact = model.read(start..start + old.len());
            lost.add(&before, &exact, number);
        }
    }
    Ok(Some(lost.share()))
}
