//! Measures of a policy: its distance from the optimum and what it achieves.

use schemars::JsonSchema;
use serde::Serialize;

use crate::{
    network::Network,
    optimum::{StateActionMatrix, greedy, success_rate},
    training::Trained,
    world::World,
};

/// A measure of a trained policy.
///
/// The optimum is the optimal state-action matrix, in which equally good actions have the same
/// probability. The fitted policy is a network of the same size that is fitted to this matrix from
/// the same initial weights (the paper's optimal parameterised policy). Means are over non-terminal
/// states: *on* over those of the optimal trajectory, *off* over the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    /// Mean squared error from the optimal matrix, over all states and actions.
    Mse,
    /// The same over the states of the optimal trajectory.
    MseOn,
    /// The same over the other states.
    MseOff,
    /// Mean squared error from the optimal matrix over all states, terminal ones included, where
    /// the optimum gives every action probability 1/4.
    MseTerminal,
    /// Mean squared error from the optimal matrix in which only the first of equally good actions
    /// has a probability.
    MseFirst,
    /// The same over all states, terminal ones included, where it is the first action.
    MseFirstTerminal,
    /// The smallest [`Measure::Mse`] at the points of the training curve after its first: the
    /// checkpoint that is best by the measure itself, as the paper selects (appendix B.1).
    MseBest,
    /// Mean squared error from the action probabilities of the fitted policy.
    Fitted,
    /// The same over the states of the optimal trajectory.
    FittedOn,
    /// The same over the other states.
    FittedOff,
    /// [`Measure::Fitted`] over all states, terminal ones included.
    FittedTerminal,
    /// The smallest [`Measure::Fitted`] at the points of the training curve after its first.
    FittedBest,
    /// `KL(optimum ‖ policy)`, mean over states, nats.
    Kl,
    /// The same over the states of the optimal trajectory.
    KlOn,
    /// The same over the other states.
    KlOff,
    /// `KL(fitted ‖ policy)`, mean over states, nats.
    KlFitted,
    /// Probability of reaching a goal within the limit of moves.
    Success,
    /// The same if the most probable action is always taken.
    GreedySuccess,
    /// Mean squared difference between the parameters of the policy and of the fitted policy.
    Weights,
    /// Share of the states that training used as an input.
    Explored,
    /// Overlap of the cells that training used as inputs with the cells that the policy itself
    /// visited at the time: mean over the intervals between the points of the training curve.
    /// Overlap is the sum over non-terminal states of the smaller of two shares: the share of the
    /// inputs of the interval, and the share of the expected visits in an episode of the policy
    /// at the start of the interval.
    Aligned,
    /// The same for the inputs of the whole training and the visits of the initial policy.
    AlignedStart,
    /// The same for the inputs of the whole training and the visits of the trained policy.
    AlignedEnd,
    /// Of the non-terminal states that training used as an input or that the trained policy visits
    /// at least once in twenty episodes, the share of those that are both.
    AlignedCells,
    /// 1 if training diverged, else 0. A policy that diverged is measured as it was before the
    /// step that diverged.
    Diverged,
}

impl Measure {
    /// All measures, in the order of every list of measures.
    pub const ALL: [Self; 25] = [
        Self::Mse,
        Self::MseOn,
        Self::MseOff,
        Self::MseTerminal,
        Self::MseFirst,
        Self::MseFirstTerminal,
        Self::MseBest,
        Self::Fitted,
        Self::FittedOn,
        Self::FittedOff,
        Self::FittedTerminal,
        Self::FittedBest,
        Self::Kl,
        Self::KlOn,
        Self::KlOff,
        Self::KlFitted,
        Self::Success,
        Self::GreedySuccess,
        Self::Weights,
        Self::Explored,
        Self::Aligned,
        Self::AlignedStart,
        Self::AlignedEnd,
        Self::AlignedCells,
        Self::Diverged,
    ];

    /// Name in result files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Mse => "mse",
            Self::MseOn => "mse_on",
            Self::MseOff => "mse_off",
            Self::MseTerminal => "mse_terminal",
            Self::MseFirst => "mse_first",
            Self::MseFirstTerminal => "mse_first_terminal",
            Self::MseBest => "mse_best",
            Self::Fitted => "fitted",
            Self::FittedOn => "fitted_on",
            Self::FittedOff => "fitted_off",
            Self::FittedTerminal => "fitted_terminal",
            Self::FittedBest => "fitted_best",
            Self::Kl => "kl",
            Self::KlOn => "kl_on",
            Self::KlOff => "kl_off",
            Self::KlFitted => "kl_fitted",
            Self::Success => "success",
            Self::GreedySuccess => "greedy_success",
            Self::Weights => "weights",
            Self::Explored => "explored",
            Self::Aligned => "aligned",
            Self::AlignedStart => "aligned_start",
            Self::AlignedEnd => "aligned_end",
            Self::AlignedCells => "aligned_cells",
            Self::Diverged => "diverged",
        }
    }
}

