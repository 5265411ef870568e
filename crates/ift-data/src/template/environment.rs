//! The environment of chat templates: Jinja as transformers sets it up, with Python's values.

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Rest, ValueKind};
use minijinja::{AutoEscape, Environment, Error, Output, State, Value, escape_formatter};

use super::arguments::wrong;
use super::filters::{default, float, indent, int, join, trim};
use super::held::check_held;
use super::json::to_json;
use super::methods::call_method;
use super::numbers::{as_float, float_text};
use super::printed::{is_container, printed};

/// Filters that Jinja2 does not have, or that do something else there.
const NOT_IN_JINJA2: [&str; 7] = ["split", "lines", "bool", "chain", "zip", "attr", "pprint"];

/// The filter on what each loop goes through. Not for templates.
pub(super) const ITERATED: &str = "_iterated";

/// The filter on what each `set` keeps. Not for templates.
pub(super) const HELD: &str = "_held";

/// An environment without a template and without `strftime_now`.
///
/// # Errors
/// Does not fail with the syntax that is set here.
pub(super) fn environment() -> Result<Environment<'static>, Error> {
    let mut env = Environment::new();
    env.set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?);
    env.set_auto_escape_callback(|_| AutoEscape::None);
    env.set_formatter(write_value);
    env.set_unknown_method_callback(call_method);
    for name in NOT_IN_JINJA2 {
        env.remove_filter(name);
    }
    for name in ["startingwith", "endingwith", "int", "safe"] {
        env.remove_test(name);
    }
    env.remove_global("debug");
    env.add_function("raise_exception", |state: &State<'_, '_>, message: &Value| {
        Err::<Value, Error>(wrong(printed(state, message)?))
    });
    env.add_test("iterable", is_iterable);
    env.add_test("sequence", |value: &Value| is_iterable(value) && !is_generator(value));
    env.add_test("callable", |value: &Value| value.kind() == ValueKind::Plain);
    env.add_filter("tojson", to_json);
    // The engine takes none for an empty list.
    env.add_filter(ITERATED, |value: Value| {
        if value.is_none() { Err(wrong("`for`: found none, expected a list")) } else { Ok(value) }
    });
    env.add_filter(HELD, |state: &State<'_, '_>, value: Value, owners: Rest<Value>| {
        check_held(state, &value, &owners).map(|()| value)
    });
    env.add_filter("int", int);
    env.add_filter("float", float);
    env.add_filter("string", printed);
    env.add_filter("indent", indent);
    env.add_filter("join", join);
    env.add_filter("trim", trim);
    env.add_filter("default", default);
    env.add_filter("d", default);
    Ok(env)
}

/// Writes a value as Python prints it.
fn write_value(
    out: &mut Output<'_>,
    state: &mut State<'_, '_>,
    value: &Value,
) -> Result<(), Error> {
    if let Some(number) = as_float(value) {
        return out.write_str(&float_text(number)).map_err(Error::from);
    }
    if is_container(value) {
        return out.write_str(&printed(state, value)?).map_err(Error::from);
    }
    escape_formatter(out, state, value)
}

#[allow(clippy::trivially_copy_pass_by_ref)] // the signature of a test
fn is_iterable(value: &Value) -> bool {
    use ValueKind::{Iterable, Map, Seq, String, Undefined};
    matches!(value.kind(), Iterable | Map | Seq | String | Undefined)
}

/// What can be iterated over only once in Python, or not by index.
#[allow(clippy::trivially_copy_pass_by_ref)] // as above
fn is_generator(value: &Value) -> bool {
    value.kind() == ValueKind::Iterable && value.len().is_none()
}
