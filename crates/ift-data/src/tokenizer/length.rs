//! Texts that are far too long, so that they are not worth being tokenised.

use tokenizers::{ModelWrapper, Tokenizer};

use super::ChatTokenizer;
use crate::error::DataError;

impl ChatTokenizer {
    /// A length of text in bytes that certainly has more than `tokens` tokens, and the tokens that
    /// begin it do not depend on what follows: four times the longest token for each. `None` if one
    /// token can stand for any length of text.
    pub(crate) fn bytes_beyond(&self, tokens: usize) -> Option<usize> {
        self.longest_token.map(|longest| longest.saturating_mul(4).saturating_mul(tokens))
    }

    /// About how many tokens `bytes` bytes of text have that begin with `sample`.
    pub(crate) fn estimate_tokens(&self, sample: &str, bytes: usize) -> Result<usize, DataError> {
        let tokens = self.encode(sample)?.len();
        Ok((tokens as f64 * bytes as f64 / sample.len().max(1) as f64) as usize)
    }
}

/// The first `limit` bytes of a text, or up to three fewer, so that no character is cut.
pub(crate) fn beginning(text: &str, limit: usize) -> &str {
    let mut end = limit.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// The length in bytes of the longest token; `None` if an unknown token can stand for any length.
pub(super) fn longest_token(tokenizer: &Tokenizer) -> Option<usize> {
    let ModelWrapper::BPE(model) = tokenizer.get_model() else { return None };
    let bounded = model.unk_token.is_none() || model.byte_fallback || !model.fuse_unk;
    let vocabulary = bounded.then(|| tokenizer.get_vocab(true))?;
    vocabulary.keys().map(String::len).max()
}
