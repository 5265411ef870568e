//! How far a policy is from the optimum.

use schemars::JsonSchema;
use serde::Serialize;

use crate::{
    network::Network,
    optimum::{Matrix, greedy, success_rate},
    world::World,
};

/// What is measured of a trained policy.
///
/// The optimum is the optimal state-action matrix, with ties shared; the fitted policy is a network of the same shape,
/// fitted to that matrix from the same initial weights (the paper's optimal parameterised policy). States are those that
/// are not terminal; *on* are those of the optimal trajectory, *off* the others.
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
}

impl Measure {
    /// All of them, in the order of [`Measured`].
    pub const ALL: [Self; 13] = [
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
    pub(crate) fn measure(&self, network: &Network) -> Measured {
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
        ]
    }

    /// [`Measure::Mse`], [`Measure::MseOn`] and [`Measure::MseOff`] alone.
    pub(crate) fn mse(&self, network: &Network) -> [f64; 3] {
        self.parts(self.optimum, &network.policy(self.world.states()), squared_error)
    }

    /// The mean of a distance between rows of two matrices: over all states, those on the trajectory and those off it.
    fn parts(&self, target: &Matrix, policy: &Matrix, distance: fn(&[f64; 4], &[f64; 4]) -> f64) -> [f64; 3] {
        let sum = |states: &[usize]| states.iter().map(|&s| distance(&target[s], &policy[s])).sum::<f64>();
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

/// `KL(target ‖ policy)`, nats; a probability of 0 that the target has not is the smallest there is.
fn divergence(target: &[f64; 4], policy: &[f64; 4]) -> f64 {
    let term = |(&t, &p): (&f64, &f64)| if t > 0.0 { t * (t / p.max(f64::MIN_POSITIVE)).ln() } else { 0.0 };
    target.iter().zip(policy).map(term).sum()
}

fn mean_squared_distance(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f64>() / a.len().max(1) as f64
}
