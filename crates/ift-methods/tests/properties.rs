//! What holds for likelihoods and IFT on any rows: splitting, order, scale, sums, and the edges.

use ift_compare::{Comparison, Tolerance};
use ift_methods::{
    Coupling, Formula, Ift, Lm, Method, Minimum, Norm, Reduction, RowLoss, RowScores, Sft, Side,
    Source,
};
use proptest::{collection::vec, prelude::*, test_runner::RngSeed};

#[derive(Clone, Debug)]
struct Row {
    logps: Vec<f64>,
    positions: Vec<usize>,
}

fn scores(rows: &[Row]) -> Vec<RowScores<'_>> {
    rows.iter()
        .map(|row| RowScores {
            logps: &row.logps,
            positions: &row.positions,
            ..RowScores::default()
        })
        .collect()
}

fn one_row(method: &Method, logps: &[f64], positions: &[usize]) -> RowLoss {
    method.losses(&[RowScores { logps, positions, ..RowScores::default() }], 0.0).remove(0)
}

fn rows() -> impl Strategy<Value = Vec<Row>> {
    let loss = prop_oneof![8 => 0.0..9.0, 1 => Just(0.0), 1 => 1e-300..1e-290];
    let row = vec((loss, 1_usize..6), 0..12).prop_map(|targets| Row {
        logps: targets.iter().map(|(loss, _)| -loss).collect(),
        positions: targets
            .iter()
            .scan(0, |position, (_, gap)| {
                *position += gap;
                Some(*position)
            })
            .collect(),
    });
    vec(row, 1..6)
}

fn ift() -> impl Strategy<Value = Ift> {
    let source = prop_oneof![Just(Source::Loss), Just(Source::Logps), Just(Source::Mask)];
    let norm = prop_oneof![Just(Norm::L1), Just(Norm::L2), Just(Norm::Softmax), Just(Norm::Log)];
    let side = prop_oneof![Just(Side::Left), Just(Side::Right)];
    let minimum = prop_oneof![Just(Minimum::Batch), Just(Minimum::Row)];
    let formula = prop_oneof![
        4 => Just(Formula::Code),
        1 => Just(Formula::Paper),
        1 => Just(Formula::Equation),
        1 => Just(Formula::Algorithm),
    ];
    let gamma = prop_oneof![Just(0.0), 0.01..1.0, Just(1.0)];
    (source, norm, side, minimum, formula, gamma, reduction(), any::<bool>()).prop_map(
        |(source, norm, side, minimum, formula, gamma, reduction, detach_weights)| Ift {
            source,
            norm,
            side,
            minimum,
            formula,
            gamma,
            reduction,
            detach_weights,
            ..Ift::default()
        },
    )
}

fn reduction() -> impl Strategy<Value = Reduction> {
    prop_oneof![Just(Reduction::Sequence), Just(Reduction::Token)]
}

