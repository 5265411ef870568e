//! A working directory with a tiny model and a tiny data set, to run the program in.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use assert_cmd::Command;
use ift_compare::{Comparison, Tolerance};
use serde_json::Value;
use tempfile::TempDir;

/// Training text of the tiny model's tokenizer.
const TEXT: &str = "\
The miller lives by the river. The baker lives by the hill.
Every morning the miller brings flour to the baker.
What does the baker make? The baker makes bread.
What does the miller grind? The miller grinds corn.
";

/// The recipe of the tiny model.
const MODEL: &str = "\
output = 'base'
seed = 3
number = 'f32'
text = ['text.txt']

[model]
model_type = 'llama'
hidden_size = 16
intermediate_size = 32
num_hidden_layers = 2
num_attention_heads = 2
num_key_value_heads = 1
max_position_embeddings = 128
initializer_range = 0.1

[tokenizer]
vocab_size = 300
";

/// Exit code and output of the program.
#[derive(Debug)]
pub struct Answer {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Answer {
    /// The standard output of a successful run.
    #[track_caller]
    pub fn done(self) -> String {
        assert_eq!(self.code, Some(0), "{}", self.stderr);
        self.stdout
    }

    /// The JSON result of a successful run.
    #[track_caller]
    pub fn json(self) -> Value {
        serde_json::from_str(&self.done()).unwrap()
    }

    /// The standard error of a failed run, which prints no result.
    #[track_caller]
    pub fn refused(self, code: i32) -> String {
        assert_eq!((self.code, self.stdout.as_str()), (Some(code), ""), "{}", self.stderr);
        self.stderr
    }
}

/// A working directory, deleted when it is dropped.
pub struct Folder(TempDir);

impl Folder {
    /// A folder with `new.toml`, the recipe of the tiny model, and its text.
    pub fn new() -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        folder.write("text.txt", TEXT);
        folder.write("new.toml", MODEL);
        folder
    }

    /// A folder with the tiny model in `base`.
    pub fn with_model() -> Self {
        let folder = Self::new();
        folder.ift(&["new", "new.toml"]).done();
        folder
    }

    /// Runs the program in this folder.
    #[track_caller]
    pub fn ift(&self, arguments: &[&str]) -> Answer {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ift"));
        // The width of help depends on the terminal.
        command.current_dir(self.path("")).args(arguments).write_stdin("").env_remove("COLUMNS");
        let output = command.timeout(Duration::from_secs(120)).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
        assert!(!stderr.contains("panicked"), "{arguments:?}: {stderr}");
        Answer { code: output.status.code(), stdout, stderr }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn exists(&self, name: &str) -> bool {
        self.path(name).exists()
    }

    pub fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    #[track_caller]
    pub fn bytes(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
    }

    #[track_caller]
    pub fn text(&self, name: &str) -> String {
        String::from_utf8(self.bytes(name)).unwrap()
    }

    #[track_caller]
    /// The files of a model folder that is written: those of the base, a template and a card.
    pub fn names_of_written(&self) -> Vec<String> {
        let mut names = self.names("base");
        names.extend(["README.md", "chat_template.jinja"].map(str::to_owned));
        names.sort();
        names
    }

    pub fn json(&self, name: &str) -> Value {
        serde_json::from_str(&self.text(name)).unwrap()
    }

    /// The lines of a JSONL file.
    #[track_caller]
    pub fn lines(&self, name: &str) -> Vec<Value> {
        self.text(name).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The names in a folder, hidden ones too, sorted.
    pub fn names(&self, name: &str) -> Vec<String> {
        names(&self.path(name))
    }

    /// Copies a folder that holds only files.
    pub fn copy(&self, from: &str, to: &str) {
        fs::create_dir(self.path(to)).unwrap();
        for name in self.names(from) {
            fs::copy(self.path(from).join(&name), self.path(to).join(&name)).unwrap();
        }
    }
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// Tokenised rows for `ift gradients` and `ift bench`.
pub const ROWS: &str = "\
{\"input_ids\":[1,40,50,60,70,2],\"labels\":[-100,-100,50,60,70,2]}
{\"input_ids\":[1,41,51,2],\"labels\":[-100,41,51,2]}
{\"input_ids\":[1,42,52,62,72,82,2],\"labels\":[-100,-100,-100,-100,72,82,2]}
";

/// Conversations for training.
pub const CHATS: &str = r#"{"messages":[{"role":"user","content":"What does the baker make?"},{"role":"assistant","content":"The baker makes bread."}]}
{"messages":[{"role":"user","content":"Where does the miller live?"},{"role":"assistant","content":"The miller lives by the river."}]}
{"messages":[{"role":"user","content":"What does the miller grind?"},{"role":"assistant","content":"Corn."}]}
{"messages":[{"role":"user","content":"Where does the baker live?"},{"role":"assistant","content":"The baker lives by the hill."}]}
"#;

/// Pairs for training.
pub const PAIRS: &str = r#"{"prompt":"What does the baker make?","chosen":"The baker makes bread.","rejected":"The baker grinds corn."}
{"prompt":"Where does the miller live?","chosen":"The miller lives by the river.","rejected":"By the hill."}
{"prompt":"What does the miller grind?","chosen":"Corn.","rejected":"Bread."}
{"prompt":"Where does the baker live?","chosen":"The baker lives by the hill.","rejected":"The miller lives by the river."}
"#;

/// A short run on [`CHATS`].
pub const RECIPE: &str = "\
[model]
path = 'base'

[data]
train = 'chats.jsonl'
eval = 'chats.jsonl'

[method]
name = 'ift'

[optimizer]
name = 'adamw'
lr = 1e-2

[train]
steps = 8
rows_per_step = 2

[eval]
every = 3

[checkpoint]
every = 3

[generate]
prompts = ['What does the baker make?', 'Who?']
max_tokens = 8

[output]
dir = 'run'
";

impl Folder {
    /// A folder with the tiny model, [`CHATS`] in `chats.jsonl`, [`PAIRS`] in `pairs.jsonl` and
    /// [`RECIPE`] in `recipe.toml`.
    pub fn ready_to_train() -> Self {
        let folder = Self::with_model();
        folder.write("chats.jsonl", CHATS);
        folder.write("pairs.jsonl", PAIRS);
        folder.write("recipe.toml", RECIPE);
        folder
    }

    /// Trains [`RECIPE`] with overrides.
    #[track_caller]
    pub fn train(&self, sets: &[&str]) {
        let sets = sets.iter().flat_map(|set| ["--set", set]);
        self.ift(&["train", "recipe.toml", "--quiet"].into_iter().chain(sets).collect::<Vec<_>>())
            .done();
    }

    /// The lines of a run's `metrics.jsonl`, without times and memory.
    #[track_caller]
    pub fn metrics(&self, run: &str) -> Vec<Value> {
        let mut lines = self.lines(&format!("{run}/metrics.jsonl"));
        for line in &mut lines {
            let line = line.as_object_mut().unwrap();
            for field in ["seconds", "tokens_per_second", "peak_memory_bytes"] {
                line.remove(field);
            }
        }
        lines
    }
}

/// A number in a JSON result.
#[track_caller]
pub fn number(answer: &Value, field: &str) -> f64 {
    answer[field].as_f64().unwrap_or_else(|| panic!("`{field}` is not a number: {answer}"))
}

/// Compares two numbers; the allowed difference is a share of the expected one.
#[track_caller]
pub fn close(what: &str, found: f64, expected: f64, relative: f64) {
    let mut comparison = Comparison::new(what, Tolerance::relative(relative));
    comparison.value(what, found, expected);
    comparison.finish();
}
