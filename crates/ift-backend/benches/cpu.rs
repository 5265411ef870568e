//! The CPU backend's kernels at the shapes of a small decoder (hidden 576, 9 heads over 3, MLP 1536), with the throughput
//! in floating point operations beside the peak of the same machine in the same run: `cargo bench -p ift-backend`.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ift_backend::{AttentionRow, AttentionShape, Backend, Choice, Cpu, Norm, Out};
use std::hint::black_box;
use std::time::Duration;

const TOKENS: usize = 2048;

/// Multiply-adds that touch no memory: what the machine could do.
fn peak(c: &mut Criterion, cpu: &Cpu) {
    let (threads, rounds) = (cpu.threads(), 400_000);
    let mut group = c.benchmark_group("peak");
    group.throughput(Throughput::Elements((2 * rounds * 12 * lanes() * threads) as u64));
    group.bench_function("multiply-add in registers", |b| b.iter(|| all_threads(threads, rounds)));
    group.finish();
}

/// Runs [`sums`] in every thread.
fn all_threads(threads: usize, rounds: usize) {
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| black_box(sums(black_box(rounds))));
        }
    });
}

/// Numbers in a vector of this machine.
fn lanes() -> usize {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx512f") {
        return 16;
    }
    8
}

#[cfg(target_arch = "x86_64")]
fn sums(rounds: usize) -> f32 {
    #[target_feature(enable = "avx2,fma")]
    fn avx2(rounds: usize) -> f32 {
        plain::<8>(rounds)
    }
    #[target_feature(enable = "avx512f,avx2,fma")]
    fn avx512(rounds: usize) -> f32 {
        plain::<16>(rounds)
    }
    if is_x86_feature_detected!("avx512f") {
        // SAFETY: the instructions were detected.
        unsafe { avx512(rounds) }
    } else if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
        // SAFETY: the instructions were detected.
        unsafe { avx2(rounds) }
    } else {
        plain::<8>(rounds)
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn sums(rounds: usize) -> f32 {
    plain::<8>(rounds)
}

/// Twelve independent vectors of sums.
#[allow(clippy::inline_always, reason = "becomes part of the copy for an instruction set")]
#[inline(always)]
fn plain<const LANES: usize>(rounds: usize) -> f32 {
    let (factor, summand) = (black_box(0.999_f32), black_box(1e-3_f32));
    let mut sums = [[1.0f32; LANES]; 12];
    for _ in 0..rounds {
        for sum in sums.as_flattened_mut() {
            *sum = sum.mul_add(factor, summand);
        }
    }
    sums.as_flattened().iter().sum()
}

fn products(c: &mut Criterion, cpu: &Cpu) {
    let mut group = c.benchmark_group("linear");
    for (inputs, outputs) in [(576, 960), (576, 576), (576, 3072), (1536, 576), (2048, 8192)] {
        let x = cpu.activation_from(&vec![0.5; TOKENS * inputs]);
        let d_out = cpu.activation_from(&vec![0.1; TOKENS * outputs]);
        let (weight, mut d_weight) = (vec![0.25; outputs * inputs], cpu.accumulator(outputs * inputs));
        let (mut out, mut d_x) = (cpu.activation(TOKENS * outputs), cpu.activation(TOKENS * inputs));
        group.throughput(Throughput::Elements((2 * TOKENS * inputs * outputs) as u64));
        let name = |form| format!("{form} {inputs} to {outputs}");
        group.bench_function(name("forward"), |b| {
            b.iter(|| cpu.linear(TOKENS, inputs, outputs, &x, &weight, None, Out::Set, &mut out));
        });
        group.bench_function(name("input gradient"), |b| {
            b.iter(|| {
                cpu.linear_backward_input(TOKENS, inputs, outputs, &d_out, &weight, Out::Set, &mut d_x);
            });
        });
        group.bench_function(name("weight gradient"), |b| {
            b.iter(|| cpu.linear_backward_weight(TOKENS, inputs, outputs, &x, &d_out, &mut d_weight, None));
        });
    }
    group.finish();
}

fn attention(c: &mut Criterion, cpu: &Cpu) {
    let shape = AttentionShape { heads: 9, kv_heads: 3, head_dim: 64, scale: 0.125, window: None };
    let mut group = c.benchmark_group("attention");
    for len in [128, 512, 2048] {
        let starts = (0..TOKENS).step_by(len);
        let rows: Vec<AttentionRow> =
            starts.map(|start| AttentionRow { start, len, past_start: 0, past_len: 0 }).collect();
        let (q_size, kv_size) = (TOKENS * shape.q_width(), TOKENS * shape.kv_width());
        let values =
            |size: usize| (0..size).map(|i| (i * 7919 % 1013) as f64 / 506.0 - 1.0).collect::<Vec<_>>();
        let (q, kv) = (cpu.activation_from(&values(q_size)), cpu.activation_from(&values(kv_size)));
        let d_out = cpu.activation_from(&values(q_size));
        let (mut out, mut lse) = (cpu.activation(q_size), cpu.activation(TOKENS * shape.heads));
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

fn head(c: &mut Criterion, cpu: &Cpu) {
    let (n, width, vocabulary) = (1024, 576, 49_152);
    let x = cpu.activation_from(&vec![0.5; n * width]);
    let (weight, mut d_weight) = (vec![0.01; vocabulary * width], cpu.accumulator(vocabulary * width));
    let targets: Vec<u32> = (0..n as u32).collect();
    let mut d_x = cpu.activation(n * width);
    let scores = cpu.head(width, vocabulary, &x, &weight, &targets, Choice::Greedy);
    let mut group = c.benchmark_group("head");
    let flops = (2 * n * width * vocabulary) as u64;
    group.throughput(Throughput::Elements(flops));
    group.bench_function("forward, greedy", |b| {
        b.iter(|| cpu.head(width, vocabulary, &x, &weight, &targets, Choice::Greedy));
    });
    group.throughput(Throughput::Elements(3 * flops));
    group.bench_function("backward", |b| {
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
                &factors,
                &mut d_x,
                d_weight,
            );
        });
    });
    group.finish();
}

fn norms(c: &mut Criterion, cpu: &Cpu) {
    let norm = Norm { width: 576, eps: 1e-5, offset: 0.0 };
    let size = TOKENS * norm.width;
    let x = cpu.activation_from(&vec![0.5; size]);
    let (weight, mut out) = (vec![1.0; norm.width], cpu.activation(size));
    let mut group = c.benchmark_group("norm");
    group.throughput(Throughput::Bytes(8 * size as u64));
    group.bench_function("forward", |b| b.iter(|| cpu.norm(TOKENS, &x, &weight, norm, &mut out)));
    group.finish();
}

fn all(c: &mut Criterion) {
    let cpu = Cpu::new(0);
    peak(c, &cpu);
    products(c, &cpu);
    attention(c, &cpu);
    head(c, &cpu);
    norms(c, &cpu);
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
