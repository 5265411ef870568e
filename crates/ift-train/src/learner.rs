//! A model that learns: its weights, gradients and optimizer states, and one optimizer step over
//! given rows.

use ift_backend::Backend;
use ift_data::Row;
use ift_model::{Gradients, Model};

use crate::states::OptimizerStates;
use crate::{Optimizer, Reference, StepContext, Sums, TrainError, accumulate, gradient};

/// What an optimizer step works on.
pub struct Learner<B: Backend> {
    pub(crate) model: Model<B>,
    pub(crate) states: OptimizerStates<B>,
    gradients: Gradients<B>,
    pub(crate) optimizer: Optimizer,
    check_gradients: bool,
}

impl<B: Backend> Learner<B> {
    /// Zero gradients and optimizer states for a model. With `input_embeddings` the embedding table
    /// learns through the inputs too ([`ift_methods::Method::trains_input_embeddings`]).
    pub fn new(model: Model<B>, optimizer: Optimizer, input_embeddings: bool) -> Self {
        let gradients = model.gradients(input_embeddings);
        let states = OptimizerStates::new(&model, &gradients, &optimizer, None);
        Self { model, states, gradients, optimizer, check_gradients: false }
    }

    /// Step 0 fails if a trainable tensor has no gradient.
    #[must_use]
    pub fn checking_gradients(self, check_gradients: bool) -> Self {
        Self { check_gradients, ..self }
    }

    /// Keeps a running mean of the weights, of decay `average`, if there is one.
    #[must_use]
    pub fn averaging(self, average: Option<f64>) -> Self {
        let states = OptimizerStates::new(&self.model, &self.gradients, &self.optimizer, average);
        Self { states, ..self }
    }

    /// Exchanges the weights and their running mean, if there is one: the mean is what a run keeps
    /// at its end.
    pub fn swap_average(&mut self) {
        self.states.swap_average(&mut self.model, &self.optimizer);
    }

    /// The model as it is now.
    pub fn model(&self) -> &Model<B> {
        &self.model
    }

    /// Numbers that learn.
    pub fn trainable(&self) -> usize {
        let all = self.model.parameters().iter().zip(&self.gradients.accumulators);
        all.filter(|(_, gradient)| gradient.is_some()).map(|(p, _)| p.len).sum()
    }

    /// Forward and backward over the rows of a step, clipping, update with learning rate `lr`.
    /// Returns the sums and the gradient's global norm before clipping.
    ///
    /// # Errors
    /// If a row cannot be trained on, or the loss or a gradient is not finite, or (in step 0) a
    /// tensor has none; the weights are as before then.
    pub fn step(
        &mut self,
        reference: &Reference<B>,
        rows: &[&Row],
        context: &StepContext,
        lr: f64,
    ) -> Result<(Sums, f64), TrainError> {
        let step = context.step;
        self.gradients.clear(self.model.backend());
        let sums = accumulate(&self.model, reference, &mut self.gradients, rows, context)?;
        let norm = gradient::norm(&self.model, &self.gradients, sums.count, step + 1)?;
        let loss = sums.loss / sums.count;
        if !loss.is_finite() {
            return Err(TrainError::LossNotFinite { step: step + 1, loss });
        }
        if step == 0 && self.check_gradients {
            gradient::check_all_learn(&self.model, &self.gradients)?;
        }
        let scale = gradient::scale(norm, self.optimizer.clip(), sums.count);
        self.states.update(&mut self.model, &self.gradients, &self.optimizer, step, lr, scale);
        Ok((sums, norm))
    }
}
