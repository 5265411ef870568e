//! Making a [`Model`] of a folder: to train it whole, to train adapters on it, or to use it as it
//! is.

use crate::adapted::Adapted;
use crate::adapter::{Adapter, ResolvedAdapter};
use crate::change_lost::ChangeLost;
use crate::error::zeros;
use crate::folder::{FolderTensors, Shards};
use crate::merge::Merge;
use crate::model::{Model, PlacedWeight};
use crate::parameter_map::{Location, ParameterMap, Trainable, TrainedParts};
use crate::peft::{self, ModelFolders};
use crate::{Config, ModelError};
use ift_backend::{Backend, Element, HostTensor, LowRank, NumberType, Storage};
use rand_distr::{Distribution, Uniform};
use std::path::Path;
use std::sync::Arc;

/// What of a model is trained.
#[derive(Clone, Copy, Debug)]
pub enum Trained<'a> {
    /// All weights.
    All {
        /// Whether the embedding table is trained through the inputs. If not (IFT), it is a
        /// constant there: a table that is not the output head is then not trained at all, one
        /// that is, only through the head.
        input_embeddings: bool,
    },
    /// Adapters on a frozen base, which is stored as [`Adapter::base`] says.
    Adapters {
        /// Which adapters.
        adapter: &'a Adapter,
        /// Seed of fresh ones.
        seed: u64,
    },
    /// Nothing: a reference model, or one that only generates.
    Nothing {
        /// Storage of embeddings, head and linear layers. With [`Storage::Int8`] and
        /// [`Storage::Nf4`] the linear layers are quantised, and the embedding table and the head
        /// are bfloat16. Norms and biases, which are small, stay exact with every storage.
        storage: Storage,
    },
}

impl<B: Backend> Model<B> {
    /// Loads a Hugging Face folder: `config.json` and safetensors, one file or several with an
    /// index.
    ///
    /// An adapter folder in PEFT's format is merged into its base, which `base_model_name_or_path`
    /// names: a path from the adapter's folder, or from the working directory.
    ///
    /// Adapters to be trained are those of [`Adapter::path`], or fresh ones, which change nothing
    /// yet: `A` drawn from `U(-1/√inputs, 1/√inputs)`, `B` zero, magnitudes the norms of the base's
    /// rows; a pure function of the seed.
    ///
    /// # Errors
    /// If the family is not supported, a file is missing or damaged, or a tensor is missing,
    /// unknown or of the wrong shape; the message names it. Also if an adapter's setting is not
    /// usable, its base is not found, or it is of a kind that is not supported; and if the weights
    /// do not fit into memory.
    pub fn load(folder: &Path, backend: Arc<B>, trained: Trained) -> Result<Self, ModelError> {
        let (adapter, seed) = match trained {
            Trained::All { input_embeddings } => {
                return Self::load_base(folder, backend, TrainedParts::All { input_embeddings });
            }
            Trained::Nothing { storage } => {
                return Self::load_base(folder, backend, TrainedParts::Nothing(storage));
            }
            Trained::Adapters { adapter, seed } => (adapter, seed),
        };
        let placed = place(adapter)?;
        let mut model = Self::load_base(folder, backend, TrainedParts::Adapters(&placed))?;
        model.adapted = Some(Adapted::new(placed));
        match &adapter.path {
            Some(path) => {
                model.read_adapters(path)?;
                model.folders.insert(0, path.clone());
            }
            None => model.init_adapters(seed)?,
        }
        model.adapters_changed()?;
        Ok(model)
    }

