//! Writes a model's logits for token ids, to compare with another implementation:
//! `cargo run --release -p ift-model --example logits -- MODEL_DIR OUT.safetensors 1,5,7,…
//! [ADAPTER_DIR]` writes one tensor `logits`, `[tokens, vocabulary]`, f32. `MODEL_DIR` may be an
//! adapter folder, which is merged into its base; the adapter in `ADAPTER_DIR` stays beside its
//! base, as in training.

use ift_backend::Reference;
use ift_model::{Adapter, BaseStorage, Keep, Model, PastOf, Sequences};
use safetensors::{Dtype, tensor::TensorView};
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
    let model = match adapter {
        None => Model::load(folder, backend)?,
        path => {
            let adapter = Adapter { path, base: BaseStorage::Exact, ..Adapter::default() };
            Model::load_adapted(folder, backend, &adapter, 0)?
        }
    };
    let mut sequences = Sequences::default();
    sequences.push(&ids);
    let pass = model.forward(&sequences, None, &PastOf::Nothing, Keep::Nothing);
    let positions: Vec<usize> = (0..ids.len()).collect();
    let logits = model.logits(&pass, &positions);
    let bytes: Vec<u8> = logits.iter().flat_map(|l| l.to_le_bytes()).collect();
    let view = TensorView::new(Dtype::F32, vec![ids.len(), model.config().vocabulary], &bytes)?;
    safetensors::serialize_to_file([("logits", view)], None, Path::new(out))?;
    Ok(())
}
