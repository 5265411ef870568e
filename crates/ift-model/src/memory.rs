//! How much memory a step needs: the formulas, so that a plan can be made before anything is allocated.

use crate::Config;
use crate::layout::Layout;

/// Numbers in all weights.
pub fn weight_count(config: &Config) -> usize {
    Layout::new(config).parameters.iter().map(|p| p.len).sum()
}

/// Numbers that a pass over one token keeps in one layer for its backward pass.
///
/// Everything kept: block input and middle `2·hidden`, queries and attention output `2·heads·head_dim`, keys and values
/// `2·kv_heads·head_dim`, log-sum-exp `heads`, gate and up `2·intermediate`; and the raw projection
/// `(heads + 2·kv_heads)·head_dim` where heads are normalised. With recompute: block input, keys and values.
fn kept_per_token_and_layer(config: &Config, recompute: bool) -> usize {
    let shape = config.attention(0);
    if recompute {
        return config.hidden + shape.kv_width();
    }
    let raw = if config.head_norms { shape.qkv_width() } else { 0 };
    2 * config.hidden + 2 * shape.q_width() + shape.kv_width() + shape.heads + 2 * config.intermediate + raw
}

/// Numbers that live at the widest moment of one block's backward pass, for one token, besides what is kept: the
/// gradient of the hidden states, the gated product or the normed input, its gradient, and the gradient of gate and up.
/// With recompute also one layer's inner activations.
fn working_per_token(config: &Config, recompute: bool) -> usize {
    let inner = if recompute {
        kept_per_token_and_layer(config, false) - kept_per_token_and_layer(config, true)
    } else {
        0
    };
    3 * config.hidden + 3 * config.intermediate + inner
}

/// Bytes that training needs at most, about: weights, gradients and `states` optimizer states of every parameter, the
/// activations of a micro-batch of `tokens` that are all scored (and, for methods of two passes, all continued), and the
/// head's block of logits. `element` is the size of a number.
pub fn training_bytes(
    config: &Config,
    element: usize,
    states: usize,
    tokens: usize,
    two_passes: bool,
    recompute: bool,
) -> usize {
    const LOGITS: usize = 32 << 20;
    let past = if two_passes { tokens } else { 0 };
    let numbers =
        weight_count(config) * (2 + states) + activation_count(config, tokens, past, tokens, recompute);
    numbers * element + LOGITS
}

/// Numbers kept and used by the backward pass of a micro-batch of `tokens`, of which `past_tokens` are continued by
/// others (their keys and values collect a gradient in every layer). The head adds `4·hidden` for each scored token and
/// a block of logits of bounded size.
fn activation_count(
    config: &Config,
    tokens: usize,
    past_tokens: usize,
    scored: usize,
    recompute: bool,
) -> usize {
    tokens
        * (config.layers() * kept_per_token_and_layer(config, recompute)
            + working_per_token(config, recompute))
        + past_tokens * config.layers() * config.attention(0).kv_width()
        + scored * 4 * config.hidden
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Keep, Model, PastOf, Sequences, random};
    use ift_backend::{NumberType, Reference};
    use std::sync::Arc;

    /// The formula against the buffers that a pass holds.
    #[test]
    fn a_pass_keeps_what_the_formula_says() {
        for family in ["llama", "qwen3"] {
            let folder = tempfile::tempdir().unwrap();
            let config = serde_json::json!({"model_type": family, "vocab_size": 30, "hidden_size": 12,
                "intermediate_size": 20, "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2,
                "head_dim": 6});
            let config = config.as_object().unwrap().clone();
            random::create(config, 0, NumberType::F32, folder.path()).unwrap();
            let model = Model::load(folder.path(), Arc::new(Reference)).unwrap();
            let mut sequences = Sequences::default();
            sequences.push(&[1, 2, 3, 4, 5, 6, 7]);
            for (keep, recompute) in [(Keep::Everything, false), (Keep::BlockInputs, true)] {
                let pass = model.forward(&sequences, None, &PastOf::Nothing, keep);
                let kept: usize = pass
                    .layers
                    .iter()
                    .map(|layer| {
                        let outer = [&layer.x, &layer.kv].into_iter().flatten().map(Vec::len).sum::<usize>();
                        let inner = layer.inner.iter().map(|i| {
                            let always = [&i.q, &i.attention, &i.lse, &i.middle, &i.gate_up];
                            always.map(Vec::len).iter().sum::<usize>() + i.qkv.as_ref().map_or(0, Vec::len)
                        });
                        outer + inner.sum::<usize>()
                    })
                    .sum();
                let formula = 7 * 3 * kept_per_token_and_layer(model.config(), recompute);
                assert_eq!(kept, formula, "{family} {keep:?}");
            }
        }
    }
}
