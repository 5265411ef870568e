//! The reference with a small error in one method.

use ift_backend::{
    Attention, AttentionSaved, Backend, BackendError, Buffers, Columns, Distributions, Divergence,
    DivergenceGradient, Dropout, Embedding, Footprint, Gated, Head, HeadGradient, HeadNormStarts,
    HeadNorms, HeadScores, HeadTargets, Heads, HostTensor, Linear, LinearStarts, LowRank, Norm,
    Out, PassInputs, Profile, ProfileEntry, RangeUpdate, Reference, RowMap, Slot, Storage, Weight,
};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

type Result<T> = std::result::Result<T, BackendError>;
type Inputs = <Reference as Buffers>::Inputs;
type Scores = <Reference as Buffers>::Scores;

/// The reference, but for an error in one method.
pub struct Faulty {
    method: &'static str,
    called: AtomicBool,
}

impl Faulty {
    pub fn new(method: &'static str) -> Self {
        Self { method, called: AtomicBool::new(false) }
    }

    /// Whether the method was called.
    pub fn was_called(&self) -> bool {
        self.called.load(Ordering::Relaxed)
    }

    /// Whether this is the method with the error.
    fn fails(&self, method: &str) -> bool {
        let fails = method == self.method;
        if fails {
            self.called.store(true, Ordering::Relaxed);
        }
        fails
    }

    /// Changes one element in the middle of a result.
    fn spoil(&self, method: &str, values: &mut [f64]) {
        if self.fails(method) && !values.is_empty() {
            let middle = values.len() / 2;
            values[middle] = values[middle] * 1.01 + 0.01;
        }
    }

    fn spoiled(&self, method: &str, mut values: Vec<f64>) -> Vec<f64> {
        self.spoil(method, &mut values);
        values
    }
}

impl Buffers for Faulty {
    type Element = f64;
    type Activation = Vec<f64>;
    type Accumulator = Vec<f64>;
    type Parameters = Vec<f64>;
    type Frozen = Vec<f64>;
    type Inputs = Inputs;
    type Scores = Scores;
}

fn weight(weight: Weight<'_, Faulty>) -> Weight<'_, Reference> {
    match weight {
        Weight::Trainable { parameters, start } => Weight::Trainable { parameters, start },
        Weight::Frozen(frozen) => Weight::Frozen(frozen),
    }
}

fn heads<'a>(heads: &Heads<'a, Faulty>) -> Heads<'a, Reference> {
    let &Heads { tokens, attention, rotary, norms } = heads;
    let norms = norms.map(|n| HeadNorms { q: weight(n.q), k: weight(n.k), norm: n.norm });
    Heads { tokens, attention, rotary, norms }
}

