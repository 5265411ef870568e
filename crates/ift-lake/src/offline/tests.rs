use ift_methods::{Dpo, Ift, Ipo, Kto, LambdaSchedule, Orpo, ScheduledSampling, Sft, Simpo, Tdpo1};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::{
    map::LakeMap,
    network::Activation,
    optimizer::Rule,
    settings::Settings,
    trajectory::Visit,
    world::{Ice, Rewards},
};

fn world(ice: Ice) -> World {
    World::new(LakeMap::standard("4x4").unwrap(), ice, 1.0 / 3.0, Rewards::default(), 100)
}

fn trajectory(world: &World, moves: &[(Action, i8)]) -> Trajectory {
    let mut state = 0;
    let visits = moves.iter().map(|&(action, turn)| {
        let visit = Visit { state, action, turn };
        state = world.arrive(state, action, turn);
        visit
    });
    let visits = visits.collect();
    Trajectory { visits, end: state }
}

/// Down, down, right, down, right, right: a shortest way; and right, right, down, right: into a
/// hole.
fn ways(world: &World) -> [Trajectory; 2] {
    use Action::{Down, Right};
    [&[Down, Down, Right, Down, Right, Right][..], &[Right, Right, Down, Right]]
        .map(|way| trajectory(world, &way.iter().map(|&action| (action, 0)).collect::<Vec<_>>()))
}

fn network(seed: u64) -> Network {
    Network::new(16, 7, 4, Activation::Relu, &mut ChaCha8Rng::seed_from_u64(seed))
}

fn trained(method: &Method, steps: u64, seed: u64) -> Trained {
    let world = world(Ice::Solid);
    let [optimal, suboptimal] = ways(&world);
    let lesson = Lesson { world: &world, optimal: &optimal, suboptimal: &suboptimal, own: false };
    let training = Training { lr: 0.02, ..Training::default() };
    let rng = &mut ChaCha8Rng::seed_from_u64(seed);
    train_offline(lesson, method, &network(1), &training, steps, 3, rng, |_, _| {})
}

#[test]
fn gradients_are_the_slopes_of_the_loss() {
    let world = world(Ice::Solid);
    let [optimal, suboptimal] = ways(&world);
    let lesson = Lesson { world: &world, optimal: &optimal, suboptimal: &suboptimal, own: false };
    let (policy, other) = (network(1), network(2));
    // Methods that hold nothing constant in their gradient; KTO's KL point is 0 here, as the
    // reference is likelier.
    let methods = [
        Method::Sft(Sft::default()),
        Method::Ift(Ift::default()),
        Method::Dpo(Dpo { beta: 0.7, ..Dpo::default() }),
        Method::Ipo(Ipo::default()),
        Method::Orpo(Orpo::default()),
        Method::Simpo(Simpo::default()),
        Method::Tdpo1(Tdpo1 { beta: 0.7 }),
    ];
    for method in &methods {
        let rows = Row::of(lesson, method);
        let plain = Inputs::plain(&rows);
        let rng = &mut ChaCha8Rng::seed_from_u64(0);
        let mixed = method
            .look_ahead()
            .map(|look| plain.mixed(&rows, &world, method, look, 0.3, &policy, rng));
        let inputs = mixed.as_ref().unwrap_or(&plain);
        let reference = method.needs().reference.then(|| other.forward(&inputs.distinct));
        let loss = |network: &Network| {
            accumulate(
                method,
                &rows,
                inputs,
                network,
                reference.as_ref(),
                &mut Gradient::new(network),
            )
        };
        let mut gradient = Gradient::new(&policy);
        accumulate(method, &rows, inputs, &policy, reference.as_ref(), &mut gradient);
        for index in 0..policy.parameters().len() {
            let moved = |by: f64| {
                let mut moved = policy.clone();
                moved.parameters_mut()[index] += by;
                loss(&moved)
            };
            let slope = (moved(1e-5) - moved(-1e-5)) / 2e-5;
            let error = (slope - gradient.slopes[index]).abs();
            assert!(
                error < 1e-8,
                "{method:?}, parameter {index}: {slope} and {}",
                gradient.slopes[index]
            );
        }
    }
}

#[test]
fn divergences_and_their_slopes_belong_together() {
    let (policy, reference) = ([0.3, -0.2, 1.1, 0.0], log_softmax(&[-0.4, 0.9, 0.1, 0.2]));
    for kind in [KlDirection::Forward, KlDirection::Reverse] {
        let at = |logits: &[f64; 4]| divergence(kind, &reference, &log_softmax(logits));
        assert!(at(&policy).0 > 0.0 && divergence(kind, &reference, &reference).0.abs() < 1e-15);
        for action in 0..4 {
            let moved = |by: f64| {
                let mut moved = policy;
                moved[action] += by;
                at(&moved).0
            };
            let slope = (moved(1e-5) - moved(-1e-5)) / 2e-5;
            assert!((slope - at(&policy).1[action]).abs() < 1e-9, "{kind:?} {action}");
        }
    }
}

