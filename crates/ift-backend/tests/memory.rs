//! What never exists: numbers of size `[tokens, vocabulary]`. Alone in its process, so that its peak memory is its own.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "tests stop at the first surprise")]

use ift_backend::{Backend, Choice, CpuF32, HostTensor, NumberType};

/// Peak resident memory so far, bytes.
fn peak() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).unwrap();
    line.trim().strip_suffix("kB").unwrap().trim().parse::<usize>().unwrap() * 1024
}

#[test]
fn the_head_needs_far_less_than_the_logits() {
    const WIDTH: usize = 8;
    const VOCABULARY: usize = 131_072;
    const TARGETS: usize = 2_048;
    let logits = VOCABULARY * TARGETS * 4;
    let cpu = CpuF32::new(2);
    let wave = |n: usize| (0..n).map(|i| (i as f64 * 0.37).sin());
    let bytes: Vec<u8> = wave(VOCABULARY * WIDTH).flat_map(|x| (x as f32).to_le_bytes()).collect();
    let weight = cpu.weight(&[HostTensor { number: NumberType::F32, bytes: &bytes }]);
    let x = cpu.activation_from(&wave(TARGETS * WIDTH).collect::<Vec<_>>());
    let targets: Vec<u32> = (0..TARGETS as u32).map(|t| t * 61 % VOCABULARY as u32).collect();
    let mut d_x = cpu.activation(TARGETS * WIDTH);
    let mut d_weight = cpu.accumulator(VOCABULARY * WIDTH);
    let before = peak();
    // Kept, they would be larger than the budget.
    let (scores, kept) = cpu.head(WIDTH, VOCABULARY, &x, &weight, &targets, Choice::Greedy, true);
    assert!(kept.is_none());
    let ones = vec![1.0; TARGETS];
    let normalizers = &scores.log_normalizers;
    cpu.head_backward(
        WIDTH,
        VOCABULARY,
        &x,
        &weight,
        &targets,
        normalizers,
        kept,
        &ones,
        &mut d_x,
        Some(&mut d_weight),
    );
    let used = peak() - before;
    assert!(used < logits / 8, "{used} bytes, and all logits would be {logits}");
}
