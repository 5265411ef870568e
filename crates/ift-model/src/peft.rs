//! Adapter folders in PEFT's format: `adapter_config.json` and `adapter_model.safetensors`.

use crate::adapter::ResolvedAdapter;
use crate::fields::{self, Fields};
use crate::folder::{ADAPTER, Shards};
use crate::hub::{self, HubModel};
use crate::{Adapter, BaseStorage, Config, ModelError, Target};
use ift_backend::NumberType;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

const CONFIG: &str = "adapter_config.json";
/// Folders, at most, that lead from an adapter to its base.
const LONGEST_CHAIN: usize = 16;

/// Fields that change what an adapter computes and are not implemented; `null`, `false` and empty
/// are their neutral values.
const UNSUPPORTED: [&str; 17] = [
    "alora_invocation_tokens",
    "alpha_pattern",
    "arrow_config",
    "exclude_modules",
    "fan_in_fan_out",
    "kasa_config",
    "layer_replication",
    "layers_to_transform",
    "lora_bias",
    "modules_to_save",
    "monteclora_config",
    "rank_pattern",
    "target_parameters",
    "trainable_token_indices",
    "use_bdlora",
    "use_qalora",
    "velora_config",
];

/// Initialisations (`init_lora_weights`) that do not change the base's weights.
const NEUTRAL_INITIALISATIONS: [&str; 3] = ["gaussian", "eva", "orthogonal"];

/// What an adapter folder's configuration contains.
pub(crate) struct AdapterFolder {
    pub folder: PathBuf,
    /// The folder of the model it was trained on.
    pub base: PathBuf,
    /// Of its settings, `base` and `path` are at their defaults: the file does not have them.
    pub placed: ResolvedAdapter,
}

/// Where a model comes from: a folder with its weights, and adapters that are to be merged into
/// them.
pub(crate) struct ModelFolders {
    /// The folder with the weights and `config.json`.
    pub base: PathBuf,
    /// The first to be merged first.
    pub merged: Vec<AdapterFolder>,
}

impl ModelFolders {
    /// Follows adapter folders to the model they were trained on.
    pub fn of(folder: &Path) -> Result<Self, ModelError> {
        let mut source = Self { base: folder.to_owned(), merged: Vec::new() };
        while is_adapter(&source.base) {
            let adapter = AdapterFolder::read(&source.base)?;
            if source.merged.len() == LONGEST_CHAIN {
                let reason = format!(
                    "leads to another adapter {LONGEST_CHAIN} times, expected a base model"
                );
                let path = source.base.join(CONFIG);
                return Err(ModelError::Field {
                    path,
                    field: "base_model_name_or_path".to_owned(),
                    reason,
                });
            }
            source.base.clone_from(&adapter.base);
            source.merged.insert(0, adapter);
        }
        Ok(source)
    }

    /// All its folders, the one that was asked for first.
    pub fn folders(&self) -> Vec<PathBuf> {
        let adapters = self.merged.iter().rev().map(|adapter| adapter.folder.clone());
        adapters.chain([self.base.clone()]).collect()
    }
}

/// The folder whose tokenizer a model folder uses: itself, or for an adapter folder without a
/// tokenizer that of its base.
///
/// # Errors
/// If an adapter folder's configuration cannot be read or its base is not found.
pub fn tokenizer_folder(folder: &Path) -> Result<PathBuf, ModelError> {
    let found = find_file(folder, "tokenizer.json")?;
    let found = found.and_then(|file| file.parent().map(Path::to_owned));
    Ok(found.unwrap_or_else(|| folder.to_owned()))
}

/// A file of a model folder, or of an adapter folder without it that of its base; `None` if there
/// is none.
///
/// # Errors
/// If an adapter folder's configuration cannot be read or its base is not found.
pub fn find_file(folder: &Path, name: &str) -> Result<Option<PathBuf>, ModelError> {
    let files = ModelFolders::of(folder)?.folders().into_iter().map(|folder| folder.join(name));
    Ok(files.into_iter().find(|file| file.is_file()))
}

