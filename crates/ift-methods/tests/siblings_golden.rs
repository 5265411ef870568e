//! Losses and gradients of the methods that learn from demonstrations alone against numbers from
//! torch in float64.
//!
//! `siblings.json` holds log-probabilities under two random distributions, the divergences between
//! them and the entropies, and 20 settings with the loss and its gradients by automatic
//! differentiation.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

mod rows;

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
                chosen: true,
            }
        })
        .collect()
}

/// Largest difference between a gradient of the mean and the expected one, over the largest slope.
fn difference(
    losses: &[RowLoss],
    count: f64,
    of: impl Fn(&RowLoss) -> &Vec<f64>,
    expected: &Value,
) -> f64 {
    let expected: Vec<Vec<f64>> = serde_json::from_value(expected.clone()).unwrap();
    let scale = expected.iter().flatten().fold(0.0_f64, |scale, slope| scale.max(slope.abs()));
    let mut largest = 0.0_f64;
    for (loss, expected) in losses.iter().zip(expected) {
        assert_eq!(of(loss).len(), expected.len());
        for (found, expected) in of(loss).iter().zip(expected) {
            largest = largest.max((found / count - expected).abs() / scale);
        }
    }
    largest
}

#[test]
fn siblings() {
    let data = data();
    let cases = data["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 20);
    let mut largest = [0.0_f64; 3];
    for case in cases {
        let method: Method = serde_json::from_value(case["settings"].clone()).unwrap();
        method.validate().unwrap();
        let losses = method.losses(&scores(&rows(&data, &method)), 0.0);
        let count: f64 = losses.iter().map(|row| row.count).sum();
        let mean = losses.iter().map(|row| row.sum).sum::<f64>() / count;
        let expected = case["loss"].as_f64().unwrap();
        let by_divergence = case["divergence_gradient"].as_array().map_or(0.0, |_| {
            difference(&losses, count, |row| &row.divergence_gradient, &case["divergence_gradient"])
        });
        let differences = [
            (mean - expected).abs() / expected.abs(),
            difference(&losses, count, |row| &row.gradient, &case["gradient"]),
            by_divergence,
        ];
        assert!(
            differences.iter().all(|&difference| difference < 1e-12),
            "{method:?}: {differences:?}"
        );
        for (largest, difference) in largest.iter_mut().zip(differences) {
            *largest = largest.max(difference);
        }
    }
    println!("largest relative difference of loss, gradient, gradient by divergence: {largest:?}");
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
