//! Continues several prompts to their ends.

use crate::{Engine, EngineError, EngineSettings, Event, Finish, Request, Sampling};
use ift_backend::Backend;
use ift_model::Model;

/// When to stop, and how to choose.
#[derive(Clone, Debug, PartialEq)]
pub struct GenerationSettings {
    /// How a token is chosen.
    pub sampling: Sampling,
    /// Most tokens to add to a prompt; fewer where the model's context ends.
    pub max_tokens: usize,
    /// Tokens that end a text; they are not part of the result.
    pub stop: Vec<u32>,
    /// Seed; prompt `i` draws from stream `i` of it, so that a text does not depend on the other
    /// prompts.
    pub seed: u64,
}

/// What was added to a prompt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Generated {
    /// The new tokens, without a stop token of the settings.
    pub tokens: Vec<u32>,
    /// Why the text ended.
    pub finish: Finish,
}

/// Continues every prompt; `on_token` sees each new token as `(prompt, token)`, and says whether
/// the text ends with it, as where the text spells a stop word in several tokens. The token is part
/// of the result then.
///
/// The KV cache grows with the texts and may become as large as all of them need together.
///
/// # Errors
/// If a prompt is empty, fills the model's context or has a token outside of the vocabulary; if
/// the sampling cannot be used; if memory runs out.
pub fn generate<B: Backend>(
    model: &Model<B>,
    prompts: &[Vec<u32>],
    settings: &GenerationSettings,
    on_token: &mut dyn FnMut(usize, u32) -> bool,
) -> Result<Vec<Generated>, EngineError> {
    let most = settings.max_tokens.min(model.config().max_positions);
    let block = ift_model::Cache::<B>::BLOCK;
    let room = |prompt: &Vec<u32>| (prompt.len().saturating_add(most)).div_ceil(block) * block;
    let cache_tokens = prompts.iter().map(room).fold(0, usize::saturating_add);
    let engine_settings = EngineSettings { cache_tokens, ..EngineSettings::default() };
    let mut engine = Engine::new(model, engine_settings)?;
    let submit = |(prompt, tokens): (usize, &Vec<u32>)| {
        let request = Request {
            prompt: tokens.clone(),
            sampling: settings.sampling,
            max_tokens: settings.max_tokens,
            stop: settings.stop.clone(),
            seed: settings.seed,
            stream: prompt as u64,
        };
        engine.submit(request).map_err(|fault| EngineError::Prompt { prompt, fault })
    };
    let requests = prompts.iter().enumerate().map(submit).collect::<Result<Vec<_>, _>>()?;
    let mut results = vec![Generated { tokens: Vec::new(), finish: Finish::Length }; prompts.len()];
    let mut ended = vec![false; prompts.len()];
    while !engine.is_idle() {
        for event in engine.step()? {
            let (Event::Token { request, .. } | Event::Finished { request, .. }) = event;
            let Ok(prompt) = requests.binary_search(&request) else { continue };
            match event {
                _ if ended[prompt] => {}
                Event::Token { token, .. } => {
                    results[prompt].tokens.push(token);
                    if on_token(prompt, token) {
                        (ended[prompt], results[prompt].finish) = (true, Finish::Stop);
                        engine.cancel(request);
                    }
                }
                Event::Finished { finish, .. } => results[prompt].finish = finish,
            }
        }
    }
    Ok(results)
}
