//! What never exists: all logits of many tokens at a time, and exact copies of frozen weights.
//! Alone in its process, one measurement after the other, so that the peak memory is its own. And
//! what does not fit is an error.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests stop at the first surprise")]

use ift_backend::{
    Attention, Backend, BackendError, Distributions, Divergence, DivergenceGradient, Head,
    HeadGradient, HeadTargets, HostTensor, Linear, NumberType, Out, PassInputs, Segment, Select,
    Slot, Storage, Weight,
};
use ift_cpu::{Cpu, CpuF32, Number};
use std::sync::{Mutex, PoisonError};

/// Held while memory is measured.
static ALONE: Mutex<()> = Mutex::new(());

/// A line of the system's report on this process, bytes.
fn status(name: &str) -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|l| l.strip_prefix(name)).unwrap();
    line.trim().strip_suffix("kB").unwrap().trim().parse::<usize>().unwrap() * 1024
}

/// How much more memory was resident at a time while `work` ran than before, and how much of it
/// still is.
fn used<R>(work: impl FnOnce() -> R) -> (R, usize, usize) {
    // 5: the peak begins again.
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
    let before = status("VmRSS:");
    let result = work();
    (result, status("VmHWM:").saturating_sub(before), status("VmRSS:").saturating_sub(before))
}

fn wave(n: usize) -> impl Iterator<Item = f64> {
    (0..n).map(|i| (i as f64 * 0.37).sin())
}

fn bytes(n: usize) -> Vec<u8> {
    wave(n).flat_map(|x| (x as f32).to_le_bytes()).collect()
}

#[test]
fn the_head_and_divergences_need_far_less_than_the_logits() {
    const WIDTH: usize = 8;
    const VOCABULARY: usize = 131_072;
    const TARGETS: usize = 2_048;
    let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let logits = VOCABULARY * TARGETS * 4;
    let cpu = CpuF32::new(2);
    let bytes = bytes(VOCABULARY * WIDTH);
    let part = HostTensor { number: NumberType::F32, bytes: &bytes };
    let mut parameters = cpu.parameters(VOCABULARY * WIDTH).unwrap();
    cpu.write_parameters(&mut parameters, 0, part);
    let weight: Weight<CpuF32> = Weight::Trainable { parameters: &parameters, start: 0 };
    let frozen = cpu.frozen(&[part], Storage::Int8).unwrap();
    let frozen: Weight<CpuF32> = Weight::Frozen(&frozen);
    let states = |of: &dyn Fn(f64) -> f64| {
        cpu.activation_from(&wave(TARGETS * WIDTH).map(of).collect::<Vec<_>>()).unwrap()
    };
    let (x, other) = (states(&|x| x), states(&|x| 0.5 - x));
    let ids: Vec<u32> = (0..TARGETS as u32).map(|t| t * 61 % VOCABULARY as u32).collect();
    let mut d_x = cpu.activation(TARGETS * WIDTH).unwrap();
    let mut d_weight = cpu.accumulator(VOCABULARY * WIDTH).unwrap();
    let ((), used, _) = used(|| {
        let head = Head { width: WIDTH, vocabulary: VOCABULARY };
        // All logits would be larger than the budget, so they are not kept.
        let targets = HeadTargets { ids: &ids, select: Select::Argmax, keep_logits: true };
        let mut scores = cpu.head(head, &x, weight, &targets).unwrap();
        let targets = HeadTargets { ids: &ids, select: Select::Nothing, keep_logits: false };
        let others = cpu.head(head, &other, frozen, &targets).unwrap();
        let (kind, ones) = (Divergence::Reverse, vec![1.0; TARGETS]);
        let reference = Distributions { width: WIDTH, x: &other, weight: frozen, scores: &others };
        cpu.divergence(kind, head, &x, weight, &mut scores, reference).unwrap();
        let divergence = Some(DivergenceGradient { kind, reference, d_divergences: &ones });
        let gradient = HeadGradient { d_log_probs: &ones, divergence };
        let slot = Slot { buffer: &mut d_weight, start: 0 };
        cpu.head_backward(head, &x, weight, scores, &gradient, &mut d_x, Some(slot)).unwrap();
    });
    drop(alone);
    assert!(used < logits / 8, "{used} bytes, and all logits would be {logits}");
}

