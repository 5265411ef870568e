//! Which tensors a decoder has, by their Hugging Face names, and how they are laid together.
//!
//! Projections that read the same input form one product: queries, keys and values; gate and up.
//! Their tensors lie end to end in one parameter (rows are outputs, so concatenating the tensors
//! concatenates the outputs), and every [`Tensor`] says which part of it is its own. The matrices
//! of adapters are parameters of their own, after all others.

use crate::Config;
use crate::adapter::Placed;
use ift_backend::Storage;
use std::ops::Range;

/// One tensor of the model folder, inside a [`Parameter`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tensor {
    /// Its name in the safetensors files.
    pub name: String,
    /// Its shape there.
    pub shape: Vec<usize>,
    /// Its first number in the parameter.
    pub start: usize,
}

impl Tensor {
    /// How many numbers it has.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Where its numbers lie in the parameter.
    pub fn range(&self) -> Range<usize> {
        self.start..self.start + self.len()
    }
}

/// One trainable buffer: a tensor, or several that form one product.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameter {
    /// Its tensors, end to end.
    pub tensors: Vec<Tensor>,
    /// How many numbers it has.
    pub len: usize,
}

/// A linear layer as it is computed: one tensor, or several that read the same input.
#[derive(Clone, Debug)]
pub(crate) struct Product {
    /// `[outputs, inputs]`.
    pub weight: usize,
    /// `[outputs]`.
    pub bias: Option<usize>,
    pub inputs: usize,
    pub outputs: usize,
    /// Those of its tensors that are adapted.
    pub adapted: Vec<LowRank>,
}

/// The parameters of an adapter of one tensor.
#[derive(Clone, Debug)]
pub(crate) struct LowRank {
    /// `[rank, inputs]`.
    pub a: usize,
    /// `[columns.len(), rank]`.
    pub b: usize,
    /// `[columns.len()]` lengths of the rows (`DoRA`).
    pub magnitude: Option<usize>,
    /// The tensor's outputs among those of its product.
    pub columns: Range<usize>,
}

/// Indices of one layer's parameters.
#[derive(Clone, Debug)]
pub(crate) struct LayerIds {
    pub attention_norm: usize,
    pub qkv: Product,
    pub head_norms: Option<(usize, usize)>,
    pub output: Product,
    pub mlp_norm: usize,
    pub gate_up: Product,
    pub down: Product,
}

impl LayerIds {
    /// Its linear layers.
    pub fn products(&self) -> [&Product; 4] {
        [&self.qkv, &self.output, &self.gate_up, &self.down]
    }
}

/// All parameters, and where each role's is.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    /// Those of the model folder, then those of the adapters.
    pub parameters: Vec<Parameter>,
    /// How many belong to the model folder.
    pub base: usize,
    pub embedding: usize,
    pub layers: Vec<LayerIds>,
    pub final_norm: usize,
    /// The same as `embedding` when tied.
    pub head: usize,
}

struct Builder {
    parameters: Vec<Parameter>,
}

impl Builder {
    fn add(&mut self, tensors: &[(String, Vec<usize>)]) -> usize {
        let mut len = 0;
        let mut placed = Vec::with_capacity(tensors.len());
        for (name, shape) in tensors {
            let tensor = Tensor { name: name.clone(), shape: shape.clone(), start: len };
            len += tensor.len();
            placed.push(tensor);
        }
        self.parameters.push(Parameter { tensors: placed, len });
        self.parameters.len() - 1
    }

    /// A product of projections `(name, outputs)`, all of whose names start with `prefix`.
    fn product(
        &mut self,
        prefix: &str,
        parts: &[(&str, usize)],
        inputs: usize,
        bias: bool,
    ) -> Product {
        let name = |part: &str, kind: &str| format!("{prefix}.{part}_proj.{kind}");
        let weights: Vec<_> = parts
            .iter()
            .map(|(part, width)| (name(part, "weight"), vec![*width, inputs]))
            .collect();
        let biases: Vec<_> =
            parts.iter().map(|(part, width)| (name(part, "bias"), vec![*width])).collect();
        Product {
            weight: self.add(&weights),
            bias: bias.then(|| self.add(&biases)),
            inputs,
            outputs: parts.iter().map(|(_, width)| width).sum(),
            adapted: Vec::new(),
        }
    }

