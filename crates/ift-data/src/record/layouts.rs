//! Reads a record of a known layout.

use serde_json::{Map, Value};

use crate::conversation::{Conversation, Example, Message};
use crate::error::DataError;
use crate::format::Format;

use super::calls;
use super::dialogue;
use super::fields::Fields;
use super::known::{COMPLETIONS, INPUTS, LABELS, LISTS, PROMPTS, SYSTEMS};
use super::messages::{Side, messages};
use super::values::{decoded, is_empty, is_list, kind, list, text};

/// Reads a record of this layout. What it leaves in the fields has no meaning.
///
/// # Errors
/// When a field is missing or of the wrong type, fields contradict each other, or a conversation is
/// empty.
pub(super) fn parse(fields: &mut Fields<'_>, format: Format) -> Result<Example, DataError> {
    match format {
        Format::Text => Ok(Example::Text(text(fields.need("text")?, "text")?)),
        Format::Messages => {
            let messages = conversation(fields, &LISTS)?;
            Ok(Example::Chat(chat(fields, messages)?))
        }
        Format::Sharegpt => {
            let messages = conversation(fields, &LISTS[1..])?;
            Ok(Example::Chat(chat(fields, messages)?))
        }
        Format::PromptCompletion => {
            let messages = completed(fields, "prompt", "completion")?;
            Ok(Example::Chat(chat(fields, messages)?))
        }
        Format::Alpaca => {
            let messages = completed(fields, "instruction", "output")?;
            Ok(Example::Chat(chat(fields, messages)?))
        }
        Format::Judged => judged(fields),
        Format::Preference => pair(fields),
    }
}

/// Refuses a conversation without messages.
fn filled(messages: Vec<Message>, field: &str) -> Result<Vec<Message>, DataError> {
    if messages.is_empty() {
        return Err(DataError::field(field, "an empty list", "at least one message"));
    }
    Ok(messages)
}

/// The conversation in the first of these fields.
fn conversation(fields: &mut Fields<'_>, names: &[&str]) -> Result<Vec<Message>, DataError> {
    let name = fields.first(names).or(names.first().copied()).unwrap_or_default();
    let value = fields.need(name)?;
    filled(messages(value, name, fields.columns)?, name)
}

/// A prompt and its answer. `prompt` and `answer` are the names in the error for a record that has
/// none.
fn completed(
    fields: &mut Fields<'_>,
    prompt: &str,
    answer: &str,
) -> Result<Vec<Message>, DataError> {
    let Some(mut all) = self::prompt(fields)? else { return Err(fields.missing(prompt)) };
    let Some((name, value)) = fields.one_of(&COMPLETIONS)? else {
        return Err(fields.missing(answer));
    };
    all.extend(Side::read(value, name, fields.columns)?.messages("assistant"));
    filled(all, name)
}

/// The prompt of a record: earlier turns, and a text with its input, or messages. `None` if the
/// record has none.
fn prompt(fields: &mut Fields<'_>) -> Result<Option<Vec<Message>>, DataError> {
    let (name, value) = match fields.one_of(&PROMPTS)? {
        Some(found) => found,
        None => match fields.one_of(&INPUTS)? {
            Some(found) => found,
            None => return Ok(None),
        },
    };
    let mut all = history(fields)?;
    match Side::read(value, name, fields.columns)? {
        Side::Messages(messages) => all.extend(messages),
        Side::Text(text) => match dialogue::turns(&text, true) {
            Some(turns) => all.extend(turns),
            None => all.push(Message::new("user", text + &input(fields)?)),
        },
    }
    Ok(Some(all))
}