fn method() -> impl Strategy<Value = Method> {
    prop_oneof![
        1 => reduction().prop_map(|reduction| Method::Lm(Lm { reduction })),
        1 => reduction().prop_map(|reduction| Method::Sft(Sft { reduction, ..Sft::default() })),
        6 => ift().prop_map(Method::Ift),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 1000,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(11),
        ..ProptestConfig::default()
    })]

    #[test]
    fn scaled_weights_sum_to_the_targets_and_all_is_finite(method in method(), rows in rows()) {
        for (loss, row) in method.losses(&scores(&rows), 0.0).iter().zip(&rows) {
            let targets = row.logps.len();
            let count = match method.reduction() {
                Reduction::Sequence => f64::from(u8::from(targets > 0)),
                Reduction::Token => targets as f64,
            };
            prop_assert_eq!(loss.count, count);
            prop_assert_eq!((loss.gradient.len(), loss.weights.len()), (targets, targets));
            prop_assert!(loss.sum.is_finite() && loss.weights.iter().all(|&weight| weight >= 0.0));
            if !matches!(&method, Method::Ift(ift) if is_unscaled(ift)) {
                let total: f64 = loss.weights.iter().sum();
                prop_assert!((total - targets as f64).abs() <= 1e-12 * targets as f64);
            }
            // With relations near 1e-300 the slope of a softmax of 1/C exceeds the range of f64.
            let softmax_of_inverse =
                |ift: &Ift| ift.norm == Norm::Softmax && ift.side == Side::Right;
            let bounded = !matches!(&method, Method::Ift(ift) if softmax_of_inverse(ift));
            prop_assert!(!bounded || loss.gradient.iter().all(|slope| slope.is_finite()));
            prop_assert!(loss.gradient.iter().all(|slope| !slope.is_nan()));
        }
    }

    #[test]
    fn splitting_and_order_change_nothing(method in method(), rows in rows(), cut in 0_usize..6) {
        let together = method.losses(&scores(&rows), 0.0);
        if method.coupling() == Coupling::Row {
            let (first, second) = rows.split_at(cut.min(rows.len()));
            let losses = |rows| method.losses(&scores(rows), 0.0);
            let split = [losses(first), losses(second)].concat();
            prop_assert_eq!(&split, &together);
        }
        let reversed: Vec<Row> = rows.iter().rev().cloned().collect();
        let reversed = method.losses(&scores(&reversed), 0.0);
        prop_assert_eq!(reversed.len(), together.len());
        let mut comparison = Comparison::new("reversed rows", Tolerance::of_largest(1e-10));
        for (a, b) in reversed.iter().rev().zip(&together) {
            prop_assert_eq!((a.sum, &a.weights), (b.sum, &b.weights));
            // The slope of a shared minimum is a sum over rows, in their order.
            comparison.values("gradient", &a.gradient, &b.gradient);
        }
        comparison.value("rows", reversed.len() as f64, together.len() as f64);
        comparison.finish();
    }

    #[test]
    fn without_decay_ift_is_sft_to_the_last_bit(ift in ift(), rows in rows()) {
        let sft = Method::Sft(Sft { reduction: ift.reduction, ..Sft::default() });
        let ift = Method::Ift(Ift { gamma: 0.0, ..ift });
        prop_assert_eq!(ift.losses(&scores(&rows), 0.0), sft.losses(&scores(&rows), 0.0));
    }

    #[test]
    fn plain_norms_do_not_see_the_scale_of_the_losses(ift in ift(), rows in rows()) {
        let norm = if ift.norm == Norm::L2 { Norm::L2 } else { Norm::L1 };
        let method = Method::Ift(Ift { norm, ..ift });
        let scaled: Vec<Row> = rows
            .iter()
            .map(|row| {
                let logps = row.logps.iter().map(|logp| 8.0 * logp).collect();
                Row { logps, ..row.clone() }
            })
            .collect();
        let (plain, scaled) =
            (method.losses(&scores(&rows), 0.0), method.losses(&scores(&scaled), 0.0));
        for (a, b) in plain.iter().zip(scaled) {
            prop_assert_eq!(&a.weights, &b.weights);
            prop_assert_eq!(8.0 * a.sum, b.sum);
        }
    }

    #[test]
    fn the_unweighted_loss_is_sft(method in method(), rows in rows()) {
        let sft = Method::Sft(Sft { reduction: method.reduction(), ..Sft::default() });
        for (row, loss) in scores(&rows).into_iter().zip(sft.losses(&scores(&rows), 0.0)) {
            prop_assert_eq!(method.unweighted(row), (loss.sum, loss.count));
        }
    }

    #[test]
    fn a_row_without_loss_has_weights_of_one(ift in ift(), targets in 1_usize..9, rows in rows()) {
        let formula = if is_unscaled(&ift) { Formula::Paper } else { ift.formula };
        let ift = Ift { formula, ..ift };
        let positions = (0..targets).map(|t| 2 * t).collect();
        let certain = Row { logps: vec![0.0; targets], positions };
        let rows: Vec<Row> = [vec![certain], rows].concat();
        let sft = Method::Sft(Sft { reduction: ift.reduction, ..Sft::default() });
        let loss = &Method::Ift(ift).losses(&scores(&rows), 0.0)[0];
        prop_assert_eq!(loss, &sft.losses(&scores(&rows), 0.0)[0]);
    }

    /// The double sums of the paper, term by term.
    #[test]
    fn the_printed_formulas_are_their_double_sums(
        rows in rows(),
        gamma in 0.01_f64..=1.0,
        reduction in reduction(),
        certain in any::<bool>(),
    ) {
        let mut comparison = Comparison::new("double sums", Tolerance::of_largest(1e-13));
        comparison.value("rows", rows.len() as f64, rows.len() as f64);
        for row in &rows {
            let logps: Vec<f64> =
                row.logps.iter().map(|logp| if certain { 0.0 } else { *logp }).collect();
            let (n, positions) = (logps.len(), &row.positions);
            let [mut equation, mut algorithm] = [vec![0.0; n], vec![0.0; n]];
            for t in 0..n {
                for i in t..n {
                    equation[i] += gamma.powi((positions[i] - positions[t]) as i32);
                    algorithm[i] += gamma.powi((positions[n - 1] - positions[t]) as i32);
                }
            }
            let formulas = [(Formula::Equation, equation), (Formula::Algorithm, algorithm)];
            for (formula, weights) in formulas {
                let ift = Ift { formula, gamma, reduction, ..Ift::default() };
                let loss = one_row(&Method::Ift(ift), &logps, positions);
                let divisor = if reduction == Reduction::Sequence { n.max(1) as f64 } else { 1.0 };
                let sum: f64 = weights.iter().zip(&logps).map(|(w, logp)| -w * logp).sum();
                let gradient: Vec<f64> = weights.iter().map(|w| -w / divisor).collect();
                comparison.value(&format!("{formula:?}: loss"), loss.sum, sum / divisor);
                comparison.values(&format!("{formula:?}: weights"), &loss.weights, &weights);
                comparison.values(&format!("{formula:?}: gradient"), &loss.gradient, &gradient);
            }
        }
        comparison.finish();
    }
}