    /// Everything but the values of adapters.
    fn load_base(
        folder: &Path,
        backend: Arc<B>,
        trained: TrainedParts,
    ) -> Result<Self, ModelError> {
        let source = ModelFolders::of(folder)?;
        let config = Config::from_folder(&source.base)?;
        let map = ParameterMap::new(&config, trained);
        let shards = Shards::open(&source.base)?;
        let tensors = shards.tensors()?;
        // Old files store the rotary frequencies, and some tied models store their head a second
        // time.
        let ignorable = |name: &str| {
            name.ends_with(".rotary_emb.inv_freq")
                || (config.head.is_none() && name == "lm_head.weight")
        };
        // All that can be wrong with the files is found before memory is taken.
        tensors.check(map.tensors(), ignorable)?;
        let reader = BaseReader::new(&source, &config, &map, &tensors)?;
        let trainable = Trainable::new(&map);
        let memory = |source| ModelError::Memory {
            path: folder.to_owned(),
            elements: map.element_count(),
            source,
        };
        let mut parameters = backend.parameters(trainable.len()).map_err(memory)?;
        let mut weights = Vec::with_capacity(map.parameters.len());
        for (index, parameter) in map.parameters.iter().enumerate() {
            weights.push(match parameter.place {
                Location::Trainable { start } => {
                    if index < map.base {
                        reader.read::<B::Element, _>(index, |parts| {
                            let mut at = start;
                            for part in parts {
                                backend.write_parameters(&mut parameters, at, *part);
                                at += part.len();
                            }
                        })?;
                    }
                    PlacedWeight::Trainable { start }
                }
                Location::Frozen(storage) => {
                    let frozen = reader
                        .read::<B::Element, _>(index, |parts| backend.frozen(parts, storage))?;
                    PlacedWeight::Frozen(frozen.map_err(memory)?)
                }
            });
        }
        let frequencies = config.rotary.iter().map(crate::Rope::inverse_frequencies).collect();
        let (number, folders) = (tensors.named.number(), source.folders());
        Ok(Self {
            config,
            backend,
            map,
            trainable,
            parameters,
            weights,
            source: folder.to_owned(),
            folders,
            number,
            frequencies,
            input_embeddings: matches!(trained, TrainedParts::All { input_embeddings: true }),
            adapted: None,
        })
    }

    /// Reads the adapters that are in a folder.
    fn read_adapters(&mut self, folder: &Path) -> Result<(), ModelError> {
        let shards = Shards::open_adapter(folder)?;
        let tensors = shards.tensors()?;
        tensors.check(self.map.adapter_tensors(), |_| false)?;
        for parameter in &self.map.parameters[self.map.base..] {
            let Location::Trainable { start } = parameter.place else { continue };
            for tensor in &parameter.tensors {
                let values = tensors.read(tensor)?;
                self.backend.write_parameters(&mut self.parameters, start + tensor.start, values);
            }
        }
        Ok(())
    }

    /// Initialises fresh adapters: draws `A` and sets magnitudes. (`B` is zero already.)
    fn init_adapters(&mut self, seed: u64) -> Result<(), ModelError> {
        let rank = self.adapted.as_ref().map_or(0, Adapted::rank);
        let adapters: Vec<_> = self
            .map
            .adapters()
            .map(|(layer, adapter)| (layer.weight, layer.inputs, adapter.clone()))
            .collect();
        for (weight, inputs, adapter) in adapters {
            let bound = 1.0 / (inputs as f64).sqrt();
            let reason = |e| ModelError::Adapter { field: "rank", reason: format!("{e}") };
            let uniform = Uniform::new(-bound, bound).map_err(reason)?;
            // A separate stream for each tensor, different from those that fresh models are drawn
            // from.
            let stream = (weight as u64) << 32 | adapter.rows.start as u64;
            let mut random = ift_random::generator(seed, stream);
            let element = || B::Element::from_f64(uniform.sample(&mut random));
            let mut a = zeros::<B::Element>("a fresh adapter", rank.saturating_mul(inputs))?;
            a.fill_with(element);
            if let Some(start) = self.start_of(adapter.a) {
                self.write(start, &a);
            }
            let Some(start) = adapter.magnitude.and_then(|m| self.start_of(m)) else { continue };
            let low_rank = LowRank { inputs, rank, rows: adapter.rows.clone(), scale: 0.0 };
            let norms = self.backend.adapted_norms(
                &low_rank,
                self.weight(weight),
                self.weight(adapter.a),
                self.weight(adapter.b),
            )?;
            let norms: Vec<_> = norms.into_iter().map(B::Element::from_f64).collect();
            self.write(start, &norms);
        }
        Ok(())
    }
}

