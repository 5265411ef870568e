//! A compiled chat template, and rendering.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use minijinja::value::Serde;
use minijinja::{Environment, Error, ErrorKind, Value};

use super::clock::strftime;
use super::environment::{HELD, ITERATED, environment};
use super::limits::{self, check_source, on_large_stack};
use super::tags::{names_read, with_filtered_loops, with_filtered_sets, without_generation_tags};
use crate::conversation::{Conversation, Message, REASONING};
use crate::error::DataError;
use crate::special::{NAMED, SpecialTokens};

/// Name of the only template of an environment.
const NAME: &str = "chat";

/// Variables that every template gets, beside the special tokens.
const GIVEN: [&str; 4] = ["messages", "tools", "documents", "add_generation_prompt"];

/// Names that are no variables.
const FUNCTIONS: [&str; 8] =
    ["raise_exception", "strftime_now", "range", "dict", "namespace", "loop", "self", "caller"];

/// A compiled chat template with the tokenizer's special tokens.
#[derive(Debug)]
pub(crate) struct Template {
    env: Arc<Environment<'static>>,
    variables: Vec<(&'static str, Value)>,
    /// The names that it reads.
    names: BTreeSet<String>,
    /// Those of them that it does not set.
    unset: BTreeSet<String>,
    /// The Jinja text.
    pub source: String,
    /// Where the template comes from, for messages.
    pub origin: String,
    /// Whether it is the tokenizer's own.
    pub own: bool,
    /// Whether it contains `strftime_now`.
    pub reads_clock: bool,
}

impl Template {
    /// Compiles a template.
    ///
    /// # Errors
    /// When it is not valid Jinja.
    pub fn compile(
        source: &str,
        origin: &str,
        special: &SpecialTokens,
        now: Timestamp,
    ) -> Result<Self, DataError> {
        let fault =
            |e: Error| DataError::Template { origin: origin.to_owned(), problem: explain(&e) };
        let problem = |problem| DataError::Template { origin: origin.to_owned(), problem };
        check_source(source).map_err(problem)?;
        let mut env = environment().map_err(fault)?;
        // Jinja reads every kind of line end as one.
        let text = with_filtered_loops(&without_generation_tags(source), ITERATED);
        let text = with_filtered_sets(&text, HELD);
        let text = text.replace("\r\n", "\n").replace('\r', "\n");
        let compiled = on_large_stack(move || {
            env.add_template_owned(NAME, text)?;
            let unset = env.get_template(NAME)?.undeclared_variables(false);
            Ok((env, unset))
        });
        let (env, unset) = compiled.map_err(problem)?.map_err(fault)?;
        let mut this = Self {
            env: Arc::new(env),
            variables: special.variables().collect(),
            names: names_read(source),
            unset: unset.into_iter().collect(),
            source: source.to_owned(),
            origin: origin.to_owned(),
            own: false,
            reads_clock: source.contains("strftime_now"),
        };
        this.set_clock(now);
        Ok(this)
    }

    /// Sets the time that `strftime_now` writes, in UTC.
    pub fn set_clock(&mut self, now: Timestamp) {
        let time = now.to_zoned_datetime(TimeZone::UTC).datetime();
        let env = Arc::make_mut(&mut self.env);
        env.add_function("strftime_now", move |format: &str| strftime(format, time));
    }

    /// Whether the template reads a variable, such as `tools`. One that does not ignores it.
    pub fn mentions(&self, name: &str) -> bool {
        self.names.contains(name)
    }

    /// Renders messages, with the tools and arguments of the conversation they belong to.
    ///
    /// # Errors
    /// When the template raises an exception, uses an unknown variable or function, or never reads
    /// an argument of the conversation.
    pub fn render(
        &self,
        messages: &[Value],
        conversation: &Conversation,
        add_generation_prompt: bool,
    ) -> Result<String, DataError> {
        let arguments = &conversation.arguments;
        for name in arguments.keys() {
            self.check_argument(name).map_err(|problem| DataError::Template {
                origin: self.origin.clone(),
                problem: format!("`chat_template_kwargs`: {problem}"),
            })?;
        }
        let tools = &conversation.tools;
        let tools = if tools.is_empty() { Value::from(()) } else { Value::from(Serde(tools)) };
        let given = [
            Value::from(messages.to_vec()),
            tools.clone(),
            Value::from(()),
            Value::from(add_generation_prompt),
        ];
        let given = GIVEN.into_iter().zip(given);
        let arguments =
            arguments.iter().map(|(name, value)| (name.as_str(), Value::from(Serde(value))));
        let context =
            Value::from_pairs(self.variables.iter().cloned().chain(arguments).chain(given));
        let problem = |problem| DataError::Template { origin: self.origin.clone(), problem };
        let steps = limits::steps(messages.iter().chain([&tools]));
        let env = Arc::clone(&self.env);
        let render = move || with_steps(env, steps, |env| env.get_template(NAME)?.render(context));
        on_large_stack(render).map_err(problem)?.map_err(|e| {
            problem(match e.kind() {
                ErrorKind::OutOfFuel => limits::out_of_steps(steps),
                _ => explain(&e),
            })
        })
    }

