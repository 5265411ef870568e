//! How far a policy is from the optimum.

use schemars::JsonSchema;
use serde::Serialize;

use crate::{
    network::Network,
    optimum::{Matrix, greedy, success_rate},
    training::Trained,
    world::World,
};

/// What is measured of a trained policy.
///
/// The optimum is the optimal state-action matrix, with ties shared; the fitted policy is a network
/// of the same shape, fitted to that matrix from the same initial weights (the paper's optimal
/// parameterised policy). States are those that are not terminal; *on* are those of the optimal
/// trajectory, *off* the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    /// Mean squared error from the optimal matrix, over all states and actions.
    Mse,
    /// The same on the optimal trajectory.
    MseOn,
    /// The same off it.
    MseOff,
    /// Mean squared error from the fitted policy's matrix.
    Fitted,
    /// The same on the optimal trajectory.
    FittedOn,
    /// The same off it.
    FittedOff,
    /// `KL(optimum ‖ policy)`, mean over states, nats.
    Kl,
    /// The same on the optimal trajectory.
    KlOn,
    /// The same off it.
    KlOff,
    /// `KL(fitted ‖ policy)`, mean over states, nats.
    KlFitted,
    /// Probability to arrive at a goal within the limit of steps.
    Success,
    /// The same when the most probable action is always taken.
    GreedySuccess,
    /// Mean squared distance between the weights of the policy and of the fitted one.
    Weights,
    /// Share of the states that training looked at.
    Explored,
    /// 1 if training diverged and the policy is the last before it did, else 0.
    Diverged,
}

impl Measure {
    /// All of them, in the order in which lists of them stand.
    pub const ALL: [Self; 15] = [
        Self::Mse,
        Self::MseOn,
        Self::MseOff,
        Self::Fitted,
        Self::FittedOn,
        Self::FittedOff,
        Self::Kl,
        Self::KlOn,
        Self::KlOff,
        Self::KlFitted,
        Self::Success,
        Self::GreedySuccess,
        Self::Weights,
        Self::Explored,
        Self::Diverged,
    ];

    /// Its name in files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Mse => "mse",
            Self::MseOn => "mse_on",
            Self::MseOff => "mse_off",
            Self::Fitted => "fitted",
            Self::FittedOn => "fitted_on",
            Self::FittedOff => "fitted_off",
            Self::Kl => "kl",
            Self::KlOn => "kl_on",
            Self::KlOff => "kl_off",
            Self::KlFitted => "kl_fitted",
            Self::Success => "success",
            Self::GreedySuccess => "greedy_success",
            Self::Weights => "weights",
            Self::Explored => "explored",
            Self::Diverged => "diverged",
        }
    }
}

/// One policy's numbers, by [`Measure::ALL`].
pub(crate) type Measured = [f64; Measure::ALL.len()];

/// What policies of one world, seed and optimal trajectory are measured against.
pub(crate) struct Yardstick<'a> {
    pub(crate) world: &'a World,
    /// The optimal matrix.
    pub(crate) optimum: &'a Matrix,
    /// The optimal parameterised policy.
    pub(crate) fitted: &'a Network,
    /// Its matrix.
    pub(crate) fitted_matrix: &'a Matrix,
    /// The states that are not terminal: those of the optimal trajectory, and the others.
    pub(crate) on: Vec<usize>,
    pub(crate) off: Vec<usize>,
}

impl Yardstick<'_> {
    /// All that is measured of a policy.
    pub(crate) fn measure(&self, Trained { network, explored, diverged }: &Trained) -> Measured {
        let policy = &network.policy(self.world.states());
        let mse = |target| self.parts(target, policy, squared_error);
        let kl = |target| self.parts(target, policy, divergence);
        let ([mse, mse_on, mse_off], [fitted, fitted_on, fitted_off]) =
            (mse(self.optimum), mse(self.fitted_matrix));
        let ([kl, kl_on, kl_off], [kl_fitted, ..]) = (kl(self.optimum), kl(self.fitted_matrix));
        [
            mse,
            mse_on,
            mse_off,
            fitted,
            fitted_on,
            fitted_off,
            kl,
            kl_on,
            kl_off,
            kl_fitted,
            success_rate(self.world, policy),
            success_rate(self.world, &greedy(policy)),
            mean_squared_distance(network.parameters(), self.fitted.parameters()),
            self.share(explored),
            f64::from(u8::from(*diverged)),
        ]
    }

    /// [`Measure::Mse`], [`Measure::MseOn`] and [`Measure::MseOff`] alone.
    pub(crate) fn mse(&self, network: &Network) -> [f64; 3] {
        self.parts(self.optimum, &network.policy(self.world.states()), squared_error)
    }

    /// The share of states that are not terminal for which something holds.
    fn share(&self, holds: &[bool]) -> f64 {
        let states = || self.on.iter().chain(&self.off);
        states().filter(|&&state| holds[state]).count() as f64 / states().count().max(1) as f64
    }

    /// The mean of a distance between rows of two matrices: over all states, those on the
    /// trajectory and those off it.
    fn parts(
        &self,
        target: &Matrix,
        policy: &Matrix,
        distance: fn(&[f64; 4], &[f64; 4]) -> f64,
    ) -> [f64; 3] {
        let sum = |states: &[usize]| {
            states.iter().map(|&s| distance(&target[s], &policy[s])).sum::<f64>()
        };
        let (on, off) = (sum(&self.on), sum(&self.off));
        let mean = |sum: f64, states: usize| sum / states.max(1) as f64;
        let (count_on, count_off) = (self.on.len(), self.off.len());
        [mean(on + off, count_on + count_off), mean(on, count_on), mean(off, count_off)]
    }
}

