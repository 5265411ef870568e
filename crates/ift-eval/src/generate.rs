//! Batched generation.

use crate::Sampling;
use ift_backend::Backend;
use ift_model::{Cache, Keep, Model, PastOf};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

/// A prompt that cannot be continued.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum EvalError {
    /// There is nothing to continue.
    #[error("prompt {} has no tokens; expected at least one", prompt + 1)]
    EmptyPrompt {
        /// Index of the prompt.
        prompt: usize,
    },
    /// There is no room for an answer.
    #[error(
        "prompt {} has {tokens} tokens, and the model's context (`max_position_embeddings`) is {context}; expected fewer",
        prompt + 1
    )]
    TooLong {
        /// Index of the prompt.
        prompt: usize,
        /// Its length.
        tokens: usize,
        /// The model's context, in tokens.
        context: usize,
    },
    /// A token the model does not have.
    #[error("prompt {} has token {token}, but the model's vocabulary has {vocabulary} entries", prompt + 1)]
    Token {
        /// Index of the prompt.
        prompt: usize,
        /// The token id.
        token: u32,
        /// Entries of the vocabulary.
        vocabulary: usize,
    },
}

/// When to stop, and how to choose.
#[derive(Clone, Debug)]
pub struct GenerationSettings {
    /// How a token is chosen.
    pub sampling: Sampling,
    /// Most tokens to add to a prompt; fewer where the model's context ends.
    pub max_tokens: usize,
    /// Tokens that end a sequence; they are not part of the result.
    pub stop: Vec<u32>,
    /// Seed; prompt `i` draws from stream `i` of it, so that a prompt's text does not depend on
    /// its neighbours.
    pub seed: u64,
}

/// Why a sequence ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finish {
    /// A stop token.
    Stop,
    /// The most tokens allowed, or the end of the model's context.
    Length,
}

/// What was added to a prompt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Generated {
    /// The new tokens, without the stop token.
    pub tokens: Vec<u32>,
    /// Why it ended.
    pub finish: Finish,
}

/// Continues every prompt, all of them in one batch; `on_token` sees each new token as `(prompt,
/// token)`.
///
/// # Errors
/// If a prompt is empty, fills the model's context or has a token outside of the vocabulary.
pub fn generate<B: Backend>(
    model: &Model<B>,
    prompts: &[Vec<u32>],
    settings: &GenerationSettings,
    on_token: &mut dyn FnMut(usize, u32),
) -> Result<Vec<Generated>, EvalError> {
    let context = model.config().max_positions;
    check(prompts, model.config().vocabulary, context)?;
    let longest = prompts.iter().map(Vec::len).max().unwrap_or(0);
    let most = settings.max_tokens.min(context);
    let mut cache = Cache::new(model, prompts.len(), (longest + most).min(context));
    let mut random: Vec<ChaCha8Rng> = (0..prompts.len() as u64)
        .map(|stream| {
            let mut random = ChaCha8Rng::seed_from_u64(settings.seed);
            random.set_stream(stream);
            random
        })
        .collect();
    let mut results = vec![Generated { tokens: Vec::new(), finish: Finish::Length }; prompts.len()];
    let mut next: Vec<(usize, Vec<u32>)> = prompts.iter().cloned().enumerate().collect();
    for _ in 0..most {
        let parts: Vec<(usize, &[u32])> =
            next.iter().map(|(i, tokens)| (*i, tokens.as_slice())).collect();
        let pass =
            model.forward(&cache.next(&parts), None, &PastOf::Cache(&cache), Keep::KeysAndValues);
        cache.extend(model, &pass, &parts);
        let last: Vec<usize> = pass.sequences().rows.iter().map(|r| r.start + r.len - 1).collect();
        let logits = model.logits(&pass, &last);
        let mut unfinished = Vec::new();
        for ((i, _), logits) in next.iter().zip(logits.chunks_exact(model.config().vocabulary)) {
            let token = settings.sampling.choose(logits, &mut random[*i]);
            if settings.stop.contains(&token) {
                results[*i].finish = Finish::Stop;
                continue;
            }
            results[*i].tokens.push(token);
            on_token(*i, token);
            if cache.len(*i) < context {
                unfinished.push((*i, vec![token]));
            }
        }
        if unfinished.is_empty() {
            break;
        }
        next = unfinished;
    }
    Ok(results)
}

