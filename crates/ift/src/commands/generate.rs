//! `ift generate`: answers to prompts.

use std::sync::Arc;

use anyhow::{Context, Result};
use ift_backend::{Backend, Storage};
use ift_data::{ChatTokenizer, Conversation, Message, TemplateSettings};
use ift_engine::{Finish, GenerationSettings, Sampling, generate};
use ift_model::{Model, Trained, tokenizer_folder};
use ift_train::Work;
use serde_json::json;

use super::backend::run_on;
use crate::arguments::GenerateArguments;
use crate::output::Output;

/// Runs the command.
pub(crate) fn run(arguments: GenerateArguments, output: Output) -> Result<()> {
    run_on(arguments.compute, GenerateWork { arguments, output })
}

struct GenerateWork {
    arguments: GenerateArguments,
    output: Output,
}

impl Work for GenerateWork {
    type Output = Result<()>;

    fn run<B: Backend>(self, backend: Arc<B>, _: usize) -> Result<()> {
        let arguments = &self.arguments;
        let folder = tokenizer_folder(&arguments.model)?;
        let tokenizer = if arguments.raw {
            ChatTokenizer::from_folder_plain(&folder)?
        } else {
            let template = arguments.template.clone();
            let settings = TemplateSettings { template, ..TemplateSettings::default() };
            ChatTokenizer::from_folder(&folder, &settings)?
        };
        let prompts = arguments.prompt.iter().map(|prompt| self.encode(&tokenizer, prompt));
        let prompts = prompts.collect::<Result<Vec<_>>>()?;
        let stop = if arguments.raw {
            tokenizer.eos_id().into_iter().collect()
        } else {
            tokenizer.end_of_turn()?
        };
        let settings = GenerationSettings {
            sampling: Sampling { temperature: arguments.temperature, top_p: arguments.top_p },
            max_tokens: arguments.max_tokens,
            stop,
            seed: arguments.seed,
        };
        let trained = Trained::Nothing { storage: Storage::Exact };
        let model = Model::load(&arguments.model, backend, trained)?;
        if let ([prompt], false) = (prompts.as_slice(), self.output.json()) {
            return self.stream(&model, &tokenizer, prompt, &settings);
        }
        let answers = generate(&model, &prompts, &settings, &mut |_, _| {})?;
        for (prompt, answer) in arguments.prompt.iter().zip(&answers) {
            let text = tokenizer.decode(&answer.tokens, true)?;
            if self.output.json() {
                let finish = if answer.finish == Finish::Stop { "stop" } else { "length" };
                let answer = json!({
                    "prompt": prompt,
                    "text": text,
                    "tokens": answer.tokens,
                    "finish": finish,
                });
                self.output.result(&answer.to_string())?;
            } else {
                self.output.result(&text)?;
            }
        }
        Ok(())
    }
}

impl GenerateWork {
    /// Prints a single answer while it is generated.
    fn stream<B: Backend>(
        &self,
        model: &Model<B>,
        tokenizer: &ChatTokenizer,
        prompt: &[u32],
        settings: &GenerationSettings,
    ) -> Result<()> {
        let (mut tokens, mut shown, mut failed) = (Vec::new(), 0, None);
        let mut show = |token| -> Result<()> {
            tokens.push(token);
            let text = tokenizer.decode(&tokens, true)?;
            // A character whose bytes are not complete decodes to U+FFFD; it is printed when it is
            // complete.
            if let Some(new) = text.get(shown..).filter(|new| !new.ends_with('\u{FFFD}')) {
                self.output.piece(new)?;
                shown = text.len();
            }
            Ok(())
        };
        generate(model, &[prompt.to_vec()], settings, &mut |_, token| {
            failed = failed.take().or(show(token).err());
        })?;
        if let Some(error) = failed {
            return Err(error);
        }
        let text = tokenizer.decode(&tokens, true)?;
        Ok(self.output.result(text.get(shown..).unwrap_or_default())?)
    }

    fn encode(&self, tokenizer: &ChatTokenizer, prompt: &str) -> Result<Vec<u32>> {
        if self.arguments.raw {
            return Ok(tokenizer.encode_plain(prompt, true)?);
        }
        let system = self.arguments.system.iter().map(|text| ("system", text.as_str()));
        let messages: Vec<Message> = system
            .chain([("user", prompt)])
            .map(|(role, content)| Message::new(role, content))
            .collect();
        let conversation = Conversation::from(messages);
        tokenizer
            .encode_chat(&conversation, true)
            .context("the chat template cannot render the prompt")
    }
}
