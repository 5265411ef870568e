//! PPO's clipped objective: numbers from torch, central differences, which end of the range binds,
//! and the edges.
//!
//! `ppo.json` holds rows whose ratios lie in the range and on both sides of it under advantages of
//! both signs, and the mean loss and its gradient in float64 by automatic differentiation for three
//! ranges.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use ift_compare::{Comparison, Tolerance};
use ift_methods::{Method, MethodError, Ppo, Psft, RowLoss, RowScores};
use serde::Deserialize;

#[derive(Deserialize)]
struct Data {
    rows: Vec<Row>,
    cases: Vec<Case>,
}

#[derive(Clone, Deserialize)]
struct Row {
    logps: Vec<f64>,
    reference: Vec<f64>,
    advantages: Vec<f64>,
}

#[derive(Deserialize)]
struct Case {
    epsilon: f64,
    loss: f64,
    gradient: Vec<Vec<f64>>,
}

fn data() -> Data {
    serde_json::from_str(include_str!("data/ppo.json")).unwrap()
}

fn losses(ppo: &Ppo, rows: &[Row]) -> Vec<RowLoss> {
    let scores: Vec<_> = rows
        .iter()
        .map(|row| RowScores {
            logps: &row.logps,
            reference: &row.reference,
            ..RowScores::default()
        })
        .collect();
    let advantages: Vec<_> = rows.iter().map(|row| row.advantages.clone()).collect();
    ppo.losses(&scores, &advantages)
}

/// One target whose ratio to the old policy is `ratio`.
fn target(ratio: f64, advantage: f64) -> Row {
    Row { logps: vec![-1.0], reference: vec![-1.0 - ratio.ln()], advantages: vec![advantage] }
}

fn loss(ratio: f64, advantage: f64) -> RowLoss {
    losses(&Ppo::default(), &[target(ratio, advantage)]).remove(0)
}

#[test]
fn numbers_from_torch() {
    let Data { rows, cases } = data();
    assert_eq!((rows.len(), cases.len()), (3, 3));
    let mut comparison = Comparison::new("PPO", Tolerance::absolute(1e-14));
    for case in cases {
        let losses = losses(&Ppo { epsilon: case.epsilon }, &rows);
        let count: f64 = losses.iter().map(|row| row.count).sum();
        assert_eq!((count, losses.len()), (14.0, case.gradient.len()));
        let mean = losses.iter().map(|row| row.sum).sum::<f64>() / count;
        comparison.value(&format!("ε = {}: loss", case.epsilon), mean, case.loss);
        for (row, (loss, expected)) in losses.iter().zip(&case.gradient).enumerate() {
            let found: Vec<f64> = loss.gradient.iter().map(|slope| slope / count).collect();
            comparison.values(&format!("ε = {}: row {row}", case.epsilon), &found, expected);
        }
    }
    comparison.finish();
}

#[test]
fn central_differences() {
    let h = 1e-4;
    let mut comparison = Comparison::new("central differences", Tolerance::absolute(1e-7));
    for epsilon in [0.0, 0.2, 1.5] {
        let ppo = Ppo { epsilon };
        let Data { rows, .. } = data();
        for (at, row) in losses(&ppo, &rows).iter().enumerate() {
            let expected = (0..rows[at].logps.len()).map(|target| {
                let sum = |nudge: f64| {
                    let mut rows = rows.clone();
                    rows[at].logps[target] += nudge;
                    losses(&ppo, &rows).iter().map(|row| row.sum).sum::<f64>()
                };
                (sum(h) - sum(-h)) / (2.0 * h)
            });
            let expected: Vec<f64> = expected.collect();
            comparison.values(&format!("ε = {epsilon}, row {at}"), &row.gradient, &expected);
        }
    }
    comparison.finish();
}

