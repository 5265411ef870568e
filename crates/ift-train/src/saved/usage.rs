//! How to load a written folder, for its card.

use ift_data::Bos;

/// What a model is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Prompt {
    /// A conversation.
    Chat,
    /// A text that it continues, and what began those of the training.
    Text(Bos),
}

/// What decides how a folder is used.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Usage {
    /// Whether it holds an adapter.
    pub adapted: bool,
    pub prompt: Prompt,
    /// Whether programs must look for the end of a text in the text.
    pub stops_at_text: bool,
    /// Whether the folder has a `generation_config.json`.
    pub generation_config: bool,
}

impl Usage {
    /// The section's text.
    pub fn text(self) -> String {
        let (class, library) = if self.adapted {
            ("AutoPeftModelForCausalLM", "peft")
        } else {
            ("AutoModelForCausalLM", "transformers")
        };
        // Without an adapter, the model's class reads it.
        let (import, config) = if self.adapted && self.generation_config {
            let config = "model.generation_config = GenerationConfig.from_pretrained(folder)\n";
            ("AutoTokenizer, GenerationConfig", config)
        } else {
            ("AutoTokenizer", "")
        };
        let stop = if self.stops_at_text { ", tokenizer=tokenizer" } else { "" };
        let begins = match self.prompt {
            Prompt::Text(Bos::Always) => " --bos always",
            Prompt::Text(Bos::Never) => " --bos never",
            Prompt::Chat | Prompt::Text(Bos::Auto) => "",
        };
        let (inputs, prompt) = if let Prompt::Text(bos) = self.prompt {
            let bos = if bos == Bos::Never { ", add_special_tokens=False" } else { "" };
            let call = "tokenizer(\"Once upon a time\", return_tensors=\"pt\"";
            (format!("inputs = {call}{bos})\n"), "--raw --prompt \"Once upon a time\"")
        } else {
            let inputs = "inputs = tokenizer.apply_chat_template(\n    \
                 [{\"role\": \"user\", \"content\": \"Hello\"}],\n    \
                 add_generation_prompt=True, return_dict=True, return_tensors=\"pt\",\n)\n";
            (inputs.to_owned(), "--prompt \"Hello\"")
        };
        format!(
            "```python\n\
             from {library} import {class}\n\
             from transformers import {import}\n\n\
             folder = \"path/of/this/folder\"\n\
             tokenizer = AutoTokenizer.from_pretrained(folder)\n\
             model = {class}.from_pretrained(folder, dtype=\"auto\")\n\
             {config}{inputs}\
             output = model.generate(**inputs, max_new_tokens=128{stop})\n\
             print(tokenizer.decode(output[0, inputs[\"input_ids\"].shape[1]:]))\n\
             ```\n\n\
             ```sh\n\
             ift generate --model path/of/this/folder {prompt}{begins}\n\
             ```\n{}",
            self.beginning()
        )
    }

    /// A template writes the beginning of a conversation; that of a text is nowhere in the folder.
    fn beginning(self) -> &'static str {
        match self.prompt {
            Prompt::Chat | Prompt::Text(Bos::Auto) => "",
            Prompt::Text(Bos::Always) => {
                "\nThe texts of the training began with one BOS token (`data.bos = \"always\"`). \
                 The tokenizer of this folder may not put it before a text: look at the first \
                 token.\n"
            }
            Prompt::Text(Bos::Never) => {
                "\nThe texts of the training began without a BOS token (`data.bos = \"never\"`).\n"
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_folder_lacks_is_not_asked_for() {
        let chat = Usage {
            adapted: true,
            prompt: Prompt::Chat,
            stops_at_text: true,
            generation_config: true,
        };
        let text = chat.text();
        for part in ["peft", "GenerationConfig.from", "apply_chat", "tokenizer=tokenizer)"] {
            assert!(text.contains(part), "{part}\n{text}");
        }
        assert!(!text.contains("BOS"), "{text}");
        let prompt = Prompt::Text(Bos::Always);
        let plain = Usage { prompt, stops_at_text: false, generation_config: false, ..chat };
        let text = plain.text();
        for part in ["GenerationConfig", "apply_chat", "tokenizer=tokenizer"] {
            assert!(!text.contains(part), "{part}\n{text}");
        }
        assert!(text.contains("--raw") && text.contains("one BOS token"), "{text}");
        assert!(text.contains(" --bos always\n"), "{text}");
        let text = Usage { prompt: Prompt::Text(Bos::Never), ..plain }.text();
        assert!(text.contains("add_special_tokens=False"), "{text}");
        assert!(text.contains(" --bos never\n"), "{text}");
    }
}
