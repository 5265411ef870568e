//! Chat templates, run as transformers runs them: Jinja with `trim_blocks` and `lstrip_blocks`,
//! Python's string and dictionary methods, `raise_exception`, `strftime_now`, loop controls, and a
//! `tojson` that writes what Python's `json.dumps(ensure_ascii=False)` writes.

use std::borrow::Cow;
use std::io;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::Kwargs;
use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment, Error, ErrorKind, Value};
use serde::Serialize;
use serde_json::ser::Formatter;

use crate::conversation::{Conversation, Message};
use crate::error::DataError;
use crate::special::SpecialTokens;

/// Templates that can be named in a configuration: (name, source).
pub(crate) const BUILT_IN_TEMPLATES: [(&str, &str); 3] =
    [("zephyr", ZEPHYR), ("chatml", CHATML), ("llama3", LLAMA3)];

/// The template of the IFT authors: `<|role|>`, a new line, the content, and the EOS token of the
/// tokenizer.
const ZEPHYR: &str = "{%- for message in messages -%}
{%- if message.role not in ['system', 'user', 'assistant'] -%}
{{- raise_exception('role `' + message.role + '` is not known; \
    expected system, user or assistant') -}}
{%- endif -%}
{{- '<|' + message.role + '|>\\n' + message.content + eos_token + '\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|assistant|>\\n' -}}{%- endif -%}";

const CHATML: &str = "{%- for message in messages -%}
{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}";

