//! Answers to the recipe's prompts, to see what training changes.

use ift_backend::Backend;
use ift_data::{ChatTokenizer, DataError, Message};
use ift_engine::{EngineError, GenerationSettings, Sampling, generate};
use ift_methods::Method;
use ift_model::Model;

use crate::error::TrainError;
use crate::metrics::Sample;
use crate::recipe::Recipe;
use crate::stops::Stops;

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
            tokenizer.encode_document(prompt, recipe.data.bos, false)
        } else {
            tokenizer.encode_chat(&vec![Message::new("user", prompt)].into(), true)
        }
    };
    let prompts =
        recipe.generate.prompts.iter().map(encode).collect::<Result<Vec<_>, DataError>>()?;
    let stops = Stops::of_run(recipe)?;
    let stops = if text { stops.and_text(tokenizer) } else { stops.and_chat(tokenizer)? };
    let settings = GenerationSettings {
        sampling: Sampling::GREEDY,
        max_tokens: recipe.generate.max_tokens,
        stop: stops.ids().to_vec(),
        seed: 0,
    };
    let mut texts = stops.watch(tokenizer, prompts.len());
    let answers =
        generate(model, &prompts, &settings, &mut |prompt, token| texts.ends(prompt, token));
    answers.map_err(|error| match error {
        EngineError::Model(error) => TrainError::memory("answers to the prompts")(error),
        error => TrainError::Prompt(error),
    })?;
    let answers = texts.finish()?;
    let both = recipe.generate.prompts.iter().zip(answers);
    Ok(both.map(|(prompt, answer)| Sample { step, prompt: prompt.clone(), answer }).collect())
}
