//! Norms, the split into heads, the gate, rows, the embedding, the optimizer.

use super::{Case, accumulator, activation, numbers, read, read_accumulator, tokens, weight};
use ift_backend::{
    Activation, AttentionShape, Backend, Element, HeadNorms, HostTensor, Mix, Norm, NumberType,
    Update,
};
use ift_cpu::{CpuF32, Instructions};

const TOLERANCE: f64 = 2e-6;

struct RmsNorm {
    n: usize,
    norm: Norm,
}

impl Case for RmsNorm {
    fn run<B: Backend>(&self, b: &B) -> Vec<(&'static str, Vec<f64>)> {
        let Self { n, norm } = *self;
        let size = n * norm.width;
        let (x, w, d_out) =
            (activation(b, 1, size), weight(b, 2, norm.width), activation(b, 3, size));
        let (mut out, mut d_x) = (activation(b, 4, size + 1), activation(b, 5, size + 1));
        b.norm(n, &x, &w, norm, &mut out);
        let mut d_w = accumulator(b, 6, norm.width);
        b.norm_backward(n, &x, &w, norm, &d_out, &mut d_x, Some(&mut d_w));
        let mut frozen = activation(b, 5, size + 1);
        b.norm_backward(n, &x, &w, norm, &d_out, &mut frozen, None);
        vec![
            ("out", read(b, &out, size + 1)),
            ("d_x", read(b, &d_x, size + 1)),
            ("d_x without d_weight", read(b, &frozen, size + 1)),
            ("d_weight", read_accumulator(b, &d_w, norm.width)),
        ]
    }
}

#[test]
fn norm() {
    for width in [1, 3, 24, 65, 576] {
        for n in [0, 1, 7, 130, 1025] {
            let norm = Norm { width, eps: 1e-5, offset: f64::from(u8::from(width % 2 == 0)) };
            RmsNorm { n, norm }.check(&format!("norm {n} x {width}"), 2e-5);
        }
    }
}

struct Split {
    n: usize,
    shape: AttentionShape,
    norms: bool,
}

impl Case for Split {
    fn run<B: Backend>(&self, b: &B) -> Vec<(&'static str, Vec<f64>)> {
        let Self { n, shape, norms } = *self;
        let head_dim = shape.head_dim;
        let positions: Vec<u32> = (0..n as u32).map(|t| t * 13 % 4001).collect();
        let half = head_dim / 2;
        let frequencies: Vec<f64> =
            (0..half).map(|i| 1e4f64.powf(-(i as f64) / half as f64)).collect();
        let rotary = b.rotary(&positions, &frequencies);
        let qkv = activation(b, 1, n * shape.qkv_width());
        let weights = (weight(b, 2, head_dim), weight(b, 3, head_dim));
        let norm = Norm { width: head_dim, eps: 1e-6, offset: 1.0 };
        let given = || norms.then_some(HeadNorms { q: &weights.0, k: &weights.1, norm });
        let (mut q, mut kv) =
            (activation(b, 4, n * shape.q_width() + 1), b.activation(n * shape.kv_width()));
        b.split_heads(n, &shape, &qkv, &rotary, given(), &mut q, &mut kv);
        let (d_q, d_kv) =
            (activation(b, 5, n * shape.q_width()), activation(b, 6, n * shape.kv_width()));
        let mut d_qkv = activation(b, 7, n * shape.qkv_width() + 1);
        let mut d_weights = (accumulator(b, 8, head_dim), accumulator(b, 9, head_dim));
        let (qkv, d_norms) = if norms {
            (Some(&qkv), Some((&mut d_weights.0, &mut d_weights.1)))
        } else {
            (None, None)
        };
        b.split_heads_backward(n, &shape, qkv, &rotary, given(), &d_q, &d_kv, &mut d_qkv, d_norms);
        vec![
            ("rotary", read_accumulator(b, &rotary, n * head_dim)),
            ("q", read(b, &q, n * shape.q_width() + 1)),
            ("kv", read(b, &kv, n * shape.kv_width())),
            ("d_qkv", read(b, &d_qkv, n * shape.qkv_width() + 1)),
            ("d_norms.q", read_accumulator(b, &d_weights.0, head_dim)),
            ("d_norms.k", read_accumulator(b, &d_weights.1, head_dim)),
        ]
    }
}

