//! The update on bfloat16 weights against torch 2.8: `torch.optim.RMSprop([p], lr=2e-3, alpha=0.99,
//! eps=1e-8)` with `p` and its gradients of type `torch.bfloat16`, five steps of one tensor.

#![allow(clippy::unwrap_used, reason = "tests stop at the first surprise")]

use half::bf16;
use ift_backend::{Backend, HostTensor, NumberType, RangeUpdate, Reference, Update};

/// Bits of bfloat16 numbers: the weights before the first step.
const START: [u16; 16] = [
    0xbac9, 0x3bec, 0xbc80, 0x3abc, 0x3c5a, 0xbbbc, 0x3d05, 0xbd03, 0xba87, 0xbbc9, 0x3ba3, 0xbb92,
    0x3c96, 0x3b86, 0x3c3c, 0x3c08,
];

/// The gradients of five steps.
const GRADIENTS: [[u16; 16]; 5] = [
    [
        0x375a, 0x378d, 0xb73a, 0x0000, 0x3a3f, 0x36b8, 0xb815, 0x3944, 0x3b97, 0x3b4d, 0x3b4a,
        0xb8bb, 0x3d77, 0x39be, 0x391e, 0xb8f3,
    ],
    [
        0xb7a2, 0x3879, 0xbab4, 0x0000, 0x3d34, 0xbdc6, 0x3c63, 0xbdb9, 0x3969, 0xbb92, 0xbe37,
        0x3c9d, 0xbbae, 0xbe53, 0x3c82, 0x3e57,
    ],
    [
        0x374b, 0xbc61, 0xb89e, 0xb90b, 0x3c89, 0x0000, 0xbc04, 0xb88d, 0x3b47, 0x38ee, 0x390f,
        0xb9c0, 0x3ddd, 0xb540, 0xbcd8, 0xbc9e,
    ],
    [
        0xb9d8, 0x3b15, 0x3eb6, 0xb898, 0x3e03, 0xb97e, 0xb7f7, 0xbcd2, 0xbcad, 0x3b32, 0x3616,
        0x3a1b, 0x346b, 0x3c03, 0xbb55, 0x3b7a,
    ],
    [
        0xb7d0, 0x3bbe, 0x3ca6, 0x3c16, 0x37fb, 0xb810, 0xbc9c, 0xbaa2, 0xba9c, 0xb7d1, 0xbadf,
        0x3a26, 0xb797, 0xbc05, 0xbb1c, 0x3df9,
    ],
];

/// The weights after each step, from torch 2.8.
const AFTER: [[u16; 16]; 5] = [
    [
        0xbcaf, 0xbc50, 0x3b8a, 0x3abc, 0xbbdb, 0xbcd0, 0x3d57, 0xbd55, 0xbcac, 0xbcd6, 0xbc75,
        0x3c7e, 0xbad8, 0xbc82, 0xbc0b, 0x3ce7,
    ],
    [
        0xbb9f, 0xbd03, 0x3cc6, 0x3abc, 0xbcdb, 0xbbaf, 0x3d05, 0xbd03, 0xbcb4, 0xbc20, 0x3ba7,
        0xbb94, 0x38f9, 0x3b87, 0xbce9, 0x3c06,
    ],
    [
        0xbc67, 0xbc44, 0x3ccf, 0x3cb0, 0xbd0b, 0xbbaf, 0x3d2e, 0xbd03, 0xbd07, 0xbc27, 0x3ba6,
        0xbb87, 0xbc8e, 0x3b87, 0xbc38, 0x3c24,
    ],
    [
        0x3bc1, 0xbc7a, 0x3bae, 0x3cff, 0xbd58, 0xbbad, 0x3d2e, 0xbcd9, 0xbc5f, 0xbc9d, 0x3ba6,
        0xbb9b, 0xbc8e, 0x3b5b, 0xbc15, 0x3c1e,
    ],
    [
        0x3be8, 0xbcbd, 0x3b88, 0x3c36, 0xbd58, 0xbbad, 0x3d6d, 0xbcd7, 0xbc4d, 0xbc9c, 0x3bac,
        0xbbb1, 0xbc8e, 0x3b88, 0xbbf7, 0xb9f5,
    ],
];

/// `square_avg` after the last step.
const SQUARES: [u16; 16] = [
    0x30e9, 0x3615, 0x3aa5, 0x3561, 0x3940, 0x38be, 0x36cd, 0x38b3, 0x369e, 0x34c1, 0x39a1, 0x3670,
    0x391c, 0x39d9, 0x371d, 0x3a18,
];

fn values(bits: &[u16]) -> Vec<f64> {
    bits.iter().map(|&bits| bf16::from_bits(bits).to_f64()).collect()
}

fn bits(values: &[f64]) -> Vec<u16> {
    let exact = |&value: &f64| {
        assert_eq!(bf16::from_f64(value).to_f64(), value, "not a bfloat16 number");
        bf16::from_f64(value).to_bits()
    };
    values.iter().map(exact).collect()
}

#[test]
fn five_steps_have_the_bits_of_torch() {
    let mut parameters = Reference.parameters(16).unwrap();
    let start: Vec<u8> = START.iter().flat_map(|bits| bits.to_le_bytes()).collect();
    let start = HostTensor { number: NumberType::Bf16, bytes: &start };
    Reference.write_parameters(&mut parameters, 0, start);
    let mut states = [Reference.accumulator(16).unwrap()];
    let rule = Update::RmsPropBf16 { lr: 2e-3, alpha: 0.99, eps: 1e-8 };
    let updates = [RangeUpdate { range: 0..16, rule }];
    for (step, (gradient, after)) in GRADIENTS.iter().zip(&AFTER).enumerate() {
        // Sums over four rows, not yet divided, and a remainder that rounds away.
        let sums: Vec<f64> =
            values(gradient).iter().map(|g| f64::from((g * 4.0 * 1.000_2) as f32)).collect();
        Reference.update(&mut parameters, &sums, &mut states, &updates, 0.25);
        assert_eq!(bits(&parameters), after, "step {step}");
    }
    assert_eq!(bits(&states[0]), SQUARES);
}
