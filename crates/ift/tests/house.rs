//! Rules for the whole repository: documents name things that exist, lines and files are short.

#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// Words in backticks in `ARCHITECTURE.md` that do not name a part of this repository: number
/// formats, other projects, and files that a run writes.
const OTHER_WORDS: [&str; 9] =
    ["bf16", "f16", "f32", "f64", "gemm", "plotters", "safetensors", "stages/", "usize"];

/// Files whose lines may be longer, such as generated ones: none today.
const LONG_LINES: [&str; 0] = [];

/// Longest line of a source file, in columns.
const MOST_COLUMNS: usize = 100;
/// Longest source file, in lines.
const MOST_LINES: usize = 500;

/// Folders without sources of this repository.
const SKIPPED: [&str; 4] = [".git", "models", "runs", "target"];

/// All files of the repository: path from the root, with `/` between folders, and content. The
/// content of files other than sources and documents is left empty.
struct Repository {
    files: BTreeMap<String, String>,
}

impl Repository {
    fn read() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let mut files = BTreeMap::new();
        let mut folders = vec![root.clone()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                let name = path.file_name().unwrap().to_string_lossy().into_owned();
                if path.is_dir() {
                    if !SKIPPED.contains(&name.as_str()) {
                        folders.push(path);
                    }
                } else {
                    let text = is_text(&path).then(|| fs::read_to_string(&path).unwrap());
                    let path = path.strip_prefix(&root).unwrap().to_string_lossy();
                    files.insert(path.replace('\\', "/"), text.unwrap_or_default());
                }
            }
        }
        Self { files }
    }

    fn sources(&self) -> impl Iterator<Item = (&str, &str)> {
        let is_rust = |path: &str| Path::new(path).extension().is_some_and(|end| end == "rs");
        let rust = self.files.iter().filter(move |(path, _)| is_rust(path));
        rust.map(|(path, text)| (path.as_str(), text.as_str()))
    }

    /// Whether there is a file or folder of that path, from the root or from any other folder.
    fn has_path(&self, path: &str) -> bool {
        let path = path.trim_end_matches('/');
        let (inside, within) = (format!("{path}/"), format!("/{path}/"));
        self.files.keys().any(|file| {
            let file = format!("/{file}");
            file.ends_with(&format!("/{path}"))
                || file[1..].starts_with(&inside)
                || file.contains(&within)
        })
    }
}

fn is_text(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str());
    matches!(extension, Some("rs" | "md"))
}

/// A name and the path of the file that defines it.
type Definition<'a> = (&'a str, &'a str);

/// The names that the sources define: items, macros, fields and variants.
fn definitions(repository: &Repository) -> BTreeSet<Definition<'_>> {
    const KEYWORDS: [&str; 9] =
        ["fn", "struct", "enum", "union", "trait", "type", "mod", "const", "static"];
    let mut found = BTreeSet::new();
    for (path, text) in repository.sources() {
        let lines = text.lines().map(str::trim_start).filter(|line| !line.starts_with("//"));
        for line in lines {
            let words: Vec<&str> = line.split(|c| !is_word(c)).filter(|w| !w.is_empty()).collect();
            for pair in words.windows(2) {
                if KEYWORDS.contains(&pair[0]) || pair[0] == "macro_rules" {
                    found.insert((pair[1], path));
                }
            }
            // A field or a variant begins its line.
            let member = line.strip_prefix("pub ").unwrap_or(line);
            let member = member.strip_prefix("pub(crate) ").unwrap_or(member);
            let end = member.find(|c| !is_word(c)).unwrap_or(member.len());
            let (name, rest) = member.split_at(end);
            let field = rest.starts_with(": ");
            let variant = name.starts_with(|c: char| c.is_ascii_uppercase())
                && (rest.is_empty() || [",", "(", " {", " ="].iter().any(|s| rest.starts_with(s)));
            if field || variant {
                found.insert((name, path));
            }
        }
    }
    found
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// The texts in backticks of a document outside of its code blocks, with their lines.
fn code_words(text: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    let mut block = false;
    for (line, text) in (1..).zip(text.lines()) {
        if text.trim_start().starts_with("```") {
            block = !block;
        } else if !block {
            found.extend(text.split('`').skip(1).step_by(2).map(|word| (line, word)));
        }
    }
    found
}

