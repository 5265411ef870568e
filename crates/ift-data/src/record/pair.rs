//! Reads a pair of answers.

use crate::conversation::{Conversation, Example, Message};
use crate::error::DataError;

use super::columns::Columns;
use super::dialogue;
use super::fields::Fields;
use super::known::{CHOSEN, INPUTS, LISTS, PROMPTS, REJECTED};
use super::messages::Side;
use super::prompts::{self, filled, same_turns};
use super::setting::Setting;
use super::values::is_list;

/// The two sides of a pair. Each is a whole conversation, or the answer that follows the prompt.
pub(super) fn pair(fields: &mut Fields<'_>) -> Result<Example, DataError> {
    let [chosen, rejected] = [side(fields, &CHOSEN)?, side(fields, &REJECTED)?];
    let listed = LISTS.into_iter().find(|name| fields.peek(name).is_some_and(is_list));
    let asked = fields.first(&PROMPTS).or(fields.first(&INPUTS));
    let whole = [&chosen, &rejected].into_iter().all(PairSide::is_whole);
    // An empty prompt is none.
    let says = |prompt: &Vec<Message>| prompt.iter().any(|turn| !turn.text().trim().is_empty());
    let prompt = match (prompts::prompt(fields)?.filter(says), listed) {
        (Some(prompt), _) => Some((asked.unwrap_or_default(), prompt)),
        // Next to whole conversations, it is one of them (as in UltraFeedback) or their beginning.
        (None, Some(name)) => {
            let prompt = prompts::listed(fields, &[name])?;
            match prompt.last() {
                Some(last) if !last.is_assistant() => Some((name, prompt)),
                _ if whole => {
                    fields.list(name);
                    None
                }
                _ => {
                    let found = "a conversation that ends with an assistant's turn";
                    let expected = "the prompt of the two answers, which ends with another turn";
                    return Err(DataError::field(name, found, expected));
                }
            }
        }
        (None, None) => None,
    };
    let setting = Setting::take(fields)?;
    let mut conversations = Vec::with_capacity(2);
    for side in [chosen, rejected] {
        let messages = match &prompt {
            Some((name, prompt)) => side.after(prompt, name, fields.columns)?,
            None if side.is_whole() => side.messages,
            None => return Err(no_prompt(fields)),
        };
        conversations.push(setting.clone().conversation(messages)?);
    }
    let [chosen, rejected] = <[Conversation; 2]>::try_from(conversations)
        .map_err(|_| DataError::Malformed("a pair has two sides".to_owned()))?;
    Ok(Example::Pair { chosen, rejected })
}

/// One side of a pair.
struct PairSide {
    name: &'static str,
    messages: Vec<Message>,
    /// Whether it was text without the marks of a dialogue.
    text: bool,
}

/// The side in one of these fields.
fn side(fields: &mut Fields<'_>, names: &[&'static str; 2]) -> Result<PairSide, DataError> {
    let Some((name, value)) = fields.one_of(names)? else { return Err(fields.missing(names[0])) };
    Ok(match Side::read(value, name, fields.columns)? {
        Side::Messages(messages) => {
            PairSide { name, messages: filled(messages, name)?, text: false }
        }
        Side::Text(text) => match dialogue::turns(&text, false) {
            Some(messages) => PairSide { name, messages, text: false },
            None => PairSide { name, messages: vec![Message::new("assistant", text)], text: true },
        },
    })
}

impl PairSide {
    /// Whether it can be a conversation of its own.
    fn is_whole(&self) -> bool {
        let begins = self.messages.first().is_some_and(|first| !first.is_assistant());
        !self.text && (begins || self.messages.len() > 1)
    }

    /// The conversation of a prompt and this side, which may begin with the prompt already.
    fn after(
        self,
        prompt: &[Message],
        name: &str,
        columns: &Columns,
    ) -> Result<Vec<Message>, DataError> {
        if !self.text && contains(&self.messages, prompt) {
            return Ok(self.messages);
        }
        let joint = prompt.last().zip(self.messages.first());
        let fits = |(last, first): (&Message, &Message)| {
            first.role != "system" && (last.role != first.role || first.role == "tool")
        };
        if joint.is_none_or(fits) {
            return Ok([prompt.to_vec(), self.messages].concat());
        }
        let theirs = columns.theirs(name);
        let found =
            format!("a prompt that the conversation in `{}` does not begin with", self.name);
        let expected = format!(
            "the beginning of the conversation, or turns that come before it; to read `{}` alone, \
             write `data.ignore = [\"{theirs}\"]`",
            self.name
        );
        Err(DataError::field(name, found, expected))
    }
}

/// Whether a conversation begins with a prompt, or has the text of a prompt as one of its
/// questions.
fn contains(messages: &[Message], prompt: &[Message]) -> bool {
    let is_system = |message: &&Message| message.role == "system";
    let systems = messages.iter().take_while(is_system).count();
    let begins = |messages: &[Message]| {
        messages.get(..prompt.len()).is_some_and(|beginning| same_turns(beginning, prompt))
    };
    let question = match prompt {
        [question] if question.role == "user" => messages.iter().any(|message| {
            same_turns(std::slice::from_ref(message), std::slice::from_ref(question))
        }),
        _ => false,
    };
    begins(messages) || begins(&messages[systems..]) || question
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
