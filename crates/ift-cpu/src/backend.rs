//! [`Backend`] for [`Cpu`]: hands each operation to the file of its family.

use crate::attention::CHUNKS;
use crate::head::{ENTRIES, KEPT, ROWS};
use crate::inputs::Inputs;
use crate::parameters::{Frozen, Parameters};
use crate::product::PACKED;
use crate::{Buffer, Cpu, Number, Scores};
use ift_backend::{
    Attention, AttentionSaved, Backend, BackendError, Buffers, Columns, Distributions, Divergence,
    Dropout, Embedding, Footprint, Gated, Head, HeadGradient, HeadNormStarts, HeadScores,
    HeadTargets, Heads, HostTensor, Linear, LinearStarts, LowRank, Norm, Out, PassInputs, Profile,
    RangeUpdate, RowMap, Slot, Storage, Weight,
};
use std::ops::Range;

type Result<T> = std::result::Result<T, BackendError>;

/// The elements from the slot's start on.
fn slice(Slot { buffer, start }: Slot<'_, Buffer<f32>>) -> &mut [f32] {
    &mut buffer[start..]
}

impl<N: Number> Buffers for Cpu<N> {
    type Element = f32;
    type Activation = Buffer<N>;
    type Accumulator = Buffer<f32>;
    type Parameters = Parameters<N>;
    type Frozen = Frozen<N>;
    type Inputs = Inputs;
    type Scores = Scores;
}

impl<N: Number> Backend for Cpu<N> {
    fn footprint(&self) -> Footprint {
        Footprint {
            weight: size_of::<f32>() + if N::EXACT { 0 } else { size_of::<N>() },
            exact: size_of::<f32>(),
            activation: size_of::<N>(),
            logits_rows: ROWS,
            logits_entries: ENTRIES,
            kept_logits: KEPT,
            packed: PACKED * size_of::<f32>(),
            attention_chunks: CHUNKS,
        }
    }

    fn activation(&self, len: usize) -> Result<Buffer<N>> {
        self.arena.take("an activation", len)
    }

    fn activation_from(&self, values: &[f64]) -> Result<Buffer<N>> {
        let mut buffer = self.activation(values.len())?;
        buffer.iter_mut().zip(values).for_each(|(to, x)| *to = N::round(*x as f32));
        Ok(buffer)
    }

    fn read_activation(&self, activation: &Buffer<N>, len: usize) -> Vec<f32> {
        activation[..len].iter().map(|x| x.widen()).collect()
    }

    fn zero(&self, len: usize, x: &mut Buffer<N>) {
        self.fill_zero(&mut x[..len]);
    }

    fn accumulator(&self, len: usize) -> Result<Buffer<f32>> {
        self.arena.zeros("an accumulator", len)
    }

    fn write_accumulator(&self, accumulator: &mut Buffer<f32>, start: usize, values: &[f32]) {
        accumulator[start..][..values.len()].copy_from_slice(values);
    }

    fn read_accumulator(&self, accumulator: &Buffer<f32>, range: Range<usize>) -> Vec<f32> {
        accumulator[range].to_vec()
    }

    fn clear(&self, accumulator: &mut Buffer<f32>) {
        self.clear_elements(accumulator);
    }

    fn sums_of_squares(&self, accumulator: &Buffer<f32>, ranges: &[Range<usize>]) -> Vec<f64> {
        self.squares_of(accumulator, ranges)
    }

    fn parameters(&self, len: usize) -> Result<Parameters<N>> {
        self.zero_parameters(len)
    }

    fn write_parameters(&self, parameters: &mut Parameters<N>, start: usize, values: HostTensor) {
        self.overwrite_parameters(parameters, start, values);
    }

    fn read_parameters(&self, parameters: &Parameters<N>, range: Range<usize>) -> Vec<f32> {
        parameters.exact[range].to_vec()
    }

    fn update(
        &self,
        parameters: &mut Parameters<N>,
        gradient: &Buffer<f32>,
        states: &mut [Buffer<f32>],
        updates: &[RangeUpdate],
        gradient_scale: f64,
    ) {
        self.update_ranges(parameters, gradient, states, updates, gradient_scale);
    }

    fn average(&self, parameters: &Parameters<N>, decay: f64, average: &mut Buffer<f32>) {
        self.average_parameters(parameters, decay, average);
    }

