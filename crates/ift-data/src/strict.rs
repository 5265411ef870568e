//! JSON values, read strictly: an object with a key twice is refused, and an integer that no number
//! holds is not rounded.

use std::fmt::{self, Write};

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// The only key of the object that stands for an integer beyond 64 bits.
pub(crate) const HUGE: &str = "an integer beyond 64 bits";

/// The value of a JSON text.
///
/// # Errors
/// When it is not JSON, or an object has a key twice.
pub(crate) fn parse(text: &str) -> Result<Value, serde_json::Error> {
    let Strict(value) = serde_json::from_str(text)?;
    if !has_long_number(text.as_bytes()) {
        return Ok(value);
    }
    let Some(marked) = without_huge(text) else { return Ok(value) };
    serde_json::from_str(&marked).map(|Strict(value)| value)
}

/// Digits of the shortest integer beyond 64 bits.
const LONG: usize = 19;

/// Whether so many digits stand in a row, in a string or outside.
fn has_long_number(text: &[u8]) -> bool {
    let digit = |at: usize| text.get(at).is_some_and(u8::is_ascii_digit);
    let mut at = LONG - 1;
    while at < text.len() {
        // Of any such row of digits, one is at a multiple of its length.
        if digit(at) {
            let before = (0..at).rev().take_while(|&at| digit(at)).count();
            let after = (at + 1..at + LONG).take_while(|&at| digit(at)).count();
            if before + 1 + after >= LONG {
                return true;
            }
        }
        at += LONG;
    }
    false
}

/// A JSON text with a stand-in for each integer beyond 64 bits; `None` if it has none.
fn without_huge(text: &str) -> Option<String> {
    let mut out = String::new();
    // End of what was copied.
    let mut copied = 0;
    let mut string = false;
    let mut escape = false;
    let mut number: Option<usize> = None;
    for (at, byte) in text.bytes().chain([b' ']).enumerate() {
        if string {
            (string, escape) = (escape || byte != b'"', !escape && byte == b'\\');
            continue;
        }
        let part = matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E');
        if part && (number.is_some() || byte == b'-' || byte.is_ascii_digit()) {
            number.get_or_insert(at);
            continue;
        }
        string = byte == b'"';
        let Some(start) = number.take() else { continue };
        let literal = &text[start..at];
        let integer = !literal.contains(['.', 'e', 'E']);
        if integer && literal.parse::<i64>().is_err() && literal.parse::<u64>().is_err() {
            out.push_str(&text[copied..start]);
            // Writing to a string does not fail.
            let _ = write!(out, "{{\"{HUGE}\": \"{literal}\"}}");
            copied = at;
        }
    }
    (copied > 0).then(|| out + &text[copied..])
}

/// A value without an object that has a key twice.
pub(crate) struct Strict(pub Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StrictVisitor).map(Strict)
    }
}

struct StrictVisitor;

impl<'de> Visitor<'de> for StrictVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        let number = Number::from_f64(value);
        number
            .map(Value::Number)
            .ok_or_else(|| E::custom("number out of range: found an infinite one, or none"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(Strict(value)) = list.next_element()? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Value, A::Error> {
        let mut fields = Map::new();
        while let Some(key) = object.next_key::<String>()? {
            if fields.contains_key(&key) {
                return Err(A::Error::custom(format!("the key `{key}` occurs twice in an object")));
            }
            let Strict(value) = object.next_value()?;
            fields.insert(key, value);
        }
        Ok(Value::Object(fields))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn integers_beyond_64_bits_are_not_rounded() {
        let huge = "123456789012345678901";
        let read = |text: &str| parse(text).unwrap();
        for text in ["18446744073709551615", "-9223372036854775808", "1e300", "1.5", "0.1e20"] {
            assert!(read(&format!("[{text}]"))[0].is_number(), "{text}");
        }
        for text in [huge, "18446744073709551616", "-9223372036854775809"] {
            assert_eq!(read(&format!("{{\"a\": [{text}]}}"))["a"][0], json!({HUGE: text}));
        }
        let text = format!("[{huge}, \"\\\"{huge}\", 1, -{huge}]");
        let minus = format!("-{huge}");
        let value = json!([{HUGE: huge}, format!("\"{huge}"), 1, {HUGE: minus}]);
        assert_eq!(read(&text), value);
        // Wherever it begins.
        for spaces in 0..60 {
            let text = format!("[{}{huge}]", " ".repeat(spaces));
            assert_eq!(read(&text), json!([{HUGE: huge}]));
        }
    }

    #[test]
    fn fractions_keep_their_last_digit() {
        for text in ["111.18248007596868", "0.1", "5e-324", "1.7976931348623157e308"] {
            let number: f64 = text.parse().unwrap();
            assert_eq!(parse(text).unwrap().as_f64().unwrap().to_bits(), number.to_bits());
        }
    }
}
