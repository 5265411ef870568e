//! `ift merge`: merges an adapter into its base model.

use std::fs;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use ift_backend::{NumberType, Storage};
use ift_cpu::CpuF32;
use ift_model::{Adapter, BaseStorage, Model, Trained, base_folder, merge_lost, number_of};
use ift_train::{TrainError, merged_card, write_folder};
use serde_json::json;

use crate::arguments::{MergeArguments, MergeBase, NumberArgument};
use crate::output::Output;

/// Share of the change above which the type is worth a thought; training keeps f32 there.
const MOST_LOST: f64 = 0.05;

/// Runs the command.
pub(crate) fn run(arguments: &MergeArguments, output: Output) -> Result<()> {
    let (adapter, to) = (&arguments.adapter, &arguments.output);
    if to.exists() {
        bail!("`{}` exists already; choose another `--output`", to.display());
    }
    let backend = Arc::new(CpuF32::new(arguments.threads));
    let base = base_folder(adapter)
        .with_context(|| format!("`{}` cannot be merged", adapter.display()))?
        .with_context(|| {
            format!("`{}` is not an adapter: it has no `adapter_config.json`", adapter.display())
        })?;
    let number = match arguments.number {
        None => number_of(adapter)?,
        Some(NumberArgument::F32) => NumberType::F32,
        Some(NumberArgument::Bf16) => NumberType::Bf16,
        Some(NumberArgument::F16) => NumberType::F16,
    };
    let stored = match arguments.base {
        MergeBase::Exact => None,
        MergeBase::Bf16 => Some(BaseStorage::Bf16),
        MergeBase::Int8 => Some(BaseStorage::Int8),
        MergeBase::Nf4 => Some(BaseStorage::Nf4),
    };
    let model = match stored {
        // Weights that are written as bfloat16 are loaded as bfloat16, in half the memory.
        None if number == NumberType::Bf16 => {
            Model::load(adapter, backend, Trained::Nothing { storage: Storage::Bf16 })?
        }
        None => Model::load(adapter, backend, Trained::Nothing { storage: Storage::Exact })?,
        Some(stored) => {
            let settings =
                Adapter { path: Some(adapter.clone()), base: stored, ..Adapter::default() };
            Model::load(&base, backend, Trained::Adapters { adapter: &settings, seed: 0 })?
        }
    };
    write_folder(to, |folder| {
        model.save(folder, number).map_err(TrainError::from)?;
        let path = folder.join("README.md");
        let card = merged_card(adapter, &base, number);
        fs::write(&path, card).with_context(|| format!("cannot write `{}`", path.display()))
    })?;
    // Weights of the other types hold the sum as exactly as it is computed.
    let lost = match (number, stored) {
        (NumberType::F32 | NumberType::F64, _) => None,
        (_, Some(_)) => Some(model.merge_lost(number)),
        (_, None) => Some(merge_lost(adapter, number)?),
    };
    if output.json() {
        let mut result = json!({"model": to});
        if let Some(lost) = lost {
            result["rounding_loses"] = lost.into();
        }
        output.result(&result.to_string())?;
    } else {
        output.result(&format!("the merged model is in {}", to.display()))?;
        if let Some(lost) = lost {
            let type_name = if number == NumberType::F16 { "f16" } else { "bf16" };
            let advice = if lost > MOST_LOST { "; `--number f32` keeps it" } else { "" };
            output.note(&format!(
                "rounding to {type_name} loses {:.1} % of what the adapter changes in the weights\
                 {advice}",
                100.0 * lost
            ));
        }
    }
    Ok(())
}
