//! A Hugging Face tokenizer folder with its chat template: text to tokens, conversations to tokens
//! and targets.
//!
//! A conversation is rendered to one string and tokenised as a whole without adding special tokens,
//! as transformers' `apply_chat_template` does, so the ids agree with it. Each assistant turn is a
//! byte range of that string; the offsets of the tokens map it to targets: **a token is a target if
//! it contains a byte of such a range**. So a token that contains the end of the header and the
//! beginning of the answer is a target, and so is one that reaches beyond the end of the turn.

mod chat;
mod document;
mod length;

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use jiff::Timestamp;
use minijinja::Value;
use serde_json::Map;
use tokenizers::{Encoding, PostProcessor, PostProcessorWrapper, Tokenizer};

use crate::config::{Targets, TemplateSettings};
use crate::conversation::{Conversation, Message};
use crate::error::DataError;
use crate::mark::mark;
use crate::removed::left_out;
use crate::rows::Sequence;
use crate::special::SpecialTokens;
use crate::template::{Surroundings, template_of_folder, template_value};
use crate::turns::{TurnStyle, find_turns};
use chat::Chat;
pub(crate) use length::beginning;
use length::{check_words, longest_token};

/// A tokenizer with its special tokens and, unless it was read for plain text, its chat template.
///
/// ```
/// use ift_data::{ChatTokenizer, Conversation, Message, Targets, TemplateSettings};
/// # fn main() -> Result<(), ift_data::DataError> {
/// let folder = "tests/data/tokenizers/llama3".as_ref();
/// let tokenizer = ChatTokenizer::from_folder(folder, &TemplateSettings::default())?;
/// let talk = vec![Message::new("user", "Hello"), Message::new("assistant", "Hi")];
/// let talk = Conversation::from(talk);
/// let sequence = tokenizer.encode_with_targets(&talk, Targets::Assistant)?;
/// let answer: Vec<u32> = sequence.targets().map(|(i, _)| sequence.tokens()[i]).collect();
/// assert_eq!(tokenizer.decode(&answer, false)?, "Hi<|eot_id|>");
/// # Ok(())
/// # }
/// ```
pub struct ChatTokenizer {
    folder: PathBuf,
    /// Without its post-processor, which would change the offsets.
    tokenizer: Tokenizer,
    post_processor: Option<PostProcessorWrapper>,
    special: SpecialTokens,
    /// The text of every token flagged as special.
    special_texts: Vec<String>,
    /// The text of every added token, special or not, except those of white space only.
    added_texts: Vec<String>,
    chat: Option<Chat>,
    vocab_size: usize,
    /// In bytes; `None` if one token can stand for any length of text.
    longest_token: Option<usize>,
}

/// A conversation as tokens.
pub(crate) struct EncodedChat {
    pub sequence: Sequence,
    /// The rendered text before the first target.
    pub prompt: String,
    /// The roles of which the template left out text.
    pub left_out: BTreeSet<String>,
    /// Number of tokens of the whole conversation.
    pub length: usize,
    /// Whether only the beginning was tokenised, and the length is an estimate.
    pub estimated: bool,
}

impl fmt::Debug for ChatTokenizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChatTokenizer")
            .field("folder", &self.folder)
            .field("template", &self.template_origin())
            .field("vocab_size", &self.vocab_size)
            .finish_non_exhaustive()
    }
}

impl ChatTokenizer {
    /// Reads `tokenizer.json`, `tokenizer_config.json`, `special_tokens_map.json` and the chat
    /// template of a folder: the one that the settings name, else `chat_template.jinja` with
    /// `additional_chat_templates`, else `chat_template` in `tokenizer_config.json`, else the
    /// built-in `zephyr`. The settings' BOS and arguments are written into it.
    ///
    /// # Errors
    /// When a file is missing or malformed, the template does not compile, it never reads an
    /// argument, or a BOS token cannot be added or left out.
    pub fn from_folder(dir: &Path, settings: &TemplateSettings) -> Result<Self, DataError> {
        let (mut this, config) = Self::read(dir)?;
        let template = template_of_folder(
            settings,
            &Surroundings {
                dir,
                config: &config,
                special: &this.special,
                adds_bos: this.adds_bos()?,
                now: Timestamp::now(),
            },
        )?;
        this.chat = Some(Chat { template, style: OnceLock::new() });
        Ok(this)
    }

    /// Sets the time, in seconds since 1970 (UTC), that a template with `strftime_now` writes. By
    /// default it is the time at which the folder was read. A resumed run has the same tokens only
    /// with the same time.
    ///
    /// # Errors
    /// When the time is out of the range of dates.
    pub fn at_time(mut self, seconds: i64) -> Result<Self, DataError> {
        let now = Timestamp::from_second(seconds).map_err(|e| self.fault(&e.to_string()))?;
        if let Some(chat) = &mut self.chat {
            chat.template.set_clock(now);
        }
        Ok(self)
    }