/// Whether the weights of a row need not sum to its number of targets.
fn is_unscaled(ift: &Ift) -> bool {
    ift.gamma != 0.0 && matches!(ift.formula, Formula::Equation | Formula::Algorithm)
}

#[test]
fn the_printed_formulas_by_hand() {
    let mut comparison = Comparison::new("printed formulas", Tolerance::absolute(1e-15));
    // Sums 1, 1.5 and, two positions on, 1 + 1.5/4 = 1.375.
    let equation = [1.0, 1.5, 1.375];
    let total: f64 = equation.iter().sum();
    for (formula, weights) in [
        (Formula::Paper, equation.map(|sum| 3.0 * sum / total)),
        (Formula::Equation, equation),
        // 0.5³; 0.5² more; 1 more.
        (Formula::Algorithm, [0.125, 0.375, 1.375]),
    ] {
        let method = Method::Ift(Ift { gamma: 0.5, formula, ..Ift::default() });
        let loss = one_row(&method, &[-1.0, -5.0, -0.1], &[4, 5, 7]);
        let name = format!("{formula:?}");
        comparison.values(&name, &loss.weights, &weights);
        let expected = (weights[0] + 5.0 * weights[1] + 0.1 * weights[2]) / 3.0;
        comparison.value(&name, loss.sum, expected);
        comparison.values(&name, &loss.gradient, &weights.map(|weight| -weight / 3.0));
    }
    comparison.finish();
}

/// The sums that the documentation of [`Formula`] gives.
#[test]
fn the_size_of_unscaled_weights_depends_on_the_length() {
    let total = |formula, gamma, targets| {
        let method = Method::Ift(Ift { formula, gamma, ..Ift::default() });
        let positions: Vec<usize> = (1..=targets).collect();
        one_row(&method, &vec![-1.0; targets], &positions).weights.iter().sum::<f64>()
    };
    let mut comparison = Comparison::new("sums of weights", Tolerance::of_largest(1e-9));
    for (formula, one, three, long) in [
        (Formula::Code, 1.0, 3.0, 10_000.0),
        (Formula::Paper, 1.0, 3.0, 10_000.0),
        // 1 + 1.5 + 1.75; with 0.95 each of 10,000 has 20, less 20·Σ 0.95^k = 20·19.
        (Formula::Equation, 1.0, 4.25, 20.0 * 10_000.0 - 380.0),
        // 0.25 + 0.75 + 1.75; with 0.95 it approaches 20².
        (Formula::Algorithm, 1.0, 2.75, 400.0),
    ] {
        for (name, targets, gamma, expected) in
            [("one", 1, 0.5, one), ("three", 3, 0.5, three), ("long", 10_000, 0.95, long)]
        {
            let name = format!("{formula:?}, {name}");
            comparison.value(&name, total(formula, gamma, targets), expected);
        }
    }
    comparison.finish();
}

#[test]
fn a_probability_rounded_above_one_counts_as_one() {
    let method = Method::Ift(Ift::default());
    let loss = one_row(&method, &[1e-8, -1.0, 1e-9], &[1, 2, 3]);
    assert!(loss.weights.iter().all(|&weight| weight >= 0.0) && loss.sum >= 0.0);
}