    /// Checks that a name can be given as a variable, and that the template reads it.
    ///
    /// # Errors
    /// With what is wrong, and the nearest name that the template reads.
    pub fn check_argument(&self, name: &str) -> Result<(), String> {
        let own = GIVEN.contains(&name)
            || FUNCTIONS.contains(&name)
            || NAMED.contains(&name)
            || self.variables.iter().any(|(known, _)| *known == name);
        if own {
            return Err(format!(
                "found `{name}`, which the program or the tokenizer sets itself; remove it"
            ));
        }
        if self.mentions(name) {
            return Ok(());
        }
        let known = self.free_variables();
        let nearest = known
            .iter()
            .map(|known| (strsim::normalized_damerau_levenshtein(known, name), known))
            .filter(|(similarity, _)| *similarity > 0.5)
            .max_by(|a, b| a.0.total_cmp(&b.0));
        let hint = match (nearest, known.len()) {
            (Some((_, nearest)), _) => format!("did you mean `{nearest}`?"),
            (None, 0) => "it reads no such variable at all; remove it".to_owned(),
            (None, _) => {
                let known: Vec<String> = known.iter().map(|name| format!("`{name}`")).collect();
                format!("expected one of {}", known.join(", "))
            }
        };
        Err(format!("found `{name}`, which the chat template never reads; {hint}"))
    }

    /// The variables that the template reads and nobody sets.
    fn free_variables(&self) -> BTreeSet<String> {
        let mut names = self.unset.clone();
        let set = |name: &str| self.variables.iter().any(|(known, _)| *known == name);
        names.retain(|name| {
            let name = name.as_str();
            !(GIVEN.contains(&name)
                || FUNCTIONS.contains(&name)
                || NAMED.contains(&name)
                || set(name))
        });
        names
    }
}

/// An environment, and its copy whose number of steps is set for each rendering.
type Copied = (Arc<Environment<'static>>, Environment<'static>);

thread_local! {
    /// The environment that this thread used last. A copy costs as much as a short rendering.
    static LAST: RefCell<Option<Copied>> = const { RefCell::new(None) };
}

/// Runs work with an environment that has a number of steps.
fn with_steps<T>(
    env: Arc<Environment<'static>>,
    steps: u64,
    work: impl FnOnce(&Environment<'static>) -> T,
) -> T {
    let (env, mut copy) =
        LAST.take().filter(|(from, _)| Arc::ptr_eq(from, &env)).unwrap_or_else(|| {
            let copy = Environment::clone(&env);
            (env, copy)
        });
    copy.set_fuel(Some(steps));
    let result = work(&copy);
    LAST.set(Some((env, copy)));
    result
}

/// A message as the value that templates get. As in transformers, a message without a text has no
/// `content`, and its reasoning is there as `reasoning_content` and `thinking`.
pub(crate) fn template_value(message: &Message) -> Value {
    let mut fields = vec![("role".to_owned(), Value::from(message.role.as_str()))];
    if let Some(content) = &message.content {
        fields.push(("content".to_owned(), Value::from(content.as_str())));
    }
    let given = |name: &str| message.fields.get(name).filter(|value| !value.is_null());
    let value = |value| Value::from(Serde(value));
    for name in message.fields.keys() {
        fields.extend(given(name).map(|field| (name.clone(), value(field))));
    }
    if let Some(reasoning) = REASONING.into_iter().find_map(given) {
        if given("thinking").is_none() {
            fields.insert(0, ("thinking".to_owned(), value(reasoning)));
        }
        if given("reasoning_content").is_none() {
            fields.push(("reasoning_content".to_owned(), value(reasoning)));
        }
    }
    Value::from_pairs(fields)
}

/// The message of an error, with the line of the template.
fn explain(error: &Error) -> String {
    let text = error.detail().map_or_else(|| error.kind().to_string(), str::to_owned);
    let text = text.replace("recursion limit exceeded", "limit: it calls itself too deeply");
    let text = text.replace("template exceeds maximum recursion", "limit: tags exceed the nesting");
    match error.line() {
        Some(line) => format!("{text} (line {line} of the template)"),
        None => text,
    }
}
