//! Weights, losses and gradients against numbers from torch in float64.
//!
//! `token_vectors.json` holds log-probabilities without a model and 72 settings with both
//! gradients; `llama_combos.json` the second passes of a small Llama over two batches and 48
//! settings each. Both are padded rows with a mask; rows here are their targets and positions.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use ift_compare::{Comparison, Tolerance};
use ift_methods::{Coupling, Ift, Method, Minimum, RowLoss, RowScores, Side};
use serde_json::{Value, json};

/// A share of the largest element of each row.
const RELATIVE: Tolerance = Tolerance::of_largest(1e-12);

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

    /// Compares rows of targets with the rows of a padded matrix.
    fn compare(
        &self,
        comparison: &mut Comparison,
        name: &str,
        found: &[Vec<f64>],
        expected: &Value,
    ) {
        let expected = matrix(expected);
        assert_eq!((found.len(), expected.len()), (self.positions.len(), self.positions.len()));
        for (row, positions) in self.positions.iter().enumerate() {
            let name = format!("{name}, row {row}");
            comparison.values(&name, &found[row], &pick(&expected[row], positions));
        }
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
        "source": source, "side": side, "norm": norm, "gamma": gamma,
        "detach_weights": detach_weights
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
    let mut comparison = Comparison::new("token vectors", RELATIVE);
    for case in cases {
        let text = |key: &str| case[key].as_str().unwrap();
        let name = format!("{} {} {} {}", text("type"), text("side"), text("norm"), case["gamma"]);
        let method = |detach| {
            ift(text("type"), text("side"), text("norm"), case["gamma"].as_f64().unwrap(), detach)
        };
        let (losses, detached) = (rows.losses(&method(false)), rows.losses(&method(true)));
        assert_eq!(mean(&losses), mean(&detached));
        comparison.value(&format!("{name}: loss"), mean(&losses), case["loss"].as_f64().unwrap());
        for (key, found) in [
            ("weights", weights(&losses)),
            ("dloss_dlogps", gradient(&losses)),
            ("dloss_dlogps_detached", gradient(&detached)),
        ] {
            rows.compare(&mut comparison, &format!("{name}: {key}"), &found, &case[key]);
        }
    }
    println!("{comparison}");
    comparison.finish();
}

#[test]
fn llama_combos() {
    let data = data("llama_combos.json");
    let mut comparison = Comparison::new("combinations of settings", RELATIVE);
    for batch_name in ["b0", "b1"] {
        let batch = &data[batch_name];
        let rows = Rows::new(&batch["logps"], &batch["loss_mask"]);
        let combos = batch["combos"].as_object().unwrap();
        assert_eq!(combos.len(), 48);
        for (name, combo) in combos {
            let parts: Vec<&str> = name.split('|').collect();
            let losses =
                rows.losses(&ift(parts[0], parts[1], parts[2], parts[3].parse().unwrap(), false));
            let name = format!("{batch_name} {name}");
            let expected = combo["loss"].as_f64().unwrap();
            comparison.value(&format!("{name}: loss"), mean(&losses), expected);
            if let Some(expected) = combo.get("weights") {
                let name = format!("{name}: weights");
                rows.compare(&mut comparison, &name, &weights(&losses), expected);
            }
        }
    }
    println!("{comparison}");
    comparison.finish();
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
