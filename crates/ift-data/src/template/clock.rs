//! `strftime_now`, with the codes of Python's `strftime`.

use jiff::civil::DateTime;
use jiff::fmt::strtime;
use jiff::tz::TimeZone;
use minijinja::Error;

use super::arguments::wrong;

/// Longest format, in bytes.
const LONGEST: usize = 4096;
/// Largest width in a code such as `%20d`.
const WIDEST: usize = 64;

/// A time without a zone in a format. As in Python on Linux, unknown codes stay as they are, and
/// the codes of the zone write nothing.
///
/// # Errors
/// When the format is too long.
pub(super) fn strftime(format: &str, time: DateTime) -> Result<String, Error> {
    if format.len() > LONGEST {
        return Err(wrong(format!(
            "limit: the format of strftime_now has {} bytes, at most {LONGEST} are allowed",
            format.len()
        )));
    }
    let mut out = String::new();
    let mut rest = format;
    while let Some(at) = rest.find('%') {
        out.push_str(&rest[..at]);
        let code = &rest[at + 1..];
        let length = length_of_code(code);
        out.push_str(&write_code(&code[..length], time)?);
        rest = &code[length..];
    }
    out.push_str(rest);
    Ok(out)
}

const FLAGS: [char; 5] = ['-', '_', '0', '^', '#'];

/// Flags, width, an `E` or `O`, and the letter.
fn length_of_code(code: &str) -> usize {
    let rest = code.trim_start_matches(FLAGS).trim_start_matches(|c: char| c.is_ascii_digit());
    let rest = rest.strip_prefix(['E', 'O']).unwrap_or(rest);
    let letter = rest.chars().next().map_or(0, char::len_utf8);
    code.len() - rest.len() + letter
}

fn write_code(code: &str, time: DateTime) -> Result<String, Error> {
    let Some(letter) = code.chars().last() else { return Ok("%".to_owned()) };
    let rest = code.trim_start_matches(FLAGS);
    let flags = &code[..code.len() - rest.len()];
    let width: String = rest.chars().take_while(char::is_ascii_digit).collect();
    if width.len() > 3 || width.parse().is_ok_and(|n: usize| n > WIDEST) {
        return Err(wrong(format!("limit: `%{code}` is wider than {WIDEST}")));
    }
    let whole = match letter {
        'c' => "%a %b %e %H:%M:%S %Y",
        'x' | 'D' => "%m/%d/%y",
        'X' | 'T' => "%H:%M:%S",
        'r' => "%I:%M:%S %p",
        's' if code == "s" => {
            let time = TimeZone::UTC.to_timestamp(time).map_err(|e| wrong(e.to_string()))?;
            return Ok(time.as_second().to_string());
        }
        'f' if code == "f" => return Ok(format!("{:06}", time.subsec_nanosecond() / 1000)),
        'Z' | 'z' if code.len() == 1 => return Ok(String::new()),
        letter if KNOWN.contains(letter) => "",
        _ => return Ok(format!("%{code}")),
    };
    let number_flags: String = flags.chars().filter(|c| !matches!(c, '^' | '#')).collect();
    let format =
        if whole.is_empty() { format!("%{number_flags}{width}{letter}") } else { whole.to_owned() };
    let text = strtime::format(&format, time)
        .map_err(|e| wrong(format!("strftime_now: `%{code}`: {e}")))?;
    Ok(match (flags.contains('^'), flags.contains('#')) {
        (_, true) if matches!(letter, 'p' | 'P') => text.to_lowercase(),
        (true, _) | (_, true) => text.to_uppercase(),
        _ => text,
    })
}

/// The letters that mean the same here and in Python.
const KNOWN: &str = "aAbBCdeFgGhHIjklmMnpPRStuUVwWyY%";

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::strftime;

    #[test]
    fn times_are_written_as_python_writes_them() {
        let time = date(2023, 11, 4).at(22, 13, 20, 0);
        for (format, text) in [
            ("%Y-%m-%d", "2023-11-04"),
            ("%d %b %Y", "04 Nov 2023"),
            ("%-d %_d %e|%^a %#b", "4  4  4|SAT NOV"),
            ("%A, %B; %H:%M:%S %p %I", "Saturday, November; 22:13:20 PM 10"),
            (
                "%c|%x|%X|%D|%T|%r",
                "Sat Nov  4 22:13:20 2023|11/04/23|22:13:20|11/04/23|22:13:20|10:13:20 PM",
            ),
            ("%f%Z%z%%%s", "000000%1699136000"),
            ("%q %:z %Od % é%", "%q %:z 04 % é%"),
        ] {
            assert_eq!(strftime(format, time).unwrap(), text, "{format}");
        }
        for format in ["%999999999999d", &"%A".repeat(10_000)] {
            assert!(strftime(format, time).unwrap_err().to_string().contains("limit"));
        }
    }
}
