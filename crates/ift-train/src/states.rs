//! The optimizer's memory, and one update of everything that learns.

use ift_backend::Backend;
use ift_model::{Gradients, Model};

use crate::Optimizer;

/// The states of an optimizer: for each parameter those of [`Optimizer::state_names`], or none where it does not learn.
pub(crate) struct OptimizerStates<B: Backend> {
    /// Indexed like [`Model::parameters`].
    pub by_parameter: Vec<Vec<B::Accumulator>>,
}

impl<B: Backend> OptimizerStates<B> {
    /// Zero states for everything that has a gradient.
    pub fn new(model: &Model<B>, gradients: &Gradients<B>, optimizer: &Optimizer) -> Self {
        let count = optimizer.state_names().len();
        let zeros = |len| (0..count).map(|_| model.backend().accumulator(len)).collect();
        let parameters = model.parameters().iter().zip(&gradients.accumulators);
        let by_parameter =
            parameters.map(|(p, gradient)| if gradient.is_some() { zeros(p.len) } else { Vec::new() });
        Self { by_parameter: by_parameter.collect() }
    }

    /// Applies a step, counted from 0, to every parameter that learns. `scale` turns gradient sums into the gradient.
    pub fn update(
        &mut self,
        model: &mut Model<B>,
        gradients: &Gradients<B>,
        optimizer: &Optimizer,
        step: u64,
        lr: f64,
        scale: f64,
    ) {
        for (i, (gradient, states)) in gradients.accumulators.iter().zip(&mut self.by_parameter).enumerate() {
            let Some(gradient) = gradient else { continue };
            // Norms and biases are vectors; pulling them to zero is not what weight decay is for.
            let matrix = model.parameters()[i].tensors.iter().all(|t| t.shape.len() > 1);
            let rule = optimizer.rule(step, lr, matrix);
            model.update(i, gradient, states, &rule, scale);
        }
    }
}