    fn layer(&mut self, config: &Config, layer: usize) -> LayerIds {
        let prefix = format!("model.layers.{layer}");
        let (attention, mlp) = (format!("{prefix}.self_attn"), format!("{prefix}.mlp"));
        let (h, f) = (config.hidden, config.intermediate);
        let (q, kv) = (config.heads * config.head_dim, config.kv_heads * config.head_dim);
        let head_norm =
            |part: &str| [(format!("{attention}.{part}_norm.weight"), vec![config.head_dim])];
        LayerIds {
            attention_norm: self.add(&[(format!("{prefix}.input_layernorm.weight"), vec![h])]),
            qkv: self.product(&attention, &[("q", q), ("k", kv), ("v", kv)], h, config.qkv_bias),
            head_norms: config
                .head_norms
                .then(|| (self.add(&head_norm("q")), self.add(&head_norm("k")))),
            output: self.product(&attention, &[("o", h)], q, config.output_bias),
            mlp_norm: self.add(&[(format!("{prefix}.post_attention_layernorm.weight"), vec![h])]),
            gate_up: self.product(&mlp, &[("gate", f), ("up", f)], h, config.mlp_bias),
            down: self.product(&mlp, &[("down", h)], f, config.mlp_bias),
        }
    }

    /// Adds the adapters of a product's tensors, named as PEFT names them.
    fn adapt(&mut self, product: &mut Product, adapter: &Placed) {
        let rank = adapter.settings.rank;
        let mut columns = 0..0;
        for tensor in self.parameters[product.weight].tensors.clone() {
            columns = columns.end..columns.end + tensor.shape[0];
            let module = tensor.name.trim_end_matches(".weight");
            if !adapter.on(module) {
                continue;
            }
            let module = format!("base_model.model.{module}");
            let mut add = |part: &str, shape| self.add(&[(format!("{module}.{part}"), shape)]);
            product.adapted.push(LowRank {
                a: add("lora_A.weight", vec![rank, product.inputs]),
                b: add("lora_B.weight", vec![columns.len(), rank]),
                magnitude: adapter
                    .settings
                    .dora
                    .then(|| add("lora_magnitude_vector", vec![columns.len()])),
                columns: columns.clone(),
            });
        }
    }
}

impl Layout {
    /// The layout of a configuration.
    pub fn new(config: &Config) -> Self {
        let mut builder = Builder { parameters: Vec::new() };
        let table = vec![config.vocabulary, config.hidden];
        let embedding = builder.add(&[("model.embed_tokens.weight".to_owned(), table.clone())]);
        let layers = (0..config.layers()).map(|layer| builder.layer(config, layer)).collect();
        let final_norm = builder.add(&[("model.norm.weight".to_owned(), vec![config.hidden])]);
        let head = if config.tied {
            embedding
        } else {
            builder.add(&[("lm_head.weight".to_owned(), table)])
        };
        let parameters = builder.parameters;
        Self { base: parameters.len(), parameters, embedding, layers, final_norm, head }
    }

    /// The layout of a configuration with adapters.
    pub fn adapted(config: &Config, adapter: &Placed) -> Self {
        let mut layout = Self::new(config);
        let mut builder = Builder { parameters: layout.parameters };
        for layer in &mut layout.layers {
            for product in [&mut layer.qkv, &mut layer.output, &mut layer.gate_up, &mut layer.down]
            {
                builder.adapt(product, adapter);
            }
        }
        Self { parameters: builder.parameters, ..layout }
    }

    /// How a frozen parameter of the base is kept: the linear layers as `storage` says, the tables
    /// at least in bfloat16, norms and biases, which are small, exact.
    pub fn storage_of(&self, parameter: usize, storage: Storage) -> Storage {
        let table = parameter == self.embedding || parameter == self.head;
        match storage {
            _ if self.parameters[parameter].tensors[0].shape.len() == 1 => Storage::Exact,
            Storage::Int8 | Storage::Nf4 if table => Storage::Bf16,
            storage => storage,
        }
    }

    /// All tensors of the model folder, in order.
    pub fn tensors(&self) -> impl Iterator<Item = &Tensor> {
        self.parameters[..self.base].iter().flat_map(|p| &p.tensors)
    }

    /// All tensors of the adapters, in order.
    pub fn adapter_tensors(&self) -> impl Iterator<Item = &Tensor> {
        self.parameters[self.base..].iter().flat_map(|p| &p.tensors)
    }

    /// The products of all layers that have adapters, and these.
    pub fn low_ranks(&self) -> impl Iterator<Item = (&Product, &LowRank)> {
        let products = self.layers.iter().flat_map(LayerIds::products);
        products.flat_map(|product| product.adapted.iter().map(move |pair| (product, pair)))
    }
}
