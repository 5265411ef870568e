//! A NaN or an infinity that goes in comes out where the reference has it: no maximum, mask or
//! padding may swallow it, and it may not reach other rows.
//!
//! Covered are the operations whose results are looked at to find a run that has gone wrong, and
//! those between them and the place where it began: sums of squares, optimizer steps, linear
//! layers, norms, gates, attention, embeddings, copies and sums of rows and columns, the head's
//! log-probabilities, entropies, divergences and gradients. Not covered: selected tokens among
//! logits that are NaN, dropout (a dropped element is 0 whatever it was), and sines of infinite
//! angles.

mod buffers;
mod element;
mod layers;
mod scores;

use super::fixture::{Fixture, Result};
use super::operation::Operation;
use super::results::Results;
use super::tolerances::CaseTolerance;
use crate::Backend;
use element::Element;

/// Which operation.
#[derive(Clone, Copy, Debug)]
enum Subject {
    SumsOfSquares,
    Update,
    Linear,
    LinearWeight,
    Norm,
    Gated,
    Attention,
    Embedding,
    Rows,
    Columns,
    Head,
    HeadWeight,
    Divergence,
}

/// An operation with one element that is not finite among its inputs.
#[derive(Debug)]
pub(super) struct NonFiniteCase {
    subject: Subject,
    element: Element,
}

impl Operation for NonFiniteCase {
    fn tolerance(&self) -> CaseTolerance {
        CaseTolerance::stored_between(2e-5)
    }

    fn run<B: Backend>(&self, f: &Fixture<B>) -> Result<Results> {
        let mut results = Results::default();
        let (element, to) = (self.element, &mut results);
        match self.subject {
            Subject::SumsOfSquares => buffers::sums_of_squares(element, f, to),
            Subject::Update => buffers::update(element, f, to),
            Subject::Linear => layers::linear(element, f, to),
            Subject::LinearWeight => layers::linear_weight(element, f, to),
            Subject::Norm => layers::norm(element, f, to),
            Subject::Gated => layers::gated(element, f, to),
            Subject::Attention => layers::attention(element, f, to),
            Subject::Embedding => layers::embedding(element, f, to),
            Subject::Rows => buffers::rows(element, f, to),
            Subject::Columns => buffers::columns(element, f, to),
            Subject::Head => scores::head(element, f, to),
            Subject::HeadWeight => scores::head_weight(element, f, to),
            Subject::Divergence => scores::divergence(element, f, to),
        }?;
        Ok(results)
    }
}

pub(super) fn cases() -> Vec<NonFiniteCase> {
    let mut cases = Vec::new();
    let all = [
        Subject::SumsOfSquares,
        Subject::Update,
        Subject::Linear,
        Subject::LinearWeight,
        Subject::Norm,
        Subject::Gated,
        Subject::Attention,
        Subject::Embedding,
        Subject::Rows,
        Subject::Columns,
        Subject::Head,
        Subject::HeadWeight,
        Subject::Divergence,
    ];
    for subject in all {
        for element in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            cases.push(NonFiniteCase { subject, element: Element(element) });
        }
    }
    cases
}
