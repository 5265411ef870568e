use ift_compare::{Comparison, Tolerance};

use super::*;
use crate::{
    action::Action,
    episode::success_rate,
    map::LakeMap,
    network::ActivationFunction,
    optimizer::Rule,
    training::TrainingSettings,
    trajectory::Visit,
    world::{Ice, Rewards},
};

const TRAINING: TrainingSettings = TrainingSettings {
    steps: 400,
    lr: 0.01,
    optimizer: Rule::Adam,
    schedule: ift_methods::Curve::Constant,
    warmup_ratio: 0.0,
    hidden: 32,
    activation: ActivationFunction::Relu,
    sft_steps: 1,
    fit_steps: 1,
};
/// Rewards of goals, holes and other cells.
const SPARSE: [f64; 3] = [1.0, 0.0, 0.0];
const DENSE: [f64; 3] = [1.0, -2.0, 0.5];

fn world(ice: Ice, [goal, hole, frozen]: [f64; 3]) -> World {
    let map = LakeMap::standard("4x4").unwrap();
    World::new(map, ice, 1.0 / 3.0, Rewards { goal, hole, frozen }, 100)
}

fn start(seed: u64) -> Network {
    Network::new(16, TRAINING.hidden, 4, TRAINING.activation, &mut ift_random::generator(seed, 0))
}

fn train(world: &World, settings: &PpoSettings, steps: u64, seed: u64) -> (Network, Vec<bool>) {
    let rng = &mut ift_random::generator(seed, 0);
    let run = TrainingRun { start: &start(seed), training: &TRAINING, steps };
    let trained = train_online(world, settings, 0.99, run, rng, |_, _| {});
    (trained.network, trained.inputs.explored())
}

#[test]
fn ppo_learns_to_reach_the_goal() {
    let world = world(Ice::Solid, SPARSE);
    for seed in 0..4 {
        let before = success_rate(&world, &start(seed).policy(16));
        let (policy, explored) = train(&world, &PpoSettings::default(), TRAINING.steps, seed);
        let after = success_rate(&world, &policy.policy(16));
        assert!(before < 0.1 && after > 0.99, "seed {seed}: {before}, {after}");
        assert!(explored[0] && explored[14], "{explored:?}");
        assert!(
            (0..16).all(|state| !(explored[state] && world.is_terminal(state))),
            "{explored:?}"
        );
    }
}

#[test]
fn policies_depend_on_the_seed_alone_and_every_step_is_observed() {
    let world = world(Ice::Slippery, DENSE);
    // 10 steps end within the third iteration.
    let (first, second) = (
        train(&world, &PpoSettings::default(), 10, 5),
        train(&world, &PpoSettings::default(), 10, 5),
    );
    assert_eq!(first, second);
    let mut observed = Vec::new();
    let rng = &mut ift_random::generator(5, 0);
    let observe = |step, network: &Network| observed.push((step, network.clone()));
    let run = TrainingRun { start: &start(5), training: &TRAINING, steps: 10 };
    let third = train_online(&world, &PpoSettings::default(), 0.99, run, rng, observe).network;
    assert_eq!((&third, &first.0), (&first.0, &observed[9].1));
    assert!(observed.iter().map(|(step, _)| *step).eq(1..=10));
    assert!(observed.windows(2).all(|pair| pair[0].1 != pair[1].1));
}

#[test]
fn without_steps_or_episodes_the_policy_stays() {
    let world = world(Ice::Solid, SPARSE);
    assert_eq!(train(&world, &PpoSettings::default(), 0, 1), (start(1), vec![false; 16]));
    let idle = PpoSettings { episodes: 0, ..PpoSettings::default() };
    assert_eq!(train(&world, &idle, 10, 1), (start(1), vec![false; 16]));
}

#[test]
fn without_rewards_the_policy_stays() {
    let (policy, explored) = train(&world(Ice::Slippery, [0.0; 3]), &PpoSettings::default(), 20, 1);
    assert_eq!(policy, start(1));
    assert!(explored[0]);
}

