//! `--set section.key=value`.

use toml::{Table, Value};

use super::{error::RecipeError, places::Places};
use crate::place::FieldPath;

/// Sets one field. The value is parsed as TOML (`0.3`, `true`, `[1, 2]`, `{name = "sft"}`); if that
/// fails it is a string. Missing tables are created; elements of arrays are named by their index
/// and must exist.
pub(super) fn apply(
    table: &mut Table,
    places: &mut Places,
    argument: &str,
) -> Result<(), RecipeError> {
    let refuse = |message: String| RecipeError::Override { argument: argument.to_owned(), message };
    let (field, text) = argument
        .split_once('=')
        .ok_or_else(|| refuse("expected `section.key=value`, found no `=`".to_owned()))?;
    let keys = keys(field).ok_or_else(|| {
        refuse(format!("`{field}` is not a field; expected keys joined with dots"))
    })?;
    let value = text.trim().parse().unwrap_or_else(|_| Value::String(text.to_owned()));
    let path = insert(table, &keys, value).map_err(refuse)?;
    places.override_with(&path, argument);
    Ok(())
}

/// The parts of a dotted TOML key, without quotes.
fn keys(field: &str) -> Option<Vec<String>> {
    let mut keys = Vec::new();
    let mut value = Value::Table(toml::from_str(&format!("{field} = 0")).ok()?);
    while let Value::Table(table) = value {
        let mut entries = table.into_iter();
        let (key, inner) = entries.next()?;
        if entries.next().is_some() {
            return None;
        }
        keys.push(key);
        value = inner;
    }
    Some(keys)
}

fn insert(table: &mut Table, keys: &[String], value: Value) -> Result<FieldPath, String> {
    let mut path = FieldPath::default();
    let Some((first, rest)) = keys.split_first() else { return Ok(path) };
    path = path.key(first);
    let mut slot = table.entry(first).or_insert_with(|| Value::Table(Table::new()));
    for key in rest {
        slot = match slot {
            Value::Table(table) => table.entry(key).or_insert_with(|| Value::Table(Table::new())),
            Value::Array(elements) => {
                let count = elements.len();
                let element = key.parse().ok().and_then(|index: usize| elements.get_mut(index));
                element.ok_or_else(|| {
                    format!(
                        "`{path}` has {count} elements, counted from 0; found no element `{key}`"
                    )
                })?
            }
            scalar => {
                return Err(format!("`{path}` is {scalar}, not a table; it has no field `{key}`"));
            }
        };
        path = path.key(key);
    }
    *slot = value;
    Ok(path)
}
