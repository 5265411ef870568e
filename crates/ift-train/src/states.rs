//! The optimizer's memory and the running mean of the weights, and one update of everything that
//! learns.

use ift_backend::Backend;
use ift_model::{Gradients, Model};

use crate::optimizer::Optimizer;

/// The name of the running mean among the states of a checkpoint.
const AVERAGE: &str = "average";

/// For each parameter the states of [`Optimizer::state_names`], then the running mean of its
/// weights where there is one; nothing where it does not learn.
pub(crate) struct OptimizerStates<B: Backend> {
    /// Indexed like [`Model::parameters`].
    pub by_parameter: Vec<Vec<B::Accumulator>>,
    /// Decay of the running mean.
    average: Option<f64>,
}

impl<B: Backend> OptimizerStates<B> {
    /// Zero states for everything that has a gradient; with a decay `average`, running means that
    /// begin at the weights.
    pub fn new(
        model: &Model<B>,
        gradients: &Gradients<B>,
        optimizer: &Optimizer,
        average: Option<f64>,
    ) -> Self {
        let backend = model.backend();
        let parameters = model.parameters().iter().zip(&gradients.accumulators).enumerate();
        let states =
            |(i, (p, gradient)): (usize, (&ift_model::Parameter, &Option<B::Accumulator>))| {
                if gradient.is_none() {
                    return Vec::new();
                }
                let zeros = || backend.accumulator(p.len);
                let mut states: Vec<_> = optimizer.state_names().iter().map(|_| zeros()).collect();
                if average.is_some() {
                    let mut mean = zeros();
                    // Decay 0 makes it the weights themselves.
                    backend.average(model.weight(i), 0.0, &mut mean);
                    states.push(mean);
                }
                states
            };
        Self { by_parameter: parameters.map(states).collect(), average }
    }

    /// What the states of a parameter are called in a checkpoint, in their order.
    pub fn names(&self, optimizer: &Optimizer) -> Vec<&'static str> {
        let average = self.average.map(|_| AVERAGE);
        optimizer.state_names().iter().copied().chain(average).collect()
    }

    /// Applies a step, counted from 0, to every parameter that learns. `scale` turns gradient sums
    /// into the gradient.
    pub fn update(
        &mut self,
        model: &mut Model<B>,
        gradients: &Gradients<B>,
        optimizer: &Optimizer,
        step: u64,
        lr: f64,
        scale: f64,
    ) {
        for (i, (gradient, states)) in
            gradients.accumulators.iter().zip(&mut self.by_parameter).enumerate()
        {
            let Some(gradient) = gradient else { continue };
            // Norms and biases are vectors; pulling them to zero is not what weight decay is for.
            let matrix = model.parameters()[i].tensors.iter().all(|t| t.shape.len() > 1);
            let rule = optimizer.rule(step, lr, matrix);
            let (states, mean) = states.split_at_mut(optimizer.state_names().len());
            model.update(i, gradient, states, &rule, scale);
            if let (Some(decay), Some(mean)) = (self.average, mean.first_mut()) {
                model.backend().average(model.weight(i), decay, mean);
            }
        }
        model.adapters_changed();
    }

    /// Exchanges the weights and their running means, where there are any; done twice, everything
    /// is as it was, to the bit.
    pub fn swap_average(&mut self, model: &mut Model<B>, optimizer: &Optimizer) {
        if self.average.is_none() {
            return;
        }
        for (i, states) in self.by_parameter.iter_mut().enumerate() {
            let Some(mean) = states.get_mut(optimizer.state_names().len()) else { continue };
            let all = 0..model.parameters()[i].len;
            let values = model.backend().read_accumulator(mean, all.clone());
            let weights = model.backend().read_weight(model.weight(i), all);
            model.backend().write_accumulator(mean, &weights);
            model.write_weight(i, &values);
        }
        model.adapters_changed();
    }
}