#[test]
fn entropies_are_those_of_the_most_probable() {
    let logs = log_softmax(&[0.0; 4]);
    assert!((entropy(&logs, 4) - 4_f64.ln()).abs() < 1e-12);
    assert!((entropy(&logs, 20) - 4_f64.ln()).abs() < 1e-12);
    let logs = [0.6_f64, 0.2, 0.15, 0.05].map(f64::ln);
    let two = -(0.75_f64 * 0.75_f64.ln() + 0.25 * 0.25_f64.ln());
    assert!((entropy(&logs, 2) - two).abs() < 1e-12);
}

#[test]
fn the_residual_is_where_the_greedy_policy_would_be() {
    let slippery = world(Ice::Slippery);
    // Meant down, slipped left against the edge (turned by -1 from down); then right; then down.
    let way = trajectory(&slippery, &[(Action::Down, -1), (Action::Right, 0), (Action::Down, 1)]);
    assert_eq!(way.visits.iter().map(|visit| visit.state).collect::<Vec<_>>(), [0, 0, 1]);
    let lesson = Lesson { world: &slippery, optimal: &way, suboptimal: &way, own: false };
    let ift = Method::Ift(Ift::default());
    let rows = Row::of(lesson, &ift);
    let plain = Inputs::plain(&rows);
    assert_eq!(plain.distinct, [Input::at(0), Input::at(1)]);
    // A policy that goes down in every state.
    let mut down = network(1);
    for parameter in down.parameters_mut() {
        *parameter = 0.0;
    }
    let outputs = down.parameters().len() - 4;
    down.parameters_mut()[outputs + Action::Down.index()] = 1.0;
    let rng = &mut ChaCha8Rng::seed_from_u64(0);
    let mixed = plain.mixed(&rows, &slippery, &ift, LookAhead::Greedy, 0.25, &down, rng);
    let inputs: Vec<_> = mixed.slots[0].iter().map(|&slot| mixed.distinct[slot]).collect();
    // On the same ice down would have slipped the same way; from 0 down without a slip leads to 4.
    let expected = [
        Input::at(0),
        Input { state: 0, other: 0, share: 0.25 },
        Input { state: 1, other: 4, share: 0.25 },
    ];
    assert_eq!(inputs, expected);

    let sampling = Method::ScheduledSampling(ScheduledSampling {
        lambda: 1.0,
        ..ScheduledSampling::default()
    });
    let replaced = plain.mixed(&rows, &slippery, &sampling, LookAhead::Greedy, 1.0, &down, rng);
    let inputs: Vec<_> = replaced.slots[0].iter().map(|&slot| replaced.distinct[slot]).collect();
    assert_eq!(inputs, [Input::at(0), Input::at(0), Input::at(4)]);
}

#[test]
fn ranks_and_draws_are_as_asked() {
    let logits = [0.1, 3.0, 2.0, 3.0];
    let rng = &mut ChaCha8Rng::seed_from_u64(5);
    assert_eq!(choose(LookAhead::Greedy, &logits, rng), Action::Down);
    assert_eq!(choose(LookAhead::TopK { k: 3 }, &logits, rng), Action::Right);
    let mut counts = [0.0; 4];
    for _ in 0..20_000 {
        counts[choose(LookAhead::Sample { temperature: 2.0 }, &logits, rng).index()] +=
            1.0 / 20_000.0;
    }
    let expected = softmax(&logits.map(|logit| logit / 2.0));
    assert!(
        counts.iter().zip(expected).all(|(count, share)| (count - share).abs() < 0.015),
        "{counts:?}"
    );
}

#[test]
fn without_residual_and_relations_ift_is_sft() {
    let sft = trained(&Method::Sft(Sft::default()), 30, 0);
    let ift = trained(&Method::Ift(Ift { lambda: 0.0, gamma: 0.0, ..Ift::default() }), 30, 0);
    assert_eq!(sft.network, ift.network);
    let sampling = ScheduledSampling { lambda: 0.0, ..ScheduledSampling::default() };
    assert_eq!(sft.network, trained(&Method::ScheduledSampling(sampling), 30, 0).network);
    assert_ne!(sft.network, trained(&Method::Ift(Ift::default()), 30, 0).network);
}

