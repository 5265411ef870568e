//! Training a tokenizer on text, for a model that starts from random weights.
//!
//! It is a byte-level BPE: every byte has a symbol of its own, so that decoding returns any text
//! unchanged. The ids are, in order, `pad`, `bos`, `eos`, the other special tokens,
//! the 256 bytes, and the merges. The same text gives the same files.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokenizers::decoders::byte_level::ByteLevel;
use tokenizers::models::bpe::{BPE, BpeTrainerBuilder};
use tokenizers::processors::template::TemplateProcessing;
use tokenizers::{
    AddedToken, NormalizerWrapper, PostProcessorWrapper, Tokenizer, TokenizerBuilder, TokenizerImpl,
};

use crate::config::TemplateSettings;
use crate::error::DataError;
use crate::files::{self, utf8};
use crate::record::kind;
use crate::template::BUILT_IN_TEMPLATES;
use crate::tokenizer::ChatTokenizer;

/// Symbols for single bytes.
const BYTES: usize = 256;
/// A pair is merged if the text holds it this often; what occurs once is not worth a token.
const MIN_FREQUENCY: u64 = 2;
/// The trainer counts pairs in 32 bits.
const LARGEST_TEXT: usize = i32::MAX as usize;

/// Settings of a new tokenizer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TokenizerSettings {
    /// Number of tokens: special tokens, 256 bytes, and merges.
    pub vocab_size: usize,
    /// The padding token.
    pub pad_token: String,
    /// The beginning-of-sequence token.
    pub bos_token: String,
    /// The end-of-sequence token.
    pub eos_token: String,
    /// Further special tokens; by default, the markers of `template`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub special_tokens: Option<Vec<String>>,
    /// The chat template: `zephyr`, `chatml` or `llama3`.
    pub template: String,
    /// Whether text that is tokenised with special tokens begins with BOS. In conversations, only
    /// the template writes it.
    pub add_bos: bool,
    /// Longest input of the model in tokens, as written to `tokenizer_config.json`.
    pub model_max_length: usize,
}

impl Default for TokenizerSettings {
    fn default() -> Self {
        Self {
            vocab_size: 32_000,
            pad_token: "<|pad|>".to_owned(),
            bos_token: "<s>".to_owned(),
            eos_token: "</s>".to_owned(),
            special_tokens: None,
            template: "zephyr".to_owned(),
            add_bos: false,
            model_max_length: 2048,
        }
    }
}

impl TokenizerSettings {
    fn template_source(&self) -> Result<&'static str, DataError> {
        BUILT_IN_TEMPLATES
            .iter()
            .find(|(name, _)| *name == self.template)
            .map(|(_, source)| *source)
            .ok_or_else(|| {
                let names: Vec<_> =
                    BUILT_IN_TEMPLATES.iter().map(|(name, _)| format!("`{name}`")).collect();
                let expected = format!("one of {}", names.join(", "));
                DataError::field("tokenizer.template", format!("`{}`", self.template), expected)
            })
    }

    /// All special tokens in the order of their ids.
    fn all_special(&self) -> Result<Vec<String>, DataError> {
        let named = [&self.pad_token, &self.bos_token, &self.eos_token].map(Clone::clone);
        let markers = || {
            let markers: &[&str] = match self.template.as_str() {
                "zephyr" => &["<|system|>", "<|user|>", "<|assistant|>"],
                "chatml" => &["<|im_start|>", "<|im_end|>"],
                "llama3" => &["<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"],
                _ => &[],
            };
            markers.iter().map(|&text| text.to_owned()).collect()
        };
        let further = self.special_tokens.clone().unwrap_or_else(markers);
        let mut seen = BTreeSet::new();
        let mut all = Vec::new();
        for (i, token) in named.into_iter().chain(further).enumerate() {
            let field = || match i {
                0 => "tokenizer.pad_token".to_owned(),
                1 => "tokenizer.bos_token".to_owned(),
                2 => "tokenizer.eos_token".to_owned(),
                _ => format!("tokenizer.special_tokens[{}]", i - 3),
            };
            // A single character is the symbol of a byte, and a byte-level decoder would read a
            // character outside of this range as a byte.
            if token.len() < 2 || !token.bytes().all(|b| b.is_ascii_graphic()) {
                let expected = "at least two printable ASCII characters without spaces";
                return Err(DataError::field(field(), format!("`{token}`"), expected));
            }
            if !seen.insert(token.clone()) {
                let found = format!("`{token}`, which is a special token already");
                return Err(DataError::field(field(), found, "each special token once"));
            }
            all.push(token);
        }
        Ok(all)
    }
}

/// Trains a tokenizer and writes `tokenizer.json`, `tokenizer_config.json`,
/// `special_tokens_map.json` and `generation_config.json` (the ids at which generation begins and
/// stops) to `folder`. The folder is created if needed; files of these names are replaced.
///
/// A file that ends in `.jsonl`, `.json` or `.parquet` holds records with a field `text`; any other
/// is plain text. Returns the number of tokens, which is below `vocab_size` if the text has too few
/// frequent pairs to merge.
///
/// # Errors
/// When a file cannot be read or all are empty, a setting cannot be used (the message names it), or
/// the folder cannot be written.
pub fn train_tokenizer(
    texts: &[PathBuf],
    settings: &TokenizerSettings,
    folder: &Path,
) -> Result<usize, DataError> {
    let template = settings.template_source()?;
    let special = settings.all_special()?;
    let least = BYTES + special.len();
    if settings.vocab_size < least {
        let expected = format!("at least {least} (256 bytes and {} special tokens)", special.len());
        return Err(DataError::field(
            "tokenizer.vocab_size",
            settings.vocab_size.to_string(),
            expected,
        ));
    }
    let mut lines = Vec::new();
    for text in texts {
        read_lines(text, &mut lines)?;
    }
    check_size(&lines, texts)?;
    let tokenizer = train(&lines, settings, &special).map_err(|e| DataError::Tokenizer {
        path: folder.to_owned(),
        problem: format!("cannot be trained: {e}"),
    })?;
    write(&tokenizer, settings, template, &special, folder)?;
    Ok(tokenizer.get_vocab_size(true))
}