    /// Whether the chat template writes the current time, so that tokens depend on it.
    pub fn reads_clock(&self) -> bool {
        self.chat.as_ref().is_some_and(|chat| chat.template.reads_clock)
    }

    /// Reads a folder without looking for a chat template, for plain text.
    ///
    /// # Errors
    /// When a file is missing or malformed.
    pub fn from_folder_plain(dir: &Path) -> Result<Self, DataError> {
        Self::read(dir).map(|(this, _)| this)
    }

    fn read(dir: &Path) -> Result<(Self, Map<String, serde_json::Value>), DataError> {
        let path = dir.join("tokenizer.json");
        let fault = |problem: String| DataError::Tokenizer { path: path.clone(), problem };
        if !path.is_file() {
            let hint = if dir.join("tokenizer.model").is_file() {
                "; the folder has only `tokenizer.model`: load it with transformers' fast \
                 tokenizer and save it again"
            } else {
                ""
            };
            return Err(fault(format!("no such file{hint}")));
        }
        let mut tokenizer = Tokenizer::from_file(&path).map_err(|e| fault(e.to_string()))?;
        tokenizer.with_truncation(None).map_err(|e| fault(e.to_string()))?;
        tokenizer.with_padding(None);
        let config_path = dir.join("tokenizer_config.json");
        let config = json_object(&config_path)?;
        let fallback = json_object(&dir.join("special_tokens_map.json"))?;
        let special = SpecialTokens::install(&config_path, &config, &fallback, &mut tokenizer)?;
        let post_processor = tokenizer.get_post_processor().cloned();
        tokenizer.with_post_processor(None::<PostProcessorWrapper>);
        let added = tokenizer.get_added_tokens_decoder();
        let special_texts =
            added.values().filter(|t| t.special).map(|t| t.content.clone()).collect();
        let added_texts =
            added.values().map(|t| t.content.clone()).filter(|t| !t.trim().is_empty()).collect();
        let vocab_size = tokenizer.get_vocab(true).values().max().map_or(0, |&id| id as usize + 1);
        let longest_token = longest_token(&tokenizer);
        let this = Self {
            folder: dir.to_owned(),
            tokenizer,
            post_processor,
            special,
            special_texts,
            added_texts,
            chat: None,
            vocab_size,
            longest_token,
        };
        Ok((this, config))
    }

    /// Largest token id plus one.
    pub fn vocab_size(&self) -> usize {
        self.vocab_size
    }

    /// Id of the beginning-of-sequence token.
    pub fn bos_id(&self) -> Option<u32> {
        self.named_id("bos_token")
    }

    /// Id of the end-of-sequence token.
    pub fn eos_id(&self) -> Option<u32> {
        self.named_id("eos_token")
    }

    /// Id of the padding token. This crate does not pad; model folders name it.
    pub fn pad_id(&self) -> Option<u32> {
        self.named_id("pad_token")
    }

    fn named_id(&self, key: &str) -> Option<u32> {
        self.special.get(key).and_then(|text| self.tokenizer.token_to_id(text))
    }

    /// Where the chat template comes from, for messages; `None` without a template.
    pub fn template_origin(&self) -> Option<&str> {
        self.chat.as_ref().map(|chat| chat.template.origin.as_str())
    }

    /// Whether the chat template is one of the folder's own.
    pub fn has_own_template(&self) -> bool {
        self.chat.as_ref().is_some_and(|chat| chat.template.own)
    }

    /// The Jinja text of the chat template in use, with its BOS and its arguments; `None` without
    /// one.
    pub fn template_source(&self) -> Option<&str> {
        self.chat.as_ref().map(|chat| chat.template.source.as_str())
    }

    /// Whether the chat template reads a variable.
    pub(crate) fn reads_variable(&self, name: &str) -> bool {
        self.chat.as_ref().is_some_and(|chat| chat.template.mentions(name))
    }

    /// Whether a text contains the text of a special token, which is tokenised as that token.
    pub fn holds_special_token(&self, text: &str) -> bool {
        self.special_texts.iter().any(|special| text.contains(special.as_str()))
    }

    /// Tokens of a text. With `add_special`, the tokenizer's post-processor adds its tokens, such
    /// as BOS.
    ///
    /// # Errors
    /// When the tokenizer fails.
    pub fn encode_plain(&self, text: &str, add_special: bool) -> Result<Vec<u32>, DataError> {
        let encoding = self.encode(text)?;
        match &self.post_processor {
            Some(post) if add_special => {
                let encoding =
                    post.process(encoding, None, true).map_err(|e| self.fault(&e.to_string()))?;
                Ok(encoding.get_ids().to_vec())
            }
            _ => Ok(encoding.get_ids().to_vec()),
        }
    }