#[test]
fn split_heads() {
    for (heads, kv_heads, head_dim) in [(1, 1, 2), (3, 1, 24), (8, 2, 16), (9, 3, 64)] {
        for n in [0, 1, 7, 131] {
            for norms in [false, true] {
                let shape = AttentionShape { heads, kv_heads, head_dim, scale: 1.0, window: None };
                Split { n, shape, norms }.check(
                    &format!("heads {n}: {heads}/{kv_heads} x {head_dim}, norms {norms}"),
                    2e-5,
                );
            }
        }
    }
}

struct Gated {
    n: usize,
    width: usize,
    activation: Activation,
}

impl Case for Gated {
    fn run<B: Backend>(&self, b: &B) -> Vec<(&'static str, Vec<f64>)> {
        let Self { n, width, .. } = *self;
        let size = n * width;
        // Some far out, where the activation is flat.
        let inputs: Vec<f64> = numbers(1, 2 * size)
            .iter()
            .enumerate()
            .map(|(i, x)| x * [1.0, 8.0, 128.0][i % 3])
            .collect();
        let gate_up = b.activation_from(&inputs);
        let (mut out, mut d_gate_up) = (activation(b, 2, size + 1), activation(b, 3, 2 * size + 1));
        b.gated(n, width, self.activation, &gate_up, &mut out);
        b.gated_backward(
            n,
            width,
            self.activation,
            &gate_up,
            &activation(b, 4, size),
            &mut d_gate_up,
        );
        vec![("out", read(b, &out, size + 1)), ("d_gate_up", read(b, &d_gate_up, 2 * size + 1))]
    }
}

#[test]
fn gated() {
    for width in [1, 3, 24, 65, 576] {
        for n in [0, 1, 7, 130] {
            for activation in [Activation::Silu, Activation::GeluTanh] {
                Gated { n, width, activation }
                    .check(&format!("{activation:?} {n} x {width}"), TOLERANCE);
            }
        }
    }
}

struct Rows {
    n: usize,
    width: usize,
}

impl Case for Rows {
    fn run<B: Backend>(&self, b: &B) -> Vec<(&'static str, Vec<f64>)> {
        let Self { n, width } = *self;
        let vocabulary = 37;
        let table = weight(b, 1, vocabulary * width);
        let ids = tokens(2, n, vocabulary);
        let own: Vec<Option<u32>> =
            tokens(3, n, vocabulary).into_iter().map(|t| (t % 3 > 0).then_some(t)).collect();
        let (mut plain, mut mixed) = (activation(b, 4, n * width + 1), b.activation(n * width));
        b.embed(&table, width, &ids, None, 1.0, &mut plain);
        b.embed(&table, width, &ids, Some(Mix { lambda: 0.3, own: &own }), 7.5, &mut mixed);
        let mut d_table = accumulator(b, 5, vocabulary * width);
        b.embed_backward(width, &ids, 7.5, &plain, &mut d_table);

        // Every third row, backwards.
        let index: Vec<usize> = (0..n).rev().step_by(3).collect();
        let mut gathered = activation(b, 6, (index.len() + 2) * width);
        b.gather(width, &mixed, &index, &mut gathered, 2);
        let mut scattered = activation(b, 7, n * width);
        b.scatter_add(width, &gathered, 2, &index, &mut scattered);
        b.add(n * width, &accumulator(b, 9, n * width), &mut scattered);
        let mut zeroed = activation(b, 8, n * width + 5);
        b.zero(n * width, &mut zeroed);
        vec![
            ("embed", read(b, &plain, n * width + 1)),
            ("mixed", read(b, &mixed, n * width)),
            ("d_table", read_accumulator(b, &d_table, vocabulary * width)),
            ("gathered", read(b, &gathered, (index.len() + 2) * width)),
            ("scattered", read(b, &scattered, n * width)),
            ("zeroed", read(b, &zeroed, n * width + 5)),
        ]
    }
}

