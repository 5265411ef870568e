//! Rows of Arrow columns as JSON values.
//!
//! | column | value |
//! |---|---|
//! | string, also dictionary-encoded; binary that is UTF-8 | a string |
//! | integer, float | a number; NaN and infinities are null, as JSON has none |
//! | decimal | a string, exact |
//! | date, time, timestamp | a string in the form of ISO 8601, with `Z` where it is in UTC |
//! | duration | a number, in the column's unit |
//! | list | a list |
//! | struct | an object without its null fields, which it has for the keys that a record lacks |
//! | map | an object |
//! | struct of lists that are messages (`role` and `content`, or `from` and `value`) | a list |
//! | other | an object whose only key says what it is, so that no field is taken for it |

use arrow_array::cast::AsArray;
use arrow_array::types::{
    ArrowDictionaryKeyType, ArrowPrimitiveType, ArrowTemporalType, ArrowTimestampType, Date32Type,
    Date64Type, Decimal32Type, Decimal64Type, Decimal128Type, Decimal256Type, DecimalType,
    DurationMicrosecondType, DurationMillisecondType, DurationNanosecondType, DurationSecondType,
    Float16Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
    Time32MillisecondType, Time32SecondType, Time64MicrosecondType, Time64NanosecondType,
    TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType,
    TimestampSecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{Array, ArrayRef, RecordBatch, StructArray};
use arrow_schema::{DataType, TimeUnit};
use serde_json::{Map, Number, Value};

use crate::strict::HUGE;

/// Stand-ins for values without a JSON form.
const BYTES: &str = "bytes that are not UTF-8 text";
const OTHER: &str = "a column type without a JSON form";
const TWICE: &str = "a map with a key that occurs twice";

/// What an object stands for, if it is no value of its own, for messages.
pub(crate) fn without_value(object: &Map<String, Value>) -> Option<&'static str> {
    let key = object.keys().next().filter(|_| object.len() == 1)?;
    [BYTES, OTHER, TWICE, HUGE].into_iter().find(|stands_for| key == stands_for)
}

/// The fields of a row; `row` is less than the number of rows.
pub(super) fn record(batch: &RecordBatch, row: usize) -> Value {
    let schema = batch.schema_ref();
    let fields = schema.fields().iter().zip(batch.columns());
    Value::Object(
        fields.map(|(field, column)| (field.name().clone(), top_level(column, row))).collect(),
    )
}

/// A value of a column of the record itself.
fn top_level(column: &ArrayRef, row: usize) -> Value {
    match column.as_struct_opt() {
        Some(lists) if lists.is_valid(row) => {
            messages(lists, row).unwrap_or_else(|| value(column, row))
        }
        _ => value(column, row),
    }
}

/// A struct of lists of one length as a list of messages, which is what it was made of: Hugging
/// Face's `datasets` stores a `Sequence` of a dictionary so.
fn messages(lists: &StructArray, row: usize) -> Option<Value> {
    let names = lists.column_names();
    let has = |name: &str| names.contains(&name);
    if !(has("role") && has("content") || has("from") && has("value")) {
        return None;
    }
    let mut turns: Vec<Map<String, Value>> = Vec::new();
    for (number, (name, column)) in names.iter().zip(lists.columns()).enumerate() {
        let Value::Array(values) = value(column, row) else { return None };
        if number == 0 {
            turns.resize_with(values.len(), Map::new);
        }
        if values.len() != turns.len() {
            return None;
        }
        for (turn, value) in turns.iter_mut().zip(values) {
            if !value.is_null() {
                turn.insert((*name).to_owned(), value);
            }
        }
    }
    Some(turns.into_iter().map(Value::Object).collect())
}

