//! Weights, losses and gradients against numbers from torch in float64.
//!
//! `token_vectors.json` holds log-probabilities without a model and 72 settings with both
//! gradients; `llama_combos.json` the second passes of a small Llama over two batches and 48
//! settings each. Both are padded rows with a mask; rows here are their targets and positions.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use ift_methods::{Coupling, Ift, Method, Minimum, RowLoss, RowScores, Side};
use serde_json::{Value, json};

struct Rows {
    logps: Vec<Vec<f64>>,
    positions: Vec<Vec<usize>>,
}

impl Rows {
    fn new(logps: &Value, mask: &Value) -> Self {
        let (logps, mask) = (matrix(logps), matrix(mask));
        let positions: Vec<Vec<usize>> = mask
            .iter()
            .map(|row| (0..row.len()).filter(|&position| row[position] == 1.0).collect())
            .collect();
        Self {
            logps: logps.iter().zip(&positions).map(|(row, at)| pick(row, at)).collect(),
            positions,
        }
    }

    fn losses(&self, method: &Method) -> Vec<RowLoss> {
        let rows: Vec<_> = (self.logps.iter().zip(&self.positions))
            .map(|(logps, positions)| RowScores { logps, positions, ..RowScores::default() })
            .collect();
        method.losses(&rows, 0.0)
    }

    /// Largest difference between a padded matrix and rows of targets, over the largest entry of
    /// each row.
    fn difference(&self, expected: &Value, found: &[Vec<f64>]) -> f64 {
        let mut largest = 0.0_f64;
        for ((expected, positions), found) in
            matrix(expected).iter().zip(&self.positions).zip(found)
        {
            let expected = pick(expected, positions);
            assert_eq!(expected.len(), found.len());
            let scale = expected.iter().fold(0.0_f64, |scale, value| scale.max(value.abs()));
            for (expected, found) in expected.iter().zip(found) {
                assert!(found.is_finite());
                largest = largest.max((expected - found).abs() / scale);
            }
        }
        largest
    }
}

fn matrix(value: &Value) -> Vec<Vec<f64>> {
    serde_json::from_value(value.clone()).unwrap()
}

fn pick(row: &[f64], positions: &[usize]) -> Vec<f64> {
    positions.iter().map(|&position| row[position]).collect()
}

fn data(name: &str) -> Value {
    let path = format!("{}/tests/data/{name}", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn ift(source: &str, side: &str, norm: &str, gamma: f64, detach_weights: bool) -> Method {
    let settings = json!({
        "source": source, "side": side, "norm": norm, "gamma": gamma, "detach_weights": detach_weights
    });
    Method::Ift(serde_json::from_value::<Ift>(settings).unwrap())
}

fn mean(losses: &[RowLoss]) -> f64 {
    losses.iter().map(|row| row.sum).sum::<f64>() / losses.iter().map(|row| row.count).sum::<f64>()
}

/// Gradient of the mean over the rows.
fn gradient(losses: &[RowLoss]) -> Vec<Vec<f64>> {
    let rows = losses.iter().map(|row| row.count).sum::<f64>();
    losses.iter().map(|row| row.gradient.iter().map(|slope| slope / rows).collect()).collect()
}

fn weights(losses: &[RowLoss]) -> Vec<Vec<f64>> {
    losses.iter().map(|row| row.weights.clone()).collect()
}

#[test]
fn token_vectors() {
    let data = data("token_vectors.json");
    let rows = Rows::new(&data["logps"], &data["loss_mask"]);
    let cases = data["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 72);
    let mut largest = [0.0_f64; 4];
    for case in cases {
        let text = |key: &str| case[key].as_str().unwrap();
        let name = format!("{} {} {} {}", text("type"), text("side"), text("norm"), case["gamma"]);
        let method = |detach| {
            ift(text("type"), text("side"), text("norm"), case["gamma"].as_f64().unwrap(), detach)
        };
        let (losses, detached) = (rows.losses(&method(false)), rows.losses(&method(true)));
        let loss = case["loss"].as_f64().unwrap();
        assert_eq!(mean(&losses), mean(&detached));
        let differences = [
            (mean(&losses) - loss).abs() / loss,
            rows.difference(&case["weights"], &weights(&losses)),
            rows.difference(&case["dloss_dlogps"], &gradient(&losses)),
            rows.difference(&case["dloss_dlogps_detached"], &gradient(&detached)),
        ];
        assert!(
            differences.iter().all(|&difference| difference < 1e-12),
            "{name}: {differences:?}"
        );
        for (largest, difference) in largest.iter_mut().zip(differences) {
            *largest = largest.max(difference);
        }
    }
    println!(
        "largest relative difference of loss, weights, gradient, detached gradient: {largest:?}"
    );
}

#[test]
fn llama_combos() {
    let data = data("llama_combos.json");
    let mut largest = [0.0_f64; 2];
    for batch in ["b0", "b1"] {
        let batch = &data[batch];
        let rows = Rows::new(&batch["logps"], &batch["loss_mask"]);
        let combos = batch["combos"].as_object().unwrap();
        assert_eq!(combos.len(), 48);
        for (name, combo) in combos {
            let parts: Vec<&str> = name.split('|').collect();
            let losses =
                rows.losses(&ift(parts[0], parts[1], parts[2], parts[3].parse().unwrap(), false));
            let loss = combo["loss"].as_f64().unwrap();
            let difference = (mean(&losses) - loss).abs() / loss;
            assert!(difference < 1e-12, "{name}: {difference:e}");
            largest[0] = largest[0].max(difference);
            if let Some(expected) = combo.get("weights") {
                let difference = rows.difference(expected, &weights(&losses));
                assert!(difference < 1e-12, "{name}: {difference:e}");
                largest[1] = largest[1].max(difference);
            }
        }
    }
    println!("largest relative difference of loss, weights: {largest:?}");
}

#[test]
fn only_the_right_side_with_losses_and_the_batch_minimum_couples_rows() {
    let coupling = |source, side| ift(source, side, "L1", 0.95, false).coupling();
    assert_eq!(coupling("loss", "right"), Coupling::Batch);
    assert_eq!(coupling("logps", "right"), Coupling::Batch);
    assert_eq!(coupling("mask", "right"), Coupling::Row);
    assert_eq!(coupling("loss", "left"), Coupling::Row);
    assert_eq!(ift("loss", "right", "L1", 0.0, false).coupling(), Coupling::Row);
    let own = Ift { side: Side::Right, minimum: Minimum::Row, ..Ift::default() };
    assert_eq!(Method::Ift(own).coupling(), Coupling::Row);
}