#[test]
fn rows() {
    for width in [1, 3, 24, 65, 576] {
        for n in [0, 1, 7, 130, 1025] {
            Rows { n, width }.check(&format!("rows {n} x {width}"), TOLERANCE);
        }
    }
}

struct Optimizer {
    size: usize,
    rule: Update,
}

impl Case for Optimizer {
    fn run<B: Backend>(&self, b: &B) -> Vec<(&'static str, Vec<f64>)> {
        let Self { size, rule } = *self;
        let mut w = weight(b, 1, size);
        let mut gradient = accumulator(b, 2, size);
        let mut states: Vec<B::Accumulator> =
            (0..rule.states()).map(|_| b.accumulator(size)).collect();
        for _ in 0..2 {
            b.update(&mut w, &gradient, &mut states, &rule, 0.25);
        }
        let mut results =
            vec![("weight", b.read_weight(&w, 0..size).into_iter().map(Element::to_f64).collect())];
        results.extend(states.iter().map(|state| ("state", read_accumulator(b, state, size))));
        let range = size / 3..size;
        results.push(("squares", vec![b.sum_of_squares(&gradient, range)]));
        b.clear(&mut gradient);
        results.push(("cleared", read_accumulator(b, &gradient, size)));
        results
    }
}

#[test]
fn optimizer() {
    let weight_decay = 0.125;
    let rules = [
        Update::RmsProp { lr: 0.01, alpha: 0.99, eps: 1e-8, momentum: 0.0, weight_decay },
        Update::RmsProp { lr: 0.01, alpha: 0.99, eps: 1e-8, momentum: 0.9, weight_decay: 0.0 },
        Update::AdamW { lr: 0.01, beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay, step: 3 },
        Update::Sgd { lr: 0.01, momentum: 0.0, weight_decay },
        Update::Sgd { lr: 0.01, momentum: 0.9, weight_decay },
    ];
    for size in [1, 3, 65, 40_001, 140_003] {
        for rule in rules {
            Optimizer { size, rule }.check(&format!("{rule:?} of {size}"), 1e-5);
        }
    }
}

#[test]
fn a_number_that_is_not_finite_shows_in_the_sum_of_squares() {
    for set in Instructions::ALL.into_iter().filter(|set| set.available()) {
        let cpu = CpuF32::with_instructions(2, set).unwrap();
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut gradient = cpu.accumulator(70_001);
            let mut values = vec![1.0; 70_001];
            values[66_000] = bad;
            cpu.write_accumulator(&mut gradient, &values);
            assert!(!cpu.sum_of_squares(&gradient, 0..70_001).is_finite());
            assert_eq!(cpu.sum_of_squares(&gradient, 0..66_000), 66_000.0);
        }
    }
}

#[test]
fn weights_are_made_of_parts_of_every_number_type() {
    let cpu = CpuF32::new(2);
    let long: Vec<u8> = (0..50_001u32).flat_map(|i| (i as f32).to_le_bytes()).collect();
    let parts = [
        HostTensor { number: NumberType::F32, bytes: &long },
        HostTensor { number: NumberType::Bf16, bytes: &[0x80, 0x3f] },
        HostTensor { number: NumberType::F16, bytes: &[0x00, 0xc0] },
    ];
    let weight = cpu.weight(&parts);
    assert_eq!(cpu.read_weight(&weight, 49_999..50_003), [49_999.0, 50_000.0, 1.0, -2.0]);
}

#[test]
fn time_and_work_are_counted() {
    let cpu = CpuF32::new(1);
    let (x, w, mut out) = (cpu.activation(64), weight(&cpu, 1, 64), cpu.activation(64));
    cpu.linear(8, 8, 8, &x, &w, None, ift_backend::Out::Set, &mut out);
    let profile = cpu.take_profile();
    let products = profile.entries.iter().find(|e| e.operation == "products").unwrap();
    assert_eq!(products.flops, 1024);
    assert!(!products.time.is_zero());
    assert!(cpu.take_profile().entries.iter().all(|e| e.flops == 0 && e.time.is_zero()));
}
