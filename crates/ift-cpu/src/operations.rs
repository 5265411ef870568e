//! [`Backend`] for [`Cpu`]: each operation counts its time and work and hands the numbers of its buffers on.

use crate::heads::Weights;
use crate::pack::{Matrix, Operand};
use crate::product::Product;
use crate::profile::Kind;
use crate::stored::Stored;
use crate::threads::Cut;
use crate::{Buffer, Cpu, Number, Weight};
use ift_backend::{
    Activation, AttentionRow, AttentionShape, Backend, Choice, Distributions, Divergence,
    DivergenceGradient, HeadNorms, HeadScores, HostTensor, Mix, Norm, Out, Past, Profile, Storage,
    Update,
};
use std::ops::Range;

/// The slices of an operation's output.
fn slices<N: Number>(to: Out<Buffer<N>>) -> Out<[N]> {
    match to {
        Out::Set => Out::Set,
        Out::Add => Out::Add,
        Out::Plus(base) => Out::Plus(base),
    }
}

/// Multiplications and additions of attention, forward: two products over the keys that each query
/// sees.
fn attention_flops(shape: &AttentionShape, rows: &[AttentionRow]) -> u64 {
    let seen = |row: &AttentionRow| {
        (0..row.len).map(|i| shape.visible(row.past_len + i).len()).sum::<usize>()
    };
    4 * (rows.iter().map(seen).sum::<usize>() * shape.heads * shape.head_dim) as u64
}

fn past_numbers<'a, N: Number>(past: Option<&Past<'a, Buffer<N>>>) -> &'a [N] {
    past.map_or(&[], |p| p.kv)
}

impl<N: Number> Cpu<N> {
    fn head_weights<'a>(&self, norms: Option<HeadNorms<'a, Weight<N>>>) -> Option<Weights<'a>> {
        norms.map(|h| {
            let width = h.norm.width;
            Weights { q: self.values(h.q, 0..width), k: self.values(h.k, 0..width), norm: h.norm }
        })
    }
}

impl<N: Number> Backend for Cpu<N> {
    type Element = f32;
    type Activation = Buffer<N>;
    type Weight = Weight<N>;
    type Accumulator = Buffer<f32>;
    type Logits = Vec<Buffer<f32>>;

    const ACTIVATION_BYTES: usize = size_of::<N>();
    const WEIGHT_BYTES: usize = size_of::<f32>() + if N::EXACT { 0 } else { size_of::<N>() };

    fn activation(&self, len: usize) -> Buffer<N> {
        self.pool.take(len)
    }

    fn activation_from(&self, values: &[f64]) -> Buffer<N> {
        let mut buffer = self.pool.take(values.len());
        buffer.iter_mut().zip(values).for_each(|(to, x)| *to = N::round(*x as f32));
        buffer
    }

    fn read_activation(&self, activation: &Buffer<N>, len: usize) -> Vec<f32> {
        activation[..len].iter().map(|x| x.widen()).collect()
    }

    fn weight(&self, parts: &[HostTensor]) -> Weight<N> {
        self.stored_weight(parts, Storage::Exact)
    }

    fn frozen_weight(&self, parts: &[HostTensor], storage: Storage) -> Weight<N> {
        self.stored_weight(parts, storage)
    }

    fn write_weight(&self, weight: &mut Weight<N>, values: &[f32]) {
        let (exact, copy) = weight.learning();
        exact.copy_from_slice(values);
        self.round_numbers(exact, copy);
    }

    fn read_weight(&self, weight: &Weight<N>, range: Range<usize>) -> Vec<f32> {
        self.values(weight, range).to_vec()
    }

    fn accumulator(&self, len: usize) -> Buffer<f32> {
        self.pool.zeros(len)
    }

    fn write_accumulator(&self, accumulator: &mut Buffer<f32>, values: &[f32]) {
        accumulator.copy_from_slice(values);
    }