#[test]
fn every_method_learns_the_optimal_way() {
    let world = world(Ice::Solid);
    let [optimal, suboptimal] = ways(&world);
    let log_likelihood = |network: &Network, way: &Trajectory| -> f64 {
        let policy = network.policy(16);
        way.visits.iter().map(|visit| policy[visit.state][visit.action.index()].ln()).sum()
    };
    let start = network(1);
    let margin = |network: &Network| {
        log_likelihood(network, &optimal) - log_likelihood(network, &suboptimal)
    };
    for method in &Settings::default().methods {
        let trained = trained(method, 60, 0);
        assert!(
            trained.network.parameters().iter().all(|parameter| parameter.is_finite()),
            "{method:?}"
        );
        match method.needs().rows {
            RowKind::Text | RowKind::Demonstration => assert!(
                log_likelihood(&trained.network, &optimal) > log_likelihood(&start, &optimal) + 0.5,
                "{method:?}"
            ),
            RowKind::Pair | RowKind::Judged => {
                assert!(margin(&trained.network) > margin(&start) + 0.5, "{method:?}");
            }
        }
        for visit in &optimal.visits {
            assert!(trained.explored[visit.state] || method.replaces_tokens(), "{method:?}");
        }
        let sees_hole_way = trained.explored[2];
        assert!(sees_hole_way || !method.needs().rows.compares(), "{method:?}");
    }
}

#[test]
fn states_of_the_residual_count_as_explored() {
    let sft = trained(&Method::Sft(Sft::default()), 20, 0).explored;
    let ift = trained(&Method::Ift(Ift::default()), 20, 0).explored;
    let count = |explored: &[bool]| explored.iter().filter(|&&explored| explored).count();
    assert_eq!(count(&sft), 6);
    assert!(count(&ift) > 6 && sft.iter().zip(&ift).all(|(sft, ift)| ift >= sft), "{ift:?}");
}

#[test]
fn a_moving_residual_follows_its_schedule_and_seed() {
    let noisy = Method::Ift(Ift { lambda_schedule: LambdaSchedule::Noisy, ..Ift::default() });
    assert_eq!(trained(&noisy, 20, 0).network, trained(&noisy, 20, 9).network);
    assert_ne!(
        trained(&noisy, 20, 0).network,
        trained(&Method::Ift(Ift::default()), 20, 0).network
    );
}

#[test]
fn the_kl_point_of_judged_answers_is_the_mean_over_both() {
    // One step of KTO by hand: the reference is the policy, so both ratios and the KL point are 0.
    let world = world(Ice::Solid);
    let [optimal, suboptimal] = ways(&world);
    let lesson = Lesson { world: &world, optimal: &optimal, suboptimal: &suboptimal, own: false };
    let kto = Method::Kto(Kto::default());
    let rows = Row::of(lesson, &kto);
    let inputs = Inputs::plain(&rows);
    let policy = network(1);
    let reference = policy.forward(&inputs.distinct);
    let loss =
        accumulate(&kto, &rows, &inputs, &policy, Some(&reference), &mut Gradient::new(&policy));
    assert!((loss - 0.5).abs() < 1e-12, "{loss}");
}

#[test]
fn training_that_diverges_ends_with_the_last_policy_before() {
    let world = world(Ice::Solid);
    let [optimal, suboptimal] = ways(&world);
    let lesson = Lesson { world: &world, optimal: &optimal, suboptimal: &suboptimal, own: false };
    let training = Training { lr: 1e3, optimizer: Rule::Sgd, ..Training::default() };
    let mut seen = Vec::new();
    let rng = &mut ChaCha8Rng::seed_from_u64(0);
    let ipo = Method::Ipo(Ipo::default());
    let trained =
        train_offline(lesson, &ipo, &network(1), &training, 20, 0, rng, |step, network| {
            seen.push((step, network.parameters().iter().all(|parameter| parameter.is_finite())));
        });
    assert!(trained.diverged && !super::tests::trained(&ipo, 20, 0).diverged);
    assert!(trained.network.policy(16).iter().flatten().all(|probability| probability.is_finite()));
    assert!(seen.iter().map(|(step, _)| *step).eq(1..=20));
    assert!(seen.iter().all(|(_, finite)| *finite), "{seen:?}");
}

#[test]
fn a_policy_that_rejects_what_it_does_itself_stops_when_it_does_what_is_asked() {
    let world = world(Ice::Solid);
    let [optimal, suboptimal] = ways(&world);
    let lesson = Lesson { world: &world, optimal: &optimal, suboptimal: &suboptimal, own: true };
    let training = Training { lr: 0.02, ..Training::default() };
    let dpo = Method::Dpo(Dpo::default());
    let train = |lesson, start: &Network, steps| {
        let rng = &mut ChaCha8Rng::seed_from_u64(4);
        train_offline(lesson, &dpo, start, &training, steps, 0, rng, |_, _| {})
    };
    let trained = train(lesson, &network(1), 300);
    let likelihood = |network: &Network| -> f64 {
        let policy = network.policy(16);
        optimal.visits.iter().map(|visit| policy[visit.state][visit.action.index()]).product()
    };
    assert!(likelihood(&network(1)) < 0.01 && likelihood(&trained.network) > 0.9);
    // Not what was given, which is never in a cell such as 13.
    assert!(trained.explored[4] && trained.explored.iter().filter(|&&seen| seen).count() > 9);
    // Where both answers are the same there is nothing left to prefer.
    let same = Lesson { suboptimal: &optimal, own: false, ..lesson };
    assert_eq!(train(same, &network(1), 5).network, network(1));
}
