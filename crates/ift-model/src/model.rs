//! A decoder on a backend: its weights, and how they change.

use crate::adapted::{Adapted, RowScale};
use crate::parameter_map::{Location, ParameterMap, Trainable};
use crate::{Adapter, Config, ModelError};
use ift_backend::{Backend, Element, HostTensor, LowRank, NumberType, RangeUpdate, Weight};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

/// A decoder loaded on a backend.
///
/// ```
/// use ift_backend::{NumberType, Reference, Select};
/// use ift_model::{Keep, Model, PastOf, Sequences, Trained, random};
/// use std::sync::Arc;
///
/// let folder = tempfile::tempdir()?;
/// let config = serde_json::json!({"model_type": "llama", "vocab_size": 32, "hidden_size": 16,
///     "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4});
/// random::create(config.as_object().unwrap().clone(), 0, NumberType::F32, folder.path())?;
///
/// let trained = Trained::All { input_embeddings: true };
/// let model = Model::load(folder.path(), Arc::new(Reference), trained)?;
/// let mut sequences = Sequences::default();
/// sequences.push(&[1, 2, 3]);
/// let pass = model.forward(&sequences, None, &PastOf::Nothing, Keep::Everything)?;
///
/// // The log-probability of token 4 after the three, and its gradient.
/// let scored = model.score(&[(&pass, &[2])], &[4], Select::Nothing, true)?;
/// assert!(model.read_scores(&scored).log_probs[0] < 0.0);
/// let mut gradients = model.gradients()?;
/// let d_scores = model.score_backward(scored, &[1.0], None, &mut gradients)?;
/// let d_hidden = model.hidden_gradient(&d_scores, &pass, &[(0, &[2])])?;
/// model.backward(pass, d_hidden, None, None, &mut gradients)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Model<B: Backend> {
    pub(crate) config: Config,
    pub(crate) backend: Arc<B>,
    pub(crate) map: ParameterMap,
    pub(crate) trainable: Trainable,
    /// All trainable elements.
    pub(crate) parameters: B::Parameters,
    /// Indexed like the map's parameters.
    pub(crate) weights: Vec<PlacedWeight<B>>,
    /// The folder it was loaded from: with adapters, that of their base.
    pub(crate) source: PathBuf,
    /// Where the files that go with the weights are, the first first: the folder of adapters that
    /// were read, [`Model::source`], and for an adapter folder its base folders.
    pub(crate) folders: Vec<PathBuf>,
    pub(crate) number: NumberType,
    /// Of each rotary embedding.
    pub(crate) frequencies: Vec<Vec<f64>>,
    /// Whether the embedding table is trained through the inputs.
    pub(crate) input_embeddings: bool,
    pub(crate) adapted: Option<Adapted>,
}

/// A weight of a model.
pub(crate) enum PlacedWeight<B: Backend> {
    /// From this element of the flat range on.
    Trainable {
        start: usize,
    },
    Frozen(B::Frozen),
}

/// Gradients of all trainable elements, as sums.
pub struct Gradients<B: Backend> {
    /// In the layout of [`Model::trainable`].
    pub sums: B::Accumulator,
}

impl<B: Backend> Gradients<B> {
    /// Sets every gradient to zero.
    pub fn clear(&mut self, backend: &B) {
        backend.clear(&mut self.sums);
    }
}

/// Elements, at most, that are on the host at a time while weights are exchanged.
const EXCHANGED: usize = 1 << 22;

impl<B: Backend> Model<B> {
    /// Its blocks, embeddings and head.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The device that it is on.
    pub fn backend(&self) -> &B {
        &self.backend
    }

    /// The number type of the files it was loaded from.
    pub fn number(&self) -> NumberType {
        self.number
    }

    /// The trainable tensors, and where their elements lie.
    pub fn trainable(&self) -> &Trainable {
        &self.trainable
    }

    /// Elements of all weights, trainable or not.
    pub fn element_count(&self) -> usize {
        self.map.element_count()
    }

    /// Whether it has adapters on a frozen base.
    pub fn is_adapted(&self) -> bool {
        self.adapted.is_some()
    }

    /// The adapter, with all that was read from [`Adapter::path`].
    pub fn adapter(&self) -> Option<&Adapter> {
        self.adapted.as_ref().map(|adapted| &adapted.placed.settings)
    }

    /// Zero gradients of everything that is trained.
    ///
    /// # Errors
    /// If memory runs out.
    pub fn gradients(&self) -> Result<Gradients<B>, ModelError> {
        Ok(Gradients { sums: self.backend.accumulator(self.trainable.len())? })
    }