/// The folder of the model that an adapter folder was trained on (perhaps an adapter folder
/// itself); `None` for a folder that is no adapter's.
///
/// # Errors
/// If the adapter's configuration cannot be read or its base is not found.
pub fn base_folder(folder: &Path) -> Result<Option<PathBuf>, ModelError> {
    if !is_adapter(folder) {
        return Ok(None);
    }
    Ok(Some(AdapterFolder::read(folder)?.base))
}

/// The shape of a model folder's model, of an adapter folder's base.
///
/// # Errors
/// If a configuration cannot be read or is not supported, or an adapter's base is not found.
pub fn config_of(folder: &Path) -> Result<Config, ModelError> {
    Config::from_folder(&ModelFolders::of(folder)?.base)
}

/// The number type of most of a model folder's weights, of an adapter folder's base.
///
/// # Errors
/// If a file cannot be read, or an adapter's base is not found.
pub fn number_of(folder: &Path) -> Result<NumberType, ModelError> {
    let shards = Shards::open(&ModelFolders::of(folder)?.base)?;
    Ok(shards.tensors()?.named.number())
}

/// The files that loading a model folder reads, always in the same order: configurations, weights
/// and the index of shards, for an adapter those of its base too. Two folders hold the same model
/// if these files have the same names and the same bytes.
///
/// # Errors
/// If a folder has no weights, its index cannot be read, or an adapter's base is not found.
pub fn weight_files(folder: &Path) -> Result<Vec<PathBuf>, ModelError> {
    let ModelFolders { base, merged } = ModelFolders::of(folder)?;
    let adapters = merged.iter().rev();
    let mut files: Vec<PathBuf> =
        adapters.flat_map(|adapter| [CONFIG, ADAPTER].map(|n| adapter.folder.join(n))).collect();
    files.push(base.join("config.json"));
    files.extend(Shards::files(&base)?);
    Ok(files)
}

fn is_adapter(folder: &Path) -> bool {
    folder.join(CONFIG).is_file()
}

impl AdapterFolder {
    /// Reads `adapter_config.json` and finds the base.
    pub fn read(folder: &Path) -> Result<Self, ModelError> {
        let path = folder.join(CONFIG);
        let map = fields::read_object(&path)?;
        let fields = Fields { map: &map, prefix: "", path: &path };
        let placed = placed(&fields)?;
        Ok(Self { folder: folder.to_owned(), base: base(&fields, folder)?, placed })
    }
}

/// Reads the adapter without its base, for training on another base that is given.
pub(crate) fn read_adapter(folder: &Path) -> Result<ResolvedAdapter, ModelError> {
    let path = folder.join(CONFIG);
    let map = fields::read_object(&path)?;
    placed(&Fields { map: &map, prefix: "", path: &path })
}

fn placed(fields: &Fields) -> Result<ResolvedAdapter, ModelError> {
    refuse_unsupported(fields)?;
    let modules = modules(fields)?;
    let kind = |target: &Target| modules.iter().any(|module| kind_of(module) == Some(*target));
    let settings = Adapter {
        rank: fields.size("r")?,
        alpha: fields.number("lora_alpha")?,
        dropout: fields.optional_number("lora_dropout")?.unwrap_or(0.0),
        targets: Target::ALL.into_iter().filter(kind).collect(),
        rslora: fields.flag("use_rslora")?.unwrap_or(false),
        dora: fields.flag("use_dora")?.unwrap_or(false),
        base: BaseStorage::default(),
        path: None,
    };
    let name = |field| match field {
        "rank" => "r",
        "alpha" => "lora_alpha",
        "dropout" => "lora_dropout",
        _ => "target_modules",
    };
    settings.validate().map_err(|(field, reason)| fields.error(name(field), &reason))?;
    Ok(ResolvedAdapter { settings, modules })
}

/// Which linear layer a name or the end of one means.
fn kind_of(module: &str) -> Option<Target> {
    module.rsplit('.').next().and_then(Target::named)
}

