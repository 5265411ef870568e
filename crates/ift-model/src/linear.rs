//! A linear layer, plain or adapted; forward and backward.
//!
//! With `u` the input after dropout (`x` itself without), `A_k`, `B_k` the adapter of the tensor
//! whose outputs are the columns `k` of a layer with weight `W`:
//!
//! ```text
//! LoRA:  out = x·Wᵀ + b,  out_k += scale·u·A_kᵀ·B_kᵀ
//! DoRA:  V = u·Wᵀ,        V_k += scale·u·A_kᵀ·B_kᵀ,
//!        out = V ⊙ m/‖W + scale·B·A‖ + (x - u)·Wᵀ + b
//! ```
//! where `m` is the magnitude of a row and the factor is 1 for tensors that are not adapted. The
//! row's norm is a constant of the gradient (`DoRA`, section 4.3). `(x - u)·Wᵀ` is what PEFT
//! computes too: its adapter adds `V ⊙ m/‖…‖ - u·Wᵀ` to the base's `x·Wᵀ`. What is cheap or would
//! be large is computed again in the backward pass.
//!
//! The tensors of a layer share one dropout mask; each layer draws another.

use crate::adapted::{Adapted, RowScale};
use crate::parameter_map::{AdapterIds, LinearIds};
use crate::{Gradients, Model};
use ift_backend::{Backend, BackendError, Columns, Dropout, Linear, LinearStarts, Out, Slot};

type Result<T> = std::result::Result<T, BackendError>;

/// What all layers of a pass read.
pub(crate) struct PassContext<'a, B: Backend> {
    pub model: &'a Model<B>,
    pub inputs: &'a B::Inputs,
    /// The angles of each rotary embedding.
    pub rotary: &'a [B::Accumulator],
    pub tokens: usize,
    pub adapters_off: bool,
    /// Whether tokens have streams, so that dropout draws.
    pub random: bool,
}

/// One linear layer of a pass.
struct Projection<'a, B: Backend> {
    context: &'a PassContext<'a, B>,
    layer: &'a LinearIds,
}

/// `x·Wᵀ (+ bias)` and what adapters add, plus a residual: a new `[n, outputs]`.
pub(crate) fn forward<B: Backend>(
    context: &PassContext<B>,
    layer: &LinearIds,
    x: &B::Activation,
    residual: Option<&B::Activation>,
) -> Result<B::Activation> {
    let projection = Projection { context, layer };
    match projection.adapted() {
        Some(adapted) if adapted.dora() => projection.forward_dora(adapted, x, residual),
        adapted => {
            let to = residual.map_or(Out::Set, Out::Plus);
            let mut out = projection.plain(x, layer.bias, to)?;
            if let Some(adapted) = adapted {
                let dropped = projection.dropped(adapted, x)?;
                let u = dropped.as_ref().unwrap_or(x);
                projection.add_low_ranks(adapted, u, &mut out)?;
            }
            Ok(out)
        }
    }
}

/// Gradients of [`forward`]: the input's, new, and those of the weights, added.
pub(crate) fn backward<B: Backend>(
    context: &PassContext<B>,
    layer: &LinearIds,
    x: &B::Activation,
    d_out: &B::Activation,
    gradients: &mut Gradients<B>,
) -> Result<B::Activation> {
    let projection = Projection { context, layer };
    let model = context.model;
    let starts = LinearStarts {
        weight: model.start_of(layer.weight),
        bias: layer.bias.and_then(|bias| model.start_of(bias)),
    };
    projection.weight_gradient(projection.shape(), x, d_out, starts, gradients)?;
    match projection.adapted() {
        None => projection.input_gradient(d_out, Out::Set),
        Some(adapted) => projection.backward_adapted(adapted, x, d_out, gradients),
    }
}

