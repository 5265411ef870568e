//! Where an answer ends: at a token, or at a text that a tokenizer spells in several tokens.

use std::fs;
use std::path::{Path, PathBuf};

use ift_data::{ChatTokenizer, DataError};
use ift_model::ModelError;
use serde_json::Value;

use crate::data::find_file;
use crate::error::TrainError;
use crate::recipe::Recipe;

/// What ends an answer of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stops {
    ids: Vec<u32>,
    texts: Vec<String>,
}

impl Stops {
    /// The end of a turn of the tokenizer's chat template, its end of sequence, and what the model
    /// folder's `generation_config.json` says (`eos_token_id`, `stop_strings`).
    ///
    /// # Errors
    /// If the turns of the template cannot be found, or the file cannot be read.
    pub fn of_chat(tokenizer: &ChatTokenizer, folder: &Path) -> Result<Self, TrainError> {
        Self::of_folder(folder)?.and_chat(tokenizer)
    }

    /// The end of a plain text: the tokenizer's end of sequence, and what the model folder's
    /// `generation_config.json` says.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn of_text(tokenizer: &ChatTokenizer, folder: &Path) -> Result<Self, TrainError> {
        Ok(Self::of_folder(folder)?.and_text(tokenizer))
    }

    /// What a model folder says, or the base of an adapter folder.
    pub(crate) fn of_folder(folder: &Path) -> Result<Self, TrainError> {
        Self::of_files(|name| ift_model::find_file(folder, name))
    }

    /// What the files say that go with the weights that a run begins with.
    pub(crate) fn of_run(recipe: &Recipe) -> Result<Self, TrainError> {
        Self::of_files(|name| find_file(recipe, name))
    }

    /// These, and the ends of turns of the tokenizer's chat template.
    pub(crate) fn and_chat(mut self, tokenizer: &ChatTokenizer) -> Result<Self, TrainError> {
        let (ids, text) = end_of_turn(tokenizer)?;
        extend(&mut self.ids, ids);
        extend(&mut self.texts, text);
        Ok(self)
    }

    /// These, and the tokenizer's end of sequence.
    pub(crate) fn and_text(mut self, tokenizer: &ChatTokenizer) -> Self {
        extend(&mut self.ids, tokenizer.eos_id());
        self
    }

    /// What is said in `generation_config.json`, and of tokens, where that names none, in
    /// `config.json`.
    fn of_files(
        find: impl Fn(&str) -> Result<Option<PathBuf>, ModelError>,
    ) -> Result<Self, TrainError> {
        let mut this = Self { ids: Vec::new(), texts: Vec::new() };
        for name in ["generation_config.json", "config.json"] {
            let Some(path) = find(name)? else { continue };
            let text = fs::read_to_string(&path).map_err(TrainError::io("read", &path))?;
            let fields: Value = serde_json::from_str(&text)
                .map_err(|e| TrainError::file(&path, format!("is not JSON: {e}")))?;
            let list = |field: &str| match fields.get(field) {
                None | Some(Value::Null) => Vec::new(),
                Some(Value::Array(values)) => values.clone(),
                Some(value) => vec![value.clone()],
            };
            let id = |value: &Value| value.as_u64().and_then(|id| u32::try_from(id).ok());
            let wrong = |field, value: &Value, expected| {
                let problem = format!("field `{field}`: holds {value}, expected {expected}");
                TrainError::file(&path, problem)
            };
            for value in list("eos_token_id") {
                let found = id(&value).ok_or_else(|| wrong("eos_token_id", &value, "token ids"))?;
                extend(&mut this.ids, [found]);
            }
            for value in list("stop_strings") {
                let found = value.as_str().filter(|text| !text.is_empty());
                let found = found.ok_or_else(|| wrong("stop_strings", &value, "texts"))?;
                extend(&mut this.texts, [found.to_owned()]);
            }
            if !this.ids.is_empty() {
                break;
            }
        }
        Ok(this)
    }

    /// Tokens that end a text and are not part of it.
    pub fn ids(&self) -> &[u32] {
        &self.ids
    }

    /// Texts that end a text and are not part of it.
    pub(crate) fn texts(&self) -> &[String] {
        &self.texts
    }

    /// Looks for the end of texts that are generated at a time.
    pub fn watch<'a>(&'a self, tokenizer: &'a ChatTokenizer, texts: usize) -> Watch<'a> {
        Watch { stops: self, tokenizer, tokens: vec![Vec::new(); texts], failed: None }
    }

    /// A text up to the first of the texts that end it.
    fn cut<'a>(&self, text: &'a str) -> &'a str {
        let end = self.texts.iter().filter_map(|stop| text.find(stop.as_str())).min();
        &text[..end.unwrap_or(text.len())]
    }
}

