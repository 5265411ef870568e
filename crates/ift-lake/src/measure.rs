//! Measures of a policy: its distance from the optimum and what it achieves.

use schemars::JsonSchema;
use serde::Serialize;

use crate::{
    alignment::Alignment,
    episode::{expected_visits, success_rate},
    network::Network,
    optimum::{StateActionMatrix, greedy},
    training::Trained,
    world::World,
};

/// A measure of a trained policy.
///
/// The optimum is the optimal state-action matrix, in which equally good actions have the same
/// probability. The fitted policy is a network of the same size that is fitted to this matrix from
/// the same initial weights (the paper's optimal parameterised policy). Means are over non-terminal
/// states: *on* over those of the optimal trajectory, *off* over the others. A mean over no states,
/// where all are on the trajectory, is NaN; it is empty in CSV files and null in JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    /// Mean squared error from the optimal matrix, over all states and actions.
    Mse,
    /// The same over the states of the optimal trajectory.
    MseOn,
    /// The same over the other states.
    MseOff,
    /// [`Measure::Mse`] with terminal states included, where the optimum gives every action the
    /// probability 1/4.
    MseTerminal,
    /// Mean squared error from the optimal matrix with probability 1 for the first of the equally
    /// good actions of a state, in the order of their numbers, and 0 for the others.
    MseFirst,
    /// [`Measure::MseFirst`] with terminal states included, where all actions are equally good, so
    /// that action 0 has the probability 1.
    MseFirstTerminal,
    /// The smallest [`Measure::Mse`] at the points of the training curve after its first, the last
    /// of which is the end of training: the checkpoint that is best by the measure itself, as the
    /// paper selects (appendix B.1).
    MseBest,
    /// Mean squared error from the action probabilities of the fitted policy.
    Fitted,
    /// The same over the states of the optimal trajectory.
    FittedOn,
    /// The same over the other states.
    FittedOff,
    /// [`Measure::Fitted`] with terminal states included. They were no inputs when the policy was
    /// fitted.
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
    /// How far the cells that training used as inputs agree with those that the policy itself
    /// visited at the time: mean of the overlaps of all intervals between the points of the
    /// training curve.
    ///
    /// The overlap of an interval is the sum over non-terminal states of the smaller of two shares,
    /// 0 to 1: the share of the state in the inputs of the interval, and its share in the expected
    /// visits in an episode of the policy at the start of the interval. A visit is a move from the
    /// state. Every input of every row and step counts 1; a mixed input counts for both states,
    /// each with its share. Intervals without inputs, after a step that diverged, are left out;
    /// without any inputs the measure is 0.
    Aligned,
    /// The overlap of the inputs of the whole training with the visits of the initial policy.
    AlignedStart,
    /// The overlap of the inputs of the whole training with the visits of the trained policy.
    AlignedEnd,
    /// Of the non-terminal states that training used as an input or that the trained policy visits,
    /// the share of those that are both. Here a policy visits a state if the expected number of
    /// moves from it is at least 0.05 per episode: once in twenty episodes.
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

/// The measures of a policy at a point of its training curve.
pub(crate) struct CurvePoint {
    /// [`Measure::Mse`].
    pub(crate) mse: f64,
    /// [`Measure::Fitted`].
    pub(crate) fitted: f64,
    /// Expected number of moves from each state in an episode. `[states]`
    pub(crate) visits: Vec<f64>,
}

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
    /// All measures of a policy, given the points of its training curve, the last of which is the
    /// policy itself.
    pub(crate) fn measure(&self, trained: &Trained, curve: &[CurvePoint]) -> Measured {
        let Trained { network, inputs, diverged } = trained;
        let policy = &network.policy(self.world.states());
        let mse = |target| self.parts(target, policy, squared_error);
        let kl = |target| self.parts(target, policy, kl_divergence);
        let ([mse, mse_on, mse_off], [fitted, fitted_on, fitted_off]) =
            (mse(self.optimum), mse(self.fitted_matrix));
        let ([kl, kl_on, kl_off], [kl_fitted, ..]) = (kl(self.optimum), kl(self.fitted_matrix));
        let first = &greedy(self.optimum);
        let [mse_first, ..] = self.parts(first, policy, squared_error);
        let best =
            |end: f64, of: fn(&CurvePoint) -> f64| curve.iter().skip(1).map(of).fold(end, f64::min);
        let visits: Vec<_> = curve.iter().map(|point| point.visits.as_slice()).collect();
        let alignment = Alignment::new(self.world, inputs, &visits);
        [
            mse,
            mse_on,
            mse_off,
            with_terminal(self.optimum, policy),
            mse_first,
            with_terminal(first, policy),
            best(mse, |point| point.mse),
            fitted,
            fitted_on,
            fitted_off,
            with_terminal(self.fitted_matrix, policy),
            best(fitted, |point| point.fitted),
            kl,
            kl_on,
            kl_off,
            kl_fitted,
            success_rate(self.world, policy),
            success_rate(self.world, &greedy(policy)),
            mean_squared_distance(network.parameters(), self.fitted.parameters()),
            self.share(&inputs.explored()),
            alignment.mean,
            alignment.start,
            alignment.end,
            alignment.cells,
            f64::from(u8::from(*diverged)),
        ]
    }

    /// The measures of a point of a training curve.
    pub(crate) fn point(&self, network: &Network) -> CurvePoint {
        let policy = &network.policy(self.world.states());
        let [mse, ..] = self.parts(self.optimum, policy, squared_error);
        let [fitted, ..] = self.parts(self.fitted_matrix, policy, squared_error);
        CurvePoint { mse, fitted, visits: expected_visits(self.world, policy) }
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
    /// those of the optimal trajectory and over the others; NaN over no states.
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
        let mean =
            |sum: f64, states: usize| if states > 0 { sum / states as f64 } else { f64::NAN };
        let (count_on, count_off) = (self.on.len(), self.off.len());
        [mean(on + off, count_on + count_off), mean(on, count_on), mean(off, count_off)]
    }
}

/// Mean squared error over all states, terminal ones included.
fn with_terminal(target: &StateActionMatrix, policy: &StateActionMatrix) -> f64 {
    mean_squared_distance(target.as_flattened(), policy.as_flattened())
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
mod tests;
