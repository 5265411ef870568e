//! Losses and gradients of the methods that learn from demonstrations alone against numbers from
//! torch in float64.
//!
//! `siblings.json` holds log-probabilities under two random distributions, the divergences between
//! them and the entropies, and 20 settings with the loss and its gradients by automatic
//! differentiation.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

mod rows;

use ift_compare::{Comparison, Tolerance};
use ift_methods::{KlDirection, Method, RowLoss};
use rows::{Row, scores};
use serde_json::Value;

fn data() -> Value {
    let path = format!("{}/tests/data/siblings.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// Rows with the divergence and the entropy that the method asks for.
fn rows(data: &Value, method: &Method) -> Vec<Row> {
    let needs = method.needs();
    let divergence = needs.divergence.map(|direction| match direction {
        KlDirection::Forward => "forward".to_owned(),
        KlDirection::Reverse => "reverse".to_owned(),
    });
    let entropy = needs.entropy.map(|k| format!("entropy{k}"));
    let rows = data["rows"].as_array().unwrap();
    rows.iter()
        .map(|row| {
            let numbers = |key: &str| serde_json::from_value::<Vec<f64>>(row[key].clone()).unwrap();
            let logps = numbers("logps");
            Row {
                positions: (1..=logps.len()).collect(),
                logps,
                reference: if needs.reference { numbers("reference") } else { vec![] },
                divergence: divergence.as_deref().map_or_else(Vec::new, numbers),
                entropy: entropy.as_deref().map_or_else(Vec::new, numbers),
                target_weights: vec![],
                chosen: true,
            }
        })
        .collect()
}

/// Compares the gradient of the mean, row by row.
fn compare(
    comparison: &mut Comparison,
    name: &str,
    losses: &[RowLoss],
    of: impl Fn(&RowLoss) -> &[f64],
    expected: &Value,
) {
    let count: f64 = losses.iter().map(|row| row.count).sum();
    let expected: Vec<Vec<f64>> = serde_json::from_value(expected.clone()).unwrap();
    let lengths: Vec<usize> = expected.iter().map(Vec::len).collect();
    assert_eq!(losses.iter().map(|loss| of(loss).len()).collect::<Vec<_>>(), lengths, "{name}");
    let found: Vec<f64> = losses.iter().flat_map(of).map(|x| x / count).collect();
    comparison.values(name, &found, &expected.concat());
}

#[test]
fn siblings() {
    let data = data();
    let cases = data["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 20);
    let mut comparison = Comparison::new("siblings", Tolerance::of_largest(1e-12));
    for case in cases {
        let method: Method = serde_json::from_value(case["settings"].clone()).unwrap();
        method.validate().unwrap();
        let losses = method.losses(&scores(&rows(&data, &method)), 0.0);
        let count: f64 = losses.iter().map(|row| row.count).sum();
        let mean = losses.iter().map(|row| row.sum).sum::<f64>() / count;
        comparison.value(&format!("{method:?}: loss"), mean, case["loss"].as_f64().unwrap());
        let name = format!("{method:?}: gradient");
        compare(&mut comparison, &name, &losses, |row| &row.gradient, &case["gradient"]);
        let expected = &case["divergence_gradient"];
        if expected.is_array() {
            let name = format!("{method:?}: gradient by divergence");
            compare(&mut comparison, &name, &losses, |row| &row.divergence_gradient, expected);
        }
    }
    println!("{comparison}");
    comparison.finish();
}

#[test]
fn each_falls_back_to_its_parent() {
    let data = data();
    let method = |text: &str| serde_json::from_str::<Method>(text).unwrap();
    for reduction in ["token", "sequence"] {
        let sft = method(&format!(r#"{{"name": "sft", "reduction": "{reduction}"}}"#));
        for settings in [
            r#""name": "eaft", "alpha": 0.0"#,
            r#""name": "iw_sft", "temperature": 0.0"#,
            r#""name": "iw_sft", "level": "token", "epsilon": 0.0"#,
            r#""name": "scheduled_sampling""#,
        ] {
            let sibling = method(&format!(r#"{{{settings}, "reduction": "{reduction}"}}"#));
            let rows = rows(&data, &sibling);
            assert_eq!(
                sibling.losses(&scores(&rows), 0.0),
                sft.losses(&scores(&rows), 0.0),
                "{sibling:?}"
            );
        }
        let [dft, asft] = [r#""name": "dft""#, r#""name": "asft", "lambda": 0.0"#]
            .map(|settings| method(&format!(r#"{{{settings}, "reduction": "{reduction}"}}"#)));
        let rows = rows(&data, &asft);
        let (dft, asft) = (dft.losses(&scores(&rows), 0.0), asft.losses(&scores(&rows), 0.0));
        for (dft, asft) in dft.iter().zip(asft) {
            assert_eq!((dft.sum, &dft.gradient), (asft.sum, &asft.gradient));
            assert!(asft.divergence_gradient.iter().all(|&slope| slope == 0.0));
        }
    }
}