/// Texts that are being generated.
pub struct Watch<'a> {
    stops: &'a Stops,
    tokenizer: &'a ChatTokenizer,
    tokens: Vec<Vec<u32>>,
    failed: Option<DataError>,
}

impl Watch<'_> {
    /// Takes the next token of a text; returns whether the text ends with it.
    pub fn ends(&mut self, text: usize, token: u32) -> bool {
        self.tokens[text].push(token);
        let Some(longest) = self.stops.texts.iter().map(String::len).max() else { return false };
        // Every token but a part of a character adds a byte, so the end of the text is enough.
        // Special tokens may be a part of what ends it.
        let tokens = &self.tokens[text];
        let end = &tokens[tokens.len().saturating_sub(longest + 8)..];
        match self.tokenizer.decode(end, false) {
            Ok(end) => self.stops.cut(&end).len() < end.len(),
            Err(error) => {
                self.failed.get_or_insert(error);
                true
            }
        }
    }

    /// What may be shown of a text so far: without a character that is not complete, and without
    /// what may become one of the texts that end it.
    ///
    /// # Errors
    /// When the tokenizer fails.
    pub fn shown(&self, text: usize) -> Result<String, TrainError> {
        let tokens = &self.tokens[text];
        let whole = self.tokenizer.decode(tokens, false)?;
        let complete = complete(&whole);
        let cut = self.stops.cut(&whole[..complete]).len();
        let begins = |&at: &usize| {
            whole.is_char_boundary(at)
                && self.stops.texts.iter().any(|stop| stop.starts_with(&whole[at..cut]))
        };
        let longest = self.stops.texts.iter().map(String::len).max().unwrap_or(0);
        let held = (cut.saturating_sub(longest)..cut).find(begins).unwrap_or(cut);
        Ok(self.visible(tokens, held)?)
    }

    /// The text without special tokens, up to a byte of the text with them.
    fn visible(&self, tokens: &[u32], end: usize) -> Result<String, DataError> {
        let with = |count: usize| self.tokenizer.decode(&tokens[..count], false);
        // The fewest tokens that reach there.
        let (mut low, mut high) = (0, tokens.len());
        while low < high {
            let middle = low.midpoint(high);
            if complete(&with(middle)?) >= end { high = middle } else { low = middle + 1 }
        }
        let mut text = self.tokenizer.decode(&tokens[..low], true)?;
        // What the last one writes beyond it, unless it is special and writes nothing here.
        let beyond = with(low)?.len().saturating_sub(end);
        let before = self.tokenizer.decode(&tokens[..low.saturating_sub(1)], true)?;
        let is_seen = text != before;
        if is_seen {
            let end = text.len().saturating_sub(beyond);
            text.truncate((0..=end).rfind(|&at| text.is_char_boundary(at)).unwrap_or(0));
        }
        Ok(text)
    }

    /// The texts, each without what ended it.
    ///
    /// # Errors
    /// When the tokenizer failed.
    pub fn finish(self) -> Result<Vec<String>, TrainError> {
        if let Some(error) = self.failed {
            return Err(error.into());
        }
        let text = |tokens: &Vec<u32>| {
            let end = self.stops.cut(&self.tokenizer.decode(tokens, false)?).len();
            Ok(self.visible(tokens, end)?)
        };
        self.tokens.iter().map(text).collect()
    }
}

/// The tokens that end an assistant's turn, and the text that does where it is not one token.
pub(crate) fn end_of_turn(
    tokenizer: &ChatTokenizer,
) -> Result<(Vec<u32>, Option<String>), TrainError> {
    if tokenizer.ends_with_one_token()? {
        return Ok((tokenizer.end_of_turn()?, None));
    }
    let text = tokenizer.end_of_turn_text()?.map(str::to_owned);
    Ok((tokenizer.eos_id().into_iter().collect(), text))
}

/// Bytes of a text up to a character that is not complete.
fn complete(text: &str) -> usize {
    text.trim_end_matches('\u{FFFD}').len()
}

fn extend<T: PartialEq>(list: &mut Vec<T>, more: impl IntoIterator<Item = T>) {
    for value in more {
        if !list.contains(&value) {
            list.push(value);
        }
    }
}
