//! The layouts that records come in.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How the records of a file are laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// `messages`, each with `role` and `content` (the layout of `OpenAI` and UltraChat-200k).
    Messages,
    /// `prompt` and `completion`, each a string or a list of messages. Strings become a user's and
    /// an assistant's message, so the chat template applies to them too.
    PromptCompletion,
    /// `conversations`, each turn with `from` and `value` (`ShareGPT`).
    Sharegpt,
    /// `instruction`, optional `input`, and `output` (Alpaca). The input follows the instruction
    /// after an empty line.
    Alpaca,
    /// `chosen` and `rejected`, each a string or a list of messages, with an optional `prompt`
    /// (UltraFeedback-binarized). SFT and IFT train on the chosen one.
    Preference,
    /// `label` (true for desirable, false for undesirable) with `prompt` and `completion` or
    /// `messages`, for method `kto`. SFT and IFT train on the desirable ones.
    Judged,
    /// `text`, for method `lm`.
    Text,
}

impl Format {
    /// The name used in configurations and reports.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Format::Messages => "messages",
            Format::PromptCompletion => "prompt_completion",
            Format::Sharegpt => "sharegpt",
            Format::Alpaca => "alpaca",
            Format::Preference => "preference",
            Format::Judged => "judged",
            Format::Text => "text",
        }
    }
}
