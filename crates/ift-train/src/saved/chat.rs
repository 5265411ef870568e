//! What a written folder says of conversations: the template that was used in training, and what
//! ends a turn.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::json_text;
use crate::data::Data;
use crate::durable;
use crate::error::TrainError;
use crate::stops::{Stops, end_of_turn};

/// Formats of files that no template is applied to: plain text, tokens, and nothing read.
const WITHOUT_TEMPLATE: [&str; 3] = ["text", "tokens", "-"];

/// The template of a run, and the ends of its turns.
#[derive(Clone, Debug)]
pub(crate) struct ChatFiles {
    template: String,
    ends: Vec<u32>,
    /// The end of a turn, where it is not one token.
    end_text: Option<String>,
    bos: Option<u32>,
    pad: Option<u32>,
}

impl ChatFiles {
    /// Those of a run's data; `None` if no template was needed.
    pub fn of(data: &Data) -> Result<Option<Self>, TrainError> {
        let tokenizer = &data.tokenizer;
        let Some(template) = tokenizer.template_source() else { return Ok(None) };
        let mut formats = data.train.report.files.iter().map(|file| file.format.as_str());
        if formats.all(|format| WITHOUT_TEMPLATE.contains(&format)) {
            return Ok(None);
        }
        let (ends, end_text) = end_of_turn(tokenizer)?;
        let (bos, pad) = (tokenizer.bos_id(), tokenizer.pad_id());
        Ok(Some(Self { template: template.to_owned(), ends, end_text, bos, pad }))
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

    /// Writes them into a folder that has copies of its base's files; `base` is the folder of the
    /// model that the run began with.
    pub fn write(&self, folder: &Path, base: &Path) -> Result<(), TrainError> {
        let path = folder.join("chat_template.jinja");
        durable::write_file(&path, self.template.as_bytes())?;
        // Older readers look there.
        for name in ["tokenizer_config.json", "chat_template.json"] {
            let path = folder.join(name);
            if path.is_file()
                && let Some(old) = json_text::field(&path, "chat_template")?
            {
                json_text::set(&path, "chat_template", &self.replaced(old))?;
            }
        }
        self.write_generation(&folder.join("generation_config.json"), base)
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
    fn write_generation(&self, path: &Path, base: &Path) -> Result<(), TrainError> {
        let stops = Stops::of_folder(base)?;
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
        if is_new || ends.len() > stops.ids().len() {
            let ends = if let [end] = ends[..] { json!(end) } else { json!(ends) };
            json_text::set(path, "eos_token_id", &ends)?;
        }
        if texts.len() > stops.texts().len() {
            json_text::set(path, "stop_strings", &json!(texts))?;
        }
        Ok(())
    }
}
