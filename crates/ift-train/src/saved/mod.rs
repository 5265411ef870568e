//! Model folders as a run writes them: weights, the template and the ends of turns that were used
//! in training, and a model card.

mod card;
mod chat;
mod front_matter;
mod json_text;

use std::path::Path;

use ift_backend::{Backend, NumberType};
use ift_model::Model;

use crate::durable;
use crate::error::TrainError;
pub use card::merged_card;
pub(crate) use card::{CHAIN, Card, number_name};
pub(crate) use chat::ChatFiles;

/// What a written folder says besides its weights.
pub(crate) struct Description<'a> {
    /// The folder of the model that the run began with.
    pub base: &'a Path,
    /// `None` if no template was used.
    pub chat: Option<&'a ChatFiles>,
    /// The text of `README.md`.
    pub card: String,
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
    if model.is_adapted() {
        model.save_adapter(folder, number)?;
    } else {
        model.save(folder, number)?;
    }
    if let Some(chat) = description.chat {
        chat.write(folder, description.base)?;
    }
    durable::write_file(&folder.join("README.md"), description.card.as_bytes())
}
