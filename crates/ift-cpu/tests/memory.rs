//! What never exists: numbers of size `[tokens, vocabulary]`, and exact copies of frozen weights.
//! Alone in its process, one measurement after the other, so that the peak memory is its own.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "tests stop at the first surprise")]

use ift_backend::{
    Backend, Choice, Distributions, Divergence, DivergenceGradient, HostTensor, NumberType, Out,
    Storage,
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
    let (weight, frozen) = (cpu.weight(&[part]), cpu.frozen_weight(&[part], Storage::Int8));
    let x = cpu.activation_from(&wave(TARGETS * WIDTH).collect::<Vec<_>>());
    let other = cpu.activation_from(&wave(TARGETS * WIDTH).map(|x| 0.5 - x).collect::<Vec<_>>());
    let targets: Vec<u32> = (0..TARGETS as u32).map(|t| t * 61 % VOCABULARY as u32).collect();
    let mut d_x = cpu.activation(TARGETS * WIDTH);
    let mut d_weight = cpu.accumulator(VOCABULARY * WIDTH);
    let ((), used, _) = used(|| {
        // Kept, they would be larger than the budget.
        let (scores, kept) =
            cpu.head(WIDTH, VOCABULARY, &x, &weight, &targets, Choice::Greedy, true);
        assert!(kept.is_none());
        let (others, _) =
            cpu.head(WIDTH, VOCABULARY, &other, &frozen, &targets, Choice::Nothing, false);
        let normalizers = &scores.log_normalizers;
        let policy =
            Distributions { width: WIDTH, x: &x, weight: &weight, log_normalizers: normalizers };
        let log_normalizers = &others.log_normalizers[..];
        let reference = Distributions { width: WIDTH, x: &other, weight: &frozen, log_normalizers };
        let (kind, ones) = (Divergence::Reverse, vec![1.0; TARGETS]);
        let values = cpu.divergence(VOCABULARY, policy, reference, kind);
        let share = DivergenceGradient { reference, kind, values: &values, slopes: &ones };
        cpu.head_backward(
            WIDTH,
            VOCABULARY,
            &x,
            &weight,
            &targets,
            normalizers,
            kept,
            &ones,
            Some(share),
            &mut d_x,
            Some(&mut d_weight),
        );
    });
    drop(alone);
    assert!(used < logits / 8, "{used} bytes, and all logits would be {logits}");
}

/// Each storage takes its bytes and, while it is made and while products read it, not a copy of f32
/// beside it.
#[test]
fn frozen_weights_take_what_their_storage_says() {
    fn check<N: Number>() {
        const WIDTH: usize = 4096;
        const TOKENS: usize = 20;
        let exact = WIDTH * WIDTH * 4;
        // What a product packs at once, threads, and pages of two megabytes that are used in part.
        let beside = 16 << 20;
        let little = 6 << 20;
        let bytes = bytes(WIDTH * WIDTH);
        for storage in [Storage::Nf4, Storage::Int8, Storage::Bf16] {
            let cpu = Cpu::<N>::new(2);
            let part = [HostTensor { number: NumberType::F32, bytes: &bytes }];
            let (weight, peak, rest) = used(|| cpu.frozen_weight(&part, storage));
            let expected = storage.bytes(WIDTH * WIDTH, 4);
            assert!(rest + little > expected, "{storage:?}: {rest} bytes for {expected}");
            assert!(peak < expected + little, "{storage:?}: at most {peak} bytes for {expected}");
            let (x, mut out) = (cpu.activation(TOKENS * WIDTH), cpu.activation(TOKENS * WIDTH));
            let ((), peak, _) = used(|| {
                cpu.linear(TOKENS, WIDTH, WIDTH, &x, &weight, None, Out::Set, &mut out);
                cpu.linear_backward_input(
                    TOKENS,
                    WIDTH,
                    WIDTH,
                    &out,
                    &weight,
                    Out::Set,
                    &mut out_of(&cpu),
                );
            });
            assert!(peak < beside + 2 * little, "{storage:?}: products take {peak} bytes");
            assert!(peak < exact / 2);
        }
    }
    fn out_of<N: Number>(cpu: &Cpu<N>) -> <Cpu<N> as Backend>::Activation {
        cpu.activation(20 * 4096)
    }
    let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    check::<f32>();
    check::<half::bf16>();
    drop(alone);
}
