//! The fast CPU backend: threads and SIMD, activations in f32 or bf16, arithmetic in f32.
//!
//! * `product` with `pack`, `tile` and `simd`, and `linear` above them: matrix products, where most of the time goes.
//! * `attention`, `head`: the two operations that are more than one product, in blocks that stay in the caches.
//! * `norm`, `heads`, `gated`, `rows`, `update`: what is bound by memory, one pass each.
//! * `instructions`, `number`, `threads`, `buffer`, `profile`: what all of them stand on.
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
mod number;
mod pack;
mod peak;
mod product;
mod profile;
mod rows;
mod simd;
mod threads;
mod tile;
mod update;

pub use buffer::Buffer;
pub use instructions::{CpuError, Instructions};
pub use number::Number;

use crate::{
    Activation, AttentionRow, AttentionShape, Backend, Choice, HeadNorms, HeadScores, HostTensor, Mix, Norm,
    Out, Past, Profile, Update,
};
use buffer::Pool;
use half::bf16;
use heads::Weights;
use instructions::Available;
use pack::Matrix;
use product::Product;
use profile::{Kind, Meter};
use std::fmt;
use std::marker::PhantomData;
use std::ops::Range;
use threads::{Cut, Threads};

/// The backend for CPUs, with activations of type `N`. Weights, gradients and optimizer states are f32; where `N` is
/// narrower, products read a copy of the weights in `N`.
pub struct Cpu<N: Number> {
    set: Available,
    /// Whether products multiply `N` itself.
    narrow_products: bool,
    threads: Threads,
    pool: Pool,
    meter: Meter,
    numbers: PhantomData<N>,
}

/// Activations in f32.
pub type CpuF32 = Cpu<f32>;
/// Activations and compute copies in bf16: half the memory, and on machines that multiply bf16 faster products.
pub type CpuBf16 = Cpu<bf16>;

/// A weight: the exact numbers, and their copy in the activations' type where that is narrower.
#[derive(Debug)]
pub struct Weight<N: Number> {
    exact: Buffer<f32>,
    copy: Buffer<N>,
}

impl<N: Number> Weight<N> {
    /// What products read.
    fn operand(&self) -> &[N] {
        N::operand(&self.exact, &self.copy)
    }
}

impl<N: Number> Cpu<N> {
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
        Self {
            set,
            narrow_products: !N::EXACT && set.get() == Instructions::Avx512Bf16,
            threads: Threads::new(threads),
            pool: Pool::default(),
            meter: Meter::default(),
            numbers: PhantomData,
        }
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

impl<N: Number> fmt::Debug for Cpu<N> {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let numbers = std::any::type_name::<N>();
        write!(f, "Cpu<{numbers}>({} threads, {:?})", self.threads(), self.instructions())
    }
}

/// The slices of an operation's output.
fn slices<N: Number>(to: Out<Buffer<N>>) -> Out<[N]> {
    match to {
        Out::Set => Out::Set,
        Out::Add => Out::Add,
        Out::Plus(base) => Out::Plus(base),
    }
}

fn weights<N: Number>(norms: Option<HeadNorms<Weight<N>>>) -> Option<Weights> {
    norms.map(|h| {
        let width = h.norm.width;
        Weights { q: &h.q.exact[..width], k: &h.k.exact[..width], norm: h.norm }
    })
}

/// Multiplications and additions of attention, forward: two products over the keys that each query sees.
fn attention_flops(shape: &AttentionShape, rows: &[AttentionRow]) -> u64 {
    let seen =
        |row: &AttentionRow| (0..row.len).map(|i| shape.visible(row.past_len + i).len()).sum::<usize>();
    4 * (rows.iter().map(seen).sum::<usize>() * shape.heads * shape.head_dim) as u64
}

fn past_numbers<'a, N: Number>(past: Option<&Past<'a, Buffer<N>>>) -> &'a [N] {
    past.map_or(&[], |p| p.kv)
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
        let len = parts.iter().map(HostTensor::len).sum();
        let mut exact = self.pool.take(len);
        let mut rest = &mut exact[..];
        for part in parts {
            let (to, tail) = rest.split_at_mut(part.len());
            let size = part.number.size();
            self.threads.rows(to.len(), 1, Cut(to, 1), |range, to| {
                let bytes = &part.bytes[range.start * size..range.end * size];
                HostTensor { number: part.number, bytes }.convert_into(to);
            });
            rest = tail;
        }
        let mut copy = self.pool.take(if N::EXACT { 0 } else { len });
        self.round_numbers(&exact, &mut copy);
        Weight { exact, copy }
    }

    fn write_weight(&self, weight: &mut Weight<N>, values: &[f32]) {
        weight.exact.copy_from_slice(values);
        self.round_numbers(&weight.exact, &mut weight.copy);
    }

    fn read_weight(&self, weight: &Weight<N>, range: Range<usize>) -> Vec<f32> {
        weight.exact[range].to_vec()
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
        let _timer = self.meter.start(Kind::Optimizer, 10 * weight.exact.len() as u64);
        self.update_numbers(&mut weight.exact, &mut weight.copy, gradient, states, rule, gradient_scale);
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
        self.embed_rows(&table.exact, width, tokens, mix, scale, out);
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
        self.norm_forward(n, x, &weight.exact, norm, out);
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
        self.norm_gradients(n, x, &weight.exact, norm, d_out, d_x, d_weight.map(|d| &mut d[..]));
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
        let bias = bias.map(|b| &b.exact[..]);
        self.linear_product(n, inputs, outputs, x, weight.operand(), bias, slices(to), out);
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
        let (a, b) = (Matrix::by_rows(d_out, outputs), Matrix::by_rows(weight.operand(), inputs));
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
        let (a, b) = (Matrix::transposed(d_out, outputs), Matrix::by_rows(x, inputs));
        let product = Product { m: outputs, n: inputs, k: n, a, b, bias: None, to: Out::Add };
        let _timer = self.meter.start(Kind::Products, product.flops());
        self.multiply::<f32>(&product, d_weight);
        if let Some(d_bias) = d_bias {
            self.add_column_sums(n, outputs, d_out, d_bias);
        }
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
        self.split_forward(n, shape, qkv, rotary, weights(norms), q, kv);
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
        self.split_gradients(n, shape, qkv, rotary, weights(norms), d_q, d_kv, d_qkv, d_norms);
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

    fn gather(&self, width: usize, x: &Buffer<N>, index: &[usize], out: &mut Buffer<N>, out_start: usize) {
        let _timer = self.meter.start(Kind::Elementwise, 0);
        self.gather_rows(width, x, index, &mut out[out_start * width..]);
    }

    fn scatter_add(&self, width: usize, x: &Buffer<N>, x_start: usize, index: &[usize], out: &mut Buffer<N>) {
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
        d_x: &mut Buffer<N>,
        d_weight: Option<&mut Buffer<f32>>,
    ) {
        // The logits again unless they were kept, then one product or two.
        let products = 1 + u64::from(logits.is_none()) + u64::from(d_weight.is_some());
        let _timer = self.meter.start(Kind::Head, 2 * products * (targets.len() * width * vocabulary) as u64);
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
