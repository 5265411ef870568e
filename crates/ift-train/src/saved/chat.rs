//! What a written folder says of conversations: the template that was used in training, and what
//! ends a turn.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::json_text;
use crate::data::{self, Data};
use crate::durable;
use crate::error::TrainError;
use crate::recipe::Recipe;
use crate::stops::{Stops, end_of_turn};

/// Formats of files that no template is applied to: plain text, tokens, and nothing read.
const WITHOUT_TEMPLATE: [&str; 3] = ["text", "tokens", "-"];

/// JSON files of a model folder that are completed, each with a field that is.
const CHANGED: [(&str, &str); 3] = [
    ("tokenizer_config.json", "chat_template"),
    ("chat_template.json", "chat_template"),
    ("generation_config.json", "eos_token_id"),
];

/// The template of a run, and the ends of its turns.
#[derive(Clone, Debug)]
pub(crate) struct ChatFiles {
    template: String,
    ends: Vec<u32>,
    /// The end of a turn, where it is not one token.
    end_text: Option<String>,
    bos: Option<u32>,
    pad: Option<u32>,
    /// What ends a text of the model that the run began with.
    base: Stops,
}

impl ChatFiles {
    /// Those of a run's data; `None` if no template was needed.
    ///
    /// # Errors
    /// If a file that [`ChatFiles::write`] completes cannot be read: before the training, not
    /// after it.
    pub fn of(data: &Data, recipe: &Recipe) -> Result<Option<Self>, TrainError> {
        let tokenizer = &data.tokenizer;
        let Some(template) = tokenizer.template_source() else { return Ok(None) };
        let mut formats = data.train.report.files.iter().map(|file| file.format.as_str());
        if formats.all(|format| WITHOUT_TEMPLATE.contains(&format)) {
            return Ok(None);
        }
        let (ends, end_text) = end_of_turn(tokenizer)?;
        for (name, field) in CHANGED {
            if let Some(path) = data::find_file(recipe, name)? {
                json_text::field(&path, field)?;
            }
        }
        Ok(Some(Self {
            template: template.to_owned(),
            ends,
            end_text,
            bos: tokenizer.bos_id(),
            pad: tokenizer.pad_id(),
            base: Stops::of_run(recipe)?,
        }))
    }

    /// A warning for users whose programs stop at tokens only.
    pub fn notice(&self) -> Option<String> {
        let text = self.end_text.as_ref()?;
        Some(format!(
            "the chat template ends a turn with `{text}`, which is not one token of the \
             vocabulary: programs that stop at tokens only will not stop there. The saved \
             `generation_config.json` names it in `stop_strings`, which `ift generate` and \
             transformers (`generate(…, tokenizer=tokenizer)`) read. To end turns with one token, \
             choose another `data.template`, such as `zephyr`, which ends turns with the \
             tokenizer's `eos_token`"
        ))
    }

    /// Whether programs must look for the end of a turn in the text.
    pub fn stops_at_text(&self) -> bool {
        self.end_text.is_some() || !self.base.texts().is_empty()
    }

    /// Writes them into a folder that has copies of its base's files.
    pub fn write(&self, folder: &Path) -> Result<(), TrainError> {
        let path = folder.join("chat_template.jinja");
        durable::write_file(&path, self.template.as_bytes())?;
        // Older readers look there.
        for (name, field) in CHANGED.into_iter().filter(|(_, field)| *field == "chat_template") {
            let path = folder.join(name);
            if path.is_file()
                && let Some(old) = json_text::field(&path, field)?
            {
                json_text::set(&path, field, &self.replaced(old))?;
            }
        }
        self.write_generation(&folder.join("generation_config.json"))
    }

    /// The field `chat_template` with this template as its default. There may be further ones.
    fn replaced(&self, old: Value) -> Value {
        let template = Value::from(self.template.as_str());
        match old {
            Value::Object(mut named) => {
                named.insert("default".to_owned(), template);
                Value::Object(named)
            }
            Value::Array(mut named) => {
                let is_default = |entry: &Value| entry.get("name") == Some(&json!("default"));
                let new = json!({"name": "default", "template": template});
                match named.iter_mut().find(|entry| is_default(entry)) {
                    Some(entry) => *entry = new,
                    None => named.push(new),
                }
                Value::Array(named)
            }
            _ => template,
        }
    }

    /// Adds the ends of turns to those of the base, and keeps everything else.
    fn write_generation(&self, path: &Path) -> Result<(), TrainError> {
        let stops = &self.base;
        let mut ends = stops.ids().to_vec();
        ends.extend(self.ends.iter().filter(|end| !stops.ids().contains(end)));
        let own = self.end_text.iter().filter(|text| !stops.texts().contains(text));
        let texts: Vec<&String> = stops.texts().iter().chain(own).collect();
        let is_new = !path.is_file();
        if is_new {
            let ids = [("bos_token_id", self.bos), ("pad_token_id", self.pad)];
            let ids = ids.into_iter().filter_map(|(name, id)| Some((name.to_owned(), json!(id?))));
            let fields = Value::Object(ids.collect::<Map<_, _>>());
            durable::write_file(path, format!("{fields:#}\n").as_bytes())?;
        }
        // The base may name them in `config.json` only, which is not read beside this file.
        let unnamed = json_text::field(path, "eos_token_id")?.is_none_or(|value| value.is_null());
        if unnamed || ends.len() > stops.ids().len() {
            let ends = if let [end] = ends[..] { json!(end) } else { json!(ends) };
            json_text::set(path, "eos_token_id", &ends)?;
        }
        if texts.len() > stops.texts().len() {
            json_text::set(path, "stop_strings", &json!(texts))?;
        }
        Ok(())
    }
}
