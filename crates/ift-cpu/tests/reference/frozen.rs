//! Weights that never learn, in every storage: what they stand for, and every operation that reads
//! one.

use super::{Case, accumulator, activation, frozen, numbers, read, read_accumulator, tokens};
use ift_backend::{
    AttentionShape, Backend, Choice, HeadNorms, HostTensor, Mix, Norm, NumberType, Out, Reference,
    Storage,
};
use ift_cpu::{CpuBf16, CpuF32, Instructions};

const STORAGES: [Storage; 4] = [Storage::Exact, Storage::Bf16, Storage::Int8, Storage::Nf4];

/// Every storage holds the same numbers everywhere, to the bit, whichever range is asked for.
#[test]
fn values_are_those_of_the_specification() {
    for count in [1, 63, 64, 65, 1000, 100_003] {
        for storage in STORAGES {
            let expected = Reference.read_weight(&frozen(&Reference, 1, count, storage), 0..count);
            for set in Instructions::ALL.into_iter().filter(|set| set.available()) {
                let wide = CpuF32::with_instructions(2, set).unwrap();
                let narrow = CpuBf16::with_instructions(3, set).unwrap();
                let weights =
                    (frozen(&wide, 1, count, storage), frozen(&narrow, 1, count, storage));
                for range in [0..count, count / 2..count, count / 3..count / 2, count - 1..count] {
                    let expected: Vec<f32> =
                        expected[range.clone()].iter().map(|&x| x as f32).collect();
                    assert_eq!(
                        wide.read_weight(&weights.0, range.clone()),
                        expected,
                        "{storage:?}, {set:?}"
                    );
                    assert_eq!(
                        narrow.read_weight(&weights.1, range),
                        expected,
                        "{storage:?}, {set:?}"
                    );
                }
            }
        }
    }
}

/// Blocks whose numbers are all 0, all equal, or at the ends of the range.
#[test]
fn values_at_the_edges() {
    let blocks: [&dyn Fn(usize) -> f32; 5] = [
        &|_| 0.0,
        &|_| -3.5,
        &|i| if i == 7 { f32::MAX } else { 1.0 },
        &|i| f32::MIN_POSITIVE * i as f32,
        &|i| if i % 2 == 0 { 1e-3 } else { -1e-3 },
    ];
    let values: Vec<f32> = blocks.iter().flat_map(|block| (0..64).map(block)).collect();
    let bytes: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
    let parts = [HostTensor { number: NumberType::F32, bytes: &bytes }];
    let all = 0..values.len();
    for storage in STORAGES {
        let expected =
            Reference.read_weight(&Reference.frozen_weight(&parts, storage), all.clone());
        let expected: Vec<f32> = expected.into_iter().map(|x| x as f32).collect();
        for set in Instructions::ALL.into_iter().filter(|set| set.available()) {
            let cpu = CpuF32::with_instructions(1, set).unwrap();
            let weight = cpu.frozen_weight(&parts, storage);
            assert_eq!(cpu.read_weight(&weight, all.clone()), expected, "{storage:?}, {set:?}");
        }
    }
}

struct Layers {
    n: usize,
    inputs: usize,
    outputs: usize,
    storage: Storage,
}

impl Case for Layers {
    fn run<B: Backend>(&self, b: &B) -> Vec<(&'static str, Vec<f64>)> {
        let Self { n, inputs, outputs, storage } = *self;
        let (w, bias) = (frozen(b, 1, outputs * inputs, storage), frozen(b, 2, outputs, storage));
        let (x, d_out) = (activation(b, 3, n * inputs), activation(b, 4, n * outputs));
        let (mut out, mut d_x) =
            (activation(b, 5, n * outputs + 1), activation(b, 6, n * inputs + 1));
        b.linear(n, inputs, outputs, &x, &w, Some(&bias), Out::Add, &mut out);
        b.linear_backward_input(n, inputs, outputs, &d_out, &w, Out::Add, &mut d_x);

        let norm = Norm { width: inputs, eps: 1e-5, offset: 1.0 };
        let norm_weight = frozen(b, 7, inputs, storage);
        let (mut normed, mut d_normed) = (b.activation(n * inputs), activation(b, 8, n * inputs));
        b.norm(n, &x, &norm_weight, norm, &mut normed);
        b.norm_backward(
            n,
            &x,
            &norm_weight,
            norm,
            &activation(b, 9, n * inputs),
            &mut d_normed,
            None,
        );

        let ids = tokens(10, n, outputs);
        let own: Vec<Option<u32>> =
            tokens(11, n, outputs).into_iter().map(|t| (t % 2 > 0).then_some(t)).collect();
        let (mut embedded, mut mixed) = (b.activation(n * inputs), b.activation(n * inputs));
        b.embed(&w, inputs, &ids, None, 1.0, &mut embedded);
        b.embed(&w, inputs, &ids, Some(Mix { lambda: 0.3, own: &own }), 7.5, &mut mixed);

        let mut average = accumulator(b, 12, outputs * inputs);
        b.average(&w, 0.75, &mut average);
        let (a, low) =
            (frozen(b, 13, 5 * inputs, storage), frozen(b, 14, outputs.min(3) * 5, storage));
        let rows = outputs - outputs.min(3)..outputs;
        vec![
            ("out", read(b, &out, n * outputs + 1)),
            ("d_x", read(b, &d_x, n * inputs + 1)),
            ("norm", read(b, &normed, n * inputs)),
            ("d_norm", read(b, &d_normed, n * inputs)),
            ("embedded", read(b, &embedded, n * inputs)),
            ("mixed", read(b, &mixed, n * inputs)),
            ("average", read_accumulator(b, &average, outputs * inputs)),
            ("adapted norms", b.adapted_norms(inputs, 5, &w, rows, &a, &low, 0.5)),
        ]
    }
}

