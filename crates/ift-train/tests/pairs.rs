//! Methods that compare answers, against float64 numbers from PyTorch (`tests/golden/`): losses,
//! rewards, KL terms, and the gradients of all six families; and what must not change them: the
//! split, recomputation, and where the reference is kept.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests stop at the first surprise")]

mod numbers;

use ift_backend::{Backend, Reference as Exact, Storage};
use ift_compare::{Comparison, Tolerance};
use ift_cpu::{CpuBf16, CpuF32};
use ift_data::Row;
use ift_methods::{Method, RowKind};
use ift_model::{Model, Trained};
use ift_train::{AnswerDetail, KnownScores, ReferenceSource, StepContext, examine};
use numbers::{
    FAMILIES, Policy, check_gradients, close, folder, json, run, same_directions, same_gradients,
    sequences,
};
use serde_json::{Value, json};
use std::sync::Arc;

/// The cases, as recipes write them.
fn method(case: &str) -> Method {
    let settings = match case {
        "pref.dpo" => json!({"name": "dpo", "beta": 0.1}),
        "pref.cdpo" => json!({"name": "dpo", "beta": 0.1, "label_smoothing": 0.1}),
        "pref.ipo_sum" => json!({"name": "ipo", "beta": 0.1}),
        "pref.ipo_avg" => json!({"name": "ipo", "beta": 0.1, "ipo_average": true}),
        "pref.orpo" => json!({"name": "orpo", "beta": 0.25}),
        "pref.simpo" => json!({"name": "simpo", "beta": 2.0, "gamma_beta_ratio": 0.8}),
        "pref.kto" => json!({"name": "kto", "beta": 0.1}),
        "pref.tdpo1" => json!({"name": "tdpo1", "beta": 0.1}),
        "pref.tdpo2" => json!({"name": "tdpo2", "beta": 0.1, "alpha": 0.5}),
        other => unreachable!("{other}"),
    };
    serde_json::from_value(settings).unwrap()
}

fn rows(method: &Method) -> Vec<Row> {
    let batch = &json("batches.json")["pref"];
    let [chosen, rejected, kl] = ["chosen", "rejected", "kl"].map(|side| sequences(&batch[side]));
    let rows: Vec<Row> = if method.needs().rows == RowKind::Judged {
        let answers =
            chosen.into_iter().map(|s| (s, true)).chain(rejected.into_iter().map(|s| (s, false)));
        answers.zip(kl).map(|((own, verdict), other)| Row::judged(own, other, verdict)).collect()
    } else {
        chosen.into_iter().zip(rejected).map(|(own, other)| Row::pair(own, other)).collect()
    };
    rows.into_iter().zip(1..).map(|(row, record)| row.at(0, record)).collect()
}

struct Models<B: Backend> {
    policy: Policy<B>,
    reference: Model<B>,
}

impl<B: Backend> Models<B> {
    fn load(family: &str, backend: B) -> Self {
        let backend = Arc::new(backend);
        let trained = Trained::Nothing { storage: Storage::Exact };
        let reference = Model::load(&folder(family).join("ref"), Arc::clone(&backend), trained);
        Self { policy: Policy::load(&folder(family), &backend), reference: reference.unwrap() }
    }

    fn reference(&self, method: &Method) -> ReferenceSource<'_, B> {
        if method.needs().reference {
            ReferenceSource::Model(&self.reference)
        } else {
            ReferenceSource::None
        }
    }
}

fn numbers_of(value: &Value) -> Vec<f64> {
    serde_json::from_value(value.clone()).unwrap()
}

fn compare(what: &str, found: impl Iterator<Item = f64>, expected: &Value, tolerance: f64) {
    let (found, expected) = (found.collect::<Vec<_>>(), numbers_of(expected));
    // Rewards are differences of sums of the size of 100.
    let allowed =
        Tolerance { relative: tolerance, absolute: 100.0 * tolerance, ..Tolerance::EXACT };
    let mut comparison = Comparison::new(what, allowed);
    comparison.values(what, &found, &expected);
    comparison.finish();
}

