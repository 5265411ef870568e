//! Every variant of IFT's gradient against central differences, and against the closed form of the
//! default.

use ift_compare::{Comparison, Tolerance};
use ift_methods::{
    Formula, Ift, Method, Minimum, Norm, Reduction, RowLoss, RowScores, Side, Source,
};

/// Rows with gaps, of one target, without targets, and a long one.
const ROWS: [(&[f64], &[usize]); 4] = [
    (&[-0.7, -2.1, -0.04, -1.3, -0.4], &[3, 4, 5, 9, 10]),
    (&[-0.9], &[7]),
    (&[], &[]),
    (&[-1.1, -0.2, -3.0, -0.6, -0.05, -1.7, -0.3], &[1, 2, 3, 4, 20, 21, 22]),
];

fn variants() -> Vec<Ift> {
    let mut variants = Vec::new();
    for reduction in [Reduction::Sequence, Reduction::Token] {
        for gamma in [0.0, 0.6, 0.95, 1.0] {
            let base = Ift { gamma, reduction, ..Ift::default() };
            for formula in [Formula::Paper, Formula::Equation, Formula::Algorithm] {
                variants.push(Ift { formula, ..base.clone() });
            }
            for source in [Source::Loss, Source::Logps, Source::Mask] {
                for norm in [Norm::L1, Norm::L2, Norm::Softmax, Norm::Log] {
                    for (side, minimum) in [
                        (Side::Left, Minimum::Batch),
                        (Side::Right, Minimum::Batch),
                        (Side::Right, Minimum::Row),
                    ] {
                        for detach_weights in [false, true] {
                            variants.push(Ift {
                                source,
                                norm,
                                side,
                                minimum,
                                detach_weights,
                                ..base.clone()
                            });
                        }
                    }
                }
            }
        }
    }
    variants
}

/// Weights of targets; the second row has none.
const WEIGHTS: [&[f64]; 4] =
    [&[0.5, 2.0, 1.0, 0.0, 3.0], &[], &[], &[1.0, 1.0, 0.25, 0.25, 0.25, 4.0, 4.0]];

fn losses(method: &Method, logps: &[Vec<f64>], weighted: bool) -> Vec<RowLoss> {
    let rows: Vec<_> = logps
        .iter()
        .zip(ROWS)
        .zip(WEIGHTS)
        .map(|((logps, (_, positions)), target_weights)| {
            let target_weights = if weighted { target_weights } else { &[] };
            RowScores { logps, positions, target_weights, ..RowScores::default() }
        })
        .collect();
    method.losses(&rows, 0.0)
}

#[test]
fn central_differences_of_every_variant() {
    let logps: Vec<Vec<f64>> = ROWS.iter().map(|(logps, _)| logps.to_vec()).collect();
    let variants = variants();
    assert_eq!(variants.len(), 2 * 4 * (3 + 3 * 4 * 3 * 2));
    let mut comparison = Comparison::new("gradients", Tolerance::EXACT);
    let variants = variants.into_iter().flat_map(|ift| [(ift.clone(), false), (ift, true)]);
    for (ift, weighted) in variants {
        let method = Method::Ift(ift.clone());
        let found = losses(&method, &logps, weighted);
        let scale = found.iter().flat_map(|row| &row.gradient).map(|slope| slope.abs());
        let tolerance = Tolerance::absolute(1e-5 * scale.fold(0.0, f64::max));
        for row in 0..logps.len() {
            let expected: Vec<f64> = (0..logps[row].len())
                .map(|target| {
                    // The sum over all rows: a log-probability may change other rows' losses too.
                    derivative(|nudge| {
                        let mut logps = logps.clone();
                        logps[row][target] += nudge;
                        if ift.detach_weights {
                            let divisor = match ift.reduction {
                                Reduction::Sequence => logps[row].len(),
                                Reduction::Token => 1,
                            };
                            let weight = found[row].weights[target];
                            return -weight * logps[row][target] / divisor as f64;
                        }
                        losses(&method, &logps, weighted).iter().map(|row| row.sum).sum::<f64>()
                    })
                })
                .collect();
            let name = format!("{ift:?}, weighted {weighted}, row {row}");
            comparison.values_within(&name, &found[row].gradient, &expected, tolerance);
        }
    }
    println!("{comparison}");
    comparison.finish();
}