/// The first moves of a path that falls into a hole: down, down, right, up.
fn episode(moves: usize) -> Trajectory {
    let path = [(0, Action::Down), (4, Action::Down), (8, Action::Right), (9, Action::Up)];
    let visits = path[..moves].iter().map(|&(state, action)| Visit { state, action, turn: 0 });
    Trajectory { visits: visits.collect(), end: [0, 4, 8, 9, 5][moves] }
}

/// Advantage estimation with the values 1, 2, 3 and 4 for the states of that path.
fn gae(world: &World, lambda: f64) -> Gae<'_> {
    let mut values = vec![0.0; 16];
    for (state, value) in [(0, 1.0), (4, 2.0), (8, 3.0), (9, 4.0)] {
        values[state] = value;
    }
    Gae { world, values, discount: 0.9, lambda }
}

#[test]
fn advantages_are_discounted_sums_of_errors() {
    let world = world(Ice::Solid, DENSE);
    // Rewards are 0.5, 0.5, 0.5 and -2, and the last state is terminal. An episode that is cut
    // after two moves counts the value of its last state.
    let errors = [0.5 + 0.9 * 2.0 - 1.0, 0.5 + 0.9 * 3.0 - 2.0, 0.5 + 0.9 * 4.0 - 3.0, -2.0 - 4.0];
    for moves in [4, 2] {
        for lambda in [0.0, 0.5, 1.0] {
            let found = gae(&world, lambda).advantages(&episode(moves));
            let expected: Vec<f64> = (0..moves)
                .map(|at| {
                    let later = errors[at..moves].iter().zip(0..);
                    later.map(|(error, gap)| (0.9 * lambda).powi(gap) * error).sum()
                })
                .collect();
            let what = format!("{moves} moves, λ {lambda}");
            let mut comparison = Comparison::new(what, Tolerance::absolute(1e-14));
            comparison.values("advantages", &found, &expected);
            comparison.finish();
        }
    }
}

#[test]
fn the_gradient_is_that_of_the_clipped_loss_over_all_moves() {
    let (world, old) = (world(Ice::Solid, DENSE), start(3));
    // Two episodes with common states.
    let episodes = [episode(4), episode(2)];
    let batch = Moves::new(&episodes, &old.policy(16), &gae(&world, 0.5));
    assert_eq!((batch.inputs.len(), batch.slots.len()), (4, 6));
    let mean = batch.advantages.iter().sum::<f64>() / 6.0;
    let square = batch.advantages.iter().map(|advantage| advantage.powi(2)).sum::<f64>() / 6.0;
    assert!(mean.abs() < 1e-12 && (square - 1.0).abs() < 1e-6, "{mean}, {square}");

    // Ratios below, within and above the clipping range.
    let mut network = old.clone();
    for (at, parameter) in network.parameters_mut().iter_mut().enumerate() {
        *parameter += 0.1 * (at as f64).sin();
    }
    let terms = |network: &Network| -> Vec<(f64, f64)> {
        let (now, then) = (network.policy(16), old.policy(16));
        let visits = episodes.iter().flat_map(|episode| &episode.visits);
        let ratios = visits.map(|visit| {
            let action = visit.action.index();
            now[visit.state][action] / then[visit.state][action]
        });
        ratios.zip(batch.advantages.iter().copied()).collect()
    };
    let binds = |&(ratio, advantage): &(f64, f64)| {
        (advantage > 0.0 && ratio > 1.05) || (advantage < 0.0 && ratio < 0.95)
    };
    let clipped = terms(&network).iter().filter(|&term| binds(term)).count();
    assert!(clipped > 0 && clipped < 6, "{clipped}: {:?}", terms(&network));
    let loss = |network: &Network| {
        let gain = |(ratio, advantage): (f64, f64)| {
            (ratio * advantage).min(ratio.clamp(0.95, 1.05) * advantage)
        };
        -terms(network).into_iter().map(gain).sum::<f64>() / 6.0
    };
    let pass = network.forward(&batch.inputs);
    let mut gradient = Gradient::new(&network);
    let derivatives = batch.actor_gradient(&pass, &Ppo { epsilon: 0.05 });
    network.backward(&batch.inputs, &pass, &derivatives, &mut gradient);
    let expected: Vec<f64> = (0..network.parameters().len())
        .map(|index| {
            let changed = |by: f64| {
                let mut network = network.clone();
                network.parameters_mut()[index] += by;
                loss(&network)
            };
            (changed(1e-5) - changed(-1e-5)) / 2e-5
        })
        .collect();
    let mut comparison = Comparison::new("PPO", Tolerance::absolute(1e-8));
    comparison.values("gradient", &gradient.values, &expected);
    comparison.finish();
}

