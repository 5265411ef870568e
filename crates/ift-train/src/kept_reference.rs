//! The reference model of a run: resident, the base of an adapted policy, or gone after its log-probabilities were written to
//! a cache.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::vec::IntoIter;

use ift_backend::{Backend, Storage};
use ift_data::{Contrast, Dataset, Row};
use ift_model::{Model, memory::Resident};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use sha2::{Digest, Sha256};

use crate::recipe::ReferenceStorage;
use crate::{Data, KnownScores, Plan, Precision, Recipe, Reference, TrainError, durable};

/// The reference of a run.
pub(crate) enum KeptReference<B: Backend> {
    /// The method needs none.
    None,
    /// It stays in memory, stored like this.
    Model(Box<Model<B>>, Storage),
    /// It is the policy without its adapters.
    Base,
    /// Only what it said is kept, of the training rows and of the held-out ones.
    Known { train: Vec<KnownScores>, held_out: Vec<KnownScores> },
    /// It is the policy at the beginning of the current window of so many steps; what it said of the window's rows.
    OldPolicy { window: u64, known: BTreeMap<usize, KnownScores> },
}

impl<B: Backend> KeptReference<B> {
    /// For training rows of these numbers.
    pub fn of_train(&self, rows: &[usize]) -> Reference<'_, B> {
        match self {
            Self::Known { train, .. } => Reference::Known(rows.iter().map(|&row| &train[row]).collect()),
            Self::OldPolicy { known, .. } => Reference::Known(rows.iter().map(|row| &known[row]).collect()),
            _ => self.of_model(),
        }
    }

    /// For all held-out rows.
    pub fn of_held_out(&self) -> Reference<'_, B> {
        match self {
            Self::Known { held_out, .. } => Reference::Known(held_out.iter().collect()),
            _ => self.of_model(),
        }
    }

    fn of_model(&self) -> Reference<'_, B> {
        match self {
            Self::Model(model, _) => Reference::Model(model),
            Self::Base => Reference::Base,
            // Held-out rows are judged without an old policy.
            Self::None | Self::Known { .. } | Self::OldPolicy { .. } => Reference::None,
        }
    }

    /// Before a step, counted from 0: at the beginning of a window its rows are scored with the policy as it is. (And where a
    /// run goes on, as asked, with other rows than those that were scored.)
    pub fn renew(
        &mut self,
        step: u64,
        plan: &mut Plan,
        rows: &[Row],
        policy: &Model<B>,
        micro_batch_tokens: usize,
    ) -> Result<(), TrainError> {
        let Self::OldPolicy { window, known } = self else { return Ok(()) };
        let is_known =
            |&row: &usize| known.get(&row).is_some_and(|known| known.first.len() == rows[row].target_count());
        if !step.is_multiple_of(*window) && plan.rows_of(step).iter().all(is_known) {
            return Ok(());
        }
        known.clear();
        let last = plan.steps().min(step + *window);
        let numbers: BTreeSet<usize> = (step..last).flat_map(|step| plan.rows_of(step).to_vec()).collect();
        let of_window: Vec<&Row> = numbers.iter().map(|&row| &rows[row]).collect();
        known.extend(numbers.into_iter().zip(KnownScores::of_rows(policy, &of_window, micro_batch_tokens)?));
        Ok(())
    }

    /// What a checkpoint must hold to go on in the middle of a window: of each row, by its number, the log-probabilities.
    pub fn old_policy(&self) -> Option<&BTreeMap<usize, KnownScores>> {
        match self {
            Self::OldPolicy { known, .. } => Some(known),
            _ => None,
        }
    }

    /// Takes what a checkpoint held.
    pub fn restore_old_policy(&mut self, saved: BTreeMap<usize, KnownScores>) {
        if let Self::OldPolicy { known, .. } = self {
            *known = saved;
        }
    }

    /// The model that is in memory beside the policy.
    pub fn resident(&self) -> Option<Resident<'_>> {
        match self {
            Self::Model(model, storage) => Some(Resident { config: model.config(), storage: *storage }),
            _ => None,
        }
    }

    /// What the recipe asks for.
    ///
    /// A reference that is to be precomputed is loaded, asked and dropped here, before the policy is loaded; or not even
    /// loaded, where the cache in `folder` holds its answers.
    pub fn load(
        recipe: &Recipe,
        data: &Data,
        backend: &Arc<B>,
        folder: &Path,
        scoring: &mut dyn FnMut(),
    ) -> Result<Self, TrainError> {
        let needs = recipe.method.needs();
        if let Some(window) = needs.old_policy {
            return Ok(Self::OldPolicy { window, known: BTreeMap::new() });
        }
        if !needs.reference {
            return Ok(Self::None);
        }
        let table = &recipe.reference;
        let base = recipe.adapter.as_ref().filter(|_| table.path.is_none());
        if base.is_some() && !table.precomputed {
            return Ok(Self::Base);
        }
        let path = table.path.as_ref().unwrap_or(&recipe.model.path);
        let storage = match (base, table.storage) {
            (Some(adapter), _) => adapter.base.storage(),
            (None, ReferenceStorage::Bf16) if recipe.train.precision != Precision::F64 => Storage::Bf16,
            (None, _) => Storage::Exact,
        };
        let load = || Model::load_frozen(path, Arc::clone(backend), storage).map_err(TrainError::from);
        if !table.precomputed {
            let model = load()?;
            check_vocabulary(&model, path, data)?;
            return Ok(Self::Model(Box::new(model), storage));
        }
        let cache = Cache::new(folder, path, storage, recipe, data)?;
        if let Some(known) = cache.read(data)? {
            return Ok(known);
        }
        scoring();
        let model = load()?;
        check_vocabulary(&model, path, data)?;
        let budget = recipe.train.micro_batch_tokens;
        let ask = |rows: &[Row]| {
            let rows: Vec<&Row> = rows.iter().collect();
            KnownScores::of_rows(&model, &rows, budget)
        };
        let train = ask(&data.train.rows)?;
        let held_out = data.held_out.as_ref().map_or_else(|| Ok(Vec::new()), |set| ask(&set.rows))?;
        cache.write(&train, &held_out)?;
        Ok(Self::Known { train, held_out })
    }
}

