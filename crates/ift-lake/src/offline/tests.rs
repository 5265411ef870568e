use ift_compare::{Comparison, Tolerance};
use ift_methods::{Dpo, Ift, Ipo, Kto, LambdaSchedule, Orpo, ScheduledSampling, Sft, Simpo, Tdpo1};

use super::*;
use crate::{
    map::LakeMap,
    network::ActivationFunction,
    optimizer::Rule,
    settings::StudySettings,
    softmax::log_softmax,
    training::TrainingSettings,
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

/// A shortest path, and a path that falls into a hole.
fn paths(world: &World) -> [Trajectory; 2] {
    use Action::{Down, Right};
    [&[Down, Down, Right, Down, Right, Right][..], &[Right, Right, Down, Right]]
        .map(|path| trajectory(world, &path.iter().map(|&action| (action, 0)).collect::<Vec<_>>()))
}

fn network(seed: u64) -> Network {
    Network::new(16, 7, 4, ActivationFunction::Relu, &mut ift_random::generator(seed, 0))
}

fn trained(method: &Method, steps: u64, seed: u64) -> Trained {
    let world = world(Ice::Solid);
    let [optimal, suboptimal] = paths(&world);
    let pair =
        TrajectoryPair { world: &world, optimal: &optimal, rejected: Rejected::Given(&suboptimal) };
    let training = TrainingSettings { lr: 0.02, ..TrainingSettings::default() };
    let rng = &mut ift_random::generator(seed, 0);
    let run = TrainingRun { start: &network(1), training: &training, steps };
    train_offline(pair, method, run, 3, rng, |_, _| {})
}

#[test]
fn gradients_are_central_differences_of_the_loss() {
    let world = world(Ice::Solid);
    let [optimal, suboptimal] = paths(&world);
    let pair =
        TrajectoryPair { world: &world, optimal: &optimal, rejected: Rejected::Given(&suboptimal) };
    let (policy, other) = (network(1), network(2));
    // Methods without a constant in their gradient.
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
        let rows = TrajectoryRow::of(pair, method);
        let plain = Inputs::plain(&rows);
        let rng = &mut ift_random::generator(0, 0);
        let mixed = method.look_ahead().map(|look_ahead| {
            let first =
                FirstPass { look_ahead, lambda: 0.3, replaces: false, rows: &rows, plain: &plain };
            first.mixed(&world, &policy, rng)
        });
        let inputs = mixed.as_ref().unwrap_or(&plain);
        let reference = if method.needs().reference {
            other.forward(&inputs.distinct).log_probabilities()
        } else {
            Vec::new()
        };
        let loss = |network: &Network| {
            accumulate(method, &rows, inputs, network, &reference, &mut Gradient::new(network))
        };
        let mut gradient = Gradient::new(&policy);
        accumulate(method, &rows, inputs, &policy, &reference, &mut gradient);
        let expected: Vec<f64> = (0..policy.parameters().len())
            .map(|index| {
                let changed = |by: f64| {
                    let mut changed = policy.clone();
                    changed.parameters_mut()[index] += by;
                    loss(&changed)
                };
                (changed(1e-5) - changed(-1e-5)) / 2e-5
            })
            .collect();
        let mut comparison = Comparison::new(format!("{method:?}"), Tolerance::absolute(1e-8));
        comparison.values("gradient", &gradient.values, &expected);
        comparison.finish();
    }
}

#[test]
fn gradients_of_divergences_are_central_differences() {
    let (policy, reference) = ([0.3, -0.2, 1.1, 0.0], log_softmax(&[-0.4, 0.9, 0.1, 0.2]));
    for kind in [KlDirection::Forward, KlDirection::Reverse] {
        let at = |logits: &[f64; 4]| divergence(kind, &reference, &log_softmax(logits));
        assert!(at(&policy).0 > 0.0 && divergence(kind, &reference, &reference).0.abs() < 1e-15);
        let expected: [f64; 4] = std::array::from_fn(|action| {
            let changed = |by: f64| {
                let mut changed = policy;
                changed[action] += by;
                at(&changed).0
            };
            (changed(1e-5) - changed(-1e-5)) / 2e-5
        });
        let mut comparison = Comparison::new(format!("{kind:?}"), Tolerance::absolute(1e-9));
        comparison.values("gradient", &at(&policy).1, &expected);
        comparison.finish();
    }
}

