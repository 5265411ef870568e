//! Tokenizers and small helpers for the tests of this crate.
#![allow(dead_code, clippy::unwrap_used)] // every test file uses some of it and fails by panicking

use std::fs;
use std::path::{Path, PathBuf};

use ift_data::{ChatTokenizer, Conversation, Message, Sequence, Targets, TemplateSettings};

/// The folder of fixtures.
pub fn data() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data")
}

/// The settings of a template that is named.
pub fn settings(template: Option<&str>) -> TemplateSettings {
    TemplateSettings { template: template.map(str::to_owned), ..TemplateSettings::default() }
}

/// A tokenizer of the fixtures.
pub fn tokenizer(name: &str, template: Option<&str>) -> ChatTokenizer {
    let folder = data().join("tokenizers").join(name);
    ChatTokenizer::from_folder(&folder, &settings(template)).unwrap()
}

/// A tokenizer of the fixtures with a template given as text.
pub fn with_template(name: &str, source: &str) -> ChatTokenizer {
    let folder = copy(name);
    fs::write(folder.path().join("chat_template.jinja"), source).unwrap();
    ChatTokenizer::from_folder(folder.path(), &settings(None)).unwrap()
}

/// A copy of a fixture's folder, to be changed.
pub fn copy(name: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(data().join("tokenizers").join(name)).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, folder.path().join(path.file_name().unwrap())).unwrap();
    }
    folder
}

/// A conversation from (role, content).
pub fn chat(turns: &[(&str, &str)]) -> Conversation {
    let message = |&(role, content): &(&str, &str)| Message::new(role, content);
    turns.iter().map(message).collect::<Vec<_>>().into()
}

/// The text of every run of targets.
pub fn learned(
    tokenizer: &ChatTokenizer,
    conversation: &Conversation,
    targets: Targets,
) -> Vec<String> {
    let sequence = tokenizer.encode_with_targets(conversation, targets).unwrap();
    runs(tokenizer, sequence.tokens(), &mask(&sequence))
}

/// The text of every run of targets in a row.
pub fn runs(tokenizer: &ChatTokenizer, tokens: &[u32], mask: &[bool]) -> Vec<String> {
    let mut runs: Vec<Vec<u32>> = Vec::new();
    for (i, (&token, &target)) in tokens.iter().zip(mask).enumerate() {
        if target {
            if i == 0 || !mask[i - 1] {
                runs.push(Vec::new());
            }
            runs.last_mut().unwrap().push(token);
        }
    }
    runs.iter().map(|run| tokenizer.decode(run, false).unwrap()).collect()
}

/// Whether each token of a sequence is a scored target.
pub fn mask(sequence: &Sequence) -> Vec<bool> {
    let mut mask = vec![false; sequence.len()];
    sequence.targets().for_each(|(position, _)| mask[position] = true);
    mask
}

/// The text of every run of targets in a sequence.
pub fn answers(tokenizer: &ChatTokenizer, sequence: &Sequence) -> String {
    runs(tokenizer, sequence.tokens(), &mask(sequence)).concat()
}

/// A file in a temporary folder.
pub fn file(folder: &Path, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
    let path = folder.join(name);
    fs::write(&path, content).unwrap();
    path
}

/// A file of JSON lines, `a.jsonl`, in a temporary folder.
pub fn jsonl(folder: &tempfile::TempDir, records: &[serde_json::Value]) -> PathBuf {
    let lines: String =
        records.iter().flat_map(|record| [record.to_string(), "\n".to_owned()]).collect();
    file(folder.path(), "a.jsonl", lines)
}