#[test]
fn what_the_advantage_has_moved_out_of_the_range_is_left_alone() {
    let mut comparison = Comparison::new("clipping", Tolerance::absolute(1e-14));
    // Ratio, advantage, loss, slope.
    for (ratio, advantage, expected, slope) in [
        (1.1, 2.0, -2.2, -2.2),
        (1.5, 2.0, -2.4, 0.0),
        (0.5, 2.0, -1.0, -1.0),
        (0.9, -2.0, 1.8, 1.8),
        (0.5, -2.0, 1.6, 0.0),
        (1.5, -2.0, 3.0, 3.0),
        (1.5, 0.0, 0.0, 0.0),
    ] {
        let found = loss(ratio, advantage);
        let name = format!("ratio {ratio}, advantage {advantage}");
        comparison.value(&format!("{name}: loss"), found.sum, expected);
        comparison.values(&format!("{name}: slope"), &found.gradient, &[slope]);
        assert_eq!(found.gradient[0], -found.weights[0]);
    }
    comparison.finish();
}

#[test]
fn with_an_advantage_of_one_it_is_psft() {
    let mut rows = data().rows;
    for row in &mut rows {
        row.advantages.fill(1.0);
    }
    let scores: Vec<_> = rows
        .iter()
        .map(|row| RowScores {
            logps: &row.logps,
            reference: &row.reference,
            ..RowScores::default()
        })
        .collect();
    let psft = Method::Psft(Psft { epsilon: 0.2, ..Psft::default() });
    assert_eq!(losses(&Ppo::default(), &rows), psft.losses(&scores, 0.0));
}

#[test]
fn at_the_edge_of_the_range_a_target_still_learns() {
    // A ratio of exactly 1 is both edges of a range without width.
    for advantage in [3.0, -3.0] {
        let found = losses(&Ppo { epsilon: 0.0 }, &[target(1.0, advantage)]).remove(0);
        assert_eq!((found.sum, found.gradient[0]), (-advantage, -advantage));
    }
    // A range wider than 1 has no lower end.
    let found = losses(&Ppo { epsilon: 1.5 }, &[target(1e-9, -1.0)]).remove(0);
    let mut comparison = Comparison::new("no lower end", Tolerance::absolute(1e-20));
    comparison.values("slope", &found.gradient, &[1e-9]);
    comparison.finish();
}

#[test]
fn everything_is_finite_however_far_the_policies_are_apart() {
    for advantage in [1e6, -1e6] {
        for (logp, reference) in [(-1e4, -0.1), (-0.1, -1e4), (-0.0, -1e300), (-1e300, -0.0)] {
            let row =
                Row { logps: vec![logp], reference: vec![reference], advantages: vec![advantage] };
            let found = losses(&Ppo::default(), &[row]).remove(0);
            assert!(
                found.sum.is_finite() && found.gradient[0].is_finite(),
                "{logp} {reference}: {found:?}"
            );
            // What became likelier against the advantage is pushed down, however large its ratio.
            assert_eq!(
                found.gradient[0] > 0.0,
                advantage < 0.0 && logp > reference,
                "{logp} {reference}"
            );
        }
    }
}

#[test]
fn rows_without_targets_and_missing_numbers_count_nothing() {
    let empty = RowScores::default();
    let row = RowScores { logps: &[-0.5, -1.0], reference: &[-0.5, -1.0], ..RowScores::default() };
    let losses = Ppo::default().losses(&[empty, row, row], &[vec![], vec![2.0]]);
    assert_eq!(losses.iter().map(|row| row.count).collect::<Vec<_>>(), [0.0, 2.0, 2.0]);
    assert_eq!(losses.iter().map(|row| row.sum).collect::<Vec<_>>(), [0.0, -2.0, 0.0]);
    assert_eq!((losses[0].gradient.len(), &losses[1].gradient), (0, &vec![-2.0, 0.0]));
    assert!(Ppo::default().losses(&[], &[]).is_empty());
}

#[test]
fn the_range_is_published_and_checked() {
    assert_eq!(toml::from_str::<Ppo>("").unwrap(), Ppo { epsilon: 0.2 });
    assert!(toml::from_str::<Ppo>("epsilom = 0.1").is_err());
    assert_eq!(Ppo { epsilon: 0.0 }.validate(), Ok(()));
    for epsilon in [-0.1, f64::NAN, f64::INFINITY] {
        let error = Ppo { epsilon }.validate().unwrap_err();
        assert!(matches!(error, MethodError::OutOfRange { field: "epsilon", .. }), "{error}");
    }
}
