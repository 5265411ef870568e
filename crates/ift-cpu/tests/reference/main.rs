//! Every operation of `Cpu` in f32 and bf16 against [`Reference`], on odd sizes, with every
//! instruction set of this machine and with 1, 2 and 3 threads: near the f64 result, and the same
//! bits whatever the number of threads, every time.

mod adapters;
mod attention;
mod divergence;
mod elementwise;
mod frozen;
mod head;
mod products;

use half::bf16;
use ift_backend::{Backend, Element, HostTensor, NumberType, Reference, Storage};
use ift_cpu::{Cpu, Instructions, Number};
use std::cell::Cell;

/// Something to compute, written once for all backends.
trait Case {
    /// The largest difference allowed in bf16 besides the rounding of a result itself, relative to
    /// the largest number of the result. What is computed from rounded intermediate results is
    /// off by some of their roundings of 2⁻⁹.
    const NARROW_TOLERANCE: f64 = 5e-3;

    /// The results by name.
    fn run<B: Backend>(&self, backend: &B) -> Vec<(&'static str, Vec<f64>)>;

    /// Runs it everywhere. `tolerance` is the largest difference allowed in f32, relative to the
    /// largest number of a result.
    fn check(&self, case: &str, tolerance: f64)
    where
        Self: Sized,
    {
        on_all::<f32, Self>(self, case, Allowed { of_largest: tolerance, of_each: 0.0 });
        NARROW.set(true);
        let allowed =
            Allowed { of_largest: tolerance.max(Self::NARROW_TOLERANCE), of_each: 1.0 / 256.0 };
        on_all::<bf16, Self>(self, case, allowed);
        NARROW.set(false);
    }
}

/// Allowed differences, relative to the largest number of a result and to each number.
#[derive(Clone, Copy)]
struct Allowed {
    of_largest: f64,
    of_each: f64,
}

/// Every instruction set that this machine has, with 1, 2 and 3 threads.
fn on_all<N: Number, C: Case>(case: &C, name: &str, allowed: Allowed) {
    let expected = case.run(&Reference);
    for set in Instructions::ALL {
        let mut first: Option<Vec<(&'static str, Vec<f64>)>> = None;
        for cpu in [1, 2, 3]
            .into_iter()
            .filter_map(|threads| Cpu::<N>::with_instructions(threads, set).ok())
        {
            for repeat in 0..2 {
                let got = case.run(&cpu);
                let at = format!("{name}, {cpu:?}, run {repeat}");
                if let Some(first) = &first {
                    for ((name, a), (_, b)) in first.iter().zip(&got) {
                        let same = a.iter().zip(b).all(|(a, b)| a.to_bits() == b.to_bits());
                        assert!(same, "{at}: {name} has other bits than the first run");
                    }
                    continue;
                }
                for ((name, expected), (_, got)) in expected.iter().zip(&got) {
                    near(&format!("{at}: {name}"), expected, got, allowed);
                }
                first = Some(got);
            }
        }
    }
}

thread_local! {
    /// Whether the numbers drawn are to be exact in bf16 too.
    static NARROW: Cell<bool> = const { Cell::new(false) };
}

fn near(what: &str, expected: &[f64], got: &[f64], allowed: Allowed) {
    assert_eq!(expected.len(), got.len(), "{what}");
    let scale = expected.iter().fold(0.0f64, |a, x| a.max(x.abs()));
    for (i, (e, g)) in expected.iter().zip(got).enumerate() {
        let difference = (e - g).abs();
        assert!(
            difference <= allowed.of_largest * scale + allowed.of_each * e.abs() || (e == g),
            "{what}[{i}]: {g} for {e}, off by {difference:e}, {:e} of the largest",
            difference / scale
        );
    }
}

/// `count` numbers in (-1, 1), exact in the numbers under test, a pure function of `seed`.
fn numbers(seed: u64, count: usize) -> Vec<f64> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0x1234_5678;
    let mut next = || {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        let x = ((z >> 40) as f32 / (1u32 << 23) as f32) - 1.0;
        f64::from(if NARROW.get() { bf16::from_f32(x).to_f32() } else { x })
    };
    (0..count).map(|_| next()).collect()
}

/// Tokens below `vocabulary`.
fn tokens(seed: u64, count: usize, vocabulary: usize) -> Vec<u32> {
    let last = vocabulary as u32 - 1;
    let token = |x: &f64| ((x + 1.0) / 2.0 * vocabulary as f64) as u32;
    numbers(seed, count).iter().map(|x| token(x).min(last)).collect()
}

fn activation<B: Backend>(backend: &B, seed: u64, count: usize) -> B::Activation {
    backend.activation_from(&numbers(seed, count))
}

fn weight<B: Backend>(backend: &B, seed: u64, count: usize) -> B::Weight {
    let bytes: Vec<u8> = numbers(seed, count).iter().flat_map(|x| x.to_le_bytes()).collect();
    backend.weight(&[HostTensor { number: NumberType::F64, bytes: &bytes }])
}

/// As [`weight`], frozen, of two parts whose border lies inside a block.
fn frozen<B: Backend>(backend: &B, seed: u64, count: usize, storage: Storage) -> B::Weight {
    let numbers = numbers(seed, count);
    let (first, second) = numbers.split_at(count / 3);
    let first: Vec<u8> = first.iter().flat_map(|x| x.to_le_bytes()).collect();
    let second: Vec<u8> = second.iter().flat_map(|x| (*x as f32).to_le_bytes()).collect();
    let parts = [
        HostTensor { number: NumberType::F64, bytes: &first },
        HostTensor { number: NumberType::F32, bytes: &second },
    ];
    backend.frozen_weight(&parts, storage)
}

fn accumulator<B: Backend>(backend: &B, seed: u64, count: usize) -> B::Accumulator {
    let mut accumulator = backend.accumulator(count);
    let values: Vec<B::Element> =
        numbers(seed, count).iter().map(|&x| B::Element::from_f64(x)).collect();
    backend.write_accumulator(&mut accumulator, &values);
    accumulator
}

fn read<B: Backend>(backend: &B, activation: &B::Activation, count: usize) -> Vec<f64> {
    backend.read_activation(activation, count).into_iter().map(Element::to_f64).collect()
}

fn read_accumulator<B: Backend>(
    backend: &B,
    accumulator: &B::Accumulator,
    count: usize,
) -> Vec<f64> {
    backend.read_accumulator(accumulator, 0..count).into_iter().map(Element::to_f64).collect()
}