#[test]
fn layers_on_odd_sizes() {
    for storage in STORAGES {
        for n in [1, 7, 130] {
            for (inputs, outputs) in [(1, 3), (3, 24), (24, 97), (65, 65), (641, 33), (128, 130)] {
                let case = format!("{storage:?} {n} x {inputs} -> {outputs}");
                Layers { n, inputs, outputs, storage }.check(&case, 2e-5);
            }
        }
    }
}

struct Output {
    n: usize,
    width: usize,
    vocabulary: usize,
    storage: Storage,
}

impl Case for Output {
    fn run<B: Backend>(&self, b: &B) -> Vec<(&'static str, Vec<f64>)> {
        let Self { n, width, vocabulary, storage } = *self;
        let (x, w) = (activation(b, 1, n * width), frozen(b, 2, vocabulary * width, storage));
        let targets = tokens(3, n, vocabulary);
        let (scores, kept) = b.head(width, vocabulary, &x, &w, &targets, Choice::Nothing, true);
        let (d_log_probs, mut d_x) = (numbers(4, n), b.activation(n * width));
        let normalizers = &scores.log_normalizers;
        b.head_backward(
            width,
            vocabulary,
            &x,
            &w,
            &targets,
            normalizers,
            kept,
            &d_log_probs,
            None,
            &mut d_x,
            None,
        );
        let few = n.min(3);
        vec![
            ("log_probs", scores.log_probs),
            ("d_x", read(b, &d_x, n * width)),
            (
                "logits",
                b.logits(few, width, vocabulary, &x, &w).into_iter().map(f64::from).collect(),
            ),
        ]
    }
}

#[test]
fn head_on_odd_sizes() {
    for storage in STORAGES {
        for (width, vocabulary) in [(24, 5), (24, 320), (65, 1000), (17, 4100)] {
            for n in [1, 7, 130] {
                let case = format!("head of {storage:?}, {n} x {width} -> {vocabulary}");
                Output { n, width, vocabulary, storage }.check(&case, 1e-5);
            }
        }
    }
}

struct HeadsNormed(Storage);

impl Case for HeadsNormed {
    fn run<B: Backend>(&self, b: &B) -> Vec<(&'static str, Vec<f64>)> {
        let (n, head_dim) = (7, 24);
        let shape = AttentionShape { heads: 4, kv_heads: 2, head_dim, scale: 1.0, window: None };
        let rotary = b.rotary(&[0, 1, 2, 3, 9, 8, 7], &[0.5; 12]);
        let (q_norm, k_norm) = (frozen(b, 2, head_dim, self.0), frozen(b, 3, head_dim, self.0));
        let norm = Norm { width: head_dim, eps: 1e-6, offset: 0.0 };
        let norms = || Some(HeadNorms { q: &q_norm, k: &k_norm, norm });
        let qkv = activation(b, 1, n * shape.qkv_width());
        let (mut q, mut kv) =
            (b.activation(n * shape.q_width()), b.activation(n * shape.kv_width()));
        b.split_heads(n, &shape, &qkv, &rotary, norms(), &mut q, &mut kv);
        let (d_q, d_kv) =
            (activation(b, 5, n * shape.q_width()), activation(b, 6, n * shape.kv_width()));
        let mut d_qkv = b.activation(n * shape.qkv_width());
        b.split_heads_backward(
            n,
            &shape,
            Some(&qkv),
            &rotary,
            norms(),
            &d_q,
            &d_kv,
            &mut d_qkv,
            None,
        );
        vec![
            ("q", read(b, &q, n * shape.q_width())),
            ("kv", read(b, &kv, n * shape.kv_width())),
            ("d_qkv", read(b, &d_qkv, n * shape.qkv_width())),
        ]
    }
}

#[test]
fn norms_of_heads() {
    for storage in STORAGES {
        HeadsNormed(storage).check(&format!("heads normed by {storage:?}"), 2e-5);
    }
}

#[test]
fn a_block_takes_its_numbers_and_its_scale() {
    assert_eq!(STORAGES.map(|storage| storage.bytes(6400, 4)), [25_600, 12_800, 6800, 3600]);
    assert_eq!(STORAGES.map(|storage| storage.bytes(65, 6)), [390, 130, 136, 72]);
}

#[test]
#[should_panic(expected = "never learns")]
fn a_weight_in_fewer_bits_is_not_written() {
    let cpu = CpuF32::new(1);
    let mut weight = frozen(&cpu, 1, 10, Storage::Nf4);
    cpu.write_weight(&mut weight, &[0.0; 10]);
}
