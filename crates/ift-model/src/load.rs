//! Making a [`Model`] of a folder: to train it whole, to train adapters on it, or to use it as it
//! is.

use crate::adapter::Placed;
use crate::folder::{Shards, Tensors};
use crate::layout::{Layout, LowRank};
use crate::merge::Merge;
use crate::model::Learns;
use crate::peft::{self, Source};
use crate::save::to_bytes;
use crate::{Adapter, Config, Model, ModelError};
use ift_backend::{Backend, Element, HostTensor, NumberType, Storage};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, Uniform};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// What a model with adapters has besides its parameters.
pub(crate) struct Adapted {
    pub placed: Placed,
    pub rank: usize,
    /// The factor of `B·A`.
    pub scale: f64,
    pub dropout: f64,
    pub dora: bool,
    /// By the index of the magnitude: one for each row. Renewed by [`Model::adapters_changed`].
    rows: BTreeMap<usize, Vec<RowScale>>,
}

/// `DoRA`'s numbers of one row of a weight.
pub(crate) struct RowScale {
    /// `1/‖W + scale·B·A‖`; 0 for a row of zeros.
    pub inverse_norm: f64,
    /// The magnitude over the norm.
    pub factor: f64,
}

impl Adapted {
    fn new(placed: Placed) -> Self {
        let Adapter { rank, dropout, dora, .. } = placed.settings;
        Self { rank, scale: placed.settings.scale(), dropout, dora, placed, rows: BTreeMap::new() }
    }

    /// The rows of an adapted tensor; none unless it has magnitudes.
    pub fn rows_of(&self, pair: &LowRank) -> &[RowScale] {
        pair.magnitude.and_then(|m| self.rows.get(&m)).map_or(&[], Vec::as_slice)
    }
}

impl<B: Backend> Model<B> {
    /// Loads a Hugging Face folder (`config.json` and safetensors, one file or several with an
    /// index) to be trained whole.
    ///
    /// An adapter folder in PEFT's format is merged into its base, which `base_model_name_or_path`
    /// names: a path from the adapter's folder, or from the working directory.
    ///
    /// # Errors
    /// If the architecture is not supported, a file is missing or damaged, or a tensor is missing,
    /// unknown or of the wrong shape; the message names it. Also if an adapter's base is not
    /// found, or it is of a kind that is not supported.
    pub fn load(folder: &Path, backend: Arc<B>) -> Result<Self, ModelError> {
        Self::from_source(folder, backend, Learns::Everything, None)
    }

    /// The same for a model in which nothing learns: a reference model, or one that only generates.
    ///
    /// With [`Storage::Int8`] and [`Storage::Nf4`] the linear layers are quantised, and the
    /// embedding table and the head are bfloat16. Norms and biases, which are small, stay exact
    /// with every storage.
    ///
    /// # Errors
    /// As [`Model::load`].
    pub fn load_frozen(
        folder: &Path,
        backend: Arc<B>,
        storage: Storage,
    ) -> Result<Self, ModelError> {
        Self::from_source(folder, backend, Learns::Nothing, Some(storage))
    }

    /// Loads a folder as a base that never learns, with adapters that do: fresh ones, which change
    /// nothing yet (`A` drawn from `U(-1/√inputs, 1/√inputs)`, `B` zero, magnitudes the norms
    /// of the base's rows; a pure function of `seed`), or those of [`Adapter::path`]. If
    /// `folder` is itself an adapter folder, it is merged into the base first.
    ///
    /// # Errors
    /// As [`Model::load`], and if a setting is not usable.
    pub fn load_adapted(
        folder: &Path,
        backend: Arc<B>,
        adapter: &Adapter,
        seed: u64,
    ) -> Result<Self, ModelError> {
        adapter.validate().map_err(|(field, reason)| ModelError::Adapter { field, reason })?;
        let mut placed = match &adapter.path {
            Some(path) => peft::read_placed(path)?,
            None => Placed::everywhere(adapter.clone()),
        };
        (placed.settings.dropout, placed.settings.base) = (adapter.dropout, adapter.base);
        let storage = adapter.base.storage();
        let mut model = Self::from_source(folder, backend, Learns::Adapters, Some(storage))?;
        model.layout = Layout::adapted(&model.config, &placed);
        model.adapted = Some(Adapted::new(placed));
        match &adapter.path {
            Some(path) => model.upload_adapter(path)?,
            None => model.start_adapter(seed)?,
        }
        model.adapters_changed();
        Ok(model)
    }

    fn from_source(
        folder: &Path,
        backend: Arc<B>,
        learns: Learns,
        storage: Option<Storage>,
    ) -> Result<Self, ModelError> {
        let source = Source::of(folder)?;
        let config = Config::from_folder(&source.base)?;
        let layout = Layout::new(&config);
        let shards = Shards::open(&source.base)?;
        let tensors = shards.tensors()?;
        // Old files store the rotary frequencies, and some tied models store their head a second
        // time.
        let ignorable = |name: &str| {
            name.ends_with(".rotary_emb.inv_freq") || (config.tied && name == "lm_head.weight")
        };
        tensors.refuse_unknown(layout.tensors(), ignorable)?;
        let weights = upload(&source, &config, &layout, &tensors, storage, backend.as_ref())?;
        let number = tensors.number();
        let frequencies = config.rope.inverse_frequencies(config.head_dim);
        let folders = source.folders();
        let adapted = None;
        Ok(Self { config, backend, layout, weights, folders, number, frequencies, learns, adapted })
    }

