//! Which weights a decoder has, what their tensors are called, and where their elements lie.
//!
//! Projections that read the same input form one parameter: queries, keys and values; gate and up.
//! Their tensors are concatenated in it (rows are outputs, so that concatenating the tensors
//! concatenates the outputs). The matrices of adapters are separate parameters, after all others.
//!
//! The trainable parameters lie in one flat range, in order, each from a multiple of [`ALIGNMENT`]
//! on.

use crate::adapter::ResolvedAdapter;
use crate::{Block, Config, LinearLayer, NormLayer};
use ift_backend::Storage;
use std::ops::Range;

/// Every trainable parameter starts at a multiple of this many elements.
const ALIGNMENT: usize = 16;

/// What is to be trained.
#[derive(Clone, Copy, Debug)]
pub(crate) enum TrainedParts<'a> {
    /// All weights; see [`crate::Trained::All`].
    All { input_embeddings: bool },
    /// Adapters on a frozen base.
    Adapters(&'a ResolvedAdapter),
    /// Nothing.
    Nothing(Storage),
}

/// One tensor of the model folder, inside a [`Parameter`].
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Tensor {
    /// Its name in the safetensors files.
    pub name: String,
    /// Its shape there.
    pub shape: Vec<usize>,
    /// Its first element in the parameter.
    pub start: usize,
    /// What all its elements are in a fresh model; `None` if they are drawn.
    pub fresh: Option<f64>,
}

impl Tensor {
    /// Number of elements.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Where its elements lie in the parameter.
    pub fn range(&self) -> Range<usize> {
        self.start..self.start + self.len()
    }
}

/// Where the elements of a parameter are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Location {
    /// In the flat range of trainable elements, from this one on.
    Trainable { start: usize },
    /// In a separate buffer.
    Frozen(Storage),
}

/// One weight as operations read it: a tensor, or several that form one product.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Parameter {
    /// Its tensors, which are concatenated.
    pub tensors: Vec<Tensor>,
    /// Number of elements.
    pub len: usize,
    pub place: Location,
}

/// The parameters of a linear layer, by their indices.
#[derive(Clone, Debug)]
pub(crate) struct LinearIds {
    /// `[outputs, inputs]`.
    pub weight: usize,
    /// `[outputs]`.
    pub bias: Option<usize>,
    pub inputs: usize,
    pub outputs: usize,
    /// The adapters of its tensors.
    pub adapters: Vec<AdapterIds>,
}

/// The parameters of an adapter of one tensor.
#[derive(Clone, Debug)]
pub(crate) struct AdapterIds {
    /// `[rank, inputs]`.
    pub a: usize,
    /// `[rows.len(), rank]`.
    pub b: usize,
    /// `[rows.len()]` lengths of the rows (`DoRA`).
    pub magnitude: Option<usize>,
    /// The tensor's outputs among those of its linear layer.
    pub rows: Range<usize>,
}

/// The parameters of a block.
#[derive(Clone, Debug)]
pub(crate) struct BlockIds {
    pub attention_norm: usize,
    pub qkv: LinearIds,
    /// Of query heads and of key heads.
    pub head_norms: Option<[usize; 2]>,
    pub output: LinearIds,
    pub mlp_norm: usize,
    pub gate_up: LinearIds,
    pub down: LinearIds,
}

impl BlockIds {
    /// Its linear layers.
    fn linear_layers(&self) -> [&LinearIds; 4] {
        [&self.qkv, &self.output, &self.gate_up, &self.down]
    }
}

/// All parameters, and which is which.
#[derive(Clone, Debug)]
pub(crate) struct ParameterMap {
    /// Those of the model folder, then those of the adapters.
    pub parameters: Vec<Parameter>,
    /// How many belong to the model folder.
    pub base: usize,
    pub embedding: usize,
    pub blocks: Vec<BlockIds>,
    pub final_norm: usize,
    /// The same as `embedding` where the head is tied.
    pub head: usize,
}

struct Builder<'a> {
    trained: TrainedParts<'a>,
    parameters: Vec<Parameter>,
    /// Elements of the flat range so far.
    flat: usize,
}

