//! Every model family against float64 numbers from PyTorch (`tests/golden/`, torch 2.8 and
//! transformers 5.24 with every float32 cast of theirs widened): losses, weights,
//! log-probabilities, the look-ahead's tokens and all gradients.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests stop at the first surprise")]

mod numbers;

use ift_backend::{Backend, Reference as Exact};
use ift_compare::{Comparison, Tolerance};
use ift_cpu::{CpuBf16, CpuF32};
use ift_data::{Row, Sequence};
use ift_methods::{Ift, Method, Sft};
use ift_train::{AnswerDetail, ReferenceSource, Sums};
use numbers::{
    ByName, FAMILIES, Policy, check_gradients, close, folder, json, same_directions,
    same_gradients, sequences, share,
};
use safetensors::SafeTensors;
use serde_json::Value;
use std::sync::Arc;

fn rows(batch: &str) -> Vec<Row> {
    let sequences = sequences(&json("batches.json")["sft"][batch]).into_iter();
    let row = |(i, sequence)| Row::demonstration(sequence).at(0, i as u64 + 1);
    sequences.enumerate().map(row).collect()
}

fn method(case: &Value) -> Method {
    if case.get("lambda").is_none() {
        return Method::Sft(Sft::default());
    }
    let settings = serde_json::json!({
        "lambda": case["lambda"], "gamma": case["gamma"], "source": case["type"],
        "side": case["side"], "norm": case["norm"], "detach_weights": case["detached"]
    });
    Method::Ift(serde_json::from_value::<Ift>(settings).unwrap())
}

fn run<B: Backend>(
    model: &Policy<B>,
    rows: &[Row],
    method: &Method,
    micro_batch_tokens: usize,
    recompute: bool,
) -> (Sums, Vec<AnswerDetail>, ByName) {
    numbers::run(model, &ReferenceSource::None, rows, method, micro_batch_tokens, recompute)
}

struct Allowed {
    loss: f64,
    weights: f64,
    gradient: f64,
}

/// Rows of `[3, 23]` lists, where index `t - 1` is the target at position `t`.
fn compare_rows(
    case: &str,
    expected: &Value,
    details: &[AnswerDetail],
    of: impl Fn(&AnswerDetail) -> &[f64],
    tolerance: f64,
) {
    let expected = expected.as_array().unwrap();
    assert_eq!(details.len(), expected.len(), "{case}");
    let mut comparison = Comparison::new(case, share(tolerance));
    for (row, (detail, expected)) in details.iter().zip(expected).enumerate() {
        let expected: Vec<f64> =
            detail.positions.iter().map(|t| expected[t - 1].as_f64().unwrap()).collect();
        comparison.values(&format!("row {row}"), of(detail), &expected);
    }
    comparison.finish();
}

/// Runs every case of a family.
fn check<B: Backend>(family: &str, backend: B, tolerance: &Allowed) {
    let model = Policy::load(&folder(family), &Arc::new(backend));
    let cases = json(&format!("{family}/cases.json"));
    let mut checked = 0;
    for (name, case) in cases.as_object().unwrap() {
        if case.get("loss").is_none() {
            continue;
        }
        let (sums, details, gradients) = run(&model, &rows(&name[..2]), &method(case), 4096, false);
        close(name, sums.loss / sums.count, case["loss"].as_f64().unwrap(), tolerance.loss);
        if let Some(weights) = case.get("weights") {
            compare_rows(name, weights, &details, |d| &d.loss.weights, tolerance.weights);
            compare_rows(name, &case["logps"], &details, |d| &d.log_probs, tolerance.weights);
        }
        checked +=
            check_gradients(&format!("{family} {name}"), case, &gradients, tolerance.gradient);
    }
    assert!(
        checked >= 2 * 2 * 20,
        "{family}: only {checked} projections of gradients were compared"
    );
    whole_gradients(family, &model, &cases, tolerance.gradient);
}

/// Element by element, where whole gradients are stored.
fn whole_gradients<B: Backend>(family: &str, model: &Policy<B>, cases: &Value, tolerance: f64) {
    let Ok(stored) = std::fs::read(folder(family).join("grads_f32.safetensors")) else { return };
    let stored = SafeTensors::deserialize(&stored).unwrap();
    for name in ["b0.sft", "b0.ift.default"] {
        let mut found = run(model, &rows("b0"), &method(&cases[name]), 4096, false).2;
        let mut expected = ByName::new();
        for (stored, view) in stored.tensors() {
            let Some(tensor) = stored.strip_prefix(&format!("{name}/")) else { continue };
            let (bytes, _) = view.data().as_chunks::<4>();
            let elements = bytes.iter().map(|b| f64::from(f32::from_le_bytes(*b)));
            expected.insert(tensor.to_owned(), elements.collect());
        }
        // What is not trained has a gradient of zero there.
        for (tensor, gradient) in &expected {
            found.entry(tensor.clone()).or_insert_with(|| vec![0.0; gradient.len()]);
        }
        same_gradients(&format!("{family} {name}"), &found, &expected, tolerance);
    }
}

