//! The CPU backend's kernels in f32 and bf16 at the shapes of a small decoder (hidden 576, 9 heads
//! over 3, MLP 1536) and two of a large one, with the throughput in floating point operations. The
//! peak of the same machine in the same run is printed first: `cargo bench -p ift-cpu`.

#![allow(clippy::unwrap_used, reason = "a benchmark stops at the first surprise")]

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use half::bf16;
use ift_backend::{
    Attention, AttentionSaved, Backend, Head, HeadGradient, HeadTargets, HostTensor, Linear,
    LinearStarts, Norm, NumberType, Out, PassInputs, Segment, Select, Slot, Weight,
};
use ift_cpu::{Cpu, Number, Parameters};
use std::time::Duration;

const TOKENS: usize = 2048;

/// The machine's peak, on standard error: the throughputs that follow are to be compared with it.
#[allow(clippy::print_stderr, reason = "a benchmark reports to its reader")]
fn peak<N: Number>(cpu: &Cpu<N>) {
    let peak = cpu.peak().unwrap_or(f64::NAN) / 1e9;
    eprintln!("{cpu:?}: peak {peak:.1} GFLOP/s");
}

fn parameters<N: Number>(cpu: &Cpu<N>, len: usize, value: f32) -> Parameters<N> {
    let bytes = value.to_le_bytes().repeat(len);
    let mut parameters = cpu.parameters(len).unwrap();
    let values = HostTensor { number: NumberType::F32, bytes: &bytes };
    cpu.write_parameters(&mut parameters, 0, values);
    parameters
}

fn weight<N: Number>(parameters: &Parameters<N>) -> Weight<'_, Cpu<N>> {
    Weight::Trainable { parameters, start: 0 }
}

fn products<N: Number>(c: &mut Criterion, cpu: &Cpu<N>, activations: &str) {
    let mut group = c.benchmark_group(format!("linear {activations}"));
    for (inputs, outputs) in
        [(576, 960), (576, 576), (576, 3072), (1536, 576), (2048, 8192), (8192, 2048)]
    {
        let linear = Linear { tokens: TOKENS, inputs, outputs };
        let x = cpu.activation_from(&vec![0.5; TOKENS * inputs]).unwrap();
        let d_out = cpu.activation_from(&vec![0.1; TOKENS * outputs]).unwrap();
        let parameters = parameters(cpu, outputs * inputs, 0.25);
        let weight = weight(&parameters);
        let mut d_weight = cpu.accumulator(outputs * inputs).unwrap();
        let mut out = cpu.activation(TOKENS * outputs).unwrap();
        let mut d_x = cpu.activation(TOKENS * inputs).unwrap();
        group.throughput(Throughput::Elements((2 * TOKENS * inputs * outputs) as u64));
        let name = |form| format!("{form} {inputs} to {outputs}");
        group.bench_function(name("forward"), |b| {
            b.iter(|| cpu.linear(linear, &x, weight, None, Out::Set, &mut out).unwrap());
        });
        group.bench_function(name("input gradient"), |b| {
            b.iter(|| {
                cpu.linear_backward_input(linear, &d_out, weight, Out::Set, &mut d_x).unwrap();
            });
        });
        let starts = LinearStarts { weight: Some(0), bias: None };
        group.bench_function(name("weight gradient"), |b| {
            b.iter(|| {
                cpu.linear_backward_weight(linear, &x, &d_out, starts, &mut d_weight).unwrap();
            });
        });
    }
    group.finish();
}

