//! Buffers: what is written is read, and sums of squares.

use super::fixture::{Fixture, Result};
use super::operation::Operation;
use super::results::Results;
use super::tolerances::CaseTolerance;
use crate::{Backend, Element, HostTensor, NumberType};
use std::ops::Range;

/// Activations and accumulators.
#[derive(Debug)]
pub(super) struct BuffersCase {
    len: usize,
}

impl Operation for BuffersCase {
    fn tolerance(&self) -> CaseTolerance {
        CaseTolerance::direct(1e-5)
    }

    fn run<B: Backend>(&self, f: &Fixture<B>) -> Result<Results> {
        let (b, len) = (f.backend, self.len);
        let mut results = Results::default();
        let mut activation = f.activation(1, len)?;
        results.exact("activation", f.read(&activation, len));
        b.zero(len / 2, &mut activation);
        results.exact("a half of zeros", f.read(&activation, len));
        let fresh = b.activation(len)?;
        results.exact("length", vec![f.read(&fresh, len).len() as f64]);

        let fresh = b.accumulator(len)?;
        results.exact("fresh accumulator", f.read_accumulator(&fresh, len));
        let mut accumulator = f.accumulator(2, len)?;
        let parts = ranges(len);
        results.near("squares", b.sums_of_squares(&accumulator, &parts));
        results.exact("no squares", b.sums_of_squares(&accumulator, &[]));
        let (start, count) = (len / 3, len / 2);
        let values: Vec<B::Element> =
            f.values(3, count).iter().map(|&x| B::Element::from_f64(x)).collect();
        b.write_accumulator(&mut accumulator, start, &values);
        results.exact("overwritten", f.read_accumulator(&accumulator, len));
        for (i, range) in parts.into_iter().enumerate() {
            let part = b.read_accumulator(&accumulator, range);
            results.exact(format!("part {i}"), part.into_iter().map(Element::to_f64).collect());
        }
        b.clear(&mut accumulator);
        results.exact("cleared", f.read_accumulator(&accumulator, len));
        Ok(results)
    }
}

/// Ranges in any order that overlap; one is empty.
fn ranges(len: usize) -> [Range<usize>; 5] {
    [0..len, len / 3..len, len / 2..len / 2, len - 1..len, 0..len / 2]
}

/// Trainable elements from tensors of every type.
#[derive(Debug)]
pub(super) struct ParametersCase {
    len: usize,
}

impl Operation for ParametersCase {
    fn tolerance(&self) -> CaseTolerance {
        CaseTolerance::direct(0.0)
    }

    fn run<B: Backend>(&self, f: &Fixture<B>) -> Result<Results> {
        let (b, len) = (f.backend, self.len);
        let mut results = Results::default();
        let mut parameters = b.parameters(len + 12)?;
        let read = |parameters: &B::Parameters, range: Range<usize>| {
            b.read_parameters(parameters, range).into_iter().map(Element::to_f64).collect()
        };
        results.exact("fresh", read(&parameters, 0..len + 12));
        let long: Vec<u8> = f.values(1, len).iter().flat_map(|x| x.to_le_bytes()).collect();
        let single: Vec<u8> = [1.5f32, -0.25].iter().flat_map(|x| x.to_le_bytes()).collect();
        for (start, number, bytes) in [
            (5, NumberType::F64, &long[..]),
            (0, NumberType::F32, &single),
            (2, NumberType::Bf16, &[0x80, 0x3f]),
            (len + 9, NumberType::F16, &[0x00, 0xc0, 0x00, 0x3c]),
        ] {
            b.write_parameters(&mut parameters, start, HostTensor { number, bytes });
        }
        results.exact("written", read(&parameters, 0..len + 12));
        results.exact("part", read(&parameters, len / 2..len));
        Ok(results)
    }
}

pub(super) fn cases() -> Vec<BuffersCase> {
    [1, 3, 65, 40_001, 140_003].into_iter().map(|len| BuffersCase { len }).collect()
}

pub(super) fn parameters_cases() -> Vec<ParametersCase> {
    [1, 65, 50_001].into_iter().map(|len| ParametersCase { len }).collect()
}