    fn read_accumulator(&self, accumulator: &Buffer<f32>, range: Range<usize>) -> Vec<f32> {
        accumulator[range].to_vec()
    }

    fn clear(&self, accumulator: &mut Buffer<f32>) {
        let _timer = self.meter.start(Kind::Optimizer, 0);
        self.threads.rows(accumulator.len(), 1, Cut(accumulator, 1), |_, x| x.fill(0.0));
    }

    fn sum_of_squares(&self, accumulator: &Buffer<f32>, range: Range<usize>) -> f64 {
        let _timer = self.meter.start(Kind::Optimizer, 2 * range.len() as u64);
        self.squares(&accumulator[range])
    }

    fn update(
        &self,
        weight: &mut Weight<N>,
        gradient: &Buffer<f32>,
        states: &mut [Buffer<f32>],
        rule: &Update,
        gradient_scale: f64,
    ) {
        let (exact, copy) = weight.learning();
        let _timer = self.meter.start(Kind::Optimizer, 10 * exact.len() as u64);
        self.update_numbers(exact, copy, gradient, states, rule, gradient_scale);
    }

    fn average(&self, weight: &Weight<N>, decay: f64, average: &mut Buffer<f32>) {
        let _timer = self.meter.start(Kind::Optimizer, 3 * average.len() as u64);
        self.average_values(weight, decay, average);
    }

    fn embed(
        &self,
        table: &Weight<N>,
        width: usize,
        tokens: &[u32],
        mix: Option<Mix>,
        scale: f64,
        out: &mut Buffer<N>,
    ) {
        let _timer = self.meter.start(Kind::Embedding, (tokens.len() * width) as u64);
        self.embed_rows(table.values(), width, tokens, mix, scale, out);
    }

    fn embed_backward(
        &self,
        width: usize,
        tokens: &[u32],
        scale: f64,
        d_out: &Buffer<N>,
        d_table: &mut Buffer<f32>,
    ) {
        let _timer = self.meter.start(Kind::Embedding, 2 * (tokens.len() * width) as u64);
        self.embed_gradients(width, tokens, scale, d_out, d_table);
    }

    fn norm(&self, n: usize, x: &Buffer<N>, weight: &Weight<N>, norm: Norm, out: &mut Buffer<N>) {
        let _timer = self.meter.start(Kind::Elementwise, 4 * (n * norm.width) as u64);
        self.norm_forward(n, x, &self.values(weight, 0..norm.width), norm, out);
    }

    fn norm_backward(
        &self,
        n: usize,
        x: &Buffer<N>,
        weight: &Weight<N>,
        norm: Norm,
        d_out: &Buffer<N>,
        d_x: &mut Buffer<N>,
        d_weight: Option<&mut Buffer<f32>>,
    ) {
        let _timer = self.meter.start(Kind::Elementwise, 14 * (n * norm.width) as u64);
        let weight = self.values(weight, 0..norm.width);
        self.norm_gradients(n, x, &weight, norm, d_out, d_x, d_weight.map(|d| &mut d[..]));
    }

    fn linear(
        &self,
        n: usize,
        inputs: usize,
        outputs: usize,
        x: &Buffer<N>,
        weight: &Weight<N>,
        bias: Option<&Weight<N>>,
        to: Out<Buffer<N>>,
        out: &mut Buffer<N>,
    ) {
        let _timer = self.meter.start(Kind::Products, 2 * (n * inputs * outputs) as u64);
        let bias = bias.map(|b| self.values(b, 0..outputs));
        self.linear_product(
            n,
            inputs,
            outputs,
            x,
            weight.operand(),
            bias.as_deref(),
            slices(to),
            out,
        );
    }

    fn linear_backward_input(
        &self,
        n: usize,
        inputs: usize,
        outputs: usize,
        d_out: &Buffer<N>,
        weight: &Weight<N>,
        to: Out<Buffer<N>>,
        d_x: &mut Buffer<N>,
    ) {
        let (a, b) = (Matrix::by_rows(d_out, outputs), Operand::by_rows(weight.operand(), inputs));
        let product = Product { m: n, n: inputs, k: outputs, a, b, bias: None, to: slices(to) };
        let _timer = self.meter.start(Kind::Products, product.flops());
        self.multiply::<N>(&product, d_x);
    }

