//! The loss on held-out rows.

use std::time::Instant;

use ift_backend::Backend;
use ift_data::Row;
use ift_methods::{Method, Sft};
use ift_model::Model;

use crate::context::StepContext;
use crate::metrics::{EvalMetrics, PreferenceMetrics};
use crate::reference::ReferenceSource;
use crate::step::examine;
use crate::step_error::StepError;

/// Scores rows without gradient. `loss` is the plain likelihood's in the method's reduction (of the
/// chosen answers, where answers are compared), so that it compares across methods; it has neither
/// weights nor a look-ahead. Methods that compare answers also report their own loss and rewards.
///
/// # Errors
/// As [`examine`].
pub(crate) fn evaluate<B: Backend>(
    model: &Model<B>,
    reference: &ReferenceSource<B>,
    rows: &[&Row],
    method: &Method,
    micro_batch_tokens: usize,
    step: u64,
) -> Result<EvalMetrics, StepError> {
    let start = Instant::now();
    let plain = Method::Sft(Sft { reduction: method.reduction(), ..Sft::default() });
    let compares = method.needs().rows.compares();
    let judge = if compares { method } else { &plain };
    // A plain likelihood is compared with nothing, whatever the method needs in training.
    let reference = if judge.needs().reference { reference } else { &ReferenceSource::None };
    let sums = examine(model, reference, rows, &StepContext::plain(judge, micro_batch_tokens))?;
    let nll_per_target = sums.nll / sums.nll_targets as f64;
    Ok(EvalMetrics {
        step,
        loss: sums.unweighted / sums.plain_count,
        nll_per_target,
        perplexity: nll_per_target.exp(),
        method_loss: compares.then_some(sums.loss / sums.count),
        preference: PreferenceMetrics::of(&sums),
        rows: sums.rows,
        targets: sums.targets,
        seconds: start.elapsed().as_secs_f64(),
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use ift_backend::{NumberType, Reference};
    use ift_data::Sequence;
    use ift_methods::{Asft, IwSft, Psft};
    use ift_model::{Trained, random};

    use super::*;

    /// Methods with a reference that are judged as a plain likelihood.
    #[test]
    fn a_plain_likelihood_runs_no_reference() {
        let folder = tempfile::tempdir().unwrap();
        let config = serde_json::json!({"model_type": "llama", "vocab_size": 16, "hidden_size": 8,
            "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2,
            "num_key_value_heads": 1});
        let config = config.as_object().unwrap().clone();
        random::create(config, 1, NumberType::F32, folder.path()).unwrap();
        let trained = Trained::All { input_embeddings: true };
        let model = Model::load(folder.path(), Arc::new(Reference), trained).unwrap();
        let row = Row::demonstration(Sequence::masked(vec![1, 2, 3], &[false, true, true]));
        // It has no row, and would fail if one were asked for.
        let reference = ReferenceSource::Known(Vec::new());
        for method in [
            Method::Asft(Asft::default()),
            Method::IwSft(IwSft::default()),
            Method::Psft(Psft::default()),
        ] {
            let needs = method.needs();
            assert!(needs.reference || needs.old_policy.is_some());
            let found = evaluate(&model, &reference, &[&row], &method, 100, 0).unwrap();
            assert!(found.loss.is_finite() && found.targets == 2);
        }
    }
}
