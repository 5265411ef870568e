//! The memory and time that a backend takes.

use std::time::Duration;

/// Bytes per element and sizes of temporary buffers: the facts of a backend that memory formulas
/// need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Footprint {
    /// Bytes of a trainable element, with its compute copy if it has one. (An exact frozen element
    /// takes as much.)
    pub weight: usize,
    /// Bytes of an element of an accumulator: a gradient, an optimizer state, a log-sum-exp.
    pub exact: usize,
    /// Bytes of an element of an activation.
    pub activation: usize,
    /// Targets whose logits exist at a time, at most.
    pub logits_rows: usize,
    /// Entries of the vocabulary whose logits exist at a time, at most.
    pub logits_entries: usize,
    /// Elements of logits, at most, that are kept from the forward to the backward pass, in f32.
    pub kept_logits: usize,
    /// Bytes, at most, that a product packs at once.
    pub packed: usize,
    /// Chunks, at most, that the backward pass of attention cuts the queries of a segment into.
    pub attention_chunks: usize,
}

/// A profile: time and work of a backend's operations since the last call.
#[derive(Clone, Debug, Default)]
pub struct Profile {
    /// One entry for each kind of operation, in a fixed order.
    pub entries: Vec<ProfileEntry>,
    /// The sum over all threads of the time they were busy; the rest of wall time times `threads`
    /// they were idle.
    pub busy: Duration,
    /// How many threads there are.
    pub threads: usize,
}

/// Time and work of one kind of operation.
#[derive(Clone, Debug)]
pub struct ProfileEntry {
    /// `products`, `attention`, `head`, …
    pub operation: &'static str,
    /// Wall time inside the operation.
    pub time: Duration,
    /// Useful floating point operations (a multiply-add is two).
    pub flops: u64,
}
