//! `checkpoints/step-N/`: a Hugging Face folder, and in `trainer_state/` the state that a run
//! resumes from, bit for bit.
//!
//! A checkpoint is written under another name and synced; a marker file with the size and hash of
//! every file is added last; then the folder is renamed, and older ones are removed. Resuming takes
//! the newest one whose marker agrees with its files.

mod marker;
mod state;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::{fmt, fs};

use ift_backend::{Backend, Element, NumberType};
use ift_model::{NamedTensors, PendingTensor, TensorFiles, TrainableTensor, write_tensors};
use serde::Deserialize;

use crate::durable;
use crate::error::TrainError;
use crate::learner::Learner;
use crate::reference::KnownScores;
use crate::saved::{Description, write_model};
use marker::Marker;
pub(crate) use state::{Accepted, State};

const TRAINER: &str = "trainer_state";
const STATE: &str = "trainer_state/state.json";
const WEIGHTS: &str = "trainer_state/weights.safetensors";
const OLD_POLICY: &str = "trainer_state/old_policy.safetensors";
const OPTIMIZER: &str = "trainer_state/optimizer.safetensors";

/// The checkpoints of a run.
pub(crate) struct Checkpoints {
    folder: PathBuf,
}

/// The contents of a checkpoint.
pub(crate) struct Snapshot<'a, B: Backend> {
    pub state: &'a State,
    pub learner: &'a Learner<B>,
    /// Log-probabilities of rows under an old policy, by the rows' numbers, where there is one.
    pub old_policy: Option<&'a BTreeMap<usize, KnownScores>>,
    /// The type that the model's weights are saved in.
    pub number: NumberType,
    /// What its folder says besides weights.
    pub description: &'a Description<'a>,
}

/// The part of a state that every format has.
#[derive(Deserialize)]
struct Written {
    format: u64,
    version: String,
}

/// A complete checkpoint.
pub(crate) struct Checkpoint {
    pub path: PathBuf,
    pub state: State,
}

impl Checkpoints {
    /// Those in a folder, which need not exist yet.
    pub fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// The newest complete one, and why newer ones were skipped.
    ///
    /// # Errors
    /// If there are checkpoints and none is complete, or one has another format: the run must not
    /// silently start over then, which would remove them.
    pub fn newest(&self) -> Result<(Option<Checkpoint>, Vec<String>), TrainError> {
        let mut notices = Vec::new();
        for (_, path) in self.list()?.into_iter().rev() {
            match open(&path) {
                Ok(state) => return Ok((Some(Checkpoint { path, state }), notices)),
                Err(Unusable::Format(problem)) => return Err(TrainError::file(&path, problem)),
                Err(Unusable::Damaged(problem)) => {
                    notices.push(format!(
                        "skipped the incomplete checkpoint `{}`: {problem}",
                        path.display()
                    ));
                }
            }
        }
        if notices.is_empty() {
            return Ok((None, notices));
        }
        let problem = format!(
            "there are checkpoints, but none is complete ({}); to start from the beginning, \
             delete this folder or use `--overwrite`",
            notices.join("; ")
        );
        Err(TrainError::file(&self.folder, problem))
    }

    /// Writes a checkpoint, then removes all but the `keep` newest.
    pub fn save<B: Backend>(
        &self,
        snapshot: &Snapshot<B>,
        keep: usize,
    ) -> Result<PathBuf, TrainError> {
        let Snapshot { state, learner, old_policy, number, description } = *snapshot;
        let path = self.folder.join(format!("step-{}", state.step));
        let written = durable::write_folder(&path, |folder| {
            write_model(&learner.model, folder, number, description)?;
            write_trainer(folder, state, learner, number)?;
            if let Some(known) = old_policy {
                write_old_policy(&folder.join(OLD_POLICY), known)?;
            }
            durable::sync_tree(folder)?;
            Marker::write(folder)
        });
        if let Err(source) = written {
            let before = self.list()?.into_iter().rev().find(|(step, _)| *step < state.step);
            let (step, previous) = (state.step, before.map(|(_, path)| path));
            return Err(TrainError::Checkpoint { step, previous, source: Box::new(source) });
        }
        let old: Vec<_> = self.list()?.into_iter().filter(|(step, _)| *step < state.step).collect();
        let surplus = (old.len() + 1).saturating_sub(keep);
        old.iter().take(surplus).try_for_each(|(_, path)| durable::remove(path))?;
        Ok(path)
    }

