//! The trait.

use crate::{
    Activation, AttentionRow, AttentionShape, Choice, Distributions, Divergence,
    DivergenceGradient, Element, HeadNorms, HeadScores, HostTensor, Mix, Norm, Past, Profile,
    Storage, Update,
};
use std::ops::Range;

/// What the result of a product becomes.
#[derive(Debug)]
pub enum Out<'a, A: ?Sized> {
    /// `out = result`.
    Set,
    /// `out += result`.
    Add,
    /// `out = other + result`: a residual connection, without a pass of its own.
    Plus(&'a A),
}

impl<A: ?Sized> Clone for Out<'_, A> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<A: ?Sized> Copy for Out<'_, A> {}

/// Who computes. `n` is the number of packed tokens (or scored rows); every activation is row-major
/// `[n, width]`.
///
/// Buffers are opaque: nothing above this trait may assume that one is a slice of host memory.
/// Buffers may be longer than an operation needs; the leading part is used, and what lies behind it
/// stays as it is. Shapes are checked by the model code when it is built, so a wrong length here is
/// a bug, and an implementation panics on it.
///
/// Gradients of weights are always *added* to, so that micro-batches, and a prompt's continuations,
/// accumulate.
pub trait Backend: Send + Sync {
    /// The number type in which weights, gradients and optimizer states are exact.
    type Element: Element;
    /// Hidden states and their gradients, perhaps in a narrower type.
    type Activation: Send + Sync;
    /// A trainable tensor (with its compute copy where products run in a narrower type), or a
    /// frozen one in its [`Storage`].
    type Weight: Send + Sync;
    /// What stays in full precision whatever the activations are: gradients of weights, optimizer
    /// states, log-sum-exps, rotary angles, sums over several passes.
    type Accumulator: Send + Sync;
    /// Logits kept for a backward pass.
    type Logits: Send + Sync;

    /// Bytes of a number of an activation.
    const ACTIVATION_BYTES: usize;
    /// Bytes of a number of a weight that learns, with its compute copy; of a frozen one see
    /// [`Storage::bytes`]. (A number of an accumulator is an [`Backend::Element`].)
    const WEIGHT_BYTES: usize;

    /// An activation of `len` numbers with unspecified (but initialised) contents, taken from a
    /// pool where possible.
    fn activation(&self, len: usize) -> Self::Activation;
    /// An activation holding `values`.
    fn activation_from(&self, values: &[f64]) -> Self::Activation;
    /// The first `len` numbers.
    fn read_activation(&self, activation: &Self::Activation, len: usize) -> Vec<Self::Element>;

    /// A weight tensor made of `parts` laid end to end.
    fn weight(&self, parts: &[HostTensor]) -> Self::Weight;
    /// The same for a weight that never learns; [`Backend::update`] and [`Backend::write_weight`]
    /// are not for it.
    fn frozen_weight(&self, parts: &[HostTensor], storage: Storage) -> Self::Weight;
    /// Overwrites a weight with exact values (resuming, tests).
    fn write_weight(&self, weight: &mut Self::Weight, values: &[Self::Element]);
    /// The values of a range of a weight: exact, or what a frozen one stands for.
    fn read_weight(&self, weight: &Self::Weight, range: Range<usize>) -> Vec<Self::Element>;

    /// An accumulator of zeros.
    fn accumulator(&self, len: usize) -> Self::Accumulator;
    /// Overwrites an accumulator (resuming).
    fn write_accumulator(&self, accumulator: &mut Self::Accumulator, values: &[Self::Element]);
    /// The values of a range.
    fn read_accumulator(
        &self,
        accumulator: &Self::Accumulator,
        range: Range<usize>,
    ) -> Vec<Self::Element>;
    /// Sets all to zero.
    fn clear(&self, accumulator: &mut Self::Accumulator);
    /// `Σ x²` over a range, summed in a fixed order; not finite if any number is not.
    fn sum_of_squares(&self, accumulator: &Self::Accumulator, range: Range<usize>) -> f64;
    /// One optimizer step: `weight` and `states` change, `gradient · gradient_scale` is the
    /// gradient.
    fn update(
        &self,
        weight: &mut Self::Weight,
        gradient: &Self::Accumulator,
        states: &mut [Self::Accumulator],
        rule: &Update,
        gradient_scale: f64,
    );