const LLAMA3: &str = "{{- bos_token -}}
{%- for message in messages -%}
{{- '<|start_header_id|>' + message.role + '<|end_header_id|>\\n\\n' \
    + message.content | trim + '<|eot_id|>' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}\
    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' -}}{%- endif -%}";

/// Name of the only template of an environment.
const NAME: &str = "chat";

/// A compiled chat template with the tokenizer's special tokens.
#[derive(Debug)]
pub(crate) struct Template {
    env: Environment<'static>,
    variables: Vec<(&'static str, Value)>,
    /// The Jinja text.
    pub source: String,
    /// Where the template comes from, for messages.
    pub origin: String,
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
        let mut env = Environment::new();
        let syntax =
            SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build().map_err(fault)?;
        env.set_syntax(syntax);
        env.set_auto_escape_callback(|_| AutoEscape::None);
        env.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        env.add_function("raise_exception", |message: String| -> Result<Value, Error> {
            Err(Error::new(ErrorKind::InvalidOperation, message))
        });
        env.add_filter("tojson", to_json);
        env.add_template_owned(NAME, without_generation_tags(source)).map_err(fault)?;
        let mut this = Self {
            env,
            variables: special.variables().collect(),
            source: source.to_owned(),
            origin: origin.to_owned(),
            reads_clock: source.contains("strftime_now"),
        };
        this.set_clock(now);
        Ok(this)
    }

    /// Sets the time that `strftime_now` writes, in UTC.
    pub fn set_clock(&mut self, now: Timestamp) {
        self.env.add_function("strftime_now", move |format: String| -> Result<String, Error> {
            jiff::fmt::strtime::format(&format, &now.to_zoned_datetime(TimeZone::UTC))
                .map_err(|e| Error::new(ErrorKind::InvalidOperation, format!("strftime_now: {e}")))
        });
    }

    /// Renders messages, with the tools and arguments of the conversation they belong to.
    ///
    /// # Errors
    /// When the template raises an exception, or uses an unknown variable or function.
    pub fn render(
        &self,
        messages: &[Value],
        conversation: &Conversation,
        add_generation_prompt: bool,
    ) -> Result<String, DataError> {
        let tools = &conversation.tools;
        let tools = if tools.is_empty() { Value::from(()) } else { Value::from(Serde(tools)) };
        let given = [
            ("messages", Value::from(messages.to_vec())),
            ("tools", tools),
            ("documents", Value::from(())),
            ("add_generation_prompt", Value::from(add_generation_prompt)),
        ];
        let context = Value::from_pairs(self.variables.iter().cloned().chain(given));
        let render = || self.env.get_template(NAME)?.render(context);
        render()
            .map_err(|e| DataError::Template { origin: self.origin.clone(), problem: explain(&e) })
    }
}

/// A message as the value that templates get.
pub(crate) fn template_value(message: &Message) -> Value {
    let own =
        [("role", Value::from(message.role.as_str())), ("content", message.content.clone().into())];
    let own = own.into_iter().map(|(name, value)| (name.to_owned(), value));
    let fields =
        message.fields.iter().map(|(name, value)| (name.clone(), Value::from(Serde(value))));
    Value::from_pairs(own.chain(fields))
}

/// The message of an error, with the line of the template.
fn explain(error: &Error) -> String {
    let text = error.detail().map_or_else(|| error.kind().to_string(), str::to_owned);
    match error.line() {
        Some(line) => format!("{text} (line {line} of the template)"),
        None => text,
    }
}

/// Replaces `{% generation %}` and `{% endgeneration %}`, which only mark text, by tags without
/// effect that treat white space in the same way.
fn without_generation_tags(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(start) = rest.find("{%") {
        let (before, tag) = rest.split_at(start);
        out.push_str(before);
        let Some(end) = tag.find("%}") else {
            rest = tag;
            break;
        };
        let (inside, after) = (&tag[2..end], &tag[end..]);
        let name = inside.trim_start_matches(['-', '+']).trim_end_matches(['-', '+']).trim();
        let name = match name {
            "generation" => Cow::Owned(inside.replace("generation", "if true")),
            "endgeneration" => Cow::Owned(inside.replace("endgeneration", "endif")),
            _ => Cow::Borrowed(inside),
        };
        out.push_str("{%");
        out.push_str(&name);
        rest = after;
    }
    out.push_str(rest);
    out
}

/// `json.dumps(value, ensure_ascii=False, indent=indent)`.
#[allow(clippy::needless_pass_by_value)] // the signature of a filter
fn to_json(value: Value, indent: Option<usize>, kwargs: Kwargs) -> Result<Value, Error> {
    let indent = match kwargs.get::<Option<usize>>("indent")? {
        Some(n) => Some(n),
        None => indent,
    };
    // The default of transformers' filter. Other values are accepted but have no effect.
    kwargs.get::<Option<bool>>("ensure_ascii")?;
    kwargs.assert_all_used()?;
    let mut bytes = Vec::new();
    let mut writer = serde_json::Serializer::with_formatter(
        &mut bytes,
        PythonJson { indent, depth: 0, any: false },
    );
    value
        .serialize(&mut writer)
        .map_err(|e| Error::new(ErrorKind::BadSerialization, e.to_string()))?;
    let text = String::from_utf8(bytes)
        .map_err(|e| Error::new(ErrorKind::BadSerialization, e.to_string()))?;
    Ok(Value::from(text))
}

/// Python's separators: `", "` and `": "`, or new lines with `indent`.
struct PythonJson {
    indent: Option<usize>,
    depth: usize,
    any: bool,
}

impl PythonJson {
    fn begin<W: ?Sized + io::Write>(&mut self, writer: &mut W, bracket: &[u8]) -> io::Result<()> {
        self.depth += 1;
        self.any = false;
        writer.write_all(bracket)
    }

    fn item<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        if self.indent.is_some() {
            writer.write_all(if first { b"" } else { b"," })?;
            self.new_line(writer)
        } else {
            writer.write_all(if first { b"" } else { b", " })
        }
    }

    fn end<W: ?Sized + io::Write>(&mut self, writer: &mut W, bracket: &[u8]) -> io::Result<()> {
        self.depth -= 1;
        if self.any && self.indent.is_some() {
            self.new_line(writer)?;
        }
        self.any = true;
        writer.write_all(bracket)
    }

    fn new_line<W: ?Sized + io::Write>(&self, writer: &mut W) -> io::Result<()> {
        let width = self.indent.unwrap_or(0) * self.depth;
        write!(writer, "\n{:width$}", "")
    }
}

impl Formatter for PythonJson {
    fn begin_array<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.begin(writer, b"[")
    }

    fn begin_array_value<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> io::Result<()> {
        self.item(writer, first)
    }

    fn end_array_value<W: ?Sized + io::Write>(&mut self, _: &mut W) -> io::Result<()> {
        self.any = true;
        Ok(())
    }

    fn end_array<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.end(writer, b"]")
    }

    fn begin_object<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.begin(writer, b"{")
    }

    fn begin_object_key<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> io::Result<()> {
        self.item(writer, first)
    }

    fn begin_object_value<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b": ")
    }

    fn end_object_value<W: ?Sized + io::Write>(&mut self, _: &mut W) -> io::Result<()> {
        self.any = true;
        Ok(())
    }

    fn end_object<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.end(writer, b"}")
    }
}
