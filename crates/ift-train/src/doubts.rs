//! Settings with which a run learns little or nothing, told before it starts.

use crate::recipe::Recipe;

/// Fewer steps than this are hardly a training run.
const FEW_STEPS: u64 = 5;

/// What is doubtful in a run of `recipe` with so many rows and optimizer steps. Nothing is an
/// error: a short run may be a trial.
pub(crate) fn of(recipe: &Recipe, rows: usize, steps: u64) -> Vec<String> {
    let (lr, schedule) = (recipe.optimizer.lr(), &recipe.schedule);
    let mut doubts = Vec::new();
    let warmup = schedule.warmup_steps(steps);
    // The rate rises to the end of the warm-up and does not rise after it.
    let largest = lr * schedule.factor(warmup.min(steps.saturating_sub(1)), steps);
    if lr == 0.0 {
        doubts.push("`optimizer.lr` is 0: the model will not change".to_owned());
    } else if largest == 0.0 {
        doubts.push(format!(
            "the only step is the first of the warm-up, whose learning rate is 0: the model will \
             not change; set `schedule.warmup_steps = 0`, or train more steps than {steps}"
        ));
    } else if warmup >= steps {
        doubts.push(format!(
            "the warm-up takes {warmup} steps and the run has {steps}, so the learning rate rises \
             to {largest:.3e} and never reaches `optimizer.lr`, {lr:e}; expected a shorter warm-up \
             (`schedule.warmup_steps`) or a longer run"
        ));
    }
    if steps < FEW_STEPS {
        let per_step = recipe.train.rows_per_step;
        let why = if recipe.train.steps.is_some() {
            "`train.steps` says so".to_owned()
        } else {
            format!(
                "{rows} rows with `train.rows_per_step` {per_step}; fewer rows in a step, or more \
                 epochs, give more steps"
            )
        };
        let plural = if steps == 1 { "" } else { "s" };
        doubts.push(format!("the run has only {steps} optimizer step{plural}: {why}"));
    }
    if recipe.optimizer.rounds_to().is_some() {
        doubts.push(
            "`rmsprop_bf16` keeps weights in bfloat16, in which small updates round away; for a \
             better model use `rmsprop`"
                .to_owned(),
        );
    }
    doubts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_lines(lines: &str, steps: u64) -> Vec<String> {
        let text = format!("model.path = 'm'\ndata.train = 'd'\noutput.dir = 'o'\n{lines}");
        of(&Recipe::from_toml(&text).unwrap(), 60, steps)
    }

    #[test]
    fn a_run_that_learns_says_nothing() {
        for (lines, steps) in [("", 5), ("schedule.warmup_steps = 0", 30), ("", 1000)] {
            assert_eq!(of_lines(lines, steps), [""; 0], "{lines}");
        }
    }

    #[test]
    fn what_learns_nothing_is_named() {
        for (lines, steps, expected) in [
            ("optimizer = { name = 'adamw', lr = 0.0 }", 100, "`optimizer.lr` is 0"),
            ("schedule.warmup_steps = 1", 1, "whose learning rate is 0"),
            ("schedule.warmup_steps = 100", 100, "rises to 4.950e-7 and never reaches"),
            ("schedule.warmup_steps = 400", 100, "rises to 1.238e-7 and never reaches"),
            ("schedule.warmup_ratio = 1.0", 100, "the warm-up takes 100 steps and the run has 100"),
            ("", 3, "only 3 optimizer steps: 60 rows with `train.rows_per_step` 512"),
            ("", 1, "only 1 optimizer step: "),
            ("train.steps = 3", 3, "only 3 optimizer steps: `train.steps` says so"),
            ("optimizer.name = 'rmsprop_bf16'", 100, "small updates round away"),
        ] {
            let found = of_lines(lines, steps).join("; ");
            assert!(found.contains(expected), "{lines}, {steps} steps: {found}");
        }
    }
}
