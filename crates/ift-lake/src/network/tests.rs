use ift_compare::{Comparison, Tolerance};

use super::*;

fn network(shape: [usize; 3], seed: u64) -> Network {
    activated(shape, ActivationFunction::Relu, seed)
}

fn activated(
    [inputs, hidden, outputs]: [usize; 3],
    activation: ActivationFunction,
    seed: u64,
) -> Network {
    Network::new(inputs, hidden, outputs, activation, &mut ift_random::generator(seed, 0))
}

/// One state, two states, the second state alone, a state mixed with itself. State 1 is only ever
/// the second one, state 5 is in no input.
const INPUTS: [Input; 6] = [
    Input { state: 0, other: 0, share: 0.0 },
    Input { state: 2, other: 4, share: 0.2 },
    Input { state: 4, other: 2, share: 0.7 },
    Input { state: 3, other: 1, share: 1.0 },
    Input { state: 2, other: 2, share: 0.3 },
    Input { state: 0, other: 3, share: 0.5 },
];

#[test]
fn outputs_are_those_of_the_mixed_encoding() {
    // 11 units: one chunk of eight and three more.
    let network = network([6, 11, 3], 1);
    let pass = network.forward(&INPUTS);
    let [first, first_bias, second, second_bias] = network.shape.split(&network.parameters);
    let mut comparison = Comparison::new("outputs", Tolerance::absolute(1e-15));
    for (index, input) in INPUTS.iter().enumerate() {
        let encoding: [f64; 6] = std::array::from_fn(|state| {
            let share = |of: usize, share: f64| if of == state { share } else { 0.0 };
            share(input.state, 1.0 - input.share) + share(input.other, input.share)
        });
        let unit = |unit: usize| {
            let products =
                encoding.iter().enumerate().map(|(state, part)| part * first[state * 11 + unit]);
            (products.sum::<f64>() + first_bias[unit]).max(0.0)
        };
        let expected: [f64; 3] = std::array::from_fn(|output| {
            let products = (0..11).map(|at| second[output * 11 + at] * unit(at));
            products.sum::<f64>() + second_bias[output]
        });
        comparison.values(&format!("input {index}"), pass.outputs(index), &expected);
    }
    comparison.finish();
}

#[test]
fn gradients_are_central_differences_by_every_parameter() {
    for (outputs, activation) in [
        (1, ActivationFunction::Relu),
        (4, ActivationFunction::Relu),
        (4, ActivationFunction::Tanh),
    ] {
        let network = activated([6, 11, outputs], activation, 2);
        let weights: Vec<f64> = (0..INPUTS.len() * outputs).map(|at| (at as f64).sin()).collect();
        // Quadratic in the outputs, so that a derivative taken at other outputs would differ.
        let loss = |network: &Network| {
            let outputs = network.forward(&INPUTS).outputs;
            outputs
                .iter()
                .zip(&weights)
                .map(|(output, weight)| weight * output.powi(2))
                .sum::<f64>()
        };
        let pass = network.forward(&INPUTS);
        let derivatives: Vec<_> = pass
            .outputs
            .iter()
            .zip(&weights)
            .map(|(output, weight)| 2.0 * weight * output)
            .collect();
        let mut gradient = Gradient::new(&network);
        network.backward(&INPUTS, &pass, &derivatives, &mut gradient);
        let h = 1e-5;
        let expected: Vec<f64> = (0..network.parameters().len())
            .map(|index| {
                let changed = |by: f64| {
                    let mut network = network.clone();
                    network.parameters_mut()[index] += by;
                    loss(&network)
                };
                (changed(h) - changed(-h)) / (2.0 * h)
            })
            .collect();
        let what = format!("{outputs} outputs, {activation:?}");
        let mut comparison = Comparison::new(what, Tolerance::absolute(1e-8));
        comparison.values("gradient", &gradient.values, &expected);
        assert_eq!(gradient.touched, [true, true, true, true, true, false]);
        let once = gradient.values.clone();
        network.backward(&INPUTS, &pass, &derivatives, &mut gradient);
        let twice: Vec<_> = once.iter().map(|derivative| 2.0 * derivative).collect();
        let tolerance = Tolerance::absolute(1e-14);
        comparison.values_within("sum of two gradients", &gradient.values, &twice, tolerance);
        comparison.finish();
    }
}

#[test]
fn initial_weights_fill_the_range_of_their_layer() {
    let network = network([16, 64, 4], 3);
    for (layer, bound) in
        network.shape.split(&network.parameters).iter().zip([0.25, 0.25, 0.125, 0.125])
    {
        let largest = layer.iter().fold(0.0_f64, |largest, weight| largest.max(weight.abs()));
        assert!(largest <= bound && largest > bound / 2.0, "{largest} of {bound}");
        assert!(
            layer.iter().any(|&weight| weight > 0.0) && layer.iter().any(|&weight| weight < 0.0)
        );
    }
    let mean = network.parameters().iter().sum::<f64>() / network.parameters().len() as f64;
    assert!(mean.abs() < 0.02, "{mean}");
}

#[test]
fn weights_depend_on_the_seed_alone() {
    assert_eq!(network([16, 32, 4], 4), network([16, 32, 4], 4));
    assert_ne!(network([16, 32, 4], 4), network([16, 32, 4], 5));
}

#[test]
fn the_policy_is_the_softmax_of_every_state() {
    let network = network([6, 8, 4], 6);
    let policy = network.policy(6);
    assert_eq!(policy.len(), 6);
    let mut comparison = Comparison::new("policy", Tolerance::absolute(1e-15));
    for (state, probabilities) in policy.iter().enumerate() {
        let pass = network.forward(&[Input::at(state)]);
        let total: f64 = pass.outputs(0).iter().map(|output| output.exp()).sum();
        let expected: Vec<_> = pass.outputs(0).iter().map(|output| output.exp() / total).collect();
        comparison.values(&format!("state {state}"), probabilities, &expected);
    }
    comparison.finish();
}