    /// One optimizer step; see [`Backend::update`].
    ///
    /// # Errors
    /// If memory runs out.
    pub fn update(
        &mut self,
        gradients: &Gradients<B>,
        states: &mut [B::Accumulator],
        updates: &[RangeUpdate],
        gradient_scale: f64,
    ) -> Result<(), ModelError> {
        let sums = &gradients.sums;
        self.backend.update(&mut self.parameters, sums, states, updates, gradient_scale);
        self.adapters_changed()
    }

    /// An exponential moving average of the trainable elements over steps:
    /// `average = decay·average + (1 - decay)·elements`.
    pub fn average(&self, decay: f64, average: &mut B::Accumulator) {
        self.backend.average(&self.parameters, decay, average);
    }

    /// Exchanges the trainable elements and their exponential moving average. A second exchange
    /// restores both to the bit.
    ///
    /// # Errors
    /// If memory runs out.
    pub fn exchange_average(&mut self, average: &mut B::Accumulator) -> Result<(), ModelError> {
        for start in (0..self.trainable.len()).step_by(EXCHANGED) {
            let range = start..self.trainable.len().min(start + EXCHANGED);
            let mean = self.backend.read_accumulator(average, range.clone());
            self.backend.write_accumulator(average, start, &self.read(range));
            self.write(start, &mean);
        }
        self.adapters_changed()
    }

    /// The elements of a part of the flat range.
    pub fn read(&self, range: Range<usize>) -> Vec<B::Element> {
        self.backend.read_parameters(&self.parameters, range)
    }

    /// Overwrites the elements of the flat range from `start` on. After the last of several calls
    /// on a model with adapters, [`Model::adapters_changed`] is due.
    pub fn write(&mut self, start: usize, values: &[B::Element]) {
        let values = HostTensor { number: B::Element::NUMBER, bytes: bytemuck::cast_slice(values) };
        self.backend.write_parameters(&mut self.parameters, start, values);
    }

    /// The elements of a tensor, trainable or not, without its adapter; as products see them.
    /// `None` if there is no tensor of that name.
    pub fn read_tensor(&self, name: &str) -> Option<Vec<B::Element>> {
        self.map.parameters.iter().enumerate().find_map(|(parameter, p)| {
            let tensor = p.tensors.iter().find(|tensor| tensor.name == name)?;
            Some(self.read_parameter(parameter, tensor.range()))
        })
    }

    /// Renews what is derived from the weights of adapters, `DoRA`'s row norms. To be called after
    /// [`Model::write`]; without `DoRA` it does nothing.
    ///
    /// # Errors
    /// If memory runs out.
    pub fn adapters_changed(&mut self) -> Result<(), ModelError> {
        let Some(adapted) = &self.adapted else { return Ok(()) };
        let (rank, scale) = (adapted.rank(), adapted.scale());
        let mut all_rows = Vec::new();
        for (layer, adapter) in self.map.adapters() {
            let Some(magnitude) = adapter.magnitude else { continue };
            let low_rank =
                LowRank { inputs: layer.inputs, rank, rows: adapter.rows.clone(), scale };
            let norms = self.backend.adapted_norms(
                &low_rank,
                self.weight(layer.weight),
                self.weight(adapter.a),
                self.weight(adapter.b),
            )?;
            let lengths = self.read_parameter(magnitude, 0..adapter.rows.len());
            let row = |(norm, length): (f64, B::Element)| {
                let inverse_norm = if norm > 0.0 { 1.0 / norm } else { 0.0 };
                RowScale { inverse_norm, factor: length.to_f64() * inverse_norm }
            };
            all_rows.push((magnitude, norms.into_iter().zip(lengths).map(row).collect()));
        }
        if let Some(adapted) = &mut self.adapted {
            adapted.rows.extend(all_rows);
        }
        Ok(())
    }

    /// A parameter as operations read it.
    pub(crate) fn weight(&self, parameter: usize) -> Weight<'_, B> {
        match &self.weights[parameter] {
            PlacedWeight::Trainable { start } => {
                Weight::Trainable { parameters: &self.parameters, start: *start }
            }
            PlacedWeight::Frozen(frozen) => Weight::Frozen(frozen),
        }
    }

    /// Some elements of a parameter.
    pub(crate) fn read_parameter(&self, parameter: usize, range: Range<usize>) -> Vec<B::Element> {
        match &self.weights[parameter] {
            PlacedWeight::Trainable { start } => self.read(start + range.start..start + range.end),
            PlacedWeight::Frozen(frozen) => self.backend.read_frozen(frozen, range),
        }
    }

    /// Where the gradient of a parameter begins; `None` for what is not trained.
    pub(crate) fn start_of(&self, parameter: usize) -> Option<usize> {
        match self.map.parameters[parameter].place {
            Location::Trainable { start } => Some(start),
            Location::Frozen(_) => None,
        }
    }
}
