//! The names that fields and roles have, and the fields that are refused.

use serde_json::Value;

pub(super) use crate::conversation::REASONING;
use crate::error::DataError;

use super::values::kind;

/// Fields with a whole conversation, in the order in which they are looked for.
pub(super) const LISTS: [&str; 5] =
    ["messages", "conversations", "conversation", "dialog", "dialogue"];

/// Fields with the prompt as text or messages. `instruction` is the one of Alpaca.
pub(super) const PROMPTS: [&str; 4] = ["prompt", "question", "query", "instruction"];

/// Fields with text that follows the prompt.
pub(super) const INPUTS: [&str; 2] = ["input", "context"];

/// Fields with the answer.
pub(super) const COMPLETIONS: [&str; 4] = ["completion", "response", "output", "answer"];

/// Fields with the text of a system turn.
pub(super) const SYSTEMS: [&str; 3] = ["system", "system_prompt", "system_message"];

/// Fields that say whether an answer is desirable.
pub(super) const LABELS: [&str; 2] = ["label", "kto_tag"];

/// Fields with the preferred answer of a pair.
pub(super) const CHOSEN: [&str; 2] = ["chosen", "chosen_messages"];

/// Fields with the other answer of a pair.
pub(super) const REJECTED: [&str; 2] = ["rejected", "rejected_messages"];

/// Fields of a message that say whether, and with which weight, a turn is learned.
pub(super) const WEIGHTS: [&str; 7] =
    ["weight", "loss_weight", "train", "training", "trainable", "train_on_turn", "loss"];

/// Our names of fields, for `data.columns`.
pub(crate) const FIELDS: [&str; 17] = [
    "messages",
    "prompt",
    "completion",
    "chosen",
    "rejected",
    "label",
    "text",
    "instruction",
    "input",
    "output",
    "system",
    "history",
    "tools",
    "conversations",
    "chat_template_kwargs",
    "role",
    "content",
];

/// Fields of a record, a message or a part that change what is learned and are not supported.
pub(super) const REFUSED: [&str; 18] = [
    "images",
    "image",
    "videos",
    "video",
    "audio",
    "audios",
    "document",
    "documents",
    "mask",
    "masked",
    "loss_mask",
    "weights",
    "train_detail",
    "training_detail",
    "labels",
    "input_ids",
    "attention_mask",
    "refusal",
];

/// Further fields of a record that change what is learned from a conversation and are not
/// supported: they belong to one of its messages, and do not say to which.
pub(super) fn is_refused_in_chats(name: &str) -> bool {
    REASONING.contains(&name) || matches!(name, "tool_calls" | "function_call")
}

/// The fields that layouts read their text from.
pub(super) fn content() -> impl Iterator<Item = &'static str> {
    let fields = LISTS.into_iter().chain(PROMPTS).chain(INPUTS).chain(COMPLETIONS);
    fields.chain(CHOSEN).chain(REJECTED).chain(["text"])
}

/// What [`role`] gives for a turn that calls tools.
pub(super) const CALL: &str = "function_call";

/// The role that templates know, for one of its names. Case counts only for unknown ones.
pub(super) fn role(name: &str) -> Option<&'static str> {
    Some(match name.to_ascii_lowercase().as_str() {
        "human" | "user" => "user",
        "gpt" | "assistant" | "chatgpt" | "bot" | "bard" | "bing" | "model" => "assistant",
        "system" => "system",
        "tool" | "function" | "function_response" | "tool_response" | "observation" => "tool",
        "function_call" | "tool_call" => CALL,
        _ => return None,
    })
}

/// Whether a field of a record is refused unless it is ignored. `found` is not empty.
pub(super) fn is_refused(name: &str, found: &Value) -> bool {
    // Those of messages are read. Of a record, they say nothing about a turn.
    let weight = matches!(name, "weight" | "loss" | "train");
    let one = name == "weight" && found.as_f64() == Some(1.0);
    // Further answers, such as `chosen_2`; numbers and words about the answers are not.
    let further = name.strip_prefix("chosen_").or(name.strip_prefix("rejected_"));
    let answers = further.is_some_and(|which| match found {
        Value::Array(list) => list.iter().any(Value::is_object),
        Value::String(_) => which.bytes().all(|byte| byte.is_ascii_digit()),
        _ => false,
    });
    REFUSED.contains(&name) || (weight && !one) || answers
}

/// The error for a field that would change what is learned.
pub(super) fn refused(path: String, found: &Value, ignore: &str) -> DataError {
    let expected = format!(
        "no such field: it would change what is learned, and is not supported; to leave it out on \
         purpose, write `data.ignore = [\"{ignore}\"]`"
    );
    DataError::field(path, kind(found), expected)
}
