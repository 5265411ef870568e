//! Optimizer steps and exponential moving averages.

use super::fixture::{Fixture, Result, f64_bytes};
use super::operation::Operation;
use super::results::Results;
use super::tolerances::CaseTolerance;
use crate::{Backend, Element, HostTensor, Linear, NumberType, Out, RangeUpdate, Update, Weight};
use ift_compare::Tolerance;

/// Two optimizer steps of several ranges with different rules, and an exponential moving average.
#[derive(Debug)]
pub(super) struct UpdateCase {
    len: usize,
    rule: Update,
}

/// The rule of the second range: as the first, without weight decay.
fn without_decay(mut rule: Update) -> Update {
    match &mut rule {
        Update::RmsProp { weight_decay, .. }
        | Update::AdamW { weight_decay, .. }
        | Update::Sgd { weight_decay, .. } => *weight_decay = 0.0,
        Update::RmsPropBf16 { .. } => {}
    }
    rule
}

impl Operation for UpdateCase {
    fn tolerance(&self) -> CaseTolerance {
        CaseTolerance::direct(1e-5)
    }

    fn run<B: Backend>(&self, f: &Fixture<B>) -> Result<Results> {
        let b = f.backend;
        let Self { len, rule } = *self;
        let mut parameters = b.parameters(len)?;
        let bytes = f64_bytes(&f.values(1, len));
        let tensor = HostTensor { number: NumberType::F64, bytes: &bytes };
        b.write_parameters(&mut parameters, 0, tensor);
        let gradient = f.accumulator(2, len)?;
        let mut states = Vec::new();
        for _ in 0..rule.states() {
            states.push(b.accumulator(len)?);
        }
        // A gap lies between the ranges, and the second is named first.
        let updates = [
            RangeUpdate { range: len / 2 + 1..len, rule: without_decay(rule) },
            RangeUpdate { range: 0..len / 3, rule },
            RangeUpdate { range: len / 3..len / 3, rule },
        ];
        for _ in 0..2 {
            b.update(&mut parameters, &gradient, &mut states, &updates, 0.25);
        }
        let mut results = Results::default();
        let read = b.read_parameters(&parameters, 0..len).into_iter().map(Element::to_f64);
        // A rule whose every operation is rounded to bfloat16 leaves no freedom.
        let bf16 = matches!(rule, Update::RmsPropBf16 { .. });
        let mut add = |name: String, values: Vec<f64>| {
            if bf16 { results.exact(name, values) } else { results.near(name, values) }
        };
        add("parameters".to_owned(), read.collect());
        for (i, state) in states.iter().enumerate() {
            add(format!("state {i}"), f.read_accumulator(state, len));
        }
        let mut average = f.accumulator(3, len)?;
        b.average(&parameters, 0.99, &mut average);
        results.near("average", f.read_accumulator(&average, len));
        // Products read the new parameters.
        let linear = Linear { tokens: 1, inputs: len.min(65), outputs: len / len.min(65) };
        let x = f.activation(4, linear.inputs)?;
        let mut out = b.activation(linear.outputs)?;
        let weight = Weight::Trainable { parameters: &parameters, start: 0 };
        b.linear(linear, &x, weight, None, Out::Set, &mut out)?;
        let out = f.read(&out, linear.outputs);
        let rounding = if f.inputs == NumberType::Bf16 { 0.05 } else { 1e-4 };
        results.within("out", out, Tolerance::absolute(rounding));
        Ok(results)
    }
}

pub(super) fn cases() -> Vec<UpdateCase> {
    let weight_decay = 0.125;
    let rules = [
        Update::RmsProp { lr: 0.01, alpha: 0.99, eps: 1e-8, momentum: 0.0, weight_decay },
        Update::RmsProp { lr: 0.01, alpha: 0.99, eps: 1e-8, momentum: 0.9, weight_decay: 0.0 },
        Update::RmsPropBf16 { lr: 0.01, alpha: 0.99, eps: 1e-8 },
        Update::AdamW { lr: 0.01, beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay, step: 3 },
        Update::Sgd { lr: 0.01, momentum: 0.0, weight_decay },
        Update::Sgd { lr: 0.01, momentum: 0.9, weight_decay },
    ];
    let mut cases = Vec::new();
    for len in [1, 3, 65, 40_001, 140_003] {
        cases.extend(rules.into_iter().map(|rule| UpdateCase { len, rule }));
    }
    cases
}
