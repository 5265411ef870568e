//! The gradient of a whole step: its norm, its scale, and whether everything has one.

use ift_backend::{Backend, Element};
use ift_model::{Gradients, Model, Tensor};
use ift_parallel::{Collective, CollectiveError};

use crate::error::TrainError;
use crate::not_finite::NotFinite;

/// The global norm of the mean gradient, before clipping: `‖Σ‖₂ / count`, over all parameters.
///
/// # Errors
/// If a gradient is not finite; the first such tensor is named.
pub(crate) fn norm<B: Backend>(
    model: &Model<B>,
    gradients: &Gradients<B>,
    count: f64,
) -> Result<f64, NotFinite> {
    let mut squares = 0.0;
    for (tensors, len, gradient) in learning(model, gradients) {
        let sum = model.backend().sum_of_squares(gradient, 0..len);
        if !sum.is_finite() {
            let finite =
                |t: &&Tensor| model.backend().sum_of_squares(gradient, t.range()).is_finite();
            let tensor = tensors.iter().find(|t| !finite(t)).or(tensors.first());
            let tensor = tensor.map_or_else(String::new, |t| t.name.clone());
            return Err(NotFinite::Gradient { tensor });
        }
        squares += sum;
    }
    Ok(squares.sqrt() / count)
}

/// Adds the gradient sums of all processes of a run.
///
/// # Errors
/// If the exchange fails.
pub(crate) fn exchange<B: Backend>(
    model: &Model<B>,
    gradients: &mut Gradients<B>,
    collective: &dyn Collective,
) -> Result<(), CollectiveError> {
    if collective.size() == 1 {
        return Ok(());
    }
    let both = model.parameters().iter().zip(&mut gradients.accumulators);
    for (len, gradient) in both.filter_map(|(p, gradient)| Some((p.len, gradient.as_mut()?))) {
        let own = model.backend().read_accumulator(gradient, 0..len);
        let mut sums: Vec<f64> = own.iter().map(|element| element.to_f64()).collect();
        collective.all_reduce_sum(&mut sums)?;
        let sums: Vec<B::Element> = sums.into_iter().map(Element::from_f64).collect();
        model.backend().write_accumulator(gradient, &sums);
    }
    Ok(())
}

/// What the gradient sums are multiplied by: one over the count, and the clipping factor `min(1,
/// clip / norm)` (`torch.nn.utils.clip_grad_norm_` without its 1e-6); `clip` 0 is no limit.
pub(crate) fn scale(norm: f64, clip: f64, count: f64) -> f64 {
    if clip > 0.0 && norm > clip { clip / norm / count } else { 1.0 / count }
}

/// Checks that every trainable tensor has a gradient that is not zero. To be called on finite
/// gradients.
///
/// # Errors
/// Names the tensors that have none.
pub(crate) fn check_all_learn<B: Backend>(
    model: &Model<B>,
    gradients: &Gradients<B>,
) -> Result<(), TrainError> {
    const NAMED: usize = 8;
    let mut count = 0;
    let mut names = Vec::new();
    for (tensors, _, gradient) in learning(model, gradients) {
        // The gradient of a low-rank sum's first factor is zero for as long as the second is, which
        // is where it begins.
        for tensor in tensors.iter().filter(|tensor| !tensor.name.contains(".lora_A.")) {
            if model.backend().sum_of_squares(gradient, tensor.range()) == 0.0 {
                count += 1;
                names.push(format!("`{}`", tensor.name));
            }
        }
    }
    if count == 0 {
        return Ok(());
    }
    if count > NAMED {
        names.truncate(NAMED);
        names.push(format!("and {} more", count - NAMED));
    }
    Err(TrainError::Untrained { count, names })
}

/// Tensors, length and gradient of the parameters that learn.
fn learning<'a, B: Backend>(
    model: &'a Model<B>,
    gradients: &'a Gradients<B>,
) -> impl Iterator<Item = (&'a [Tensor], usize, &'a B::Accumulator)> {
    let both = model.parameters().iter().zip(&gradients.accumulators);
    both.filter_map(|(p, gradient)| Some((p.tensors.as_slice(), p.len, gradient.as_ref()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scale_divides_and_clips() {
        assert_eq!(scale(5.0, 10.0, 4.0), 0.25);
        assert_eq!(scale(20.0, 10.0, 4.0), 0.125);
        assert_eq!(scale(20.0, 0.0, 4.0), 0.25);
        assert_eq!(scale(0.0, 10.0, 1.0), 1.0);
    }
}
