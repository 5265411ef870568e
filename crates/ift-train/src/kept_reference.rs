//! The reference model of a run: resident, the base of an adapted policy, or unloaded after
//! its log-probabilities were written to a cache.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::sync::Arc;

use ift_backend::{Backend, Storage};
use ift_data::Row;
use ift_model::{Model, Trained, memory::Resident};

use crate::backend::arithmetic;
use crate::data::Data;
use crate::error::TrainError;
use crate::hash;
use crate::identity::RESULTS;
use crate::recipe::{Precision, Recipe, ReferenceStorage};
use crate::reference::{KnownScores, ReferenceSource};
use crate::rows::{DataRows, RowSource};
use crate::score_cache::ScoreCache;

/// The reference of a run.
pub(crate) enum KeptReference<B: Backend> {
    /// The method needs none.
    None,
    /// A model that stays in memory, in this storage.
    Model(Box<Model<B>>, Storage),
    /// The policy without its adapters.
    Base,
    /// Only its scores are kept. A row that occurs several times was scored once: `train` and
    /// `held_out` are the index in `known` of each row's scores.
    Known { known: Vec<KnownScores>, train: Vec<usize>, held_out: Vec<usize> },
    /// It is the policy at the beginning of the current window of so many steps; `known` are its
    /// scores of the window's rows, by the rows' numbers.
    OldPolicy { window: u64, known: BTreeMap<usize, KnownScores> },
}

impl<B: Backend> KeptReference<B> {
    /// The reference of the training rows of these numbers.
    pub fn of_train(&self, rows: &[usize]) -> ReferenceSource<'_, B> {
        match self {
            Self::Known { known, train, .. } => {
                ReferenceSource::Known(rows.iter().map(|&row| &known[train[row]]).collect())
            }
            Self::OldPolicy { known, .. } => {
                ReferenceSource::Known(rows.iter().map(|row| &known[row]).collect())
            }
            _ => self.of_model(),
        }
    }

    /// The reference of all held-out rows.
    pub fn of_held_out(&self) -> ReferenceSource<'_, B> {
        match self {
            Self::Known { known, held_out, .. } => {
                ReferenceSource::Known(held_out.iter().map(|&at| &known[at]).collect())
            }
            _ => self.of_model(),
        }
    }

    fn of_model(&self) -> ReferenceSource<'_, B> {
        match self {
            Self::Model(model, _) => ReferenceSource::Model(model),
            Self::Base => ReferenceSource::Base,
            // Held-out rows are judged without an old policy.
            Self::None | Self::Known { .. } | Self::OldPolicy { .. } => ReferenceSource::None,
        }
    }

    /// To be called before each step, counted from 0. At the first step of a window the current
    /// policy scores the rows of the window. It also does where a run was resumed inside a window
    /// and the checkpoint lacks scores, because the data order has changed.
    pub fn renew(
        &mut self,
        step: u64,
        source: &mut DataRows,
        policy: &Model<B>,
        micro_batch_tokens: usize,
    ) -> Result<(), TrainError> {
        let Self::OldPolicy { window, known } = self else { return Ok(()) };
        let rows = source.all();
        let is_known = |&row: &usize| {
            known
                .get(&row)
                .is_some_and(|known| known.first.len() == rows[row].answer().target_count())
        };
        if !step.is_multiple_of(*window) && source.rows_of(step).numbers.iter().all(is_known) {
            return Ok(());
        }
        known.clear();
        let last = source.steps().min(step + *window);
        let numbers: BTreeSet<usize> =
            (step..last).flat_map(|step| source.rows_of(step).numbers).collect();
        let of_window: Vec<&Row> = numbers.iter().map(|&row| &rows[row]).collect();
        known.extend(numbers.into_iter().zip(KnownScores::of_rows(
            policy,
            &of_window,
            micro_batch_tokens,
        )?));
        Ok(())
    }

    /// The state that a checkpoint needs for resuming inside a window: the scores of each row, by
    /// its number.
    pub fn old_policy(&self) -> Option<&BTreeMap<usize, KnownScores>> {
        match self {
            Self::OldPolicy { known, .. } => Some(known),
            _ => None,
        }
    }

    /// Restores the state from a checkpoint.
    pub fn restore_old_policy(&mut self, saved: BTreeMap<usize, KnownScores>) {
        if let Self::OldPolicy { known, .. } = self {
            *known = saved;
        }
    }

    /// The reference model, if it is in memory in addition to the policy.
    pub fn resident(&self) -> Option<Resident<'_>> {
        match self {
            Self::Model(model, storage) => {
                Some(Resident { config: model.config(), storage: *storage })
            }
            _ => None,
        }
    }

    /// The reference of a recipe. `key` is the fingerprint of the reference model.
    ///
    /// A reference that is to be precomputed is loaded, used and dropped here, before the policy is
    /// loaded; it is not even loaded if the cache in `folder` has all scores. `watch` receives the
    /// number of rows that are scored and of all rows, and returns whether to stop; if so, the
    /// result is `None`, and the cache has the scores so far.
    pub fn load(
        recipe: &Recipe,
        data: &Data,
        backend: &Arc<B>,
        (folder, key): (&Path, &str),
        watch: &mut dyn FnMut(usize, usize) -> bool,
    ) -> Result<Option<Self>, TrainError> {
        let needs = recipe.method.needs();
        if let Some(window) = needs.old_policy {
            return Ok(Some(Self::OldPolicy { window, known: BTreeMap::new() }));
        }
        if !needs.reference {
            return Ok(Some(Self::None));
        }
        let table = &recipe.reference;
        let base = recipe.adapter.as_ref().filter(|_| table.path.is_none());
        if base.is_some() && !table.precomputed {
            return Ok(Some(Self::Base));
        }
        let path = table.path.as_ref().unwrap_or(&recipe.model.path);
        let storage = match (base, table.storage) {
            (Some(adapter), _) => adapter.base.storage(),
            (None, ReferenceStorage::Bf16) if recipe.train.precision != Precision::F64 => {
                Storage::Bf16
            }
            (None, _) => Storage::Exact,
        };
        let load = || -> Result<Model<B>, TrainError> {
            let model = Model::load(path, Arc::clone(backend), Trained::Nothing { storage })?;
            check_vocabulary(&model, path, data)?;
            Ok(model)
        };
        if !table.precomputed {
            return Ok(Some(Self::Model(Box::new(load()?), storage)));
        }
        let held_out = data.held_out.as_ref().map_or(&[][..], |set| &set.rows);
        let (rows, mut train) = distinct(data.train.rows.iter().chain(held_out));
        let mut cache = ScoreCache::open(folder, &cache_name(recipe, data, key), &rows)?;
        if cache.known.len() < rows.len() {
            let model = load()?;
            while let Some(next) = cache.next(&rows) {
                if watch(cache.known.len(), rows.len()) {
                    return Ok(None);
                }
                cache.append(KnownScores::of_rows(
                    &model,
                    next,
                    recipe.train.micro_batch_tokens,
                )?)?;
            }
        }
        let held_out = train.split_off(data.train.rows.len());
        Ok(Some(Self::Known { known: cache.known, train, held_out }))
    }
}

