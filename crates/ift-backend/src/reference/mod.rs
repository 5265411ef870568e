//! The executable specification: f64, plain loops that read like the formulas, one thread.

mod attention;
mod buffers;
mod columns;
mod divergence;
mod dropout;
mod embedding;
mod gated;
mod head;
mod heads;
mod inputs;
mod linear;
mod logits;
mod low_rank;
mod memory;
mod norm;
mod rows;
mod scores;
mod select;
mod update;
mod weights;

pub use buffers::Reference;

use crate::{
    Attention, AttentionSaved, Backend, Columns, Distributions, Divergence, Dropout, Embedding,
    Footprint, Gated, Head, HeadGradient, HeadNormStarts, HeadScores, HeadTargets, Heads,
    HostTensor, Linear, LinearStarts, LowRank, Norm, Out, PassInputs, RangeUpdate, RowMap, Slot,
    Storage, Weight,
};
use buffers::elements;
use inputs::Inputs;
use memory::{Result, copied, filled};
use scores::Scores;
use std::ops::Range;

/// The elements of a gradient from its first on.
fn elements_mut(Slot { buffer, start }: Slot<'_, Vec<f64>>) -> &mut [f64] {
    &mut buffer[start..]
}

impl Backend for Reference {
    fn footprint(&self) -> Footprint {
        let bytes = size_of::<f64>();
        Footprint {
            weight: bytes,
            exact: bytes,
            activation: bytes,
            logits_rows: 1,
            logits_entries: usize::MAX,
            kept_logits: 0,
            packed: 0,
            attention_chunks: 1,
        }
    }

    fn activation(&self, len: usize) -> Result<Vec<f64>> {
        filled("an activation", len, f64::NAN)
    }

    fn activation_from(&self, values: &[f64]) -> Result<Vec<f64>> {
        copied("an activation", values)
    }

    fn read_activation(&self, activation: &Vec<f64>, len: usize) -> Vec<f64> {
        activation[..len].to_vec()
    }

    fn zero(&self, len: usize, x: &mut Vec<f64>) {
        x[..len].fill(0.0);
    }

    fn accumulator(&self, len: usize) -> Result<Vec<f64>> {
        filled("an accumulator", len, 0.0)
    }

    fn write_accumulator(&self, accumulator: &mut Vec<f64>, start: usize, values: &[f64]) {
        accumulator[start..][..values.len()].copy_from_slice(values);
    }

    fn read_accumulator(&self, accumulator: &Vec<f64>, range: Range<usize>) -> Vec<f64> {
        accumulator[range].to_vec()
    }

    fn clear(&self, accumulator: &mut Vec<f64>) {
        accumulator.fill(0.0);
    }

    fn sums_of_squares(&self, accumulator: &Vec<f64>, ranges: &[Range<usize>]) -> Vec<f64> {
        ranges.iter().map(|range| accumulator[range.clone()].iter().map(|x| x * x).sum()).collect()
    }

    fn parameters(&self, len: usize) -> Result<Vec<f64>> {
        filled("parameters", len, 0.0)
    }

    fn write_parameters(&self, parameters: &mut Vec<f64>, start: usize, values: HostTensor) {
        values.convert_into(&mut parameters[start..][..values.len()]);
    }

    fn read_parameters(&self, parameters: &Vec<f64>, range: Range<usize>) -> Vec<f64> {
        parameters[range].to_vec()
    }

    fn update(
        &self,
        parameters: &mut Vec<f64>,
        gradient: &Vec<f64>,
        states: &mut [Vec<f64>],
        updates: &[RangeUpdate],
        gradient_scale: f64,
    ) {
        for update in updates {
            update::update(parameters, gradient, states, update, gradient_scale);
        }
    }

    fn average(&self, parameters: &Vec<f64>, decay: f64, average: &mut Vec<f64>) {
        for (average, p) in average.iter_mut().zip(parameters) {
            *average = decay * *average + (1.0 - decay) * p;
        }
    }

    fn frozen(&self, parts: &[HostTensor], storage: Storage) -> Result<Vec<f64>> {
        weights::frozen(parts, storage)
    }

    fn read_frozen(&self, frozen: &Vec<f64>, range: Range<usize>) -> Vec<f64> {
        frozen[range].to_vec()
    }

