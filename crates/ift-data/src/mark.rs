//! From turns in the text to weights of tokens.

use crate::turns::Turn;

/// The weight of each token, `[length]`: that of the turn if the token contains a byte of one, else
/// 0. `offsets` are the byte ranges of the tokens in the text; an empty range (a prefix that the
/// tokenizer adds) belongs to the token after it. Only the first `read` bytes of the text have
/// tokens. The offsets are checked: they must not decrease, and every turn in these bytes must end
/// with a token, which is that of `end_id` if the turn ends with a token.
pub(crate) fn mark(
    tokens: &[u32],
    offsets: &[(usize, usize)],
    turns: &[Turn],
    read: usize,
    end_id: impl Fn(&str) -> Option<u32>,
) -> Result<Vec<f32>, &'static str> {
    if offsets.windows(2).any(|pair| pair[1].0 < pair[0].0) {
        return Err("reports token offsets that decrease, so targets cannot be found");
    }
    let mut weights = vec![0.0; offsets.len()];
    for turn in turns {
        let span = &turn.bytes;
        let end = offsets.partition_point(|&(from, _)| from < span.end);
        let mut start = offsets.partition_point(|&(from, _)| from < span.start);
        while start > 0 && offsets[start - 1].1 > span.start {
            start -= 1;
        }
        weights[start..end].fill(turn.weight);
        if span.end > read {
            continue;
        }
        let fits = end > start && offsets[end - 1].1 >= span.end && {
            let id = turn.end_token.as_deref().and_then(&end_id);
            id.is_none_or(|id| id == tokens[end - 1])
        };
        if !fits {
            return Err(
                "reports token offsets that do not match the end of an assistant's turn, so \
                 targets cannot be found",
            );
        }
    }
    Ok(weights)
}