#[test]
fn entropy_is_that_of_the_most_probable_actions() {
    let logs = log_softmax(&[0.0; 4]);
    let mut comparison = Comparison::new("entropy", Tolerance::absolute(1e-12));
    comparison.value("all actions", entropy(&logs, 4), 4_f64.ln());
    comparison.value("more than all", entropy(&logs, 20), 4_f64.ln());
    let logs = [0.6_f64, 0.2, 0.15, 0.05].map(f64::ln);
    let two = -(0.75_f64 * 0.75_f64.ln() + 0.25 * 0.25_f64.ln());
    comparison.value("two actions", entropy(&logs, 2), two);
    comparison.finish();
}

#[test]
fn the_second_pass_mixes_in_the_state_of_the_greedy_policy() {
    let slippery = world(Ice::Slippery);
    // Down slips left against the edge (a turn of -1); then right; then down with a slip.
    let path = trajectory(&slippery, &[(Action::Down, -1), (Action::Right, 0), (Action::Down, 1)]);
    assert_eq!(path.visits.iter().map(|visit| visit.state).collect::<Vec<_>>(), [0, 0, 1]);
    let pair =
        TrajectoryPair { world: &slippery, optimal: &path, rejected: Rejected::Given(&path) };
    let ift = Method::Ift(Ift::default());
    let rows = TrajectoryRow::of(pair, &ift);
    let plain = Inputs::plain(&rows);
    assert_eq!(plain.distinct, [Input::at(0), Input::at(1)]);
    // A policy that goes down in every state.
    let mut down = network(1);
    for parameter in down.parameters_mut() {
        *parameter = 0.0;
    }
    let outputs = down.parameters().len() - 4;
    down.parameters_mut()[outputs + Action::Down.index()] = 1.0;
    let rng = &mut ift_random::generator(0, 0);
    let first = FirstPass {
        look_ahead: LookAhead::Greedy,
        lambda: 0.25,
        replaces: ift.replaces_tokens(),
        rows: &rows,
        plain: &plain,
    };
    let mixed = first.mixed(&slippery, &down, rng);
    let inputs: Vec<_> = mixed.slots[0].iter().map(|&slot| mixed.distinct[slot]).collect();
    // The look-ahead slips as the trajectory did; from state 0, down without a slip reaches 4.
    let expected = [
        Input::at(0),
        Input { state: 0, other: 0, share: 0.25 },
        Input { state: 1, other: 4, share: 0.25 },
    ];
    assert_eq!(inputs, expected);

    let sampling = Method::ScheduledSampling(ScheduledSampling::default());
    let first = FirstPass { lambda: 1.0, replaces: sampling.replaces_tokens(), ..first };
    let replaced = first.mixed(&slippery, &down, rng);
    let inputs: Vec<_> = replaced.slots[0].iter().map(|&slot| replaced.distinct[slot]).collect();
    assert_eq!(inputs, [Input::at(0), Input::at(0), Input::at(4)]);
}

#[test]
fn the_look_ahead_is_greedy_ranked_or_sampled() {
    let logits = [0.1, 3.0, 2.0, 3.0];
    let rng = &mut ift_random::generator(5, 0);
    assert_eq!(choose(LookAhead::Greedy, &logits, rng), Action::Down);
    assert_eq!(choose(LookAhead::TopK { k: 3 }, &logits, rng), Action::Right);
    let mut counts = [0.0; 4];
    for _ in 0..20_000 {
        counts[choose(LookAhead::Sample { temperature: 2.0 }, &logits, rng).index()] +=
            1.0 / 20_000.0;
    }
    let expected = softmax(&logits.map(|logit| logit / 2.0));
    let mut comparison = Comparison::new("sampled actions", Tolerance::absolute(0.015));
    comparison.values("share", &counts, &expected);
    comparison.finish();
}

