//! The gradient of a whole step: its norm, its scale, and whether everything has one.

use std::ops::Range;

use ift_backend::{Backend, Element};
use ift_model::{Gradients, Model, TrainableTensor};
use ift_parallel::{Collective, CollectiveError};

use crate::error::TrainError;
use crate::not_finite::NotFinite;

/// Elements, at most, that are exchanged with other processes at a time.
const EXCHANGED: usize = 1 << 22;

/// The global norm of the mean gradient, before clipping: `‖Σ‖₂ / count`, over all that is
/// trained.
///
/// # Errors
/// If a gradient is not finite; names the first such tensor.
pub(crate) fn norm<B: Backend>(
    model: &Model<B>,
    gradients: &Gradients<B>,
    count: f64,
) -> Result<f64, NotFinite> {
    let groups = model.trainable().groups();
    let ranges: Vec<Range<usize>> = groups
        .filter_map(|group| Some(group.first()?.range.start..group.last()?.range.end))
        .collect();
    let sums = model.backend().sums_of_squares(&gradients.sums, &ranges);
    let squares: f64 = sums.iter().sum();
    if squares.is_finite() {
        return Ok(squares.sqrt() / count);
    }
    let (tensors, sums) = by_tensor(model, gradients);
    let found = tensors.iter().zip(sums).find(|(_, sum)| !sum.is_finite());
    let tensor = found.map_or("all tensors together", |(tensor, _)| &tensor.name).to_owned();
    Err(NotFinite::Gradient { tensor })
}

/// The trainable tensors, and the sum of squares of each one's gradient.
fn by_tensor<'a, B: Backend>(
    model: &'a Model<B>,
    gradients: &Gradients<B>,
) -> (&'a [TrainableTensor], Vec<f64>) {
    let tensors = model.trainable().tensors();
    let ranges: Vec<Range<usize>> = tensors.iter().map(|tensor| tensor.range.clone()).collect();
    (tensors, model.backend().sums_of_squares(&gradients.sums, &ranges))
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
    let (backend, len) = (model.backend(), model.trainable().len());
    for start in (0..len).step_by(EXCHANGED) {
        let own = backend.read_accumulator(&gradients.sums, start..len.min(start + EXCHANGED));
        let mut sums: Vec<f64> = own.iter().map(|element| element.to_f64()).collect();
        collective.all_reduce_sum(&mut sums)?;
        let sums: Vec<B::Element> = sums.into_iter().map(Element::from_f64).collect();
        backend.write_accumulator(&mut gradients.sums, start, &sums);
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
    let (tensors, sums) = by_tensor(model, gradients);
    // LoRA's B starts at zero, so the gradient of A is zero in the first step.
    let without = tensors
        .iter()
        .zip(sums)
        .filter(|(tensor, sum)| *sum == 0.0 && !tensor.name.contains(".lora_A."));
    let mut names: Vec<String> = without.map(|(tensor, _)| format!("`{}`", tensor.name)).collect();
    let count = names.len();
    if count == 0 {
        return Ok(());
    }
    if count > NAMED {
        names.truncate(NAMED);
        names.push(format!("and {} more", count - NAMED));
    }
    Err(TrainError::Untrained { count, names })
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
