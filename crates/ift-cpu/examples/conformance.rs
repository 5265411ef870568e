//! The conformance suite once, on one instruction set and one thread, for slow machines such as
//! emulators: `conformance avx512 [OPERATION ...]`. The tests do the same on every instruction set
//! of the machine and with several threads. The case `upload` provokes panics, catches them, and
//! prints their messages.

#![allow(
    clippy::print_stdout,
    clippy::panic,
    clippy::expect_used,
    reason = "the example reports to its reader, and fails as a test does"
)]

use ift_backend::conformance::{Case, Tolerances, cases};
use ift_cpu::{Cpu, Instructions, Number};
use std::collections::BTreeMap;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let name = arguments.next().unwrap_or_default();
    let known = |set: &Instructions| format!("{set:?}").eq_ignore_ascii_case(&name);
    let set = Instructions::ALL.into_iter().find(known);
    let set = set.unwrap_or_else(|| panic!("`{name}` is none of {:?}", Instructions::ALL));
    let operations: Vec<String> = arguments.collect();
    let chosen = |case: &Case| {
        operations.is_empty() || operations.iter().any(|operation| operation == case.operation())
    };
    let cases: Vec<Case> = cases().into_iter().filter(chosen).collect();
    check::<f32>(&cases, set, &Tolerances::F32);
    check::<half::bf16>(&cases, set, &Tolerances::BF16);
}

fn check<N: Number>(cases: &[Case], set: Instructions, tolerances: &Tolerances) {
    let name = format!("{set:?} {}", std::any::type_name::<N>());
    let mut counts = BTreeMap::new();
    for case in cases {
        let cpu = Cpu::<N>::with_instructions(1, set).expect("the instruction set is available");
        let found = case.results(&cpu, tolerances.inputs).expect("there is memory");
        let expected = case.expected(tolerances.inputs).expect("there is memory");
        case.compare(&name, tolerances, &found, &expected);
        *counts.entry(case.operation()).or_insert(0) += 1;
    }
    assert!(!counts.is_empty(), "no case was chosen");
    println!("{name}: passed, number of cases {counts:?}");
}
