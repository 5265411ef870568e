//! The rows of a run, and the tokenizer that made them.

use std::fs;
use std::path::{Path, PathBuf};

use ift_data::{ChatTokenizer, Dataset, Sequence};
use ift_model::ModelError;

use crate::error::TrainError;
use crate::pack::RowError;
use crate::recipe::Recipe;

/// Training rows, and held-out ones where the recipe asks for them.
#[derive(Debug)]
pub struct Data {
    /// The model's tokenizer, with the chat template in use.
    pub tokenizer: ChatTokenizer,
    /// What is trained on.
    pub train: Dataset,
    /// What is measured on.
    pub held_out: Option<Dataset>,
}

/// The folder of the adapter that a run continues, if its tokenizer and chat template are those to
/// go on with: it has both.
pub(crate) fn continued_chat(recipe: &Recipe) -> Option<&Path> {
    let folder = recipe.adapter.as_ref()?.path.as_deref()?;
    let is_whole = folder.join("tokenizer.json").is_file() && has_template(folder);
    is_whole.then_some(folder)
}

/// Whether a folder holds a chat template, in one of the files that may.
pub(crate) fn has_template(folder: &Path) -> bool {
    let is_in = |name: &str| {
        let text = fs::read_to_string(folder.join(name)).unwrap_or_default();
        text.contains("\"chat_template\"")
    };
    folder.join("chat_template.jinja").is_file()
        || ["chat_template.json", "tokenizer_config.json"].into_iter().any(is_in)
}

/// A file that goes with the weights that a run begins with, `None` if there is none.
///
/// # Errors
/// If an adapter folder's configuration cannot be read or its base is not found.
pub(crate) fn find_file(recipe: &Recipe, name: &str) -> Result<Option<PathBuf>, ModelError> {
    let own = continued_chat(recipe).map(|folder| folder.join(name));
    match own.filter(|path| path.is_file()) {
        Some(path) => Ok(Some(path)),
        None => ift_model::find_file(&recipe.model.path, name),
    }
}

/// The folder of a run's tokenizer.
///
/// # Errors
/// As [`find_file`].
pub(crate) fn tokenizer_folder(recipe: &Recipe) -> Result<PathBuf, ModelError> {
    match continued_chat(recipe) {
        Some(folder) => Ok(folder.to_owned()),
        None => ift_model::tokenizer_folder(&recipe.model.path),
    }
}

impl Data {
    /// Reads what a recipe's `[data]` table names, with the tokenizer of its model. `clock` is the
    /// time, in seconds since 1970, that a chat template with a date writes: a resumed run must
    /// write that of its beginning.
    ///
    /// # Errors
    /// If the tokenizer or a file cannot be read, or no row is left.
    pub fn load(recipe: &Recipe, clock: i64) -> Result<Self, TrainError> {
        let tokenizer = ChatTokenizer::from_folder(
            &tokenizer_folder(recipe)?,
            &recipe.data.template_settings(),
        )?
        .at_time(clock)?;
        let kind = recipe.method.needs().rows;
        let (train, held_out) = ift_data::load(&recipe.data, &tokenizer, kind)?;
        Ok(Self { tokenizer, train, held_out })
    }

    /// Checks before training that every token is in the model's vocabulary.
    ///
    /// # Errors
    /// Names the first row with such a token, and its file.
    pub fn check_vocabulary(&self, vocabulary: usize) -> Result<(), TrainError> {
        for set in [Some(&self.train), self.held_out.as_ref()].into_iter().flatten() {
            for row in &set.rows {
                let mut tokens = row.sequences().iter().flat_map(Sequence::tokens);
                if let Some(&token) = tokens.find(|&&token| token as usize >= vocabulary) {
                    let problem =
                        RowError::Token { record: row.record, token, vocabulary }.to_string();
                    let file = set.report.files.get(row.source as usize);
                    return Err(TrainError::file(
                        file.map_or(Path::new("data"), |f| &f.path),
                        problem,
                    ));
                }
            }
        }
        Ok(())
    }
}