fn refuse_unsupported(fields: &Fields) -> Result<(), ModelError> {
    let kind = fields.text("peft_type")?.unwrap_or("none");
    if kind != "LORA" {
        return Err(fields.error("peft_type", &format!("is `{kind}`, expected LORA")));
    }
    let bias = fields.text("bias")?.unwrap_or("none");
    if bias != "none" {
        return Err(fields.error(
            "bias",
            &format!("is `{bias}`: trained biases are not supported, expected none"),
        ));
    }
    let neutral = |value: &Value| match value {
        Value::Null => true,
        Value::Bool(on) => !on,
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        Value::Number(_) | Value::String(_) => false,
    };
    for field in UNSUPPORTED {
        if let Some(value) = fields.get(field).filter(|value| !neutral(value)) {
            let reason = format!(
                "is `{value}`, which is not supported; expected null, false or nothing in it"
            );
            return Err(fields.error(field, &reason));
        }
    }
    match fields.get("init_lora_weights") {
        Some(Value::String(start)) if !NEUTRAL_INITIALISATIONS.contains(&start.as_str()) => {
            let reason = format!(
                "is `{start}`, which may have changed the base's weights too; save the adapter \
                 with PEFT's `path_initial_model_for_weight_conversion` to turn it into a plain one"
            );
            Err(fields.error("init_lora_weights", &reason))
        }
        _ => Ok(()),
    }
}

/// `target_modules`: names of linear layers or ends of such names, or `all-linear`.
fn modules(fields: &Fields) -> Result<Vec<String>, ModelError> {
    let field = "target_modules";
    let names = Target::ALL.map(Target::name);
    let expected = format!("expected a list of {}", names.join(", "));
    match fields.get(field) {
        Some(Value::String(all)) if all == "all-linear" => Ok(names.map(str::to_owned).to_vec()),
        Some(Value::String(name)) if Target::named(name).is_some() => Ok(vec![name.clone()]),
        Some(Value::String(pattern)) => Err(fields.error(
            field,
            &format!("is the pattern `{pattern}`, which is not supported; {expected}"),
        )),
        Some(Value::Array(list)) => {
            let module = |value: &Value| {
                let known = value.as_str().filter(|name| kind_of(name).is_some());
                let reason = || {
                    fields.error(
                        field,
                        &format!("names {value}, which cannot be adapted; {expected}"),
                    )
                };
                known.map(str::to_owned).ok_or_else(reason)
            };
            let mut modules = list.iter().map(module).collect::<Result<Vec<_>, _>>()?;
            // PEFT writes a set, in any order.
            modules.sort();
            Ok(modules)
        }
        _ => Err(fields.error(field, &format!("is missing, {expected}"))),
    }
}

/// The base's folder: `base_model_name_or_path` from the adapter's folder, from the working
/// directory, or as the name of a model in the cache of the Hugging Face Hub, at `revision`.
fn base(fields: &Fields, folder: &Path) -> Result<PathBuf, ModelError> {
    let field = "base_model_name_or_path";
    let Some(name) = fields.text(field)?.filter(|name| !name.is_empty()) else {
        return Err(
            fields.error(field, "is missing, expected the folder of the model it was trained on")
        );
    };
    let candidates = candidates(&hub::caches(), (name, fields.text("revision")?), folder);
    if let Some(base) = candidates.iter().find(|path| is_model(path)) {
        return Ok(base.clone());
    }
    let looked: Vec<_> = candidates.iter().map(|path| format!("`{}`", path.display())).collect();
    let reason = format!(
        "is `{name}`, which is not found: no `config.json` in {}; put the path of the base model \
         there",
        looked.join(", nor in ")
    );
    Err(fields.error(field, &reason))
}

/// Where the base of the adapter in `folder` is looked for, in this order. Only a model of the Hub
/// has a revision, so that one comes first where it is at hand.
fn candidates(
    caches: &[PathBuf],
    (name, revision): (&str, Option<&str>),
    folder: &Path,
) -> Vec<PathBuf> {
    let snapshots = hub::snapshots(caches, name, revision);
    let mut candidates = vec![folder.join(name), PathBuf::from(name)];
    candidates.dedup();
    let at = if revision.is_some() { 0 } else { candidates.len() };
    candidates.splice(at..at, snapshots);
    candidates
}