/// Whether a text in backticks is a path: no spaces, and a folder or the name of a file in it.
fn is_path(word: &str) -> bool {
    let ends = [".rs", ".md", ".py", ".toml", ".json", ".sh", ".yml"];
    let plain = word.chars().all(|c| is_word(c) || "/.-".contains(c));
    plain && (word.contains('/') || ends.iter().any(|end| word.ends_with(end)))
}

/// The names of a text in backticks that is a name, such as `Cpu<N>`, `kernel!` or
/// `ift_train::accumulate`; none for formulas, commands and settings.
fn names(word: &str) -> Vec<&str> {
    let word = word.split_once('<').map_or(word, |(name, _)| name);
    let word = word.trim_end_matches("()").trim_end_matches('!');
    let names: Vec<&str> = word.split("::").collect();
    let is_name = |name: &&str| {
        name.chars().all(is_word) && name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
    };
    if names.iter().all(is_name) && word.len() > 1 { names } else { Vec::new() }
}

/// Whether a path of names exists: the last one is defined, in the crate or beside the type that
/// stands before it.
fn is_defined(repository: &Repository, defined: &BTreeSet<Definition>, names: &[&str]) -> bool {
    let places = |name: &str| -> Vec<&str> {
        defined.iter().filter(|found| found.0 == name).map(|found| found.1).collect()
    };
    let Some((last, before)) = names.split_last() else { return true };
    let crate_folder = |name: &str| format!("crates/{}/", name.replace('_', "-"));
    let is_crate = |name: &str| {
        name.starts_with("ift")
            && repository.files.keys().any(|file| file.starts_with(&crate_folder(name)))
    };
    match before.last() {
        None => is_crate(last) || !places(last).is_empty(),
        Some(name) if is_crate(name) => {
            places(last).iter().any(|place| place.starts_with(&crate_folder(name)))
        }
        Some(name) => {
            let beside = |place: &&str| {
                let text = &repository.files[*place];
                text.contains(&format!(" {name} ")) || text.contains(&format!(" {name}<"))
            };
            !places(name).is_empty() && places(last).iter().any(beside)
        }
    }
}

#[test]
fn what_architecture_md_names_exists() {
    let repository = Repository::read();
    let defined = definitions(&repository);
    let mut wrong = Vec::new();
    let words = code_words(&repository.files["ARCHITECTURE.md"]);
    assert!(words.len() > 20, "ARCHITECTURE.md names hardly anything: {words:?}");
    for (line, word) in words {
        if OTHER_WORDS.contains(&word) {
            continue;
        }
        let crate_name =
            word.starts_with("ift") && repository.has_path(&format!("crates/{word}/Cargo.toml"));
        let exists = if is_path(word) {
            repository.has_path(word)
        } else {
            crate_name || is_defined(&repository, &defined, &names(word))
        };
        if !exists {
            wrong.push(format!("ARCHITECTURE.md:{line}: `{word}` does not exist"));
        }
    }
    fail_for(&wrong, "correct the name, or add a word of another project to `OTHER_WORDS`");
}

#[test]
fn files_that_the_readme_names_exist() {
    let repository = Repository::read();
    let mut wrong = Vec::new();
    let top: BTreeSet<&str> =
        repository.files.keys().filter_map(|file| file.split('/').next()).collect();
    for (line, text) in (1..).zip(repository.files["README.md"].lines()) {
        let links = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        let links = links.filter(|link| !link.contains("://") && !link.starts_with('#'));
        let links = links.map(|link| link.split('#').next().unwrap_or(link));
        // In tables, paths from the root; other words name what a run reads or writes.
        let cells = text.starts_with('|').then(|| text.split('`').skip(1).step_by(2));
        let cells = cells.into_iter().flatten().filter(|word| {
            is_path(word) && word.split('/').next().is_some_and(|first| top.contains(first))
        });
        for path in links.chain(cells) {
            let path = path.trim_end_matches('/');
            let folder = format!("{path}/");
            let mut files = repository.files.keys();
            if !files.any(|file| file == path || file.starts_with(&folder)) {
                wrong.push(format!("README.md:{line}: `{path}` does not exist"));
            }
        }
    }
    fail_for(&wrong, "correct the path");
}