    fn upload(&self, inputs: &PassInputs<Scores>) -> Result<Inputs> {
        Inputs::new(inputs)
    }

    fn embed(
        &self,
        embedding: Embedding,
        inputs: &Inputs,
        table: Weight<Self>,
        out: &mut Vec<f64>,
    ) -> Result<()> {
        embedding::forward(embedding, inputs, elements(table), out);
        Ok(())
    }

    fn embed_backward(
        &self,
        embedding: Embedding,
        inputs: &Inputs,
        d_out: &Vec<f64>,
        d_table: Slot<Vec<f64>>,
    ) -> Result<()> {
        embedding::backward(embedding, inputs, d_out, elements_mut(d_table));
        Ok(())
    }

    fn add_noise(&self, width: usize, part: u64, inputs: &Inputs, x: &mut Vec<f64>) {
        embedding::add_noise(width, part, inputs, x);
    }

    fn norm(
        &self,
        rows: usize,
        norm: Norm,
        x: &Vec<f64>,
        weight: Weight<Self>,
        out: &mut Vec<f64>,
    ) -> Result<()> {
        norm::forward(rows, norm, x, elements(weight), out);
        Ok(())
    }

    fn norm_backward(
        &self,
        rows: usize,
        norm: Norm,
        x: &Vec<f64>,
        weight: Weight<Self>,
        d_out: &Vec<f64>,
        d_x: &mut Vec<f64>,
        d_weight: Option<Slot<Vec<f64>>>,
    ) -> Result<()> {
        let d_weight = d_weight.map(elements_mut);
        norm::backward(rows, norm, x, elements(weight), d_out, d_x, d_weight)
    }

    fn linear(
        &self,
        linear: Linear,
        x: &Vec<f64>,
        weight: Weight<Self>,
        bias: Option<Weight<Self>>,
        to: Out<Vec<f64>>,
        out: &mut Vec<f64>,
    ) -> Result<()> {
        linear::forward(linear, x, elements(weight), bias.map(elements), to, out);
        Ok(())
    }

    fn linear_backward_input(
        &self,
        linear: Linear,
        d_out: &Vec<f64>,
        weight: Weight<Self>,
        to: Out<Vec<f64>>,
        d_x: &mut Vec<f64>,
    ) -> Result<()> {
        linear::backward_input(linear, d_out, elements(weight), to, d_x);
        Ok(())
    }

    fn linear_backward_weight(
        &self,
        linear: Linear,
        x: &Vec<f64>,
        d_out: &Vec<f64>,
        starts: LinearStarts,
        gradients: &mut Vec<f64>,
    ) -> Result<()> {
        linear::backward_weight(linear, x, d_out, starts, gradients);
        Ok(())
    }

    fn take_columns(&self, columns: &Columns, x: &Vec<f64>, out: &mut Vec<f64>) {
        columns::take(columns, x, out);
    }

    fn add_columns(&self, columns: &Columns, x: &Vec<f64>, scale: f64, out: &mut Vec<f64>) {
        columns::add(columns, x, scale, out);
    }

    fn scale_columns(&self, columns: &Columns, factors: &[f64], x: &mut Vec<f64>) {
        columns::scale(columns, factors, x);
    }

    fn column_products(&self, columns: &Columns, x: &Vec<f64>, y: &Vec<f64>, sums: Slot<Vec<f64>>) {
        columns::products(columns, x, y, elements_mut(sums));
    }

    fn dropout(&self, dropout: Dropout, inputs: &Inputs, x: &Vec<f64>, out: &mut Vec<f64>) {
        dropout::dropout(dropout, inputs, x, out);
    }

    fn adapted_norms(
        &self,
        low_rank: &LowRank,
        weight: Weight<Self>,
        a: Weight<Self>,
        b: Weight<Self>,
    ) -> Result<Vec<f64>> {
        low_rank::norms(low_rank, elements(weight), elements(a), elements(b))
    }

    fn rotary(&self, inputs: &Inputs, inverse_frequencies: &[f64]) -> Result<Vec<f64>> {
        heads::rotary(inputs, inverse_frequencies)
    }