fn attention<N: Number>(c: &mut Criterion, cpu: &Cpu<N>, activations: &str) {
    let shape = Attention { heads: 9, kv_heads: 3, head_dim: 64, scale: 0.125, window: None };
    let mut group = c.benchmark_group(format!("attention {activations}"));
    for len in [128, 512, 2048] {
        let starts = (0..TOKENS).step_by(len);
        let segments: Vec<Segment> =
            starts.map(|start| Segment { start, len, past_start: 0, past_len: 0 }).collect();
        let inputs = cpu.upload(&PassInputs {
            tokens: &[0; TOKENS],
            segments: &segments,
            streams: &[],
            noise: &[],
            look_ahead: None,
            past_blocks: None,
        });
        let inputs = inputs.unwrap();
        let (q_size, kv_size) = (TOKENS * shape.q_width(), TOKENS * shape.kv_width());
        let values = |size: usize| {
            (0..size).map(|i| (i * 7919 % 1013) as f64 / 506.0 - 1.0).collect::<Vec<_>>()
        };
        let from = |size| cpu.activation_from(&values(size)).unwrap();
        let (q, kv, d_out) = (from(q_size), from(kv_size), from(q_size));
        let mut out = cpu.activation(q_size).unwrap();
        let mut lse = cpu.accumulator(TOKENS * shape.heads).unwrap();
        let mut d_q = cpu.activation(q_size).unwrap();
        let mut d_kv = cpu.activation(kv_size).unwrap();
        let flops = 4 * segments.len() * len * (len + 1) / 2 * shape.heads * shape.head_dim;
        group.throughput(Throughput::Elements(flops as u64));
        group.bench_function(format!("forward, segments of {len}"), |b| {
            b.iter(|| {
                cpu.attention(&shape, &inputs, &q, &kv, None, &mut out, &mut lse).unwrap();
            });
        });
        group.throughput(Throughput::Elements(flops as u64 * 5 / 2));
        group.bench_function(format!("backward, segments of {len}"), |b| {
            b.iter(|| {
                let saved = AttentionSaved { q: &q, kv: &kv, past: None, out: &out, lse: &lse };
                cpu.attention_backward(&shape, &inputs, saved, &d_out, &mut d_q, &mut d_kv, None)
                    .unwrap();
            });
        });
    }
    group.finish();
}

fn head<N: Number>(c: &mut Criterion, cpu: &Cpu<N>, activations: &str) {
    let (n, width, vocabulary) = (1024, 576, 49_152);
    let head = Head { width, vocabulary };
    let x = cpu.activation_from(&vec![0.5; n * width]).unwrap();
    let parameters = parameters(cpu, vocabulary * width, 0.01);
    let weight = weight(&parameters);
    let mut d_weight = cpu.accumulator(vocabulary * width).unwrap();
    let ids: Vec<u32> = (0..n as u32).collect();
    let targets = HeadTargets { ids: &ids, select: Select::Argmax, keep_logits: false };
    let mut d_x = cpu.activation(n * width).unwrap();
    let mut group = c.benchmark_group(format!("head {activations}"));
    let flops = (2 * n * width * vocabulary) as u64;
    group.throughput(Throughput::Elements(flops));
    group.bench_function("forward, argmax", |b| {
        b.iter(|| cpu.head(head, &x, weight, &targets).unwrap());
    });
    group.throughput(Throughput::Elements(3 * flops));
    let factors = vec![1e-3; n];
    group.bench_function("backward, logits again", |b| {
        b.iter_batched(
            || cpu.head(head, &x, weight, &targets).unwrap(),
            |scores| {
                let gradient = HeadGradient { d_log_probs: &factors, divergence: None };
                let slot = Slot { buffer: &mut d_weight, start: 0 };
                cpu.head_backward(head, &x, weight, scores, &gradient, &mut d_x, Some(slot))
                    .unwrap();
            },
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

fn norms<N: Number>(c: &mut Criterion, cpu: &Cpu<N>, activations: &str) {
    let norm = Norm { width: 576, eps: 1e-5, offset: 0.0 };
    let size = TOKENS * norm.width;
    let x = cpu.activation_from(&vec![0.5; size]).unwrap();
    let parameters = parameters(cpu, norm.width, 1.0);
    let weight = weight(&parameters);
    let mut out = cpu.activation(size).unwrap();
    let mut group = c.benchmark_group(format!("norm {activations}"));
    group.throughput(Throughput::Bytes((2 * size_of::<N>() * size) as u64));
    group.bench_function("forward", |b| {
        b.iter(|| cpu.norm(TOKENS, norm, &x, weight, &mut out).unwrap());
    });
    group.finish();
}

fn all_in<N: Number>(c: &mut Criterion, activations: &str) {
    let cpu = Cpu::<N>::new(0);
    peak(&cpu);
    products(c, &cpu, activations);
    attention(c, &cpu, activations);
    head(c, &cpu, activations);
    norms(c, &cpu, activations);
}

fn all(c: &mut Criterion) {
    all_in::<f32>(c, "f32");
    all_in::<bf16>(c, "bf16");
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_secs(1));
    targets = all
}
criterion_main!(benches);
