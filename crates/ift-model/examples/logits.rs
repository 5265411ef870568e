//! Writes a model's logits for token ids, to compare with another implementation:
//! `cargo run --release -p ift-model --example logits -- MODEL_DIR OUT.safetensors 1,5,7,…
//! [ADAPTER_DIR]` writes one tensor `logits`, `[tokens, vocabulary]`, f32. `MODEL_DIR` may be an
//! adapter folder, which is merged into its base; the adapter in `ADAPTER_DIR` is applied
//! without merging, as in training.

use ift_backend::{NumberType, Reference, Storage};
use ift_model::{
    Adapter, BaseStorage, Keep, Model, PastOf, PendingTensor, Sequences, Trained, write_tensors,
};
use std::error::Error;
use std::path::Path;
use std::sync::Arc;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let (model, out, ids, adapter) = match arguments.as_slice() {
        [_, model, out, ids] => (model, out, ids, None),
        [_, model, out, ids, adapter] => (model, out, ids, Some(adapter.into())),
        _ => return Err("usage: logits MODEL_DIR OUT.safetensors ID,ID,… [ADAPTER_DIR]".into()),
    };
    let ids = ids.split(',').map(str::parse).collect::<Result<Vec<u32>, _>>()?;
    let (folder, backend) = (Path::new(model), Arc::new(Reference));
    let is_adapted = adapter.is_some();
    let adapter = Adapter { path: adapter, base: BaseStorage::Exact, ..Adapter::default() };
    let trained = if is_adapted {
        Trained::Adapters { adapter: &adapter, seed: 0 }
    } else {
        Trained::Nothing { storage: Storage::Exact }
    };
    let model = Model::load(folder, backend, trained)?;
    let mut sequences = Sequences::default();
    sequences.push(&ids);
    let pass = model.forward(&sequences, None, &PastOf::Nothing, Keep::Nothing)?;
    let positions: Vec<usize> = (0..ids.len()).collect();
    let logits = model.logits(&pass, &positions)?;
    let shape = vec![ids.len(), model.config().vocabulary];
    let tensor = PendingTensor::new(shape, NumberType::F32, || logits.clone());
    write_tensors([("logits", tensor)], Path::new(out))?;
    Ok(())
}
