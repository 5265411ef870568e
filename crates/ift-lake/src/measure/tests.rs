use ift_compare::{Comparison, Tolerance};
use ift_methods::{Method, Sft};

use super::*;
use crate::{
    action::Action,
    map::LakeMap,
    network::{ActivationFunction, Input},
    offline::{Rejected, TrajectoryPair, train_offline},
    optimum::value_iteration,
    training::{TrainingRun, TrainingSettings},
    training_curve::InputCounts,
    trajectory::{Trajectory, Visit},
    world::{Ice, Rewards},
};

/// A network with the same logits in every state.
fn biased(logits: [f64; 4], states: usize) -> Network {
    let mut network =
        Network::new(states, 3, 4, ActivationFunction::Relu, &mut ift_random::generator(0, 0))
            .silenced();
    let biases = network.parameters().len() - 4;
    network.parameters_mut()[biases..].copy_from_slice(&logits);
    network
}

#[test]
fn measures_of_a_corridor_equal_those_by_hand() {
    // S F G: right is optimal in both states.
    let map = LakeMap::parse("corridor", "SFG").unwrap();
    let world = World::new(map, Ice::Solid, 1.0, Rewards::default(), 3);
    let optimum = value_iteration(&world, 0.9).policy;
    let fitted = biased([0.0, 0.0, 2.0_f64.ln(), 0.0], 3);
    let fitted_matrix = fitted.policy(3);
    let evaluator = Evaluator {
        world: &world,
        optimum: &optimum,
        fitted: &fitted,
        fitted_matrix: &fitted_matrix,
        on: vec![0],
        off: vec![1],
    };
    let network = biased([0.0; 4], 3);
    let mut inputs = InputCounts::new(3, 1);
    inputs.add(0, [(Input::at(0), 1.0)]);
    inputs.add(0, [(Input::at(2), 1.0)]);
    let curve = [0, 1].map(|_| evaluator.point(&network));
    let measured = evaluator.measure(&Trained { network, inputs, diverged: true }, &curve);
    let of = |measure: Measure| measured[measure as usize];
    let mut comparison = Comparison::new("measures", Tolerance::absolute(1e-12));
    let mut near = |measure: Measure, expected: f64| {
        comparison.value(measure.name(), of(measure), expected);
    };
    // Three of four actions are off by 1/4, one by 3/4.
    for measure in [Measure::Mse, Measure::MseOn, Measure::MseOff] {
        near(measure, (3.0 / 16.0 + 9.0 / 16.0) / 4.0);
    }
    // The fitted policy goes right with probability 2/5, in each other direction with 1/5.
    for measure in [Measure::Fitted, Measure::FittedOn, Measure::FittedOff] {
        near(measure, (3.0 * 0.05_f64.powi(2) + 0.15_f64.powi(2)) / 4.0);
    }
    for measure in [Measure::Kl, Measure::KlOn, Measure::KlOff] {
        near(measure, 4.0_f64.ln());
    }
    near(Measure::KlFitted, 0.4 * 1.6_f64.ln() + 0.6 * 0.8_f64.ln());
    // Success within three moves: right twice; before that one of the three moves that stay in
    // the first cell, or between the two one of the two moves that stay in the second.
    near(Measure::Success, (1.0 + 3.0 / 4.0 + 2.0 / 4.0) / 16.0);
    near(Measure::GreedySuccess, 0.0);
    near(Measure::Weights, 2.0_f64.ln().powi(2) / fitted.parameters().len() as f64);
    near(Measure::Explored, 0.5);
    // The policy makes 38/47 of its moves from the first cell, the only input that counts.
    for measure in [Measure::Aligned, Measure::AlignedStart, Measure::AlignedEnd] {
        near(measure, 38.0 / 47.0);
    }
    near(Measure::AlignedCells, 0.5);
    near(Measure::Diverged, 1.0);
    comparison.finish();
}

#[test]
fn a_mean_over_no_states_does_not_exist() {
    let map = LakeMap::parse("corridor", "SFG").unwrap();
    let world = World::new(map, Ice::Solid, 1.0, Rewards::default(), 3);
    let optimum = value_iteration(&world, 0.9).policy;
    let network = biased([0.0; 4], 3);
    let evaluator = Evaluator {
        world: &world,
        optimum: &optimum,
        fitted: &network,
        fitted_matrix: &optimum,
        on: vec![0, 1],
        off: Vec::new(),
    };
    let [all, on, off] = evaluator.mse(&network);
    assert!(all > 0.0 && all == on && off.is_nan());
    let inputs = InputCounts::new(3, 1);
    let trained = Trained { network: network.clone(), inputs, diverged: false };
    let measured = evaluator.measure(&trained, &[]);
    let absent = Measure::ALL.into_iter().filter(|measure| measured[*measure as usize].is_nan());
    let expected = [Measure::MseOff, Measure::FittedOff, Measure::KlOff];
    assert_eq!(absent.collect::<Vec<_>>(), expected);
}