impl Builder<'_> {
    fn add(&mut self, tensors: Vec<(String, Vec<usize>, Option<f64>)>, place: Location) -> usize {
        let mut len = 0;
        let mut placed = Vec::with_capacity(tensors.len());
        for (name, shape, fresh) in tensors {
            let tensor = Tensor { name, shape, start: len, fresh };
            len += tensor.len();
            placed.push(tensor);
        }
        if matches!(place, Location::Trainable { .. }) {
            self.flat += len.next_multiple_of(ALIGNMENT);
        }
        self.parameters.push(Parameter { tensors: placed, len, place });
        self.parameters.len() - 1
    }

    fn trainable(&self) -> Location {
        Location::Trainable { start: self.flat }
    }

    /// The place of a parameter of the base that is kept in `narrow` where it is frozen.
    fn base_place(&self, narrow: impl Fn(Storage) -> Storage) -> Location {
        match self.trained {
            TrainedParts::All { .. } => self.trainable(),
            TrainedParts::Adapters(placed) => {
                Location::Frozen(narrow(placed.settings.base.storage()))
            }
            TrainedParts::Nothing(storage) => Location::Frozen(narrow(storage)),
        }
    }

    /// An embedding table or a head: at least bfloat16.
    fn table(&mut self, config: &Config, name: &str, constant: bool) -> usize {
        let place = if constant {
            Location::Frozen(Storage::Exact)
        } else {
            self.base_place(|storage| match storage {
                Storage::Int8 | Storage::Nf4 => Storage::Bf16,
                storage => storage,
            })
        };
        self.add(vec![(name.to_owned(), vec![config.vocabulary, config.hidden], None)], place)
    }

    /// A norm: small, so always exact.
    fn norm(&mut self, norm: &NormLayer) -> usize {
        let place = self.base_place(|_| Storage::Exact);
        let fresh = Some(1.0 - norm.norm.offset);
        self.add(vec![(norm.name.clone(), vec![norm.norm.width], fresh)], place)
    }

    fn linear(&mut self, layer: &LinearLayer) -> LinearIds {
        let parts = layer.parts.iter();
        let weights = parts
            .clone()
            .map(|part| (format!("{}.weight", part.name), vec![part.outputs, layer.inputs], None));
        let weight = self.add(weights.collect(), self.base_place(|storage| storage));
        let bias = layer.bias.then(|| {
            let biases =
                parts.map(|part| (format!("{}.bias", part.name), vec![part.outputs], Some(0.0)));
            self.add(biases.collect(), self.base_place(|_| Storage::Exact))
        });
        let (inputs, outputs) = (layer.inputs, layer.outputs());
        LinearIds { weight, bias, inputs, outputs, adapters: Vec::new() }
    }

    fn block(&mut self, block: &Block) -> BlockIds {
        BlockIds {
            attention_norm: self.norm(&block.attention_norm),
            qkv: self.linear(&block.attention.qkv),
            head_norms: block
                .attention
                .head_norms
                .as_ref()
                .map(|[q, k]| [self.norm(q), self.norm(k)]),
            output: self.linear(&block.attention.output),
            mlp_norm: self.norm(&block.mlp_norm),
            gate_up: self.linear(&block.mlp.gate_up),
            down: self.linear(&block.mlp.down),
        }
    }

    /// Adds the adapters of a layer's tensors, named as PEFT names them.
    fn adapt(&mut self, layer: &mut LinearIds, adapter: &ResolvedAdapter) {
        let rank = adapter.settings.rank;
        let mut rows = 0..0;
        for tensor in self.parameters[layer.weight].tensors.clone() {
            rows = rows.end..rows.end + tensor.shape[0];
            let module = tensor.name.trim_end_matches(".weight");
            if !adapter.applies_to(module) {
                continue;
            }
            let mut add = |part: &str, shape| {
                let name = format!("base_model.model.{module}.{part}");
                let place = self.trainable();
                self.add(vec![(name, shape, None)], place)
            };
            layer.adapters.push(AdapterIds {
                a: add("lora_A.weight", vec![rank, layer.inputs]),
                b: add("lora_B.weight", vec![rows.len(), rank]),
                magnitude: adapter
                    .settings
                    .dora
                    .then(|| add("lora_magnitude_vector", vec![rows.len()])),
                rows: rows.clone(),
            });
        }
    }
}

