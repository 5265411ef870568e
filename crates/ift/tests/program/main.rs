//! The program as its users run it: exit codes, output streams, files.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::expect_used,
    missing_docs,
    reason = "tests fail by panicking and explain themselves"
)]

mod adapters;
mod bench;
mod common;
mod generate;
mod gradients;
mod interrupt;
mod lake;
mod new;
mod pairs;
mod recipes;
mod refusals;
mod schema;
mod train;
mod usage;
