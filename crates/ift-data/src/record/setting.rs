//! What belongs to a conversation beside its messages.

use serde_json::{Map, Value};

use crate::conversation::{Conversation, Message};
use crate::error::DataError;

use super::calls;
use super::fields::Fields;
use super::known::SYSTEMS;
use super::values::{check_whole, decoded, is_empty, kind, list, text};

/// The fields of a record that belong to its conversations, beside their messages.
#[derive(Clone)]
pub(super) struct Setting {
    /// Turns that come before all others but those of the system.
    history: Vec<Message>,
    /// Field and text of the system turn.
    system: Option<(String, String)>,
    tools: Vec<Value>,
    arguments: Map<String, Value>,
}

impl Setting {
    /// Takes the fields.
    ///
    /// # Errors
    /// When one is of the wrong type, or both `tools` and `functions` are there.
    pub fn take(fields: &mut Fields<'_>) -> Result<Self, DataError> {
        let history = history(fields)?;
        let system = match fields.one_of(&SYSTEMS)? {
            Some((name, value)) => Some((name.to_owned(), text(value, name)?)),
            None => None,
        };
        let mut tools = match fields.take("tools") {
            Some(value) => calls::tools(value, "tools")?,
            None => Vec::new(),
        };
        if let Some(value) = fields.take("functions") {
            let functions = calls::functions(value, "functions")?;
            if !tools.is_empty() && !functions.is_empty() {
                let found = "a list, next to `tools`";
                return Err(DataError::field("functions", found, "one of the two"));
            }
            tools.extend(functions);
        }
        let name = "chat_template_kwargs";
        let arguments = match fields.take(name).map(|value| decoded(value, name)).transpose()? {
            None => Map::new(),
            Some(Value::Object(map)) => map,
            Some(other) => {
                let expected = "an object of variables of the chat template";
                return Err(DataError::field(name, kind(&other), expected));
            }
        };
        for (key, value) in &arguments {
            check_whole(value, &format!("{name}.{key}"))?;
        }
        let system = system.filter(|(_, text)| !text.is_empty());
        Ok(Self { history, system, tools, arguments })
    }

    /// The conversation of these messages.
    ///
    /// # Errors
    /// When it has another system turn.
    pub fn conversation(self, mut messages: Vec<Message>) -> Result<Conversation, DataError> {
        let systems = messages.iter().take_while(|message| message.role == "system").count();
        messages.splice(systems..systems, self.history);
        if let Some((field, text)) = self.system {
            let own = messages.iter().find(|message| message.role == "system");
            match own {
                Some(own) if own.text() == text => {}
                Some(_) => {
                    let found = "a text that differs from the conversation's own system turn";
                    let expected = format!(
                        "one system turn; to leave the field out, write \
                         `data.ignore = [\"{field}\"]`"
                    );
                    return Err(DataError::field(field, found, expected));
                }
                None => messages.insert(0, Message::new("system", text)),
            }
        }
        Ok(Conversation { messages, tools: self.tools, arguments: self.arguments })
    }
}

/// The earlier turns in `history`: a list of pairs of a question and an answer.
fn history(fields: &mut Fields<'_>) -> Result<Vec<Message>, DataError> {
    let mut turns = Vec::new();
    let Some(value) = fields.take("history") else { return Ok(turns) };
    if is_empty(&value) {
        return Ok(turns);
    }
    for (i, value) in list(value, "history")?.into_iter().enumerate() {
        let at = format!("history[{i}]");
        let mut pair = list(value, &at)?.into_iter();
        let (Some(question), Some(answer), None) = (pair.next(), pair.next(), pair.next()) else {
            let found = "a list of another length";
            return Err(DataError::field(at, found, "a list of two: a question and its answer"));
        };
        turns.push(Message::new("user", text(question, &format!("{at}[0]"))?));
        turns.push(Message::new("assistant", text(answer, &format!("{at}[1]"))?));
    }
    Ok(turns)
}
