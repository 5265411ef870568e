//! Training rows: sequences of tokens with their targets, and how the sequences are compared.

use std::hash::{Hash, Hasher};

use ift_methods::RowKind;

/// Token ids, and which of them are targets, each with a weight.
///
/// Targets are stored as ranges, because they come in runs: an answer, or a whole text.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Sequence {
    tokens: Vec<u32>,
    /// In order, none empty, none overlapping another or the end.
    spans: Vec<Span>,
}

/// Targets that follow each other and have the same weight.
#[derive(Clone, Copy, Debug)]
struct Span {
    start: u32,
    end: u32,
    weight: f32,
}

impl Span {
    /// The weight by its bits, so that equality and hash agree.
    fn key(self) -> (u32, u32, u32) {
        (self.start, self.end, self.weight.to_bits())
    }
}

impl PartialEq for Span {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Span {}

impl Hash for Span {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key().hash(state);
    }
}

impl Sequence {
    /// Tokens with the weight of each as a target, `[length]` both; 0 for a token that is no
    /// target. Missing weights count as 0, surplus ones are ignored.
    pub fn weighted(tokens: Vec<u32>, weights: &[f32]) -> Self {
        let length = tokens.len().min(weights.len());
        let mut spans = Vec::new();
        let mut start = 0;
        for run in weights[..length].chunk_by(|a, b| a.to_bits() == b.to_bits()) {
            let end = start + run.len();
            if run[0] != 0.0 {
                spans.push(Span { start: start as u32, end: end as u32, weight: run[0] });
            }
            start = end;
        }
        Self { tokens, spans }
    }

    /// Tokens with their targets, `[length]` both; every target has weight 1.
    pub fn masked(tokens: Vec<u32>, targets: &[bool]) -> Self {
        let weights: Vec<f32> = targets.iter().map(|&target| f32::from(target)).collect();
        Self::weighted(tokens, &weights)
    }

    /// Token ids, `[length]`.
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// Number of tokens.
    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Whether there is no token.
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    /// Position and weight of each target that has a token before it, in order. A target at
    /// position 0 is never scored, because nothing predicts it.
    pub fn targets(&self) -> impl Iterator<Item = (usize, f32)> {
        self.spans.iter().flat_map(|span| {
            (span.start.max(1)..span.end).map(|position| (position as usize, span.weight))
        })
    }

    /// Number of [`targets`](Self::targets).
    pub fn target_count(&self) -> usize {
        self.spans.iter().map(|span| (span.start.max(1)..span.end).len()).sum()
    }

    /// Position of the first target, at position 0 too; the length without one.
    pub(crate) fn prompt_len(&self) -> usize {
        self.spans.first().map_or(self.tokens.len(), |span| span.start as usize)
    }

    /// The prompt of this sequence, followed by everything after the prompt of another one.
    pub(crate) fn prompt_with_answer_of(&self, other: &Self) -> Self {
        let (end, start) = (self.prompt_len(), other.prompt_len());
        let tokens = [&self.tokens[..end], &other.tokens[start..]].concat();
        let moved = |position: u32| (position as usize - start + end) as u32;
        let spans = other.spans.iter().map(|span| Span {
            start: moved(span.start),
            end: moved(span.end),
            ..*span
        });
        Self { tokens, spans: spans.collect() }
    }

    /// The first `length` tokens.
    pub(crate) fn truncate(&mut self, length: usize) {
        self.tokens.truncate(length);
        self.spans.retain_mut(|span| {
            span.end = span.end.min(self.tokens.len() as u32);
            span.start < span.end
        });
    }

    /// Writes an injective encoding for hashing: two sequences have the same bytes only if they are
    /// equal.
    pub(crate) fn write_identity(&self, mut write: impl FnMut(&[u8])) {
        write(&(self.tokens.len() as u64).to_le_bytes());
        write(&(self.spans.len() as u64).to_le_bytes());
        let tokens: Vec<u8> = self.tokens.iter().flat_map(|token| token.to_le_bytes()).collect();
        write(&tokens);
        for span in &self.spans {
            let (start, end, weight) = span.key();
            for number in [start, end, weight] {
                write(&number.to_le_bytes());
            }
        }
    }
}

/// One training row: the sequences that a method compares, and where they come from.
///
/// ```
/// use ift_data::{Row, Sequence};
///
/// // Token 1 is the prompt, 5 and 2 answer it.
/// let chosen = Sequence::masked(vec![1, 5, 2], &[false, true, true]);
/// let rejected = Sequence::masked(vec![1, 6], &[false, true]);
/// let row = Row::pair(chosen, rejected);
/// assert_eq!(row.answers().len(), 2);
/// assert_eq!(row.len_tokens(), 5);
/// let targets: Vec<_> = row.answer().targets().collect();
/// assert_eq!(targets, [(1, 1.0), (2, 1.0)]);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Row {
    /// Index of the file in [`crate::Report::files`].
    pub source: u32,
    /// Line or record in that file, from 1.
    pub record: u64,
    kind: RowKind,
    desirable: bool,
    /// The answers, then the mismatched sequence of a judged row.
    sequences: Vec<Sequence>,
}

impl Row {
    /// A piece of plain text; `source` and `record` are 0, as in all of these functions.
    pub fn text(sequence: Sequence) -> Self {
        Self::new(RowKind::Text, vec![sequence])
    }

    /// A conversation to imitate.
    pub fn demonstration(sequence: Sequence) -> Self {
        Self::new(RowKind::Demonstration, vec![sequence])
    }

    /// Two answers to one prompt, each with the prompt.
    pub fn pair(chosen: Sequence, rejected: Sequence) -> Self {
        Self::new(RowKind::Pair, vec![chosen, rejected])
    }