#[test]
fn the_critic_learns_mean_returns() {
    let world = world(Ice::Solid, DENSE);
    let gae = Gae { values: vec![0.0; 16], ..gae(&world, 1.0) };
    let batch = Moves::new(&[episode(4), episode(2)], &vec![[0.25; 4]; 16], &gae);
    let critic =
        Network::new(16, 32, 1, ActivationFunction::Relu, &mut ift_random::generator(1, 0));
    let run = TrainingRun { start: &start(1), training: &TRAINING, steps: 1000 };
    let mut critic = NetworkTrainer::new(critic, &run);
    for _ in 0..1000 {
        critic.step(&batch.inputs, |pass| batch.critic_gradient(pass));
    }
    let found = values(&world, &critic.network);
    // Returns of the first episode, from the last move back: -2, 0.5 - 0.9·2 = -1.3, -0.67, -0.103;
    // those of the second, which is cut: 0.5, 0.95. The first two states are in both.
    let mut comparison = Comparison::new("critic", Tolerance::absolute(1e-3));
    let states = [9, 8, 4, 0].map(|state| found[state]);
    comparison.values("values", &states, &[-2.0, -1.3, -0.085, 0.4235]);
    comparison.finish();
    assert_eq!((world.is_terminal(5), found[5]), (true, 0.0));
}

#[test]
fn errors_name_the_setting_that_is_out_of_range() {
    assert!(PpoSettings::default().validate().is_ok());
    assert!(PpoSettings { episodes: 0, ..PpoSettings::default() }.validate().is_ok());
    for (settings, expected) in [
        (
            PpoSettings { epochs: 0, ..PpoSettings::default() },
            "`ppo.epochs` is 0, expected 1 or more",
        ),
        (
            PpoSettings { gae_lambda: 1.5, ..PpoSettings::default() },
            "`ppo.gae_lambda` is 1.5, expected a number from 0 to 1",
        ),
        (
            PpoSettings { epsilon: -0.5, ..PpoSettings::default() },
            "`ppo.epsilon` is wrong: `epsilon` is -0.5, expected a number from 0 to 1e9",
        ),
    ] {
        assert_eq!(settings.validate().unwrap_err().to_string(), expected);
    }
}

#[test]
fn every_step_counts_the_moves_of_its_batch() {
    let world = world(Ice::Solid, DENSE);
    let batch = Moves::new(&[episode(4), episode(2)], &start(3).policy(16), &gae(&world, 0.5));
    let mut counts = InputCounts::new(16, 1);
    batch.count(0, &mut counts);
    let mut expected = [0.0; 16];
    for (state, moves) in [(0, 2.0), (4, 2.0), (8, 1.0), (9, 1.0)] {
        expected[state] = moves;
    }
    assert_eq!(counts.total(), expected);
    // Two batches of four steps each; every step is an interval of the curve.
    let rng = &mut ift_random::generator(5, 0);
    let run = TrainingRun { start: &start(5), training: &TRAINING, steps: 8 };
    let trained = train_online(&world, &PpoSettings::default(), 0.99, run, rng, |_, _| {});
    let by_step = trained.inputs.by_interval();
    assert!(by_step[0] == by_step[3] && by_step[4] == by_step[7] && by_step[3] != by_step[4]);
    // Each of sixteen episodes makes its first move from the start.
    assert!(by_step.iter().all(|counts| counts[0] >= 16.0));
}