    /// Whether the post-processor puts a BOS token before plain text.
    fn adds_bos(&self) -> Result<bool, DataError> {
        let first = |special| Ok(self.encode_plain("a", special)?.first().copied());
        let bos = self.bos_id();
        Ok(bos.is_some() && first(true)? == bos && first(false)? != bos)
    }

    /// Text of tokens, without special tokens if `skip_special`.
    ///
    /// # Errors
    /// When the tokenizer fails or an id is outside the vocabulary.
    pub fn decode(&self, ids: &[u32], skip_special: bool) -> Result<String, DataError> {
        if let Some(id) = ids.iter().find(|&&id| id as usize >= self.vocab_size) {
            let problem = format!("token id {id} is outside the vocabulary of {}", self.vocab_size);
            return Err(DataError::Tokenizer { path: self.folder.clone(), problem });
        }
        self.tokenizer.decode(ids, skip_special).map_err(|e| self.fault(&e.to_string()))
    }

    /// A conversation as the template renders it.
    ///
    /// # Errors
    /// When there is no template, or it raises an error.
    pub fn render(
        &self,
        conversation: &Conversation,
        add_generation_prompt: bool,
    ) -> Result<String, DataError> {
        let values: Vec<Value> = conversation.messages.iter().map(template_value).collect();
        self.chat()?.template.render(&values, conversation, add_generation_prompt)
    }

    /// Tokens of a conversation; the same as transformers' `apply_chat_template`.
    ///
    /// # Errors
    /// When there is no template, it raises an error, or the tokens begin with two BOS tokens.
    pub fn encode_chat(
        &self,
        conversation: &Conversation,
        add_generation_prompt: bool,
    ) -> Result<Vec<u32>, DataError> {
        Ok(self.encode_rendered(conversation, add_generation_prompt)?.0)
    }

    /// Tokens of a conversation, and the roles of which the template left out text.
    pub(crate) fn encode_rendered(
        &self,
        conversation: &Conversation,
        add_generation_prompt: bool,
    ) -> Result<(Vec<u32>, BTreeSet<String>), DataError> {
        self.chat()?.check_fields(conversation)?;
        let text = self.render(conversation, add_generation_prompt)?;
        let tokens = self.encode(&text)?.get_ids().to_vec();
        self.check_bos(&tokens, || self.bos_cause(&conversation.messages))?;
        Ok((tokens, left_out(conversation, &text)?))
    }

    /// Tokens of a conversation with their targets: the selected assistant turns, each with its
    /// end-of-turn token and the weight of its message.
    ///
    /// # Errors
    /// When there is no template, it raises an error or never reads the conversation's tools or
    /// tool calls, its turns cannot be found, the tokens begin with two BOS tokens, or the offsets
    /// of the tokens do not fit the text.
    pub fn encode_with_targets(
        &self,
        conversation: &Conversation,
        targets: Targets,
    ) -> Result<Sequence, DataError> {
        Ok(self.encode_beginning(conversation, targets, usize::MAX)?.sequence)
    }

    /// Tokens and targets of a conversation, of about the first `limit` bytes of the rendered text.
    pub(crate) fn encode_beginning(
        &self,
        conversation: &Conversation,
        targets: Targets,
        limit: usize,
    ) -> Result<EncodedChat, DataError> {
        let chat = self.chat()?;
        let style = self.style()?;
        chat.check_fields(conversation)?;
        let rendered = find_turns(style, &chat.template, conversation, targets)?;
        let text = &rendered.text;
        let beginning = beginning(text, limit);
        let read = beginning.len();
        let encoding = self.encode(beginning)?;
        let tokens = encoding.get_ids().to_vec();
        self.check_bos(&tokens, || self.bos_cause(&conversation.messages))?;
        let turns = &rendered.turns;
        let turns = &turns[..turns.partition_point(|turn| turn.bytes.start < read)];
        let end_id = |token: &str| self.tokenizer.token_to_id(token);
        let weights = mark(&tokens, encoding.get_offsets(), turns, read, end_id)
            .map_err(|p| self.fault(p))?;
        let length = (tokens.len() as f64 * text.len() as f64 / read.max(1) as f64) as usize;
        let prompt = rendered.turns.first().map_or(text.len(), |turn| turn.bytes.start);
        Ok(EncodedChat {
            prompt: text[..prompt].to_owned(),
            left_out: left_out(conversation, text)?,
            length: if read == text.len() { tokens.len() } else { length },
            estimated: read < text.len(),
            sequence: Sequence::weighted(tokens, &weights),
        })
    }