    /// A running mean of a weight over steps: `average = decay·average + (1 - decay)·weight`.
    fn average(&self, weight: &Self::Weight, decay: f64, average: &mut Self::Accumulator);

    /// `out[t] = scale · E[tokens[t]]`, mixed where `mix` says so. `table`: `[vocabulary, width]`,
    /// `out`: `[n, width]`.
    fn embed(
        &self,
        table: &Self::Weight,
        width: usize,
        tokens: &[u32],
        mix: Option<Mix>,
        scale: f64,
        out: &mut Self::Activation,
    );
    /// `d_table[tokens[t]] += scale · d_out[t]` (never used with a mix: IFT's table is a constant).
    fn embed_backward(
        &self,
        width: usize,
        tokens: &[u32],
        scale: f64,
        d_out: &Self::Activation,
        d_table: &mut Self::Accumulator,
    );

    /// RMS norm of `n` rows.
    fn norm(
        &self,
        n: usize,
        x: &Self::Activation,
        weight: &Self::Weight,
        norm: Norm,
        out: &mut Self::Activation,
    );
    /// Adds the norm's input gradient to `d_x` (which already holds the residual's), and the
    /// weight's to `d_weight`.
    fn norm_backward(
        &self,
        n: usize,
        x: &Self::Activation,
        weight: &Self::Weight,
        norm: Norm,
        d_out: &Self::Activation,
        d_x: &mut Self::Activation,
        d_weight: Option<&mut Self::Accumulator>,
    );

    /// `out = x·Wᵀ + b`, or what `to` says. `x`: `[n, inputs]`, `weight`: `[outputs, inputs]`,
    /// `bias`: `[outputs]`, `out`: `[n, outputs]`.
    fn linear(
        &self,
        n: usize,
        inputs: usize,
        outputs: usize,
        x: &Self::Activation,
        weight: &Self::Weight,
        bias: Option<&Self::Weight>,
        to: Out<Self::Activation>,
        out: &mut Self::Activation,
    );
    /// `d_x = d_out·W`, or what `to` says.
    fn linear_backward_input(
        &self,
        n: usize,
        inputs: usize,
        outputs: usize,
        d_out: &Self::Activation,
        weight: &Self::Weight,
        to: Out<Self::Activation>,
        d_x: &mut Self::Activation,
    );
    /// `d_weight += d_outᵀ·x`, `d_bias += Σ_t d_out[t]`.
    fn linear_backward_weight(
        &self,
        n: usize,
        inputs: usize,
        outputs: usize,
        x: &Self::Activation,
        d_out: &Self::Activation,
        d_weight: &mut Self::Accumulator,
        d_bias: Option<&mut Self::Accumulator>,
    );

