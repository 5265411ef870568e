//! Answers to the recipe's prompts, to see what training changes.

use ift_backend::Backend;
use ift_data::{ChatTokenizer, DataError, Message};
use ift_engine::{EngineError, GenerationSettings, Sampling, generate};
use ift_methods::Method;
use ift_model::Model;

use crate::error::TrainError;
use crate::metrics::Sample;
use crate::recipe::Recipe;

/// Answers every prompt greedily: as the user's turn of a conversation, or as text to be continued
/// for method `lm`.
pub(crate) fn answer<B: Backend>(
    model: &Model<B>,
    tokenizer: &ChatTokenizer,
    recipe: &Recipe,
    step: u64,
) -> Result<Vec<Sample>, TrainError> {
    let text = matches!(recipe.method, Method::Lm(_));
    let encode = |prompt: &String| {
        if text {
            tokenizer.encode_plain(prompt, true)
        } else {
            tokenizer.encode_chat(&vec![Message::new("user", prompt)].into(), true)
        }
    };
    let prompts =
        recipe.generate.prompts.iter().map(encode).collect::<Result<Vec<_>, DataError>>()?;
    let stop =
        if text { tokenizer.eos_id().into_iter().collect() } else { tokenizer.end_of_turn()? };
    let max_tokens = recipe.generate.max_tokens;
    let settings = GenerationSettings { sampling: Sampling::GREEDY, max_tokens, stop, seed: 0 };
    let answers =
        generate(model, &prompts, &settings, &mut |_, _| {}).map_err(|error| match error {
            EngineError::Model(error) => TrainError::memory("answers to the prompts")(error),
            error => TrainError::Prompt(error),
        })?;
    let both = recipe.generate.prompts.iter().zip(answers);
    both.map(|(prompt, generated)| {
        let answer = tokenizer.decode(&generated.tokens, true)?;
        Ok(Sample { step, prompt: prompt.clone(), answer })
    })
    .collect()
}