#[test]
fn ift_without_look_ahead_and_propagation_is_sft() {
    let sft = trained(&Method::Sft(Sft::default()), 30, 0);
    let ift = trained(&Method::Ift(Ift { lambda: 0.0, gamma: 0.0, ..Ift::default() }), 30, 0);
    assert_eq!(sft.network, ift.network);
    let sampling = ScheduledSampling { lambda: 0.0, ..ScheduledSampling::default() };
    assert_eq!(sft.network, trained(&Method::ScheduledSampling(sampling), 30, 0).network);
    assert_ne!(sft.network, trained(&Method::Ift(Ift::default()), 30, 0).network);
}

#[test]
fn every_method_learns_the_optimal_trajectory() {
    let world = world(Ice::Solid);
    let [optimal, suboptimal] = paths(&world);
    let log_likelihood = |network: &Network, path: &Trajectory| -> f64 {
        let policy = network.policy(16);
        path.visits.iter().map(|visit| policy[visit.state][visit.action.index()].ln()).sum()
    };
    let start = network(1);
    let margin = |network: &Network| {
        log_likelihood(network, &optimal) - log_likelihood(network, &suboptimal)
    };
    for method in &StudySettings::default().methods {
        let trained = trained(method, 60, 0);
        assert!(
            trained.network.parameters().iter().all(|parameter| parameter.is_finite()),
            "{method:?}"
        );
        let rise = if method.needs().rows.compares() {
            margin(&trained.network) - margin(&start)
        } else {
            log_likelihood(&trained.network, &optimal) - log_likelihood(&start, &optimal)
        };
        assert!(rise > 0.5, "{method:?}: {rise}");
        let explored = trained.inputs.explored();
        for visit in &optimal.visits {
            assert!(explored[visit.state] || method.replaces_tokens(), "{method:?}");
        }
        let reads_suboptimal = explored[2];
        assert!(reads_suboptimal || !method.needs().rows.compares(), "{method:?}");
    }
}

#[test]
fn look_ahead_states_count_as_explored() {
    let sft = trained(&Method::Sft(Sft::default()), 20, 0).inputs.explored();
    let ift = trained(&Method::Ift(Ift::default()), 20, 0).inputs.explored();
    let count = |explored: &[bool]| explored.iter().filter(|&&explored| explored).count();
    assert_eq!(count(&sft), 6);
    assert!(count(&ift) > 6 && sft.iter().zip(&ift).all(|(sft, ift)| ift >= sft), "{ift:?}");
}

#[test]
fn every_input_of_every_row_and_step_counts_by_its_shares() {
    let [optimal, suboptimal] = paths(&world(Ice::Solid));
    let visits = |paths: &[&Trajectory]| {
        let mut visits = [0.0; 16];
        for visit in paths.iter().flat_map(|path| &path.visits) {
            visits[visit.state] += 1.0;
        }
        visits
    };
    let total = |method: Method| trained(&method, 20, 0).inputs.total();
    let times_20 = |visits: [f64; 16]| visits.map(|visits| 20.0 * visits);
    assert_eq!(total(Method::Sft(Sft::default())), times_20(visits(&[&optimal])));
    // Methods on pairs count both trajectories, which have the first state in common.
    let both = times_20(visits(&[&optimal, &suboptimal]));
    assert_eq!(both[0], 40.0);
    assert_eq!(total(Method::Dpo(Dpo::default())), both);
    assert_eq!(total(Method::Kto(Kto::default())), both);
    // Six inputs per step, of which the first has no look-ahead state.
    let ift = total(Method::Ift(Ift { lambda: 0.25, ..Ift::default() }));
    let sampling =
        total(Method::ScheduledSampling(ScheduledSampling { lambda: 0.5, ..Default::default() }));
    let mut comparison = Comparison::new("inputs", Tolerance::absolute(1e-9));
    comparison.value("IFT", ift.iter().sum::<f64>(), 120.0);
    comparison.value("scheduled sampling", sampling.iter().sum::<f64>(), 120.0);
    comparison.finish();
    assert!(ift[0] >= 20.0 && ift[13] >= 15.0, "{ift:?}");
    assert!(sampling.iter().all(|count| count.fract() == 0.0), "{sampling:?}");
}

