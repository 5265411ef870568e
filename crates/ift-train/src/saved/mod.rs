//! Model folders as a run writes them: weights, the template and the ends of turns that were used
//! in training, and a model card.

mod card;
mod chat;
mod front_matter;
mod json_text;
mod usage;

use std::fs;
use std::path::{Path, PathBuf};

use ift_backend::{Backend, NumberType};
use ift_model::Model;

use crate::durable;
use crate::error::TrainError;
pub use card::merged_card;
pub(crate) use card::{CHAIN, Card, number_name};
pub(crate) use chat::ChatFiles;
pub(crate) use usage::{Prompt, Usage};

/// What a written folder says besides its weights.
pub(crate) struct Description<'a> {
    /// `None` if no template was used.
    pub chat: Option<&'a ChatFiles>,
    /// The text of `README.md`.
    pub card: String,
    /// A checkpoint of the run that has the base's files, where the base is gone.
    pub files_from: Option<PathBuf>,
}

/// Writes a model, or of an adapted one its adapter, as what other programs read. `folder` is
/// empty.
///
/// # Errors
/// If a file cannot be written, or the type cannot hold a weight.
pub(crate) fn write_model<B: Backend>(
    model: &Model<B>,
    folder: &Path,
    number: NumberType,
    description: &Description,
) -> Result<(), TrainError> {
    if let Some(checkpoint) = &description.files_from {
        copy_beside_weights(checkpoint, folder)?;
    }
    if model.is_adapted() {
        model.save_adapter(folder, number)?;
    } else {
        model.save(folder, number)?;
    }
    if let Some(chat) = description.chat {
        chat.write(folder)?;
    }
    durable::write_file(&folder.join("README.md"), description.card.as_bytes())
}

/// Copies what goes with the weights of a written folder: tokenizer, template, licence.
fn copy_beside_weights(from: &Path, to: &Path) -> Result<(), TrainError> {
    const OWN: [&str; 4] = ["COMPLETE.json", "README.md", "config.json", "adapter_config.json"];
    for path in durable::entries(from)? {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if path.is_file() && !name.contains(".safetensors") && !OWN.contains(&&*name) {
            fs::copy(&path, to.join(&*name)).map_err(TrainError::io("copy", &path))?;
        }
    }
    Ok(())
}
