//! `README.md` of a written folder: a model card, with the header that the Hugging Face Hub reads.

use std::fs;
use std::path::{Path, PathBuf};

use ift_backend::NumberType;
use ift_data::FileReport;
use ift_model::HubModel;
use toml::{Table, Value};

use super::front_matter::{FrontMatter, License, field, own_body};
use crate::data::Data;
use crate::error::TrainError;
use crate::metrics::{EvalMetrics, Metrics, read_metrics};
use crate::recipe::Recipe;

/// Tables of the recipe that say nothing of the model.
const LEFT_OUT: [&str; 5] = ["model", "output", "generate", "eval", "stage"];

/// What to do with an adapter on an adapter.
pub(crate) const CHAIN: &str = "`ift` reads it, but PEFT loads only one of the two; `ift merge \
    --adapter path/of/this/folder --output DIR` makes a plain model of both";

/// What a card tells of a run.
pub(crate) struct Card<'a> {
    pub recipe: &'a Recipe,
    pub data: &'a Data,
    /// `metrics.jsonl` of the run so far.
    pub metrics: &'a Path,
    /// Steps done.
    pub step: u64,
    /// All steps of the run.
    pub steps: u64,
    /// The type of the saved weights.
    pub number: NumberType,
    /// Whether programs must look for the end of a turn in the text.
    pub stops_at_text: bool,
}

impl Card<'_> {
    /// The whole text.
    ///
    /// # Errors
    /// If the run's metrics cannot be read.
    pub fn text(&self) -> Result<String, TrainError> {
        let recipe = self.recipe;
        let settings = settings(recipe)?;
        let method = settings.get("method").and_then(|method| method.get("name"));
        let method = method.and_then(Value::as_str).unwrap_or("lm").to_owned();
        let (base, origin) = (display_name(&recipe.model.path), original(&recipe.model.path));
        let adapted = recipe.adapter.is_some();
        let title = display_name(&recipe.output.dir.join("model"));
        let license = license(&recipe.model.path);
        let datasets = datasets(recipe);
        let header = FrontMatter {
            base: origin.as_deref().unwrap_or(&base),
            relation: if adapted { "adapter" } else { "finetune" },
            datasets: &datasets,
            license: license.as_ref(),
            library: if adapted { "peft" } else { "transformers" },
            tags: if method == "ift" { &["ift"] } else { &["ift", &method] },
        };
        let what = if adapted { "A LoRA adapter for" } else { "A model fine-tuned from" };
        let mut text = vec![header.text()];
        text.push(format!("\n# {title}\n\n{what} `{base}`"));
        if let Some(origin) = origin.filter(|origin| *origin != base) {
            text.push(format!(" (which comes from `{origin}`)"));
        }
        let version = env!("CARGO_PKG_VERSION");
        text.push(format!(", trained with the method `{method}` by `ift` {version}."));
        if self.step < self.steps {
            text.push(format!(" This is a checkpoint after step {} of {}.", self.step, self.steps));
        }
        if let Some(license) = &license {
            text.push(format!(" The licence of the base is `{}`.", license.name()));
        }
        text.push(format!("\n\n## Data\n\n{}", self.files()));
        text.push(format!(
            "\n## Training\n\n{} steps of {}; weights saved as {}. Settings, with all defaults:\n\n\
             ```toml\n{}```\n",
            self.step,
            self.steps,
            number_name(self.number),
            toml::to_string(&settings).map_err(|e| TrainError::Syntax(e.to_string()))?
        ));
        text.push(format!("\n## Results\n\n{}", self.results()?));
        text.push(format!("\n## Use\n\n{}", usage(adapted, self.stops_at_text)));
        if self.is_chained() {
            text.push(format!("\nThe base is an adapter itself: {CHAIN}.\n"));
        }
        Ok(text.concat())
    }

    /// Whether the folder is an adapter on an adapter.
    fn is_chained(&self) -> bool {
        // A base that was removed during the run takes nothing but this remark away.
        let base = ift_model::base_folder(&self.recipe.model.path);
        self.recipe.adapter.is_some() && base.is_ok_and(|base| base.is_some())
    }

    /// A table of the data files.
    fn files(&self) -> String {
        let head = "| file | format | records | rows | held out | targets | lost tokens | used \
                    for |\n|---|---|---|---|---|---|---|---|\n";
        let mut text = vec![head.to_owned()];
        let mut add = |files: &[FileReport], used: &str| {
            for file in files {
                text.push(format!(
                    "| {} | {} | {} | {} | {} | {} | {:.1} % | {used} |\n",
                    display_name(&file.path),
                    file.format,
                    file.records,
                    file.rows,
                    file.held_out,
                    file.targets,
                    100.0 * file.share_lost()
                ));
            }
        };
        add(&self.data.train.report.files, "training");
        if let Some(held_out) = &self.data.held_out {
            add(&held_out.report.files, "evaluation");
        }
        text.concat()
    }

    /// Losses before, during and after training.
    fn results(&self) -> Result<String, TrainError> {
        let lines = read_metrics(self.metrics)?;
        let mut text = vec!["| | step | value |\n|---|---|---|\n".to_owned()];
        let mut evals = Vec::new();
        let mut last_step = None;
        let mut rounding = None;
        for line in lines {
            match line {
                Metrics::Eval(eval) => evals.push(eval),
                Metrics::Step(step) => last_step = Some(step),
                Metrics::Rounding(found) => rounding = Some(found),
                Metrics::Sample(_) => {}
            }
        }
        let mut add = |what: &str, step: u64, value: f64| {
            if value.is_finite() {
                text.push(format!("| {what} | {step} | {value:.4} |\n"));
            }
        };
        let mut add_eval = |when: &str, eval: &EvalMetrics| {
            add(&format!("held-out loss {when}"), eval.step, eval.loss);
            add(&format!("held-out perplexity {when}"), eval.step, eval.perplexity);
            if let Some(loss) = eval.method_loss {
                add(&format!("held-out loss of the method {when}"), eval.step, loss);
            }
        };
        match evals.as_slice() {
            [] => {}
            [only] if only.step > 0 => add_eval("after training", only),
            [first, rest @ ..] => {
                let when = if first.step == 0 { "before training" } else { "early" };
                add_eval(when, first);
                rest.last().into_iter().for_each(|last| add_eval("last", last));
            }
        }
        if let Some(step) = last_step {
            add("training loss of the method, last step", step.step, step.loss);
        }
        if let Some(rounding) = rounding {
            text.push(format!("\nRounding: {rounding}.\n"));
        }
        Ok(text.concat())
    }
}

