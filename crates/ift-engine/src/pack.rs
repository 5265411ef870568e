//! Sequences, cut into prompts and continuations and concatenated.
//!
//! A target at position `t` is predicted by the hidden state at `t - 1`, so a sequence needs no
//! input from its last target on. What several sequences have in common is computed once: the
//! answers of a group share a *prompt*. The rest of a sequence is its *continuation*. Nothing is
//! padded.

use crate::answer::check;
use crate::{Answer, PackError};
use ift_backend::Backend;
use ift_model::{Pass, Sequences};
use std::ops::Range;

/// Where the predictions of one answer's targets lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackedAnswer {
    /// Index of its group.
    pub group: usize,
    /// Index of the answer in its group; in a preference pair 0 is the chosen answer and 1 the
    /// rejected one.
    pub side: usize,
    /// Positions of the targets in the sequence, increasing, the first at least 1.
    pub positions: Vec<usize>,
    /// For each target the index of its score; see [`Packed`].
    pub scores: Vec<usize>,
    /// For each target the packed index in [`Packed::continuations`] at which the target is an
    /// input; `None` where it is not: the last target, and what lies in the prompt.
    pub inputs: Vec<Option<usize>>,
}

/// Packed groups.
///
/// # Order of the scores
/// Scores are numbered list by list: first those of `prompt_positions[0]`, which belong to the
/// first answers of the groups, then those of `prompt_positions[1]`, of the second answers, and so
/// on; last those of `continuation_positions`. For two pairs, `a` and `b`, of two targets each:
///
/// ```text
/// scores   list                     targets
/// 0, 1     prompt_positions[0]      the first of a's chosen answer, of b's chosen answer
/// 2, 3     prompt_positions[1]      the first of a's rejected answer, of b's rejected answer
/// 4 to 7   continuation_positions   the second of a's chosen, a's rejected, b's chosen,
///                                   b's rejected answer
/// ```
///
/// ```
/// use ift_engine::{Answer, Packed};
///
/// // Two answers to the prompt 1, 2; the last token of each is predicted but is no input.
/// let chosen = Answer { tokens: &[1, 2, 3, 4], targets: vec![2, 3] };
/// let rejected = Answer { tokens: &[1, 2, 5], targets: vec![2] };
/// let packed = Packed::new(&[vec![chosen, rejected]], 10, false)?;
/// assert_eq!(packed.prompts.tokens, [1, 2]);
/// assert_eq!(packed.continuations.tokens, [3]);
/// // The scores of 3, of 5 (both predicted by the prompt's last token), and of 4.
/// assert_eq!(packed.targets, [3, 5, 4]);
/// assert_eq!(packed.by_answer(&[-0.1, -0.2, -0.3]), [vec![-0.1, -0.3], vec![-0.2]]);
/// # Ok::<(), ift_engine::PackError>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Packed {
    /// The prompts, one for each group; whole sequences where a group is not split.
    pub prompts: Sequences,
    /// What follows the prompts, one for each answer of the groups that are split. May have no
    /// tokens.
    pub continuations: Sequences,
    /// For each sequence of `continuations` the index of its answer.
    pub continuation_answers: Vec<usize>,
    /// Packed indices in `prompts` that predict targets. List `i` is about the answer of index `i`
    /// of each group that has one. The same hidden state predicts the first target of several
    /// answers, so an index may be in several lists, but is in each at most once.
    pub prompt_positions: Vec<Vec<usize>>,
    /// Packed indices in `continuations` that predict targets.
    pub continuation_positions: Vec<usize>,
    /// Token ids of the targets, in the order of the scores.
    pub targets: Vec<u32>,
    /// The answers, group by group.
    pub answers: Vec<PackedAnswer>,
}

/// Where a score is, before its index among all scores is known.
struct Place {
    /// The list: an index in `prompt_positions`, or their number for `continuation_positions`.
    list: usize,
    /// The index in the list.
    index: usize,
}

