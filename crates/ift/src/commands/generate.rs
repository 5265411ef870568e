//! `ift generate`: answers to prompts.

use std::sync::Arc;

use anyhow::{Context, Result};
use ift_backend::{Backend, Storage};
use ift_data::{Bos, ChatTokenizer, Conversation, Message, TemplateSettings};
use ift_engine::{Finish, GenerationSettings, Sampling, generate};
use ift_model::{Model, Trained, tokenizer_folder};
use ift_train::{Stops, Watch, Work};
use serde_json::json;

use super::backend::run_on;
use crate::arguments::{BosArgument, GenerateArguments};
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
            let bos = self.bos();
            let settings = TemplateSettings { template, bos, ..TemplateSettings::default() };
            let tokenizer = ChatTokenizer::from_folder(&folder, &settings)?;
            self.note_template(&tokenizer);
            tokenizer
        };
        let prompts = arguments.prompt.iter().map(|prompt| self.encode(&tokenizer, prompt));
        let prompts = prompts.collect::<Result<Vec<_>>>()?;
        let model_folder = &arguments.model;
        let stops = if arguments.raw {
            Stops::of_text(&tokenizer, model_folder)?
        } else {
            Stops::of_chat(&tokenizer, model_folder)?
        };
        let settings = GenerationSettings {
            sampling: Sampling { temperature: arguments.temperature, top_p: arguments.top_p },
            max_tokens: arguments.max_tokens,
            stop: stops.ids().to_vec(),
            seed: arguments.seed,
        };
        let trained = Trained::Nothing { storage: Storage::Exact };
        let model = Model::load(model_folder, backend, trained)?;
        let mut texts = stops.watch(&tokenizer, prompts.len());
        if let ([_], false) = (prompts.as_slice(), self.output.json()) {
            return self.stream(&model, &prompts, &settings, texts);
        }
        let answers = generate(&model, &prompts, &settings, &mut |i, t| texts.ends(i, t))?;
        let answers = answers.iter().zip(texts.finish()?);
        for (prompt, (answer, text)) in arguments.prompt.iter().zip(answers) {
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
        prompts: &[Vec<u32>],
        settings: &GenerationSettings,
        mut texts: Watch,
    ) -> Result<()> {
        let (mut shown, mut failed) = (0, None);
        generate(model, prompts, settings, &mut |text, token| {
            let ends = texts.ends(text, token);
            let mut show = || -> Result<()> {
                let text = texts.shown(text)?;
                if let Some(new) = text.get(shown..) {
                    self.output.piece(new)?;
                    shown = text.len();
                }
                Ok(())
            };
            failed = failed.take().or_else(|| show().err());
            ends
        })?;
        if let Some(error) = failed {
            return Err(error);
        }
        let text = texts.finish()?.pop().unwrap_or_default();
        Ok(self.output.result(text.get(shown..).unwrap_or_default())?)
    }

    fn bos(&self) -> Bos {
        match self.arguments.bos {
            BosArgument::Auto => Bos::Auto,
            BosArgument::Always => Bos::Always,
            BosArgument::Never => Bos::Never,
        }
    }

    /// Says that the template is not the one of the model, which may know another, or none.
    fn note_template(&self, tokenizer: &ChatTokenizer) {
        if self.arguments.template.is_none() && !tokenizer.has_own_template() {
            let origin = tokenizer.template_origin().unwrap_or_default();
            self.output.note(&format!(
                "note: the chat template is {origin}; if the model learned another, name it with \
                 `--template`; if it learned none, continue plain text with `--raw`"
            ));
        }
    }

    fn encode(&self, tokenizer: &ChatTokenizer, prompt: &str) -> Result<Vec<u32>> {
        if self.arguments.raw {
            // What the tokenizer writes before a prompt that begins with a BOS is the user's wish.
            return Ok(match self.bos() {
                Bos::Auto => tokenizer.encode_plain(prompt, true)?,
                bos => tokenizer.encode_document(prompt, bos, false)?,
            });
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