fn check(prompts: &[Vec<u32>], vocabulary: usize, context: usize) -> Result<(), EvalError> {
    for (prompt, tokens) in prompts.iter().enumerate() {
        if tokens.is_empty() {
            return Err(EvalError::EmptyPrompt { prompt });
        }
        if tokens.len() >= context {
            return Err(EvalError::TooLong { prompt, tokens: tokens.len(), context });
        }
        if let Some(&token) = tokens.iter().find(|&&t| t as usize >= vocabulary) {
            return Err(EvalError::Token { prompt, token, vocabulary });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use ift_backend::{NumberType, Reference};
    use std::sync::Arc;

    fn model(window: Option<usize>) -> (tempfile::TempDir, Model<Reference>) {
        let folder = tempfile::tempdir().unwrap();
        let config = serde_json::json!({"model_type": "mistral", "vocab_size": 37, "hidden_size": 16,
            "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
            "initializer_range": 0.4, "sliding_window": window, "max_position_embeddings": 40});
        let config = config.as_object().unwrap().clone();
        ift_model::random::create(config, 3, NumberType::F32, folder.path()).unwrap();
        let model = Model::load(folder.path(), Arc::new(Reference)).unwrap();
        (folder, model)
    }

    fn settings(sampling: Sampling, stop: Vec<u32>) -> GenerationSettings {
        GenerationSettings { sampling, max_tokens: 9, stop, seed: 5 }
    }

    /// The whole text run again for every token.
    fn without_cache(model: &Model<Reference>, prompt: &[u32], count: usize) -> Vec<u32> {
        let mut tokens = prompt.to_vec();
        for _ in 0..count {
            let mut sequences = ift_model::Sequences::default();
            sequences.push(&tokens);
            let pass = model.forward(&sequences, None, &PastOf::Nothing, Keep::Nothing);
            let logits = model.logits(&pass, &[tokens.len() - 1]);
            tokens.push(Sampling::GREEDY.choose(&logits, &mut ChaCha8Rng::seed_from_u64(0)));
        }
        tokens.split_off(prompt.len())
    }

    #[test]
    fn the_cache_changes_nothing_and_neighbours_do_not_matter() {
        for window in [None, Some(4)] {
            let (_folder, model) = model(window);
            let prompts = [vec![1, 2, 3, 4, 5, 6, 7], vec![9], vec![30, 31, 32]];
            let together =
                generate(&model, &prompts, &settings(Sampling::GREEDY, vec![]), &mut |_, _| {})
                    .unwrap();
            for (prompt, result) in prompts.iter().zip(&together) {
                assert_eq!(result.tokens, without_cache(&model, prompt, 9));
                assert_eq!(result.finish, Finish::Length);
            }
        }
    }

    #[test]
    fn it_stops_at_a_stop_token_and_draws_are_repeatable() {
        let (_folder, model) = model(None);
        let prompts = [vec![1, 2], vec![3]];
        let warm = Sampling { temperature: 1.0, top_p: 0.9 };
        let free = generate(&model, &prompts, &settings(warm, vec![]), &mut |_, _| {}).unwrap();
        let again = generate(&model, &prompts, &settings(warm, vec![]), &mut |_, _| {}).unwrap();
        assert_eq!(free, again);
        let stop = free[0].tokens[3];
        let mut seen = Vec::new();
        let stopped =
            generate(&model, &prompts, &settings(warm, vec![stop]), &mut |i, t| seen.push((i, t)))
                .unwrap();
        let first = free[0].tokens.iter().position(|&t| t == stop).unwrap();
        assert_eq!(stopped[0].tokens, free[0].tokens[..first]);
        assert_eq!(stopped[0].finish, Finish::Stop);
        let shown: Vec<u32> = seen.iter().filter(|(i, _)| *i == 0).map(|(_, t)| *t).collect();
        assert_eq!(shown, stopped[0].tokens);
    }

    #[test]
    fn an_answer_ends_with_the_context() {
        let (_folder, model) = model(None);
        let settings =
            GenerationSettings { max_tokens: usize::MAX, ..settings(Sampling::GREEDY, vec![]) };
        let answers =
            generate(&model, &[vec![1; 30], vec![2; 39]], &settings, &mut |_, _| {}).unwrap();
        // The last position's prediction is a token too.
        assert_eq!(answers.iter().map(|a| a.tokens.len()).collect::<Vec<_>>(), [11, 2]);
    }

    #[test]
    fn prompts_are_checked() {
        let (_folder, model) = model(None);
        let run = |prompt: Vec<u32>| {
            generate(&model, &[prompt], &settings(Sampling::GREEDY, vec![]), &mut |_, _| {})
                .unwrap_err()
        };
        assert_eq!(run(vec![]), EvalError::EmptyPrompt { prompt: 0 });
        assert_eq!(run(vec![1; 40]), EvalError::TooLong { prompt: 0, tokens: 40, context: 40 });
        assert_eq!(run(vec![1, 37]), EvalError::Token { prompt: 0, token: 37, vocabulary: 37 });
    }
}
