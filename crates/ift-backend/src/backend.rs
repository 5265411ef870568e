//! The trait that the model code is written over.

use crate::{
    Attention, AttentionSaved, BackendError, Buffers, Columns, Distributions, Divergence, Dropout,
    Embedding, Footprint, Gated, Head, HeadGradient, HeadNormStarts, HeadScores, HeadTargets,
    Heads, HostTensor, Linear, LinearStarts, LowRank, Norm, Out, PassInputs, Profile, RangeUpdate,
    RowMap, Slot, Storage, Weight,
};
use std::ops::Range;

type Result<T> = std::result::Result<T, BackendError>;

/// A device: the operations of a decoder on its [`Buffers`], each with its backward pass.
///
/// Every activation is row-major, `[tokens, width]`.
///
/// The model code checks shapes when it is built, so a wrong length here is a bug and an
/// implementation may panic on it. Running out of memory is not a bug: every operation that
/// allocates returns a `Result`.
///
/// # Errors
/// Methods that return a `Result` fail only if memory runs out. The methods `read_…` return none:
/// their copies for the host abort the process if there is no memory for them, so a caller should
/// read a large buffer in pieces.
///
/// # Gradients
/// Gradients of weights are always *added*, so that micro-batches, and the continuations of a
/// prompt, accumulate.
#[expect(clippy::missing_errors_doc, reason = "all methods have the one error named above")]
pub trait Backend: Buffers {
    /// Bytes per element and sizes of temporary buffers, for memory formulas.
    fn footprint(&self) -> Footprint;

    /// An activation of `len` elements with unspecified (but initialised) contents.
    fn activation(&self, len: usize) -> Result<Self::Activation>;
    /// An activation that holds `values`.
    fn activation_from(&self, values: &[f64]) -> Result<Self::Activation>;
    /// The first `len` elements.
    fn read_activation(&self, activation: &Self::Activation, len: usize) -> Vec<Self::Element>;
    /// `x[..len] = 0`.
    fn zero(&self, len: usize, x: &mut Self::Activation);

    /// An accumulator of zeros.
    fn accumulator(&self, len: usize) -> Result<Self::Accumulator>;
    /// Overwrites the elements from `start` on.
    fn write_accumulator(
        &self,
        accumulator: &mut Self::Accumulator,
        start: usize,
        values: &[Self::Element],
    );
    /// The elements of a range.
    fn read_accumulator(
        &self,
        accumulator: &Self::Accumulator,
        range: Range<usize>,
    ) -> Vec<Self::Element>;
    /// Sets all elements to zero.
    fn clear(&self, accumulator: &mut Self::Accumulator);
    /// `Σ x²` of each range, in one call; each summed in a fixed order, and not finite if any
    /// element is not.
    fn sums_of_squares(&self, accumulator: &Self::Accumulator, ranges: &[Range<usize>])
    -> Vec<f64>;

    /// `len` trainable elements, all zero.
    fn parameters(&self, len: usize) -> Result<Self::Parameters>;
    /// Overwrites the elements from `start` on with the converted elements of a tensor, and renews
    /// their compute copy.
    fn write_parameters(&self, parameters: &mut Self::Parameters, start: usize, values: HostTensor);
    /// The exact elements of a range.
    fn read_parameters(
        &self,
        parameters: &Self::Parameters,
        range: Range<usize>,
    ) -> Vec<Self::Element>;
    /// One optimizer step: each range is updated by its rule, in which the gradient is
    /// `gradient · gradient_scale`. `parameters`, `gradient` and each of `states` have the same
    /// layout.
    fn update(
        &self,
        parameters: &mut Self::Parameters,
        gradient: &Self::Accumulator,
        states: &mut [Self::Accumulator],
        updates: &[RangeUpdate],
        gradient_scale: f64,
    );
    /// An exponential moving average of all parameters over steps:
    /// `average = decay·average + (1 - decay)·parameters`.
    fn average(&self, parameters: &Self::Parameters, decay: f64, average: &mut Self::Accumulator);

