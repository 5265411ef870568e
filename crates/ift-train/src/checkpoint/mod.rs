//! `checkpoints/step-N/`: a Hugging Face folder, and in `trainer_state/` what it takes to go on bit
//! for bit.
//!
//! A checkpoint is written under another name, synced, sealed with a marker that holds the size and
//! hash of every file, and renamed. Only then are older ones removed. Resuming takes the newest one
//! whose marker agrees with its files.

mod marker;
mod state;
mod tensors;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use ift_backend::{Backend, Element, NumberType};
use ift_model::Model;
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensorError, SafeTensors};
use serde::Deserialize;

use crate::durable;
use crate::error::TrainError;
use crate::learner::Learner;
use crate::reference::KnownScores;
use marker::Marker;
pub(crate) use state::{Accepted, State};
use tensors::{Exact, Stored, read_parts};

const TRAINER: &str = "trainer_state";
const STATE: &str = "trainer_state/state.json";
const WEIGHTS: &str = "trainer_state/weights.safetensors";
const OLD_POLICY: &str = "trainer_state/old_policy.safetensors";
const OPTIMIZER: &str = "trainer_state/optimizer.safetensors";

/// The checkpoints of a run.
pub(crate) struct Checkpoints {
    folder: PathBuf,
}

/// What a checkpoint is made of.
pub(crate) struct Snapshot<'a, B: Backend> {
    pub state: &'a State,
    pub learner: &'a Learner<B>,
    /// Log-probabilities of rows under an old policy, by the rows' numbers, where there is one.
    pub old_policy: Option<&'a BTreeMap<usize, KnownScores>>,
    /// The type that the model's weights are saved in.
    pub number: NumberType,
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

    /// The newest complete one, and why newer ones were passed over.
    pub fn newest(&self) -> Result<(Option<Checkpoint>, Vec<String>), TrainError> {
        let mut notices = Vec::new();
        for (_, path) in self.list()?.into_iter().rev() {
            match open(&path) {
                Ok(state) => return Ok((Some(Checkpoint { path, state }), notices)),
                Err(problem) => {
                    notices.push(format!(
                        "passed over the incomplete checkpoint `{}`: {problem}",
                        path.display()
                    ));
                }
            }
        }
        Ok((None, notices))
    }

    /// Writes a checkpoint, then removes all but the `keep` newest.
    pub fn save<B: Backend>(
        &self,
        snapshot: &Snapshot<B>,
        keep: usize,
    ) -> Result<PathBuf, TrainError> {
        let Snapshot { state, learner, old_policy, number } = *snapshot;
        let path = self.folder.join(format!("step-{}", state.step));
        let written = durable::write_folder(&path, |folder| {
            save_model(&learner.model, folder, number)?;
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
        let Learner { model, states, optimizer, .. } = learner;
        let state_names = states.names(optimizer);
        let exact = self.path.join(WEIGHTS);
        let files = if exact.exists() { vec![exact] } else { model_files(&self.path)? };
        let stored = Stored::open(files)?;
        let tensors = stored.tensors()?;
        for i in (0..model.parameters().len()).filter(|&i| model.trains(i)).collect::<Vec<_>>() {
            let values = read_parts::<B>(&tensors, &model.parameters()[i], str::to_owned)?;
            model.write_weight(i, &values);
        }
        model.adapters_changed();
        if state_names.is_empty() {
            return Ok(());
        }
        let stored = Stored::open(vec![self.path.join(OPTIMIZER)])?;
        let tensors = stored.tensors()?;
        for (parameter, accumulators) in model.parameters().iter().zip(&mut states.by_parameter) {
            for (accumulator, state) in accumulators.iter_mut().zip(&state_names) {
                let values =
                    read_parts::<B>(&tensors, parameter, |tensor| state_name(tensor, state))?;
                model.backend().write_accumulator(accumulator, &values);
            }
        }
        Ok(())
    }
}

impl Checkpoint {
    /// What the old policy said of a window's rows, by their numbers; nothing unless the run has
    /// one.
    pub fn old_policy(&self) -> Result<BTreeMap<usize, KnownScores>, TrainError> {
        let path = self.path.join(OLD_POLICY);
        if !path.exists() {
            return Ok(BTreeMap::new());
        }
        let bytes = fs::read(&path).map_err(TrainError::io("read", &path))?;
        let damaged = |problem: String| TrainError::file(&path, problem);
        let tensors = SafeTensors::deserialize(&bytes).map_err(|e| damaged(e.to_string()))?;
        let read = |(name, view): (&str, TensorView)| {
            let number =
                name.parse().map_err(|_| damaged(format!("tensor `{name}` is no row's number")))?;
            let (numbers, _) = view.data().as_chunks::<8>();
            let first = numbers.iter().map(|bytes| f64::from_le_bytes(*bytes)).collect();
            Ok((number, KnownScores { first, ..KnownScores::default() }))
        };
        tensors.iter().map(read).collect()
    }
}

fn write_old_policy(path: &Path, known: &BTreeMap<usize, KnownScores>) -> Result<(), TrainError> {
    let bytes = |(row, known): (&usize, &KnownScores)| {
        (
            row.to_string(),
            known.first.iter().flat_map(|number| number.to_le_bytes()).collect::<Vec<u8>>(),
        )
    };
    let all: Vec<(String, Vec<u8>)> = known.iter().map(bytes).collect();
    let fault = |e: SafeTensorError| TrainError::file(path, e.to_string());
    let mut views = Vec::with_capacity(all.len());
    for (name, bytes) in &all {
        views.push((
            name,
            TensorView::new(Dtype::F64, vec![bytes.len() / 8], bytes).map_err(fault)?,
        ));
    }
    fs::write(path, safetensors::serialize(views, None).map_err(fault)?)
        .map_err(TrainError::io("write", path))
}

/// Writes a model, or of an adapted one its adapter, as what other programs read.
pub(crate) fn save_model<B: Backend>(
    model: &Model<B>,
    folder: &Path,
    number: NumberType,
) -> Result<(), TrainError> {
    Ok(if model.is_adapted() {
        model.save_adapter(folder, number)
    } else {
        model.save(folder, number)
    }?)
}

/// The state of a checkpoint that is complete, or what is wrong with it.
fn open(path: &Path) -> Result<State, String> {
    let exact = path.join(WEIGHTS).exists();
    let is_read =
        |name: &str| name.starts_with(TRAINER) || (!exact && name.ends_with(".safetensors"));
    Marker::verify(path, is_read)?;
    let text = fs::read_to_string(path.join(STATE)).map_err(|e| format!("`{STATE}`: {e}"))?;
    let damaged = |e| format!("`{STATE}`: {e}");
    let written: Written = serde_json::from_str(&text).map_err(damaged)?;
    State::check_format(written.format, &written.version)?;
    serde_json::from_str(&text).map_err(damaged)
}

fn write_trainer<B: Backend>(
    folder: &Path,
    state: &State,
    learner: &Learner<B>,
    number: NumberType,
) -> Result<(), TrainError> {
    let Learner { model, states, optimizer, .. } = learner;
    let trainer = folder.join(TRAINER);
    fs::create_dir(&trainer).map_err(TrainError::io("create", &trainer))?;
    let (backend, state_names) = (model.backend(), states.names(optimizer));
    if number.size() < B::Element::NUMBER.size() {
        let mut weights = Vec::new();
        for (i, parameter) in
            model.parameters().iter().enumerate().filter(|(i, _)| model.trains(*i))
        {
            for tensor in &parameter.tensors {
                let values = Box::new(move || backend.read_weight(model.weight(i), tensor.range()));
                weights.push((tensor.name.clone(), Exact { shape: &tensor.shape, values }));
            }
        }
        tensors::write(&folder.join(WEIGHTS), weights)?;
    }
    if !state_names.is_empty() {
        let mut memory = Vec::new();
        for (parameter, accumulators) in model.parameters().iter().zip(&states.by_parameter) {
            for (accumulator, state) in accumulators.iter().zip(&state_names) {
                for tensor in &parameter.tensors {
                    let values =
                        Box::new(move || backend.read_accumulator(accumulator, tensor.range()));
                    let tensor_state = Exact { shape: &tensor.shape, values };
                    memory.push((state_name(&tensor.name, state), tensor_state));
                }
            }
        }
        tensors::write(&folder.join(OPTIMIZER), memory)?;
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
