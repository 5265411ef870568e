//! The chat template of a tokenizer, and how it marks turns.

use std::sync::OnceLock;

use crate::conversation::{Conversation, Message};
use crate::error::DataError;
use crate::report::counted;
use crate::template::Template;
use crate::turns::TurnStyle;

/// A template, and its turn style once it has been needed.
pub(super) struct Chat {
    pub template: Template,
    pub style: OnceLock<TurnStyle>,
}

impl Chat {
    /// Refuses what the template would silently leave out.
    pub fn check_fields(&self, conversation: &Conversation) -> Result<(), DataError> {
        let absent = |field: &str, ignore: &str, found: String| {
            let found = format!(
                "{found}, but the chat template ({}) never reads `{field}`",
                self.template.origin
            );
            let expected = format!(
                "a template that writes them (`data.template`), or `data.ignore = [\"{ignore}\"]` \
                 to train without them"
            );
            Err(DataError::field(field, found, expected))
        };
        if !conversation.tools.is_empty() && !self.template.mentions("tools") {
            return absent("tools", "tools", counted(conversation.tools.len() as u64, "tool"));
        }
        let calls = |message: &Message| {
            message.fields.get("tool_calls").and_then(|calls| calls.as_array()).map_or(0, Vec::len)
        };
        let calls: usize = conversation.messages.iter().map(calls).sum();
        if calls > 0 && !self.template.source.contains("tool_calls") {
            return absent("tool_calls", "messages.tool_calls", counted(calls as u64, "tool call"));
        }
        Ok(())
    }
}