/// The text that follows the text of a prompt.
fn input(fields: &mut Fields<'_>) -> Result<String, DataError> {
    let Some((name, value)) = fields.one_of(&INPUTS)? else { return Ok(String::new()) };
    let input = text(value, name)?;
    Ok(if input.is_empty() { input } else { format!("\n\n{input}") })
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

/// What belongs to a conversation beside its messages.
fn chat(fields: &mut Fields<'_>, messages: Vec<Message>) -> Result<Conversation, DataError> {
    let setting = Setting::take(fields)?;
    setting.conversation(messages)
}

/// The fields of a record that belong to its conversations, beside their messages.
#[derive(Clone)]
struct Setting {
    /// Field and text of the system turn.
    system: Option<(String, String)>,
    tools: Vec<Value>,
    arguments: Map<String, Value>,
}

impl Setting {
    fn take(fields: &mut Fields<'_>) -> Result<Self, DataError> {
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
        let arguments = match fields.take("chat_template_kwargs").map(decoded) {
            None => Map::new(),
            Some(Value::Object(map)) => map,
            Some(other) => {
                let expected = "an object of variables of the chat template";
                return Err(DataError::field("chat_template_kwargs", kind(&other), expected));
            }
        };
        Ok(Self { system: system.filter(|(_, text)| !text.is_empty()), tools, arguments })
    }

    fn conversation(self, mut messages: Vec<Message>) -> Result<Conversation, DataError> {
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

fn judged(fields: &mut Fields<'_>) -> Result<Example, DataError> {
    let Some((name, value)) = fields.one_of(&LABELS)? else { return Err(fields.missing("label")) };
    let Some(desirable) = verdict(&value) else {
        let found = match value {
            Value::Number(number) => number.to_string(),
            Value::String(text) => format!("\"{text}\""),
            other => kind(&other).to_owned(),
        };
        return Err(DataError::field(name, found, "true or false, or 1 or 0"));
    };
    let messages = if fields.first(&COMPLETIONS).is_some() {
        completed(fields, "prompt", "completion")?
    } else {
        conversation(fields, &LISTS)?
    };
    Ok(Example::Judged { conversation: chat(fields, messages)?, desirable })
}

/// Whether a label says that an answer is desirable.
pub(super) fn verdict(label: &Value) -> Option<bool> {
    match label {
        Value::Bool(desirable) => Some(*desirable),
        Value::Number(number) => match number.as_f64() {
            Some(1.0) => Some(true),
            Some(0.0) => Some(false),
            _ => None,
        },
        Value::String(text) => match text.to_ascii_lowercase().as_str() {
            "true" | "1" => Some(true),
            "false" | "0" => Some(false),
            _ => None,
        },
        _ => None,
    }
}

/// The two sides of a pair. Each is a whole conversation, or the answer that follows the prompt.
fn pair(fields: &mut Fields<'_>) -> Result<Example, DataError> {
    let mut read = |name: &str| match Side::read(fields.need(name)?, name, fields.columns)? {
        Side::Messages(messages) => filled(messages, name).map(Side::Messages),
        text @ Side::Text(_) => Ok(text),
    };
    let sides = [read("chosen")?, read("rejected")?];
    let listed = LISTS.into_iter().find(|name| fields.peek(name).is_some_and(is_list));
    let prompted = fields.first(&PROMPTS).or(fields.first(&INPUTS)).or(listed);
    let mut whole = sides.map(|side| whole(side, prompted.is_some()));
    if whole.iter().any(Result::is_err) {
        let prompt = match (prompt(fields)?, listed) {
            (Some(prompt), _) => prompt,
            (None, Some(name)) => {
                let prompt = conversation(fields, &[name])?;
                if prompt.last().is_some_and(Message::is_assistant) {
                    let found = "a conversation that ends with an assistant's turn";
                    let expected = "the prompt of the two answers, which ends with another turn";
                    return Err(DataError::field(name, found, expected));
                }
                prompt
            }
            (None, None) => return Err(no_prompt(fields)),
        };
        let answer = |answer| Ok([prompt.clone(), answer].concat());
        whole = whole.map(|side| side.or_else(answer));
    }
    let setting = Setting::take(fields)?;
    let [chosen, rejected] = whole.map(|side: Result<_, Vec<Message>>| {
        setting.clone().conversation(side.unwrap_or_else(|answer| answer))
    });
    Ok(Example::Pair { chosen: chosen?, rejected: rejected? })
}

/// The whole conversation that a side is, or the answer. A dialogue in plain text is a whole
/// conversation, and so are, without a prompt, several messages.
fn whole(side: Side, prompted: bool) -> Result<Vec<Message>, Vec<Message>> {
    match side {
        Side::Messages(messages) => {
            let begins = messages.first().is_some_and(|first| !first.is_assistant());
            let whole = begins || (!prompted && messages.len() > 1);
            if whole { Ok(messages) } else { Err(messages) }
        }
        Side::Text(text) => match dialogue::turns(&text, false) {
            Some(turns) => Ok(turns),
            None => Err(vec![Message::new("assistant", text)]),
        },
    }
}

fn no_prompt(fields: &Fields<'_>) -> DataError {
    DataError::Malformed(format!(
        "a pair without a prompt: found fields {}; expected the prompt in `prompt`, `question`, \
         `query`, `instruction`, `messages` or `conversations` (name another field in \
         `data.columns`), or whole conversations in `chosen` and `rejected`: lists of messages, or \
         text of the form \"\\n\\nHuman: …\\n\\nAssistant: …\"",
        fields.names()
    ))
}
