//! Weights in eight or four bits: blocks of [`Storage::BLOCK`] elements that share a scale, the
//! largest magnitude of the block.

use crate::Storage;
use half::bf16;

/// The sixteen levels of NF4: quantiles of a normal distribution, scaled to -1 to 1, with an exact
/// zero (`QLoRA`, arXiv 2305.14314, appendix E).
pub const NF4: [f32; 16] = [
    -1.0,
    -0.696_192_8,
    -0.525_073_05,
    -0.394_917_5,
    -0.284_441_38,
    -0.184_773_43,
    -0.091_050_036,
    0.0,
    0.079_580_3,
    0.160_930_2,
    0.246_112_3,
    0.337_915_24,
    0.440_709_83,
    0.562_617,
    0.722_956_84,
    1.0,
];

/// The scale of a block: its largest magnitude, as f32.
fn scale(block: impl Iterator<Item = f32>) -> f32 {
    block.fold(0.0, |largest, x| if x.abs() > largest { x.abs() } else { largest })
}

/// The eight-bit code of an element in a block with the given scale.
#[inline]
pub fn int8_code(x: f32, scale: f32) -> i8 {
    if scale > 0.0 { (x / scale * 127.0).round_ties_even().clamp(-127.0, 127.0) as i8 } else { 0 }
}

/// The value of an eight-bit code in a block with the given scale.
#[inline]
pub fn int8_value(code: i8, scale: f32) -> f32 {
    f32::from(code) * (scale / 127.0)
}

/// The index of the level of [`NF4`] nearest to an element in a block with the given scale; the
/// lower of two that are equally near.
#[inline]
pub fn nf4_code(x: f32, scale: f32) -> u8 {
    let x = if scale > 0.0 { x / scale } else { 0.0 };
    // Counts the bounds below `x`, without a branch, so that loops vectorise.
    NF4.windows(2).map(|pair| u8::from(x > f32::midpoint(pair[0], pair[1]))).sum()
}

/// The value of a level in a block with the given scale.
pub fn nf4_value(code: u8, scale: f32) -> f32 {
    NF4[usize::from(code & 15)] * scale
}

/// Rounds elements, by way of f32, to the values that a storage keeps of them: the specification of
/// every backend's frozen weights.
pub fn round(values: &mut [f64], storage: Storage) {
    let by_block = |values: &mut [f64], round: fn(f32, f32) -> f32| {
        for block in values.chunks_mut(Storage::BLOCK) {
            let scale = scale(block.iter().map(|&x| x as f32));
            for x in block {
                *x = f64::from(round(*x as f32, scale));
            }
        }
    };
    match storage {
        Storage::Exact => {}
        Storage::Bf16 => {
            for x in values {
                *x = bf16::from_f32(*x as f32).to_f64();
            }
        }
        Storage::Int8 => by_block(values, |x, scale| int8_value(int8_code(x, scale), scale)),
        Storage::Nf4 => by_block(values, |x, scale| nf4_value(nf4_code(x, scale), scale)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rounded(values: &[f64], storage: Storage) -> Vec<f64> {
        let mut values = values.to_vec();
        round(&mut values, storage);
        values
    }

    #[test]
    fn levels_are_kept_and_others_go_to_the_nearest() {
        let scaled: Vec<f64> = NF4.iter().map(|&level| f64::from(level * 3.0)).collect();
        assert_eq!(rounded(&scaled, Storage::Nf4), scaled);
        assert_eq!(
            rounded(&[1.0, 0.04, 0.03, -0.6, -0.65], Storage::Nf4)[1..3],
            [f64::from(NF4[8]), 0.0]
        );
        assert_eq!(rounded(&[1.0, -0.6], Storage::Nf4)[1], f64::from(NF4[2]));
        assert_eq!(rounded(&[0.0; 70], Storage::Nf4), [0.0; 70]);
    }

    #[test]
    fn eight_bits_are_off_by_half_a_step_at_most() {
        let values: Vec<f64> =
            (0..150).map(|i| (f64::from(i) * 0.37).sin() * f64::from(i)).collect();
        for (block, back) in values.chunks(64).zip(rounded(&values, Storage::Int8).chunks(64)) {
            let largest = block.iter().fold(0.0f64, |m, x| m.max(x.abs()));
            for (x, back) in block.iter().zip(back) {
                assert!((x - back).abs() <= largest / 127.0 * 0.5001, "{x} {back}");
            }
        }
    }
}