fn value(array: &ArrayRef, row: usize) -> Value {
    if array.is_null(row) {
        return Value::Null;
    }
    match array.data_type() {
        DataType::Null => Value::Null,
        DataType::Boolean => Value::Bool(array.as_boolean().value(row)),
        DataType::Utf8 => array.as_string::<i32>().value(row).into(),
        DataType::LargeUtf8 => array.as_string::<i64>().value(row).into(),
        DataType::Utf8View => array.as_string_view().value(row).into(),
        DataType::Binary => text(array.as_binary::<i32>().value(row)),
        DataType::LargeBinary => text(array.as_binary::<i64>().value(row)),
        DataType::BinaryView => text(array.as_binary_view().value(row)),
        DataType::FixedSizeBinary(_) => text(array.as_fixed_size_binary().value(row)),
        DataType::List(_) => list(&array.as_list::<i32>().value(row)),
        DataType::LargeList(_) => list(&array.as_list::<i64>().value(row)),
        DataType::ListView(_) => list(&array.as_list_view::<i32>().value(row)),
        DataType::LargeListView(_) => list(&array.as_list_view::<i64>().value(row)),
        DataType::FixedSizeList(_, _) => list(&array.as_fixed_size_list().value(row)),
        DataType::Struct(_) => {
            let array = array.as_struct();
            let fields = array.column_names().into_iter().zip(array.columns());
            let fields = fields.map(|(name, column)| (name.to_owned(), value(column, row)));
            Value::Object(fields.filter(|(_, value)| !value.is_null()).collect())
        }
        DataType::Map(_, _) => map(&array.as_map().value(row)),
        DataType::Dictionary(key, _) => dictionary(array, key, row),
        _ => number(array, row),
    }
}

fn list(values: &ArrayRef) -> Value {
    (0..values.len()).map(|row| value(values, row)).collect()
}

/// The entries of a map, keys and values.
fn map(entries: &StructArray) -> Value {
    let [keys, values] = entries.columns() else { return without_json_form(OTHER) };
    let mut fields = Map::new();
    for row in 0..entries.len() {
        let key = match value(keys, row) {
            Value::String(key) => key,
            other => other.to_string(),
        };
        if fields.insert(key, value(values, row)).is_some() {
            return without_json_form(TWICE);
        }
    }
    Value::Object(fields)
}

fn dictionary(array: &ArrayRef, key: &DataType, row: usize) -> Value {
    fn entry<K: ArrowDictionaryKeyType>(array: &ArrayRef, row: usize) -> Value {
        let array = array.as_dictionary::<K>();
        array.key(row).map_or(Value::Null, |key| value(array.values(), key))
    }
    match key {
        DataType::Int8 => entry::<Int8Type>(array, row),
        DataType::Int16 => entry::<Int16Type>(array, row),
        DataType::Int32 => entry::<Int32Type>(array, row),
        DataType::Int64 => entry::<Int64Type>(array, row),
        DataType::UInt8 => entry::<UInt8Type>(array, row),
        DataType::UInt16 => entry::<UInt16Type>(array, row),
        DataType::UInt32 => entry::<UInt32Type>(array, row),
        DataType::UInt64 => entry::<UInt64Type>(array, row),
        _ => without_json_form(OTHER),
    }
}

/// Numbers, and what is stored as a number.
fn number(array: &ArrayRef, row: usize) -> Value {
    match array.data_type() {
        DataType::Int8 => integer::<Int8Type>(array, row),
        DataType::Int16 => integer::<Int16Type>(array, row),
        DataType::Int32 => integer::<Int32Type>(array, row),
        DataType::Int64 => integer::<Int64Type>(array, row),
        DataType::UInt8 => integer::<UInt8Type>(array, row),
        DataType::UInt16 => integer::<UInt16Type>(array, row),
        DataType::UInt32 => integer::<UInt32Type>(array, row),
        DataType::UInt64 => integer::<UInt64Type>(array, row),
        DataType::Float16 => float(array.as_primitive::<Float16Type>().value(row).to_f64()),
        DataType::Float32 => shortest(array.as_primitive::<Float32Type>().value(row)),
        DataType::Float64 => float(array.as_primitive::<Float64Type>().value(row)),
        DataType::Decimal32(_, _) => decimal::<Decimal32Type>(array, row),
        DataType::Decimal64(_, _) => decimal::<Decimal64Type>(array, row),
        DataType::Decimal128(_, _) => decimal::<Decimal128Type>(array, row),
        DataType::Decimal256(_, _) => decimal::<Decimal256Type>(array, row),
        DataType::Date32 => date::<Date32Type>(array, row),
        DataType::Date64 => date::<Date64Type>(array, row),
        DataType::Time32(TimeUnit::Second) => time::<Time32SecondType>(array, row),
        DataType::Time32(_) => time::<Time32MillisecondType>(array, row),
        DataType::Time64(TimeUnit::Microsecond) => time::<Time64MicrosecondType>(array, row),
        DataType::Time64(_) => time::<Time64NanosecondType>(array, row),
        DataType::Timestamp(unit, zone) => match unit {
            TimeUnit::Second => timestamp::<TimestampSecondType>(array, row, zone.is_some()),
            TimeUnit::Millisecond => {
                timestamp::<TimestampMillisecondType>(array, row, zone.is_some())
            }
            TimeUnit::Microsecond => {
                timestamp::<TimestampMicrosecondType>(array, row, zone.is_some())
            }
            TimeUnit::Nanosecond => {
                timestamp::<TimestampNanosecondType>(array, row, zone.is_some())
            }
        },
        DataType::Duration(unit) => match unit {
            TimeUnit::Second => integer::<DurationSecondType>(array, row),
            TimeUnit::Millisecond => integer::<DurationMillisecondType>(array, row),
            TimeUnit::Microsecond => integer::<DurationMicrosecondType>(array, row),
            TimeUnit::Nanosecond => integer::<DurationNanosecondType>(array, row),
        },
        _ => without_json_form(OTHER),
    }
}

