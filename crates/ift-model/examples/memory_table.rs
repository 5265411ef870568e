//! Prints what training needs for some well-known models, as the Markdown tables of
//! `docs/MEMORY.md`: `cargo run --release -p ift-model --example memory_table`

use ift_backend::{Backend, Footprint, Storage};
use ift_cpu::{CpuBf16, CpuF32};
use ift_model::memory::{Batch, Formula, Need, Resident, Settings};
use ift_model::{Adapter, BaseStorage, Config};
use serde_json::{Map, Value, json};
use std::error::Error;
use std::io::{self, Write};
use std::path::Path;

/// A micro-batch of 2048 tokens, half of them prompts.
const BATCH: Batch = Batch { prompts: 1024, continuations: 1024, targets: 1024 };
const GIB: f64 = (1u64 << 30) as f64;
/// Memory of machines, in GiB, and what of it is left to the system.
const MACHINES: [u32; 4] = [8, 16, 24, 64];
const SYSTEM: f64 = 1.0;

/// Names and shapes, from the models' cards.
fn models() -> [(&'static str, Value); 7] {
    [
        (
            "SmolLM2-135M",
            json!({"model_type": "llama", "vocab_size": 49152, "hidden_size": 576,
                "intermediate_size": 1536, "num_hidden_layers": 30, "num_attention_heads": 9,
                "num_key_value_heads": 3, "tie_word_embeddings": true}),
        ),
        (
            "Qwen2.5-0.5B",
            json!({"model_type": "qwen2", "vocab_size": 151_936, "hidden_size": 896,
                "intermediate_size": 4864, "num_hidden_layers": 24, "num_attention_heads": 14,
                "num_key_value_heads": 2, "tie_word_embeddings": true}),
        ),
        (
            "Llama-3.2-1B",
            json!({"model_type": "llama", "vocab_size": 128_256, "hidden_size": 2048,
                "intermediate_size": 8192, "num_hidden_layers": 16, "num_attention_heads": 32,
                "num_key_value_heads": 8, "tie_word_embeddings": true}),
        ),
        (
            "Gemma-2B",
            json!({"model_type": "gemma", "vocab_size": 256_000, "hidden_size": 2048,
                "intermediate_size": 16384, "num_hidden_layers": 18, "num_attention_heads": 8,
                "num_key_value_heads": 1, "head_dim": 256}),
        ),
        (
            "Qwen2.5-3B",
            json!({"model_type": "qwen2", "vocab_size": 151_936, "hidden_size": 2048,
                "intermediate_size": 11008, "num_hidden_layers": 36, "num_attention_heads": 16,
                "num_key_value_heads": 2, "tie_word_embeddings": true}),
        ),
        (
            "Mistral-7B",
            json!({"model_type": "mistral", "vocab_size": 32000, "hidden_size": 4096,
                "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32,
                "num_key_value_heads": 8, "sliding_window": 4096, "tie_word_embeddings": false}),
        ),
        (
            "Llama-3-8B",
            json!({"model_type": "llama", "vocab_size": 128_256, "hidden_size": 4096,
                "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32,
                "num_key_value_heads": 8, "tie_word_embeddings": false}),
        ),
    ]
}

fn need(config: &Config, footprint: Footprint, states: usize, recompute: bool) -> Need {
    // IFT: the embedding table is a constant at the inputs.
    let settings = Settings { states, recompute, ..Settings::default() };
    Formula::new(config, footprint, settings).need(BATCH)
}

/// AdamW on an adapter of rank 16 on all linear layers; or, without one, on all weights.
fn adapted(config: &Config, base: Option<BaseStorage>, dpo: bool) -> Need {
    let adapter = base.map(|base| Adapter { rank: 16, base, ..Adapter::default() });
    // The reference of an adapted model is its base.
    let resident = dpo && base.is_none();
    let reference = resident.then_some(Resident { config, storage: Storage::Bf16 });
    let adapter = adapter.as_ref();
    let settings =
        Settings { states: 2, recompute: true, input_embeddings: dpo, adapter, reference };
    Formula::new(config, CpuF32::new(1).footprint(), settings).need(BATCH)
}

/// GiB, and the smallest machine that has them.
fn cell(need: &Need) -> String {
    let gib = need.total() as f64 / GIB;
    let machine = MACHINES.into_iter().find(|&size| gib <= f64::from(size) - SYSTEM);
    format!("{gib:.1} ({})", machine.map_or("-".to_owned(), |size| size.to_string()))
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut out = io::stdout().lock();
    let mut configs = Vec::new();
    for (name, source) in models() {
        let source: Map<String, Value> = serde_json::from_value(source)?;
        configs.push((name, Config::from_json(source, Path::new(name))?));
    }
    let precisions = [("f32", CpuF32::new(1).footprint()), ("bf16", CpuBf16::new(1).footprint())];

    writeln!(out, "| model | precision | recompute | SGD | RMSprop | AdamW |")?;
    writeln!(out, "|---|---|---|---:|---:|---:|")?;
    for (name, config) in &configs {
        for (precision, footprint) in precisions {
            for (recompute, word) in [(false, "no"), (true, "yes")] {
                let cells =
                    [0, 1, 2].map(|states| cell(&need(config, footprint, states, recompute)));
                writeln!(out, "| {name} | {precision} | {word} | {} |", cells.join(" | "))?;
            }
        }
    }

    writeln!(out)?;
    writeln!(
        out,
        "| model | parameters, millions | precision | weights | gradients | states | \
         activations | head | working memory | past gradients | saving |"
    )?;
    writeln!(out, "|---|---:|---|---:|---:|---:|---:|---:|---:|---:|---:|")?;
    for (name, config) in &configs {
        let parameters = ift_model::memory::weight_count(config) as f64 / 1e6;
        for (precision, footprint) in precisions {
            let n = need(config, footprint, 1, false);
            let parts = [
                n.weights,
                n.gradients,
                n.states,
                n.activations,
                n.head,
                n.working,
                n.past_gradients,
                n.saving,
            ];
            let parts = parts.map(|bytes| format!("{:.2}", bytes as f64 / GIB)).join(" | ");
            writeln!(out, "| {name} | {parameters:.1} | {precision} | {parts} |")?;
        }
    }

    writeln!(out)?;
    writeln!(
        out,
        "| model | all weights | DPO, all weights | LoRA on bf16 | on 8 bits | on NF4 | \
         DPO, LoRA on NF4 |"
    )?;
    writeln!(out, "|---|---:|---:|---:|---:|---:|---:|")?;
    for (name, config) in &configs {
        let (bf16, int8, nf4) =
            (Some(BaseStorage::Bf16), Some(BaseStorage::Int8), Some(BaseStorage::Nf4));
        let kinds =
            [(None, false), (None, true), (bf16, false), (int8, false), (nf4, false), (nf4, true)];
        let cells = kinds.map(|(base, dpo)| cell(&adapted(config, base, dpo)));
        writeln!(out, "| {name} | {} |", cells.join(" | "))?;
    }
    Ok(())
}
