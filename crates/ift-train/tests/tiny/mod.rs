//! A tiny model folder with a byte-level tokenizer, some conversations, and recipes for them.

#![allow(dead_code, reason = "each test file uses its part")]

use ift_backend::NumberType;
use ift_train::{Observer, Outcome, Recipe, Rounding, RunOptions, Start, TrainError, train};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use tempfile::TempDir;

/// Two steps in f64, with an evaluation before them.
pub const TWO_STEPS: &str = "train = { steps = 2, rows_per_step = 4, precision = 'f64' }\n\
    optimizer = { name = 'rmsprop', lr = 1e-3 }\n\
    schedule = { name = 'constant', warmup_steps = 0 }\n\
    eval.before = true\n";

/// A folder with a model `m`, training rows `train.jsonl` and held-out rows `eval.jsonl`.
pub struct Tiny {
    root: TempDir,
}

impl Tiny {
    pub fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let this = Self { root };
        let model = this.path("m");
        std::fs::create_dir(&model).unwrap();
        ift_model::random::create(config(), 1, NumberType::Bf16, &model).unwrap();
        std::fs::write(model.join("tokenizer.json"), tokenizer().to_string()).unwrap();
        let special = json!({"eos_token": "</s>", "bos_token": "<s>"});
        std::fs::write(model.join("tokenizer_config.json"), special.to_string()).unwrap();
        this.write_rows("train.jsonl", 0..10);
        this.write_rows("eval.jsonl", 90..93);
        this.write_pairs("pairs.jsonl", 0..10);
        this.write_pairs("eval_pairs.jsonl", 90..93);
        this
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    pub fn write_rows(&self, name: &str, numbers: std::ops::Range<usize>) {
        let line = |n: usize| {
            let answer = ["yes", "no it is", "7 of 9", "a"][n % 4];
            let messages = json!([
                {"role": "user", "content": format!("is {n} odd?")},
                {"role": "assistant", "content": answer},
            ]);
            format!("{}\n", json!({ "messages": messages }))
        };
        std::fs::write(self.path(name), numbers.map(line).collect::<String>()).unwrap();
    }

    /// Pairs of the same questions.
    pub fn write_pairs(&self, name: &str, numbers: std::ops::Range<usize>) {
        let line = |n: usize| {
            let (right, wrong) =
                (["yes", "no it is", "7 of 9", "a"][n % 4], ["not so", "b", "perhaps yes"][n % 3]);
            let pair =
                json!({ "prompt": format!("is {n} odd?"), "chosen": right, "rejected": wrong });
            format!("{pair}\n")
        };
        std::fs::write(self.path(name), numbers.map(line).collect::<String>()).unwrap();
    }

    /// A recipe that writes to `output`, with `lines` as its other tables.
    pub fn recipe(&self, output: &str, lines: &str) -> Recipe {
        self.recipe_on(["train.jsonl", "eval.jsonl"], output, lines)
    }

    /// The same on pairs.
    pub fn pair_recipe(&self, output: &str, lines: &str) -> Recipe {
        self.recipe_on(["pairs.jsonl", "eval_pairs.jsonl"], output, lines)
    }

    fn recipe_on(&self, [train, eval]: [&str; 2], output: &str, lines: &str) -> Recipe {
        let text = format!(
            "model.path = '{}'\ndata = {{ train = '{}', eval = '{}' }}\noutput.dir = '{}'\n{lines}",
            self.path("m").display(),
            self.path(train).display(),
            self.path(eval).display(),
            self.path(output).display(),
        );
        Recipe::from_toml(&text).unwrap()
    }
}

/// Trains without a word.
pub fn run(recipe: &Recipe, resume: bool) -> Result<Outcome, TrainError> {
    watch(recipe, resume, &mut ())
}

/// Trains and tells `observer`.
pub fn watch(
    recipe: &Recipe,
    resume: bool,
    observer: &mut dyn Observer,
) -> Result<Outcome, TrainError> {
    let options = RunOptions { resume, ..RunOptions::default() };
    train(recipe, &options, &AtomicBool::new(false), observer)
}

/// What a run tells.
#[derive(Default)]
pub struct Told {
    pub notices: Vec<String>,
    pub rounding: Option<Rounding>,
}

impl Observer for Told {
    fn started(&mut self, start: &Start) {
        self.notices.clone_from(&start.notices);
    }
    fn rounded(&mut self, rounding: &Rounding) {
        self.rounding = Some(rounding.clone());
    }
}

/// What a JSON file holds.
pub fn json(path: &Path) -> Value {
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// Writes a checkpoint's marker anew after one of its files was changed.
pub fn seal(checkpoint: &Path, name: &str) {
    let path = checkpoint.join("COMPLETE.json");
    let mut marker: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    let bytes = std::fs::read(checkpoint.join(name)).unwrap();
    let hash: Vec<String> = Sha256::digest(&bytes).iter().map(|b| format!("{b:02x}")).collect();
    marker["files"][name] = json!({ "bytes": bytes.len(), "sha256": hash.concat() });
    std::fs::write(&path, marker.to_string()).unwrap();
}

/// The lines of `metrics.jsonl` without the fields that tell the time.
pub fn metrics(output: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(output.join("metrics.jsonl")).unwrap();
    let parse = |line: &str| {
        let mut line: Map<String, Value> = serde_json::from_str(line).unwrap();
        line.retain(|key, _| {
            !["seconds", "tokens_per_second", "peak_memory_bytes"].contains(&key.as_str())
        });
        Value::Object(line)
    };
    text.lines().map(parse).collect()
}

/// The model's `config.json`.
pub fn config() -> Map<String, Value> {
    let config = json!({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 258,
        "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 256,
        "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "hidden_act": "silu",
        "tie_word_embeddings": true, "initializer_range": 0.1, "torch_dtype": "bfloat16"
    });
    config.as_object().unwrap().clone()
}

/// One token a byte, as GPT-2 writes bytes, and two special ones.
fn tokenizer() -> Value {
    let printable = |b: u32| matches!(b, 33..=126 | 161..=172 | 174..=255);
    let mut next = 256;
    let mut vocabulary = Map::new();
    for byte in 0..256 {
        let letter = if printable(byte) {
            byte
        } else {
            next += 1;
            next - 1
        };
        vocabulary.insert(char::from_u32(letter).unwrap().to_string(), json!(byte));
    }
    let special = |id, content| {
        json!({"id": id, "content": content, "special": true, "single_word": false, "lstrip": false,
               "rstrip": false, "normalized": false})
    };
    let byte_level = json!({
        "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false
    });
    json!({
        "version": "1.0", "added_tokens": [special(256, "<s>"), special(257, "</s>")],
        "pre_tokenizer": byte_level, "decoder": byte_level,
        "model": {"type": "BPE", "vocab": vocabulary, "merges": []}
    })
}
