//! The tags of a template's text and the names in them, found without compiling it.

use std::collections::BTreeSet;
use std::ops::Range;

/// A `{% … %}` or `{{ … }}` of a template.
pub(super) struct Tag<'a> {
    /// The text between the braces, with the signs of white space control.
    pub inside: &'a str,
    /// Where that text stands in the source.
    pub range: Range<usize>,
}

impl<'a> Tag<'a> {
    /// The text without the signs of white space control and without surrounding white space.
    pub fn body(&self) -> &'a str {
        let inside = self.inside.strip_prefix(['-', '+']).unwrap_or(self.inside);
        inside.strip_suffix(['-', '+']).unwrap_or(inside).trim()
    }

    /// The parts of the tag, in order.
    pub fn tokens(&self) -> Vec<Token<'a>> {
        tokens(self.body())
    }
}

/// A part of a tag.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Token<'a> {
    /// A name or a keyword.
    Name(&'a str),
    /// A string literal or a number.
    Literal,
    /// Any other character that is not white space.
    Sign(char),
}

/// All tags, without comments and without what stands between `{% raw %}` and `{% endraw %}`.
/// Stops at a tag without an end, which the compiler reports.
pub(super) fn tags(source: &str) -> Vec<Tag<'_>> {
    let mut found = Vec::new();
    let mut at = 0;
    let mut raw = false;
    while let Some(brace) = source[at..].find('{').map(|n| at + n) {
        let kind = source[brace + 1..].chars().next();
        if kind == Some('#') && !raw {
            let Some(length) = source[brace..].find("#}") else { break };
            at = brace + length + 2;
            continue;
        }
        let closing = match kind {
            Some('%') => '%',
            Some('{') if !raw => '}',
            _ => {
                at = brace + 1;
                continue;
            }
        };
        let start = brace + 2;
        let Some(length) = length_of_tag(&source[start..], closing) else { break };
        let range = start..start + length;
        let tag = Tag { inside: &source[range.clone()], range };
        if raw && tag.body() != "endraw" {
            at = start;
            continue;
        }
        at = tag.range.end + 2;
        raw = tag.body() == "raw";
        found.push(tag);
    }
    found
}