#[test]
fn reference_matches_pytorch() {
    // The stored gradients are rounded to f32, 6e-8 relative at most.
    let tolerance = Allowed { loss: 1e-9, weights: 1e-9, gradient: 1e-7 };
    for family in FAMILIES {
        check(family, Exact, &tolerance);
    }
}

#[test]
fn cpu_matches_pytorch() {
    // f32 arithmetic; weights and losses of single tokens carry the rounding of a whole forward
    // pass.
    let tolerance = Allowed { loss: 1e-5, weights: 1e-4, gradient: 1e-4 };
    for family in FAMILIES {
        check(family, CpuF32::new(2), &tolerance);
    }
}

/// Activations and products in bf16: every tensor's gradient points where the f64 one does. These
/// models are untrained, so that the two best tokens are sometimes nearly equal; a row in which
/// bf16 looks ahead to the other one is another row, and is left out.
#[test]
fn bf16_gradients_agree_with_f64() {
    for family in FAMILIES {
        let exact = Policy::load(&folder(family), &Arc::new(Exact));
        let narrow = Policy::load(&folder(family), &Arc::new(CpuBf16::new(2)));
        let mut left_out = 0;
        for method in [Method::Sft(Sft::default()), Method::Ift(Ift::default())] {
            for batch in ["b0", "b1"] {
                let mut rows = rows(batch);
                let (_, exact_details, _) = run(&exact, &rows, &method, 4096, false);
                let (_, narrow_details, _) = run(&narrow, &rows, &method, 4096, false);
                let mut same = exact_details
                    .iter()
                    .zip(&narrow_details)
                    .map(|(a, b)| a.look_ahead == b.look_ahead);
                let before = rows.len();
                rows.retain(|_| same.next().unwrap());
                left_out += before - rows.len();
                let (exact_sums, _, exact) = run(&exact, &rows, &method, 4096, false);
                let (sums, _, narrow) = run(&narrow, &rows, &method, 4096, false);
                close("loss", sums.loss / sums.count, exact_sums.loss / exact_sums.count, 2e-3);
                // Adding the same to all keys changes no attention but for the rotation: what is
                // left of this gradient is a small difference of large numbers.
                let least =
                    |tensor: &str| if tensor.ends_with("k_proj.bias") { 0.99 } else { 0.999 };
                let what = format!("{family} {method:?} {batch}");
                same_directions(&what, &narrow, &exact, least);
            }
        }
        assert!(left_out <= 4, "{family}: {left_out} rows have other look-aheads");
    }
}

#[test]
fn look_ahead_chooses_the_golden_tokens() {
    for family in FAMILIES {
        let model = Policy::load(&folder(family), &Arc::new(Exact));
        let cases = json(&format!("{family}/cases.json"));
        for batch in ["b0", "b1"] {
            let (_, details, _) =
                run(&model, &rows(batch), &Method::Ift(Ift::default()), 4096, false);
            let argmax = &cases[&format!("{batch}.ift.argmax")];
            for (r, detail) in details.iter().enumerate() {
                // A row with a single target has nothing to mix, but its neighbours make the
                // look-ahead run.
                for (t, choice) in detail.positions.iter().zip(&detail.look_ahead) {
                    assert_eq!(
                        u64::from(*choice),
                        argmax[r][t - 1].as_u64().unwrap(),
                        "{family} {batch} {r} {t}"
                    );
                }
            }
        }
    }
}

#[test]
fn all_combinations_match() {
    for family in FAMILIES {
        let model = Policy::load(&folder(family), &Arc::new(Exact));
        let cases = json(&format!("{family}/cases.json"));
        for batch in ["b0", "b1"] {
            for (name, expected) in cases[&format!("{batch}.combos")].as_object().unwrap() {
                let parts: Vec<&str> = name.split('|').collect();
                let settings = serde_json::json!({
                    "source": parts[0], "side": parts[1], "norm": parts[2],
                    "gamma": parts[3].parse::<f64>().unwrap()
                });
                let method = Method::Ift(serde_json::from_value(settings).unwrap());
                let (sums, details, _) = run(&model, &rows(batch), &method, 4096, false);
                let what = format!("{family} {batch} {name}");
                close(&what, sums.loss / sums.count, expected["loss"].as_f64().unwrap(), 1e-9);
                if let Some(weights) = expected.get("weights") {
                    compare_rows(&what, weights, &details, |d| &d.loss.weights, 1e-9);
                }
            }
        }
    }
}

