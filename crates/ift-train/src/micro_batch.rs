//! Rows, cut into prompts and continuations and packed end to end.
//!
//! A target at position `t` is predicted by the hidden state at `t - 1`, so a sequence needs no
//! input from its last target on. What several sequences share is computed once: the sides of a
//! pair have a *prompt* in common, and hidden states before the first target are the same whatever
//! is mixed into the targets. The rest of a sequence is its *continuation*.

use ift_data::{Row, Sequence};
use ift_methods::RowKind;
use ift_model::Sequences;
use std::ops::Range;
use std::slice;

/// A row that cannot be trained on.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum RowError {
    /// Nothing in the row is learned.
    #[error(
        "record {record} has no target after its first token, expected at least one label other than -100"
    )]
    NoTarget {
        /// Line or record, from 1.
        record: u64,
    },
    /// A token the model does not have.
    #[error(
        "record {record} has token {token}, but the model's vocabulary has {vocabulary} entries; do tokenizer and model \
         belong together?"
    )]
    Token {
        /// Line or record, from 1.
        record: u64,
        /// The token id.
        token: u32,
        /// Entries of the model's vocabulary.
        vocabulary: usize,
    },
    /// The method compares what the row does not hold.
    #[error("record {record} has no {missing}, which the method compares its answer with")]
    NothingToCompare {
        /// Line or record, from 1.
        record: u64,
        /// `rejected answer` or `mismatched answer`.
        missing: &'static str,
    },
    /// A target has a weight, which no method takes into account yet.
    #[error("record {record} has a target of weight {weight}, but only weight 1 is supported")]
    Weight {
        /// Line or record, from 1.
        record: u64,
        /// The weight.
        weight: String,
    },
}

/// Which sequences of each row are packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// The answers that a method on rows of this kind computes a loss on.
    Answers(RowKind),
    /// The prompt with another row's answer.
    Mismatched,
}

impl Part {
    /// How many sequences of a row are packed.
    pub fn answers(self) -> usize {
        match self {
            Self::Answers(kind) => kind.answers(),
            Self::Mismatched => 1,
        }
    }

    /// A row's sequences.
    pub fn of(self, row: &Row) -> Result<&[Sequence], RowError> {
        let (sequences, missing) = match self {
            Self::Answers(kind) => (row.answers().get(..kind.answers()), "rejected answer"),
            Self::Mismatched => (row.mismatched().map(slice::from_ref), "mismatched answer"),
        };
        sequences.ok_or(RowError::NothingToCompare { record: row.record, missing })
    }

    /// Tokens of the sequences that are packed; 0 for what a row does not hold.
    pub fn tokens(self, row: &Row) -> usize {
        self.of(row).map_or(0, |sequences| sequences.iter().map(Sequence::len).sum())
    }
}

/// One sequence's targets and where their predictions lie.
pub(crate) struct AnswerTargets {
    /// Positions of the targets in the sequence, increasing, the first at least 1.
    pub positions: Vec<usize>,
    /// For each target its index among the scores of the micro-batch.
    pub scores: Vec<usize>,
    /// For each target the packed index in the continuation where it is an input, if it is one.
    pub inputs: Vec<Option<usize>>,
}

/// Packed rows. Scores come in the order of `prompt_positions` (first, then second) and
/// `continuation_positions`.
#[derive(Default)]
pub(crate) struct MicroBatch {
    /// Whole rows, or only prompts if there are continuations: one for each row.
    pub prompts: Sequences,
    /// What follows the prompts, one for each answer; empty unless asked for.
    pub continuations: Sequences,
    /// Packed indices in `prompts` that predict targets of each row's first sequence, and of its
    /// second: the same hidden state predicts the first target of both sides of a pair.
    pub prompt_positions: [Vec<usize>; 2],
    /// Packed indices in `continuations` that predict targets.
    pub continuation_positions: Vec<usize>,
    /// The targets in the order of their scores.
    pub targets: Vec<u32>,
    /// One entry for each sequence, row by row.
    pub answers: Vec<AnswerTargets>,
}

/// Where a score lies before the three lists of them are laid end to end.
struct Score {
    list: usize,
    index: usize,
}

