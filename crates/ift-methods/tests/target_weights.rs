//! Weights of targets: the loss of every likelihood-like method is linear in them, one weight of a
//! target changes no other target's part, and weights of 1 are no weights.

mod every;
mod rows;

use every::every_method;
use ift_compare::{Comparison, Tolerance};
use ift_methods::{
    Ift, KlDirection, Method, Minimum, Norm, Reduction, RowLoss, RowScores, Side, Source,
};
use rows::{Row, scores};

fn rows(weights: impl Fn(usize) -> Vec<f64>) -> Vec<Row> {
    let row = |seed: usize, targets: usize| {
        let value = |scale: f64, t: usize| -scale * (0.1 + ((7 * t + 3 * seed) % 5) as f64 / 4.0);
        Row {
            logps: (0..targets).map(|t| value(1.0, t)).collect(),
            positions: (0..targets).map(|t| 3 + 2 * t + t / 2).collect(),
            reference: (0..targets).map(|t| value(0.9, t + 1)).collect(),
            divergence: (0..targets).map(|t| -value(0.4, t)).collect(),
            entropy: (0..targets).map(|t| -value(0.5, t + 2)).collect(),
            target_weights: weights(targets),
            chosen: true,
        }
    };
    vec![row(1, 4), row(2, 7), row(3, 1)]
}

/// The methods that weights of targets act on, and all forms of IFT.
fn methods() -> Vec<Method> {
    let mut methods = every_method();
    methods.retain(|method| !method.needs().rows.compares());
    for norm in [Norm::L1, Norm::L2, Norm::Softmax, Norm::Log] {
        for side in [Side::Left, Side::Right] {
            for source in [Source::Loss, Source::Logps, Source::Mask] {
                let base = Ift { norm, side, source, ..Ift::default() };
                methods.push(Method::Ift(Ift { minimum: Minimum::Row, ..base.clone() }));
                methods.push(Method::Ift(base));
            }
        }
    }
    methods
}

/// All numbers of losses that are linear in the weights.
fn numbers(losses: &[RowLoss]) -> Vec<f64> {
    let of = |loss: &RowLoss| {
        let lists = [&loss.gradient, &loss.weights, &loss.divergence_gradient];
        lists.into_iter().flatten().copied().chain([loss.sum]).collect::<Vec<f64>>()
    };
    losses.iter().flat_map(of).collect()
}

#[test]
fn weights_of_1_are_no_weights_to_the_bit() {
    let (none, ones) = (rows(|_| Vec::new()), rows(|targets| vec![1.0; targets]));
    for method in methods() {
        let [none, ones] = [&none, &ones].map(|rows| method.losses(&scores(rows), 0.0));
        assert_eq!(none, ones, "{method:?}");
        let bits = |losses: &[RowLoss]| numbers(losses).iter().map(|x| x.to_bits()).collect();
        let [none, ones]: [Vec<u64>; 2] = [bits(&none), bits(&ones)];
        assert_eq!(none, ones, "{method:?}");
    }
}

#[test]
fn half_the_weight_is_half_of_everything_but_the_count() {
    let (whole, halves) = (rows(|_| Vec::new()), rows(|targets| vec![0.5; targets]));
    for method in methods() {
        let [whole, halves] = [&whole, &halves].map(|rows| method.losses(&scores(rows), 0.0));
        let expected: Vec<f64> = numbers(&whole).iter().map(|x| 0.5 * x).collect();
        let mut comparison = Comparison::new(format!("{method:?}"), Tolerance::absolute(1e-15));
        comparison.values("halves", &numbers(&halves), &expected);
        comparison.finish();
        for (whole, half) in whole.iter().zip(&halves) {
            assert_eq!(whole.count, half.count);
            assert_eq!(whole.targets_pushed_down(), half.targets_pushed_down(), "{method:?}");
        }
    }
}

