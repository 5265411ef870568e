//! The conformance suite: every operation of a backend against [`crate::Reference`].
//!
//! Each [`Case`] is one operation, forward and backward, on inputs of one size: empty ones, odd
//! ones, ones of several blocks, with elements that are not finite. One call runs all of them:
//!
//! ```no_run
//! use ift_backend::{Reference, conformance};
//!
//! conformance::run("my backend", &conformance::Tolerances::F32, || Reference);
//! ```
//!
//! What else a backend guarantees, such as the same bits for any number of threads, its own tests
//! show with [`Case::results`] and [`Results::first_difference`].

mod attention;
mod buffers;
mod cases;
mod columns;
mod divergence;
mod embedding;
mod facts;
mod fixture;
mod frozen;
mod gated;
mod head;
mod heads;
mod linear;
mod low_rank;
mod non_finite;
mod norm;
mod operation;
mod results;
mod rows;
mod tolerances;
mod update;
mod upload;

pub use cases::{Case, cases};
pub use results::Results;
pub use tolerances::Tolerances;

use crate::Backend;

/// Runs all cases on a backend, a fresh one for each.
///
/// # Panics
/// If a result is too far from the reference's, or memory runs out.
#[track_caller]
#[expect(clippy::panic, reason = "a conformance run is an assertion")]
pub fn run<B: Backend>(name: &str, tolerances: &Tolerances, make: impl Fn() -> B) {
    for case in cases() {
        let inputs = tolerances.inputs;
        match (case.results(&make(), inputs), case.expected(inputs)) {
            (Ok(found), Ok(expected)) => case.compare(name, tolerances, &found, &expected),
            (Err(error), _) | (_, Err(error)) => panic!("{name}, {case}: {error}"),
        }
    }
}