fn is_model(folder: &Path) -> bool {
    folder.join("config.json").is_file() || is_adapter(folder)
}

/// The model of the Hub in `base`, if its name and revision lead back to that folder: it may lie in
/// another cache than the one that is searched.
fn found_again(caches: &[PathBuf], base: &Path, folder: &Path) -> Option<HubModel> {
    let model = HubModel::of_snapshot(base)?;
    let name = (model.name.as_str(), Some(model.revision.as_str()));
    let found = candidates(caches, name, folder).into_iter().find(|path| is_model(path))?;
    let is_same = found.canonicalize().ok()? == base.canonicalize().ok()?;
    is_same.then_some(model)
}

/// `adapter_config.json` in `folder`, of an adapter on the model in `base`, an absolute path. A
/// model of the Hub that lies in this machine's cache is named as it is there, so that other
/// machines find it.
pub(crate) fn config(placed: &ResolvedAdapter, base: &Path, folder: &Path) -> Value {
    let (base, revision) = match found_again(&hub::caches(), base, folder) {
        Some(HubModel { name, revision }) => (name, Some(revision)),
        None => (base.to_string_lossy().into_owned(), None),
    };
    let ResolvedAdapter { settings, modules } = placed;
    let whole = settings.alpha.fract() == 0.0 && settings.alpha < 1e9;
    // PEFT declares it an integer, and accepts others.
    let alpha = if whole { json!(settings.alpha as u64) } else { json!(settings.alpha) };
    json!({
        "alpha_pattern": {},
        "auto_mapping": null,
        "base_model_name_or_path": base,
        "bias": "none",
        "fan_in_fan_out": false,
        "inference_mode": true,
        "init_lora_weights": true,
        "layers_pattern": null,
        "layers_to_transform": null,
        "lora_alpha": alpha,
        "lora_dropout": settings.dropout,
        "modules_to_save": null,
        "peft_type": "LORA",
        "r": settings.rank,
        "rank_pattern": {},
        "revision": revision,
        "target_modules": modules,
        "task_type": "CAUSAL_LM",
        "use_dora": settings.dora,
        "use_rslora": settings.rslora,
    })
}

/// The name of the configuration file.
pub(crate) fn config_path(folder: &Path) -> PathBuf {
    folder.join(CONFIG)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// A snapshot in another cache than the one that is searched is named by its path, and a local
    /// folder of the same name is not taken for it.
    #[test]
    fn a_hub_name_is_written_only_where_it_leads_back() {
        let root = tempfile::tempdir().unwrap();
        let path = |name: &str| root.path().join(name);
        let snapshot = path("here/models--org--name/snapshots/0abc");
        let adapter = path("run/model");
        for folder in [&snapshot, &adapter, &path("run/model/org/name"), &path("there")] {
            fs::create_dir_all(folder).unwrap();
        }
        for model in [&snapshot, &path("run/model/org/name")] {
            fs::write(model.join("config.json"), "{}").unwrap();
        }
        let (here, there) = ([path("here")], [path("there")]);
        let expected = HubModel { name: "org/name".to_owned(), revision: "0abc".to_owned() };
        assert_eq!(found_again(&here, &snapshot, &adapter), Some(expected));
        assert_eq!(found_again(&there, &snapshot, &adapter), None);
        assert_eq!(found_again(&here, &path("run/model/org/name"), &adapter), None);
        // With a revision, the model of the Hub comes before a local folder.
        let first = |revision| {
            let all = candidates(&here, ("org/name", revision), &adapter);
            all.into_iter().find(|path| is_model(path)).unwrap()
        };
        assert_eq!(first(Some("0abc")), snapshot);
        assert_eq!(first(None), adapter.join("org/name"));
    }
}