/// NEVER row 5 and 6: however the rows are split or packed together, and whether blocks are
/// recomputed, the gradient is the same; and so it is for a variant whose rows depend on each
/// other.
#[test]
fn any_split_gives_the_same_gradient() {
    for settings in [
        serde_json::json!({"name": "ift"}),
        serde_json::json!({"name": "ift", "side": "right", "norm": "L2"}),
        serde_json::json!({"name": "ift", "look_ahead": "sample"}),
        serde_json::json!({"name": "ift", "reduction": "token", "lambda": 0.7}),
        serde_json::json!({"name": "sft"}),
        serde_json::json!({"name": "sft", "reduction": "token"}),
    ] {
        let method: Method = serde_json::from_value(settings).unwrap();
        for family in ["mistral", "qwen3"] {
            let model = Policy::load(&folder(family), &Arc::new(Exact));
            let rows: Vec<Row> = rows("b0").into_iter().chain(rows("b1")).collect();
            let (whole, details, all) = run(&model, &rows, &method, 4096, false);
            for (budget, recompute) in [(4096, true), (1, false), (45, false), (30, true)] {
                let (sums, split_details, split) = run(&model, &rows, &method, budget, recompute);
                assert_eq!(sums.count, whole.count);
                close("loss", sums.loss, whole.loss, 1e-13);
                let what = format!("{method:?} {family} {budget}");
                same_gradients(&what, &split, &all, 1e-11);
                assert_eq!(details.len(), split_details.len());
                for (a, b) in details.iter().zip(&split_details) {
                    // Alone, a row with a single target has nothing to look ahead for.
                    assert!(
                        a.look_ahead == b.look_ahead || b.positions.len() == 1,
                        "budget {budget}"
                    );
                    let mut packed = Comparison::new("packed and alone", Tolerance::EXACT);
                    packed.values(&format!("budget {budget}"), &b.log_probs, &a.log_probs);
                    packed.finish();
                }
            }
        }
    }
}

fn weighted_rows(batch: &str) -> Vec<Row> {
    let sequences = sequences(&json("batches.json")["sft"][batch]);
    let row = |(i, sequence)| Row::demonstration(numbers::weighted(sequence)).at(0, i as u64 + 1);
    sequences.iter().enumerate().map(row).collect()
}

/// Weights of targets are summed like everything else: no split changes anything, and the two
/// backends agree.
#[test]
fn weights_of_targets_survive_any_split_on_both_backends() {
    for settings in [
        serde_json::json!({"name": "ift"}),
        serde_json::json!({"name": "ift", "side": "right", "norm": "softmax"}),
        serde_json::json!({"name": "ift", "side": "right", "reduction": "token"}),
        serde_json::json!({"name": "sft"}),
        serde_json::json!({"name": "dft"}),
        serde_json::json!({"name": "eaft", "k": 5}),
        serde_json::json!({"name": "scheduled_sampling", "lambda": 0.5}),
    ] {
        let method: Method = serde_json::from_value(settings).unwrap();
        let model = Policy::load(&folder("qwen3"), &Arc::new(Exact));
        let fast = Policy::load(&folder("qwen3"), &Arc::new(CpuF32::new(2)));
        let plain: Vec<Row> = rows("b0").into_iter().chain(rows("b1")).collect();
        let rows: Vec<Row> = weighted_rows("b0").into_iter().chain(weighted_rows("b1")).collect();
        let (unweighted, ..) = run(&model, &plain, &method, 4096, false);
        let (whole, _, all) = run(&model, &rows, &method, 4096, false);
        let name = format!("{method:?}");
        assert!((whole.loss - unweighted.loss).abs() > 1e-3 * unweighted.loss, "{name}");
        // The plain likelihood and the divisors do not know the weights.
        assert_eq!(
            (whole.nll, whole.unweighted, whole.first_pass, whole.count, whole.plain_count),
            (
                unweighted.nll,
                unweighted.unweighted,
                unweighted.first_pass,
                unweighted.count,
                unweighted.plain_count
            )
        );
        for (budget, recompute) in [(1, false), (45, true)] {
            let (sums, _, split) = run(&model, &rows, &method, budget, recompute);
            close(&name, sums.loss, whole.loss, 1e-13);
            same_gradients(&name, &split, &all, 1e-11);
        }
        let (sums, _, found) = run(&fast, &rows, &method, 45, false);
        close(&name, sums.loss, whole.loss, 1e-5);
        same_gradients(&name, &found, &all, 2e-4);
    }
}