    /// A weight that is never trained, made of `parts`, concatenated.
    fn frozen(&self, parts: &[HostTensor], storage: Storage) -> Result<Self::Frozen>;
    /// The elements of a range, as the storage keeps them.
    fn read_frozen(&self, frozen: &Self::Frozen, range: Range<usize>) -> Vec<Self::Element>;

    /// Uploads what a pass needs of the host, once per pass.
    ///
    /// # Panics
    /// If the segments do not follow each other and cover the tokens exactly, or a list has another
    /// length than the tokens: what operations rely on is checked here.
    fn upload(&self, inputs: &PassInputs<Self::Scores>) -> Result<Self::Inputs>;

    /// `out[t] = scale · E[token t]`, where a look-ahead of the inputs replaces `E[token t]`; see
    /// [`crate::Residual`].
    /// `table`: `[vocabulary, width]`, `out`: `[tokens, width]`.
    ///
    /// # Panics
    /// If a token id is not below the vocabulary's size.
    fn embed(
        &self,
        embedding: Embedding,
        inputs: &Self::Inputs,
        table: Weight<Self>,
        out: &mut Self::Activation,
    ) -> Result<()>;
    /// `d_table[token t] += scale · d_out[t]`. Never used with mixed embeddings: IFT's table is a
    /// constant at the inputs.
    ///
    /// # Panics
    /// If a token id is not below the vocabulary's size.
    fn embed_backward(
        &self,
        embedding: Embedding,
        inputs: &Self::Inputs,
        d_out: &Self::Activation,
        d_table: Slot<Self::Accumulator>,
    ) -> Result<()>;
    /// `x[t][c] += noise[t]·(2·u - 1)` with `u` from [`ift_random::uniform`] of token `t`'s stream
    /// for the part and `c` (`NEFTune`, arXiv 2310.05914).
    fn add_noise(&self, width: usize, part: u64, inputs: &Self::Inputs, x: &mut Self::Activation);

    /// RMS norm of `rows` rows.
    fn norm(
        &self,
        rows: usize,
        norm: Norm,
        x: &Self::Activation,
        weight: Weight<Self>,
        out: &mut Self::Activation,
    ) -> Result<()>;
    /// Adds the norm's input gradient to `d_x` (which already holds the residual's), and the
    /// weight's to `d_weight`.
    fn norm_backward(
        &self,
        rows: usize,
        norm: Norm,
        x: &Self::Activation,
        weight: Weight<Self>,
        d_out: &Self::Activation,
        d_x: &mut Self::Activation,
        d_weight: Option<Slot<Self::Accumulator>>,
    ) -> Result<()>;

    /// `out = x·Wᵀ + b`, or what `to` says. `x`: `[tokens, inputs]`, `weight`:
    /// `[outputs, inputs]`, `bias`: `[outputs]`, `out`: `[tokens, outputs]`.
    fn linear(
        &self,
        linear: Linear,
        x: &Self::Activation,
        weight: Weight<Self>,
        bias: Option<Weight<Self>>,
        to: Out<Self::Activation>,
        out: &mut Self::Activation,
    ) -> Result<()>;
    /// `d_x = d_out·W`, or what `to` says.
    fn linear_backward_input(
        &self,
        linear: Linear,
        d_out: &Self::Activation,
        weight: Weight<Self>,
        to: Out<Self::Activation>,
        d_x: &mut Self::Activation,
    ) -> Result<()>;
    /// Adds `d_outᵀ·x` to the weight's gradient and `Σ_t d_out[t]` to the bias's, where they have
    /// one.
    fn linear_backward_weight(
        &self,
        linear: Linear,
        x: &Self::Activation,
        d_out: &Self::Activation,
        starts: LinearStarts,
        gradients: &mut Self::Accumulator,
    ) -> Result<()>;