    /// `step-N` folders, by step.
    fn list(&self) -> Result<Vec<(u64, PathBuf)>, TrainError> {
        if !self.folder.exists() {
            return Ok(Vec::new());
        }
        let step = |path: &PathBuf| path.file_name()?.to_str()?.strip_prefix("step-")?.parse().ok();
        let entries = durable::entries(&self.folder)?;
        let mut steps: Vec<(u64, PathBuf)> =
            entries.into_iter().filter_map(|p| Some((step(&p)?, p))).collect();
        steps.sort();
        Ok(steps)
    }
}

impl Checkpoint {
    /// Puts the checkpoint's weights and optimizer states in place.
    pub fn restore<B: Backend>(&self, learner: &mut Learner<B>) -> Result<(), TrainError> {
        let Learner { model, states, .. } = learner;
        let trainable = model.trainable().tensors().to_vec();
        let exact = self.path.join(WEIGHTS);
        let is_exact = exact.exists();
        let files = if is_exact { vec![exact] } else { model_files(&self.path)? };
        let files = TensorFiles::open(files)?;
        let tensors = files.tensors()?;
        let trained: Option<BTreeSet<&str>> = match &self.state.trained {
            Some(names) => Some(names.iter().map(String::as_str).collect()),
            None if is_exact => Some(tensors.names().collect()),
            None => None,
        };
        if let Some(trained) = trained {
            let now = trainable.iter().map(|tensor| tensor.name.as_str()).collect();
            self.check_trained(&trained, &now)?;
        }
        for TrainableTensor { name, shape, range } in &trainable {
            model.write(range.start, &elements::<B::Element>(&tensors, name, shape)?);
        }
        model.adapters_changed()?;
        let mut states = states.by_name_mut().peekable();
        if states.peek().is_none() {
            return Ok(());
        }
        let files = TensorFiles::open(vec![self.path.join(OPTIMIZER)])?;
        let tensors = files.tensors()?;
        for (state, accumulator) in states {
            for TrainableTensor { name, shape, range } in &trainable {
                let values = elements(&tensors, &state_name(name, state), shape)?;
                model.backend().write_accumulator(accumulator, range.start, &values);
            }
        }
        Ok(())
    }

    /// A run must train the tensors that were trained before, no more and no fewer: others would
    /// silently be those of the start model.
    fn check_trained(&self, then: &BTreeSet<&str>, now: &BTreeSet<&str>) -> Result<(), TrainError> {
        let parts = [
            ("trained tensors that the run does not train", then.difference(now)),
            ("not the tensors that the run trains", now.difference(then)),
        ];
        let parts = parts.map(|(what, names)| (what, names.copied().collect::<Vec<_>>()));
        let found: Vec<String> = parts
            .iter()
            .filter(|(_, names)| !names.is_empty())
            .map(|(what, names)| format!("{what}: {}", first_few(names)))
            .collect();
        if found.is_empty() {
            return Ok(());
        }
        let problem = format!(
            "the checkpoint holds {}; restore what was changed, or start a run in another \
             `output.dir`",
            found.join("; and ")
        );
        Err(TrainError::file(&self.path, problem))
    }

    /// Log-probabilities of a window's rows under the old policy, by the rows' numbers; nothing
    /// unless the run has one.
    pub fn old_policy(&self) -> Result<BTreeMap<usize, KnownScores>, TrainError> {
        let path = self.path.join(OLD_POLICY);
        if !path.exists() {
            return Ok(BTreeMap::new());
        }
        let files = TensorFiles::open(vec![path.clone()])?;
        let tensors = files.tensors()?;
        let read = |name: &str| {
            let number = name.parse().map_err(|_| {
                TrainError::file(&path, format!("tensor `{name}` is not the number of a row"))
            })?;
            let first = elements(&tensors, name, tensors.shape(name).unwrap_or_default())?;
            Ok((number, KnownScores { first, ..KnownScores::default() }))
        };
        tensors.names().map(read).collect()
    }
}

