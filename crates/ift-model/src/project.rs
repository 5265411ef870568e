//! A linear layer, plain or adapted; forward and backward.
//!
//! With `u` the input after dropout (`x` itself without), `A_k`, `B_k` the adapter of the tensor
//! whose outputs are the columns `k` of a product with weight `W`:
//!
//! ```text
//! LoRA:  out = x·Wᵀ + b,  out_k += scale·u·A_kᵀ·B_kᵀ
//! DoRA:  V = u·Wᵀ,        V_k += scale·u·A_kᵀ·B_kᵀ,        out = V ⊙ m/‖W + scale·B·A‖ + (x - u)·Wᵀ + b
//! ```
//! where `m` is the magnitude of a row and the factor is 1 for tensors that are not adapted. The
//! row's norm is a constant of the gradient (`DoRA`, section 4.3). `(x - u)·Wᵀ` is what PEFT
//! computes too: its adapter adds `V ⊙ m/‖…‖ - u·Wᵀ` to the base's `x·Wᵀ`. What is cheap or would
//! be large is computed again in the backward pass.
//!
//! The tensors of a product share their dropped inputs; each product draws its own.

use crate::layout::{LowRank, Product};
use crate::load::{Adapted, RowScale};
use crate::{Gradients, Model, Sequences};
use ift_backend::{Backend, Out};

/// One linear layer of a pass.
struct Projection<'a, B: Backend> {
    model: &'a Model<B>,
    sequences: &'a Sequences,
    product: &'a Product,
    /// Tokens.
    n: usize,
}

/// `x·Wᵀ (+ bias)` and what adapters add, plus a residual: a fresh `[n, outputs]`.
pub(crate) fn forward<B: Backend>(
    model: &Model<B>,
    sequences: &Sequences,
    product: &Product,
    x: &B::Activation,
    residual: Option<&B::Activation>,
) -> B::Activation {
    let layer = Projection { model, sequences, product, n: sequences.tokens.len() };
    match layer.adapted() {
        Some(adapted) if adapted.dora => layer.forward_dora(adapted, x, residual),
        adapted => {
            let mut out = layer.plain(x, product.bias, residual.map_or(Out::Set, Out::Plus));
            if let Some(adapted) = adapted {
                let dropped = layer.dropped(adapted, x);
                layer.add_low_ranks(adapted, dropped.as_ref().unwrap_or(x), &mut out);
            }
            out
        }
    }
}

/// Gradients of [`forward`]: the input's, fresh, and those of what learns added.
pub(crate) fn backward<B: Backend>(
    model: &Model<B>,
    sequences: &Sequences,
    product: &Product,
    x: &B::Activation,
    d_out: &B::Activation,
    gradients: &mut Gradients<B>,
) -> B::Activation {
    let layer = Projection { model, sequences, product, n: sequences.tokens.len() };
    layer.weight_gradient(x, d_out, gradients);
    match layer.adapted() {
        None => layer.input_gradient(d_out, Out::Set),
        Some(adapted) => layer.backward_adapted(adapted, x, d_out, gradients),
    }
}

