//! Renders parts and variants of one conversation.

use std::cell::Cell;

use minijinja::Value;

use crate::conversation::{Conversation, Message};
use crate::error::DataError;
use crate::template::{Template, template_value};

/// Renders a conversation, its beginnings, and variants with other messages in them.
pub(super) struct Renderer<'a> {
    pub template: &'a Template,
    conversation: &'a Conversation,
    values: Vec<Value>,
    renders: Cell<usize>,
    bytes: Cell<usize>,
}

impl<'a> Renderer<'a> {
    pub fn new(template: &'a Template, conversation: &'a Conversation) -> Self {
        let values = conversation.messages.iter().map(template_value).collect();
        Self { template, conversation, values, renders: Cell::new(0), bytes: Cell::new(0) }
    }

    pub fn messages(&self) -> &'a [Message] {
        &self.conversation.messages
    }

    /// The whole conversation.
    pub fn whole(&self) -> Result<String, DataError> {
        self.beginning(self.values.len())
    }

    /// The first `count` messages.
    pub fn beginning(&self, count: usize) -> Result<String, DataError> {
        self.render(&self.values[..count], false)
    }

    /// The first `count` messages with the generation prompt.
    pub fn prompt(&self, count: usize) -> Result<String, DataError> {
        self.render(&self.values[..count], true)
    }

    /// The first `count` messages, some of them replaced.
    pub fn variant(
        &self,
        count: usize,
        replaced: impl IntoIterator<Item = (usize, Message)>,
    ) -> Result<String, DataError> {
        let mut values = self.values[..count].to_vec();
        for (i, message) in replaced {
            values[i] = template_value(&message);
        }
        self.render(&values, false)
    }

    fn render(&self, values: &[Value], prompt: bool) -> Result<String, DataError> {
        let text = self.template.render(values, self.conversation, prompt)?;
        self.renders.set(self.renders.get() + 1);
        self.bytes.set(self.bytes.get() + text.len());
        Ok(text)
    }

    /// Number of renderings so far, and their bytes.
    #[cfg(test)]
    pub fn effort(&self) -> (usize, usize) {
        (self.renders.get(), self.bytes.get())
    }
}