    fn frozen(&self, parts: &[HostTensor], storage: Storage) -> Result<Frozen<N>> {
        self.frozen_weight(parts, storage)
    }

    fn read_frozen(&self, frozen: &Frozen<N>, range: Range<usize>) -> Vec<f32> {
        self.frozen_elements(frozen, range)
    }

    fn upload(&self, inputs: &PassInputs<Scores>) -> Result<Inputs> {
        Inputs::new(inputs)
    }

    fn embed(
        &self,
        embedding: Embedding,
        inputs: &Inputs,
        table: Weight<Self>,
        out: &mut Buffer<N>,
    ) -> Result<()> {
        self.embed_rows(embedding, inputs, table, out);
        Ok(())
    }

    fn embed_backward(
        &self,
        embedding: Embedding,
        inputs: &Inputs,
        d_out: &Buffer<N>,
        d_table: Slot<Buffer<f32>>,
    ) -> Result<()> {
        self.embed_gradients(embedding, inputs, d_out, slice(d_table));
        Ok(())
    }

    fn add_noise(&self, width: usize, part: u64, inputs: &Inputs, x: &mut Buffer<N>) {
        self.add_noise_impl(width, part, inputs, x);
    }

    fn norm(
        &self,
        rows: usize,
        norm: Norm,
        x: &Buffer<N>,
        weight: Weight<Self>,
        out: &mut Buffer<N>,
    ) -> Result<()> {
        self.norm_forward(rows, norm, x, weight, out)
    }

    fn norm_backward(
        &self,
        rows: usize,
        norm: Norm,
        x: &Buffer<N>,
        weight: Weight<Self>,
        d_out: &Buffer<N>,
        d_x: &mut Buffer<N>,
        d_weight: Option<Slot<Buffer<f32>>>,
    ) -> Result<()> {
        self.norm_gradients(rows, norm, (x, weight), d_out, d_x, d_weight.map(slice))
    }

    fn linear(
        &self,
        linear: Linear,
        x: &Buffer<N>,
        weight: Weight<Self>,
        bias: Option<Weight<Self>>,
        to: Out<Buffer<N>>,
        out: &mut Buffer<N>,
    ) -> Result<()> {
        self.linear_forward(linear, x, (weight, bias), to, out)
    }

    fn linear_backward_input(
        &self,
        linear: Linear,
        d_out: &Buffer<N>,
        weight: Weight<Self>,
        to: Out<Buffer<N>>,
        d_x: &mut Buffer<N>,
    ) -> Result<()> {
        self.linear_input_gradient(linear, d_out, weight, to, d_x)
    }

    fn linear_backward_weight(
        &self,
        linear: Linear,
        x: &Buffer<N>,
        d_out: &Buffer<N>,
        starts: LinearStarts,
        gradients: &mut Buffer<f32>,
    ) -> Result<()> {
        self.linear_weight_gradients(linear, x, d_out, starts, gradients)
    }

    fn take_columns(&self, columns: &Columns, x: &Buffer<N>, out: &mut Buffer<N>) {
        self.take_columns_impl(columns, x, out);
    }

    fn add_columns(&self, columns: &Columns, x: &Buffer<N>, scale: f64, out: &mut Buffer<N>) {
        self.add_columns_impl(columns, x, scale, out);
    }

    fn scale_columns(&self, columns: &Columns, factors: &[f64], x: &mut Buffer<N>) {
        self.scale_columns_impl(columns, factors, x);
    }

    fn column_products(
        &self,
        columns: &Columns,
        x: &Buffer<N>,
        y: &Buffer<N>,
        sums: Slot<Buffer<f32>>,
    ) {
        self.column_products_impl(columns, x, y, slice(sums));
    }

    fn dropout(&self, dropout: Dropout, inputs: &Inputs, x: &Buffer<N>, out: &mut Buffer<N>) {
        self.dropout_impl(dropout, inputs, x, out);
    }

    fn adapted_norms(
        &self,
        low_rank: &LowRank,
        weight: Weight<Self>,
        a: Weight<Self>,
        b: Weight<Self>,
    ) -> Result<Vec<f64>> {
        self.adapted_norms_impl(low_rank, weight, a, b)
    }