#[test]
fn the_optimum_is_at_no_distance_from_itself() {
    assert_eq!(kl_divergence(&[0.0, 0.5, 0.5, 0.0], &[0.0, 0.5, 0.5, 0.0]), 0.0);
    assert_eq!(squared_error(&[0.0, 0.5, 0.5, 0.0], &[0.0, 0.5, 0.5, 0.0]), 0.0);
    // Where the policy has probability 0 and the target 1, the divergence is large but finite.
    let far = kl_divergence(&[1.0, 0.0, 0.0, 0.0], &[0.0, 1.0, 0.0, 0.0]);
    assert!(far > 700.0 && far.is_finite());
}

#[test]
fn readings_of_ties_terminal_rows_and_checkpoints_equal_those_by_hand() {
    // S F H
    // F G F: down and right are equally good at the start.
    let map = LakeMap::parse("tie", "SFH\nFGF").unwrap();
    let world = World::new(map, Ice::Solid, 1.0, Rewards::default(), 10);
    let optimum = value_iteration(&world, 0.9).policy;
    let fitted = biased([0.0; 4], 6);
    let fitted_matrix = fitted.policy(6);
    let evaluator = Evaluator {
        world: &world,
        optimum: &optimum,
        fitted: &fitted,
        fitted_matrix: &fitted_matrix,
        on: vec![0, 1],
        off: vec![3, 5],
    };
    // Probabilities 0.4, 0.3, 0.2 and 0.1 for left, down, right and up.
    let network = biased([4.0_f64, 3.0, 2.0, 1.0].map(f64::ln), 6);
    let point = |mse, fitted| CurvePoint { mse, fitted, visits: vec![0.0; 6] };
    let end = evaluator.point(&network);
    let curve = [point(0.01, 0.001), point(0.2, 0.01), point(0.14, 0.3), end];
    let trained = Trained { network, inputs: InputCounts::new(6, 3), diverged: false };
    let measured = evaluator.measure(&trained, &curve);
    let mut comparison = Comparison::new("measures", Tolerance::absolute(1e-12));
    let mut near = |measure: Measure, expected: f64| {
        comparison.value(measure.name(), measured[measure as usize], expected);
    };
    // Squared errors of a row, by the optimum.
    let (tie, left, down, right, uniform) = (0.3, 0.5, 0.7, 0.9, 0.05);
    near(Measure::Mse, (tie + down + right + left) / 16.0);
    near(Measure::MseTerminal, (tie + down + right + left + 2.0 * uniform) / 24.0);
    near(Measure::MseFirst, (down + down + right + left) / 16.0);
    near(Measure::MseFirstTerminal, (down + down + right + left + 2.0 * left) / 24.0);
    near(Measure::Fitted, uniform / 4.0);
    near(Measure::FittedTerminal, uniform / 4.0);
    // The first point of the curve, the initial policy, is not chosen.
    near(Measure::MseBest, 0.14);
    near(Measure::FittedBest, 0.01);
    comparison.finish();
    // The end of training is a checkpoint too.
    let measured = evaluator.measure(&trained, &[point(0.01, 0.001), point(0.9, 0.9)]);
    assert_eq!(measured[Measure::MseBest as usize], measured[Measure::Mse as usize]);
    assert_eq!(measured[Measure::FittedBest as usize], measured[Measure::Fitted as usize]);
}

#[test]
fn sft_on_the_trajectory_that_the_policy_follows_is_aligned() {
    let map = LakeMap::parse("corridor", "SFG\nFFF").unwrap();
    let world = World::new(map, Ice::Solid, 1.0, Rewards::default(), 100);
    let optimum = value_iteration(&world, 0.9).policy;
    // Probability 1 for right in every state.
    let network = biased([0.0, 0.0, 1000.0, 0.0], 6);
    let fitted_matrix = network.policy(6);
    let evaluator = Evaluator {
        world: &world,
        optimum: &optimum,
        fitted: &network,
        fitted_matrix: &fitted_matrix,
        on: vec![0, 1],
        off: vec![3, 4, 5],
    };
    let visit = |state| Visit { state, action: Action::Right, turn: 0 };
    let right = Trajectory { visits: vec![visit(0), visit(1)], end: 2 };
    let training = TrainingSettings::default();
    let aligned = |optimal: &Trajectory| {
        let pair = TrajectoryPair { world: &world, optimal, rejected: Rejected::Nothing };
        let run = TrainingRun { start: &network, training: &training, steps: 24 };
        let mut curve = vec![evaluator.point(&network)];
        let rng = &mut ift_random::generator(0, 0);
        let sft = Method::Sft(Sft::default());
        let trained = train_offline(pair, &sft, run, 0, rng, |_, network| {
            curve.push(evaluator.point(network));
        });
        let measured = evaluator.measure(&trained, &curve);
        [Measure::Aligned, Measure::AlignedStart, Measure::AlignedEnd, Measure::AlignedCells]
            .map(|measure| measured[measure as usize])
    };
    assert_eq!(aligned(&right), [1.0; 4]);
    // Of a trajectory with the same actions through the other row, nothing is visited.
    let elsewhere = Trajectory { visits: vec![visit(3), visit(4)], end: 5 };
    assert_eq!(aligned(&elsewhere), [0.0; 4]);
}
