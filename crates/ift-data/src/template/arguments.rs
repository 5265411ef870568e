//! Arguments of Python's functions, given by position or by name.

use minijinja::value::{Kwargs, from_args};
use minijinja::{Error, ErrorKind, Value};

/// The arguments of a call in the order of `names`; `None` for those that are not given.
///
/// # Errors
/// When there are too many, one has an unknown name, or one is given twice.
pub(super) fn arguments<const N: usize>(
    values: &[Value],
    names: [&str; N],
) -> Result<[Option<Value>; N], Error> {
    let (given, by_name): (&[Value], Kwargs) = from_args(values)?;
    if given.len() > N {
        let problem = format!("found {} arguments, expected at most {N}", given.len());
        return Err(Error::new(ErrorKind::TooManyArguments, problem));
    }
    let mut out = [const { None }; N];
    for (i, name) in names.into_iter().enumerate() {
        let named = by_name.get::<Option<Value>>(name)?;
        out[i] = match (given.get(i), by_name.has(name)) {
            (Some(_), true) => return Err(wrong(format!("`{name}` is given twice"))),
            (Some(value), false) => Some(value.clone()),
            // A named argument that is none.
            (None, true) => Some(named.unwrap_or(Value::from(()))),
            (None, false) => None,
        };
    }
    by_name.assert_all_used()?;
    Ok(out)
}

/// An argument that must be there.
pub(super) fn needed<'a>(value: Option<&'a Value>, name: &str) -> Result<&'a Value, Error> {
    value.ok_or_else(|| {
        Error::new(ErrorKind::MissingArgument, format!("the argument `{name}` is missing"))
    })
}

/// A string.
pub(super) fn text<'a>(value: &'a Value, name: &str) -> Result<&'a str, Error> {
    value.as_str().ok_or_else(|| {
        wrong(format!("`{name}`: found a value of type {}, expected a string", value.kind()))
    })
}

/// An integer, or `None` where it is absent or none.
pub(super) fn integer(value: Option<&Value>, name: &str) -> Result<Option<i64>, Error> {
    let Some(value) = value.filter(|value| !value.is_none()) else { return Ok(None) };
    value.as_i64().map(Some).ok_or_else(|| {
        wrong(format!("`{name}`: found a value of type {}, expected an integer", value.kind()))
    })
}

/// An error in the use of a function.
pub(super) fn wrong(problem: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidOperation, problem.into())
}
