use ift_compare::{Comparison, Tolerance};
use rand::RngExt;
use serde::Deserialize;

use super::*;
use crate::{
    network::{ActivationFunction, Input},
    softmax::log_softmax,
};

/// Twenty steps of an optimizer of torch in float64 on the cross-entropy of some mixed inputs, with
/// parameters in the order of [`crate::network::NetworkShape`] and the losses before each step.
#[derive(Deserialize)]
struct Torch {
    shape: [usize; 3],
    lr: f64,
    inputs: Vec<(usize, usize, f64)>,
    targets: Vec<usize>,
    initial: Vec<f64>,
    losses: Vec<f64>,
    trained: Vec<f64>,
}

/// The same for RMSprop, with a constant learning rate, and with a warm-up of four steps and a
/// cosine.
#[derive(Deserialize)]
struct TorchRmsprop {
    constant: Torch,
    cosine: Torch,
}

impl Torch {
    /// Takes the same steps and compares losses and parameters.
    fn compare(&self, name: &str, rule: Rule, lr: LearningRate) {
        let [inputs, hidden, outputs] = self.shape;
        let rng = &mut ift_random::generator(0, 0);
        let mut network = Network::new(inputs, hidden, outputs, ActivationFunction::Relu, rng);
        network.parameters_mut().copy_from_slice(&self.initial);
        let mut optimizer = NetworkOptimizer::new(rule, &network, lr);
        let mut gradient = Gradient::new(&network);
        let inputs: Vec<_> = self
            .inputs
            .iter()
            .map(|&(state, other, share)| Input { state, other, share })
            .collect();
        assert_eq!(self.losses.len(), 20);
        let mut losses = Vec::new();
        for _ in &self.losses {
            let pass = network.forward(&inputs);
            let (mut loss, mut derivatives) = (0.0, Vec::new());
            for (index, &target) in self.targets.iter().enumerate() {
                let logs = log_softmax(pass.outputs(index));
                loss -= logs[target] / inputs.len() as f64;
                derivatives.extend((0..outputs).map(|output| {
                    (logs[output].exp() - f64::from(u8::from(output == target)))
                        / inputs.len() as f64
                }));
            }
            losses.push(loss);
            network.backward(&inputs, &pass, &derivatives, &mut gradient);
            optimizer.step(&mut network, &mut gradient);
        }
        let mut comparison = Comparison::new(name, Tolerance::absolute(1e-12));
        comparison.values("losses", &losses, &self.losses);
        comparison.values("parameters", network.parameters(), &self.trained);
        comparison.finish();
    }
}

#[test]
fn twenty_steps_of_adam_equal_torch() {
    let torch: Torch = serde_json::from_str(include_str!("../../tests/numbers/adam.json")).unwrap();
    torch.compare("Adam", Rule::Adam, LearningRate::constant(torch.lr));
}

#[test]
fn twenty_steps_of_rmsprop_equal_torch_without_and_with_a_schedule() {
    let TorchRmsprop { constant, cosine } =
        serde_json::from_str(include_str!("../../tests/numbers/rmsprop.json")).unwrap();
    constant.compare("RMSprop", Rule::Rmsprop, LearningRate::constant(constant.lr));
    let lr = LearningRate { peak: cosine.lr, curve: Curve::Cosine, steps: 20, warmup: 4 };
    cosine.compare("RMSprop with cosine", Rule::Rmsprop, lr);
}

/// The update of a parameter at a step counted from 1, from its derivative, its moving averages and
/// the learning rate.
fn update(rule: Rule, step: i32, derivative: f64, [mean, square]: [&mut f64; 2], lr: f64) -> f64 {
    match rule {
        Rule::Adam => {
            *mean = BETA1 * *mean + (1.0 - BETA1) * derivative;
            *square = BETA2 * *square + (1.0 - BETA2) * derivative * derivative;
            let [mean_scale, square_scale] = [BETA1, BETA2].map(|beta| 1.0 - beta.powi(step));
            -lr * (*mean / mean_scale) / ((*square / square_scale).sqrt() + EPSILON)
        }
        Rule::Rmsprop => {
            *square = ALPHA * *square + (1.0 - ALPHA) * derivative * derivative;
            -lr * derivative / (square.sqrt() + EPSILON)
        }
        Rule::Sgd => -lr * derivative,
    }
}