fn check<B: Backend>(family: &str, backend: B, loss: f64, gradient: f64) {
    let models = Models::load(family, backend);
    let cases = json(&format!("{family}/pairs.json"));
    let (mut checked, mut projected) = (0, 0);
    for (name, case) in
        cases.as_object().unwrap().iter().filter(|(name, _)| name.starts_with("pref."))
    {
        let (what, method) = (format!("{family} {name}"), method(name));
        let reference = models.reference(&method);
        let (sums, details, gradients) =
            run(&models.policy, &reference, &rows(&method), &method, 4096, false);
        close(&what, sums.loss / sums.count, case["loss"].as_f64().unwrap(), loss);
        let of = |chosen: bool| details.iter().filter(move |d| d.chosen == chosen);
        let reward = |d: &AnswerDetail| d.loss.reward.unwrap();
        compare(&what, of(true).map(reward), &case["chosen_rewards"], loss);
        compare(&what, of(false).map(reward), &case["rejected_rewards"], loss);
        let log_prob = |d: &AnswerDetail| d.log_probs.iter().sum();
        compare(&what, of(true).map(log_prob), &cases["policy"]["chosen_logps"], loss);
        compare(&what, of(false).map(log_prob), &cases["policy"]["rejected_logps"], loss);
        if let Some(kl) = case.get("kl_chosen") {
            let divergence = |d: &AnswerDetail| d.divergence.iter().sum();
            compare(&what, of(true).map(divergence), kl, loss);
            compare(&what, of(false).map(divergence), &case["kl_rejected"], loss);
        }
        if let Some(kl) = case.get("kl") {
            assert!((sums.kl_point - kl.as_f64().unwrap()).abs() < 100.0 * loss, "{what}");
        }
        projected += check_gradients(&what, case, &gradients, gradient);
        checked += 1;
    }
    assert_eq!(checked, 9);
    assert!(
        projected >= 2 * 20,
        "{family}: only {projected} projections of gradients were compared"
    );
}

#[test]
fn reference_matches_pytorch() {
    // The stored projections are sums of numbers rounded to f32.
    for family in FAMILIES {
        check(family, Exact, 1e-9, 1e-7);
    }
}

#[test]
fn cpu_matches_pytorch() {
    for family in FAMILIES {
        check(family, CpuF32::new(2), 1e-5, 2e-4);
    }
}

const CASES: [&str; 9] = [
    "pref.dpo",
    "pref.cdpo",
    "pref.ipo_sum",
    "pref.ipo_avg",
    "pref.orpo",
    "pref.simpo",
    "pref.kto",
    "pref.tdpo1",
    "pref.tdpo2",
];

/// Activations and products in bf16 point where f64 does. (The rewards of these untrained models
/// are small differences of large numbers, so a loss may be off by more than a likelihood.)
#[test]
fn bf16_gradients_agree_with_f64() {
    for family in FAMILIES {
        let (exact, narrow) = (Models::load(family, Exact), Models::load(family, CpuBf16::new(2)));
        for case in CASES {
            let method = method(case);
            let rows = rows(&method);
            let (_, _, expected) =
                run(&exact.policy, &exact.reference(&method), &rows, &method, 4096, false);
            let (_, _, found) =
                run(&narrow.policy, &narrow.reference(&method), &rows, &method, 4096, false);
            let least = |tensor: &str| if tensor.ends_with("k_proj.bias") { 0.98 } else { 0.99 };
            same_directions(&format!("{family} {case}"), &found, &expected, least);
        }
    }
}

/// However pairs are split or packed together, whether blocks are recomputed, and whether the
/// reference is resident or known beforehand, the gradient is the same.
#[test]
fn any_split_gives_the_same_gradient() {
    for family in ["mistral", "qwen3"] {
        let models = Models::load(family, Exact);
        for case in CASES {
            let method = method(case);
            let (needs, rows) = (method.needs(), rows(&method));
            let (whole, _, all) =
                run(&models.policy, &models.reference(&method), &rows, &method, 4096, false);
            for (budget, recompute) in [(4096, true), (1, false), (60, true)] {
                let reference = models.reference(&method);
                let (sums, _, split) =
                    run(&models.policy, &reference, &rows, &method, budget, recompute);
                assert_eq!(
                    (sums.count, sums.preference.pairs),
                    (whole.count, whole.preference.pairs)
                );
                close("loss", sums.loss, whole.loss, 1e-12);
                same_gradients(&format!("{case} {family} {budget}"), &split, &all, 1e-10);
            }
            if needs.reference && needs.divergence.is_none() {
                let refs: Vec<&Row> = rows.iter().collect();
                let known = KnownScores::of_rows(&models.reference, &refs, 40).unwrap();
                let reference = ReferenceSource::Known(known.iter().collect());
                let (sums, _, gradients) =
                    run(&models.policy, &reference, &rows, &method, 50, false);
                close("loss", sums.loss, whole.loss, 1e-12);
                same_gradients(&format!("{case} {family} known"), &gradients, &all, 1e-10);
            }
        }
    }
}

/// Held-out rows are judged by the same loss, without a gradient.
#[test]
fn examining_tells_the_same_loss() {
    let models = Models::load("llama", Exact);
    for case in CASES {
        let method = method(case);
        let rows = rows(&method);
        let rows: Vec<&Row> = rows.iter().collect();
        let reference = models.reference(&method);
        let sums =
            examine(models.policy.of(&method), &reference, &rows, &StepContext::plain(&method, 50))
                .unwrap();
        let expected = json("llama/pairs.json")[case]["loss"].as_f64().unwrap();
        close(case, sums.loss / sums.count, expected, 1e-9);
    }
}