    /// `out[t] = x[t][columns]`. `x`: `[tokens, width]`, `out`: `[tokens, columns.len()]`.
    fn take_columns(&self, columns: &Columns, x: &Self::Activation, out: &mut Self::Activation);
    /// `out[t][columns] += scale·x[t]`. `x`: `[tokens, columns.len()]`, `out`: `[tokens, width]`.
    fn add_columns(
        &self,
        columns: &Columns,
        x: &Self::Activation,
        scale: f64,
        out: &mut Self::Activation,
    );
    /// `x[t][columns] *= factors`. `x`: `[tokens, width]`, `factors`: `[columns.len()]`.
    fn scale_columns(&self, columns: &Columns, factors: &[f64], x: &mut Self::Activation);
    /// `sums[c] += Σ_t x[t][columns][c]·y[t][columns][c]`. `x`, `y`: `[tokens, width]`, `sums`:
    /// `[columns.len()]`.
    fn column_products(
        &self,
        columns: &Columns,
        x: &Self::Activation,
        y: &Self::Activation,
        sums: Slot<Self::Accumulator>,
    );
    /// `out[t][c]` is 0 where [`ift_random::uniform`] of token `t`'s stream for the part and `c` is
    /// below the rate, else `x[t][c] / (1 - rate)`. The same operation is its own backward pass.
    fn dropout(
        &self,
        dropout: Dropout,
        inputs: &Self::Inputs,
        x: &Self::Activation,
        out: &mut Self::Activation,
    );
    /// Norms of the rows `W[o] + scale·(B·A)[o - rows.start]` of a weight with a low-rank sum
    /// (`DoRA`, arXiv 2402.09353). `weight`: `[outputs, inputs]` with `rows` among the outputs,
    /// `a`: `[rank, inputs]`, `b`: `[rows.len(), rank]`.
    fn adapted_norms(
        &self,
        low_rank: &LowRank,
        weight: Weight<Self>,
        a: Weight<Self>,
        b: Weight<Self>,
    ) -> Result<Vec<f64>>;

    /// Cosines then sines of the rotary angles: `[tokens, 2·frequencies]`, first `cos(p·f_i)`, then
    /// `sin(p·f_i)`, for each token's position `p` and the inverse frequencies `f`. Angles are
    /// computed in f64.
    fn rotary(
        &self,
        inputs: &Self::Inputs,
        inverse_frequencies: &[f64],
    ) -> Result<Self::Accumulator>;
    /// Splits the fused projection `[tokens, (heads + 2·kv_heads)·head_dim]` into queries
    /// `[tokens, heads·head_dim]` and keys and values `[tokens, 2·kv_heads·head_dim]`. Queries and
    /// keys are normalised per head where there are norms, then rotated where there are angles:
    /// with `(a, b)` the halves of a head, `a' = a·cos - b·sin`, `b' = b·cos + a·sin`.
    fn split_heads(
        &self,
        heads: &Heads<Self>,
        qkv: &Self::Activation,
        q: &mut Self::Activation,
        kv: &mut Self::Activation,
    ) -> Result<()>;
    /// Backward of [`Backend::split_heads`]: sets `d_qkv`, adds to the norms' gradients. `qkv` (the
    /// forward's input) is read only where there are norms.
    fn split_heads_backward(
        &self,
        heads: &Heads<Self>,
        qkv: Option<&Self::Activation>,
        d_q: &Self::Activation,
        d_kv: &Self::Activation,
        d_qkv: &mut Self::Activation,
        d_norms: Option<(HeadNormStarts, &mut Self::Accumulator)>,
    ) -> Result<()>;

    /// Causal softmax attention of every segment over its past and itself. `past`:
    /// `[past tokens, 2·kv_heads·head_dim]`, rotated keys then values; `out`:
    /// `[tokens, heads·head_dim]`; `lse`: `[tokens, heads]`, the log-sum-exp of each query's scaled
    /// scores.
    fn attention(
        &self,
        attention: &Attention,
        inputs: &Self::Inputs,
        q: &Self::Activation,
        kv: &Self::Activation,
        past: Option<&Self::Activation>,
        out: &mut Self::Activation,
        lse: &mut Self::Accumulator,
    ) -> Result<()>;
    /// Sets `d_q` and `d_kv` for every token; adds to `d_past`
    /// (`[past tokens, 2·kv_heads·head_dim]`). Not for a past in blocks.
    fn attention_backward(
        &self,
        attention: &Attention,
        inputs: &Self::Inputs,
        saved: AttentionSaved<Self>,
        d_out: &Self::Activation,
        d_q: &mut Self::Activation,
        d_kv: &mut Self::Activation,
        d_past: Option<&mut Self::Accumulator>,
    ) -> Result<()>;

