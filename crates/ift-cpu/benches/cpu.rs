//! The CPU backend's kernels in f32 and bf16 at the shapes of a small decoder (hidden 576, 9 heads
//! over 3, MLP 1536) and two of a large one, with the throughput in floating point operations; the
//! peak of the same machine in the same run is printed first: `cargo bench -p ift-backend`.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use half::bf16;
use ift_backend::{
    AttentionRow, AttentionShape, Backend, Choice, HostTensor, Norm, NumberType, Out,
};
use ift_cpu::{Cpu, Number};
use std::time::Duration;

const TOKENS: usize = 2048;

/// What the machine could do, on standard error: the throughputs that follow are to be held against
/// it.
#[allow(clippy::print_stderr, reason = "a benchmark reports to its reader")]
fn peak<N: Number>(cpu: &Cpu<N>) {
    let peak = cpu.peak().unwrap_or(f64::NAN) / 1e9;
    eprintln!("{cpu:?}: peak {peak:.1} GFLOP/s");
}

fn weight<N: Number>(cpu: &Cpu<N>, len: usize, value: f32) -> <Cpu<N> as Backend>::Weight {
    let bytes = value.to_le_bytes().repeat(len);
    cpu.weight(&[HostTensor { number: NumberType::F32, bytes: &bytes }])
}

fn products<N: Number>(c: &mut Criterion, cpu: &Cpu<N>, numbers: &str) {
    let mut group = c.benchmark_group(format!("linear {numbers}"));
    for (inputs, outputs) in
        [(576, 960), (576, 576), (576, 3072), (1536, 576), (2048, 8192), (8192, 2048)]
    {
        let x = cpu.activation_from(&vec![0.5; TOKENS * inputs]);
        let d_out = cpu.activation_from(&vec![0.1; TOKENS * outputs]);
        let (weight, mut d_weight) =
            (weight(cpu, outputs * inputs, 0.25), cpu.accumulator(outputs * inputs));
        let (mut out, mut d_x) =
            (cpu.activation(TOKENS * outputs), cpu.activation(TOKENS * inputs));
        group.throughput(Throughput::Elements((2 * TOKENS * inputs * outputs) as u64));
        let name = |form| format!("{form} {inputs} to {outputs}");
        group.bench_function(name("forward"), |b| {
            b.iter(|| cpu.linear(TOKENS, inputs, outputs, &x, &weight, None, Out::Set, &mut out));
        });
        group.bench_function(name("input gradient"), |b| {
            b.iter(|| {
                cpu.linear_backward_input(
                    TOKENS,
                    inputs,
                    outputs,
                    &d_out,
                    &weight,
                    Out::Set,
                    &mut d_x,
                );
            });
        });
        group.bench_function(name("weight gradient"), |b| {
            b.iter(|| {
                cpu.linear_backward_weight(TOKENS, inputs, outputs, &x, &d_out, &mut d_weight, None)
            });
        });
    }
    group.finish();
}

fn attention<N: Number>(c: &mut Criterion, cpu: &Cpu<N>, numbers: &str) {
    let shape = AttentionShape { heads: 9, kv_heads: 3, head_dim: 64, scale: 0.125, window: None };
    let mut group = c.benchmark_group(format!("attention {numbers}"));
    for len in [128, 512, 2048] {
        let starts = (0..TOKENS).step_by(len);
        let rows: Vec<AttentionRow> =
            starts.map(|start| AttentionRow { start, len, past_start: 0, past_len: 0 }).collect();
        let (q_size, kv_size) = (TOKENS * shape.q_width(), TOKENS * shape.kv_width());
        let values = |size: usize| {
            (0..size).map(|i| (i * 7919 % 1013) as f64 / 506.0 - 1.0).collect::<Vec<_>>()
        };
        let (q, kv) = (cpu.activation_from(&values(q_size)), cpu.activation_from(&values(kv_size)));
        let d_out = cpu.activation_from(&values(q_size));
        let (mut out, mut lse) = (cpu.activation(q_size), cpu.accumulator(TOKENS * shape.heads));
        let (mut d_q, mut d_kv) = (cpu.activation(q_size), cpu.activation(kv_size));
        let flops = 4 * rows.len() * len * (len + 1) / 2 * shape.heads * shape.head_dim;
        group.throughput(Throughput::Elements(flops as u64));
        group.bench_function(format!("forward, rows of {len}"), |b| {
            b.iter(|| cpu.attention(&shape, &rows, &q, &kv, None, &mut out, &mut lse));
        });
        group.throughput(Throughput::Elements(flops as u64 * 5 / 2));
        group.bench_function(format!("backward, rows of {len}"), |b| {
            b.iter(|| {
                cpu.attention_backward(
                    &shape, &rows, &q, &kv, None, &out, &lse, &d_out, &mut d_q, &mut d_kv, None,
                );
            });
        });
    }
    group.finish();
}

fn head<N: Number>(c: &mut Criterion, cpu: &Cpu<N>, numbers: &str) {
    let (n, width, vocabulary) = (1024, 576, 49_152);
    let x = cpu.activation_from(&vec![0.5; n * width]);
    let (weight, mut d_weight) =
        (weight(cpu, vocabulary * width, 0.01), cpu.accumulator(vocabulary * width));
    let targets: Vec<u32> = (0..n as u32).collect();
    let mut d_x = cpu.activation(n * width);
    let (scores, _) = cpu.head(width, vocabulary, &x, &weight, &targets, Choice::Greedy, false);
    let mut group = c.benchmark_group(format!("head {numbers}"));
    let flops = (2 * n * width * vocabulary) as u64;
    group.throughput(Throughput::Elements(flops));
    group.bench_function("forward, greedy", |b| {
        b.iter(|| cpu.head(width, vocabulary, &x, &weight, &targets, Choice::Greedy, false));
    });
    group.throughput(Throughput::Elements(3 * flops));
    group.bench_function("backward, logits again", |b| {
        b.iter(|| {
            let (normalizers, factors) = (&scores.log_normalizers, vec![1e-3; n]);
            let d_weight = Some(&mut d_weight);
            cpu.head_backward(
                width,
                vocabulary,
                &x,
                &weight,
                &targets,
                normalizers,
                None,
                &factors,
                None,
                &mut d_x,
                d_weight,
            );
        });
    });
    group.finish();
}

fn norms<N: Number>(c: &mut Criterion, cpu: &Cpu<N>, numbers: &str) {
    let norm = Norm { width: 576, eps: 1e-5, offset: 0.0 };
    let size = TOKENS * norm.width;
    let x = cpu.activation_from(&vec![0.5; size]);
    let (weight, mut out) = (weight(cpu, norm.width, 1.0), cpu.activation(size));
    let mut group = c.benchmark_group(format!("norm {numbers}"));
    group.throughput(Throughput::Bytes((2 * size_of::<N>() * size) as u64));
    group.bench_function("forward", |b| b.iter(|| cpu.norm(TOKENS, &x, &weight, norm, &mut out)));
    group.finish();
}

fn all_in<N: Number>(c: &mut Criterion, numbers: &str) {
    let cpu = Cpu::<N>::new(0);
    peak(&cpu);
    products(c, &cpu, numbers);
    attention(c, &cpu, numbers);
    head(c, &cpu, numbers);
    norms(c, &cpu, numbers);
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
