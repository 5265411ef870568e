//! What is said of a run that is resumed after its last step, or with another number of steps.

use crate::checkpoint::State;
use crate::recipe::Recipe;

/// Notes on a run of `steps` steps that goes on from a checkpoint.
pub(super) fn notices(recipe: &Recipe, checkpoint: &State, steps: u64) -> Vec<String> {
    let (step, before) = (checkpoint.step, checkpoint.steps);
    let mut notices = Vec::new();
    if step == steps {
        let (field, value) = match recipe.train.steps {
            Some(steps) => ("train.steps", steps),
            None => ("train.epochs", recipe.train.epochs),
        };
        notices.push(format!(
            "the run is finished, all {steps} steps are done: nothing more is trained; to train \
             further, raise `{field}`, which is {value}, and add `--accept {field}`"
        ));
    }
    let rate = |step, steps| recipe.optimizer.lr() * recipe.schedule.factor(step, steps);
    if let Some(first) = (step..steps).find(|&step| rate(step, steps) != rate(step, before)) {
        notices.push(format!(
            "the learning rate follows a schedule of {steps} steps now, no longer of {before}, \
             those already done included: it is {:.3e} in step {}, where it was {:.3e}",
            rate(first, steps),
            first + 1,
            rate(first, before),
        ));
    }
    notices
}

/// Whether a run of `steps` steps goes on after what was its end. What was measured there was
/// measured on the moving average of the weights, if there is one, and in between it is not.
pub(super) fn is_extended(checkpoint: &State, steps: u64) -> bool {
    checkpoint.step == checkpoint.steps && checkpoint.step < steps
}
