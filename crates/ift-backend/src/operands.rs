//! Weights and places of gradients, as operations are given them.

use crate::{Buffers, Update};
use std::ops::Range;

/// How the result of a product is written to its output `out`.
#[derive(Debug)]
pub enum Out<'a, A: ?Sized> {
    /// `out = result`.
    Set,
    /// `out += result`.
    Add,
    /// `out = other + result`: a residual connection, added in the same pass over memory.
    Plus(&'a A),
}

impl<A: ?Sized> Clone for Out<'_, A> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<A: ?Sized> Copy for Out<'_, A> {}

/// A weight as an operation reads it.
pub enum Weight<'a, B: Buffers + ?Sized> {
    /// The trainable elements from `start` on.
    Trainable {
        /// All trainable elements.
        parameters: &'a B::Parameters,
        /// The weight's first element.
        start: usize,
    },
    /// A weight that is never trained.
    Frozen(&'a B::Frozen),
}

impl<B: Buffers + ?Sized> Clone for Weight<'_, B> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<B: Buffers + ?Sized> Copy for Weight<'_, B> {}

/// The place of a weight's gradient in the flat range of all gradients.
#[derive(Debug)]
pub struct Slot<'a, A> {
    /// The gradients of all trainable elements.
    pub buffer: &'a mut A,
    /// Index of the first element of the weight's gradient.
    pub start: usize,
}

/// Where the gradients of a linear layer begin; `None` for what is not trained.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinearStarts {
    /// The weight's first element.
    pub weight: Option<usize>,
    /// The bias's first element.
    pub bias: Option<usize>,
}

/// Where the gradients of the norms of query and key heads begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadNormStarts {
    /// First element of the query heads' norm.
    pub q: usize,
    /// First element of the key heads' norm.
    pub k: usize,
}

/// The rule of one optimizer step for a range of the trainable elements.
#[derive(Clone, Debug, PartialEq)]
pub struct RangeUpdate {
    /// Which elements.
    pub range: Range<usize>,
    /// How they change.
    pub rule: Update,
}