#[test]
fn skipping_rows_does_not_change_a_rule() {
    for rule in [Rule::Adam, Rule::Rmsprop, Rule::Sgd] {
        let rng = &mut ift_random::generator(1, 0);
        let mut network = Network::new(8, 5, 4, ActivationFunction::Tanh, rng);
        // The learning rate of the first step is 0, but its gradient counts in moving averages.
        let lr = LearningRate { peak: 0.02, curve: Curve::Linear, steps: 40, warmup: 3 };
        let mut optimizer = NetworkOptimizer::new(rule, &network, lr);
        let mut gradient = Gradient::new(&network);
        let mut parameters = network.parameters().to_vec();
        let (mut means, mut squares) = (vec![0.0; parameters.len()], vec![0.0; parameters.len()]);
        let mut comparison = Comparison::new(format!("{rule:?}"), Tolerance::absolute(1e-12));
        for step in 1..=30 {
            // States 6 and 7 are never an input. States 0 to 2 are none after step 10. With Adam,
            // which has a moving average of the gradient, their rows still change.
            let states = if step <= 10 { 0..4 } else { 3..6 };
            let inputs: Vec<_> = states.map(Input::at).collect();
            let derivatives: Vec<_> =
                (0..4 * inputs.len()).map(|_| rng.random::<f64>() - 0.5).collect();
            let pass = network.forward(&inputs);
            network.backward(&inputs, &pass, &derivatives, &mut gradient);
            let before = parameters.clone();
            let averages = means.iter_mut().zip(&mut squares);
            let entries = parameters.iter_mut().zip(&gradient.values).zip(averages);
            for ((parameter, &derivative), (mean, square)) in entries {
                *parameter +=
                    update(rule, step, derivative, [mean, square], lr.at(step as u64 - 1));
            }
            optimizer.step(&mut network, &mut gradient);
            comparison.values(&format!("step {step}"), network.parameters(), &parameters);
            assert!(
                gradient.values.iter().all(|&derivative| derivative == 0.0)
                    && !gradient.touched.contains(&true)
            );
            let moved = |state: usize| parameters[state * 5..][..5] != before[state * 5..][..5];
            let (early, late) = (step > 1 && (step <= 10 || rule == Rule::Adam), step > 10);
            let expected = [early, early, early, step > 1, late, late, false, false];
            assert_eq!(std::array::from_fn(moved), expected, "{rule:?}, step {step}");
        }
        comparison.finish();
    }
}

#[test]
fn plain_descent_subtracts_the_scaled_gradient() {
    let mut network =
        Network::new(3, 2, 4, ActivationFunction::Relu, &mut ift_random::generator(1, 0));
    let before = network.parameters().to_vec();
    let mut gradient = Gradient::new(&network);
    let inputs = [Input::at(1)];
    let pass = network.forward(&inputs);
    network.backward(&inputs, &pass, &[0.5, -0.25, 0.0, 0.75], &mut gradient);
    let derivatives = gradient.values.clone();
    let lr = LearningRate::constant(0.1);
    NetworkOptimizer::new(Rule::Sgd, &network, lr).step(&mut network, &mut gradient);
    let expected: Vec<f64> = before
        .iter()
        .zip(&derivatives)
        .map(|(before, derivative)| before - 0.1 * derivative)
        .collect();
    assert_eq!(network.parameters(), expected);
    assert!(gradient.values.iter().all(|&derivative| derivative == 0.0));
}
