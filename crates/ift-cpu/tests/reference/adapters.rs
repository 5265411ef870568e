//! What adapters and regularisers are made of: some columns of rows, dropout, noise, norms of
//! adapted weights, averages.

use super::{Case, accumulator, activation, numbers, read, read_accumulator, weight};
use ift_backend::{Backend, Reference};
use ift_cpu::CpuF32;
use ift_random::uniform;
use std::ops::Range;

const TOLERANCE: f64 = 2e-6;

struct Part {
    n: usize,
    width: usize,
    columns: Range<usize>,
}

impl Case for Part {
    // Each number is rounded once.
    const NARROW_TOLERANCE: f64 = 2e-5;

    fn run<B: Backend>(&self, b: &B) -> Vec<(&'static str, Vec<f64>)> {
        let Self { n, width, ref columns } = *self;
        let count = columns.len();
        let (x, part) = (activation(b, 1, n * width + 1), activation(b, 2, n * count + 1));
        let mut taken = activation(b, 3, n * count + 1);
        b.take_columns(n, width, &x, columns.clone(), &mut taken);
        let mut added = activation(b, 4, n * width + 1);
        b.add_columns(n, width, &part, -0.37, columns.clone(), &mut added);
        let mut scaled = activation(b, 5, n * width + 1);
        b.scale_columns(n, width, &numbers(6, count), columns.clone(), &mut scaled);
        let mut sums = accumulator(b, 7, count);
        b.column_products(n, width, &x, &activation(b, 8, n * width), columns.clone(), &mut sums);
        vec![
            ("taken", read(b, &taken, n * count + 1)),
            ("added", read(b, &added, n * width + 1)),
            ("scaled", read(b, &scaled, n * width + 1)),
            ("sums", read_accumulator(b, &sums, count)),
        ]
    }
}

#[test]
fn columns() {
    for n in [0, 1, 7, 130, 1025] {
        for (width, columns) in
            [(1, 0..1), (3, 1..2), (24, 0..24), (65, 3..64), (576, 64..192), (600, 137..600)]
        {
            let case = format!("columns {columns:?} of {n} x {width}");
            Part { n, width, columns }.check(&case, TOLERANCE);
        }
    }
}

struct Random {
    n: usize,
    width: usize,
    rate: f64,
}

impl Case for Random {
    const NARROW_TOLERANCE: f64 = TOLERANCE;

    fn run<B: Backend>(&self, b: &B) -> Vec<(&'static str, Vec<f64>)> {
        let Self { n, width, rate } = *self;
        let streams: Vec<u64> =
            (0..n as u64).map(|t| t.wrapping_mul(0x1234_5678_9ABC_DEF1)).collect();
        let x = activation(b, 1, n * width);
        let mut out = activation(b, 2, n * width + 1);
        b.dropout(n, width, &x, rate, &streams, &mut out);
        let mut noisy = activation(b, 3, n * width + 1);
        b.add_noise(n, width, &numbers(4, n), &streams, &mut noisy);
        vec![("dropout", read(b, &out, n * width + 1)), ("noise", read(b, &noisy, n * width + 1))]
    }
}

#[test]
fn dropout_and_noise() {
    for n in [0, 1, 7, 130] {
        for width in [1, 3, 65, 576] {
            for rate in [0.0, 0.05, 0.5, 0.999] {
                Random { n, width, rate }
                    .check(&format!("rate {rate} of {n} x {width}"), TOLERANCE);
            }
        }
    }
}

/// What is dropped is dropped in both, at about the rate, and the rest is scaled up; the same again
/// with the same streams.
#[test]
fn dropout_drops_at_its_rate() {
    let (n, width, rate) = (50, 400, 0.3);
    let streams: Vec<u64> = (0..n as u64).collect();
    let cpu = CpuF32::new(2);
    let (x, mut out) = (cpu.activation_from(&vec![1.0; n * width]), cpu.activation(n * width));
    cpu.dropout(n, width, &x, rate, &streams, &mut out);
    let out = cpu.read_activation(&out, n * width);
    for (i, x) in out.iter().enumerate() {
        let kept = uniform(streams[i / width], (i % width) as u32) >= rate;
        assert_eq!(*x, if kept { (1.0 / 0.7) as f32 } else { 0.0 });
    }
    let dropped = out.iter().filter(|x| **x == 0.0).count() as f64 / out.len() as f64;
    assert!((dropped - rate).abs() < 0.01, "{dropped}");
}

/// `⟨dropout(x), y⟩ = ⟨x, dropout(y)⟩`: the operation is its own backward pass.
#[test]
fn dropout_is_self_adjoint() {
    let (n, width) = (5, 33);
    let streams = [3, 1, 4, 1, 5];
    let (x, y) = (numbers(1, n * width), numbers(2, n * width));
    let dropped = |x: &Vec<f64>| {
        let mut out = Reference.activation(n * width);
        Reference.dropout(n, width, x, 0.4, &streams, &mut out);
        out
    };
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    assert!((dot(&dropped(&x), &y) - dot(&x, &dropped(&y))).abs() < 1e-12);
}

struct Adapted {
    inputs: usize,
    rank: usize,
    rows: Range<usize>,
}

impl Case for Adapted {
    const NARROW_TOLERANCE: f64 = TOLERANCE;

    fn run<B: Backend>(&self, b: &B) -> Vec<(&'static str, Vec<f64>)> {
        let Self { inputs, rank, ref rows } = *self;
        let w = weight(b, 1, (rows.end + 2) * inputs);
        let (a, low) = (weight(b, 2, rank * inputs), weight(b, 3, rows.len() * rank));
        let mut average = accumulator(b, 4, (rows.end + 2) * inputs);
        b.average(&w, 0.99, &mut average);
        vec![
            ("norms", b.adapted_norms(inputs, rank, &w, rows.clone(), &a, &low, 1.7)),
            ("average", read_accumulator(b, &average, (rows.end + 2) * inputs)),
        ]
    }
}

#[test]
fn adapted_norms_and_averages() {
    for inputs in [1, 3, 64, 65, 127, 576, 2049] {
        for (rank, rows) in [(1, 0..1), (8, 3..10), (17, 0..130), (3, 5..5)] {
            let case = format!("rank {rank}, rows {rows:?} of {inputs}");
            Adapted { inputs, rank, rows }.check(&case, TOLERANCE);
        }
    }
}