fn check_vocabulary<B: Backend>(model: &Model<B>, path: &Path, data: &Data) -> Result<(), TrainError> {
    let vocabulary = model.config().vocabulary;
    data.check_vocabulary(vocabulary).map_err(|e| {
        let problem = format!("is `{}`, which cannot be the reference: {e}", path.display());
        TrainError::recipe("reference.path", problem)
    })
}

/// A file of log-probabilities, named by everything they depend on.
struct Cache {
    path: PathBuf,
}

/// The tensors of the file.
const TENSORS: [&str; 6] = [
    "train.first",
    "train.rejected",
    "train.mismatched",
    "held_out.first",
    "held_out.rejected",
    "held_out.mismatched",
];

impl Cache {
    fn new(
        folder: &Path,
        reference: &Path,
        storage: Storage,
        recipe: &Recipe,
        data: &Data,
    ) -> Result<Self, TrainError> {
        let mut hash = Sha256::new();
        let held_out = data.held_out.as_ref().map_or("", |set| &set.identity);
        let precision = recipe.train.precision;
        let settings = format!("1 {} {held_out} {precision:?} {storage:?}", data.train.identity);
        hash.update(settings.as_bytes());
        for file in ift_model::weight_files(reference)? {
            hash_file(&file, &mut hash).map_err(TrainError::io("read", &file))?;
        }
        let digest = hash.finalize();
        let name = digest.iter().take(16).fold(0u128, |name, &byte| name << 8 | u128::from(byte));
        Ok(Self { path: folder.join(format!("{name:032x}.safetensors")) })
    }