/// Every row once, in the order of first occurrence, and for each of all rows its place there.
fn distinct<'a>(rows: impl Iterator<Item = &'a Row>) -> (Vec<&'a Row>, Vec<usize>) {
    let (mut once, mut places) = (Vec::new(), HashMap::new());
    let place = |row: &'a Row| {
        *places.entry(row).or_insert_with(|| {
            once.push(row);
            once.len() - 1
        })
    };
    let all = rows.map(place).collect();
    (once, all)
}

/// A name for everything that a reference's log-probabilities depend on, with the version of the
/// program's results.
fn cache_name(recipe: &Recipe, data: &Data, reference: &str) -> String {
    let (rows, precision) = (&data.train.identity, recipe.train.precision);
    let held_out = data.held_out.as_ref().map_or("", |set| &set.identity);
    let instructions = arithmetic(precision);
    let text = format!("4 {RESULTS} {instructions} {rows} {held_out} {precision:?} {reference}");
    hash::of_bytes(text.as_bytes())[..32].to_owned()
}

fn check_vocabulary<B: Backend>(
    model: &Model<B>,
    path: &Path,
    data: &Data,
) -> Result<(), TrainError> {
    let vocabulary = model.config().vocabulary;
    data.check_vocabulary(vocabulary).map_err(|e| {
        let problem = format!("is `{}`, which cannot be the reference: {e}", path.display());
        TrainError::recipe("reference.path", problem)
    })
}