/// A weight of 2 is the target twice: the loss with the sum of two weights is the sum of the losses
/// with each, whatever the other targets' weights.
#[test]
fn losses_are_linear_in_the_weights() {
    let first = |targets| (0..targets).map(|t| [0.0, 1.0, 0.25][t % 3]).collect::<Vec<f64>>();
    let second = |targets| (0..targets).map(|t| [3.0, 0.5][t % 2]).collect::<Vec<f64>>();
    let both = |targets| first(targets).iter().zip(second(targets)).map(|(a, b)| a + b).collect();
    for method in methods() {
        let all = [rows(first), rows(second), rows(both)];
        let [first, second, both] =
            all.each_ref().map(|rows| numbers(&method.losses(&scores(rows), 0.0)));
        let expected: Vec<f64> = first.iter().zip(&second).map(|(a, b)| a + b).collect();
        let mut comparison = Comparison::new(format!("{method:?}"), Tolerance::absolute(1e-13));
        comparison.values("sum", &both, &expected);
        comparison.finish();
    }
}

/// By hand: two targets of a row, with weights 1/2 and 3.
#[test]
fn values_by_hand() {
    let (logps, weights) = ([-2.0, -1.0], [0.5, 3.0]);
    let row = RowScores {
        logps: &logps,
        positions: &[1, 2],
        target_weights: &weights,
        divergence: &[0.25, 0.5],
        ..RowScores::default()
    };
    let loss = |settings: serde_json::Value| {
        let method: Method = serde_json::from_value(settings).expect("settings of a method");
        method.losses(&[row], 0.0).remove(0)
    };
    let sft = loss(serde_json::json!({"name": "sft"}));
    assert_eq!((sft.sum, sft.count, &sft.gradient[..]), (2.0, 1.0, &[-0.25, -1.5][..]));
    let lm = loss(serde_json::json!({"name": "lm"}));
    assert_eq!((lm.sum, lm.count, &lm.gradient[..]), (4.0, 2.0, &[-0.5, -3.0][..]));
    // l = (2, 1), γ = 1: C = l/2 propagated from the right = (3/2, 1/2), W = 2·C/ΣC = (3/2, 1/2),
    // u = v·l = (1, 3), L = (W·u)/2 = 3/2. The mean of u under W/n is L, so dL/dC = (u - L)/ΣC =
    // (-1/4, 3/4), dL/da = (-1/4, 1/2), and dL/dl = W·v/2 + (dL/da)/2.
    let ift = loss(serde_json::json!({"name": "ift", "gamma": 1.0}));
    assert_eq!((ift.sum, &ift.weights[..]), (1.5, &[0.75, 1.5][..]));
    assert_eq!(ift.gradient, [-(0.375 - 0.125), -(0.75 + 0.25)]);
    let asft = loss(serde_json::json!({"name": "asft", "lambda": 2.0}));
    let likelihood = 0.5 * 2.0 * (-2.0_f64).exp() + 3.0 * (-1.0_f64).exp();
    let mut comparison = Comparison::new("asft", Tolerance::absolute(1e-15));
    comparison.value("sum", asft.sum, likelihood + 2.0 * (0.5 * 0.25 + 3.0 * 0.5));
    comparison.values("by divergence", &asft.divergence_gradient, &[1.0, 6.0]);
    comparison.finish();
}

/// Pairs and labelled answers are compared as a whole; weights have no meaning there.
#[test]
fn methods_on_whole_answers_ignore_them() {
    let mut methods = every_method();
    methods.retain(|method| method.needs().rows.compares());
    assert!(!methods.is_empty());
    let (none, weighted) = (rows(|_| Vec::new()), rows(|targets| vec![0.5; targets]));
    for method in methods {
        let [none, weighted] = [&none[..2], &weighted[..2]].map(scores);
        assert_eq!(method.losses(&none, 0.1), method.losses(&weighted, 0.1), "{method:?}");
    }
}

/// Both directions and reductions are among the methods above.
#[test]
fn the_methods_cover_the_settings() {
    let methods = methods();
    let has = |reduction| methods.iter().any(|method| method.reduction() == reduction);
    assert!(has(Reduction::Sequence) && has(Reduction::Token));
    let kl = |direction| methods.iter().any(|m| m.needs().divergence == Some(direction));
    assert!(kl(KlDirection::Forward) && kl(KlDirection::Reverse));
}