impl<'a, B: Backend> Projection<'a, B> {
    fn backend(&self) -> &'a B {
        self.context.model.backend()
    }

    /// The adapters, where the layer has some and they are on.
    fn adapted(&self) -> Option<&'a Adapted> {
        let adapted = self.context.model.adapted.as_ref();
        adapted.filter(|_| !self.context.adapters_off && !self.layer.adapters.is_empty())
    }

    /// The layer itself.
    fn shape(&self) -> Linear {
        let LinearIds { inputs, outputs, .. } = *self.layer;
        Linear { tokens: self.context.tokens, inputs, outputs }
    }

    /// `A` of an adapter.
    fn shape_a(&self, adapted: &Adapted) -> Linear {
        Linear { outputs: adapted.rank(), ..self.shape() }
    }

    /// `B` of an adapter.
    fn shape_b(&self, adapted: &Adapted, adapter: &AdapterIds) -> Linear {
        let (inputs, outputs) = (adapted.rank(), adapter.rows.len());
        Linear { tokens: self.context.tokens, inputs, outputs }
    }

    /// The outputs of an adapted tensor.
    fn columns(&self, adapter: &AdapterIds) -> Columns {
        Columns { columns: adapter.rows.clone(), ..self.all_columns(self.layer.outputs) }
    }

    fn all_columns(&self, width: usize) -> Columns {
        Columns { tokens: self.context.tokens, width, columns: 0..width }
    }

    /// `x·Wᵀ (+ bias)`.
    fn plain(
        &self,
        x: &B::Activation,
        bias: Option<usize>,
        to: Out<B::Activation>,
    ) -> Result<B::Activation> {
        let (model, linear) = (self.context.model, self.shape());
        let (weight, bias) = (model.weight(self.layer.weight), bias.map(|b| model.weight(b)));
        let mut out = self.backend().activation(linear.tokens * linear.outputs)?;
        self.backend().linear(linear, x, weight, bias, to, &mut out)?;
        Ok(out)
    }

    /// `d_out·W`.
    fn input_gradient(
        &self,
        d_out: &B::Activation,
        to: Out<B::Activation>,
    ) -> Result<B::Activation> {
        let linear = self.shape();
        let mut d_x = self.backend().activation(linear.tokens * linear.inputs)?;
        let weight = self.context.model.weight(self.layer.weight);
        self.backend().linear_backward_input(linear, d_out, weight, to, &mut d_x)?;
        Ok(d_x)
    }

    /// Adds to the gradients of a weight and a bias, where they are trained.
    fn weight_gradient(
        &self,
        linear: Linear,
        x: &B::Activation,
        d_out: &B::Activation,
        starts: LinearStarts,
        gradients: &mut Gradients<B>,
    ) -> Result<()> {
        if starts == LinearStarts::default() {
            return Ok(());
        }
        self.backend().linear_backward_weight(linear, x, d_out, starts, &mut gradients.sums)
    }

    /// The same of an adapter's matrix.
    fn adapter_gradient(
        &self,
        linear: Linear,
        x: &B::Activation,
        d_out: &B::Activation,
        parameter: usize,
        gradients: &mut Gradients<B>,
    ) -> Result<()> {
        let starts = LinearStarts { weight: self.context.model.start_of(parameter), bias: None };
        self.weight_gradient(linear, x, d_out, starts, gradients)
    }

    /// The input after dropout, where there is any.
    fn dropped(&self, adapted: &Adapted, x: &B::Activation) -> Result<Option<B::Activation>> {
        let drops = adapted.dropout() > 0.0 && self.context.random;
        drops.then(|| self.mask(adapted, x)).transpose()
    }

    /// Drops what dropout drops of `[n, inputs]` elements: inputs, or their gradient.
    fn mask(&self, adapted: &Adapted, x: &B::Activation) -> Result<B::Activation> {
        let LinearIds { inputs, weight, .. } = *self.layer;
        let dropout = Dropout { width: inputs, rate: adapted.dropout(), part: weight as u64 };
        let mut out = self.backend().activation(self.context.tokens * inputs)?;
        self.backend().dropout(dropout, self.context.inputs, x, &mut out);
        Ok(out)
    }

    /// `out_k += scale·u·A_kᵀ·B_kᵀ` for all adapters.
    fn add_low_ranks(
        &self,
        adapted: &Adapted,
        u: &B::Activation,
        out: &mut B::Activation,
    ) -> Result<()> {
        let backend = self.backend();
        for adapter in &self.layer.adapters {
            let inner = self.inner(adapted, adapter, u)?;
            let linear = self.shape_b(adapted, adapter);
            let b = self.context.model.weight(adapter.b);
            let mut sum = backend.activation(linear.tokens * linear.outputs)?;
            backend.linear(linear, &inner, b, None, Out::Set, &mut sum)?;
            backend.add_columns(&self.columns(adapter), &sum, adapted.scale(), out);
        }
        Ok(())
    }

    /// `[n, rank]`: `u·Aᵀ`.
    fn inner(
        &self,
        adapted: &Adapted,
        adapter: &AdapterIds,
        u: &B::Activation,
    ) -> Result<B::Activation> {
        let linear = self.shape_a(adapted);
        let mut inner = self.backend().activation(linear.tokens * linear.outputs)?;
        let a = self.context.model.weight(adapter.a);
        self.backend().linear(linear, u, a, None, Out::Set, &mut inner)?;
        Ok(inner)
    }

    /// `V` of `DoRA`, its unnormalised output: `u` times the adapted weight, before rows are scaled
    /// to their magnitudes.
    fn unnormalised(&self, adapted: &Adapted, u: &B::Activation) -> Result<B::Activation> {
        let mut out = self.plain(u, None, Out::Set)?;
        self.add_low_ranks(adapted, u, &mut out)?;
        Ok(out)
    }

    /// Multiplies the columns of adapted tensors by a factor of their row.
    fn scale_rows(&self, adapted: &Adapted, factor: fn(&RowScale) -> f64, x: &mut B::Activation) {
        for adapter in &self.layer.adapters {
            let factors: Vec<f64> = adapted.rows_of(adapter).iter().map(factor).collect();
            self.backend().scale_columns(&self.columns(adapter), &factors, x);
        }
    }

    fn forward_dora(
        &self,
        adapted: &Adapted,
        x: &B::Activation,
        residual: Option<&B::Activation>,
    ) -> Result<B::Activation> {
        let (backend, model, linear) = (self.backend(), self.context.model, self.shape());
        let dropped = self.dropped(adapted, x)?;
        let mut out = self.unnormalised(adapted, dropped.as_ref().unwrap_or(x))?;
        self.scale_rows(adapted, |row| row.factor, &mut out);
        let bias = self.layer.bias.map(|bias| model.weight(bias));
        match (&dropped, bias) {
            (Some(u), _) => {
                let rest = self.difference(linear.inputs, x, u)?;
                let weight = model.weight(self.layer.weight);
                backend.linear(linear, &rest, weight, bias, Out::Add, &mut out)?;
            }
            // The bias is added as the product `ones·bᵀ`.
            (None, Some(bias)) => {
                let ones = backend.activation_from(&vec![1.0; linear.tokens])?;
                let column = Linear { inputs: 1, ..linear };
                backend.linear(column, &ones, bias, None, Out::Add, &mut out)?;
            }
            (None, None) => {}
        }
        if let Some(residual) = residual {
            backend.add_columns(&self.all_columns(linear.outputs), residual, 1.0, &mut out);
        }
        Ok(out)
    }

    /// `x - y`, of `[n, width]` elements.
    fn difference(
        &self,
        width: usize,
        x: &B::Activation,
        y: &B::Activation,
    ) -> Result<B::Activation> {
        let columns = self.all_columns(width);
        let mut out = self.backend().activation(columns.tokens * width)?;
        self.backend().take_columns(&columns, x, &mut out);
        self.backend().add_columns(&columns, y, -1.0, &mut out);
        Ok(out)
    }

    fn backward_adapted(
        &self,
        adapted: &Adapted,
        x: &B::Activation,
        d_out: &B::Activation,
        gradients: &mut Gradients<B>,
    ) -> Result<B::Activation> {
        let (backend, linear) = (self.backend(), self.shape());
        let dropped = self.dropped(adapted, x)?;
        let u = dropped.as_ref().unwrap_or(x);
        let d_unnormalised = adapted
            .dora()
            .then(|| self.magnitude_gradients(adapted, u, d_out, gradients))
            .transpose()?;
        let d_sum = d_unnormalised.as_ref().unwrap_or(d_out);
        if dropped.is_none() {
            let mut d_x = self.input_gradient(d_sum, Out::Set)?;
            self.low_rank_gradients(adapted, u, d_sum, &mut d_x, gradients)?;
            return Ok(d_x);
        }
        // What went through `u` and what did not: `d_x = d_out·W + mask(d_u)`.
        let mut d_u = if let Some(d_unnormalised) = &d_unnormalised {
            let rest = self.difference(linear.outputs, d_unnormalised, d_out)?;
            self.input_gradient(&rest, Out::Set)?
        } else {
            let len = linear.tokens * linear.inputs;
            let mut zeros = backend.activation(len)?;
            backend.zero(len, &mut zeros);
            zeros
        };
        self.low_rank_gradients(adapted, u, d_sum, &mut d_u, gradients)?;
        drop((dropped, d_unnormalised));
        let through_u = self.mask(adapted, &d_u)?;
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
    ) -> Result<B::Activation> {
        let backend = self.backend();
        let mut unnormalised = self.unnormalised(adapted, u)?;
        self.scale_rows(adapted, |row| row.inverse_norm, &mut unnormalised);
        for adapter in &self.layer.adapters {
            let start = adapter.magnitude.and_then(|m| self.context.model.start_of(m));
            if let Some(start) = start {
                let sums = Slot { buffer: &mut gradients.sums, start };
                backend.column_products(&self.columns(adapter), d_out, &unnormalised, sums);
            }
        }
        let mut d_unnormalised = unnormalised;
        let all = self.all_columns(self.layer.outputs);
        backend.take_columns(&all, d_out, &mut d_unnormalised);
        self.scale_rows(adapted, |row| row.factor, &mut d_unnormalised);
        Ok(d_unnormalised)
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
    ) -> Result<()> {
        let (backend, model, n) = (self.backend(), self.context.model, self.context.tokens);
        let scales = vec![adapted.scale(); adapted.rank()];
        let all = self.all_columns(adapted.rank());
        for adapter in &self.layer.adapters {
            let (shape_a, shape_b) = (self.shape_a(adapted), self.shape_b(adapted, adapter));
            let taken = if shape_b.outputs < self.layer.outputs {
                let mut taken = backend.activation(n * shape_b.outputs)?;
                backend.take_columns(&self.columns(adapter), d, &mut taken);
                Some(taken)
            } else {
                None
            };
            let d = taken.as_ref().unwrap_or(d);
            let mut inner = self.inner(adapted, adapter, u)?;
            backend.scale_columns(&all, &scales, &mut inner);
            self.adapter_gradient(shape_b, &inner, d, adapter.b, gradients)?;
            drop(inner);
            let mut d_inner = backend.activation(n * adapted.rank())?;
            let (a, b) = (model.weight(adapter.a), model.weight(adapter.b));
            backend.linear_backward_input(shape_b, d, b, Out::Set, &mut d_inner)?;
            backend.scale_columns(&all, &scales, &mut d_inner);
            self.adapter_gradient(shape_a, u, &d_inner, adapter.a, gradients)?;
            backend.linear_backward_input(shape_a, &d_inner, a, Out::Add, d_u)?;
        }
        Ok(())
    }
}