    fn linear_backward_weight(
        &self,
        n: usize,
        inputs: usize,
        outputs: usize,
        x: &Buffer<N>,
        d_out: &Buffer<N>,
        d_weight: &mut Buffer<f32>,
        d_bias: Option<&mut Buffer<f32>>,
    ) {
        let (a, b) =
            (Matrix::transposed(d_out, outputs), Operand::by_rows(Stored::from(&x[..]), inputs));
        let product = Product { m: outputs, n: inputs, k: n, a, b, bias: None, to: Out::Add };
        let _timer = self.meter.start(Kind::Products, product.flops());
        self.multiply::<f32>(&product, d_weight);
        if let Some(d_bias) = d_bias {
            self.add_column_sums(n, outputs, d_out, d_bias);
        }
    }

    fn take_columns(
        &self,
        n: usize,
        width: usize,
        x: &Buffer<N>,
        columns: Range<usize>,
        out: &mut Buffer<N>,
    ) {
        let _timer = self.meter.start(Kind::Elementwise, 0);
        self.columns_taken(n, width, x, columns, out);
    }

    fn add_columns(
        &self,
        n: usize,
        width: usize,
        x: &Buffer<N>,
        scale: f64,
        columns: Range<usize>,
        out: &mut Buffer<N>,
    ) {
        let _timer = self.meter.start(Kind::Elementwise, 2 * (n * columns.len()) as u64);
        self.columns_added(n, width, x, scale, columns, out);
    }

    fn scale_columns(
        &self,
        n: usize,
        width: usize,
        factors: &[f64],
        columns: Range<usize>,
        x: &mut Buffer<N>,
    ) {
        let _timer = self.meter.start(Kind::Elementwise, (n * columns.len()) as u64);
        self.columns_scaled(n, width, factors, columns, x);
    }

    fn column_products(
        &self,
        n: usize,
        width: usize,
        x: &Buffer<N>,
        y: &Buffer<N>,
        columns: Range<usize>,
        sums: &mut Buffer<f32>,
    ) {
        let _timer = self.meter.start(Kind::Elementwise, 2 * (n * columns.len()) as u64);
        self.column_product_sums(n, width, x, y, columns, sums);
    }

    fn dropout(
        &self,
        n: usize,
        width: usize,
        x: &Buffer<N>,
        rate: f64,
        streams: &[u64],
        out: &mut Buffer<N>,
    ) {
        let _timer = self.meter.start(Kind::Elementwise, (n * width) as u64);
        self.dropped_out(n, width, x, rate, streams, out);
    }

    fn add_noise(
        &self,
        n: usize,
        width: usize,
        magnitudes: &[f64],
        streams: &[u64],
        x: &mut Buffer<N>,
    ) {
        let _timer = self.meter.start(Kind::Embedding, 2 * (n * width) as u64);
        self.disturbed(n, width, magnitudes, streams, x);
    }

    fn adapted_norms(
        &self,
        inputs: usize,
        rank: usize,
        weight: &Weight<N>,
        rows: Range<usize>,
        a: &Weight<N>,
        b: &Weight<N>,
        scale: f64,
    ) -> Vec<f64> {
        let _timer =
            self.meter.start(Kind::Products, 2 * (rows.len() * inputs * (rank + 1)) as u64);
        self.norms_of_adapted(inputs, rank, weight, rows, a, b, scale)
    }