#[test]
fn lines_have_at_most_100_columns_and_files_500_lines() {
    let repository = Repository::read();
    let mut wrong = Vec::new();
    for (path, text) in repository.sources() {
        let count = text.lines().count();
        if count > MOST_LINES {
            wrong.push(format!("{path}: {count} lines, expected at most {MOST_LINES}"));
        }
        if LONG_LINES.contains(&path) {
            continue;
        }
        let raw = raw_string_lines(text);
        for (line, text) in (1..).zip(text.lines()) {
            let columns = text.chars().count();
            let table = ["//! |", "/// |"].iter().any(|start| text.trim_start().starts_with(start));
            if columns > MOST_COLUMNS && !raw.contains(&line) && !table {
                wrong.push(format!(
                    "{path}:{line}: {columns} columns, expected at most {MOST_COLUMNS}: {}",
                    text.trim()
                ));
            }
        }
    }
    fail_for(&wrong, "break the line (strings with `\\` at its end), or split the file");
}

/// The lines, counted from 1, that hold a part of a raw string: data such as JSON, which cannot be
/// broken without changing it.
fn raw_string_lines(text: &str) -> BTreeSet<usize> {
    let mut lines = BTreeSet::new();
    let mut line = 1;
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let length = token(rest);
        let breaks = rest[..length].matches('\n').count();
        if c == 'r' && length > 1 {
            lines.extend(line..=line + breaks);
        }
        line += breaks;
        rest = &rest[length..];
    }
    lines
}

/// Length in bytes of a comment, string, raw string, character or word at the beginning of a text;
/// anything else is a character by itself. A word that begins with `r` is cut after that letter.
fn token(text: &str) -> usize {
    let one = text.chars().next().map_or(0, char::len_utf8);
    let until = |from: usize, end: &str| {
        text[from..].find(end).map_or(text.len(), |place| from + place + end.len())
    };
    if text.starts_with("//") {
        return text.find('\n').unwrap_or(text.len());
    }
    if text.starts_with("/*") {
        return until(2, "*/");
    }
    let hashes = text[one..].chars().take_while(|c| *c == '#').count();
    if text.starts_with('r') && text[1 + hashes..].starts_with('"') {
        return until(2 + hashes, &format!("\"{}", "#".repeat(hashes)));
    }
    if text.starts_with('"') {
        let mut escaped = false;
        for (place, c) in text.char_indices().skip(1) {
            if c == '"' && !escaped {
                return place + 1;
            }
            escaped = c == '\\' && !escaped;
        }
        return text.len();
    }
    if text.starts_with("'\\") {
        return until(3, "'");
    }
    // A character such as '"'; a lifetime has no quote behind its first letter.
    if let Some(rest) = text.strip_prefix('\'') {
        let quoted = rest.chars().next().map_or(0, char::len_utf8);
        return if rest[quoted..].starts_with('\'') { quoted + 2 } else { 1 };
    }
    if text.starts_with(|c: char| is_word(c) && c != 'r') {
        return text.find(|c| !is_word(c)).unwrap_or(text.len());
    }
    one
}

#[test]
fn raw_strings_are_found_and_nothing_else() {
    let text = "let a = 'r'; // r\"no\nlet b = r#\"yes\n\"yes\"\n\"#;\nlet r = \"\\\"no\";\nfor x \
         in '\"'..r {}\n\
                br\"yes\";\n";
    assert_eq!(raw_string_lines(text), BTreeSet::from([2, 3, 4]));
}

#[track_caller]
fn fail_for(wrong: &[String], advice: &str) {
    assert!(wrong.is_empty(), "{} found; {advice}:\n  {}", wrong.len(), wrong.join("\n  "));
}