fn distributions(of: Distributions<'_, Faulty>) -> Distributions<'_, Reference> {
    let Distributions { width, x, weight: w, scores } = of;
    Distributions { width, x, weight: weight(w), scores }
}

impl Backend for Faulty {
    fn footprint(&self) -> Footprint {
        let mut footprint = Reference.footprint();
        if self.fails("footprint") {
            footprint.activation = 0;
        }
        footprint
    }
    fn activation(&self, len: usize) -> Result<Vec<f64>> {
        let missing = usize::from(self.fails("activation") && len > 0);
        Reference.activation(len - missing)
    }
    fn activation_from(&self, values: &[f64]) -> Result<Vec<f64>> {
        Ok(self.spoiled("activation_from", Reference.activation_from(values)?))
    }
    fn read_activation(&self, activation: &Vec<f64>, len: usize) -> Vec<f64> {
        self.spoiled("read_activation", Reference.read_activation(activation, len))
    }
    fn zero(&self, len: usize, x: &mut Vec<f64>) {
        Reference.zero(len, x);
        self.spoil("zero", &mut x[..len]);
    }
    fn accumulator(&self, len: usize) -> Result<Vec<f64>> {
        Ok(self.spoiled("accumulator", Reference.accumulator(len)?))
    }
    fn write_accumulator(&self, accumulator: &mut Vec<f64>, start: usize, values: &[f64]) {
        Reference.write_accumulator(accumulator, start, values);
        self.spoil("write_accumulator", accumulator);
    }
    fn read_accumulator(&self, accumulator: &Vec<f64>, range: Range<usize>) -> Vec<f64> {
        self.spoiled("read_accumulator", Reference.read_accumulator(accumulator, range))
    }
    fn clear(&self, accumulator: &mut Vec<f64>) {
        Reference.clear(accumulator);
        self.spoil("clear", accumulator);
    }
    fn sums_of_squares(&self, accumulator: &Vec<f64>, ranges: &[Range<usize>]) -> Vec<f64> {
        self.spoiled("sums_of_squares", Reference.sums_of_squares(accumulator, ranges))
    }
    fn parameters(&self, len: usize) -> Result<Vec<f64>> {
        let mut parameters = Reference.parameters(len)?;
        // Where nothing is written later.
        if let Some(last) = parameters.last_mut() {
            self.spoil("parameters", std::slice::from_mut(last));
        }
        Ok(parameters)
    }
    fn write_parameters(&self, parameters: &mut Vec<f64>, start: usize, values: HostTensor) {
        Reference.write_parameters(parameters, start, values);
        self.spoil("write_parameters", &mut parameters[start..][..values.len()]);
    }
    fn read_parameters(&self, parameters: &Vec<f64>, range: Range<usize>) -> Vec<f64> {
        self.spoiled("read_parameters", Reference.read_parameters(parameters, range))
    }
    fn update(
        &self,
        parameters: &mut Vec<f64>,
        gradient: &Vec<f64>,
        states: &mut [Vec<f64>],
        updates: &[RangeUpdate],
        gradient_scale: f64,
    ) {
        // The last range is left out.
        let missing = usize::from(self.fails("update")) * 2;
        let updates = &updates[..updates.len() - missing];
        Reference.update(parameters, gradient, states, updates, gradient_scale);
    }
    fn average(&self, parameters: &Vec<f64>, decay: f64, average: &mut Vec<f64>) {
        Reference.average(parameters, decay, average);
        self.spoil("average", average);
    }
    fn frozen(&self, parts: &[HostTensor], storage: Storage) -> Result<Vec<f64>> {
        Ok(self.spoiled("frozen", Reference.frozen(parts, storage)?))
    }
    fn read_frozen(&self, frozen: &Vec<f64>, range: Range<usize>) -> Vec<f64> {
        self.spoiled("read_frozen", Reference.read_frozen(frozen, range))
    }
    fn upload(&self, inputs: &PassInputs<Scores>) -> Result<Inputs> {
        let mut inputs = *inputs;
        if self.fails("upload") {
            inputs.look_ahead = None;
        }
        Reference.upload(&inputs)
    }
    fn embed(
        &self,
        embedding: Embedding,
        inputs: &Inputs,
        table: Weight<Self>,
        out: &mut Vec<f64>,
    ) -> Result<()> {
        Reference.embed(embedding, inputs, weight(table), out)?;
        self.spoil("embed", out);
        Ok(())
    }
    fn embed_backward(
        &self,
        embedding: Embedding,
        inputs: &Inputs,
        d_out: &Vec<f64>,
        d_table: Slot<Vec<f64>>,
    ) -> Result<()> {
        let Slot { buffer, start } = d_table;
        Reference.embed_backward(embedding, inputs, d_out, Slot { buffer: &mut *buffer, start })?;
        self.spoil("embed_backward", buffer);
        Ok(())
    }
    fn add_noise(&self, width: usize, part: u64, inputs: &Inputs, x: &mut Vec<f64>) {
        let part = if self.fails("add_noise") { part ^ 1 } else { part };
        Reference.add_noise(width, part, inputs, x);
    }
    fn norm(
        &self,
        rows: usize,
        norm: Norm,
        x: &Vec<f64>,
        w: Weight<Self>,
        out: &mut Vec<f64>,
    ) -> Result<()> {
        Reference.norm(rows, norm, x, weight(w), out)?;
        self.spoil("norm", out);
        Ok(())
    }
    fn norm_backward(
        &self,
        rows: usize,
        norm: Norm,
        x: &Vec<f64>,
        w: Weight<Self>,
        d_out: &Vec<f64>,
        d_x: &mut Vec<f64>,
        d_weight: Option<Slot<Vec<f64>>>,
    ) -> Result<()> {
        Reference.norm_backward(rows, norm, x, weight(w), d_out, d_x, d_weight)?;
        self.spoil("norm_backward", d_x);
        Ok(())
    }
    fn linear(
        &self,
        linear: Linear,
        x: &Vec<f64>,
        w: Weight<Self>,
        bias: Option<Weight<Self>>,
        to: Out<Vec<f64>>,
        out: &mut Vec<f64>,
    ) -> Result<()> {
        Reference.linear(linear, x, weight(w), bias.map(weight), to, out)?;
        self.spoil("linear", out);
        Ok(())
    }
    fn linear_backward_input(
        &self,
        linear: Linear,
        d_out: &Vec<f64>,
        w: Weight<Self>,
        to: Out<Vec<f64>>,
        d_x: &mut Vec<f64>,
    ) -> Result<()> {
        Reference.linear_backward_input(linear, d_out, weight(w), to, d_x)?;
        self.spoil("linear_backward_input", d_x);
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
        Reference.linear_backward_weight(linear, x, d_out, starts, gradients)?;
        self.spoil("linear_backward_weight", gradients);
        Ok(())
    }
    fn take_columns(&self, columns: &Columns, x: &Vec<f64>, out: &mut Vec<f64>) {
        Reference.take_columns(columns, x, out);
        self.spoil("take_columns", out);
    }
    fn add_columns(&self, columns: &Columns, x: &Vec<f64>, scale: f64, out: &mut Vec<f64>) {
        Reference.add_columns(columns, x, scale, out);
        self.spoil("add_columns", out);
    }
    fn scale_columns(&self, columns: &Columns, factors: &[f64], x: &mut Vec<f64>) {
        Reference.scale_columns(columns, factors, x);
        self.spoil("scale_columns", x);
    }
    fn column_products(&self, columns: &Columns, x: &Vec<f64>, y: &Vec<f64>, sums: Slot<Vec<f64>>) {
        let Slot { buffer, start } = sums;
        Reference.column_products(columns, x, y, Slot { buffer: &mut *buffer, start });
        self.spoil("column_products", buffer);
    }
    fn dropout(&self, mut dropout: Dropout, inputs: &Inputs, x: &Vec<f64>, out: &mut Vec<f64>) {
        if self.fails("dropout") {
            dropout.part ^= 1;
        }
        Reference.dropout(dropout, inputs, x, out);
    }
    fn adapted_norms(
        &self,
        low_rank: &LowRank,
        w: Weight<Self>,
        a: Weight<Self>,
        b: Weight<Self>,
    ) -> Result<Vec<f64>> {
        let norms = Reference.adapted_norms(low_rank, weight(w), weight(a), weight(b))?;
        Ok(self.spoiled("adapted_norms", norms))
    }
    fn rotary(&self, inputs: &Inputs, inverse_frequencies: &[f64]) -> Result<Vec<f64>> {
        Ok(self.spoiled("rotary", Reference.rotary(inputs, inverse_frequencies)?))
    }
    fn split_heads(
        &self,
        h: &Heads<Self>,
        qkv: &Vec<f64>,
        q: &mut Vec<f64>,
        kv: &mut Vec<f64>,
    ) -> Result<()> {
        Reference.split_heads(&heads(h), qkv, q, kv)?;
        self.spoil("split_heads", kv);
        Ok(())
    }
    fn split_heads_backward(
        &self,
        h: &Heads<Self>,
        qkv: Option<&Vec<f64>>,
        d_q: &Vec<f64>,
        d_kv: &Vec<f64>,
        d_qkv: &mut Vec<f64>,
        d_norms: Option<(HeadNormStarts, &mut Vec<f64>)>,
    ) -> Result<()> {
        Reference.split_heads_backward(&heads(h), qkv, d_q, d_kv, d_qkv, d_norms)?;
        self.spoil("split_heads_backward", d_qkv);
        Ok(())
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
        Reference.attention(attention, inputs, q, kv, past, out, lse)?;
        self.spoil("attention", lse);
        Ok(())
    }
    fn attention_backward(
        &self,
        attention: &Attention,
        inputs: &Inputs,
        saved: AttentionSaved<Self>,
        d_out: &Vec<f64>,
        d_q: &mut Vec<f64>,
        d_kv: &mut Vec<f64>,
        mut d_past: Option<&mut Vec<f64>>,
    ) -> Result<()> {
        let AttentionSaved { q, kv, past, out, lse } = saved;
        let saved = AttentionSaved { q, kv, past, out, lse };
        let to = d_past.as_deref_mut();
        Reference.attention_backward(attention, inputs, saved, d_out, d_q, d_kv, to)?;
        if let Some(d_past) = d_past {
            self.spoil("attention_backward", d_past);
        }
        Ok(())
    }
    fn gated(&self, gated: Gated, gate_up: &Vec<f64>, out: &mut Vec<f64>) {
        Reference.gated(gated, gate_up, out);
        self.spoil("gated", out);
    }
    fn gated_backward(
        &self,
        gated: Gated,
        gate_up: &Vec<f64>,
        d_out: &Vec<f64>,
        d_gate_up: &mut Vec<f64>,
    ) {
        Reference.gated_backward(gated, gate_up, d_out, d_gate_up);
        self.spoil("gated_backward", d_gate_up);
    }
    fn copy_rows(&self, width: usize, map: &RowMap, x: &Vec<f64>, out: &mut Vec<f64>) {
        Reference.copy_rows(width, map, x, out);
        self.spoil("copy_rows", out);
    }
    fn add_rows(&self, width: usize, map: &RowMap, x: &Vec<f64>, out: &mut Vec<f64>) {
        Reference.add_rows(width, map, x, out);
        self.spoil("add_rows", out);
    }
    fn add(&self, len: usize, x: &Vec<f64>, out: &mut Vec<f64>) {
        Reference.add(len, x, out);
        self.spoil("add", out);
    }
    fn head(
        &self,
        head: Head,
        x: &Vec<f64>,
        w: Weight<Self>,
        targets: &HeadTargets,
    ) -> Result<Scores> {
        let x = if self.fails("head") { x.iter().map(|x| 1.01 * x).collect() } else { x.clone() };
        Reference.head(head, &x, weight(w), targets)
    }
    fn read_scores(&self, scores: &Scores) -> HeadScores {
        let mut scores = Reference.read_scores(scores);
        self.spoil("read_scores", &mut scores.log_probs);
        scores
    }
    fn divergence(
        &self,
        kind: Divergence,
        head: Head,
        x: &Vec<f64>,
        w: Weight<Self>,
        scores: &mut Scores,
        reference: Distributions<Self>,
    ) -> Result<()> {
        let kind = match kind {
            Divergence::Forward if self.fails("divergence") => Divergence::Reverse,
            kind => kind,
        };
        Reference.divergence(kind, head, x, weight(w), scores, distributions(reference))
    }
    fn head_backward(
        &self,
        head: Head,
        x: &Vec<f64>,
        w: Weight<Self>,
        scores: Scores,
        gradient: &HeadGradient<Self>,
        d_x: &mut Vec<f64>,
        d_weight: Option<Slot<Vec<f64>>>,
    ) -> Result<()> {
        let share = gradient.divergence.as_ref();
        let divergence = share.map(|d| DivergenceGradient {
            kind: d.kind,
            reference: distributions(d.reference),
            d_divergences: d.d_divergences,
        });
        let gradient = HeadGradient { d_log_probs: gradient.d_log_probs, divergence };
        Reference.head_backward(head, x, weight(w), scores, &gradient, d_x, d_weight)?;
        self.spoil("head_backward", d_x);
        Ok(())
    }
    fn logits(&self, head: Head, n: usize, x: &Vec<f64>, w: Weight<Self>) -> Result<Vec<f32>> {
        let mut logits = Reference.logits(head, n, x, weight(w))?;
        if self.fails("logits") {
            logits.reverse();
        }
        Ok(logits)
    }
    fn peak(&self) -> Option<f64> {
        self.fails("peak").then_some(f64::NAN)
    }
    fn take_profile(&self) -> Profile {
        let mut profile = Reference.take_profile();
        if self.fails("take_profile") {
            let (operation, time) = ("products", Duration::ZERO);
            profile.entries.push(ProfileEntry { operation, time, flops: 1 });
        }
        profile
    }
}