    fn rotary(&self, positions: &[u32], inverse_frequencies: &[f64]) -> Buffer<f32> {
        let half = inverse_frequencies.len();
        let mut angles = self.pool.take(positions.len() * 2 * half);
        for (row, &position) in angles.chunks_exact_mut((2 * half).max(1)).zip(positions) {
            let (cos, sin) = row.split_at_mut(half);
            for ((cos, sin), frequency) in cos.iter_mut().zip(sin).zip(inverse_frequencies) {
                let (s, c) = (f64::from(position) * frequency).sin_cos();
                (*cos, *sin) = (c as f32, s as f32);
            }
        }
        angles
    }

    fn split_heads(
        &self,
        n: usize,
        shape: &AttentionShape,
        qkv: &Buffer<N>,
        rotary: &Buffer<f32>,
        norms: Option<HeadNorms<Weight<N>>>,
        q: &mut Buffer<N>,
        kv: &mut Buffer<N>,
    ) {
        let _timer = self.meter.start(Kind::Elementwise, 6 * (n * shape.q_width()) as u64);
        self.split_forward(n, shape, qkv, rotary, self.head_weights(norms).as_ref(), q, kv);
    }

    fn split_heads_backward(
        &self,
        n: usize,
        shape: &AttentionShape,
        qkv: Option<&Buffer<N>>,
        rotary: &Buffer<f32>,
        norms: Option<HeadNorms<Weight<N>>>,
        d_q: &Buffer<N>,
        d_kv: &Buffer<N>,
        d_qkv: &mut Buffer<N>,
        d_norms: Option<(&mut Buffer<f32>, &mut Buffer<f32>)>,
    ) {
        let _timer = self.meter.start(Kind::Elementwise, 6 * (n * shape.q_width()) as u64);
        let qkv = qkv.map(|x| &x[..]);
        let d_norms = d_norms.map(|(q, k)| (&mut q[..], &mut k[..]));
        let weights = self.head_weights(norms);
        self.split_gradients(n, shape, qkv, rotary, weights.as_ref(), d_q, d_kv, d_qkv, d_norms);
    }

    fn attention(
        &self,
        shape: &AttentionShape,
        rows: &[AttentionRow],
        q: &Buffer<N>,
        kv: &Buffer<N>,
        past: Option<Past<Buffer<N>>>,
        out: &mut Buffer<N>,
        lse: &mut Buffer<f32>,
    ) {
        let _timer = self.meter.start(Kind::Attention, attention_flops(shape, rows));
        self.attend(shape, rows, q, kv, past_numbers(past.as_ref()), out, lse);
    }

    fn attention_backward(
        &self,
        shape: &AttentionShape,
        rows: &[AttentionRow],
        q: &Buffer<N>,
        kv: &Buffer<N>,
        past: Option<Past<Buffer<N>>>,
        out: &Buffer<N>,
        lse: &Buffer<f32>,
        d_out: &Buffer<N>,
        d_q: &mut Buffer<N>,
        d_kv: &mut Buffer<N>,
        d_past: Option<&mut Buffer<f32>>,
    ) {
        let _timer = self.meter.start(Kind::Attention, attention_flops(shape, rows) * 5 / 2);
        let past = past_numbers(past.as_ref());
        let d_past = d_past.map(|d| &mut d[..]);
        self.attend_backward(shape, rows, q, kv, past, out, lse, d_out, d_q, d_kv, d_past);
    }

    fn gated(
        &self,
        n: usize,
        width: usize,
        activation: Activation,
        gate_up: &Buffer<N>,
        out: &mut Buffer<N>,
    ) {
        let _timer = self.meter.start(Kind::Elementwise, 4 * (n * width) as u64);
        self.gated_forward(n, width, activation, gate_up, out);
    }

    fn gated_backward(
        &self,
        n: usize,
        width: usize,
        activation: Activation,
        gate_up: &Buffer<N>,
        d_out: &Buffer<N>,
        d_gate_up: &mut Buffer<N>,
    ) {
        let _timer = self.meter.start(Kind::Elementwise, 10 * (n * width) as u64);
        self.gated_gradients(n, width, activation, gate_up, d_out, d_gate_up);
    }

