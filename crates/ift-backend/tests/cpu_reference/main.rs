//! Every operation of [`Cpu`] against [`Reference`], on odd sizes, with every instruction set of this machine and with
//! 1, 2 and 3 threads: near the f64 result, and the same bits whatever the number of threads, every time.

mod attention;
mod elementwise;
mod head;
mod products;

use ift_backend::{Backend, Cpu, Element, HostTensor, Instructions, NumberType, Reference};
use std::sync::LazyLock;

/// Something to compute, written once for both backends.
trait Case {
    /// The results by name.
    fn run<B: Backend>(&self, backend: &B) -> Vec<(&'static str, Vec<f64>)>;

    /// Runs it everywhere. `tolerance` is the largest difference allowed, relative to the largest number of a result.
    fn check(&self, case: &str, tolerance: f64) {
        let expected = self.run(&Reference);
        for instructions in Instructions::ALL {
            let mut first: Option<Vec<(&'static str, Vec<f64>)>> = None;
            for cpu in BACKENDS.iter().filter(|cpu| cpu.instructions() == instructions) {
                for repeat in 0..2 {
                    let got = self.run(cpu);
                    let at = format!("{case}, {cpu:?}, run {repeat}");
                    if let Some(first) = &first {
                        for ((name, a), (_, b)) in first.iter().zip(&got) {
                            let same = a.iter().zip(b).all(|(a, b)| a.to_bits() == b.to_bits());
                            assert!(same, "{at}: {name} has other bits than the first run");
                        }
                        continue;
                    }
                    for ((name, expected), (_, got)) in expected.iter().zip(&got) {
                        near(&format!("{at}: {name}"), expected, got, tolerance);
                    }
                    first = Some(got);
                }
            }
        }
    }
}

/// Every instruction set that this machine has, with 1, 2 and 3 threads.
static BACKENDS: LazyLock<Vec<Cpu>> = LazyLock::new(|| {
    let settings = Instructions::ALL.into_iter().flat_map(|set| [1, 2, 3].map(|threads| (threads, set)));
    settings.filter_map(|(threads, set)| Cpu::with_instructions(threads, set).ok()).collect()
});

fn near(what: &str, expected: &[f64], got: &[f64], tolerance: f64) {
    assert_eq!(expected.len(), got.len(), "{what}");
    let scale = expected.iter().fold(0.0f64, |a, x| a.max(x.abs()));
    for (i, (e, g)) in expected.iter().zip(got).enumerate() {
        let difference = (e - g).abs();
        assert!(
            difference <= tolerance * scale || (e == g),
            "{what}[{i}]: {g} for {e}, off by {difference:e}, {:e} of the largest",
            difference / scale
        );
    }
}

/// `count` numbers in (-1, 1), exact in f32, a pure function of `seed`.
fn numbers(seed: u64, count: usize) -> Vec<f64> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0x1234_5678;
    let mut next = || {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        f64::from(((z >> 40) as f32 / (1u32 << 23) as f32) - 1.0)
    };
    (0..count).map(|_| next()).collect()
}

/// Tokens below `vocabulary`.
fn tokens(seed: u64, count: usize, vocabulary: usize) -> Vec<u32> {
    numbers(seed, count).iter().map(|x| ((x + 1.0) / 2.0 * vocabulary as f64) as u32).collect()
}

fn activation<B: Backend>(backend: &B, seed: u64, count: usize) -> B::Activation {
    backend.activation_from(&numbers(seed, count))
}

fn weight<B: Backend>(backend: &B, seed: u64, count: usize) -> B::Weight {
    let bytes: Vec<u8> = numbers(seed, count).iter().flat_map(|x| x.to_le_bytes()).collect();
    backend.weight(&[HostTensor { number: NumberType::F64, bytes: &bytes }])
}

fn accumulator<B: Backend>(backend: &B, seed: u64, count: usize) -> B::Accumulator {
    let mut accumulator = backend.accumulator(count);
    let values: Vec<B::Element> = numbers(seed, count).iter().map(|&x| B::Element::from_f64(x)).collect();
    backend.write_accumulator(&mut accumulator, &values);
    accumulator
}

fn read<B: Backend>(backend: &B, activation: &B::Activation, count: usize) -> Vec<f64> {
    backend.read_activation(activation, count).into_iter().map(Element::to_f64).collect()
}

fn read_accumulator<B: Backend>(backend: &B, accumulator: &B::Accumulator, count: usize) -> Vec<f64> {
    backend.read_accumulator(accumulator, 0..count).into_iter().map(Element::to_f64).collect()
}