/// A weight of one half for all targets halves loss and gradient; a row of weight 2 is the row
/// twice, but for the divisor.
#[test]
fn weights_of_whole_rows() {
    for name in ["sft", "ift"] {
        let method: Method = serde_json::from_value(serde_json::json!({"name": name})).unwrap();
        let model = Policy::load(&folder("mistral"), &Arc::new(Exact));
        let plain = rows("b0");
        let scaled = |row: &Row, factor: f32| {
            let mut weights = vec![0.0; row.answer().len()];
            row.answer().targets().for_each(|(position, _)| weights[position] = factor);
            let sequence = Sequence::weighted(row.answer().tokens().to_vec(), &weights);
            Row::demonstration(sequence).at(0, row.record)
        };
        let (whole, _, all) = run(&model, &plain, &method, 4096, false);
        let halves: Vec<Row> = plain.iter().map(|row| scaled(row, 0.5)).collect();
        let (half, _, found) = run(&model, &halves, &method, 4096, false);
        close(name, 2.0 * half.loss, whole.loss, 1e-14);
        let doubled: ByName =
            found.into_iter().map(|(n, g)| (n, g.iter().map(|x| 2.0 * x).collect())).collect();
        same_gradients(name, &doubled, &all, 1e-12);
        // A weight of 1 is none, to the bit.
        let ones: Vec<Row> = plain.iter().map(|row| scaled(row, 1.0)).collect();
        let (same, _, found) = run(&model, &ones, &method, 4096, false);
        assert_eq!((same, found), (whole, all));
        let twice: Vec<Row> = [0, 0, 1, 2].map(|i| plain[i].clone()).to_vec();
        let (twice, _, expected) = run(&model, &twice, &method, 4096, false);
        let weighted: Vec<Row> =
            plain.iter().zip([2.0, 1.0, 1.0]).map(|(row, factor)| scaled(row, factor)).collect();
        let (double, _, found) = run(&model, &weighted, &method, 4096, false);
        close(name, double.loss, twice.loss, 1e-13);
        let by_count = |gradients: ByName, count: f64| -> ByName {
            let sums = |(n, g): (String, Vec<f64>)| (n, g.iter().map(|x| x * count).collect());
            gradients.into_iter().map(sums).collect()
        };
        let found = by_count(found, double.count);
        same_gradients(name, &found, &by_count(expected, twice.count), 1e-11);
    }
}

/// `sft` with `freeze_input_embeddings` is `ift` with λ = 0 and γ = 0 to the last bit of every
/// gradient. A table of its own is not trained; one that is tied learns as the output head.
#[test]
fn with_constant_inputs_sft_is_ift_without_residual_and_decay() {
    fn check<B: Backend>(family: &str, backend: B) -> bool {
        let model = Policy::load(&folder(family), &Arc::new(backend));
        let frozen = Method::Sft(Sft { freeze_input_embeddings: true, ..Sft::default() });
        let ift = Method::Ift(Ift { lambda: 0.0, gamma: 0.0, ..Ift::default() });
        let (sums, _, found) = run(&model, &rows("b0"), &frozen, 40, false);
        let (expected, _, gradients) = run(&model, &rows("b0"), &ift, 40, false);
        assert_eq!(sums.loss.to_bits(), expected.loss.to_bits());
        assert!(found == gradients, "{family}: gradients differ");
        let (_, _, plain) = run(&model, &rows("b0"), &Method::Sft(Sft::default()), 40, false);
        let table = "model.embed_tokens.weight";
        if let Some(head) = found.get(table) {
            // The head has a gradient, but without the share of the inputs.
            assert!(numbers::norm(head) > 0.0 && head != &plain[table]);
        } else {
            assert!(plain.contains_key(table) && plain.len() == found.len() + 1);
        }
        found.contains_key(table)
    }
    let mut tied = 0;
    for family in FAMILIES {
        let exact = check(family, Exact);
        assert_eq!(exact, check(family, CpuF32::new(2)));
        tied += usize::from(exact);
    }
    assert!(tied > 0 && tied < FAMILIES.len(), "{tied} families have a tied table");
}

/// λ = 0, γ = 0 is SFT, to the last bit of the loss.
#[test]
fn without_residual_and_decay_ift_is_sft() {
    for family in FAMILIES {
        let model = Policy::load(&folder(family), &Arc::new(Exact));
        let fast = Policy::load(&folder(family), &Arc::new(CpuF32::new(2)));
        let ift = Ift { lambda: 0.0, gamma: 0.0, ..Ift::default() };
        for batch in ["b0", "b1"] {
            let method = Method::Ift(ift.clone());
            let (ours, ..) = run(&model, &rows(batch), &method, 4096, false);
            let (sft, ..) = run(&model, &rows(batch), &Method::Sft(Sft::default()), 4096, false);
            assert_eq!(ours.loss.to_bits(), sft.loss.to_bits());
            let (ours, ..) = run(&fast, &rows(batch), &method, 40, false);
            let (sft, ..) = run(&fast, &rows(batch), &Method::Sft(Sft::default()), 40, false);
            assert_eq!(ours.loss.to_bits(), sft.loss.to_bits());
        }
    }
}