#[test]
fn a_noisy_lambda_depends_on_the_seed_of_the_schedule_alone() {
    let noisy = Method::Ift(Ift { lambda_schedule: LambdaSchedule::Noisy, ..Ift::default() });
    assert_eq!(trained(&noisy, 20, 0).network, trained(&noisy, 20, 9).network);
    assert_ne!(
        trained(&noisy, 20, 0).network,
        trained(&Method::Ift(Ift::default()), 20, 0).network
    );
}

#[test]
fn the_first_loss_of_kto_is_one_half() {
    // The reference is the policy, so both log-ratios and the KL point are 0.
    let world = world(Ice::Solid);
    let [optimal, suboptimal] = paths(&world);
    let pair =
        TrajectoryPair { world: &world, optimal: &optimal, rejected: Rejected::Given(&suboptimal) };
    let kto = Method::Kto(Kto::default());
    let rows = TrajectoryRow::of(pair, &kto);
    let inputs = Inputs::plain(&rows);
    let policy = network(1);
    let reference = policy.forward(&inputs.distinct).log_probabilities();
    let loss = accumulate(&kto, &rows, &inputs, &policy, &reference, &mut Gradient::new(&policy));
    let mut comparison = Comparison::new("KTO", Tolerance::absolute(1e-12));
    comparison.value("loss", loss, 0.5);
    comparison.finish();
}

#[test]
fn diverged_training_ends_with_the_policy_before() {
    let world = world(Ice::Solid);
    let [optimal, suboptimal] = paths(&world);
    let pair =
        TrajectoryPair { world: &world, optimal: &optimal, rejected: Rejected::Given(&suboptimal) };
    let training =
        TrainingSettings { lr: 1e3, optimizer: Rule::Sgd, ..TrainingSettings::default() };
    let mut seen = Vec::new();
    let rng = &mut ift_random::generator(0, 0);
    let ipo = Method::Ipo(Ipo::default());
    let run = TrainingRun { start: &network(1), training: &training, steps: 20 };
    let trained = train_offline(pair, &ipo, run, 0, rng, |step, network| {
        seen.push((step, network.parameters().iter().all(|parameter| parameter.is_finite())));
    });
    assert!(trained.diverged && !super::tests::trained(&ipo, 20, 0).diverged);
    assert!(trained.network.policy(16).iter().flatten().all(|probability| probability.is_finite()));
    assert!(seen.iter().map(|(step, _)| *step).eq(1..=20));
    assert!(seen.iter().all(|(_, finite)| *finite), "{seen:?}");
}

#[test]
fn rejecting_own_episodes_leads_to_the_optimal_trajectory() {
    let world = world(Ice::Solid);
    let [optimal, _] = paths(&world);
    let pair = TrajectoryPair { world: &world, optimal: &optimal, rejected: Rejected::Own };
    let training = TrainingSettings { lr: 0.02, ..TrainingSettings::default() };
    let dpo = Method::Dpo(Dpo::default());
    let train = |pair, start: &Network, steps| {
        let rng = &mut ift_random::generator(4, 0);
        let run = TrainingRun { start, training: &training, steps };
        train_offline(pair, &dpo, run, 0, rng, |_, _| {})
    };
    let trained = train(pair, &network(1), 300);
    let likelihood = |network: &Network| -> f64 {
        let policy = network.policy(16);
        optimal.visits.iter().map(|visit| policy[visit.state][visit.action.index()]).product()
    };
    assert!(likelihood(&network(1)) < 0.01 && likelihood(&trained.network) > 0.9);
    // Training used the own episodes, which visit many cells, not the given trajectory.
    let explored = trained.inputs.explored();
    assert!(explored[4] && explored.iter().filter(|&&seen| seen).count() > 9);
    // If both trajectories are the same, the gradient is 0.
    let same = TrajectoryPair { rejected: Rejected::Given(&optimal), ..pair };
    assert_eq!(train(same, &network(1), 5).network, network(1));
}