fn integer<T: ArrowPrimitiveType<Native: Into<Number>>>(array: &ArrayRef, row: usize) -> Value {
    Value::Number(array.as_primitive::<T>().value(row).into())
}

/// NaN and infinities become null.
fn float(number: f64) -> Value {
    Number::from_f64(number).map_or(Value::Null, Value::Number)
}

/// The shortest decimal number that reads as this one: 0.1, not 0.10000000149011612.
fn shortest(number: f32) -> Value {
    number.to_string().parse().map_or(Value::Null, float)
}

fn decimal<T: DecimalType>(array: &ArrayRef, row: usize) -> Value {
    array.as_primitive::<T>().value_as_string(row).into()
}

fn date<T: ArrowTemporalType>(array: &ArrayRef, row: usize) -> Value
where
    i64: From<T::Native>,
{
    let array = array.as_primitive::<T>();
    in_words(array.value_as_date(row).map(|date| date.to_string()), array.value(row))
}

fn time<T: ArrowTemporalType>(array: &ArrayRef, row: usize) -> Value
where
    i64: From<T::Native>,
{
    let array = array.as_primitive::<T>();
    in_words(array.value_as_time(row).map(|time| time.to_string()), array.value(row))
}

fn timestamp<T: ArrowTimestampType>(array: &ArrayRef, row: usize, utc: bool) -> Value {
    let array = array.as_primitive::<T>();
    let zone = if utc { "Z" } else { "" };
    in_words(array.value_as_datetime(row).map(|time| format!("{time:?}{zone}")), array.value(row))
}

/// A point in time as text; one beyond all calendars as the number that is stored.
fn in_words(text: Option<String>, stored: impl Into<i64>) -> Value {
    text.map_or_else(|| Value::Number(stored.into().into()), Value::String)
}

/// Text that a column does not declare as such.
fn text(bytes: &[u8]) -> Value {
    std::str::from_utf8(bytes).map_or_else(|_| without_json_form(BYTES), Value::from)
}

/// A stand-in that is neither text, number nor list, so that a field that needs one is refused.
fn without_json_form(what: &str) -> Value {
    Value::Object(Map::from_iter([(what.to_owned(), Value::Null)]))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::StringArray;
    use arrow_schema::Field;
    use serde_json::json;

    use super::*;

    /// A table has all keys of its records in each of them: the arguments of every tool in every
    /// call, for example.
    #[test]
    fn a_struct_has_no_keys_that_its_record_lacks() {
        let field = |name: &str| Arc::new(Field::new(name, DataType::Utf8, true));
        let column = |texts: [Option<&str>; 2]| Arc::new(StringArray::from(texts.to_vec())) as _;
        let arguments = StructArray::from(vec![
            (field("city"), column([Some("Paris"), None])),
            (field("sum"), column([None, Some("2+2")])),
        ]);
        let arguments: ArrayRef = Arc::new(arguments);
        assert_eq!(value(&arguments, 0), json!({"city": "Paris"}));
        assert_eq!(value(&arguments, 1), json!({"sum": "2+2"}));
    }
}
