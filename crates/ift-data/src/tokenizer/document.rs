//! Documents of plain text.

use super::ChatTokenizer;
use crate::config::Bos;
use crate::error::DataError;

impl ChatTokenizer {
    /// Tokens of a document of plain text, with a BOS token as `bos` says, and with `end` ended by
    /// the EOS token, once: not if the text or the post-processor ends with it.
    ///
    /// # Errors
    /// When the tokenizer fails or lacks a token that is wanted, or the tokens begin with two BOS
    /// tokens.
    pub fn encode_document(&self, text: &str, bos: Bos, end: bool) -> Result<Vec<u32>, DataError> {
        let mut tokens = self.encode_plain(text, true)?;
        let absent = |field, name: &str, or: &str| {
            let problem = format!(
                "the tokenizer has no `{name}`; name one in `tokenizer_config.json`, or set {or}"
            );
            DataError::Config { field, problem }
        };
        match bos {
            Bos::Auto => {}
            Bos::Always => {
                let bos =
                    self.bos_id().ok_or_else(|| absent("bos", "bos_token", "it to \"auto\""))?;
                if tokens.first() != Some(&bos) {
                    tokens.insert(0, bos);
                }
            }
            Bos::Never => {
                let bos = self.bos_id();
                let own = self.special.get("bos_token").is_some_and(|bos| text.starts_with(bos));
                if !own && bos.is_some() && tokens.first().copied() == bos {
                    tokens.remove(0);
                }
            }
        }
        let cause = "the tokenizer adds one and the text begins with another; remove it from the \
                     data";
        self.check_bos(&tokens, || cause.to_owned())?;
        if end {
            let eos = self.eos_id();
            let eos = eos.ok_or_else(|| absent("end_of_text", "eos_token", "it to false"))?;
            if tokens.last() != Some(&eos) {
                tokens.push(eos);
            }
        }
        Ok(tokens)
    }
}
