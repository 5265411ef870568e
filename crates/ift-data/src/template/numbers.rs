//! Numbers as Python reads and prints them.

use minijinja::Value;
use minijinja::value::ValueKind;

/// A floating-point number as Python prints it: the shortest digits that read back the same, with
/// an exponent below 1e-4 and from 1e16.
pub(super) fn float_text(x: f64) -> String {
    if x.is_nan() {
        return "nan".to_owned();
    }
    if x.is_infinite() {
        return if x > 0.0 { "inf" } else { "-inf" }.to_owned();
    }
    let text = format!("{x:e}");
    let Some((digits, exponent)) = text.split_once('e') else { return text };
    let power: i32 = exponent.parse().unwrap_or(0);
    if (-4..16).contains(&power) {
        let text = format!("{x}");
        return if text.contains('.') { text } else { text + ".0" };
    }
    let sign = if power < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", power.unsigned_abs())
}

/// The value of a floating-point number; `None` for every other value.
pub(super) fn as_float(value: &Value) -> Option<f64> {
    let is_float = value.kind() == ValueKind::Number && !value.is_integer();
    is_float.then(|| f64::try_from(value.clone()).ok()).flatten()
}

/// The number that Python's `float` reads.
pub(super) fn float_of(value: &Value) -> Option<f64> {
    match (value.as_str(), value.kind()) {
        (Some(text), _) => without_underscores(text.trim())?.parse().ok(),
        (None, ValueKind::Bool) => Some(f64::from(u8::from(value.is_true()))),
        (None, ValueKind::Number) => f64::try_from(value.clone()).ok(),
        _ => None,
    }
}

/// An integer in a base, with a sign, underscores between digits and a prefix such as `0x`.
pub(super) fn digits(text: &str, base: u32) -> Option<i128> {
    let text = text.trim();
    let (negative, text) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let prefix = match base {
        2 => Some("0b"),
        8 => Some("0o"),
        16 => Some("0x"),
        _ => None,
    };
    let lower = text.to_ascii_lowercase();
    let bare = prefix.and_then(|prefix| lower.strip_prefix(prefix)).unwrap_or(&lower);
    let bare = without_underscores(bare)?;
    if !bare.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        return None;
    }
    let number = i128::from_str_radix(&bare, base).ok()?;
    Some(if negative { -number } else { number })
}

/// The text without single underscores between digits; `None` with any other underscore.
fn without_underscores(text: &str) -> Option<String> {
    let wrong = text.starts_with('_') || text.ends_with('_') || text.contains("__");
    (!wrong).then(|| text.replace('_', ""))
}

#[cfg(test)]
mod tests {
    use super::float_text;

    #[test]
    fn floats_are_printed_as_python_prints_them() {
        let cases = [
            (1.0, "1.0"),
            (-0.0, "-0.0"),
            (0.1, "0.1"),
            (1e-4, "0.0001"),
            (1e-5, "1e-05"),
            (1.5e-7, "1.5e-07"),
            (1e15, "1000000000000000.0"),
            (1e16, "1e+16"),
            (1.234e17, "1.234e+17"),
            (1e100, "1e+100"),
            (5e-324, "5e-324"),
            (f64::MAX, "1.7976931348623157e+308"),
            (f64::NEG_INFINITY, "-inf"),
            (f64::NAN, "nan"),
        ];
        for (number, text) in cases {
            assert_eq!(float_text(number), text);
        }
    }
}
