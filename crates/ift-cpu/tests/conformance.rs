//! Every operation of `Cpu` in f32 and bf16 against the reference, with every instruction set of
//! this machine, and the same bits with 1, 2 and 3 threads and in a second run.
//!
//! Which sets this machine lacks, `cargo run -p ift-cpu --example instructions` tells.

#![allow(clippy::panic, reason = "tests stop at the first surprise")]

use half::bf16;
use ift_backend::conformance::{Case, Results, Tolerances, cases};
use ift_cpu::{Cpu, Instructions, Number};

/// The results of a case on a backend with `threads` threads.
fn results<N: Number>(
    case: &Case,
    tolerances: &Tolerances,
    set: Instructions,
    threads: usize,
) -> Results {
    let cpu = Cpu::<N>::with_instructions(threads, set);
    let cpu = cpu.unwrap_or_else(|error| panic!("{set:?}: {error}"));
    let results = case.results(&cpu, tolerances.inputs);
    results.unwrap_or_else(|error| panic!("{cpu:?}, {case}: {error}"))
}

/// All cases on every instruction set that this machine has.
fn check<N: Number>(tolerances: &Tolerances) {
    let sets: Vec<Instructions> =
        Instructions::ALL.into_iter().filter(|set| set.available()).collect();
    for case in cases() {
        let expected = case.expected(tolerances.inputs);
        let expected = expected.unwrap_or_else(|error| panic!("the reference, {case}: {error}"));
        for &set in &sets {
            let first = results::<N>(&case, tolerances, set, 1);
            case.compare(&format!("{set:?}"), tolerances, &first, &expected);
            for threads in [1, 2, 3] {
                let again = results::<N>(&case, tolerances, set, threads);
                if let Some(difference) = again.first_difference(&first) {
                    panic!("{set:?}, {case}: other bits with {threads} threads: {difference}");
                }
            }
        }
    }
}

#[test]
fn activations_in_f32() {
    check::<f32>(&Tolerances::F32);
}

#[test]
fn activations_in_bf16() {
    check::<bf16>(&Tolerances::BF16);
}