/// Central difference of five points: the error is of the order of h⁴.
fn derivative(sum: impl Fn(f64) -> f64) -> f64 {
    let h = 1e-3;
    (8.0 * (sum(h) - sum(-h)) - (sum(2.0 * h) - sum(-2.0 * h))) / (12.0 * h)
}

#[test]
fn the_default_is_the_closed_form() {
    // L = Σ l·C/ΣC and dL/dl[n] = (C[n] + Σ_{m≤n} γ^(n-m)·(l[m]-L))/ΣC.
    let (logps, positions) = ROWS[0];
    let method = Method::Ift(Ift { reduction: Reduction::Sequence, ..Ift::default() });
    let loss = &method.losses(&[RowScores { logps, positions, ..RowScores::default() }], 0.0)[0];
    let distance = |from: usize, to: usize| 0.95_f64.powi((positions[to] - positions[from]) as i32);
    let c: Vec<f64> =
        (0..5).map(|n| (n..5).map(|later| -logps[later] * distance(n, later)).sum()).collect();
    let total: f64 = c.iter().sum();
    let mean = logps.iter().zip(&c).map(|(logp, c)| -logp * c).sum::<f64>() / total;
    let gradient = |(n, c): (usize, &f64)| {
        let earlier: f64 = (0..=n).map(|m| distance(m, n) * (-logps[m] - mean)).sum();
        -(c + earlier) / total
    };
    let gradient: Vec<f64> = c.iter().enumerate().map(gradient).collect();
    let mut comparison = Comparison::new("closed form", Tolerance::absolute(1e-14));
    comparison.value("loss", loss.sum, mean);
    comparison.values("gradient", &loss.gradient, &gradient);
    comparison.finish();
}

#[test]
fn differentiated_weights_push_some_targets_down() {
    // The last target has next to no weight, but its loss would raise the weights of all before it,
    // most of them easy: the loss falls when it gets harder.
    let (logps, positions) = (&[-0.01, -0.01, -0.01, -6.0, -0.01], &[1, 2, 3, 4, 5]);
    let pushed = |detach_weights| {
        let method = Method::Ift(Ift { detach_weights, ..Ift::default() });
        let loss =
            method.losses(&[RowScores { logps, positions, ..RowScores::default() }], 0.0).remove(0);
        (loss.targets_pushed_down(), loss.gradient[4] > 0.0)
    };
    assert_eq!(pushed(false), (1, true));
    assert_eq!(pushed(true), (0, false));
}

#[test]
fn rows_that_share_the_smallest_relation_share_its_slope() {
    let method = Method::Ift(Ift { side: Side::Right, ..Ift::default() });
    let losses = |first: f64| {
        let (logps, positions) = ([first, -2.1, -0.9], [3, 4, 6]);
        let row = RowScores { logps: &logps, positions: &positions, ..RowScores::default() };
        method.losses(&[row, row], 0.0)
    };
    // Twins move together: what they do to the sum is what both gradients say.
    let h = 1e-4;
    let sum = |first| losses(first).iter().map(|row| row.sum).sum::<f64>();
    let expected = (sum(-0.7 + h) - sum(-0.7 - h)) / (2.0 * h);
    let found = losses(-0.7);
    assert_eq!(found[0].gradient, found[1].gradient);
    let mut comparison = Comparison::new("shared slope", Tolerance::absolute(1e-7));
    comparison.value("sum of both", 2.0 * found[0].gradient[0], expected);
    comparison.finish();
}