    /// What an earlier run wrote, if it fits the rows.
    fn read<B: Backend>(&self, data: &Data) -> Result<Option<KeptReference<B>>, TrainError> {
        if !self.path.exists() {
            return Ok(None);
        }
        let bytes = std::fs::read(&self.path).map_err(TrainError::io("read", &self.path))?;
        let damaged = |problem: String| {
            TrainError::file(&self.path, format!("{problem}; remove it, and it is computed again"))
        };
        let tensors = SafeTensors::deserialize(&bytes)
            .map_err(|e| damaged(format!("is not a readable cache of log-probabilities: {e}")))?;
        let mut lists = Vec::with_capacity(TENSORS.len());
        for name in TENSORS {
            let view = tensors.tensor(name).map_err(|e| damaged(format!("has no tensor `{name}`: {e}")))?;
            let (numbers, _) = view.data().as_chunks::<8>();
            lists.push(numbers.iter().map(|b| f64::from_le_bytes(*b)).collect::<Vec<f64>>().into_iter());
        }
        let (train, held_out) = lists.split_at_mut(3);
        let take = |set: &Dataset, lists: &mut [IntoIter<f64>]| {
            let [first, rejected, mismatched] = lists else { return None };
            set.rows.iter().map(|row| cut(row, first, rejected, mismatched)).collect::<Option<Vec<_>>>()
        };
        let train = take(&data.train, train);
        let held_out = data.held_out.as_ref().map_or(Some(Vec::new()), |set| take(set, held_out));
        match (train, held_out) {
            (Some(train), Some(held_out)) if lists.iter().all(|list| list.len() == 0) => {
                Ok(Some(KeptReference::Known { train, held_out }))
            }
            _ => Err(damaged("does not have a number for each target".to_owned())),
        }
    }

    fn write(&self, train: &[KnownScores], held_out: &[KnownScores]) -> Result<(), TrainError> {
        let lists: [fn(&KnownScores) -> &[f64]; 3] = [|k| &k.first, |k| &k.rejected, |k| &k.mismatched];
        let bytes = |set: &[KnownScores], list: fn(&KnownScores) -> &[f64]| -> Vec<u8> {
            set.iter().flat_map(list).flat_map(|number| number.to_le_bytes()).collect()
        };
        let sets = [train, held_out];
        let all: Vec<Vec<u8>> =
            sets.iter().flat_map(|set| lists.iter().map(|&list| bytes(set, list))).collect();
        let fault = |e: safetensors::SafeTensorError| TrainError::file(&self.path, e.to_string());
        let mut views = Vec::with_capacity(all.len());
        for (name, bytes) in TENSORS.into_iter().zip(&all) {
            views.push((name, TensorView::new(Dtype::F64, vec![bytes.len() / 8], bytes).map_err(fault)?));
        }
        let file = safetensors::serialize(views, None).map_err(fault)?;
        if let Some(folder) = self.path.parent() {
            std::fs::create_dir_all(folder).map_err(TrainError::io("create", folder))?;
        }
        durable::write_file(&self.path, &file)
    }
}

/// The next numbers that belong to a row; `None` where they do not suffice.
fn cut(
    row: &Row,
    first: &mut IntoIter<f64>,
    rejected: &mut IntoIter<f64>,
    mismatched: &mut IntoIter<f64>,
) -> Option<KnownScores> {
    let take = |from: &mut IntoIter<f64>, targets: &[bool]| {
        let wanted = targets.iter().skip(1).filter(|&&target| target).count();
        let numbers: Vec<f64> = from.take(wanted).collect();
        (numbers.len() == wanted).then_some(numbers)
    };
    let mut known = KnownScores { first: take(first, &row.targets)?, ..Default::default() };
    match &row.contrast {
        Contrast::None => {}
        Contrast::Rejected(other) => known.rejected = take(rejected, &other.targets)?,
        Contrast::Judged { mismatched: other, .. } => {
            known.mismatched = take(mismatched, &other.targets)?;
        }
    }
    Some(known)
}

fn hash_file(path: &Path, hash: &mut Sha256) -> io::Result<()> {
    let mut file = File::open(path)?;
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(()),
            read => hash.update(&buffer[..read]),
        }
    }
}
