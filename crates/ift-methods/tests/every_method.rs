//! What every method must hold: its gradients against central differences, finite results at the
//! ends of the range, rows without targets, and batches that may be split.

mod every;
mod rows;

use every::every_method;
use ift_compare::{Comparison, Tolerance};
use ift_methods::{Coupling, Method, Reduction, RowKind, RowLoss};
use proptest::{collection::vec, prelude::*, test_runner::RngSeed};
use rows::{Row, scores};

const KL_POINT: f64 = 0.3;

fn row(targets: impl Strategy<Value = usize>) -> impl Strategy<Value = Row> {
    let target = (-4.0..-0.05, -4.0..-0.05, 0.0..0.8, 0.0..1.6, 1_usize..4, 0.1..3.0);
    let targets = targets.prop_flat_map(move |targets| vec(target.clone(), targets));
    (targets, any::<bool>(), any::<bool>()).prop_map(|(targets, chosen, weighted)| Row {
        target_weights: targets.iter().filter(|_| weighted).map(|target| target.5).collect(),
        logps: targets.iter().map(|target| target.0).collect(),
        reference: targets.iter().map(|target| target.1).collect(),
        divergence: targets.iter().map(|target| target.2).collect(),
        entropy: targets.iter().map(|target| target.3).collect(),
        positions: targets
            .iter()
            .scan(0, |position, target| {
                *position += target.4;
                Some(*position)
            })
            .collect(),
        chosen,
    })
}

/// One to three pairs, which do as rows of any other kind too.
fn pairs(targets: std::ops::Range<usize>) -> impl Strategy<Value = Vec<Row>> {
    vec((row(targets.clone()), row(targets)), 1..4).prop_map(|pairs| {
        pairs.into_iter().flat_map(|(chosen, rejected)| [chosen, rejected]).collect()
    })
}

fn total(method: &Method, rows: &[Row]) -> f64 {
    method.losses(&scores(rows), KL_POINT).iter().map(|loss| loss.sum).sum()
}

/// The sum with the weights of `losses` held constant, which is what methods with detached weights
/// differentiate.
fn total_with_weights(method: &Method, rows: &[Row], losses: &[RowLoss]) -> f64 {
    let row_sum = |(row, loss): (&Row, &RowLoss)| {
        let divisor = if method.reduction() == Reduction::Sequence {
            row.logps.len().max(1) as f64
        } else {
            1.0
        };
        -row.logps.iter().zip(&loss.weights).map(|(logp, weight)| logp * weight).sum::<f64>()
            / divisor
    };
    rows.iter().zip(losses).map(row_sum).sum()
}

/// Five points: the error is of the order of h⁴.
fn derivative(sum: impl Fn(f64) -> f64) -> f64 {
    let h = 1e-3;
    (8.0 * (sum(h) - sum(-h)) - (sum(2.0 * h) - sum(-2.0 * h))) / (12.0 * h)
}

/// Central differences of the total by every log-probability. `[rows][targets]`
fn by_logps(method: &Method, rows: &[Row], losses: &[RowLoss]) -> Vec<Vec<f64>> {
    let detached =
        matches!(method, Method::Dft(_) | Method::Asft(_) | Method::Eaft(_) | Method::IwSft(_));
    by_each(rows, |row, target| {
        derivative(|nudge| {
            let mut rows = rows.to_vec();
            rows[row].logps[target] += nudge;
            if detached { total_with_weights(method, &rows, losses) } else { total(method, &rows) }
        })
    })
}

/// Central differences of the total by every divergence; TDPO2 detaches the chosen answer's.
/// `[rows][targets]`
fn by_divergences(method: &Method, rows: &[Row]) -> Vec<Vec<f64>> {
    by_each(rows, |row, target| {
        if matches!(method, Method::Tdpo2(_)) && row % 2 == 0 {
            return 0.0;
        }
        derivative(|nudge| {
            let mut rows = rows.to_vec();
            rows[row].divergence[target] += nudge;
            total(method, &rows)
        })
    })
}