/// The card of a folder that `ift merge` writes: `adapter` merged into its base.
pub fn merged_card(adapter: &Path, base: &Path, number: NumberType) -> String {
    let own = original(adapter).unwrap_or_else(|| display_name(base));
    let license = license(base);
    let header = FrontMatter {
        base: &own,
        relation: "finetune",
        datasets: &[],
        license: license.as_ref(),
        library: "transformers",
        tags: &["ift", "merge"],
    };
    let name = display_name(adapter);
    let mut text = vec![header.text()];
    text.push(format!(
        "\n# {name}\n\nThe adapter `{name}` merged into `{}` by `ift` {}; weights saved as {}.\n",
        display_name(base),
        env!("CARGO_PKG_VERSION"),
        number_name(number)
    ));
    text.push(format!("\n## Use\n\n{}", usage(false, false)));
    let card = fs::read_to_string(adapter.join("README.md")).unwrap_or_default();
    if let Some(body) = own_body(&card) {
        let body = body.split("\n## Use\n").next().unwrap_or(body);
        text.push(format!("\n## The adapter\n\n{}\n", body.trim().replace("\n#", "\n##")));
    }
    text.concat()
}

/// A number type as recipes write it.
pub(crate) fn number_name(number: NumberType) -> &'static str {
    match number {
        NumberType::F64 => "f64",
        NumberType::F32 => "f32",
        NumberType::Bf16 => "bf16",
        NumberType::F16 => "f16",
    }
}

