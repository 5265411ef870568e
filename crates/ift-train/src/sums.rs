//! Sums over the rows of a step, and the scores and losses of each answer.

use crate::pack::Part;
use ift_data::Row;
use ift_methods::{Method, RowLoss, RowScores};
use ift_parallel::{Collective, CollectiveError};
use std::ops::AddAssign;

/// Sums over the rows of a step.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sums {
    /// The method's loss.
    pub loss: f64,
    /// Its divisor: rows, pairs or targets, depending on the method.
    pub count: f64,
    /// The plain negative log-likelihood in the first pass, on the data's own tokens and without
    /// weights of targets (SFT's loss);
    /// of pairs, that of the chosen answers, of judged answers, that of the desirable ones.
    pub first_pass: f64,
    /// The plain negative log-likelihood in the pass that is trained, without weights, of the
    /// same.
    pub unweighted: f64,
    /// The divisor of both.
    pub plain_count: f64,
    /// The negative log-likelihood of the same, summed over all their targets, in the pass that is
    /// trained.
    pub nll: f64,
    /// Those targets.
    pub nll_targets: u64,
    /// Rows.
    pub rows: u64,
    /// Scored targets.
    pub targets: u64,
    /// Tokens of the rows, both sides of a pair.
    pub tokens: u64,
    /// Targets whose likelihood this step's gradient pushes down.
    pub pushed_down: u64,
    /// Of methods that compare answers.
    pub preference: PreferenceSums,
    /// Divergences between reference and policy, summed over each sequence, and their number.
    pub divergence: (f64, u64),
    /// KTO's KL point.
    pub kl_point: f64,
}

/// Sums over chosen (desirable) and rejected (undesirable) answers.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PreferenceSums {
    /// Of the chosen answers.
    pub chosen: AnswerSums,
    /// Of the rejected answers.
    pub rejected: AnswerSums,
    /// Pairs; 0 where answers are judged alone.
    pub pairs: u64,
    /// Pairs whose chosen answer has the larger reward.
    pub accurate: u64,
}

/// Sums over answers of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct AnswerSums {
    /// Answers.
    pub count: u64,
    /// Their implicit rewards.
    pub rewards: f64,
    /// Their log-probabilities, each summed over its targets.
    pub log_probs: f64,
}

impl AddAssign for AnswerSums {
    fn add_assign(&mut self, other: Self) {
        self.count += other.count;
        self.rewards += other.rewards;
        self.log_probs += other.log_probs;
    }
}

impl AddAssign for PreferenceSums {
    fn add_assign(&mut self, other: Self) {
        self.chosen += other.chosen;
        self.rejected += other.rejected;
        self.pairs += other.pairs;
        self.accurate += other.accurate;
    }
}

impl Sums {
    /// Adds the sums of all processes of a run. The KL point is the same in all of them.
    ///
    /// # Errors
    /// If the exchange fails.
    pub(crate) fn exchange(&mut self, collective: &dyn Collective) -> Result<(), CollectiveError> {
        let PreferenceSums { chosen, rejected, pairs, accurate } = &mut self.preference;
        let floats = [
            &mut self.loss,
            &mut self.count,
            &mut self.first_pass,
            &mut self.unweighted,
            &mut self.plain_count,
            &mut self.nll,
            &mut self.divergence.0,
            &mut chosen.rewards,
            &mut chosen.log_probs,
            &mut rejected.rewards,
            &mut rejected.log_probs,
        ];
        let counts = [
            &mut self.nll_targets,
            &mut self.rows,
            &mut self.targets,
            &mut self.tokens,
            &mut self.pushed_down,
            &mut self.divergence.1,
            &mut chosen.count,
            &mut rejected.count,
            pairs,
            accurate,
        ];
        // Counts are exact as f64 up to 2^53.
        let own = floats.iter().map(|sum| **sum).chain(counts.iter().map(|count| **count as f64));
        let mut all: Vec<f64> = own.collect();
        collective.all_reduce_sum(&mut all)?;
        let (of_floats, of_counts) = all.split_at(floats.len());
        floats.into_iter().zip(of_floats).for_each(|(sum, all)| *sum = *all);
        counts.into_iter().zip(of_counts).for_each(|(count, all)| *count = *all as u64);
        Ok(())
    }
}

