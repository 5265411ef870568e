//! Which tensors a decoder has, by their Hugging Face names, and how they are laid together.
//!
//! Projections that read the same input form one product: queries, keys and values; gate and up. Their tensors lie end to
//! end in one parameter (rows are outputs, so concatenating the tensors concatenates the outputs), and every
//! [`Tensor`] says which part of it is its own.

use crate::Config;
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

/// Indices of one layer's parameters.
#[derive(Clone, Debug)]
pub(crate) struct LayerIds {
    pub attention_norm: usize,
    pub qkv: usize,
    pub qkv_bias: Option<usize>,
    pub head_norms: Option<(usize, usize)>,
    pub output: usize,
    pub output_bias: Option<usize>,
    pub mlp_norm: usize,
    pub gate_up: usize,
    pub gate_up_bias: Option<usize>,
    pub down: usize,
    pub down_bias: Option<usize>,
}

/// All parameters, and where each role's is.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    pub parameters: Vec<Parameter>,
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

    fn layer(&mut self, config: &Config, layer: usize) -> LayerIds {
        let prefix = format!("model.layers.{layer}");
        let (h, f) = (config.hidden, config.intermediate);
        let (q, kv) = (config.heads * config.head_dim, config.kv_heads * config.head_dim);
        let attention = |part: &str, kind: &str| format!("{prefix}.self_attn.{part}_proj.{kind}");
        let mlp = |part: &str, kind: &str| format!("{prefix}.mlp.{part}_proj.{kind}");
        let qkv = [("q", q), ("k", kv), ("v", kv)];
        let gate_up = [("gate", f), ("up", f)];
        LayerIds {
            attention_norm: self.add(&[(format!("{prefix}.input_layernorm.weight"), vec![h])]),
            qkv: self.add(&qkv.map(|(part, width)| (attention(part, "weight"), vec![width, h]))),
            qkv_bias: config
                .qkv_bias
                .then(|| self.add(&qkv.map(|(part, width)| (attention(part, "bias"), vec![width])))),
            head_norms: config.head_norms.then(|| {
                let norm =
                    |part: &str| [(format!("{prefix}.self_attn.{part}_norm.weight"), vec![config.head_dim])];
                (self.add(&norm("q")), self.add(&norm("k")))
            }),
            output: self.add(&[(attention("o", "weight"), vec![h, q])]),
            output_bias: config.output_bias.then(|| self.add(&[(attention("o", "bias"), vec![h])])),
            mlp_norm: self.add(&[(format!("{prefix}.post_attention_layernorm.weight"), vec![h])]),
            gate_up: self.add(&gate_up.map(|(part, width)| (mlp(part, "weight"), vec![width, h]))),
            gate_up_bias: config
                .mlp_bias
                .then(|| self.add(&gate_up.map(|(part, width)| (mlp(part, "bias"), vec![width])))),
            down: self.add(&[(mlp("down", "weight"), vec![h, f])]),
            down_bias: config.mlp_bias.then(|| self.add(&[(mlp("down", "bias"), vec![h])])),
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
        let head = if config.tied { embedding } else { builder.add(&[("lm_head.weight".to_owned(), table)]) };
        Self { parameters: builder.parameters, embedding, layers, final_norm, head }
    }

    /// All tensors, in order.
    pub fn tensors(&self) -> impl Iterator<Item = &Tensor> {
        self.parameters.iter().flat_map(|p| &p.tensors)
    }
}
