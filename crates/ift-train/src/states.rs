//! Optimizer states and the exponential moving average (EMA) of the weights, and one update of
//! everything that is trained.

use ift_backend::{Backend, RangeUpdate};
use ift_model::{Gradients, Model, ModelError};

use crate::optimizer::Optimizer;

/// The name of the EMA among the states of a checkpoint.
const AVERAGE: &str = "average";

/// What an optimizer keeps between steps, in the layout of the model's trainable elements.
pub(crate) struct OptimizerStates<B: Backend> {
    /// Those of [`Optimizer::state_names`], then the EMA of the weights, if there is one.
    states: Vec<B::Accumulator>,
    /// Decay of the EMA.
    average: Option<f64>,
    names: Vec<&'static str>,
}

impl<B: Backend> OptimizerStates<B> {
    /// Zero states; with a decay `average`, an EMA that begins at the weights.
    ///
    /// # Errors
    /// If memory runs out.
    pub fn new(
        model: &Model<B>,
        optimizer: &Optimizer,
        average: Option<f64>,
    ) -> Result<Self, ModelError> {
        let (backend, len) = (model.backend(), model.trainable().len());
        let mut names = optimizer.state_names().to_vec();
        let states = names.iter().map(|_| backend.accumulator(len));
        let mut states = states.collect::<Result<Vec<_>, _>>()?;
        if average.is_some() {
            let mut mean = backend.accumulator(len)?;
            // Decay 0 makes it the weights themselves.
            model.average(0.0, &mut mean);
            states.push(mean);
            names.push(AVERAGE);
        }
        Ok(Self { states, average, names })
    }

    /// The states by their names in a checkpoint.
    pub fn by_name(&self) -> impl Iterator<Item = (&'static str, &B::Accumulator)> {
        self.names.iter().copied().zip(&self.states)
    }

    /// The states by their names in a checkpoint, to be overwritten.
    pub fn by_name_mut(&mut self) -> impl Iterator<Item = (&'static str, &mut B::Accumulator)> {
        self.names.iter().copied().zip(&mut self.states)
    }

    /// Applies a step, counted from 0. `scale` turns gradient sums into the gradient.
    ///
    /// # Errors
    /// If memory runs out.
    pub fn update(
        &mut self,
        model: &mut Model<B>,
        gradients: &Gradients<B>,
        optimizer: &Optimizer,
        (step, lr): (u64, f64),
        scale: f64,
    ) -> Result<(), ModelError> {
        let updates: Vec<RangeUpdate> = model
            .trainable()
            .groups()
            .filter_map(|group| {
                let (first, last) = (group.first()?, group.last()?);
                // Weight decay is for matrices; norms and biases are vectors.
                let matrix = group.iter().all(ift_model::TrainableTensor::is_matrix);
                let rule = optimizer.rule(step, lr, matrix);
                Some(RangeUpdate { range: first.range.start..last.range.end, rule })
            })
            .collect();
        let (states, mean) = self.states.split_at_mut(optimizer.state_names().len());
        model.update(gradients, states, &updates, scale)?;
        if let (Some(decay), Some(mean)) = (self.average, mean.first_mut()) {
            model.average(decay, mean);
        }
        Ok(())
    }

    /// Swaps the weights and their EMA, if there is one; done twice, everything is as it was, to
    /// the bit.
    ///
    /// # Errors
    /// If memory runs out.
    pub fn exchange_average(&mut self, model: &mut Model<B>) -> Result<(), ModelError> {
        match (self.average, self.states.last_mut()) {
            (Some(_), Some(mean)) => model.exchange_average(mean),
            _ => Ok(()),
        }
    }
}
