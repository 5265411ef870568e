//! The special tokens of a Hugging Face tokenizer folder.
//!
//! transformers reads `tokenizer_config.json` next to `tokenizer.json` and adds the tokens that the
//! latter lacks. Text is split at special tokens, so token ids depend on it. The same is done here,
//! in the same order.

use std::path::Path;

use serde_json::{Map, Value};
use tokenizers::{AddedToken, Tokenizer};

use crate::error::DataError;

/// The keys that name one token each.
pub(crate) const NAMED: [&str; 7] =
    ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];
/// The keys that list further tokens; the second is the newer name.
const LISTS: [&str; 2] = ["additional_special_tokens", "extra_special_tokens"];

/// The special tokens that the configuration names, by key.
#[derive(Clone, Debug, Default)]
pub(crate) struct SpecialTokens {
    named: Vec<(&'static str, String)>,
    extra: Vec<String>,
    /// The tokens that were added to those of `tokenizer.json`, or got other flags.
    pub added: Vec<String>,
}

impl SpecialTokens {
    /// Reads the special tokens and adds those that the tokenizer lacks.
    ///
    /// # Errors
    /// When a token is neither a string nor an object with `content`, or would get another id than
    /// the file says.
    pub fn install(
        path: &Path,
        config: &Map<String, Value>,
        fallback: &Map<String, Value>,
        tokenizer: &mut Tokenizer,
    ) -> Result<Self, DataError> {
        let fault = |problem: String| DataError::Tokenizer { path: path.to_owned(), problem };
        let setting =
            |key: &str| config.get(key).or_else(|| fallback.get(key)).filter(|v| !v.is_null());
        let mut add = added_tokens_decoder(config, tokenizer).map_err(fault)?;
        let mut found = Self::default();
        for key in NAMED {
            let Some(value) = setting(key) else { continue };
            let token = added_token(value, true).map_err(|e| fault(format!("`{key}`: {e}")))?;
            found.named.push((key, token.content.clone()));
            add_if_missing(&mut add, token, tokenizer);
        }
        for key in LISTS {
            let values: Vec<&Value> = match setting(key) {
                Some(Value::Array(values)) => values.iter().collect(),
                Some(Value::Object(values)) => values.values().collect(),
                _ => continue,
            };
            for value in values {
                let token = added_token(value, true).map_err(|e| fault(format!("`{key}`: {e}")))?;
                found.extra.push(token.content.clone());
                add_if_missing(&mut add, token, tokenizer);
            }
        }
        found.added = add.iter().map(|(_, token)| token.content.clone()).collect();
        let wanted: Vec<_> = add.iter().map(|(id, token)| (*id, token.content.clone())).collect();
        let tokens = add.into_iter().map(|(_, token)| token);
        tokenizer
            .add_tokens(tokens)
            .map_err(|e| fault(format!("special tokens cannot be added: {e}")))?;
        for (id, text) in wanted {
            let got = tokenizer.token_to_id(&text);
            if id.is_some() && got != id {
                return Err(fault(format!(
                    "`added_tokens_decoder` gives `{text}` the id {}, but with `tokenizer.json` \
                     it gets {}; the two files do not belong together",
                    id.unwrap_or_default(),
                    got.map_or("none".to_owned(), |n| n.to_string()),
                )));
            }
        }
        Ok(found)
    }

    /// The text of a named token, such as `bos_token`.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.named.iter().find(|(name, _)| *name == key).map(|(_, text)| text.as_str())
    }

    /// The variables of a chat template: every named token, and the list of the others.
    pub fn variables(&self) -> impl Iterator<Item = (&'static str, minijinja::Value)> {
        let named =
            self.named.iter().map(|(name, text)| (*name, minijinja::Value::from(text.as_str())));
        let extra = (!self.extra.is_empty())
            .then(|| (LISTS[0], minijinja::Value::from(self.extra.clone())));
        named.chain(extra)
    }
}

/// Adds a token to the list, unless the tokenizer or the list has it.
fn add_if_missing(
    add: &mut Vec<(Option<u32>, AddedToken)>,
    token: AddedToken,
    tokenizer: &Tokenizer,
) {
    let known = tokenizer.get_added_vocabulary().get_vocab().contains_key(&token.content);
    if !known && !add.iter().any(|(_, other)| other.content == token.content) {
        add.push((None, token));
    }
}

/// The entries of `added_tokens_decoder` that the tokenizer lacks or has with other flags, by id.
fn added_tokens_decoder(
    config: &Map<String, Value>,
    tokenizer: &Tokenizer,
) -> Result<Vec<(Option<u32>, AddedToken)>, String> {
    let Some(Value::Object(entries)) = config.get("added_tokens_decoder") else {
        return Ok(Vec::new());
    };
    let known = tokenizer.get_added_tokens_decoder();
    let mut add = Vec::new();
    for (id, value) in entries {
        let number: u32 = id.parse().map_err(|_| {
            format!("`added_tokens_decoder`: found the key `{id}`, expected a token id")
        })?;
        let token =
            added_token(value, false).map_err(|e| format!("`added_tokens_decoder.{id}`: {e}"))?;
        if !known.get(&number).is_some_and(|other| same(other, &token)) {
            add.push((Some(number), token));
        }
    }
    add.sort_by_key(|(id, _)| *id);
    Ok(add)
}

/// Equality of text and flags (`==` of `AddedToken` compares only the text).
fn same(a: &AddedToken, b: &AddedToken) -> bool {
    let flags = |t: &AddedToken| (t.single_word, t.lstrip, t.rstrip, t.normalized, t.special);
    a.content == b.content && flags(a) == flags(b)
}

/// A token written as a string or as an object with `content` and flags.
fn added_token(value: &Value, special: bool) -> Result<AddedToken, String> {
    let fields = match value {
        Value::String(text) => return Ok(AddedToken::from(text.as_str(), special)),
        Value::Object(fields) => fields,
        _ => return Err("expected a string or an object with `content`".to_owned()),
    };
    let Some(text) = fields.get("content").and_then(Value::as_str) else {
        return Err("an object without a string `content`".to_owned());
    };
    let flag =
        |name: &str, default: bool| fields.get(name).and_then(Value::as_bool).unwrap_or(default);
    let special = special || flag("special", false);
    Ok(AddedToken::from(text, special)
        .single_word(flag("single_word", false))
        .lstrip(flag("lstrip", false))
        .rstrip(flag("rstrip", false))
        .normalized(flag("normalized", !special)))
}
