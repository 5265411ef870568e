//! Writes the quickstart's data: a small invented village, as running text and as chats.
//!
//! `cargo run --release -p ift-data --example quickstart_data -- OUT_DIR [--seed 0]`
//!
//! | file | what |
//! |---|---|
//! | `pretrain.jsonl` | 4 MB of running text (`text`): portraits, days, talks, lists, lessons |
//! | `train.jsonl` | 1500 conversations (`messages`) |
//! | `heldout.jsonl` | 150 conversations about what no training conversation asks |
//! | `pairs.jsonl` | 400 training questions with a right and a wrong answer (`chosen`, `rejected`) |
//!
//! A model of one or two million parameters can learn this world in minutes: forty people with
//! eight facts each, small sums, opposites, days and months, the spelling of short words, in a few
//! hundred different words. The running text contains all of it, so a base model trained on it
//! knows the answers but not how to chat. The conversations then teach the form: question and
//! answer, follow-ups with pronouns, system prompts that ask for one word or for capital letters.
//! Two facts about every person and an eighth of the lessons are asked in `heldout.jsonl` only, so
//! the loss there falls when the model learns to answer from the facts in the running text, and not
//! when it memorises answers.
//!
//! Everything is made up, and every answer is made from the same facts as the text. The same seed
//! gives the same bytes; `data/quickstart/` in the repository holds the files of seed 0 except the
//! running text.

mod chat;
mod facts;
mod lessons;
mod pairs;
mod prose;
mod random;
mod world;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use chat::Conversation;
use pairs::Pair;
use random::Random;
use world::World;

const PRETRAIN_BYTES: usize = 4_000_000;
const TRAIN: usize = 1500;
const HELD_OUT: usize = 150;
const PAIRS: usize = 400;

/// The contents of the four files.
struct Files {
    pretrain: String,
    train: String,
    held_out: String,
    pairs: String,
}

fn generate(seed: u64) -> Files {
    let random = &mut Random::new(seed);
    let world = World::new(random);
    let lessons = lessons::all();
    let (train, held_out) = chat::split(&lessons, random);
    let chats = |topics, count, random: &mut Random| {
        lines(chat::conversations(&world, topics, count, random).iter().map(Conversation::line))
    };
    let asked = train;
    let train = chats(&asked, TRAIN, random);
    let held_out = chats(&held_out, HELD_OUT, random);
    let documents = prose::documents(&world, &lessons, PRETRAIN_BYTES, random);
    let pretrain =
        lines(documents.into_iter().map(|text| serde_json::json!({ "text": text }).to_string()));
    let pairs = lines(pairs::pairs(&world, &asked, PAIRS, random).iter().map(Pair::line));
    Files { pretrain, train, held_out, pairs }
}

fn lines(records: impl Iterator<Item = String>) -> String {
    records.map(|record| record + "\n").collect()
}

/// The folder and the seed.
fn arguments() -> Option<(PathBuf, u64)> {
    let given: Vec<String> = std::env::args().skip(1).collect();
    match given.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [folder] if !folder.starts_with('-') => Some((folder.into(), 0)),
        [folder, "--seed", seed] | ["--seed", seed, folder] => {
            Some((folder.into(), seed.parse().ok()?))
        }
        _ => None,
    }
}

fn write(folder: &Path, files: &Files) -> std::io::Result<()> {
    fs::create_dir_all(folder)?;
    fs::write(folder.join("pretrain.jsonl"), &files.pretrain)?;
    fs::write(folder.join("train.jsonl"), &files.train)?;
    fs::write(folder.join("heldout.jsonl"), &files.held_out)?;
    fs::write(folder.join("pairs.jsonl"), &files.pairs)
}

#[allow(clippy::print_stderr)] // a program prints its errors
fn main() -> ExitCode {
    let Some((folder, seed)) = arguments() else {
        eprintln!("usage: quickstart_data OUT_DIR [--seed 0]");
        return ExitCode::from(2);
    };
    if let Err(e) = write(&folder, &generate(seed)) {
        eprintln!("`{}`: cannot be written: {e}", folder.display());
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_bytes_and_the_committed_files() {
        let (once, again) = (generate(0), generate(0));
        assert!(once.pretrain == again.pretrain && once.train == again.train);
        assert!(generate(1).train != once.train);
        let committed = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../data/quickstart");
        for (name, text) in [
            ("train.jsonl", &once.train),
            ("heldout.jsonl", &once.held_out),
            ("pairs.jsonl", &once.pairs),
        ] {
            let file = fs::read_to_string(committed.join(name)).unwrap();
            assert!(
                file == *text,
                "data/quickstart/{name} is not what seed 0 gives; write it anew"
            );
        }
        assert!(once.train.len() < 600_000 && once.pairs.len() < 150_000);
        assert!((3_000_000..5_000_000).contains(&once.pretrain.len()));
    }
}