/// The measures of one policy, in the order of [`Measure::ALL`].
pub(crate) type Measured = [f64; Measure::ALL.len()];

/// Measures the policies of one seed in one world.
pub(crate) struct Evaluator<'a> {
    pub(crate) world: &'a World,
    /// The optimal matrix.
    pub(crate) optimum: &'a StateActionMatrix,
    /// The network that is fitted to the optimal matrix.
    pub(crate) fitted: &'a Network,
    /// Action probabilities of `fitted`.
    pub(crate) fitted_matrix: &'a StateActionMatrix,
    /// The non-terminal states of the optimal trajectory.
    pub(crate) on: Vec<usize>,
    /// The other non-terminal states.
    pub(crate) off: Vec<usize>,
}

impl Evaluator<'_> {
    /// All measures of a policy.
    pub(crate) fn measure(&self, Trained { network, explored, diverged }: &Trained) -> Measured {
        let policy = &network.policy(self.world.states());
        let mse = |target| self.parts(target, policy, squared_error);
        let kl = |target| self.parts(target, policy, kl_divergence);
        let ([mse, mse_on, mse_off], [fitted, fitted_on, fitted_off]) =
            (mse(self.optimum), mse(self.fitted_matrix));
        let ([kl, kl_on, kl_off], [kl_fitted, ..]) = (kl(self.optimum), kl(self.fitted_matrix));
        [
            mse,
            mse_on,
            mse_off,
            f64::NAN,
            f64::NAN,
            f64::NAN,
            f64::NAN,
            fitted,
            fitted_on,
            fitted_off,
            f64::NAN,
            f64::NAN,
            kl,
            kl_on,
            kl_off,
            kl_fitted,
            success_rate(self.world, policy),
            success_rate(self.world, &greedy(policy)),
            mean_squared_distance(network.parameters(), self.fitted.parameters()),
            self.share(explored),
            f64::NAN,
            f64::NAN,
            f64::NAN,
            f64::NAN,
            f64::from(u8::from(*diverged)),
        ]
    }

    /// [`Measure::Mse`], [`Measure::MseOn`] and [`Measure::MseOff`] alone.
    pub(crate) fn mse(&self, network: &Network) -> [f64; 3] {
        self.parts(self.optimum, &network.policy(self.world.states()), squared_error)
    }

    /// The share of the non-terminal states that are marked. `marked: [states]`
    fn share(&self, marked: &[bool]) -> f64 {
        let states = || self.on.iter().chain(&self.off);
        states().filter(|&&state| marked[state]).count() as f64 / states().count().max(1) as f64
    }

    /// The mean over states of a distance between the rows of two matrices: over all states, over
    /// those of the optimal trajectory and over the others.
    fn parts(
        &self,
        target: &StateActionMatrix,
        policy: &StateActionMatrix,
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

/// Mean squared error over the actions.
fn squared_error(target: &[f64; 4], policy: &[f64; 4]) -> f64 {
    mean_squared_distance(target, policy)
}

/// `KL(target ‖ policy)`, nats. Where the policy has probability 0 and the target has not, the
/// smallest positive number takes its place, so that the result is finite.
fn kl_divergence(target: &[f64; 4], policy: &[f64; 4]) -> f64 {
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

    use ift_compare::{Comparison, Tolerance};

    use super::*;
    use crate::{
        map::LakeMap,
        network::ActivationFunction,
        optimum::value_iteration,
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
        let measured = evaluator.measure(&Trained {
            network,
            explored: vec![true, false, true],
            diverged: true,
        });
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
        near(Measure::Diverged, 1.0);
        comparison.finish();
    }

    #[test]
    fn the_optimum_is_at_no_distance_from_itself() {
        assert_eq!(kl_divergence(&[0.0, 0.5, 0.5, 0.0], &[0.0, 0.5, 0.5, 0.0]), 0.0);
        assert_eq!(squared_error(&[0.0, 0.5, 0.5, 0.0], &[0.0, 0.5, 0.5, 0.0]), 0.0);
        // Where the policy has probability 0 and the target 1, the divergence is large but finite.
        let far = kl_divergence(&[1.0, 0.0, 0.0, 0.0], &[0.0, 1.0, 0.0, 0.0]);
        assert!(far > 700.0 && far.is_finite());
    }
}