fn by_each(rows: &[Row], of: impl Fn(usize, usize) -> f64) -> Vec<Vec<f64>> {
    let targets = rows.iter().map(|row| row.logps.len()).enumerate();
    targets.map(|(row, targets)| (0..targets).map(|t| of(row, t)).collect()).collect()
}

/// PSFT has a kink where a ratio meets the clip.
fn near_the_clip(method: &Method, rows: &[Row]) -> bool {
    let Method::Psft(psft) = method else { return false };
    let near =
        |(logp, reference): (&f64, &f64)| ((logp - reference) - psft.epsilon.ln_1p()).abs() < 3e-3;
    rows.iter().any(|row| row.logps.iter().zip(&row.reference).any(near))
}

fn assert_finite(name: &str, losses: &[RowLoss]) {
    for loss in losses {
        let slices = [&loss.gradient, &loss.weights, &loss.divergence_gradient];
        let numbers =
            slices.into_iter().flatten().chain([&loss.sum, &loss.count]).chain(&loss.reward);
        assert!(numbers.copied().all(f64::is_finite), "{name}: {loss:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 60,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(4),
        ..ProptestConfig::default()
    })]

    #[test]
    fn gradients_are_central_differences(rows in pairs(1..6)) {
        for method in every_method() {
            if near_the_clip(&method, &rows) {
                continue;
            }
            let losses = method.losses(&scores(&rows), KL_POINT);
            let slopes = losses
                .iter()
                .flat_map(|loss| loss.gradient.iter().chain(&loss.divergence_gradient));
            let scale = slopes.fold(0.0_f64, |scale, slope| scale.max(slope.abs()));
            let tolerance = Tolerance::absolute(1e-7 * scale.max(1e-3));
            let mut comparison = Comparison::new(format!("{method:?}"), tolerance);
            let expected =
                by_logps(&method, &rows, &losses).into_iter().zip(by_divergences(&method, &rows));
            for (loss, (by_logps, by_divergences)) in losses.iter().zip(expected) {
                comparison.values("gradient", &loss.gradient, &by_logps);
                // Empty where the method has no divergence in its loss.
                let zeros = vec![0.0; loss.gradient.len()];
                let empty = loss.divergence_gradient.is_empty();
                let found = if empty { &zeros } else { &loss.divergence_gradient };
                comparison.values("gradient by divergence", found, &by_divergences);
            }
            comparison.finish();
        }
    }

    #[test]
    fn shapes_counts_and_splits(rows in pairs(0..5), cut in 0_usize..3) {
        for method in every_method() {
            let together = method.losses(&scores(&rows), KL_POINT);
            let needs = method.needs();
            let pairs = needs.rows == RowKind::Pair;
            for (at, (loss, row)) in together.iter().zip(&rows).enumerate() {
                let targets = row.logps.len();
                let partner = rows[at ^ 1].logps.len();
                prop_assert_eq!((loss.gradient.len(), loss.weights.len()), (targets, targets));
                let with_divergence = if needs.divergence.is_some() { targets } else { 0 };
                let quiet = targets == 0 || pairs && partner == 0;
                let slopes = loss.divergence_gradient.len();
                prop_assert!(quiet || slopes == with_divergence, "{:?}", method);
                let count = match method.reduction() {
                    _ if quiet || pairs && at % 2 == 1 => 0.0,
                    Reduction::Sequence => 1.0,
                    Reduction::Token => targets as f64,
                };
                prop_assert_eq!(loss.count, count, "{:?}", method);
                if quiet {
                    let zero = loss.gradient.iter().all(|&slope| slope == 0.0);
                    prop_assert!(loss.sum == 0.0 && zero);
                }
                let rewarded = pairs || needs.rows == RowKind::Judged;
                prop_assert_eq!(loss.reward.is_some(), rewarded && !quiet, "{:?}", method);
            }
            if method.coupling() == Coupling::Row {
                let (first, second) = rows.split_at((2 * cut).min(rows.len()));
                let losses = |rows| method.losses(&scores(rows), KL_POINT);
                let split = [losses(first), losses(second)].concat();
                prop_assert_eq!(split, together, "{:?}", method);
            }
        }
    }
}