    /// `out[t] = x[t][columns]`. `x`: `[n, width]`, `out`: `[n, columns.len()]`.
    fn take_columns(
        &self,
        n: usize,
        width: usize,
        x: &Self::Activation,
        columns: Range<usize>,
        out: &mut Self::Activation,
    );
    /// `out[t][columns] += scale·x[t]`. `x`: `[n, columns.len()]`, `out`: `[n, width]`.
    fn add_columns(
        &self,
        n: usize,
        width: usize,
        x: &Self::Activation,
        scale: f64,
        columns: Range<usize>,
        out: &mut Self::Activation,
    );
    /// `x[t][columns] *= factors`. `x`: `[n, width]`, `factors`: `[columns.len()]`.
    fn scale_columns(
        &self,
        n: usize,
        width: usize,
        factors: &[f64],
        columns: Range<usize>,
        x: &mut Self::Activation,
    );
    /// `sums[c] += Σ_t x[t][columns][c]·y[t][columns][c]`. `x`, `y`: `[n, width]`, `sums`:
    /// `[columns.len()]`.
    fn column_products(
        &self,
        n: usize,
        width: usize,
        x: &Self::Activation,
        y: &Self::Activation,
        columns: Range<usize>,
        sums: &mut Self::Accumulator,
    );
    /// Dropout: `out[t][c]` is 0 where [`ift_random::uniform`] of `(streams[t], c)` is below `rate`,
    /// else `x[t][c] / (1 - rate)`. The same operation is its own backward pass.
    fn dropout(
        &self,
        n: usize,
        width: usize,
        x: &Self::Activation,
        rate: f64,
        streams: &[u64],
        out: &mut Self::Activation,
    );
    /// `x[t][c] += magnitudes[t]·(2·u - 1)` with `u` from [`ift_random::uniform`] of `(streams[t], c)`
    /// (`NEFTune`, arXiv 2310.05914).
    fn add_noise(
        &self,
        n: usize,
        width: usize,
        magnitudes: &[f64],
        streams: &[u64],
        x: &mut Self::Activation,
    );
    /// Norms of the rows `W[o] + scale·(B·A)[o - rows.start]` of a weight with a low-rank sum
    /// (`DoRA`, arXiv 2402.09353). `weight`: `[…, inputs]` of which `rows` are meant, `a`:
    /// `[rank, inputs]`, `b`: `[rows.len(), rank]`.
    fn adapted_norms(
        &self,
        inputs: usize,
        rank: usize,
        weight: &Self::Weight,
        rows: Range<usize>,
        a: &Self::Weight,
        b: &Self::Weight,
        scale: f64,
    ) -> Vec<f64>;

    /// Cosines then sines of the rotary angles: `[n, head_dim]`, first `head_dim/2` numbers
    /// `cos(p·f_i)`, then `sin(p·f_i)`, for position `p` and `inverse_frequencies` `f`
    /// (`[head_dim/2]`). Angles are computed in f64.
    fn rotary(&self, positions: &[u32], inverse_frequencies: &[f64]) -> Self::Accumulator;
    /// Splits the fused projection `[n, (heads + 2·kv_heads)·head_dim]` into queries `[n,
    /// heads·head_dim]` and keys and values `[n, 2·kv_heads·head_dim]`; queries and keys are
    /// normalised per head where `norms` is given, then rotated: with `(a, b)` the halves of a
    /// head, `a' = a·cos - b·sin`, `b' = b·cos + a·sin`.
    fn split_heads(
        &self,
        n: usize,
        shape: &AttentionShape,
        qkv: &Self::Activation,
        rotary: &Self::Accumulator,
        norms: Option<HeadNorms<Self::Weight>>,
        q: &mut Self::Activation,
        kv: &mut Self::Activation,
    );
    /// Backward of [`Backend::split_heads`]: sets `d_qkv`, adds to the norms' gradients. `qkv` (the
    /// forward's input) is read only when `norms` is given.
    fn split_heads_backward(
        &self,
        n: usize,
        shape: &AttentionShape,
        qkv: Option<&Self::Activation>,
        rotary: &Self::Accumulator,
        norms: Option<HeadNorms<Self::Weight>>,
        d_q: &Self::Activation,
        d_kv: &Self::Activation,
        d_qkv: &mut Self::Activation,
        d_norms: Option<(&mut Self::Accumulator, &mut Self::Accumulator)>,
    );

    /// Causal softmax attention of every row over its past and itself. `out`: `[n,
    /// heads·head_dim]`; `lse`: `[n, heads]`, the log-sum-exp of each query's scaled scores.
    fn attention(
        &self,
        shape: &AttentionShape,
        rows: &[AttentionRow],
        q: &Self::Activation,
        kv: &Self::Activation,
        past: Option<Past<Self::Activation>>,
        out: &mut Self::Activation,
        lse: &mut Self::Accumulator,
    );
    /// Sets `d_q` and `d_kv` for every token of `rows`; adds to `d_past` (`[past tokens,
    /// 2·kv_heads·head_dim]`).
    fn attention_backward(
        &self,
        shape: &AttentionShape,
        rows: &[AttentionRow],
        q: &Self::Activation,
        kv: &Self::Activation,
        past: Option<Past<Self::Activation>>,
        out: &Self::Activation,
        lse: &Self::Accumulator,
        d_out: &Self::Activation,
        d_q: &mut Self::Activation,
        d_kv: &mut Self::Activation,
        d_past: Option<&mut Self::Accumulator>,
    );

