//! The fast CPU backend: f32, threads and SIMD.
//!
//! * `product` with `tile` and `simd`, and `linear` above them: matrix products, where most of the time goes.
//! * `attention`, `head`: the two operations that are more than one product, in blocks that stay in the caches.
//! * `norm`, `heads`, `gated`, `rows`, `update`: what is bound by memory, one pass each.
//! * `instructions`, `threads`, `buffer`, `profile`: what all of them stand on.
//!
//! Every result has the same bits whatever the number of threads: work is cut into parts that depend on shapes alone,
//! and sums over parts are taken in a fixed order.

#![allow(
    clippy::inline_always,
    reason = "a kernel's helpers must become part of its copy for an instruction set"
)]

mod attention;
mod buffer;
mod gated;
mod head;
mod heads;
mod instructions;
mod linear;
mod math;
mod norm;
mod product;
mod profile;
mod rows;
mod simd;
mod threads;
mod tile;
mod update;

pub use buffer::Buffer;
pub use instructions::{CpuError, Instructions};

use crate::{
    Activation, AttentionRow, AttentionShape, Backend, Choice, HeadNorms, HeadScores, HostTensor, Mix, Norm,
    Out, Past, Profile, Update,
};
use buffer::Pool;
use instructions::Available;
use product::{Matrix, Product};
use profile::{Kind, Meter};
use std::fmt;
use std::ops::Range;
use threads::Threads;

/// The f32 backend for CPUs.
pub struct Cpu {
    set: Available,
    threads: Threads,
    pool: Pool,
    meter: Meter,
}

impl Cpu {
    /// A backend with `threads` threads of its own (0: one for each core) and the best instructions of this machine.
    /// Where the system refuses to start threads, the caller's works alone.
    pub fn new(threads: usize) -> Self {
        Self::build(threads, Available::best())
    }

    /// A backend that uses the instructions given: for tests, and for the same bits on different machines.
    ///
    /// # Errors
    /// If this machine lacks them.
    pub fn with_instructions(threads: usize, instructions: Instructions) -> Result<Self, CpuError> {
        Ok(Self::build(threads, Available::new(instructions)?))
    }

    fn build(threads: usize, set: Available) -> Self {
        Self { set, threads: Threads::new(threads), pool: Pool::default(), meter: Meter::default() }
    }

    /// How many threads compute.
    pub fn threads(&self) -> usize {
        self.threads.count()
    }

    /// The instructions that the kernels use.
    pub fn instructions(&self) -> Instructions {
        self.set.get()
    }
}

impl fmt::Debug for Cpu {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "Cpu({} threads, {:?})", self.threads(), self.instructions())
    }
}

/// Multiplications and additions of attention, forward: two products over the keys that each query sees.
fn attention_flops(shape: &AttentionShape, rows: &[AttentionRow]) -> u64 {
    let seen =
        |row: &AttentionRow| (0..row.len).map(|i| shape.visible(row.past_len + i).len()).sum::<usize>();
    4 * (rows.iter().map(seen).sum::<usize>() * shape.heads * shape.head_dim) as u64
}

fn past_numbers<'a>(past: Option<&Past<'a, Buffer>>) -> &'a [f32] {
    past.map_or(&[], |p| p.kv)
}

impl Backend for Cpu {
    type Element = f32;
    type Activation = Buffer;
    type Weight = Vec<f32>;
    type Accumulator = Vec<f32>;

    fn activation(&self, len: usize) -> Buffer {
        self.pool.take(len)
    }

    fn activation_from(&self, values: &[f64]) -> Buffer {
        let mut buffer = self.pool.take(values.len());
        buffer.iter_mut().zip(values).for_each(|(to, x)| *to = *x as f32);
        buffer
    }

    fn read_activation(&self, activation: &Buffer, len: usize) -> Vec<f32> {
        activation[..len].to_vec()
    }

    fn weight(&self, parts: &[HostTensor]) -> Vec<f32> {
        let mut weight = vec![0.0; parts.iter().map(HostTensor::len).sum()];
        let mut rest = &mut weight[..];
        for part in parts {
            let (to, tail) = rest.split_at_mut(part.len());
            let size = part.number.size();
            self.threads.rows(to.len(), 1, [(to, 1)], |range, [to]| {
                let bytes = &part.bytes[range.start * size..range.end * size];
                HostTensor { number: part.number, bytes }.convert_into(to);
            });
            rest = tail;
        }
        weight
    }

    fn write_weight(&self, weight: &mut Vec<f32>, values: &[f32]) {
        weight.copy_from_slice(values);
    }

    fn read_weight(&self, weight: &Vec<f32>, range: Range<usize>) -> Vec<f32> {
        weight[range].to_vec()
    }

    fn accumulator(&self, len: usize) -> Vec<f32> {
        vec![0.0; len]
    }

    fn write_accumulator(&self, accumulator: &mut Vec<f32>, values: &[f32]) {
        accumulator.copy_from_slice(values);
    }

