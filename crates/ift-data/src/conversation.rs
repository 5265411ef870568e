//! What a record says, before any template.

use serde::{Deserialize, Serialize};

/// One message of a conversation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Who speaks: `system`, `user`, `assistant` or what the template knows besides.
    pub role: String,
    /// What is said.
    pub content: String,
}

impl Message {
    /// A message from anything that can be made a string.
    pub fn new(role: impl Into<String>, content: impl Into<String>) -> Self {
        Self { role: role.into(), content: content.into() }
    }

    /// Whether the message is the model's own.
    pub fn is_assistant(&self) -> bool {
        self.role == "assistant"
    }
}

/// The meaning of one record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Example {
    /// Plain text, for next-token training.
    Text(String),
    /// A conversation.
    Chat(Vec<Message>),
    /// Two whole conversations that differ in their last answer.
    Pair {
        /// The preferred one.
        chosen: Vec<Message>,
        /// The other one.
        rejected: Vec<Message>,
    },
    /// A conversation whose last answer was judged on its own.
    Judged {
        /// The whole conversation.
        messages: Vec<Message>,
        /// The verdict.
        desirable: bool,
    },
}

impl Example {
    /// The conversation that supervised fine-tuning imitates: the only one, or the chosen one of a
    /// pair. That of a judged answer is no example to follow where [`Self::is_undesirable`].
    pub fn messages(&self) -> Option<&[Message]> {
        match self {
            Example::Text(_) => None,
            Example::Chat(messages)
            | Example::Pair { chosen: messages, .. }
            | Example::Judged { messages, .. } => Some(messages),
        }
    }

    /// Whether the only answer was judged undesirable.
    pub fn is_undesirable(&self) -> bool {
        matches!(self, Example::Judged { desirable: false, .. })
    }
}