impl AddAssign for Sums {
    fn add_assign(&mut self, other: Self) {
        self.loss += other.loss;
        self.count += other.count;
        self.first_pass += other.first_pass;
        self.unweighted += other.unweighted;
        self.plain_count += other.plain_count;
        self.nll += other.nll;
        self.nll_targets += other.nll_targets;
        self.rows += other.rows;
        self.targets += other.targets;
        self.tokens += other.tokens;
        self.pushed_down += other.pushed_down;
        self.preference += other.preference;
        self.divergence.0 += other.divergence.0;
        self.divergence.1 += other.divergence.1;
    }
}

/// What a step did to one answer, target by target.
#[derive(Clone, Debug, Default)]
pub struct AnswerDetail {
    /// Whether it is a chosen or desirable answer; true for demonstrations.
    pub chosen: bool,
    /// Positions of the targets in the sequence. `[targets]`
    pub positions: Vec<usize>,
    /// Log-probabilities in the trained pass. `[targets]`
    pub log_probs: Vec<f64>,
    /// Log-probabilities in the first pass; the same where there is only one. `[targets]`
    pub first_log_probs: Vec<f64>,
    /// The tokens that the look-ahead selected; empty where there was none. `[targets]`
    pub look_ahead: Vec<u32>,
    /// The reference's log-probabilities; empty where there is none. `[targets]`
    pub reference: Vec<f64>,
    /// The weights of the targets in the data; empty where all are 1. `[targets]`
    pub target_weights: Vec<f64>,
    /// Divergences from the reference; empty where the method uses none. `[targets]`
    pub divergence: Vec<f64>,
    /// Entropies; empty where the method uses none. `[targets]`
    pub entropy: Vec<f64>,
    /// The answer's loss, weights and gradient; the loss of a pair is on its chosen side.
    pub loss: RowLoss,
}

impl AnswerDetail {
    /// The input of the method.
    pub(crate) fn scores(&self) -> RowScores<'_> {
        RowScores {
            logps: &self.log_probs,
            positions: &self.positions,
            reference: &self.reference,
            target_weights: &self.target_weights,
            divergence: &self.divergence,
            entropy: &self.entropy,
            chosen: self.chosen,
        }
    }
}

/// The sums of one row, of which `answers` are all.
pub(crate) fn of_row(row: &Row, part: Part, answers: &[AnswerDetail], method: &Method) -> Sums {
    let mut sums = Sums { rows: 1, tokens: part.tokens(row) as u64, ..Sums::default() };
    for answer in answers {
        sums += of_answer(answer, method);
    }
    if let [chosen, rejected] = answers
        && let (Some(chosen), Some(rejected)) = (chosen.loss.reward, rejected.loss.reward)
    {
        sums.preference.pairs = 1;
        sums.preference.accurate = u64::from(chosen > rejected);
    }
    sums
}

fn of_answer(answer: &AnswerDetail, method: &Method) -> Sums {
    let mut sums = Sums {
        loss: answer.loss.sum,
        count: answer.loss.count,
        targets: answer.positions.len() as u64,
        pushed_down: answer.loss.targets_pushed_down() as u64,
        ..Sums::default()
    };
    if answer.chosen {
        let scores = answer.scores();
        sums.first_pass =
            method.unweighted(RowScores { logps: &answer.first_log_probs, ..scores }).0;
        (sums.unweighted, sums.plain_count) = method.unweighted(scores);
        sums.nll = -answer.log_probs.iter().sum::<f64>();
        sums.nll_targets = sums.targets;
    }
    if let Some(rewards) = answer.loss.reward {
        let one = AnswerSums { count: 1, rewards, log_probs: answer.log_probs.iter().sum() };
        let to = &mut sums.preference;
        *(if answer.chosen { &mut to.chosen } else { &mut to.rejected }) = one;
    }
    if !answer.divergence.is_empty() {
        sums.divergence = (answer.divergence.iter().sum(), 1);
    }
    sums
}
