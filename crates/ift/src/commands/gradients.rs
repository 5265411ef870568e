//! `ift gradients`: loss and gradient of given rows, for checking against any other trainer.

use std::{path::Path, sync::Arc};

use anyhow::{Context, Result, bail};
use ift_backend::{Backend, Element, Storage};
use ift_data::{Row, rows_from_jsonl};
use ift_model::{Gradients, Model, PendingTensor, write_tensors};
use ift_parallel::Solo;
use ift_train::{AnswerDetail, PreferenceMetrics, StepSettings, Work, accumulate_with};
use serde_json::{Value, json};

use super::backend::run_on;
use crate::arguments::GradientsArguments;
use crate::commands::method::{MethodSettings, load_reference, reference_of};
use crate::output::Output;

/// Runs the command.
pub(crate) fn run(arguments: GradientsArguments, output: Output) -> Result<()> {
    let settings = MethodSettings::new(&arguments.step)?;
    let rows = rows_from_jsonl(&arguments.step.rows, settings.method.needs().rows)?;
    if rows.is_empty() {
        bail!("`{}` holds no rows", arguments.step.rows.display());
    }
    run_on(arguments.step.compute, GradientsWork { arguments, settings, rows, output })
}

struct GradientsWork {
    arguments: GradientsArguments,
    settings: MethodSettings,
    rows: Vec<Row>,
    output: Output,
}

impl Work for GradientsWork {
    type Output = Result<()>;

    fn run<B: Backend>(self, backend: Arc<B>, _: usize) -> Result<()> {
        let step = &self.arguments.step;
        let (settings, method) = (&self.settings, &self.settings.method);
        let reference =
            load_reference(settings, step, Arc::clone(&backend), Storage::Exact, false)?;
        let model = settings.load(step, backend)?;
        let reference = reference_of(settings, &model, reference.as_ref());
        let mut gradients = model.gradients()?;
        let context = StepSettings {
            method,
            seed: step.seed,
            warmup_steps: 0,
            noise: 0.0,
            recompute: step.recompute,
            micro_batch_tokens: step.micro_batch_tokens,
            collective: &Solo,
        }
        .at(0);
        let rows: Vec<&Row> = self.rows.iter().collect();
        let mut details = Vec::with_capacity(rows.len());
        let mut show = |answers: &[AnswerDetail]| details.extend(answers.iter().map(row_json));
        let sums = accumulate_with(&model, &reference, &mut gradients, &rows, &context, &mut show)
            .with_context(|| format!("`{}` cannot be used", step.rows.display()))?;
        let groups = model.trainable().groups();
        let ranges: Vec<_> = groups
            .filter_map(|group| Some(group.first()?.range.start..group.last()?.range.end))
            .collect();
        let squares: f64 = model.backend().sums_of_squares(&gradients.sums, &ranges).iter().sum();
        if let Some(path) = &self.arguments.out {
            write(&model, &gradients, sums.count, path)
                .with_context(|| format!("cannot write the gradients to `{}`", path.display()))?;
        }
        let answer = json!({
            "loss": sums.loss / sums.count,
            "grad_norm": squares.sqrt() / sums.count,
            "rows": sums.rows,
            "targets": sums.targets,
            "tokens": sums.tokens,
            "count": sums.count,
            "lambda": context.lambda,
            "first_pass_loss": sums.first_pass / sums.plain_count,
            "unweighted_loss": sums.unweighted / sums.plain_count,
            "pushed_down": sums.pushed_down,
            "kl_point": sums.kl_point,
            "preference": PreferenceMetrics::of(&sums),
            "per_row": details,
        });
        self.output.result(&answer.to_string())?;
        Ok(())
    }
}

/// A row, or one side of a pair.
fn row_json(detail: &AnswerDetail) -> Value {
    json!({
        "chosen": detail.chosen,
        "reward": detail.loss.reward,
        "loss": detail.loss.sum,
        "count": detail.loss.count,
        "targets": detail.positions.len(),
        "positions": detail.positions,
        "log_probs": detail.log_probs,
        "first_pass_log_probs": detail.first_log_probs,
        "look_ahead": detail.look_ahead,
        "reference_log_probs": detail.reference,
        "divergence": detail.divergence,
        "entropy": detail.entropy,
        "weights": detail.loss.weights,
        "d_log_probs": detail.loss.gradient,
    })
}

/// Writes the gradients of the mean loss under their Hugging Face names, in the backend's number
/// type.
fn write<B: Backend>(
    model: &Model<B>,
    gradients: &Gradients<B>,
    count: f64,
    path: &Path,
) -> Result<()> {
    let tensors = model.trainable().tensors().iter().map(|tensor| {
        let mean = move || -> Vec<B::Element> {
            let sums = model.backend().read_accumulator(&gradients.sums, tensor.range.clone());
            sums.iter().map(|sum| Element::from_f64(sum.to_f64() / count)).collect()
        };
        let pending = PendingTensor::new(tensor.shape.clone(), B::Element::NUMBER, mean);
        (tensor.name.clone(), pending)
    });
    Ok(write_tensors(tensors, path)?)
}