impl MicroBatch {
    /// Packs rows. With `split`, or where a row has several sequences, what follows each prompt
    /// becomes a continuation.
    pub fn new(
        rows: &[&Row],
        vocabulary: usize,
        part: Part,
        split: bool,
    ) -> Result<Self, RowError> {
        let split = split || part.answers() > 1;
        let mut batch = Self::default();
        let mut targets: [Vec<u32>; 3] = Default::default();
        let mut scores: Vec<Vec<Score>> = Vec::new();
        for row in rows {
            let sequences = part.of(row)?;
            let positions = sequences
                .iter()
                .map(|sequence| scored_positions(row.record, sequence, vocabulary))
                .collect::<Result<Vec<_>, _>>()?;
            let cut = if split { shared(sequences, &positions) } else { last(&positions[0]) };
            let prompt_start = batch.prompts.tokens.len();
            batch.prompts.push(&sequences[0].tokens()[..cut]);
            for (side, (sequence, positions)) in sequences.iter().zip(positions).enumerate() {
                let tokens = sequence.tokens();
                let (start, last) = (batch.continuations.tokens.len(), last(&positions));
                if split {
                    batch.continuations.push_after(&tokens[cut..last], prompt_start, cut);
                }
                let mut places = Vec::with_capacity(positions.len());
                for &t in &positions {
                    let (list, indices, at) = if t > cut {
                        (2, &mut batch.continuation_positions, start + t - 1 - cut)
                    } else {
                        (side, &mut batch.prompt_positions[side], prompt_start + t - 1)
                    };
                    places.push(Score { list, index: indices.len() });
                    indices.push(at);
                    targets[list].push(tokens[t]);
                }
                let input = |&t: &usize| (split && t >= cut && t < last).then(|| start + t - cut);
                let inputs = positions.iter().map(input).collect();
                batch.answers.push(AnswerTargets { positions, scores: Vec::new(), inputs });
                scores.push(places);
            }
        }
        let [first, second] = [0, 1].map(|side: usize| batch.prompt_positions[side].len());
        let before = [0, first, first + second];
        for (answer, places) in batch.answers.iter_mut().zip(scores) {
            answer.scores = places.iter().map(|score| before[score.list] + score.index).collect();
        }
        batch.targets = targets.concat();
        Ok(batch)
    }

    /// Values in the order of the scores, for each answer in the order of its targets.
    pub fn by_answer<T: Copy>(&self, values: &[T]) -> Vec<Vec<T>> {
        self.answers
            .iter()
            .map(|answer| answer.scores.iter().map(|&i| values[i]).collect())
            .collect()
    }