impl<'a, B: Backend> Projection<'a, B> {
    fn backend(&self) -> &'a B {
        self.model.backend()
    }

    /// The adapters, where the layer has some and they are on.
    fn adapted(&self) -> Option<&'a Adapted> {
        let adapted = self.model.adapted.as_ref();
        adapted.filter(|_| !self.sequences.adapters_off && !self.product.adapted.is_empty())
    }

    /// `x·Wᵀ (+ bias)`.
    fn plain(
        &self,
        x: &B::Activation,
        bias: Option<usize>,
        to: Out<B::Activation>,
    ) -> B::Activation {
        let Product { weight, inputs, outputs, .. } = *self.product;
        let weights = &self.model.weights;
        let bias = bias.map(|bias| &weights[bias]);
        let mut out = self.backend().activation(self.n * outputs);
        self.backend().linear(self.n, inputs, outputs, x, &weights[weight], bias, to, &mut out);
        out
    }

    /// `d_out·W`.
    fn input_gradient(&self, d_out: &B::Activation, to: Out<B::Activation>) -> B::Activation {
        let Product { weight, inputs, outputs, .. } = *self.product;
        let mut d_x = self.backend().activation(self.n * inputs);
        let weight = &self.model.weights[weight];
        self.backend().linear_backward_input(self.n, inputs, outputs, d_out, weight, to, &mut d_x);
        d_x
    }

    /// The gradients of the product's own weight and bias.
    fn weight_gradient(
        &self,
        x: &B::Activation,
        d_out: &B::Activation,
        gradients: &mut Gradients<B>,
    ) {
        let Product { weight, bias, inputs, outputs, .. } = *self.product;
        // The bias's gradient is taken out while both are borrowed, and put back.
        let mut d_bias = bias.and_then(|b| gradients.accumulators[b].take());
        if let Some(d_weight) = gradients.of(weight) {
            let d_bias = d_bias.as_mut();
            self.backend()
                .linear_backward_weight(self.n, inputs, outputs, x, d_out, d_weight, d_bias);
        }
        if let Some(b) = bias {
            gradients.accumulators[b] = d_bias;
        }
    }

    /// The input after dropout, where there is any.
    fn dropped(&self, adapted: &Adapted, x: &B::Activation) -> Option<B::Activation> {
        let drops = adapted.dropout > 0.0 && !self.sequences.streams.is_empty();
        drops.then(|| self.mask(adapted, x))
    }

    /// Drops what dropout drops of `[n, inputs]` numbers: inputs, or their gradient.
    fn mask(&self, adapted: &Adapted, x: &B::Activation) -> B::Activation {
        let streams = self.sequences.streams_of(self.product.weight as u64);
        let mut out = self.backend().activation(self.n * self.product.inputs);
        self.backend().dropout(self.n, self.product.inputs, x, adapted.dropout, &streams, &mut out);
        out
    }

    /// `out_k += scale·u·A_kᵀ·B_kᵀ` for all adapters.
    fn add_low_ranks(&self, adapted: &Adapted, u: &B::Activation, out: &mut B::Activation) {
        let (backend, n, rank) = (self.backend(), self.n, adapted.rank);
        for pair in &self.product.adapted {
            let width = pair.columns.len();
            let inner = self.inner(adapted, pair, u);
            let mut sum = backend.activation(n * width);
            backend.linear(
                n,
                rank,
                width,
                &inner,
                &self.model.weights[pair.b],
                None,
                Out::Set,
                &mut sum,
            );
            backend.add_columns(
                n,
                self.product.outputs,
                &sum,
                adapted.scale,
                pair.columns.clone(),
                out,
            );
        }
    }

    /// `[n, rank]`: `u·Aᵀ`.
    fn inner(&self, adapted: &Adapted, pair: &LowRank, u: &B::Activation) -> B::Activation {
        let (inputs, rank) = (self.product.inputs, adapted.rank);
        let mut inner = self.backend().activation(self.n * rank);
        let a = &self.model.weights[pair.a];
        self.backend().linear(self.n, inputs, rank, u, a, None, Out::Set, &mut inner);
        inner
    }

    /// `DoRA`'s `V`: what the adapted weight makes of `u` before its rows get their length.
    fn directions(&self, adapted: &Adapted, u: &B::Activation) -> B::Activation {
        let mut out = self.plain(u, None, Out::Set);
        self.add_low_ranks(adapted, u, &mut out);
        out
    }

    /// Multiplies the columns of adapted tensors by a factor of their row.
    fn scale_rows(&self, adapted: &Adapted, factor: fn(&RowScale) -> f64, x: &mut B::Activation) {
        for pair in &self.product.adapted {
            let factors: Vec<f64> = adapted.rows_of(pair).iter().map(factor).collect();
            self.backend().scale_columns(
                self.n,
                self.product.outputs,
                &factors,
                pair.columns.clone(),
                x,
            );
        }
    }

    fn forward_dora(
        &self,
        adapted: &Adapted,
        x: &B::Activation,
        residual: Option<&B::Activation>,
    ) -> B::Activation {
        let (backend, n) = (self.backend(), self.n);
        let Product { weight, bias, inputs, outputs, .. } = *self.product;
        let weights = &self.model.weights;
        let dropped = self.dropped(adapted, x);
        let mut out = self.directions(adapted, dropped.as_ref().unwrap_or(x));
        self.scale_rows(adapted, |row| row.factor, &mut out);
        let bias = bias.map(|bias| &weights[bias]);
        match (&dropped, bias) {
            (Some(u), _) => {
                let rest = self.difference(inputs, x, u);
                backend.linear(
                    n,
                    inputs,
                    outputs,
                    &rest,
                    &weights[weight],
                    bias,
                    Out::Add,
                    &mut out,
                );
            }
            // A bias alone is a product too: of a column of ones.
            (None, Some(bias)) => {
                let ones = backend.activation_from(&vec![1.0; n]);
                backend.linear(n, 1, outputs, &ones, bias, None, Out::Add, &mut out);
            }
            (None, None) => {}
        }
        if let Some(residual) = residual {
            backend.add_columns(n, outputs, residual, 1.0, 0..outputs, &mut out);
        }
        out
    }

    /// `x - y`, of `[n, width]` numbers.
    fn difference(&self, width: usize, x: &B::Activation, y: &B::Activation) -> B::Activation {
        let mut out = self.backend().activation(self.n * width);
        self.backend().take_columns(self.n, width, x, 0..width, &mut out);
        self.backend().add_columns(self.n, width, y, -1.0, 0..width, &mut out);
        out
    }

    fn backward_adapted(
        &self,
        adapted: &Adapted,
        x: &B::Activation,
        d_out: &B::Activation,
        gradients: &mut Gradients<B>,
    ) -> B::Activation {
        let (backend, n) = (self.backend(), self.n);
        let Product { inputs, outputs, .. } = *self.product;
        let dropped = self.dropped(adapted, x);
        let u = dropped.as_ref().unwrap_or(x);
        let of_directions =
            adapted.dora.then(|| self.magnitude_gradients(adapted, u, d_out, gradients));
        let d_sum = of_directions.as_ref().unwrap_or(d_out);
        if dropped.is_none() {
            let mut d_x = self.input_gradient(d_sum, Out::Set);
            self.low_rank_gradients(adapted, u, d_sum, &mut d_x, gradients);
            return d_x;
        }
        // What went through `u` and what did not: `d_x = d_out·W + mask(d_u)`.
        let mut d_u = if let Some(d_directions) = &of_directions {
            self.input_gradient(&self.difference(outputs, d_directions, d_out), Out::Set)
        } else {
            let mut zeros = backend.activation(n * inputs);
            backend.zero(n * inputs, &mut zeros);
            zeros
        };
        self.low_rank_gradients(adapted, u, d_sum, &mut d_u, gradients);
        drop((dropped, of_directions));
        let through_u = self.mask(adapted, &d_u);
        drop(d_u);
        self.input_gradient(d_out, Out::Plus(&through_u))
    }

    /// Adds to the gradients of the magnitudes, `Σ_t d_out ⊙ V / ‖…‖`, and returns that of `V`,
    /// `d_out ⊙ m/‖…‖`.
    fn magnitude_gradients(
        &self,
        adapted: &Adapted,
        u: &B::Activation,
        d_out: &B::Activation,
        gradients: &mut Gradients<B>,
    ) -> B::Activation {
        let (backend, n, outputs) = (self.backend(), self.n, self.product.outputs);
        let mut directions = self.directions(adapted, u);
        self.scale_rows(adapted, |row| row.inverse_norm, &mut directions);
        for pair in &self.product.adapted {
            if let Some(d) = pair.magnitude.and_then(|m| gradients.of(m)) {
                backend.column_products(n, outputs, d_out, &directions, pair.columns.clone(), d);
            }
        }
        let mut d_directions = directions;
        backend.take_columns(n, outputs, d_out, 0..outputs, &mut d_directions);
        self.scale_rows(adapted, |row| row.factor, &mut d_directions);
        d_directions
    }

    /// With `d` the gradient of the sum: `d_B += scale·dᵀ·(u·Aᵀ)`, `d_A += scale·(d·B)ᵀ·u`, `d_u +=
    /// scale·(d·B)·A`.
    fn low_rank_gradients(
        &self,
        adapted: &Adapted,
        u: &B::Activation,
        d: &B::Activation,
        d_u: &mut B::Activation,
        gradients: &mut Gradients<B>,
    ) {
        let (backend, n, rank) = (self.backend(), self.n, adapted.rank);
        let Product { inputs, outputs, .. } = *self.product;
        let scales = vec![adapted.scale; rank];
        for pair in &self.product.adapted {
            let (a, b) = (&self.model.weights[pair.a], &self.model.weights[pair.b]);
            let width = pair.columns.len();
            let taken = (width < outputs).then(|| {
                let mut taken = backend.activation(n * width);
                backend.take_columns(n, outputs, d, pair.columns.clone(), &mut taken);
                taken
            });
            let d = taken.as_ref().unwrap_or(d);
            if let Some(d_b) = gradients.of(pair.b) {
                let mut inner = self.inner(adapted, pair, u);
                backend.scale_columns(n, rank, &scales, 0..rank, &mut inner);
                backend.linear_backward_weight(n, rank, width, &inner, d, d_b, None);
            }
            let mut d_inner = backend.activation(n * rank);
            backend.linear_backward_input(n, rank, width, d, b, Out::Set, &mut d_inner);
            backend.scale_columns(n, rank, &scales, 0..rank, &mut d_inner);
            if let Some(d_a) = gradients.of(pair.a) {
                backend.linear_backward_weight(n, inputs, rank, u, &d_inner, d_a, None);
            }
            backend.linear_backward_input(n, inputs, rank, &d_inner, a, Out::Add, d_u);
        }
    }
}
