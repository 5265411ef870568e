//! The backward passes of the specification against finite differences, and operations that are
//! each other's backward passes against each other.

#![allow(clippy::unwrap_used, reason = "tests stop at the first surprise")]

mod adjoint;
mod attention;
mod difference;
mod divergence;
mod embedding;
mod gated;
mod head;
mod heads;
mod linear;
mod norm;
