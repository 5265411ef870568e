//! Losses, rewards and the KL point of the methods that compare answers against numbers from torch
//! in float64.
//!
//! `pairs.json` holds, for six small models, what policy and reference gave three pairs and six
//! mismatched sequences: sums over each answer. The methods see targets, so each sum is dealt out
//! unevenly over the answer's targets.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

mod rows;

use ift_compare::{Comparison, Tolerance};
use ift_methods::{Dpo, Ipo, Kto, Method, Orpo, RowLoss, Simpo, Tdpo1, Tdpo2};
use rows::{Row, scores};
use serde_json::Value;

const TOLERANCE: Tolerance = Tolerance { absolute: 1e-12, relative: 1e-12, of_largest: 0.0 };

fn data() -> Value {
    let path = format!("{}/tests/data/pairs.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn numbers(value: &Value) -> Vec<f64> {
    serde_json::from_value(value.clone()).unwrap()
}

/// `targets` numbers that differ and add up to `sum`.
fn dealt(sum: f64, targets: usize) -> Vec<f64> {
    let shares: Vec<f64> = (0..targets).map(|target| 1.0 + (target * 7 % 5) as f64).collect();
    let total: f64 = shares.iter().sum();
    shares.iter().map(|share| sum * share / total).collect()
}

/// The rows of one side: `chosen`, `rejected` or `mismatched`.
fn side(data: &Value, model: &Value, name: &str) -> Vec<Row> {
    let targets: Vec<usize> = serde_json::from_value(data["targets"][name].clone()).unwrap();
    let sums = |of: &str| model[of].get(name).map_or_else(|| vec![0.0; targets.len()], numbers);
    let (policy, reference, divergence) = (sums("policy"), sums("reference"), sums("divergence"));
    (0..targets.len())
        .map(|row| Row {
            logps: dealt(policy[row], targets[row]),
            reference: dealt(reference[row], targets[row]),
            divergence: dealt(divergence[row], targets[row]),
            positions: (1..=targets[row]).collect(),
            chosen: name == "chosen",
            ..Row::default()
        })
        .collect()
}

fn pair_methods() -> [(&'static str, Method); 8] {
    [
        ("dpo", Method::Dpo(Dpo::default())),
        ("cdpo", Method::Dpo(Dpo { label_smoothing: 0.1, ..Dpo::default() })),
        ("ipo_sum", Method::Ipo(Ipo::default())),
        ("ipo_avg", Method::Ipo(Ipo { ipo_average: true, ..Ipo::default() })),
        ("orpo", Method::Orpo(Orpo::default())),
        ("simpo", Method::Simpo(Simpo::default())),
        ("tdpo1", Method::Tdpo1(Tdpo1::default())),
        ("tdpo2", Method::Tdpo2(Tdpo2::default())),
    ]
}

/// Compares losses, their mean and rewards with a case.
fn compare(
    comparison: &mut Comparison,
    name: &str,
    case: &Value,
    losses: &[f64],
    [chosen, rejected]: [&[RowLoss]; 2],
) {
    let rewards =
        |rows: &[RowLoss]| rows.iter().map(|row| row.reward.unwrap()).collect::<Vec<f64>>();
    for (key, found) in [
        ("losses", losses.to_vec()),
        ("chosen_rewards", rewards(chosen)),
        ("rejected_rewards", rewards(rejected)),
    ] {
        comparison.values(&format!("{name}: {key}"), &found, &numbers(&case[key]));
    }
    let mean = losses.iter().sum::<f64>() / losses.len() as f64;
    comparison.value(&format!("{name}: loss"), mean, case["loss"].as_f64().unwrap());
}

#[test]
fn pairs() {
    let data = data();
    let models = data["models"].as_object().unwrap();
    assert_eq!(models.len(), 6);
    let mut comparison = Comparison::new("pairs", TOLERANCE);
    for (name, model) in models {
        let sides = ["chosen", "rejected"].map(|name| side(&data, model, name));
        let [chosen, rejected] = &sides;
        let pairs: Vec<Row> =
            chosen.iter().zip(rejected).flat_map(|(a, b)| [a.clone(), b.clone()]).collect();
        for (case, method) in pair_methods() {
            let losses = method.losses(&scores(&pairs), 0.0);
            let of = |first| losses.iter().skip(first).step_by(2).cloned().collect::<Vec<_>>();
            let (chosen, rejected) = (of(0), of(1));
            assert!(chosen.iter().all(|row| row.count == 1.0));
            assert!(rejected.iter().all(|row| (row.sum, row.count) == (0.0, 0.0)));
            let sums: Vec<f64> = chosen.iter().map(|row| row.sum).collect();
            let (name, case) = (format!("{name} {case}"), &model["cases"][case]);
            compare(&mut comparison, &name, case, &sums, [&chosen, &rejected]);
        }
    }
    println!("{comparison}");
    comparison.finish();
}

#[test]
fn kto() {
    let data = data();
    let method = Method::Kto(Kto::default());
    let (mut comparison, mut active) = (Comparison::new("kto", TOLERANCE), 0);
    for (name, model) in data["models"].as_object().unwrap() {
        let kl_point = method.kl_point(&scores(&side(&data, model, "mismatched")));
        let expected = model["kl_point"].as_f64().unwrap();
        comparison.value(&format!("{name}: KL point"), kl_point, expected);
        active += usize::from(expected > 0.0);
        let judged = ["chosen", "rejected"].map(|name| side(&data, model, name)).concat();
        let losses = method.losses(&scores(&judged), kl_point);
        assert!(losses.iter().all(|row| row.count == 1.0));
        let sums: Vec<f64> = losses.iter().map(|row| row.sum).collect();
        let sides = [&losses[..3], &losses[3..]];
        compare(&mut comparison, name, &model["cases"]["kto"], &sums, sides);
    }
    assert_eq!(active, 2, "the data have KL points on both sides of the clamp");
    println!("{comparison}");
    comparison.finish();
}