    fn gather(
        &self,
        width: usize,
        x: &Buffer<N>,
        index: &[usize],
        out: &mut Buffer<N>,
        out_start: usize,
    ) {
        let _timer = self.meter.start(Kind::Elementwise, 0);
        self.gather_rows(width, x, index, &mut out[out_start * width..]);
    }

    fn scatter_add(
        &self,
        width: usize,
        x: &Buffer<N>,
        x_start: usize,
        index: &[usize],
        out: &mut Buffer<N>,
    ) {
        let _timer = self.meter.start(Kind::Elementwise, (index.len() * width) as u64);
        self.scatter_rows(width, &x[x_start * width..], index, out);
    }

    fn zero(&self, len: usize, x: &mut Buffer<N>) {
        let _timer = self.meter.start(Kind::Elementwise, 0);
        self.threads.rows(len, 1, Cut(x, 1), |_, x| x.fill(N::zeroed()));
    }

    fn add(&self, len: usize, x: &Buffer<f32>, out: &mut Buffer<N>) {
        let _timer = self.meter.start(Kind::Elementwise, len as u64);
        self.add_numbers(&x[..len], out);
    }

    fn head(
        &self,
        width: usize,
        vocabulary: usize,
        x: &Buffer<N>,
        weight: &Weight<N>,
        targets: &[u32],
        choice: Choice,
        keep: bool,
    ) -> (HeadScores, Option<Vec<Buffer<f32>>>) {
        let _timer = self.meter.start(Kind::Head, 2 * (targets.len() * width * vocabulary) as u64);
        self.head_scores(width, vocabulary, x, weight.operand(), targets, &choice, keep)
    }

    fn divergence(
        &self,
        vocabulary: usize,
        policy: Distributions<Buffer<N>, Weight<N>>,
        reference: Distributions<Buffer<N>, Weight<N>>,
        kind: Divergence,
    ) -> Vec<f64> {
        let products = policy.log_normalizers.len() * vocabulary * (policy.width + reference.width);
        let _timer = self.meter.start(Kind::Head, 2 * products as u64);
        self.divergences(vocabulary, &policy.into(), &reference.into(), kind)
    }

    fn head_backward(
        &self,
        width: usize,
        vocabulary: usize,
        x: &Buffer<N>,
        weight: &Weight<N>,
        targets: &[u32],
        log_normalizers: &[f64],
        logits: Option<Vec<Buffer<f32>>>,
        d_log_probs: &[f64],
        divergence: Option<DivergenceGradient<Buffer<N>, Weight<N>>>,
        d_x: &mut Buffer<N>,
        d_weight: Option<&mut Buffer<f32>>,
    ) {
        // The logits again unless they were kept, then one product or two; and the reference's
        // logits.
        let products = 1 + usize::from(logits.is_none()) + usize::from(d_weight.is_some());
        let widths = products * width + divergence.as_ref().map_or(0, |d| d.reference.width);
        let _timer = self.meter.start(Kind::Head, 2 * (targets.len() * vocabulary * widths) as u64);
        let d_weight = d_weight.map(|d| &mut d[..]);
        self.head_gradients(
            width,
            vocabulary,
            x,
            weight.operand(),
            targets,
            log_normalizers,
            logits,
            d_log_probs,
            divergence.map(Into::into).as_ref(),
            d_x,
            d_weight,
        );
    }

    fn logits(
        &self,
        n: usize,
        width: usize,
        vocabulary: usize,
        x: &Buffer<N>,
        weight: &Weight<N>,
    ) -> Vec<f32> {
        let _timer = self.meter.start(Kind::Head, 2 * (n * width * vocabulary) as u64);
        let mut logits = vec![0.0f32; n * vocabulary];
        self.linear_product(n, width, vocabulary, x, weight.operand(), None, Out::Set, &mut logits);
        logits
    }

    fn peak(&self) -> Option<f64> {
        Some(self.measure_peak())
    }

    fn take_profile(&self) -> Profile {
        self.meter.take(&self.threads)
    }
}