/// The length of the text before `%}` or `}}`, outside string literals and brackets.
fn length_of_tag(text: &str, closing: char) -> Option<usize> {
    let mut quote = None;
    let mut escaped = false;
    let mut depth = 0_usize;
    for (at, c) in text.char_indices() {
        if let Some(open) = quote {
            if escaped {
                escaped = false;
            } else if c == '\\' {
                escaped = true;
            } else if c == open {
                quote = None;
            }
            continue;
        }
        if depth == 0 && c == closing && text[at + 1..].starts_with('}') {
            return Some(at);
        }
        match c {
            '\'' | '"' => quote = Some(c),
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    None
}

fn tokens(body: &str) -> Vec<Token<'_>> {
    let word = |c: char| c.is_alphanumeric() || c == '_';
    let mut found = Vec::new();
    let mut rest = body;
    while let Some(c) = rest.chars().next() {
        let length = if c == '\'' || c == '"' {
            found.push(Token::Literal);
            length_of_string(rest, c)
        } else if word(c) {
            let end = rest.find(|c: char| !word(c)).unwrap_or(rest.len());
            let number = c.is_numeric();
            found.push(if number { Token::Literal } else { Token::Name(&rest[..end]) });
            end
        } else {
            if !c.is_whitespace() {
                found.push(Token::Sign(c));
            }
            c.len_utf8()
        };
        rest = &rest[length..];
    }
    found
}

/// The length of the string literal at the start of `text`, with its quotation marks.
fn length_of_string(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if c == quote => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// The names that a template reads: no attributes, filters, tests, keyword arguments, or names that
/// are only set.
pub(super) fn names_read(source: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for tag in tags(source) {
        let tokens = tag.tokens();
        for (i, token) in tokens.iter().enumerate() {
            let Token::Name(name) = token else { continue };
            let before = |n: usize| i.checked_sub(n).map(|i| tokens[i]);
            let after = |n: usize| tokens.get(i + n).copied();
            let member = matches!(before(1), Some(Token::Sign('.' | '|')));
            let test = before(1) == Some(Token::Name("is"))
                || (before(1) == Some(Token::Name("not")) && before(2) == Some(Token::Name("is")));
            let set = after(1) == Some(Token::Sign('=')) && after(2) != Some(Token::Sign('='));
            if !(member || test || set) {
                names.insert((*name).to_owned());
            }
        }
    }
    names
}

/// Replaces `{% generation %}` and `{% endgeneration %}`, which only mark text, by tags that open
/// and close a scope, as in transformers, and treat white space in the same way.
pub(super) fn without_generation_tags(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut at = 0;
    for tag in tags(source) {
        let (word, other) = match tag.body() {
            "generation" => ("generation", "with"),
            "endgeneration" => ("endgeneration", "endwith"),
            _ => continue,
        };
        out.push_str(&source[at..tag.range.start]);
        out.push_str(&tag.inside.replacen(word, other, 1));
        at = tag.range.end;
    }
    out.push_str(&source[at..]);
    out
}

/// Applies a filter to what each `for` goes through, so that it can refuse values.
pub(super) fn with_filtered_loops(source: &str, filter: &str) -> String {
    let start_of = |part: &str| part.as_ptr() as usize - source.as_ptr() as usize;
    let mut out = String::with_capacity(source.len());
    let mut at = 0;
    for tag in tags(source) {
        let tokens = tag.tokens();
        if tokens.first() != Some(&Token::Name("for")) {
            continue;
        }
        let mut start = None;
        let mut end = start_of(tag.body()) + tag.body().len();
        let mut depth = 0_usize;
        for token in tokens {
            match token {
                Token::Sign('(' | '[' | '{') => depth += 1,
                Token::Sign(')' | ']' | '}') => depth = depth.saturating_sub(1),
                Token::Name(name) if depth == 0 => match (name, start) {
                    ("in", None) => start = Some(start_of(name) + name.len()),
                    ("if" | "recursive", Some(_)) => {
                        end = start_of(name);
                        break;
                    }
                    _ => {}
                },
                _ => {}
            }
        }
        let Some(start) = start else { continue };
        out.push_str(&source[at..start]);
        out.extend([" (", &source[start..end], ") | ", filter, " "]);
        at = end;
    }
    out.push_str(&source[at..]);
    out
}

/// Applies a filter to what each `set` keeps, so that it can refuse values. Its arguments are the
/// values whose attributes are set. Values that certainly hold no other values are left alone.
pub(super) fn with_filtered_sets(source: &str, filter: &str) -> String {
    let start_of = |part: &str| part.as_ptr() as usize - source.as_ptr() as usize;
    let mut out = String::with_capacity(source.len());
    let mut at = 0;
    for tag in tags(source) {
        if tag.tokens().first() != Some(&Token::Name("set")) {
            continue;
        }
        let body = tag.body();
        // No name has one of them. A pipe is a filter on the text up to `endset`.
        let Some(end) = body.find(['=', '|']) else { continue };
        let (targets, rest) = (&body["set".len()..end], &body[end + 1..]);
        let owners = targets.split([',', '(', ')']).filter_map(|target| target.rsplit_once('.'));
        let owners: Vec<&str> = owners.map(|(owner, _)| owner.trim()).collect();
        if is_flat(&tokens(rest), !owners.is_empty()) {
            continue;
        }
        let (open, close) = if body[end..].starts_with('=') { (" (", ")") } else { ("", "") };
        out.push_str(&source[at..start_of(rest)]);
        out.extend([open, rest, close, " | ", filter, "(", &owners.join(", "), ") "]);
        at = start_of(body) + body.len();
    }
    out.push_str(&source[at..]);
    out
}

/// Whether an expression certainly makes no value that holds others; with `of_name`, also not the
/// value of a name.
fn is_flat(tokens: &[Token<'_>], of_name: bool) -> bool {
    let builds = |token: &Token<'_>| matches!(token, Token::Sign('(' | '[' | '{' | ',' | '|'));
    let chooses = |token: &Token<'_>| matches!(token, Token::Name("and" | "or" | "if"));
    let joins = tokens.contains(&Token::Sign('~')) && !tokens.iter().any(chooses);
    let names = tokens.iter().any(|token| {
        matches!(token, Token::Name(name)
            if !matches!(*name, "true" | "false" | "none" | "True" | "False" | "None"))
    });
    !tokens.iter().any(builds) && (joins || !of_name || !names)
}

#[cfg(test)]
mod tests {
    use super::{names_read, with_filtered_loops, with_filtered_sets, without_generation_tags};

    #[test]
    fn what_a_set_keeps_is_filtered() {
        for (source, expected) in [
            ("{%- set a = [b, b] -%}c", "{%- set a = ( [b, b]) | f()  -%}c"),
            ("{% set a=b,b %}", "{% set a= (b,b) | f()  %}"),
            ("{% set a.b = a %}", "{% set a.b = ( a) | f(a)  %}"),
            ("{% set (a.b.c, d.e) = f %}", "{% set (a.b.c, d.e) = ( f) | f(a.b, d)  %}"),
            ("{% set a.b | d(a) %}{% endset %}", "{% set a.b | d(a) | f(a)  %}{% endset %}"),
            ("{% set a.b = b ~ c if d %}", "{% set a.b = ( b ~ c if d) | f(a)  %}"),
        ] {
            assert_eq!(with_filtered_sets(source, "f"), expected);
        }
        for source in [
            "{% set a = b.c %}",
            "{% set a = 'b' %}",
            "{% set a.b = true %}",
            "{% set a.b = a.b ~ c %}",
            "{% set a.b %}{% endset %}",
            "{# {% set a.b = a %} #}",
        ] {
            assert_eq!(with_filtered_sets(source, "f"), source);
        }
    }

    #[test]
    fn what_a_loop_goes_through_is_filtered() {
        for (source, expected) in [
            ("{%- for a in b -%}", "{%- for a in ( b) | f  -%}"),
            (
                "a{% for (a, b) in c.d(x if y else z) if a in b recursive %}{{ for }}",
                "a{% for (a, b) in ( c.d(x if y else z) ) | f if a in b recursive %}{{ for }}",
            ),
            ("{% for a %}{# {% for a in b %} #}", "{% for a %}{# {% for a in b %} #}"),
        ] {
            assert_eq!(with_filtered_loops(source, "f"), expected);
        }
    }

    #[test]
    fn the_names_that_a_template_reads_are_found() {
        let source = "{# a #}b{{ c.d | e(f=g) }}{%- if h is not i and 'j' == \"k\\\"l\" -%}
            {{ {'m': {'n': o}}}}{% raw %}{{ p }}{% endraw %}{% set q = r == s %}{{ t";
        let names = names_read(source);
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        assert_eq!(
            names,
            ["and", "c", "endraw", "g", "h", "if", "is", "o", "r", "raw", "s", "set"]
        );
    }

    #[test]
    fn tags_that_mark_an_answer_keep_their_white_space() {
        let source = "{%- generation -%} {{ '%}' }} {% endgeneration +%}";
        assert_eq!(without_generation_tags(source), "{%- with -%} {{ '%}' }} {% endwith +%}");
    }
}
