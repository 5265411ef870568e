//! The meaning of a record: text, a conversation, a pair or a judged answer.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The names under which records and templates keep what a model thinks before it answers, in the
/// order in which they count in transformers.
pub(crate) const REASONING: [&str; 3] = ["reasoning_content", "thinking", "reasoning"];

/// One message of a conversation.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// `system`, `user`, `assistant`, `tool` or another role that the template supports.
    pub role: String,
    /// The text; `None` for a message without one, such as one that only calls tools.
    #[serde(default)]
    pub content: Option<String>,
    /// Further fields that the chat template sees, such as `tool_calls`, `tool_call_id`, `name`
    /// and `reasoning_content`. None is null.
    #[serde(flatten)]
    pub fields: Map<String, Value>,
    /// Weight of an assistant's turn in the loss: 0 if it is not learned; `None` counts as 1.
    #[serde(skip)]
    pub weight: Option<f32>,
}

impl Message {
    /// A message of a role, with a text and no further field.
    pub fn new(role: impl Into<String>, content: impl Into<String>) -> Self {
        Self { role: role.into(), content: Some(content.into()), ..Self::default() }
    }

    /// Whether the role is `assistant`.
    pub(crate) fn is_assistant(&self) -> bool {
        self.role == "assistant"
    }

    /// The text, empty if there is none.
    pub(crate) fn text(&self) -> &str {
        self.content.as_deref().unwrap_or_default()
    }
}

/// A conversation, and what else its chat template sees.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Conversation {
    /// The messages, in order.
    pub messages: Vec<Message>,
    /// The tools that the assistant may call, as JSON schemas of functions; empty if none.
    pub tools: Vec<Value>,
    /// Further variables of the template, over those of `data.template_arguments`. A record gives
    /// them as `chat_template_kwargs`.
    pub arguments: Map<String, Value>,
}

impl From<Vec<Message>> for Conversation {
    fn from(messages: Vec<Message>) -> Self {
        Self { messages, ..Self::default() }
    }
}

/// The meaning of one record.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Example {
    /// Plain text, for next-token training.
    Text(String),
    /// A conversation.
    Chat(Conversation),
    /// Two conversations that differ in their last answer.
    Pair {
        /// The conversation with the preferred answer.
        chosen: Conversation,
        /// The conversation with the other answer.
        rejected: Conversation,
    },
    /// A conversation whose last answer was judged by itself.
    Judged {
        /// The whole conversation.
        conversation: Conversation,
        /// Whether the answer is desirable.
        desirable: bool,
    },
}

impl Example {
    /// The conversation for supervised fine-tuning: the only one, or the chosen one of a pair. It
    /// is not to be imitated if [`Self::is_undesirable`]. `None` for plain text.
    pub(crate) fn conversation(&self) -> Option<&Conversation> {
        match self {
            Example::Text(_) => None,
            Example::Chat(conversation)
            | Example::Pair { chosen: conversation, .. }
            | Example::Judged { conversation, .. } => Some(conversation),
        }
    }

    /// All its conversations.
    pub(crate) fn conversations_mut(&mut self) -> impl Iterator<Item = &mut Conversation> {
        let [first, second] = match self {
            Example::Text(_) => [None, None],
            Example::Chat(conversation) | Example::Judged { conversation, .. } => {
                [Some(conversation), None]
            }
            Example::Pair { chosen, rejected } => [Some(chosen), Some(rejected)],
        };
        first.into_iter().chain(second)
    }

    /// Whether the answer was judged undesirable.
    pub(crate) fn is_undesirable(&self) -> bool {
        matches!(self, Example::Judged { desirable: false, .. })
    }
}