    /// `out = act(gate) ⊙ up`. `gate_up`: `[tokens, 2·width]`, gate then up; `out`:
    /// `[tokens, width]`.
    fn gated(&self, gated: Gated, gate_up: &Self::Activation, out: &mut Self::Activation);
    /// Sets `d_gate_up`.
    fn gated_backward(
        &self,
        gated: Gated,
        gate_up: &Self::Activation,
        d_out: &Self::Activation,
        d_gate_up: &mut Self::Activation,
    );

    /// `out[to] = x[from]` for each pair of the map, rows of `width`.
    fn copy_rows(
        &self,
        width: usize,
        map: &RowMap,
        x: &Self::Activation,
        out: &mut Self::Activation,
    );
    /// `out[to] += x[from]` for each pair of the map, rows of `width`.
    fn add_rows(
        &self,
        width: usize,
        map: &RowMap,
        x: &Self::Activation,
        out: &mut Self::Activation,
    );
    /// `out[..len] += x[..len]`.
    fn add(&self, len: usize, x: &Self::Accumulator, out: &mut Self::Activation);

    /// Log-probabilities of the targets under `softmax(x·Wᵀ)`, and the selected tokens. `x`:
    /// `[targets, width]`, `weight`: `[vocabulary, width]`. Logits exist only in blocks; the scores
    /// keep them where the targets ask for it and they are small enough.
    fn head(
        &self,
        head: Head,
        x: &Self::Activation,
        weight: Weight<Self>,
        targets: &HeadTargets,
    ) -> Result<Self::Scores>;
    /// Copies the scores to the host: one read for each scored pass of a micro-batch.
    fn read_scores(&self, scores: &Self::Scores) -> HeadScores;
    /// At each scored position the divergence between a policy, whose scores these are and where
    /// the values are kept, and a reference over the same vocabulary.
    fn divergence(
        &self,
        kind: Divergence,
        head: Head,
        x: &Self::Activation,
        weight: Weight<Self>,
        scores: &mut Self::Scores,
        reference: Distributions<Self>,
    ) -> Result<()>;
    /// Backward of [`Backend::head`] for `Σ_t d_log_probs[t]·log_prob[t]`: with `p` the softmax and
    /// `g[t] = d_log_probs[t]·(onehot(target) - p)`, sets `d_x = g·W` and adds `gᵀ·x` to
    /// `d_weight`.
    ///
    /// A divergence adds `Σ_t d_divergences[t]·KL[t]` to what is differentiated: to `g[t]` it adds
    /// `d_divergences[t]·(p - r)` for [`Divergence::Forward`] and
    /// `d_divergences[t]·p·(log p - log r - KL[t])` for [`Divergence::Reverse`], with the `KL` that
    /// [`Backend::divergence`] kept in the scores; the reference is a constant.
    fn head_backward(
        &self,
        head: Head,
        x: &Self::Activation,
        weight: Weight<Self>,
        scores: Self::Scores,
        gradient: &HeadGradient<Self>,
        d_x: &mut Self::Activation,
        d_weight: Option<Slot<Self::Accumulator>>,
    ) -> Result<()>;
    /// The logits of `n` hidden states, `[n, vocabulary]` on the host: for generation, one row per
    /// sequence.
    fn logits(
        &self,
        head: Head,
        n: usize,
        x: &Self::Activation,
        weight: Weight<Self>,
    ) -> Result<Vec<f32>>;

    /// Floating point operations a second that the arithmetic of products could reach if nothing
    /// else took time, measured now on all threads for a moment; `None` where the backend does not
    /// measure.
    fn peak(&self) -> Option<f64> {
        None
    }

    /// Time and work by kind of operation since the last call; empty where the backend does not
    /// measure.
    fn take_profile(&self) -> Profile {
        Profile::default()
    }
}