/// Each storage takes its bytes, and no additional f32 copy while it is made or read by products.
#[test]
fn frozen_weights_take_what_their_storage_says() {
    fn check<N: Number>() {
        const WIDTH: usize = 4096;
        const TOKENS: usize = 20;
        let exact = WIDTH * WIDTH * 4;
        // What a product packs at once, threads, and pages of two megabytes that are used in part.
        let temporary = 16 << 20;
        let little = 6 << 20;
        let bytes = bytes(WIDTH * WIDTH);
        for storage in [Storage::Nf4, Storage::Int8, Storage::Bf16] {
            let cpu = Cpu::<N>::new(2);
            let part = [HostTensor { number: NumberType::F32, bytes: &bytes }];
            let (weight, peak, rest) = used(|| cpu.frozen(&part, storage).unwrap());
            let expected = storage.bytes(WIDTH * WIDTH, 4);
            assert!(rest + little > expected, "{storage:?}: {rest} bytes for {expected}");
            assert!(peak < expected + little, "{storage:?}: at most {peak} bytes for {expected}");
            let activation = || cpu.activation(TOKENS * WIDTH).unwrap();
            let (x, mut out) = (activation(), activation());
            let linear = Linear { tokens: TOKENS, inputs: WIDTH, outputs: WIDTH };
            let ((), peak, _) = used(|| {
                let weight: Weight<Cpu<N>> = Weight::Frozen(&weight);
                cpu.linear(linear, &x, weight, None, Out::Set, &mut out).unwrap();
                let mut d_x = activation();
                cpu.linear_backward_input(linear, &out, weight, Out::Set, &mut d_x).unwrap();
            });
            assert!(peak < temporary + 2 * little, "{storage:?}: products take {peak} bytes");
            assert!(peak < exact / 2);
        }
    }
    let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    check::<f32>();
    check::<half::bf16>();
    drop(alone);
}

/// Sizes that no machine has room for: an error that says what and how much, no abort.
#[test]
fn what_does_not_fit_is_an_error() {
    fn check<R>(what: &str, result: Result<R, BackendError>) {
        match result.map(|_| ()) {
            Err(BackendError::OutOfMemory { bytes, .. }) => assert!(bytes > 1 << 40, "{what}"),
            Ok(()) => panic!("{what} fits"),
        }
    }
    let cpu = CpuF32::new(1);
    for len in [1 << 60, usize::MAX / 4 + 2, usize::MAX - 3, usize::MAX] {
        check("an activation", cpu.activation(len));
        check("an accumulator", cpu.accumulator(len));
        check("parameters", cpu.parameters(len));
    }
    let one = HostTensor { number: NumberType::F32, bytes: &[0; 4] };
    let frozen = cpu.frozen(&[one], Storage::Exact).unwrap();
    let x = cpu.activation(1).unwrap();
    let weight: Weight<CpuF32> = Weight::Frozen(&frozen);
    let head = Head { width: 0, vocabulary: usize::MAX / 8 };
    check("logits", cpu.logits(head, 1, &x, weight));
}

/// Temporary buffers of operations that do not fit are errors too: a past of many tokens, each a
/// token of a few.
#[test]
fn temporary_buffers_that_do_not_fit_are_errors() {
    let cpu = CpuF32::new(1);
    let heads = 1 << 12;
    let attention = Attention { heads, kv_heads: heads, head_dim: 1, scale: 1.0, window: None };
    let past_len = u32::MAX as usize - 8;
    let segments = [Segment { start: 0, len: 8, past_start: 0, past_len }];
    let pass = PassInputs {
        tokens: &[0; 8],
        segments: &segments,
        streams: &[],
        noise: &[],
        look_ahead: None,
        past_blocks: None,
    };
    let inputs = cpu.upload(&pass).unwrap();
    let q = cpu.activation(8 * heads).unwrap();
    let kv = cpu.activation(8 * 2 * heads).unwrap();
    let mut out = cpu.activation(8 * heads).unwrap();
    let mut lse = cpu.accumulator(8 * heads).unwrap();
    let result = cpu.attention(&attention, &inputs, &q, &kv, None, &mut out, &mut lse);
    assert!(matches!(result, Err(BackendError::OutOfMemory { bytes, .. }) if bytes > 1 << 40));
}