impl Packed {
    /// Packs groups of answers that share a prompt. A group of several answers is split into its
    /// prompt and continuations. With `split` a group of one answer is split too, before its first
    /// target; without, `prompts` holds the whole sequence of such a group, up to its last target,
    /// and it has no continuation.
    ///
    /// # Errors
    /// If an answer has no target, a target where none can be, or a token outside of the
    /// vocabulary.
    pub fn new(groups: &[Vec<Answer>], vocabulary: usize, split: bool) -> Result<Self, PackError> {
        check(groups, vocabulary)?;
        let sides = groups.iter().map(Vec::len).max().unwrap_or(0);
        let mut packed = Self { prompt_positions: vec![Vec::new(); sides], ..Self::default() };
        let mut targets: Vec<Vec<u32>> = vec![Vec::new(); sides + 1];
        let mut places: Vec<Vec<Place>> = Vec::new();
        for (group, answers) in groups.iter().enumerate() {
            let Some(first) = answers.first() else {
                packed.prompts.push(&[]);
                continue;
            };
            let split = split || answers.len() > 1;
            let cut = if split { shared(answers) } else { last(&first.targets) };
            let prompt_start = packed.prompts.tokens.len();
            packed.prompts.push(&first.tokens[..cut]);
            for (side, answer) in answers.iter().enumerate() {
                let start = packed.continuations.tokens.len();
                let last = last(&answer.targets);
                if split {
                    packed.continuations.push_after(&answer.tokens[cut..last], prompt_start, cut);
                    packed.continuation_answers.push(packed.answers.len());
                }
                let place = |&t: &usize| {
                    let (list, indices, at) = if t > cut {
                        (sides, &mut packed.continuation_positions, start + t - 1 - cut)
                    } else {
                        (side, &mut packed.prompt_positions[side], prompt_start + t - 1)
                    };
                    indices.push(at);
                    targets[list].push(answer.tokens[t]);
                    Place { list, index: indices.len() - 1 }
                };
                places.push(answer.targets.iter().map(place).collect());
                let input = |&t: &usize| (split && t >= cut && t < last).then(|| start + t - cut);
                packed.answers.push(PackedAnswer {
                    group,
                    side,
                    inputs: answer.targets.iter().map(input).collect(),
                    positions: answer.targets.clone(),
                    scores: Vec::new(),
                });
            }
        }
        let before = starts(&targets);
        for (answer, places) in packed.answers.iter_mut().zip(places) {
            answer.scores = places.iter().map(|place| before[place.list] + place.index).collect();
        }
        packed.targets = targets.concat();
        Ok(packed)
    }

    /// Whether anything follows the prompts.
    pub fn has_continuations(&self) -> bool {
        !self.continuations.segments.is_empty()
    }

    /// Which hidden states predict the targets, in the order of the scores: for each list of
    /// positions the pass that it indexes (`prompts` or `continuations`), and the list.
    pub fn pieces<'a, B: Backend>(
        &'a self,
        prompts: &'a Pass<B>,
        continuations: Option<&'a Pass<B>>,
    ) -> Vec<(&'a Pass<B>, &'a [usize])> {
        let of_prompts = self.prompt_positions.iter().map(|list| (prompts, list.as_slice()));
        let of_continuations =
            continuations.map(|pass| (pass, self.continuation_positions.as_slice()));
        of_prompts.chain(of_continuations).collect()
    }

    /// For each list of `prompt_positions` the index of its first score, and the list.
    pub fn prompt_pieces(&self) -> Vec<(usize, &[usize])> {
        let starts = starts(&self.prompt_positions);
        starts.into_iter().zip(self.prompt_positions.iter().map(Vec::as_slice)).collect()
    }

    /// The index of the continuations' first score, and `continuation_positions`.
    pub fn continuation_piece(&self) -> (usize, &[usize]) {
        let before = self.prompt_positions.iter().map(Vec::len).sum();
        (before, &self.continuation_positions)
    }

    /// `[tokens of continuations]`: for each token that is a target, the index of its score.
    pub fn input_scores(&self) -> Vec<Option<u32>> {
        let mut scores = vec![None; self.continuations.tokens.len()];
        for answer in &self.answers {
            for (input, &score) in answer.inputs.iter().zip(&answer.scores) {
                if let Some(input) = *input {
                    scores[input] = Some(score as u32);
                }
            }
        }
        scores
    }

    /// Values in the order of the scores, for each answer in the order of its targets.
    ///
    /// # Panics
    /// If there are fewer values than scores.
    pub fn by_answer<T: Copy>(&self, values: &[T]) -> Vec<Vec<T>> {
        self.answers
            .iter()
            .map(|answer| answer.scores.iter().map(|&i| values[i]).collect())
            .collect()
    }

    /// The inverse of [`Packed::by_answer`]; what is missing is 0.
    pub fn by_score<'a>(&self, answers: impl Iterator<Item = &'a [f64]>) -> Vec<f64> {
        let mut flat = vec![0.0; self.targets.len()];
        for (answer, values) in self.answers.iter().zip(answers) {
            for (&i, value) in answer.scores.iter().zip(values) {
                flat[i] = *value;
            }
        }
        flat
    }
}

