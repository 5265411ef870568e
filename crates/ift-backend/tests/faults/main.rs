//! The conformance suite finds a fault in any operation: for each method of the trait a backend
//! that is the reference but for a small error in that method, and the cases that show it.

#![allow(clippy::unwrap_used, reason = "tests stop at the first surprise")]

mod faulty;

use faulty::Faulty;
use ift_backend::conformance::{Tolerances, cases};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Every method of the trait and the operation whose cases show a fault in it.
const METHODS: [(&str, &str); 46] = [
    ("footprint", "facts"),
    ("activation", "buffers"),
    ("activation_from", "buffers"),
    ("read_activation", "buffers"),
    ("zero", "buffers"),
    ("accumulator", "buffers"),
    ("write_accumulator", "buffers"),
    ("read_accumulator", "buffers"),
    ("clear", "buffers"),
    ("sums_of_squares", "buffers"),
    ("parameters", "buffers"),
    ("write_parameters", "buffers"),
    ("read_parameters", "buffers"),
    ("update", "update"),
    ("average", "update"),
    ("frozen", "frozen"),
    ("read_frozen", "frozen"),
    ("upload", "embedding"),
    ("embed", "embedding"),
    ("embed_backward", "embedding"),
    ("add_noise", "random"),
    ("norm", "norm"),
    ("norm_backward", "norm"),
    ("linear", "linear"),
    ("linear_backward_input", "linear"),
    ("linear_backward_weight", "linear"),
    ("take_columns", "columns"),
    ("add_columns", "columns"),
    ("scale_columns", "columns"),
    ("column_products", "columns"),
    ("dropout", "random"),
    ("adapted_norms", "low_rank"),
    ("rotary", "heads"),
    ("split_heads", "heads"),
    ("split_heads_backward", "heads"),
    ("attention", "attention"),
    ("attention_backward", "attention"),
    ("gated", "gated"),
    ("gated_backward", "gated"),
    ("copy_rows", "rows"),
    ("add_rows", "rows"),
    ("add", "rows"),
    ("head", "head"),
    ("read_scores", "head"),
    ("divergence", "divergence"),
    ("head_backward", "head"),
];

/// Whether a case of an operation fails on a backend.
fn is_found(backend: &Faulty, operation: &str) -> bool {
    cases().iter().filter(|case| case.operation() == operation).any(|case| {
        let inputs = Tolerances::F32.inputs;
        let run = || {
            let found = case.results(backend, inputs).unwrap();
            case.compare("faulty", &Tolerances::F32, &found, &case.expected(inputs).unwrap());
        };
        catch_unwind(AssertUnwindSafe(run)).is_err()
    })
}

#[test]
fn a_fault_in_any_method_is_found() {
    let others = [("logits", "head"), ("peak", "facts"), ("take_profile", "facts")];
    for (method, operation) in METHODS.into_iter().chain(others) {
        let backend = Faulty::new(method);
        assert!(is_found(&backend, operation), "a fault in `{method}` was not found");
        assert!(backend.was_called(), "`{method}` was never called");
    }
    // Without a fault nothing is found.
    assert!(!is_found(&Faulty::new("nothing"), "gated"));
}

/// A method that is added to the trait must be listed.
#[test]
fn every_method_is_listed() {
    let trait_file = include_str!("../../src/backend.rs");
    let methods = trait_file.lines().filter_map(|line| line.strip_prefix("    fn "));
    let mut methods: Vec<&str> =
        methods.map(|line| line.split('(').next().unwrap_or_default()).collect();
    let mut listed: Vec<&str> = METHODS.iter().map(|(method, _)| *method).collect();
    listed.extend(["logits", "peak", "take_profile"]);
    methods.sort_unstable();
    listed.sort_unstable();
    assert_eq!(methods, listed);
}
