//! The footprint, the profile and the peak of a backend.

use super::fixture::{Fixture, Kept, Result};
use super::operation::Operation;
use super::results::Results;
use super::tolerances::CaseTolerance;
use crate::{Backend, Linear, Out};

/// That the facts make sense and that time and work are counted once.
#[derive(Debug)]
pub(super) struct FactsCase;

impl Operation for FactsCase {
    fn tolerance(&self) -> CaseTolerance {
        CaseTolerance::direct(0.0)
    }

    fn run<B: Backend>(&self, f: &Fixture<B>) -> Result<Results> {
        let b = f.backend;
        let mut results = Results::default();
        let mut flag = |name: &str, flag: bool| {
            results.exact(name, vec![f64::from(u8::from(flag))]);
        };
        let footprint = b.footprint();
        flag("an activation has a size", footprint.activation > 0);
        flag("elements are exact in full precision", footprint.exact == size_of::<B::Element>());
        flag("a weight is no smaller", footprint.weight >= footprint.exact);
        flag(
            "the head computes some logits",
            footprint.logits_rows * footprint.logits_entries.min(1) > 0,
        );
        flag("attention has a chunk", footprint.attention_chunks > 0);
        flag("a peak is a positive number", b.peak().is_none_or(|p| p > 0.0 && p.is_finite()));

        let linear = Linear { tokens: 8, inputs: 8, outputs: 8 };
        let (x, w) = (f.activation(1, 64)?, f.weight(Kept::Trainable, 2, 64)?);
        let mut out = b.activation(64)?;
        b.take_profile();
        b.linear(linear, &x, w.weight(), None, Out::Set, &mut out)?;
        let profile = b.take_profile();
        let flops: u64 = profile.entries.iter().map(|entry| entry.flops).sum();
        flag("work is counted, if at all", profile.entries.is_empty() || flops == 2 * 8 * 8 * 8);
        let rest = b.take_profile();
        let nothing = rest.entries.iter().all(|entry| entry.flops == 0 && entry.time.is_zero());
        flag("nothing is counted twice", nothing);
        Ok(results)
    }
}

pub(super) fn cases() -> Vec<FactsCase> {
    vec![FactsCase]
}