    /// A judged answer with its prompt, and the same prompt with the answer of another row.
    pub fn judged(answer: Sequence, mismatched: Sequence, desirable: bool) -> Self {
        Self { desirable, ..Self::new(RowKind::Judged, vec![answer, mismatched]) }
    }

    /// A judged answer that [`set_mismatched`](Self::set_mismatched) is still to complete.
    pub(crate) fn judged_without_mismatch(answer: Sequence, desirable: bool) -> Self {
        Self { desirable, ..Self::new(RowKind::Judged, vec![answer]) }
    }

    fn new(kind: RowKind, sequences: Vec<Sequence>) -> Self {
        Self { source: 0, record: 0, kind, desirable: true, sequences }
    }

    /// The row, with the file and the record that it comes from.
    #[must_use]
    pub fn at(self, source: u32, record: u64) -> Self {
        Self { source, record, ..self }
    }

    pub(crate) fn set_mismatched(&mut self, mismatched: Sequence) {
        self.sequences.truncate(1);
        self.sequences.push(mismatched);
    }

    /// How the sequences are compared.
    pub fn kind(&self) -> RowKind {
        self.kind
    }

    /// Whether the first sequence is an answer to imitate: false only for an answer that was
    /// judged undesirable.
    pub fn is_desirable(&self) -> bool {
        self.desirable
    }

    /// All sequences: the answers, then the mismatched sequence of a judged row.
    pub fn sequences(&self) -> &[Sequence] {
        &self.sequences
    }

    /// The sequences that have a loss: one, or of a pair the chosen and the rejected one.
    pub fn answers(&self) -> &[Sequence] {
        &self.sequences[..self.kind.answers()]
    }

    /// The first sequence: the demonstration, the chosen answer or the judged one, each with its
    /// prompt.
    pub fn answer(&self) -> &Sequence {
        &self.sequences[0]
    }

    /// Of a judged row, its prompt with the answer of another row. The KL divergence that KTO
    /// compares rewards with is estimated on these (arXiv 2402.01306).
    pub fn mismatched(&self) -> Option<&Sequence> {
        self.sequences.get(self.kind.answers())
    }

    /// Number of tokens in [`answers`](Self::answers).
    pub fn len_tokens(&self) -> usize {
        self.answers().iter().map(Sequence::len).sum()
    }

    /// Number of scored targets in [`answers`](Self::answers).
    pub(crate) fn target_count(&self) -> usize {
        self.answers().iter().map(Sequence::target_count).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sequence(length: u32, targets: &[usize]) -> Sequence {
        let mask: Vec<bool> = (0..length as usize).map(|t| targets.contains(&t)).collect();
        Sequence::masked((0..length).collect(), &mask)
    }

    fn positions(sequence: &Sequence) -> Vec<usize> {
        sequence.targets().map(|(position, _)| position).collect()
    }

    #[test]
    fn targets_come_back_without_the_one_that_nothing_predicts() {
        for targets in [&[][..], &[0], &[1], &[0, 1, 2], &[2, 5], &[0, 3, 4, 5]] {
            let sequence = sequence(6, targets);
            let scored: Vec<usize> = targets.iter().copied().filter(|&t| t > 0).collect();
            assert_eq!(positions(&sequence), scored);
            assert_eq!(sequence.target_count(), scored.len());
            assert_eq!(sequence.prompt_len(), targets.first().copied().unwrap_or(6));
        }
        let weights = [0.0, 1.0, 0.5, 0.5, 0.0, 2.0];
        let weighted = Sequence::weighted(vec![7; 6], &weights);
        let found: Vec<_> = weighted.targets().collect();
        assert_eq!(found, [(1, 1.0), (2, 0.5), (3, 0.5), (5, 2.0)]);
        assert_ne!(weighted, Sequence::masked(vec![7; 6], &weights.map(|weight| weight != 0.0)));
    }

    #[test]
    fn weights_and_tokens_may_differ_in_number() {
        assert_eq!(positions(&Sequence::masked(vec![1, 2], &[true; 5])), [1]);
        assert_eq!(positions(&Sequence::masked(vec![1, 2, 3], &[false, true])), [1]);
        assert_eq!(Sequence::masked(Vec::new(), &[true]), Sequence::default());
    }

    #[test]
    fn a_cut_ends_tokens_and_targets() {
        let mut cut = sequence(6, &[1, 4, 5]);
        cut.truncate(5);
        assert_eq!((cut.len(), positions(&cut)), (5, vec![1, 4]));
        cut.truncate(4);
        assert_eq!((cut.len(), positions(&cut)), (4, vec![1]));
    }

    #[test]
    fn an_answer_moves_to_another_prompt_with_its_targets() {
        let (row, other) = (sequence(3, &[2]), sequence(6, &[1, 2, 4]));
        let moved = row.prompt_with_answer_of(&other);
        assert_eq!(moved.tokens(), [0, 1, 1, 2, 3, 4, 5]);
        assert_eq!(positions(&moved), [2, 3, 5]);
    }

    #[test]
    fn lengths_count_both_sides_of_a_pair_and_no_mismatched_answer() {
        let (answer, other) = (sequence(3, &[1, 2]), sequence(2, &[0, 1]));
        let pair = Row::pair(answer.clone(), other.clone());
        assert_eq!((pair.len_tokens(), pair.target_count()), (5, 3));
        assert_eq!(pair.mismatched(), None);
        let judged = Row::judged(answer.clone(), other.clone(), true);
        assert_eq!((judged.len_tokens(), judged.target_count()), (3, 2));
        assert_eq!((judged.answer(), judged.mismatched()), (&answer, Some(&other)));
    }
}