    fn read_accumulator(&self, accumulator: &Vec<f32>, range: Range<usize>) -> Vec<f32> {
        accumulator[range].to_vec()
    }

    fn clear(&self, accumulator: &mut Vec<f32>) {
        let _timer = self.meter.start(Kind::Optimizer, 0);
        self.threads.rows(accumulator.len(), 1, [(accumulator, 1)], |_, [x]| x.fill(0.0));
    }

    fn sum_of_squares(&self, accumulator: &Vec<f32>, range: Range<usize>) -> f64 {
        let _timer = self.meter.start(Kind::Optimizer, 2 * range.len() as u64);
        self.squares(&accumulator[range])
    }

    fn update(
        &self,
        weight: &mut Vec<f32>,
        gradient: &Vec<f32>,
        states: &mut [Vec<f32>],
        rule: &Update,
        gradient_scale: f64,
    ) {
        let _timer = self.meter.start(Kind::Optimizer, 10 * weight.len() as u64);
        self.update_numbers(weight, gradient, states, rule, gradient_scale);
    }

    fn embed(
        &self,
        table: &Vec<f32>,
        width: usize,
        tokens: &[u32],
        mix: Option<Mix>,
        scale: f64,
        out: &mut Buffer,
    ) {
        let _timer = self.meter.start(Kind::Embedding, (tokens.len() * width) as u64);
        self.embed_rows(table, width, tokens, mix, scale, out);
    }

    fn embed_backward(
        &self,
        width: usize,
        tokens: &[u32],
        scale: f64,
        d_out: &Buffer,
        d_table: &mut Vec<f32>,
    ) {
        let _timer = self.meter.start(Kind::Embedding, 2 * (tokens.len() * width) as u64);
        self.embed_gradients(width, tokens, scale, d_out, d_table);
    }

    fn norm(&self, n: usize, x: &Buffer, weight: &Vec<f32>, norm: Norm, out: &mut Buffer) {
        let _timer = self.meter.start(Kind::Elementwise, 4 * (n * norm.width) as u64);
        self.norm_forward(n, x, weight, norm, out);
    }

    fn norm_backward(
        &self,
        n: usize,
        x: &Buffer,
        weight: &Vec<f32>,
        norm: Norm,
        d_out: &Buffer,
        d_x: &mut Buffer,
        d_weight: Option<&mut Vec<f32>>,
    ) {
        let _timer = self.meter.start(Kind::Elementwise, 14 * (n * norm.width) as u64);
        self.norm_gradients(n, x, weight, norm, d_out, d_x, d_weight);
    }

    fn linear(
        &self,
        n: usize,
        inputs: usize,
        outputs: usize,
        x: &Buffer,
        weight: &Vec<f32>,
        bias: Option<&Vec<f32>>,
        to: Out,
        out: &mut Buffer,
    ) {
        let _timer = self.meter.start(Kind::Products, 2 * (n * inputs * outputs) as u64);
        self.linear_product(n, inputs, outputs, x, weight, bias.map(Vec::as_slice), to, out);
    }

    fn linear_backward_input(
        &self,
        n: usize,
        inputs: usize,
        outputs: usize,
        d_out: &Buffer,
        weight: &Vec<f32>,
        to: Out,
        d_x: &mut Buffer,
    ) {
        let (a, b) = (Matrix::by_rows(d_out, outputs), Matrix::by_rows(weight, inputs));
        let product = Product { m: n, n: inputs, k: outputs, a, b, bias: None, to };
        let _timer = self.meter.start(Kind::Products, product.flops());
        self.multiply(&product, d_x);
    }

    fn linear_backward_weight(
        &self,
        n: usize,
        inputs: usize,
        outputs: usize,
        x: &Buffer,
        d_out: &Buffer,
        d_weight: &mut Vec<f32>,
        d_bias: Option<&mut Vec<f32>>,
    ) {
        let (a, b) = (Matrix::transposed(d_out, outputs), Matrix::by_rows(x, inputs));
        let product = Product { m: outputs, n: inputs, k: n, a, b, bias: None, to: Out::Add };
        let _timer = self.meter.start(Kind::Products, product.flops());
        self.multiply(&product, d_weight);
        if let Some(d_bias) = d_bias {
            self.add_column_sums(n, outputs, d_out, d_bias);
        }
    }

    fn rotary(&self, positions: &[u32], inverse_frequencies: &[f64]) -> Buffer {
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
        qkv: &Buffer,
        rotary: &Buffer,
        norms: Option<HeadNorms<Vec<f32>>>,
        q: &mut Buffer,
        kv: &mut Buffer,
    ) {
        let _timer = self.meter.start(Kind::Elementwise, 6 * (n * shape.q_width()) as u64);
        self.split_forward(n, shape, qkv, rotary, norms.as_ref(), q, kv);
    }