    /// The inverse of [`MicroBatch::by_answer`].
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

fn last(positions: &[usize]) -> usize {
    positions.last().copied().unwrap_or_default()
}

/// How many tokens the sequences of a row have in common, up to the first target of any of them:
/// their prompt.
fn shared(sequences: &[Sequence], positions: &[Vec<usize>]) -> usize {
    let first = positions.iter().filter_map(|p| p.first()).copied().min().unwrap_or_default();
    let tokens = sequences[0].tokens();
    let same = |other: &[u32]| tokens.iter().zip(other).take_while(|(a, b)| a == b).count();
    sequences[1..].iter().map(|other| same(other.tokens())).fold(first, usize::min)
}

/// Positions of the targets that have something before them.
fn scored_positions(
    record: u64,
    sequence: &Sequence,
    vocabulary: usize,
) -> Result<Vec<usize>, RowError> {
    if let Some(&token) = sequence.tokens().iter().find(|&&t| t as usize >= vocabulary) {
        return Err(RowError::Token { record, token, vocabulary });
    }
    if let Some((_, weight)) = sequence.targets().find(|&(_, weight)| weight != 1.0) {
        return Err(RowError::Weight { record, weight: weight.to_string() });
    }
    let positions: Vec<usize> = sequence.targets().map(|(position, _)| position).collect();
    if positions.is_empty() {
        return Err(RowError::NoTarget { record });
    }
    Ok(positions)
}

/// Cuts rows of these lengths, in their order, into runs of at most `budget` tokens; a longer row
/// is a run of its own.
pub(crate) fn runs(lengths: impl Iterator<Item = usize>, budget: usize) -> Vec<Range<usize>> {
    let mut runs: Vec<Range<usize>> = Vec::new();
    let mut tokens = 0;
    for (i, length) in lengths.enumerate() {
        tokens += length;
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
    const FIRST: Part = Part::Answers(RowKind::Demonstration);
    const BOTH: Part = Part::Answers(RowKind::Pair);

    fn sequence(tokens: &[u32], targets: &[usize]) -> Sequence {
        let targets: Vec<bool> = (0..tokens.len()).map(|t| targets.contains(&t)).collect();
        Sequence::masked(tokens.to_vec(), &targets)
    }

    fn row(tokens: &[u32], targets: &[usize]) -> Row {
        Row::demonstration(sequence(tokens, targets)).at(0, 7)
    }

    fn pair(chosen: (&[u32], &[usize]), rejected: (&[u32], &[usize])) -> Row {
        Row::pair(sequence(chosen.0, chosen.1), sequence(rejected.0, rejected.1)).at(0, 7)
    }

    #[test]
    fn a_row_is_cut_before_its_first_target_and_ends_before_its_last() {
        let rows = [row(&[1, 2, 3, 4, 5, 6, 7], &[2, 3, 5]), row(&[8, 9], &[0, 1])];
        let batch = MicroBatch::new(&rows.iter().collect::<Vec<_>>(), 10, FIRST, true).unwrap();
        assert_eq!(batch.prompts.tokens, [1, 2, 8]);
        assert_eq!(batch.continuations.tokens, [3, 4, 5]);
        assert_eq!(batch.prompt_positions, [vec![1, 2], vec![]]);
        assert_eq!(batch.continuation_positions, [0, 2]);
        assert_eq!(batch.targets, [3, 9, 4, 6]);
        assert_eq!(batch.answers[0].positions, [2, 3, 5]);
        assert_eq!(batch.answers[0].scores, [0, 2, 3]);
        assert_eq!(batch.answers[0].inputs, [Some(0), Some(1), None]);
        assert_eq!(
            (&batch.answers[1].scores[..], &batch.answers[1].inputs[..]),
            (&[1][..], &[None][..])
        );
        let values = batch.by_answer(&[0.0, 1.0, 2.0, 3.0]);
        assert_eq!(values, [vec![0.0, 2.0, 3.0], vec![1.0]]);
        assert_eq!(batch.by_score(values.iter().map(Vec::as_slice)), [0.0, 1.0, 2.0, 3.0]);
    }

    #[test]
    fn unsplit_rows_are_prompts() {
        let rows = [row(&[1, 2, 3, 4, 5], &[1, 3])];
        let batch = MicroBatch::new(&[&rows[0]], 10, FIRST, false).unwrap();
        assert_eq!(batch.prompts.tokens, [1, 2, 3]);
        assert_eq!(batch.prompt_positions, [vec![0, 2], vec![]]);
        assert_eq!(batch.targets, [2, 4]);
        assert!(batch.continuations.tokens.is_empty() && batch.continuation_positions.is_empty());
    }

    #[test]
    fn a_pair_shares_its_prompt_and_the_state_that_predicts_both_answers() {
        let rows = [
            pair((&[1, 2, 3, 4], &[2, 3]), (&[1, 2, 5], &[2])),
            pair((&[6, 1, 2], &[1, 2]), (&[6, 3, 4, 5], &[1, 2, 3])),
        ];
        let batch = MicroBatch::new(&rows.iter().collect::<Vec<_>>(), 10, BOTH, false).unwrap();
        assert_eq!(batch.prompts.tokens, [1, 2, 6]);
        assert_eq!(batch.continuations.tokens, [3, 1, 3, 4]);
        assert_eq!(
            batch.continuations.rows.iter().map(|r| r.len).collect::<Vec<_>>(),
            [1, 0, 1, 2]
        );
        assert_eq!(batch.prompt_positions, [vec![1, 2], vec![1, 2]]);
        assert_eq!(batch.continuation_positions, [0, 1, 2, 3]);
        assert_eq!(batch.targets, [3, 1, 5, 3, 4, 2, 4, 5]);
        let scores: Vec<_> = batch.answers.iter().map(|a| a.scores.clone()).collect();
        assert_eq!(scores, [vec![0, 4], vec![2], vec![1, 5], vec![3, 6, 7]]);
    }

    #[test]
    fn a_pair_that_differs_before_its_answers_shares_less() {
        let rows = [pair((&[1, 2, 3, 4, 5], &[3, 4]), (&[1, 9, 3, 4], &[3]))];
        let batch = MicroBatch::new(&[&rows[0]], 10, BOTH, false).unwrap();
        assert_eq!(batch.prompts.tokens, [1]);
        assert_eq!(batch.continuations.tokens, [2, 3, 4, 9, 3]);
        assert_eq!(
            (&batch.prompt_positions, &batch.targets[..]),
            (&[vec![], vec![]], &[4, 5, 4][..])
        );
        assert_eq!(batch.continuation_positions, [1, 2, 4]);
    }

    #[test]
    fn rows_that_cannot_be_trained_on_are_named() {
        let new =
            |row: &Row, part| MicroBatch::new(&[row], 10, part, false).err().unwrap().to_string();
        let error = new(&row(&[1, 2, 3], &[0]), FIRST);
        assert!(error.starts_with("record 7 has no target after its first token"), "{error}");
        let error = new(&row(&[1, 10], &[1]), FIRST);
        assert!(error.contains("token 10") && error.contains("10 entries"), "{error}");
        let error = new(&row(&[1, 2], &[1]), BOTH);
        assert!(error.contains("record 7 has no rejected answer"), "{error}");
        let error = new(&row(&[1, 2], &[1]), Part::Mismatched);
        assert!(error.contains("record 7 has no mismatched answer"), "{error}");
        let weighted = Sequence::weighted(vec![1, 2, 3], &[0.0, 1.0, 0.5]);
        let error = new(&Row::demonstration(weighted).at(0, 7), FIRST);
        assert!(error.contains("record 7 has a target of weight 0.5"), "{error}");
    }

    #[test]
    fn runs_respect_the_budget() {
        let lengths = || [3, 3, 3, 9, 1].into_iter();
        assert_eq!(runs(lengths(), 6), [0..2, 2..3, 3..4, 4..5]);
        assert_eq!(runs(lengths(), 100).first(), Some(&(0..5)));
        assert!(runs(std::iter::empty(), 6).is_empty());
    }
}