/// The sum of the lengths before each list.
fn starts<T>(lists: &[Vec<T>]) -> Vec<usize> {
    let sum = |before: &mut usize, list: &Vec<T>| {
        let start = *before;
        *before += list.len();
        Some(start)
    };
    lists.iter().scan(0, sum).collect()
}

fn last(positions: &[usize]) -> usize {
    positions.last().copied().unwrap_or_default()
}

/// How many tokens the answers of a group have in common, up to the first target of any of them:
/// their prompt.
fn shared(answers: &[Answer]) -> usize {
    let first = answers.iter().filter_map(|a| a.targets.first()).copied().min().unwrap_or_default();
    let same = |a: &[u32], b: &[u32]| a.iter().zip(b).take_while(|(a, b)| a == b).count();
    answers.windows(2).map(|pair| same(pair[0].tokens, pair[1].tokens)).fold(first, usize::min)
}

/// Cuts groups of these lengths, in their order, into runs of at most `budget` tokens; a longer
/// group is a run of its own.
pub fn runs(lengths: impl Iterator<Item = usize>, budget: usize) -> Vec<Range<usize>> {
    let mut runs: Vec<Range<usize>> = Vec::new();
    let mut tokens = 0usize;
    for (i, length) in lengths.enumerate() {
        tokens = tokens.saturating_add(length);
        match runs.last_mut() {
            Some(run) if tokens <= budget => run.end = i + 1,
            _ => {
                runs.push(i..i + 1);
                tokens = length;
            }
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer<'a>(tokens: &'a [u32], targets: &[usize]) -> Answer<'a> {
        Answer { tokens, targets: targets.to_vec() }
    }

    #[test]
    fn a_sequence_is_cut_before_its_first_target_and_ends_before_its_last() {
        let groups =
            [vec![answer(&[1, 2, 3, 4, 5, 6, 7], &[2, 3, 5])], vec![answer(&[8, 9], &[1])]];
        let packed = Packed::new(&groups, 10, true).unwrap();
        assert_eq!(packed.prompts.tokens, [1, 2, 8]);
        assert_eq!(packed.continuations.tokens, [3, 4, 5]);
        assert_eq!(packed.prompt_positions, [vec![1, 2]]);
        assert_eq!(packed.continuation_positions, [0, 2]);
        assert_eq!(packed.continuation_answers, [0, 1]);
        assert_eq!(packed.targets, [3, 9, 4, 6]);
        assert_eq!(packed.answers[0].positions, [2, 3, 5]);
        assert_eq!(packed.answers[0].scores, [0, 2, 3]);
        assert_eq!(packed.answers[0].inputs, [Some(0), Some(1), None]);
        assert_eq!(
            (&packed.answers[1].scores[..], &packed.answers[1].inputs[..]),
            (&[1][..], &[None][..])
        );
        assert_eq!(packed.input_scores(), [Some(0), Some(2), None]);
        let values = packed.by_answer(&[0.0, 1.0, 2.0, 3.0]);
        assert_eq!(values, [vec![0.0, 2.0, 3.0], vec![1.0]]);
        assert_eq!(packed.by_score(values.iter().map(Vec::as_slice)), [0.0, 1.0, 2.0, 3.0]);
    }

    #[test]
    fn unsplit_sequences_are_prompts() {
        let groups = [vec![answer(&[1, 2, 3, 4, 5], &[1, 3])]];
        let packed = Packed::new(&groups, 10, false).unwrap();
        assert_eq!(packed.prompts.tokens, [1, 2, 3]);
        assert_eq!(packed.prompt_positions, [vec![0, 2]]);
        assert_eq!(packed.targets, [2, 4]);
        assert!(!packed.has_continuations() && packed.continuation_positions.is_empty());
        assert_eq!(packed.answers[0].inputs, [None, None]);
    }

    #[test]
    fn a_pair_shares_its_prompt_and_the_state_that_predicts_both_answers() {
        let groups = [
            vec![answer(&[1, 2, 3, 4], &[2, 3]), answer(&[1, 2, 5], &[2])],
            vec![answer(&[6, 1, 2], &[1, 2]), answer(&[6, 3, 4, 5], &[1, 2, 3])],
        ];
        let packed = Packed::new(&groups, 10, false).unwrap();
        assert_eq!(packed.prompts.tokens, [1, 2, 6]);
        assert_eq!(packed.continuations.tokens, [3, 1, 3, 4]);
        let segments = &packed.continuations.segments;
        assert_eq!(segments.iter().map(|s| s.len).collect::<Vec<_>>(), [1, 0, 1, 2]);
        assert_eq!(packed.prompt_positions, [vec![1, 2], vec![1, 2]]);
        assert_eq!(packed.continuation_positions, [0, 1, 2, 3]);
        assert_eq!(packed.targets, [3, 1, 5, 3, 4, 2, 4, 5]);
        let scores: Vec<_> = packed.answers.iter().map(|a| a.scores.clone()).collect();
        assert_eq!(scores, [vec![0, 4], vec![2], vec![1, 5], vec![3, 6, 7]]);
        let sides: Vec<_> = packed.answers.iter().map(|a| (a.group, a.side)).collect();
        assert_eq!(sides, [(0, 0), (0, 1), (1, 0), (1, 1)]);
        assert_eq!(packed.prompt_pieces(), [(0, &[1, 2][..]), (2, &[1, 2][..])]);
        assert_eq!(packed.continuation_piece(), (4, &[0, 1, 2, 3][..]));
    }

    #[test]
    fn answers_that_differ_before_their_targets_share_less() {
        let groups = [vec![answer(&[1, 2, 3, 4, 5], &[3, 4]), answer(&[1, 9, 3, 4], &[3])]];
        let packed = Packed::new(&groups, 10, false).unwrap();
        assert_eq!(packed.prompts.tokens, [1]);
        assert_eq!(packed.continuations.tokens, [2, 3, 4, 9, 3]);
        assert_eq!(
            (&packed.prompt_positions[..], &packed.targets[..]),
            (&[vec![], vec![]][..], &[4, 5, 4][..])
        );
        assert_eq!(packed.continuation_positions, [1, 2, 4]);
    }

    #[test]
    fn groups_of_different_sizes_are_packed_together() {
        let groups = [
            vec![answer(&[1, 2, 3], &[1, 2])],
            vec![],
            vec![answer(&[4, 5], &[1]), answer(&[4, 6], &[1]), answer(&[4, 7, 8], &[1, 2])],
        ];
        let packed = Packed::new(&groups, 10, false).unwrap();
        assert_eq!(packed.prompts.tokens, [1, 2, 4]);
        assert_eq!(packed.prompts.segments.len(), 3);
        assert_eq!(packed.continuations.tokens, [7]);
        assert_eq!(packed.continuation_answers, [1, 2, 3]);
        assert_eq!(packed.prompt_positions, [vec![0, 1, 2], vec![2], vec![2]]);
        assert_eq!(packed.targets, [2, 3, 5, 6, 7, 8]);
        let scores: Vec<_> = packed.answers.iter().map(|a| a.scores.clone()).collect();
        assert_eq!(scores, [vec![0, 1], vec![2], vec![3], vec![4, 5]]);
    }

    #[test]
    fn what_cannot_be_packed_is_named() {
        let error = |answer: Answer| {
            let good = Answer { tokens: &[1, 2], targets: vec![1] };
            Packed::new(&[vec![good.clone()], vec![good, answer]], 10, false)
                .err()
                .unwrap()
                .to_string()
        };
        assert_eq!(
            error(answer(&[1, 2, 3], &[])),
            "answer 2 of group 2: no target, expected at least one after the first token"
        );
        let message = error(answer(&[1, 10], &[1]));
        assert!(message.contains("token 10") && message.contains("10 entries"), "{message}");
        for (targets, position) in [(&[0, 1][..], 0), (&[1, 1], 1), (&[2, 3], 3)] {
            let message = error(answer(&[1, 2, 3], targets));
            assert!(message.contains(&format!("position {position} of 3")), "{message}");
        }
    }

    #[test]
    fn runs_respect_the_budget() {
        let lengths = || [3, 3, 3, 9, 1].into_iter();
        assert_eq!(runs(lengths(), 6), [0..2, 2..3, 3..4, 4..5]);
        assert_eq!(runs(lengths(), 100).first(), Some(&(0..5)));
        assert!(runs(std::iter::empty(), 6).is_empty());
    }
}
