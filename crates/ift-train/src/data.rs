//! The rows of a run, and the tokenizer that made them.

use std::path::Path;

use ift_data::{ChatTokenizer, Dataset, Sequence};

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

impl Data {
    /// Reads what a recipe's `[data]` table names, with the tokenizer of its model. `clock` is the
    /// time, in seconds since 1970, that a chat template with a date writes: a resumed run must
    /// write that of its beginning.
    ///
    /// # Errors
    /// If the tokenizer or a file cannot be read, or no row is left.
    pub fn load(recipe: &Recipe, clock: i64) -> Result<Self, TrainError> {
        let tokenizer = ChatTokenizer::from_folder(
            &ift_model::tokenizer_folder(&recipe.model.path)?,
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
