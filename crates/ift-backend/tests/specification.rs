//! What the specification does that has no formula: memory, buffers, steps of several ranges.

#![allow(clippy::unwrap_used, reason = "tests stop at the first surprise")]

use ift_backend::{
    Backend, BackendError, HostTensor, LowRank, NumberType, RangeUpdate, Reference, Storage,
    Update, Weight,
};

#[test]
fn memory_that_does_not_exist_is_an_error() {
    let too_much = usize::MAX / 4;
    for error in [
        Reference.activation(too_much).unwrap_err(),
        Reference.accumulator(too_much).unwrap_err(),
        Reference.parameters(too_much).unwrap_err(),
    ] {
        let BackendError::OutOfMemory { bytes, .. } = error;
        assert!(bytes >= too_much as u64, "{error}");
        assert!(error.to_string().starts_with("out of memory: "), "{error}");
    }
}

/// A read before a write is seen.
#[test]
fn a_fresh_activation_is_nan() {
    assert!(Reference.activation(5).unwrap().iter().all(|x| x.is_nan()));
    assert_eq!(Reference.accumulator(3).unwrap(), [0.0; 3]);
    assert_eq!(Reference.parameters(3).unwrap(), [0.0; 3]);
}

#[test]
fn ranges_are_updated_by_their_own_rules() {
    let sgd = |lr| Update::Sgd { lr, momentum: 0.5, weight_decay: 0.0 };
    let (mut parameters, gradient) = (vec![1.0; 6], vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    let mut states = [vec![0.0; 6]];
    let updates =
        [RangeUpdate { range: 4..6, rule: sgd(1.0) }, RangeUpdate { range: 0..2, rule: sgd(0.5) }];
    Reference.update(&mut parameters, &gradient, &mut states, &updates, 0.5);
    assert_eq!(parameters, [0.75, 0.5, 1.0, 1.0, -1.5, -2.0]);
    assert_eq!(states[0], [0.5, 1.0, 0.0, 0.0, 2.5, 3.0]);
    Reference.update(&mut parameters, &gradient, &mut states, &updates[1..], 0.5);
    assert_eq!(parameters, [0.375, -0.25, 1.0, 1.0, -1.5, -2.0]);
}

#[test]
fn weights_are_made_of_parts_of_every_number_type() {
    let parts = [
        HostTensor { number: NumberType::F64, bytes: &0.1f64.to_le_bytes() },
        HostTensor { number: NumberType::F32, bytes: &1.5f32.to_le_bytes() },
        HostTensor { number: NumberType::Bf16, bytes: &[0x80, 0x3f] },
        HostTensor { number: NumberType::F16, bytes: &[0x00, 0xc0] },
    ];
    let frozen = Reference.frozen(&parts, Storage::Exact).unwrap();
    assert_eq!(Reference.read_frozen(&frozen, 0..4), [0.1, 1.5, 1.0, -2.0]);
    let mut parameters = Reference.parameters(3).unwrap();
    Reference.write_parameters(&mut parameters, 1, parts[3]);
    assert_eq!(Reference.read_parameters(&parameters, 0..3), [0.0, -2.0, 0.0]);
}

/// `‖[3, 4] + 2·1·[0, 4]‖ = ‖[3, 12]‖`.
#[test]
fn norms_of_adapted_rows() {
    let (w, a, b) = (vec![9.0, 9.0, 3.0, 4.0], vec![0.0, 4.0], vec![1.0]);
    let low_rank = LowRank { inputs: 2, rank: 1, rows: 1..2, scale: 2.0 };
    let weight = |elements| Weight::Frozen(elements);
    let norms = Reference.adapted_norms(&low_rank, weight(&w), weight(&a), weight(&b)).unwrap();
    assert_eq!(norms, [153.0f64.sqrt()]);
}
