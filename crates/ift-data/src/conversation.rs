//! The meaning of a record: text, a conversation, a pair or a judged answer.

use serde::{Deserialize, Serialize};

/// One message of a conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// `system`, `user`, `assistant` or another role that the template supports.
    pub role: String,
    /// The text.
    pub content: String,
}

impl Message {
    /// A message of a role.
    pub fn new(role: impl Into<String>, content: impl Into<String>) -> Self {
        Self { role: role.into(), content: content.into() }
    }

    /// Whether the role is `assistant`.
    pub(crate) fn is_assistant(&self) -> bool {
        self.role == "assistant"
    }
}

/// The meaning of one record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Example {
    /// Plain text, for next-token training.
    Text(String),
    /// A conversation.
    Chat(Vec<Message>),
    /// Two conversations that differ in their last answer.
    Pair {
        /// The conversation with the preferred answer.
        chosen: Vec<Message>,
        /// The conversation with the other answer.
        rejected: Vec<Message>,
    },
    /// A conversation whose last answer was judged by itself.
    Judged {
        /// The whole conversation.
        messages: Vec<Message>,
        /// Whether the answer is desirable.
        desirable: bool,
    },
}

impl Example {
    /// The conversation for supervised fine-tuning: the only one, or the chosen one of a pair. It
    /// is not to be imitated if [`Self::is_undesirable`]. `None` for plain text.
    pub(crate) fn messages(&self) -> Option<&[Message]> {
        match self {
            Example::Text(_) => None,
            Example::Chat(messages)
            | Example::Pair { chosen: messages, .. }
            | Example::Judged { messages, .. } => Some(messages),
        }
    }

    /// Whether the answer was judged undesirable.
    pub(crate) fn is_undesirable(&self) -> bool {
        matches!(self, Example::Judged { desirable: false, .. })
    }
}