/// How to load the folder.
fn usage(adapted: bool, stops_at_text: bool) -> String {
    let (class, library) = if adapted {
        ("AutoPeftModelForCausalLM", "peft")
    } else {
        ("AutoModelForCausalLM", "transformers")
    };
    let stop = if stops_at_text { ", tokenizer=tokenizer" } else { "" };
    let import = if adapted { "AutoTokenizer, GenerationConfig" } else { "AutoTokenizer" };
    let config = if adapted {
        "model.generation_config = GenerationConfig.from_pretrained(folder)\n"
    } else {
        ""
    };
    format!(
        "```python\n\
         from {library} import {class}\n\
         from transformers import {import}\n\n\
         folder = \"path/of/this/folder\"\n\
         tokenizer = AutoTokenizer.from_pretrained(folder)\n\
         model = {class}.from_pretrained(folder, dtype=\"auto\")\n\
         {config}\
         inputs = tokenizer.apply_chat_template(\n    \
             [{{\"role\": \"user\", \"content\": \"Hello\"}}],\n    \
             add_generation_prompt=True, return_dict=True, return_tensors=\"pt\",\n\
         )\n\
         output = model.generate(**inputs, max_new_tokens=128{stop})\n\
         print(tokenizer.decode(output[0, inputs[\"input_ids\"].shape[1]:]))\n\
         ```\n\n\
         ```sh\n\
         ift generate --model path/of/this/folder --prompt \"Hello\"\n\
         ```\n"
    )
}

/// The resolved recipe without tables that say nothing of the model, and with names in place of
/// paths.
fn settings(recipe: &Recipe) -> Result<Table, TrainError> {
    let table = Table::try_from(recipe).map_err(|e| TrainError::Syntax(e.to_string()))?;
    let mut table: Table =
        table.into_iter().filter(|(name, _)| !LEFT_OUT.contains(&name.as_str())).collect();
    table.iter_mut().for_each(|(_, value)| shorten(value));
    let template = table.get_mut("data").and_then(|data| data.get_mut("template"));
    if let Some(Value::String(template)) = template {
        *template = display_name(Path::new(template));
    }
    Ok(table)
}

/// Puts names in place of the fields `path`.
fn shorten(value: &mut Value) {
    match value {
        Value::Table(table) => {
            for (name, value) in table.iter_mut() {
                match value {
                    Value::String(path) if name == "path" => *path = display_name(Path::new(path)),
                    value => shorten(value),
                }
            }
        }
        Value::Array(list) => list.iter_mut().for_each(shorten),
        _ => {}
    }
}

/// A name for a file or folder without the path that leads there. Folders that every run has are
/// named by the run.
fn display_name(path: &Path) -> String {
    if let Some(HubModel { name, .. }) = HubModel::of_snapshot(path) {
        return name;
    }
    let path = if path.file_name().is_some() {
        path.to_owned()
    } else {
        path.canonicalize().unwrap_or_else(|_| PathBuf::from("model"))
    };
    let name = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned());
    let own = name(&path).unwrap_or_default();
    let above = |levels: usize| path.ancestors().nth(levels).and_then(name);
    let of_run = match own.as_str() {
        "model" => above(1),
        step if step.starts_with("step-") => above(2).map(|run| format!("{run} {step}")),
        _ => None,
    };
    of_run.unwrap_or(own)
}

/// The base that a model folder of this program names in its card.
fn original(folder: &Path) -> Option<String> {
    let card = fs::read_to_string(folder.join("README.md")).ok()?;
    own_body(&card)?;
    field(&card, "base_model")
}

/// The licence of a model folder, of an adapter that of its base.
fn license(folder: &Path) -> Option<License> {
    let base = ift_model::base_folder(folder).ok().flatten();
    License::of(folder).or_else(|| License::of(&base?))
}

/// The data sets that were trained on: those that are folders, by their names.
fn datasets(recipe: &Recipe) -> Vec<String> {
    let is_name = |name: &String| {
        let part = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
        !name.is_empty() && name.chars().all(part)
    };
    let folders = recipe.data.train.iter().filter(|source| source.path.is_dir());
    let mut names: Vec<String> =
        folders.map(|source| display_name(&source.path)).filter(is_name).collect();
    names.dedup();
    names
}
