//! Filters of Jinja2 that differ from those of the template engine.

use minijinja::value::{Rest, ValueOrKwargs};
use minijinja::{Error, State, Value};

use super::arguments::{arguments, integer, needed, wrong};
use super::methods::{join_texts, lines, strip};
use super::numbers::{digits, float_of, float_text};
use super::printed::printed;

/// The filter `trim`.
///
/// # Errors
/// When an argument is wrong.
pub(super) fn trim(state: &State<'_, '_>, args: Rest<ValueOrKwargs>) -> Result<Value, Error> {
    let [value, chars] = arguments(&args.into_values(), ["value", "chars"])?;
    let text = printed(state, needed(value.as_ref(), "value")?)?;
    Ok(Value::from(strip(&text, chars.as_ref(), "strip")?))
}

/// The filter `default`.
///
/// # Errors
/// When an argument is wrong.
pub(super) fn default(args: Rest<ValueOrKwargs>) -> Result<Value, Error> {
    let names = ["value", "default_value", "boolean"];
    let [value, default, boolean] = arguments(&args.into_values(), names)?;
    let value = value.unwrap_or_default();
    let boolean = boolean.is_some_and(|boolean| boolean.is_true());
    let missing = value.is_undefined() || (boolean && !value.is_true());
    Ok(if missing { default.unwrap_or(Value::from("")) } else { value })
}

/// The filter `int`.
///
/// # Errors
/// When an argument is wrong, or the number is too large.
pub(super) fn int(args: Rest<ValueOrKwargs>) -> Result<Value, Error> {
    let [value, default, base] = arguments(&args.into_values(), ["value", "default", "base"])?;
    let value = needed(value.as_ref(), "value")?;
    let default = default.unwrap_or(Value::from(0));
    let base = integer(base.as_ref(), "base")?.unwrap_or(10);
    let base = u32::try_from(base).ok().filter(|base| (2..=36).contains(base));
    let base = base.ok_or_else(|| wrong("`base`: expected a number from 2 to 36"))?;
    if let Some(text) = value.as_str()
        && let Some(number) = digits(text, base)
    {
        return Ok(Value::from(number));
    }
    if value.is_integer() {
        return Ok(value.clone());
    }
    let Some(number) = float_of(value).filter(|number| number.is_finite()) else {
        return Ok(default);
    };
    if number.abs() >= 1e38 {
        return Err(wrong(format!("the integer {} is too large", float_text(number))));
    }
    Ok(Value::from(number.trunc() as i128))
}

/// The filter `float`.
///
/// # Errors
/// When an argument is wrong.
pub(super) fn float(args: Rest<ValueOrKwargs>) -> Result<Value, Error> {
    let [value, default] = arguments(&args.into_values(), ["value", "default"])?;
    let value = needed(value.as_ref(), "value")?;
    Ok(float_of(value).map_or_else(|| default.unwrap_or(Value::from(0.0)), Value::from))
}

/// The filter `indent`.
///
/// # Errors
/// When an argument is wrong.
pub(super) fn indent(state: &State<'_, '_>, args: Rest<ValueOrKwargs>) -> Result<Value, Error> {
    let names = ["value", "width", "first", "blank"];
    let [value, width, first, blank] = arguments(&args.into_values(), names)?;
    let value = printed(state, needed(value.as_ref(), "value")?)?;
    #[allow(clippy::single_match_else)] // two ways to give one thing
    let indention = match width.as_ref().and_then(Value::as_str) {
        Some(text) => text.to_owned(),
        None => {
            let width = integer(width.as_ref(), "width")?.unwrap_or(4);
            let width = usize::try_from(width).unwrap_or(0);
            state.consume_fuel((width / 64) as u64)?;
            " ".repeat(width)
        }
    };
    let on = |value: Option<Value>| value.is_some_and(|value| value.is_true());
    let (first, blank) = (on(first), on(blank));
    let mut out = String::new();
    // Jinja2 adds a line end before it splits the text into lines.
    for (i, line) in lines(&(value + "\n"), false).iter().enumerate() {
        let line = line.as_str().unwrap_or_default();
        state.consume_fuel(((indention.len() + line.len()) / 64) as u64)?;
        if i > 0 {
            out.push('\n');
        }
        if if i == 0 { first } else { blank || !line.is_empty() } {
            out.push_str(&indention);
        }
        out.push_str(line);
    }
    Ok(Value::from(out))
}

/// The filter `join`.
///
/// # Errors
/// When an argument is wrong.
pub(super) fn join(state: &State<'_, '_>, args: Rest<ValueOrKwargs>) -> Result<Value, Error> {
    let [value, separator, attribute] =
        arguments(&args.into_values(), ["value", "d", "attribute"])?;
    let value = needed(value.as_ref(), "value")?;
    let separator = separator.map(|value| printed(state, &value)).transpose()?.unwrap_or_default();
    let mut texts = Vec::new();
    for item in value.try_iter()?.checked() {
        let mut item = item?;
        if let Some(attribute) = attribute.as_ref().filter(|value| !value.is_none()) {
            for part in printed(state, attribute)?.split('.') {
                let key = part.parse::<u32>().map_or_else(|_| Value::from(part), Value::from);
                item = item.get_item(&key)?;
            }
        }
        state.consume_fuel(1)?;
        texts.push(Value::from(printed(state, &item)?));
    }
    join_texts(state, &separator, &Value::from(texts))
}