    /// `out = act(gate) ⊙ up`. `gate_up`: `[n, 2·width]`, gate then up; `out`: `[n, width]`.
    fn gated(
        &self,
        n: usize,
        width: usize,
        activation: Activation,
        gate_up: &Self::Activation,
        out: &mut Self::Activation,
    );
    /// Sets `d_gate_up`.
    fn gated_backward(
        &self,
        n: usize,
        width: usize,
        activation: Activation,
        gate_up: &Self::Activation,
        d_out: &Self::Activation,
        d_gate_up: &mut Self::Activation,
    );

    /// `out[out_start + i] = x[index[i]]`, rows of `width`.
    fn gather(
        &self,
        width: usize,
        x: &Self::Activation,
        index: &[usize],
        out: &mut Self::Activation,
        out_start: usize,
    );
    /// `out[index[i]] += x[x_start + i]`, rows of `width`; `index` has no repeats.
    fn scatter_add(
        &self,
        width: usize,
        x: &Self::Activation,
        x_start: usize,
        index: &[usize],
        out: &mut Self::Activation,
    );
    /// `x[..len] = 0`.
    fn zero(&self, len: usize, x: &mut Self::Activation);
    /// `out[..len] += x[..len]`.
    fn add(&self, len: usize, x: &Self::Accumulator, out: &mut Self::Activation);

    /// Log-probabilities of `targets` (`[n]`) under `softmax(x·Wᵀ)`, `x`: `[n, width]`, `weight`:
    /// `[vocabulary, width]`, and the chosen tokens. The logits exist only in blocks; with
    /// `keep` those for the backward pass are returned too, if the backend finds them small
    /// enough.
    fn head(
        &self,
        width: usize,
        vocabulary: usize,
        x: &Self::Activation,
        weight: &Self::Weight,
        targets: &[u32],
        choice: Choice,
        keep: bool,
    ) -> (HeadScores, Option<Self::Logits>);
    /// For each of the `n` positions, as many as there are normalisers, the divergence between two
    /// heads' distributions over the same vocabulary.
    fn divergence(
        &self,
        vocabulary: usize,
        policy: Distributions<Self::Activation, Self::Weight>,
        reference: Distributions<Self::Activation, Self::Weight>,
        kind: Divergence,
    ) -> Vec<f64>;
    /// Backward of [`Backend::head`] for `Σ_t d_log_probs[t]·log_prob[t]`: with `p` the softmax and
    /// `g[t] = d_log_probs[t]·(onehot(target) - p)`, sets `d_x = g·W` and adds `gᵀ·x` to
    /// `d_weight`. `logits` are those that the forward pass kept.
    ///
    /// `divergence` adds `Σ_t slopes[t]·KL[t]` to what is differentiated: to `g[t]` it adds
    /// `slopes[t]·(p - r)` for [`Divergence::Forward`] and `slopes[t]·p·(log p - log r -
    /// KL[t])` for [`Divergence::Reverse`]; the reference is a constant.
    fn head_backward(
        &self,
        width: usize,
        vocabulary: usize,
        x: &Self::Activation,
        weight: &Self::Weight,
        targets: &[u32],
        log_normalizers: &[f64],
        logits: Option<Self::Logits>,
        d_log_probs: &[f64],
        divergence: Option<DivergenceGradient<Self::Activation, Self::Weight>>,
        d_x: &mut Self::Activation,
        d_weight: Option<&mut Self::Accumulator>,
    );
    /// The logits of `n` hidden states, `[n, vocabulary]` on the host: for generation, one row per
    /// sequence.
    fn logits(
        &self,
        n: usize,
        width: usize,
        vocabulary: usize,
        x: &Self::Activation,
        weight: &Self::Weight,
    ) -> Vec<f32>;

    /// Floating point operations a second that the arithmetic of products could reach if nothing
    /// else took time, measured now on all threads for a moment; `None` where the backend does
    /// not measure.
    fn peak(&self) -> Option<f64> {
        None
    }

    /// Time and work by kind of operation since the last call; empty where the backend does not
    /// measure.
    fn take_profile(&self) -> Profile {
        Profile::default()
    }
}
