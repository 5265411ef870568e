//! Texts that are far too long, so that they are not worth being tokenised.

use tokenizers::{ModelWrapper, Tokenizer};

use super::ChatTokenizer;
use crate::error::DataError;

/// Longest text without white space that is tokenised, in bytes. Most tokenizers merge the
/// characters of a word all at once, which takes about 200 bytes of memory for each.
const LONGEST_WORD: usize = 4 << 20;

/// Checks that no word is so long that tokenising it would take much memory.
///
/// # Errors
/// With the length of the first such word.
pub(super) fn check_words(text: &str) -> Result<(), DataError> {
    if text.len() <= LONGEST_WORD {
        return Ok(());
    }
    let longer = text.split(char::is_whitespace).find(|word| word.len() > LONGEST_WORD);
    longer.map_or(Ok(()), |word| {
        Err(DataError::Malformed(format!(
            "a text with {} bytes without white space, at most {LONGEST_WORD} are tokenised; \
             divide it, or remove the record",
            word.len()
        )))
    })
}

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

#[cfg(test)]
mod tests {
    use super::{LONGEST_WORD, check_words};

    #[test]
    fn a_long_text_may_consist_of_words_up_to_the_limit() {
        let word = "a".repeat(LONGEST_WORD);
        assert!(check_words(&format!("{word} {word}\u{3000}{word}")).is_ok());
        let error = check_words(&format!("b {word}a c")).unwrap_err().to_string();
        assert!(error.contains("4194305 bytes without white space"), "{error}");
    }
}
