//! A model in training: its weights, gradients and optimizer states, and one optimizer step over
//! given rows.

use half::bf16;
use ift_backend::{Backend, Element, NumberType};
use ift_data::Row;
use ift_model::{Gradients, Model};

use crate::context::StepContext;
use crate::error::TrainError;
use crate::gradient;
use crate::not_finite::{self, NotFinite};
use crate::optimizer::Optimizer;
use crate::reference::ReferenceSource;
use crate::states::OptimizerStates;
use crate::step::accumulate_with;
use crate::sums::{AnswerDetail, Sums};

/// Weights, at most, that are on the host at a time while they are rounded.
const ROUNDED: usize = 1 << 22;

/// What an optimizer step works on.
pub struct Learner<B: Backend> {
    pub(crate) model: Model<B>,
    pub(crate) states: OptimizerStates<B>,
    gradients: Gradients<B>,
    pub(crate) optimizer: Optimizer,
    check_gradients: bool,
}

impl<B: Backend> Learner<B> {
    /// Zero gradients and optimizer states for a model; with a decay `average`, also the
    /// exponential moving average (EMA) of the weights, which begins at the weights. Trainable
    /// weights are rounded, if the optimizer keeps them in a narrower type.
    ///
    /// # Errors
    /// If memory runs out.
    pub fn new(
        mut model: Model<B>,
        optimizer: Optimizer,
        average: Option<f64>,
    ) -> Result<Self, TrainError> {
        let memory = TrainError::memory("gradients and optimizer states");
        if optimizer.rounds_to() == Some(NumberType::Bf16) {
            round_to_bf16(&mut model);
        }
        let gradients = model.gradients().map_err(&memory)?;
        let states = OptimizerStates::new(&model, &optimizer, average).map_err(&memory)?;
        Ok(Self { model, states, gradients, optimizer, check_gradients: false })
    }

    /// Step 0 fails if a trainable tensor has no gradient.
    #[must_use]
    pub fn checking_gradients(self, check_gradients: bool) -> Self {
        Self { check_gradients, ..self }
    }

    /// Swaps the weights and their EMA, if there is one: the EMA is the final model of a run.
    ///
    /// # Errors
    /// If memory runs out.
    pub fn exchange_average(&mut self) -> Result<(), TrainError> {
        let exchanged = self.states.exchange_average(&mut self.model);
        exchanged.map_err(TrainError::memory("the exponential moving average of the weights"))
    }

    /// Calls `f` while every trainable weight is rounded as `round` does, then puts the weights
    /// back, to the bit. They are kept where gradients are between steps, so that this takes no
    /// memory.
    ///
    /// # Errors
    /// If memory runs out.
    pub(crate) fn while_rounded<T>(
        &mut self,
        round: impl Fn(&mut [B::Element]),
        f: impl FnOnce(&Model<B>) -> T,
    ) -> Result<T, TrainError> {
        let (model, kept) = (&mut self.model, &mut self.gradients.sums);
        let memory = TrainError::memory("rounded weights");
        let parts = |len: usize| {
            (0..len).step_by(ROUNDED).map(move |start| start..len.min(start + ROUNDED))
        };
        for part in parts(model.trainable().len()) {
            let mut values = model.read(part.clone());
            model.backend().write_accumulator(kept, part.start, &values);
            round(&mut values);
            model.write(part.start, &values);
        }
        model.adapters_changed().map_err(&memory)?;
        let result = f(model);
        for part in parts(model.trainable().len()) {
            let values = model.backend().read_accumulator(kept, part.clone());
            model.write(part.start, &values);
        }
        model.adapters_changed().map_err(memory)?;
        Ok(result)
    }

    /// The model as it is now.
    pub fn model(&self) -> &Model<B> {
        &self.model
    }

    /// Forward and backward over the rows of a step, clipping, update with learning rate `lr`.
    /// Returns the sums and the gradient's global norm before clipping.
    ///
    /// # Errors
    /// If a row cannot be trained on, or the loss or a gradient is not finite, or (in step 0) a
    /// tensor has none; the weights are as before then.
    pub fn step(
        &mut self,
        reference: &ReferenceSource<B>,
        rows: &[&Row],
        context: &StepContext,
        lr: f64,
    ) -> Result<(Sums, f64), TrainError> {
        let step = context.step;
        self.gradients.clear(self.model.backend());
        let (mut scored, mut suspect) = (rows.iter(), None);
        let mut show = |answers: &[AnswerDetail]| {
            let row = scored.next();
            suspect =
                suspect.take().or_else(|| row.and_then(|row| not_finite_scores(row, answers)));
        };
        let (model, gradients) = (&self.model, &mut self.gradients);
        let sums = accumulate_with(model, reference, gradients, rows, context, &mut show)?;
        gradient::exchange(model, gradients, context.collective)?;
        let loss = sums.loss / sums.count;
        // Sums and gradients are those of all processes, scores are this one's: all refuse the step
        // if one does.
        let mut suspects = [f64::from(u8::from(suspect.is_some()))];
        context.collective.all_reduce_sum(&mut suspects)?;
        let norm = match suspect {
            Some(found) => Err(found),
            None if suspects != [0.0] => Err(NotFinite::OtherProcess),
            None if !loss.is_finite() => Err(NotFinite::Loss { loss }),
            None => gradient::norm(model, gradients, sums.count),
        };
        let norm = norm.map_err(|found| {
            // A weight is looked for only now: it takes a pass over all of them.
            let found = not_finite::weight(&self.model).unwrap_or(found);
            TrainError::NotFinite { step: step + 1, found }
        })?;
        if step == 0 && self.check_gradients {
            gradient::check_all_learn(&self.model, &self.gradients)?;
        }
        let scale = gradient::scale(norm, self.optimizer.clip(), sums.count);
        let (model, gradients) = (&mut self.model, &self.gradients);
        let updated = self.states.update(model, gradients, &self.optimizer, (step, lr), scale);
        updated.map_err(TrainError::memory("the update of the weights"))?;
        Ok((sums, norm))
    }
}

/// Rounds all trainable elements to the nearest bfloat16 numbers.
fn round_to_bf16<B: Backend>(model: &mut Model<B>) {
    /// Elements that the host reads at a time.
    const PIECE: usize = 1 << 22;
    let len = model.trainable().len();
    for start in (0..len).step_by(PIECE) {
        let mut elements = model.read(start..len.min(start + PIECE));
        for element in &mut elements {
            *element = Element::from_f32(bf16::from_f64(element.to_f64()).to_f32());
        }
        model.write(start, &elements);
    }
}

/// Whether scores of a row are not finite.
fn not_finite_scores(row: &Row, answers: &[AnswerDetail]) -> Option<NotFinite> {
    let infinite = |values: &[f64]| values.iter().any(|value| !value.is_finite());
    let (source, record) = (row.source, row.record);
    if answers.iter().any(|a| infinite(&a.log_probs) || infinite(&a.first_log_probs)) {
        return Some(NotFinite::LogProbs { source, record });
    }
    let compared = answers.iter().any(|a| infinite(&a.reference) || infinite(&a.divergence));
    compared.then_some(NotFinite::Reference { source, record })
}