/// Mean over actions.
fn squared_error(target: &[f64; 4], policy: &[f64; 4]) -> f64 {
    mean_squared_distance(target, policy)
}

/// `KL(target ‖ policy)`, nats; a probability of 0 that the target has not is the smallest there
/// is.
fn divergence(target: &[f64; 4], policy: &[f64; 4]) -> f64 {
    let term = |(&t, &p): (&f64, &f64)| {
        if t > 0.0 { t * (t / p.max(f64::MIN_POSITIVE)).ln() } else { 0.0 }
    };
    target.iter().zip(policy).map(term).sum()
}

fn mean_squared_distance(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f64>() / a.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::{
        map::LakeMap,
        network::Activation,
        optimum::value_iteration,
        world::{Ice, Rewards},
    };

    /// A network that goes in each state as the logits of its outputs' biases say.
    fn biased(logits: [f64; 4], states: usize) -> Network {
        let mut network =
            Network::new(states, 3, 4, Activation::Relu, &mut ChaCha8Rng::seed_from_u64(0))
                .silenced();
        let biases = network.parameters().len() - 4;
        network.parameters_mut()[biases..].copy_from_slice(&logits);
        network
    }

    #[test]
    fn distances_of_a_corridor_are_those_by_hand() {
        // S F G: right is optimal in both states.
        let map = LakeMap::parse("corridor", "SFG").unwrap();
        let world = World::new(map, Ice::Solid, 1.0, Rewards::default(), 3);
        let optimum = value_iteration(&world, 0.9).policy;
        let fitted = biased([0.0, 0.0, 2.0_f64.ln(), 0.0], 3);
        let fitted_matrix = fitted.policy(3);
        let yardstick = Yardstick {
            world: &world,
            optimum: &optimum,
            fitted: &fitted,
            fitted_matrix: &fitted_matrix,
            on: vec![0],
            off: vec![1],
        };
        let network = biased([0.0; 4], 3);
        let measured = yardstick.measure(&Trained {
            network,
            explored: vec![true, false, true],
            diverged: true,
        });
        let of = |measure: Measure| measured[measure as usize];
        let near = |measure: Measure, expected: f64| {
            assert!(
                (of(measure) - expected).abs() < 1e-12,
                "{measure:?}: {} {expected}",
                of(measure)
            );
        };
        // Three of four actions are off by 1/4, one by 3/4.
        for measure in [Measure::Mse, Measure::MseOn, Measure::MseOff] {
            near(measure, (3.0 / 16.0 + 9.0 / 16.0) / 4.0);
        }
        // The fitted policy goes right with 2/5, else with 1/5 each.
        for measure in [Measure::Fitted, Measure::FittedOn, Measure::FittedOff] {
            near(measure, (3.0 * 0.05_f64.powi(2) + 0.15_f64.powi(2)) / 4.0);
        }
        for measure in [Measure::Kl, Measure::KlOn, Measure::KlOff] {
            near(measure, 4.0_f64.ln());
        }
        near(Measure::KlFitted, 0.4 * 1.6_f64.ln() + 0.6 * 0.8_f64.ln());
        // Two moves right; or one of the three others first; or, between them, one of the two that
        // stay.
        near(Measure::Success, (1.0 + 3.0 / 4.0 + 2.0 / 4.0) / 16.0);
        near(Measure::GreedySuccess, 0.0);
        near(Measure::Weights, 2.0_f64.ln().powi(2) / fitted.parameters().len() as f64);
        near(Measure::Explored, 0.5);
        near(Measure::Diverged, 1.0);
    }

    #[test]
    fn the_optimum_is_at_no_distance_from_itself() {
        assert_eq!(divergence(&[0.0, 0.5, 0.5, 0.0], &[0.0, 0.5, 0.5, 0.0]), 0.0);
        assert_eq!(squared_error(&[0.0, 0.5, 0.5, 0.0], &[0.0, 0.5, 0.5, 0.0]), 0.0);
        // What the target wants and the policy never does is far, but finite.
        let far = divergence(&[1.0, 0.0, 0.0, 0.0], &[0.0, 1.0, 0.0, 0.0]);
        assert!(far > 700.0 && far.is_finite());
    }
}
