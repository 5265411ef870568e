//! Writes a model's logits for token ids, to compare with another implementation:
//! `cargo run --release -p ift-model --example logits -- MODEL_DIR OUT.safetensors 1,5,7,…`
//! writes one tensor `logits`, `[tokens, vocabulary]`, f32.

use ift_backend::Reference;
use ift_model::{Keep, Model, PastOf, Sequences};
use safetensors::{Dtype, tensor::TensorView};
use std::error::Error;
use std::path::Path;
use std::sync::Arc;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, model, out, ids] = arguments.as_slice() else {
        return Err("usage: logits MODEL_DIR OUT.safetensors ID,ID,…".into());
    };
    let ids = ids.split(',').map(str::parse).collect::<Result<Vec<u32>, _>>()?;
    let model = Model::load(Path::new(model), Arc::new(Reference))?;
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
