//! Random numbers as pure functions of named streams.
//!
//! Nothing here has a state that would have to be saved: a *stream* is a number made from names
//! (seed, step, row, position, …), and a draw is a function of a stream and an index. A resumed
//! run therefore makes the same draws, whatever the threads, micro-batches or processes.
//!
//! ```
//! let stream = ift_random::stream([7, 0, 42]); // seed, step, record
//! assert_eq!(ift_random::uniform(stream, 3), ift_random::uniform(stream, 3));
//! assert_ne!(ift_random::uniform(stream, 3), ift_random::uniform(stream, 4));
//! ```

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use std::f64::consts::TAU;

/// One step of `SplitMix64`: the state advanced by the golden ratio, then the finaliser (Steele,
/// Lea and Flood, 2014). A bijection that spreads every bit of `x` over the result.
#[inline]
pub fn mix(x: u64) -> u64 {
    finalize(x.wrapping_add(0x9E37_79B9_7F4A_7C15))
}

/// The finaliser of `SplitMix64` alone: close numbers get unrelated results, 0 stays 0.
#[inline]
fn finalize(x: u64) -> u64 {
    let x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

/// The stream of a list of names.
pub fn stream(names: impl IntoIterator<Item = u64>) -> u64 {
    names.into_iter().fold(0, substream)
}

/// The stream called `name` within a stream.
#[inline]
pub fn substream(stream: u64, name: u64) -> u64 {
    mix(stream ^ name)
}

/// The stream of one part of a model (a layer, the embeddings) within the stream of a token.
#[inline]
pub fn part_stream(stream: u64, part: u64) -> u64 {
    mix(stream ^ mix(part))
}

/// Number of distinct draws: few enough that each, plus one half, is exact in f64.
pub const DRAWS: u64 = 1 << 52;

/// Draw number `index` of a stream: an integer below [`DRAWS`].
#[inline]
pub fn draw(stream: u64, index: u32) -> u64 {
    let counter = (u64::from(index) + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    finalize(stream.wrapping_add(counter)) >> 12
}

/// The number in `(0, 1)` that belongs to a draw.
#[inline]
pub fn fraction(draw: u64) -> f64 {
    (draw as f64 + 0.5) * (1.0 / DRAWS as f64)
}

/// A uniform draw in `(0, 1)`, never 0 or 1.
#[inline]
pub fn uniform(stream: u64, index: u32) -> f64 {
    fraction(draw(stream, index))
}

/// Standard Gumbel noise, `-ln(-ln u)` with `u` from [`uniform`].
pub fn gumbel(stream: u64, index: u32) -> f64 {
    -(-uniform(stream, index).ln()).ln()
}

/// A standard normal draw: two uniform numbers from a counter, then Box and Muller's formula.
pub fn standard_normal(seed: u64, index: u64) -> f64 {
    /// The 53 upper bits as a number in `(0, 1]`.
    fn uniform(bits: u64) -> f64 {
        ((bits >> 11) + 1) as f64 / (1_u64 << 53) as f64
    }
    let stream = mix(seed);
    let radius = (-2.0 * uniform(mix(stream ^ index.wrapping_mul(2))).ln()).sqrt();
    let angle = TAU * uniform(mix(stream ^ index.wrapping_mul(2).wrapping_add(1)));
    radius * angle.cos()
}

/// A generator for long sequences of draws (initial weights, episodes, sampled answers): stream
/// number `stream` of a seed. Streams of one seed are independent of each other.
pub fn generator(seed: u64, stream: u64) -> ChaCha8Rng {
    let mut generator = ChaCha8Rng::seed_from_u64(seed);
    generator.set_stream(stream);
    generator
}

/// A permutation of `0..len` (Fisher and Yates). Written out here because its result must not
/// change with a library's version.
pub fn permutation(len: usize, generator: &mut ChaCha8Rng) -> Vec<usize> {
    let mut order: Vec<usize> = (0..len).collect();
    for last in (1..len).rev() {
        // The upper half of the product is uniform on 0..=last, up to a bias of 2⁻⁶⁴·last.
        let other = (u128::from(generator.next_u64()) * (last as u128 + 1)) >> 64;
        order.swap(last, other as usize);
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mix_is_splitmix64() {
        // First output of the published generator from state 0.
        assert_eq!(mix(0), 0xe220_a839_7b1d_cdaf);
    }

    #[test]
    fn no_draw_is_0_or_1() {
        assert!(fraction(0) > 0.0 && fraction(DRAWS - 1) < 1.0);
        assert!((0..10_000).all(|i| draw(7, i) < DRAWS));
        let mean = (0..10_000).map(|i| uniform(3, i)).sum::<f64>() / 1e4;
        assert!((mean - 0.5).abs() < 0.01, "{mean}");
    }

    #[test]
    fn draws_are_standard_normal_and_differ_by_seed_and_index() {
        let draws: Vec<f64> = (0..20_000).map(|index| standard_normal(7, index)).collect();
        let share = |count: usize| count as f64 / draws.len() as f64;
        let mean = draws.iter().sum::<f64>() / draws.len() as f64;
        let variance = draws.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / draws.len() as f64;
        let beyond_two = share(draws.iter().filter(|x| x.abs() > 2.0).count());
        let neighbours =
            draws.windows(2).map(|pair| pair[0] * pair[1]).sum::<f64>() / draws.len() as f64;
        assert!(mean.abs() < 0.025, "{mean}");
        assert!((variance - 1.0).abs() < 0.04, "{variance}");
        assert!((beyond_two - 0.0455).abs() < 0.006, "{beyond_two}");
        assert!(neighbours.abs() < 0.025, "{neighbours}");
        assert_ne!(standard_normal(7, 0), standard_normal(8, 0));
        assert_ne!(standard_normal(7, 0), standard_normal(7, 1));
    }

    #[test]
    fn a_permutation_has_every_index_once() {
        let mut order = permutation(101, &mut generator(3, 1));
        assert_ne!(order, permutation(101, &mut generator(3, 2)));
        order.sort_unstable();
        assert!(order.into_iter().eq(0..101));
        assert!(permutation(0, &mut generator(0, 0)).is_empty());
    }
}
