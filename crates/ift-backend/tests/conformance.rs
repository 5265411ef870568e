//! The conformance suite on the specification itself: every case computes something.

#![allow(clippy::unwrap_used, reason = "tests stop at the first surprise")]

use ift_backend::NumberType;
use ift_backend::Reference;
use ift_backend::conformance::{Tolerances, cases};

#[test]
fn every_case_computes_something() {
    for case in cases() {
        let found = case.results(&Reference, NumberType::Bf16).unwrap();
        // Fails where nothing was compared.
        case.compare("reference", &Tolerances::BF16, &found, &found);
    }
}
