//! Judged answers: their order, and the mismatched sequence of each.
//!
//! KTO subtracts an estimate of the KL divergence between policy and reference from its rewards. It
//! is estimated on mismatched sequences: the prompt of one row with the answer of another. Other
//! trainers take the answer of the previous row of the batch; here it is the previous row of the
//! data set, so that it does not depend on the batch.

use crate::rows::Row;

/// The problem with a single judged row.
pub(crate) const TOO_FEW: &str = "holds one judged answer, expected at least two: KTO combines \
                                  each prompt with the answer of another row";

/// Moves the desirable rows to the front, otherwise keeping the order, and gives each row its
/// mismatched sequence: its prompt with the answer of the nearest row before it that has another
/// prompt. The search wraps around from the first row to the last. Cut at `max_length` tokens.
pub(crate) fn assign_mismatched(rows: &mut [Row], max_length: usize) {
    rows.sort_by_key(|row| !row.is_desirable());
    for (i, source) in source_rows(rows).into_iter().enumerate() {
        let mut mismatched = rows[i].answer().prompt_with_answer_of(rows[source].answer());
        mismatched.truncate(max_length);
        rows[i].set_mismatched(mismatched);
    }
}

/// For each row the index of its source row, whose answer it takes.
fn source_rows(rows: &[Row]) -> Vec<usize> {
    let count = rows.len();
    let before = |i: usize| (i + count - 1) % count;
    let mut sources: Vec<usize> = (0..count).map(before).collect();
    let differs = |i: usize| prompt(&rows[i]) != prompt(&rows[before(i)]);
    // A row whose predecessor has the same prompt takes the source row of its predecessor.
    // Starting at a change of prompt, that source row is already known.
    if let Some(first) = (0..count).find(|&i| differs(i)) {
        for i in (first..count).chain(0..first) {
            if !differs(i) {
                sources[i] = sources[before(i)];
            }
        }
    }
    sources
}

fn prompt(row: &Row) -> &[u32] {
    let answer = row.answer();
    &answer.tokens()[..answer.prompt_len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::Sequence;

    /// A row with a prompt and an answer of one token each.
    fn row(prompt: u32, answer: u32) -> Row {
        let sequence = Sequence::masked(vec![prompt, answer], &[false, true]);
        Row::judged_without_mismatch(sequence, answer.is_multiple_of(2))
    }

    /// Prompts and mismatched answers, in order.
    fn mismatched(mut rows: Vec<Row>) -> Vec<(u32, u32)> {
        assign_mismatched(&mut rows, 2);
        let sequences = rows.iter().filter_map(Row::mismatched);
        sequences.map(|s| (s.tokens()[0], s.tokens()[1])).collect()
    }

    #[test]
    fn an_answer_comes_from_the_nearest_row_before_with_another_prompt() {
        let rows = vec![row(1, 10), row(2, 20), row(2, 22), row(2, 24), row(1, 12)];
        assert_eq!(mismatched(rows), [(1, 24), (2, 10), (2, 10), (2, 10), (1, 24)]);
        // The first row goes back beyond the last one where that has its prompt.
        let rows = vec![row(1, 10), row(1, 12), row(2, 20), row(1, 14)];
        assert_eq!(mismatched(rows), [(1, 20), (1, 20), (2, 12), (1, 20)]);
    }

    #[test]
    fn with_one_prompt_only_the_row_before_has_to_do() {
        assert_eq!(
            mismatched(vec![row(1, 10), row(1, 12), row(1, 14)]),
            [(1, 14), (1, 10), (1, 12)]
        );
    }

    #[test]
    fn desirable_rows_come_first_in_their_order() {
        let rows = vec![row(1, 11), row(2, 20), row(3, 31), row(4, 40)];
        assert_eq!(mismatched(rows), [(2, 31), (4, 20), (1, 40), (3, 11)]);
    }
}