/// Adds the lines of a file, each with its line break. The tokenizer never merges a line break with
/// a letter after it, so lines give the same merges as whole documents, in less memory.
fn read_lines(path: &Path, lines: &mut Vec<String>) -> Result<(), DataError> {
    let mut add = |text: &str| lines.extend(text.split_inclusive('\n').map(str::to_owned));
    if files::extension(path).is_some() {
        for record in files::open(path)? {
            let record = record?;
            let place = record.place;
            let value = record.into_value().map_err(|e| e.in_record(path, place))?;
            let text = value.get("text").unwrap_or(&Value::Null);
            let text = text.as_str().ok_or_else(|| {
                DataError::field("text", kind(text), "a string").in_record(path, place)
            })?;
            add(text);
        }
    } else {
        let bytes = fs::read(path).map_err(DataError::read(path))?;
        add(utf8(&bytes).map_err(|e| DataError::file(path, e.to_string()))?);
    }
    Ok(())
}

fn check_size(lines: &[String], texts: &[PathBuf]) -> Result<(), DataError> {
    let names =
        || texts.iter().map(|t| format!("`{}`", t.display())).collect::<Vec<_>>().join(", ");
    if texts.is_empty() {
        return Err(DataError::field("tokenizer texts", "no file", "at least one text file"));
    }
    if lines.iter().all(|line| line.trim().is_empty()) {
        let found = format!("no text in {}", names());
        return Err(DataError::field("tokenizer texts", found, "text to train the tokenizer on"));
    }
    let bytes: usize = lines.iter().map(String::len).sum();
    if bytes > LARGEST_TEXT {
        let found = format!("{bytes} bytes of text in {}", names());
        let expected = format!("at most {LARGEST_TEXT} bytes; train on a sample of the text");
        return Err(DataError::field("tokenizer texts", found, expected));
    }
    Ok(())
}

fn train(
    lines: &[String],
    settings: &TokenizerSettings,
    special: &[String],
) -> Result<Tokenizer, tokenizers::Error> {
    let byte_level = ByteLevel::new(false, true, true);
    let mut tokenizer: TokenizerImpl<
        BPE,
        NormalizerWrapper,
        ByteLevel,
        PostProcessorWrapper,
        ByteLevel,
    > = TokenizerBuilder::new()
        .with_model(BPE::default())
        .with_normalizer(None)
        .with_pre_tokenizer(Some(byte_level))
        .with_post_processor(None)
        .with_decoder(Some(byte_level))
        .build()?;
    let mut trainer = BpeTrainerBuilder::new()
        .vocab_size(settings.vocab_size)
        .min_frequency(MIN_FREQUENCY)
        .show_progress(false)
        .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
        .special_tokens(special.iter().map(|text| AddedToken::from(text.as_str(), true)).collect())
        .build();
    tokenizer.train(&mut trainer, lines.iter())?;
    if settings.add_bos {
        let bos = settings.bos_token.clone();
        let id = tokenizer.token_to_id(&bos).unwrap_or_default();
        let template = TemplateProcessing::builder()
            .try_single(vec![bos.clone(), "$A".to_owned()])?
            .try_pair(vec![bos.clone(), "$A".to_owned(), "$B:1".to_owned()])?
            .special_tokens(vec![(bos, id)])
            .build()?;
        tokenizer.with_post_processor(Some(template));
    }
    Ok(tokenizer.into())
}

/// Writes the folder, and reads it again to find the tokens that end a turn.
fn write(
    tokenizer: &Tokenizer,
    settings: &TokenizerSettings,
    template: &str,
    special: &[String],
    folder: &Path,
) -> Result<(), DataError> {
    let unwritten = |path: &Path, e: &dyn std::fmt::Display| {
        DataError::file(path, format!("cannot be written: {e}; choose a folder that can"))
    };
    let save = |name: &str, text: &str| {
        let path = folder.join(name);
        fs::write(&path, text).map_err(|e| unwritten(&path, &e))
    };
    fs::create_dir_all(folder).map_err(|e| unwritten(folder, &e))?;
    let text =
        tokenizer.to_string(true).map_err(|e| unwritten(&folder.join("tokenizer.json"), &e))?;
    save("tokenizer.json", &text)?;
    let further = special.get(3..).unwrap_or_default();
    let map = json!({
        "bos_token": settings.bos_token,
        "eos_token": settings.eos_token,
        "pad_token": settings.pad_token,
        "additional_special_tokens": further,
    });
    save("special_tokens_map.json", &format!("{map:#}\n"))?;
    let config = json!({
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": settings.bos_token,
        "eos_token": settings.eos_token,
        "pad_token": settings.pad_token,
        "additional_special_tokens": further,
        "model_max_length": settings.model_max_length,
        "clean_up_tokenization_spaces": false,
        "chat_template": template,
    });
    save("tokenizer_config.json", &format!("{config:#}\n"))?;
    let template = Some(settings.template.clone());
    let read = ChatTokenizer::from_folder(
        folder,
        &TemplateSettings { template, ..TemplateSettings::default() },
    )?;
    let generation = json!({
        "bos_token_id": read.bos_id(),
        "eos_token_id": read.end_of_turn()?,
        "pad_token_id": read.pad_id(),
    });
    save("generation_config.json", &format!("{generation:#}\n"))
}