#[test]
fn the_ends_of_the_range_are_finite() {
    // Probabilities of 1 and next to it, of next to 0, and rounded above 1; alone, together, and
    // against each other.
    let ends = [0.0, -f64::MIN_POSITIVE, -1e-17, -1e-9, 1e-9, -1.0, -750.0, -1e5, -1e30];
    for method in every_method() {
        for first in ends {
            for second in ends {
                let row = |logp, reference, targets, entropy| Row {
                    logps: vec![logp; targets],
                    reference: vec![reference; targets],
                    divergence: vec![-reference; targets],
                    entropy: vec![entropy; targets],
                    target_weights: vec![0.5; targets],
                    positions: (1..=targets).collect(),
                    chosen: targets == 1,
                };
                let rows = [
                    row(first, second, 1, -1e-17),
                    row(second, first, 3, 1.0 + f64::from(20).ln()),
                ];
                let name = format!("{method:?} at {first:e} and {second:e}");
                assert_finite(
                    &name,
                    &method.losses(&scores(&rows), method.kl_point(&scores(&rows))),
                );
            }
        }
    }
}

#[test]
fn rows_without_targets_or_partners_count_nothing() {
    let full = Row {
        logps: vec![-1.0, -0.5],
        positions: vec![1, 2],
        reference: vec![-0.9, -0.7],
        divergence: vec![0.1, 0.2],
        entropy: vec![0.5, 1.0],
        target_weights: vec![0.5, 2.0],
        chosen: true,
    };
    for method in every_method() {
        assert!(method.losses(&[], 0.0).is_empty());
        assert_eq!(
            method.losses(&[Row::default().scores()], KL_POINT),
            [RowLoss::default()],
            "{method:?}"
        );
        if method.needs().rows == RowKind::Pair {
            let halves = [[full.clone(), Row::default()], [Row::default(), full.clone()]];
            for rows in halves.iter().map(|half| &half[..]).chain([&[full.clone()][..]]) {
                for loss in method.losses(&scores(rows), 0.0) {
                    assert_eq!((loss.sum, loss.count, loss.reward), (0.0, 0.0, None));
                    assert!(
                        loss.gradient
                            .iter()
                            .chain(&loss.divergence_gradient)
                            .all(|&slope| slope == 0.0)
                    );
                }
            }
        }
    }
}

#[test]
fn what_is_needed_but_not_given_counts_as_zero() {
    let bare = Row { logps: vec![-1.0, -0.5, -2.0], positions: vec![1, 2, 3], ..Row::default() };
    let zeros = vec![0.0; 3];
    let zero =
        Row { reference: zeros.clone(), divergence: zeros.clone(), entropy: zeros, ..bare.clone() };
    for method in every_method() {
        let losses = |row: &Row| method.losses(&scores(&[row.clone(), row.clone()]), KL_POINT);
        assert_eq!(losses(&bare), losses(&zero), "{method:?}");
    }
}

#[test]
fn the_unweighted_loss_is_the_plain_likelihood() {
    let row = Row {
        logps: vec![-1.0, -0.5, -1.5],
        positions: vec![1, 2, 3],
        target_weights: vec![0.5, 3.0, 7.0],
        ..Row::default()
    };
    for method in every_method() {
        let expected =
            if method.reduction() == Reduction::Sequence { (1.0, 1.0) } else { (3.0, 3.0) };
        assert_eq!(method.unweighted(row.scores()), expected, "{method:?}");
    }
}
