//! Sequences to be scored, and what can be wrong with them.

/// A sequence to be scored: the prompt followed by the answer's tokens. Only the tokens at
/// `targets` are scored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer<'a> {
    /// Token ids of the prompt and then of the answer.
    pub tokens: &'a [u32],
    /// The scored positions: indices in `tokens`, increasing, each at least 1. The token at each is
    /// a target, whose log-probability is computed.
    pub targets: Vec<usize>,
}

/// A group that cannot be packed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("answer {} of group {}: {fault}", answer + 1, group + 1)]
pub struct PackError {
    /// Index of the group.
    pub group: usize,
    /// Index of the answer in its group.
    pub answer: usize,
    /// What is wrong with it.
    pub fault: PackFault,
}

/// What is wrong with an answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PackFault {
    /// There is nothing to score.
    #[error("no target, expected at least one after the first token")]
    NoTarget,
    /// A target that no token predicts, or out of order.
    #[error(
        "target at position {position} of {tokens} tokens, expected increasing positions from 1 on"
    )]
    Position {
        /// Position of the target.
        position: usize,
        /// Length of the sequence.
        tokens: usize,
    },
    /// A token that the model does not have.
    #[error(
        "token {token}, but the model's vocabulary has {vocabulary} entries; do tokenizer and \
         model belong together?"
    )]
    Token {
        /// The token id.
        token: u32,
        /// Entries of the model's vocabulary.
        vocabulary: usize,
    },
}

/// Checks every answer of every group.
pub(crate) fn check(groups: &[Vec<Answer>], vocabulary: usize) -> Result<(), PackError> {
    for (group, answers) in groups.iter().enumerate() {
        for (answer, found) in answers.iter().enumerate() {
            fault(found, vocabulary).map_err(|fault| PackError { group, answer, fault })?;
        }
    }
    Ok(())
}

fn fault(answer: &Answer, vocabulary: usize) -> Result<(), PackFault> {
    let Answer { tokens, targets } = answer;
    if let Some(&token) = tokens.iter().find(|&&t| t as usize >= vocabulary) {
        return Err(PackFault::Token { token, vocabulary });
    }
    let mut before = 0;
    for &position in targets {
        if position <= before || position >= tokens.len() {
            return Err(PackFault::Position { position, tokens: tokens.len() });
        }
        before = position;
    }
    if targets.is_empty() { Err(PackFault::NoTarget) } else { Ok(()) }
}