/// The adapter of the settings, or of the folder that they name.
fn place(adapter: &Adapter) -> Result<ResolvedAdapter, ModelError> {
    adapter.validate().map_err(|(field, reason)| ModelError::Adapter { field, reason })?;
    let mut placed = match &adapter.path {
        Some(path) => peft::read_adapter(path)?,
        None => ResolvedAdapter::all_layers(adapter.clone()),
    };
    (placed.settings.dropout, placed.settings.base) = (adapter.dropout, adapter.base);
    Ok(placed)
}

/// The share of what an adapter changes in its base that rounding to `number` takes back. Reads one
/// tensor at a time, in single precision, with the base as it is in its files.
///
/// # Errors
/// As [`Model::load`].
pub fn merge_lost(adapter: &Path, number: NumberType) -> Result<f64, ModelError> {
    let source = ModelFolders::of(adapter)?;
    let config = Config::from_folder(&source.base)?;
    let map = ParameterMap::new(&config, TrainedParts::Nothing(Storage::Exact));
    let shards = Shards::open(&source.base)?;
    let tensors = shards.tensors()?;
    let reader = BaseReader::new(&source, &config, &map, &tensors)?;
    let mut lost = ChangeLost::default();
    for index in (0..map.parameters.len()).filter(|&index| reader.changes(index)) {
        let before = reader.base::<f32>(index)?;
        lost.add(&before, &reader.merged(index, before.clone())?, number);
    }
    Ok(lost.share())
}

/// Reads the parameters of a folder, with what is to be merged into them: one at a time, and
/// straight from the mapped file unless it is merged.
struct BaseReader<'a> {
    map: &'a ParameterMap,
    tensors: &'a FolderTensors<'a>,
    merges: Vec<Merge>,
}

impl<'a> BaseReader<'a> {
    fn new(
        source: &ModelFolders,
        config: &Config,
        map: &'a ParameterMap,
        tensors: &'a FolderTensors<'a>,
    ) -> Result<Self, ModelError> {
        let merges = source.merged.iter().map(|adapter| Merge::new(config, adapter));
        Ok(Self { map, tensors, merges: merges.collect::<Result<_, _>>()? })
    }

    /// Passes on the elements of a parameter, in parts that follow each other.
    fn read<E: Element, T>(
        &self,
        index: usize,
        take: impl FnOnce(&[HostTensor]) -> T,
    ) -> Result<T, ModelError> {
        if !self.changes(index) {
            return Ok(take(&self.parts(index)?));
        }
        let merged = self.merged(index, self.base::<E>(index)?)?;
        let bytes = bytemuck::cast_slice(&merged);
        Ok(take(&[HostTensor { number: E::NUMBER, bytes }]))
    }

    /// The tensors of a parameter, as they lie in the files.
    fn parts(&self, index: usize) -> Result<Vec<HostTensor<'a>>, ModelError> {
        let tensors = self.map.parameters[index].tensors.iter();
        tensors.map(|tensor| self.tensors.read(tensor)).collect()
    }

    /// Whether something is merged into a parameter.
    fn changes(&self, index: usize) -> bool {
        self.merges.iter().any(|merge| merge.changes(index))
    }

    /// The elements of a parameter, with nothing merged into it.
    fn base<E: Element>(&self, index: usize) -> Result<Vec<E>, ModelError> {
        let parameter = &self.map.parameters[index];
        let mut base = zeros::<E>("a weight with its adapter merged", parameter.len)?;
        for (part, tensor) in self.parts(index)?.iter().zip(&parameter.tensors) {
            part.convert_into(&mut base[tensor.range()]);
        }
        Ok(base)
    }

    /// The same with what is merged.
    fn merged<E: Element>(&self, index: usize, mut base: Vec<E>) -> Result<Vec<E>, ModelError> {
        self.merges.iter().try_for_each(|merge| merge.apply(index, &mut base))?;
        Ok(base)
    }
}
