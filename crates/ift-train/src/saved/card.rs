//! `README.md` of a written folder: a model card, with the header that the Hugging Face Hub reads.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use ift_backend::NumberType;
use ift_data::{Bos, FileReport};
use ift_model::HubModel;
use toml::{Table, Value};

use super::front_matter::{FrontMatter, License, field, own_body, read_card};
use super::usage::{Prompt, Usage};
use crate::data::{Data, has_template};
use crate::error::TrainError;
use crate::metrics::{EvalMetrics, Metrics, read_metrics};
use crate::recipe::Recipe;
use crate::stops::Stops;

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
    /// Whether tensors that were not trained are rounded too.
    pub rounds_frozen: bool,
    pub usage: Usage,
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
        let settings = toml::to_string(&settings).map_err(|e| TrainError::Syntax(e.to_string()))?;
        let fence = fence(&settings);
        text.push(format!(
            "\n## Training\n\n{} steps of {}; weights saved as {}. Settings, with all defaults:\n\n\
             {fence}toml\n{settings}{fence}\n",
            self.step,
            self.steps,
            number_name(self.number),
        ));
        text.push(format!("\n## Results\n\n{}", self.results()?));
        text.push(format!("\n## Use\n\n{}", self.usage.text()));
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
                    cell(&display_name(&file.path)),
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
        if self.rounds_frozen {
            text.push(format!(
                "\nTensors that were not trained are rounded to {} too, which is not part of any \
                 loss above.\n",
                number_name(self.number)
            ));
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
    let usage = Usage {
        adapted: false,
        prompt: if has_template(adapter) || has_template(base) {
            Prompt::Chat
        } else {
            Prompt::Text(Bos::Auto)
        },
        stops_at_text: Stops::of_folder(adapter).is_ok_and(|stops| !stops.texts().is_empty()),
        generation_config: true,
    };
    text.push(format!("\n## Use\n\n{}", usage.text()));
    let card = read_card(adapter);
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
    let card = read_card(folder);
    own_body(&card)?;
    field(&card, "base_model")
}

/// The licence of a model folder, of an adapter that of its base.
fn license(folder: &Path) -> Option<License> {
    let base = ift_model::base_folder(folder).ok().flatten();
    License::of(folder).or_else(|| License::of(&base?))
}

/// The data sets of the Hub that were trained on: those that lie in its cache. The name of another
/// folder says nothing of where it is from.
fn datasets(recipe: &Recipe) -> Vec<String> {
    let of_hub = |path: &Path| path.ancestors().find_map(HubModel::of_snapshot);
    let found = recipe.data.train.iter().filter_map(|source| of_hub(&source.path));
    let names: BTreeSet<String> = found.map(|dataset| dataset.name).collect();
    names.into_iter().collect()
}

/// A text as a cell of a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace(['\n', '\r'], " ")
}

/// A fence that the text does not have: longer than any run of backticks in it.
fn fence(text: &str) -> String {
    let longest = text.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    "`".repeat(3.max(longest + 1))
}