    fn split_heads(
        &self,
        heads: &Heads<Self>,
        qkv: &Vec<f64>,
        q: &mut Vec<f64>,
        kv: &mut Vec<f64>,
    ) -> Result<()> {
        heads::split(heads, qkv, q, kv);
        Ok(())
    }

    fn split_heads_backward(
        &self,
        heads: &Heads<Self>,
        qkv: Option<&Vec<f64>>,
        d_q: &Vec<f64>,
        d_kv: &Vec<f64>,
        d_qkv: &mut Vec<f64>,
        d_norms: Option<(HeadNormStarts, &mut Vec<f64>)>,
    ) -> Result<()> {
        heads::split_backward(heads, qkv, d_q, d_kv, d_qkv, d_norms)
    }

    fn attention(
        &self,
        attention: &Attention,
        inputs: &Inputs,
        q: &Vec<f64>,
        kv: &Vec<f64>,
        past: Option<&Vec<f64>>,
        out: &mut Vec<f64>,
        lse: &mut Vec<f64>,
    ) -> Result<()> {
        attention::forward(attention, inputs, q, kv, past, out, lse)
    }

    fn attention_backward(
        &self,
        attention: &Attention,
        inputs: &Inputs,
        saved: AttentionSaved<Self>,
        d_out: &Vec<f64>,
        d_q: &mut Vec<f64>,
        d_kv: &mut Vec<f64>,
        d_past: Option<&mut Vec<f64>>,
    ) -> Result<()> {
        attention::backward(attention, inputs, saved, d_out, d_q, d_kv, d_past)
    }

    fn gated(&self, gated: Gated, gate_up: &Vec<f64>, out: &mut Vec<f64>) {
        gated::forward(gated, gate_up, out);
    }

    fn gated_backward(
        &self,
        gated: Gated,
        gate_up: &Vec<f64>,
        d_out: &Vec<f64>,
        d_gate_up: &mut Vec<f64>,
    ) {
        gated::backward(gated, gate_up, d_out, d_gate_up);
    }

    fn copy_rows(&self, width: usize, map: &RowMap, x: &Vec<f64>, out: &mut Vec<f64>) {
        rows::copy(width, map, x, out);
    }

    fn add_rows(&self, width: usize, map: &RowMap, x: &Vec<f64>, out: &mut Vec<f64>) {
        rows::add(width, map, x, out);
    }

    fn add(&self, len: usize, x: &Vec<f64>, out: &mut Vec<f64>) {
        out[..len].iter_mut().zip(&x[..len]).for_each(|(o, v)| *o += v);
    }

    fn head(
        &self,
        head: Head,
        x: &Vec<f64>,
        weight: Weight<Self>,
        targets: &HeadTargets,
    ) -> Result<Scores> {
        head::forward(head, x, logits::vocabulary(head, weight), targets)
    }

    fn read_scores(&self, scores: &Scores) -> HeadScores {
        let Scores { log_probs, selected, entropies, divergences, .. } = scores;
        HeadScores {
            log_probs: log_probs.clone(),
            selected: selected.clone(),
            entropies: entropies.clone(),
            divergences: divergences.clone(),
        }
    }

    fn divergence(
        &self,
        kind: Divergence,
        head: Head,
        x: &Vec<f64>,
        weight: Weight<Self>,
        scores: &mut Scores,
        reference: Distributions<Self>,
    ) -> Result<()> {
        let policy = Distributions { width: head.width, x, weight, scores };
        let divergences = divergence::divergences(kind, head.vocabulary, policy, reference)?;
        scores.divergences = divergences;
        Ok(())
    }

    fn head_backward(
        &self,
        head: Head,
        x: &Vec<f64>,
        weight: Weight<Self>,
        scores: Scores,
        gradient: &HeadGradient<Self>,
        d_x: &mut Vec<f64>,
        d_weight: Option<Slot<Vec<f64>>>,
    ) -> Result<()> {
        let weight = logits::vocabulary(head, weight);
        head::backward(head, x, weight, &scores, gradient, d_x, d_weight.map(elements_mut))
    }

    fn logits(&self, head: Head, n: usize, x: &Vec<f64>, weight: Weight<Self>) -> Result<Vec<f32>> {
        logits::rows(head, n, x, logits::vocabulary(head, weight))
    }
}