    /// Uploads the adapters that are in a folder.
    fn upload_adapter(&mut self, folder: &Path) -> Result<(), ModelError> {
        let shards = Shards::open_adapter(folder)?;
        let tensors = shards.tensors()?;
        tensors.refuse_unknown(self.layout.adapter_tensors(), |_| false)?;
        for tensor in self.layout.adapter_tensors() {
            self.weights.push(self.backend.weight(&[tensors.read(tensor)?]));
        }
        Ok(())
    }

    /// Uploads fresh adapters.
    fn start_adapter(&mut self, seed: u64) -> Result<(), ModelError> {
        let upload = |values: &[f64]| {
            let bytes = to_bytes(values, NumberType::F64);
            self.backend.weight(&[HostTensor { number: NumberType::F64, bytes: &bytes }])
        };
        let rank = self.adapted.as_ref().map_or(0, |adapted| adapted.rank);
        for (product, pair) in self.layout.low_ranks() {
            let bound = 1.0 / (product.inputs as f64).sqrt();
            let reason = |e| ModelError::Adapter { field: "rank", reason: format!("{e}") };
            let uniform = Uniform::new(-bound, bound).map_err(reason)?;
            // A stream of its own for each tensor, apart from those that fresh models are drawn
            // from.
            let mut random = ChaCha8Rng::seed_from_u64(seed);
            random.set_stream((product.weight as u64) << 32 | pair.columns.start as u64);
            let a: Vec<f64> =
                (0..rank * product.inputs).map(|_| uniform.sample(&mut random)).collect();
            let (a, b) = (upload(&a), upload(&vec![0.0; pair.columns.len() * rank]));
            let magnitude = pair.magnitude.map(|_| {
                let (weight, rows) = (&self.weights[product.weight], pair.columns.clone());
                upload(&self.backend.adapted_norms(product.inputs, rank, weight, rows, &a, &b, 0.0))
            });
            self.weights.extend([a, b].into_iter().chain(magnitude));
        }
        Ok(())
    }

    /// To be called after adapters' weights have changed: renews what is derived from them,
    /// `DoRA`'s row norms. Without `DoRA` it does nothing.
    pub fn adapters_changed(&mut self) {
        let Some(adapted) = &mut self.adapted else { return };
        for (product, pair) in self.layout.low_ranks() {
            let Some(magnitude) = pair.magnitude else { continue };
            let norms = self.backend.adapted_norms(
                product.inputs,
                adapted.rank,
                &self.weights[product.weight],
                pair.columns.clone(),
                &self.weights[pair.a],
                &self.weights[pair.b],
                adapted.scale,
            );
            let lengths = self.backend.read_weight(&self.weights[magnitude], 0..pair.columns.len());
            let row = |(norm, length): (f64, B::Element)| {
                let inverse_norm = if norm > 0.0 { 1.0 / norm } else { 0.0 };
                RowScale { inverse_norm, factor: length.to_f64() * inverse_norm }
            };
            adapted.rows.insert(magnitude, norms.into_iter().zip(lengths).map(row).collect());
        }
    }
}

/// The weights of a folder, with what is to be merged into them: trainable, or frozen in some
/// storage. One parameter at a time, and straight from the mapped file unless it is merged.
fn upload<B: Backend>(
    source: &Source,
    config: &Config,
    layout: &Layout,
    tensors: &Tensors,
    storage: Option<Storage>,
    backend: &B,
) -> Result<Vec<B::Weight>, ModelError> {
    let adapters = source.merged.iter().map(|adapter| Shards::open_adapter(&adapter.folder));
    let adapters = adapters.collect::<Result<Vec<_>, _>>()?;
    let merges = source
        .merged
        .iter()
        .zip(&adapters)
        .map(|(adapter, shards)| Merge::new(config, adapter, shards));
    let merges = merges.collect::<Result<Vec<_>, _>>()?;
    let mut weights = Vec::with_capacity(layout.parameters.len());
    for (index, parameter) in layout.parameters.iter().enumerate() {
        let mut parts =
            parameter.tensors.iter().map(|t| tensors.read(t)).collect::<Result<Vec<_>, _>>()?;
        let mut merged = Vec::new();
        if merges.iter().any(|merge| merge.changes(index)) {
            merged.resize(parameter.len, B::Element::from_f64(0.0));
            for (part, tensor) in parts.iter().zip(&parameter.tensors) {
                part.convert_into(&mut merged[tensor.range()]);
            }
            merges.iter().try_for_each(|merge| merge.apply(index, &mut merged))?;
            parts = vec![HostTensor {
                number: B::Element::NUMBER,
                bytes: bytemuck::cast_slice(&merged),
            }];
        }
        weights.push(match storage {
            None => backend.weight(&parts),
            Some(storage) => backend.frozen_weight(&parts, layout.storage_of(index, storage)),
        });
    }
    Ok(weights)
}