    fn rotary(&self, inputs: &Inputs, inverse_frequencies: &[f64]) -> Result<Buffer<f32>> {
        self.rotary_angles(inputs, inverse_frequencies)
    }

    fn split_heads(
        &self,
        heads: &Heads<Self>,
        qkv: &Buffer<N>,
        q: &mut Buffer<N>,
        kv: &mut Buffer<N>,
    ) -> Result<()> {
        self.split_forward(heads, qkv, q, kv)
    }

    fn split_heads_backward(
        &self,
        heads: &Heads<Self>,
        qkv: Option<&Buffer<N>>,
        d_q: &Buffer<N>,
        d_kv: &Buffer<N>,
        d_qkv: &mut Buffer<N>,
        d_norms: Option<(HeadNormStarts, &mut Buffer<f32>)>,
    ) -> Result<()> {
        self.split_gradients(heads, qkv, (d_q, d_kv), d_qkv, d_norms)
    }

    fn attention(
        &self,
        attention: &Attention,
        inputs: &Inputs,
        q: &Buffer<N>,
        kv: &Buffer<N>,
        past: Option<&Buffer<N>>,
        out: &mut Buffer<N>,
        lse: &mut Buffer<f32>,
    ) -> Result<()> {
        self.attend(attention, inputs, (q, kv), past, out, lse)
    }

    fn attention_backward(
        &self,
        attention: &Attention,
        inputs: &Inputs,
        saved: AttentionSaved<Self>,
        d_out: &Buffer<N>,
        d_q: &mut Buffer<N>,
        d_kv: &mut Buffer<N>,
        d_past: Option<&mut Buffer<f32>>,
    ) -> Result<()> {
        let d_past = d_past.map(|d| &mut d[..]);
        self.attend_backward(attention, inputs, saved, d_out, (d_q, d_kv), d_past)
    }

    fn gated(&self, gated: Gated, gate_up: &Buffer<N>, out: &mut Buffer<N>) {
        self.gated_forward(gated, gate_up, out);
    }

    fn gated_backward(
        &self,
        gated: Gated,
        gate_up: &Buffer<N>,
        d_out: &Buffer<N>,
        d_gate_up: &mut Buffer<N>,
    ) {
        self.gated_gradients(gated, gate_up, d_out, d_gate_up);
    }

    fn copy_rows(&self, width: usize, map: &RowMap, x: &Buffer<N>, out: &mut Buffer<N>) {
        self.copy_rows_impl(width, map, x, out);
    }

    fn add_rows(&self, width: usize, map: &RowMap, x: &Buffer<N>, out: &mut Buffer<N>) {
        self.add_rows_impl(width, map, x, out);
    }

    fn add(&self, len: usize, x: &Buffer<f32>, out: &mut Buffer<N>) {
        self.add_elements(&x[..len], out);
    }

    fn head(
        &self,
        head: Head,
        x: &Buffer<N>,
        weight: Weight<Self>,
        targets: &HeadTargets,
    ) -> Result<Scores> {
        self.head_scores(head, x, weight, targets)
    }

    fn read_scores(&self, scores: &Scores) -> HeadScores {
        scores.host().clone()
    }

    fn divergence(
        &self,
        kind: Divergence,
        head: Head,
        x: &Buffer<N>,
        weight: Weight<Self>,
        scores: &mut Scores,
        reference: Distributions<Self>,
    ) -> Result<()> {
        self.add_divergences(kind, head, (x, weight), scores, reference)
    }

    fn head_backward(
        &self,
        head: Head,
        x: &Buffer<N>,
        weight: Weight<Self>,
        scores: Scores,
        gradient: &HeadGradient<Self>,
        d_x: &mut Buffer<N>,
        d_weight: Option<Slot<Buffer<f32>>>,
    ) -> Result<()> {
        self.head_gradients(head, (x, weight), scores, gradient, d_x, d_weight.map(slice))
    }

    fn logits(
        &self,
        head: Head,
        n: usize,
        x: &Buffer<N>,
        weight: Weight<Self>,
    ) -> Result<Vec<f32>> {
        self.all_logits(head, n, x, weight)
    }

    fn peak(&self) -> Option<f64> {
        Some(self.measure_peak())
    }

    fn take_profile(&self) -> Profile {
        self.meter.take(&self.threads)
    }
}