    /// Ids of the tokens that end an assistant's turn: the end-of-turn token of the template, if it
    /// is a single token, the one that ends a turn that calls tools, if it is another one, and EOS.
    /// Generation stops at any of them.
    ///
    /// # Errors
    /// When there is none, or the turns of the template cannot be found.
    pub fn end_of_turn(&self) -> Result<Vec<u32>, DataError> {
        let mut ids: Vec<u32> = Vec::new();
        if self.chat.is_some() {
            let style = self.style()?;
            let ends = [self.end_token(style), self.call_end_token(style)];
            ids.extend(ends.into_iter().flatten());
        }
        ids.extend(self.eos_id().filter(|eos| !ids.contains(eos)));
        if ids.is_empty() {
            return Err(self.fault(
                "has no `eos_token`, and the chat template ends a turn with no added token",
            ));
        }
        Ok(ids)
    }

    /// The text that the template writes at the end of an assistant's turn, without white space
    /// around it; `None` without a template.
    ///
    /// # Errors
    /// When the turns of the template cannot be found.
    pub fn end_of_turn_text(&self) -> Result<Option<&str>, DataError> {
        self.chat.as_ref().map(|_| self.style().map(|style| style.end.trim())).transpose()
    }

    /// Whether the end of an assistant's turn is one token, so that generation can stop at its id.
    /// Otherwise the text of the end is spelled in several tokens, and generation has to look for
    /// [`end_of_turn_text`](Self::end_of_turn_text) in the decoded text. Without a template,
    /// whether there is an EOS token.
    ///
    /// # Errors
    /// When the turns of the template cannot be found.
    pub fn ends_with_one_token(&self) -> Result<bool, DataError> {
        match &self.chat {
            Some(_) => self.style().map(|style| self.end_token(style).is_some()),
            None => Ok(self.eos_id().is_some()),
        }
    }

    /// The tokens that `tokenizer_config.json` or `special_tokens_map.json` adds to those of
    /// `tokenizer.json`, or gives other flags; empty if `tokenizer.json` alone is the tokenizer.
    pub fn added_tokens(&self) -> &[String] {
        &self.special.added
    }

    /// Refuses tokens that begin with two BOS tokens.
    pub(crate) fn check_bos(
        &self,
        tokens: &[u32],
        cause: impl FnOnce() -> String,
    ) -> Result<(), DataError> {
        match (self.special.get("bos_token"), self.bos_id(), tokens) {
            (Some(text), Some(bos), [first, second, ..]) if *first == bos && *second == bos => {
                Err(DataError::DoubleBos { bos: text.to_owned(), cause: cause() })
            }
            _ => Ok(()),
        }
    }

    fn bos_cause(&self, messages: &[Message]) -> String {
        let bos = self.special.get("bos_token").unwrap_or_default();
        let first = messages.first().map_or("", Message::text);
        if first.trim_start().starts_with(bos) {
            "the template writes one and the text of the record begins with another; remove it \
             from the data"
                .to_owned()
        } else {
            "the chat template writes it twice; correct the template".to_owned()
        }
    }

    fn chat(&self) -> Result<&Chat, DataError> {
        self.chat
            .as_ref()
            .ok_or_else(|| self.fault("was read for plain text, without a chat template"))
    }

    fn style(&self) -> Result<&TurnStyle, DataError> {
        let chat = self.chat()?;
        if let Some(style) = chat.style.get() {
            return Ok(style);
        }
        let style = TurnStyle::probe(&chat.template, &self.added_texts, &self.special_texts)?;
        Ok(chat.style.get_or_init(|| style))
    }

    fn end_token(&self, style: &TurnStyle) -> Option<u32> {
        style.end_token.as_deref().and_then(|text| self.tokenizer.token_to_id(text))
    }

    fn call_end_token(&self, style: &TurnStyle) -> Option<u32> {
        style.call_end_token.as_deref().and_then(|text| self.tokenizer.token_to_id(text))
    }

    fn encode(&self, text: &str) -> Result<Encoding, DataError> {
        check_words(text)?;
        self.tokenizer.encode(text, false).map_err(|e| self.fault(&e.to_string()))
    }

    fn fault(&self, problem: &str) -> DataError {
        DataError::Tokenizer { path: self.folder.clone(), problem: problem.to_owned() }
    }
}

/// A JSON file that holds one object; an absent file is an empty one.
fn json_object(path: &Path) -> Result<Map<String, serde_json::Value>, DataError> {
    if !path.is_file() {
        return Ok(Map::new());
    }
    let text = fs::read_to_string(path).map_err(DataError::read(path))?;
    serde_json::from_str(&text).map_err(|e| DataError::Tokenizer {
        path: path.to_owned(),
        problem: format!("not a JSON object: {e}"),
    })
}