/// Names of tensors for a message.
fn first_few(names: &[&str]) -> String {
    const SHOWN: usize = 8;
    let shown: Vec<String> = names.iter().take(SHOWN).map(|name| format!("`{name}`")).collect();
    let more = names.len().saturating_sub(SHOWN);
    let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
    shown.join(", ") + &rest
}

/// The elements of a tensor, converted.
fn elements<E: Element>(
    tensors: &NamedTensors,
    name: &str,
    shape: &[usize],
) -> Result<Vec<E>, TrainError> {
    let tensor = tensors.read(name, shape, "the run")?;
    let mut elements = vec![E::from_f64(0.0); tensor.len()];
    tensor.convert_into(&mut elements);
    Ok(elements)
}

fn write_old_policy(path: &Path, known: &BTreeMap<usize, KnownScores>) -> Result<(), TrainError> {
    let tensors = known.iter().map(|(row, known)| {
        let values = || known.first.clone();
        let tensor = PendingTensor::new(vec![known.first.len()], NumberType::F64, values);
        (row.to_string(), tensor)
    });
    Ok(write_tensors(tensors, path)?)
}

/// Why a run cannot go on from a checkpoint.
enum Unusable {
    /// Files are missing, or are not as they were written.
    Damaged(String),
    /// It is complete, but of another version of the program.
    Format(String),
}

/// The state of a checkpoint that is complete, or what is wrong with it.
fn open(path: &Path) -> Result<State, Unusable> {
    let exact = path.join(WEIGHTS).exists();
    let is_read =
        |name: &str| name.starts_with(TRAINER) || (!exact && name.ends_with(".safetensors"));
    Marker::verify(path, is_read).map_err(Unusable::Damaged)?;
    let damaged = |e: &dyn fmt::Display| Unusable::Damaged(format!("`{STATE}`: {e}"));
    let text = fs::read_to_string(path.join(STATE)).map_err(|e| damaged(&e))?;
    let written: Written = serde_json::from_str(&text).map_err(|e| damaged(&e))?;
    State::check_format(written.format, &written.version).map_err(Unusable::Format)?;
    serde_json::from_str(&text).map_err(|e| damaged(&e))
}

fn write_trainer<B: Backend>(
    folder: &Path,
    state: &State,
    learner: &Learner<B>,
    number: NumberType,
) -> Result<(), TrainError> {
    let Learner { model, states, .. } = learner;
    let trainer = folder.join(TRAINER);
    fs::create_dir(&trainer).map_err(TrainError::io("create", &trainer))?;
    let (tensors, exact) = (model.trainable().tensors(), B::Element::NUMBER);
    if number.size() < exact.size() {
        let weights = tensors.iter().map(|tensor| {
            let values = || model.read(tensor.range.clone());
            (tensor.name.clone(), PendingTensor::new(tensor.shape.clone(), exact, values))
        });
        write_tensors(weights, &folder.join(WEIGHTS))?;
    }
    let mut all = Vec::new();
    for (state, accumulator) in states.by_name() {
        for tensor in tensors {
            let read = move || model.backend().read_accumulator(accumulator, tensor.range.clone());
            let pending = PendingTensor::new(tensor.shape.clone(), exact, read);
            all.push((state_name(&tensor.name, state), pending));
        }
    }
    if !all.is_empty() {
        write_tensors(all, &folder.join(OPTIMIZER))?;
    }
    durable::write_json(&folder.join(STATE), state)
}

fn state_name(tensor: &str, state: &str) -> String {
    format!("{tensor}.{state}")
}

/// The safetensors files of a Hugging Face folder that this program wrote.
fn model_files(folder: &Path) -> Result<Vec<PathBuf>, TrainError> {
    let mut paths = durable::entries(folder)?;
    paths.retain(|path| path.extension().is_some_and(|e| e == "safetensors"));
    Ok(paths)
}