impl ParameterMap {
    /// The parameters of a configuration.
    pub fn new(config: &Config, trained: TrainedParts) -> Self {
        let mut builder = Builder { trained, parameters: Vec::new(), flat: 0 };
        let constant = matches!(trained, TrainedParts::All { input_embeddings: false });
        let untied = config.head.is_some();
        let embedding = builder.table(config, &config.embedding.name, constant && untied);
        let mut blocks: Vec<_> = config.blocks.iter().map(|block| builder.block(block)).collect();
        let final_norm = builder.norm(&config.final_norm);
        let head =
            config.head.as_ref().map_or(embedding, |name| builder.table(config, name, false));
        let base = builder.parameters.len();
        if let TrainedParts::Adapters(placed) = trained {
            for BlockIds { qkv, output, gate_up, down, .. } in &mut blocks {
                for layer in [qkv, output, gate_up, down] {
                    builder.adapt(layer, placed);
                }
            }
        }
        let parameters = builder.parameters;
        Self { parameters, base, embedding, blocks, final_norm, head }
    }

    /// Elements of all parameters.
    pub fn element_count(&self) -> usize {
        self.parameters.iter().map(|p| p.len).sum()
    }

    /// All tensors of the model folder, in order.
    pub fn tensors(&self) -> impl Iterator<Item = &Tensor> {
        self.parameters[..self.base].iter().flat_map(|p| &p.tensors)
    }

    /// All tensors of the adapters, in order.
    pub fn adapter_tensors(&self) -> impl Iterator<Item = &Tensor> {
        self.parameters[self.base..].iter().flat_map(|p| &p.tensors)
    }

    /// All adapters, each with the linear layer that it belongs to.
    pub fn adapters(&self) -> impl Iterator<Item = (&LinearIds, &AdapterIds)> {
        let layers = self.blocks.iter().flat_map(BlockIds::linear_layers);
        layers.flat_map(|layer| layer.adapters.iter().map(move |adapter| (layer, adapter)))
    }
}

/// The trainable tensors of a model, and where their elements lie in its flat range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trainable {
    tensors: Vec<TrainableTensor>,
    /// Tensors of each parameter.
    groups: Vec<Range<usize>>,
    len: usize,
}

/// A tensor of the model folder, or of an adapter, that is trained.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrainableTensor {
    /// Its name in safetensors files.
    pub name: String,
    /// Its shape there.
    pub shape: Vec<usize>,
    /// Its elements in the flat range.
    pub range: Range<usize>,
}

impl TrainableTensor {
    /// Whether it is a matrix, to which weight decay applies; norms and biases are vectors.
    pub fn is_matrix(&self) -> bool {
        self.shape.len() > 1
    }
}

impl Trainable {
    pub(crate) fn new(map: &ParameterMap) -> Self {
        let mut trainable = Self { tensors: Vec::new(), groups: Vec::new(), len: 0 };
        for parameter in &map.parameters {
            let Location::Trainable { start } = parameter.place else { continue };
            let first = trainable.tensors.len();
            trainable.tensors.extend(parameter.tensors.iter().map(|tensor| TrainableTensor {
                name: tensor.name.clone(),
                shape: tensor.shape.clone(),
                range: start + tensor.start..start + tensor.start + tensor.len(),
            }));
            trainable.groups.push(first..trainable.tensors.len());
            trainable.len = start + parameter.len.next_multiple_of(ALIGNMENT);
        }
        trainable
    }

    /// Elements of the flat range, with those between tensors that belong to none and stay 0: the
    /// length of gradients and of every optimizer state.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing is trained.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Elements of all tensors.
    pub fn element_count(&self) -> usize {
        self.tensors.iter().map(|tensor| tensor.range.len()).sum()
    }

    /// The tensors, in the order of their elements.
    pub fn tensors(&self) -> &[TrainableTensor] {
        &self.tensors
    }

    /// The tensors of each weight: those that form one product are concatenated.
    pub fn groups(&self) -> impl Iterator<Item = &[TrainableTensor]> {
        self.groups.iter().map(|group| &self.tensors[group.clone()])
    }
}
