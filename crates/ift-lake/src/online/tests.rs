use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::{
    action::Action,
    map::LakeMap,
    network::Activation,
    optimizer::Rule,
    optimum::success_rate,
    trajectory::Visit,
    world::{Ice, Rewards},
};

const TRAINING: Training = Training {
    steps: 400,
    lr: 0.01,
    optimizer: Rule::Adam,
    hidden: 32,
    activation: Activation::Relu,
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
    Network::new(16, TRAINING.hidden, 4, TRAINING.activation, &mut ChaCha8Rng::seed_from_u64(seed))
}

fn train(world: &World, settings: &Online, steps: u64, seed: u64) -> (Network, Vec<bool>) {
    let rng = &mut ChaCha8Rng::seed_from_u64(seed);
    let trained =
        train_online(world, settings, &TRAINING, &start(seed), steps, 0.99, rng, |_, _| {});
    (trained.network, trained.explored)
}

#[test]
fn it_finds_the_goal_by_itself() {
    let world = world(Ice::Solid, SPARSE);
    for seed in 0..4 {
        let before = success_rate(&world, &start(seed).policy(16));
        let (policy, explored) = train(&world, &Online::default(), TRAINING.steps, seed);
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
fn a_seed_is_a_policy_and_every_step_is_told() {
    let world = world(Ice::Slippery, DENSE);
    // 10 steps end within the third iteration.
    let (first, second) =
        (train(&world, &Online::default(), 10, 5), train(&world, &Online::default(), 10, 5));
    assert_eq!(first, second);
    let mut told = Vec::new();
    let rng = &mut ChaCha8Rng::seed_from_u64(5);
    let observe = |step, network: &Network| told.push((step, network.clone()));
    let third =
        train_online(&world, &Online::default(), &TRAINING, &start(5), 10, 0.99, rng, observe)
            .network;
    assert_eq!((&third, &first.0), (&first.0, &told[9].1));
    assert!(told.iter().map(|(step, _)| *step).eq(1..=10));
    assert!(told.windows(2).all(|pair| pair[0].1 != pair[1].1));
}

#[test]
fn without_steps_or_episodes_nothing_is_learned() {
    let world = world(Ice::Solid, SPARSE);
    assert_eq!(train(&world, &Online::default(), 0, 1), (start(1), vec![false; 16]));
    let idle = Online { episodes: 0, ..Online::default() };
    assert_eq!(train(&world, &idle, 10, 1), (start(1), vec![false; 16]));
}

#[test]
fn until_something_is_rewarded_the_policy_stays() {
    let (policy, explored) = train(&world(Ice::Slippery, [0.0; 3]), &Online::default(), 20, 1);
    assert_eq!(policy, start(1));
    assert!(explored[0]);
}

/// Down, down, right, up: into a hole; or the first of these moves.
fn episode(moves: usize) -> Trajectory {
    let way = [(0, Action::Down), (4, Action::Down), (8, Action::Right), (9, Action::Up)];
    let visits = way[..moves].iter().map(|&(state, action)| Visit { state, action, turn: 0 });
    Trajectory { visits: visits.collect(), end: [0, 4, 8, 9, 5][moves] }
}

/// Expects 1, 2, 3 and 4 of the cells on that way.
fn gae(world: &World, lambda: f64) -> Gae<'_> {
    let mut values = vec![0.0; 16];
    for (state, value) in [(0, 1.0), (4, 2.0), (8, 3.0), (9, 4.0)] {
        values[state] = value;
    }
    Gae { world, values, discount: 0.9, lambda }
}

#[test]
fn advantages_are_what_was_not_expected() {
    let world = world(Ice::Solid, DENSE);
    // Rewards are 0.5, 0.5, 0.5, -2, and then nothing follows; cut after two moves, what is
    // expected there does.
    let surprises =
        [0.5 + 0.9 * 2.0 - 1.0, 0.5 + 0.9 * 3.0 - 2.0, 0.5 + 0.9 * 4.0 - 3.0, -2.0 - 4.0];
    for moves in [4, 2] {
        for lambda in [0.0, 0.5, 1.0] {
            let found = gae(&world, lambda).advantages(&episode(moves));
            assert_eq!(found.len(), moves);
            for (at, found) in found.iter().enumerate() {
                let later = surprises[at..moves].iter().zip(0..);
                let expected: f64 = later.map(|(s, gap)| (0.9 * lambda).powi(gap) * s).sum();
                assert!(
                    (found - expected).abs() < 1e-14,
                    "{moves}, {lambda}, {at}: {found} {expected}"
                );
            }
        }
    }
}

#[test]
fn slopes_are_those_of_the_clipped_loss_over_all_moves() {
    let (world, drew) = (world(Ice::Solid, DENSE), start(3));
    // Two episodes, so that moves share states.
    let episodes = [episode(4), episode(2)];
    let batch = Batch::new(&episodes, &drew.policy(16), &gae(&world, 0.5));
    assert_eq!((batch.inputs.len(), batch.slots.len()), (4, 6));
    let mean = batch.advantages.iter().sum::<f64>() / 6.0;
    let square = batch.advantages.iter().map(|advantage| advantage.powi(2)).sum::<f64>() / 6.0;
    assert!(mean.abs() < 1e-12 && (square - 1.0).abs() < 1e-6, "{mean}, {square}");

    // Ratios on both sides of the range and within it.
    let mut network = drew.clone();
    for (at, parameter) in network.parameters_mut().iter_mut().enumerate() {
        *parameter += 0.1 * (at as f64).sin();
    }
    let terms = |network: &Network| -> Vec<(f64, f64)> {
        let (now, then) = (network.policy(16), drew.policy(16));
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
    let slopes = batch.actor_slopes(&pass, &Ppo { epsilon: 0.05 });
    network.backward(&batch.inputs, &pass, &slopes, &mut gradient);
    for (at, slope) in gradient.slopes.iter().enumerate() {
        let nudged = |nudge: f64| {
            let mut network = network.clone();
            network.parameters_mut()[at] += nudge;
            loss(&network)
        };
        let expected = (nudged(1e-5) - nudged(-1e-5)) / 2e-5;
        assert!((slope - expected).abs() < 1e-8, "{at}: {slope} {expected}");
    }
}

#[test]
fn the_critic_learns_the_mean_of_what_followed() {
    let world = world(Ice::Solid, DENSE);
    let unexpecting = Gae { values: vec![0.0; 16], ..gae(&world, 1.0) };
    let batch = Batch::new(&[episode(4), episode(2)], &vec![[0.25; 4]; 16], &unexpecting);
    let critic = Network::new(16, 32, 1, Activation::Relu, &mut ChaCha8Rng::seed_from_u64(1));
    let mut critic = Learner::new(critic, &TRAINING);
    for _ in 0..1000 {
        critic.step(&batch.inputs, |pass| batch.critic_slopes(pass));
    }
    let found = values(&world, &critic.network);
    // Backwards -2, 0.5 - 0.9·2, …, -0.67, -0.103; in the first two cells the mean of that and of
    // 0.5 and 0.95, what followed in the episode that was cut.
    for (state, expected) in [(9, -2.0), (8, -1.3), (4, -0.085), (0, 0.4235)] {
        assert!((found[state] - expected).abs() < 1e-3, "{state}: {} {expected}", found[state]);
    }
    assert_eq!((world.is_terminal(5), found[5]), (true, 0.0));
}

#[test]
fn settings_out_of_range_are_named() {
    assert!(Online::default().validate().is_ok());
    assert!(Online { episodes: 0, ..Online::default() }.validate().is_ok());
    for (settings, expected) in [
        (Online { epochs: 0, ..Online::default() }, "`ppo.epochs` is 0, expected 1 or more"),
        (
            Online { gae_lambda: 1.5, ..Online::default() },
            "`ppo.gae_lambda` is 1.5, expected a number from 0 to 1",
        ),
        (
            Online { epsilon: -0.5, ..Online::default() },
            "`ppo.epsilon` is wrong: `epsilon` is -0.5, expected a finite number, 0 or more",
        ),
    ] {
        assert_eq!(settings.validate().unwrap_err().to_string(), expected);
    }
}