    fn split_heads_backward(
        &self,
        n: usize,
        shape: &AttentionShape,
        qkv: Option<&Buffer>,
        rotary: &Buffer,
        norms: Option<HeadNorms<Vec<f32>>>,
        d_q: &Buffer,
        d_kv: &Buffer,
        d_qkv: &mut Buffer,
        d_norms: Option<(&mut Vec<f32>, &mut Vec<f32>)>,
    ) {
        let _timer = self.meter.start(Kind::Elementwise, 6 * (n * shape.q_width()) as u64);
        let qkv = qkv.map(|x| &x[..]);
        self.split_gradients(n, shape, qkv, rotary, norms.as_ref(), d_q, d_kv, d_qkv, d_norms);
    }

    fn attention(
        &self,
        shape: &AttentionShape,
        rows: &[AttentionRow],
        q: &Buffer,
        kv: &Buffer,
        past: Option<Past<Buffer>>,
        out: &mut Buffer,
        lse: &mut Buffer,
    ) {
        let _timer = self.meter.start(Kind::Attention, attention_flops(shape, rows));
        self.attend(shape, rows, q, kv, past_numbers(past.as_ref()), out, lse);
    }

    fn attention_backward(
        &self,
        shape: &AttentionShape,
        rows: &[AttentionRow],
        q: &Buffer,
        kv: &Buffer,
        past: Option<Past<Buffer>>,
        out: &Buffer,
        lse: &Buffer,
        d_out: &Buffer,
        d_q: &mut Buffer,
        d_kv: &mut Buffer,
        d_past: Option<&mut Buffer>,
    ) {
        let _timer = self.meter.start(Kind::Attention, attention_flops(shape, rows) * 5 / 2);
        let past = past_numbers(past.as_ref());
        let d_past = d_past.map(|d| &mut d[..]);
        self.attend_backward(shape, rows, q, kv, past, out, lse, d_out, d_q, d_kv, d_past);
    }

    fn gated(&self, n: usize, width: usize, activation: Activation, gate_up: &Buffer, out: &mut Buffer) {
        let _timer = self.meter.start(Kind::Elementwise, 4 * (n * width) as u64);
        self.gated_forward(n, width, activation, gate_up, out);
    }

    fn gated_backward(
        &self,
        n: usize,
        width: usize,
        activation: Activation,
        gate_up: &Buffer,
        d_out: &Buffer,
        d_gate_up: &mut Buffer,
    ) {
        let _timer = self.meter.start(Kind::Elementwise, 10 * (n * width) as u64);
        self.gated_gradients(n, width, activation, gate_up, d_out, d_gate_up);
    }

    fn gather(&self, width: usize, x: &Buffer, index: &[usize], out: &mut Buffer, out_start: usize) {
        let _timer = self.meter.start(Kind::Elementwise, 0);
        self.gather_rows(width, x, index, &mut out[out_start * width..]);
    }

    fn scatter_add(&self, width: usize, x: &Buffer, x_start: usize, index: &[usize], out: &mut Buffer) {
        let _timer = self.meter.start(Kind::Elementwise, (index.len() * width) as u64);
        self.scatter_rows(width, &x[x_start * width..], index, out);
    }

    fn zero(&self, len: usize, x: &mut Buffer) {
        let _timer = self.meter.start(Kind::Elementwise, 0);
        self.threads.rows(len, 1, [(x, 1)], |_, [x]| x.fill(0.0));
    }

    fn add(&self, len: usize, x: &Buffer, out: &mut Buffer) {
        let _timer = self.meter.start(Kind::Elementwise, len as u64);
        self.add_numbers(&x[..len], out);
    }

    fn head(
        &self,
        width: usize,
        vocabulary: usize,
        x: &Buffer,
        weight: &Vec<f32>,
        targets: &[u32],
        choice: Choice,
    ) -> HeadScores {
        let _timer = self.meter.start(Kind::Head, 2 * (targets.len() * width * vocabulary) as u64);
        self.head_scores(width, vocabulary, x, weight, targets, &choice)
    }

    fn head_backward(
        &self,
        width: usize,
        vocabulary: usize,
        x: &Buffer,
        weight: &Vec<f32>,
        targets: &[u32],
        log_normalizers: &[f64],
        d_log_probs: &[f64],
        d_x: &mut Buffer,
        d_weight: Option<&mut Vec<f32>>,
    ) {
        // The logits again, then one product or two.
        let products = if d_weight.is_some() { 3 } else { 2 };
        let _timer = self.meter.start(Kind::Head, 2 * products * (targets.len() * width * vocabulary) as u64);
        let d_weight = d_weight.map(Vec::as_mut_slice);
        self.head_gradients(
            width,
            vocabulary,
            x,
            weight,
            targets,
            log_normalizers,
            d_log_probs,
            d_x,
            d_weight,
        );
    }

    fn logits(&self, n: usize, width: usize, vocabulary: usize, x: &Buffer, weight: &Vec<f32>) -> Vec<f32> {
        let _timer = self.meter.start(Kind::Head, 2 * (n * width * vocabulary) as u64);
        let mut logits = vec![0.0; n * vocabulary];
        self.linear_product(n, width, vocabulary, x, weight, None, Out::Set, &mut logits);
        logits
    }

    fn take_profile(&self) -> Profile {
        self.meter.take()
    }
}
