//! Decayed sums over the positions of a row, in both directions.

use super::settings::Side;

/// `γ^(distance to the previous target)` of each target; 0 for the first. `[targets]`
pub(super) fn decays(positions: &[usize], gamma: f64) -> Vec<f64> {
    let distances =
        positions.iter().skip(1).zip(positions).map(|(next, last)| next.saturating_sub(*last));
    let power = |distance| gamma.powi(i32::try_from(distance).unwrap_or(i32::MAX));
    positions.first().map(|_| 0.0).into_iter().chain(distances.map(power)).collect()
}

/// `C[t] = sources[t] + γ^(distance)·C[neighbour]`, where the neighbour is the next target for
/// [`Side::Left`] and the previous one for [`Side::Right`]. The result is the same as that of a sum
/// over all positions with source values of 0 at masked ones. `[targets]`
///
/// The transpose of one direction is the other, so this is its own backward pass.
pub(super) fn propagate(sources: &[f64], decays: &[f64], side: Side) -> Vec<f64> {
    let mut sums = sources.to_vec();
    let mut carried = 0.0;
    match side {
        Side::Right => {
            for (sum, decay) in sums.iter_mut().zip(decays) {
                *sum += decay * carried;
                carried = *sum;
            }
        }
        Side::Left => {
            for (sum, decay) in sums.iter_mut().zip(decays).rev() {
                *sum += carried;
                carried = decay * *sum;
            }
        }
    }
    sums
}

/// `Σ_{t≤i} γ^(N-t)` for each target `i`, with `N` the last target; distances in positions.
/// `[targets]`
pub(super) fn sum_to_the_last(decays: &[f64]) -> Vec<f64> {
    let mut sums = vec![1.0; decays.len()];
    for target in (1..sums.len()).rev() {
        sums[target - 1] = decays[target] * sums[target];
    }
    let mut total = 0.0;
    for sum in &mut sums {
        total += *sum;
        *sum = total;
    }
    sums
}

/// The smallest relation above 0; 0 if there is none.
pub(super) fn smallest_positive(sums: &[Vec<f64>]) -> f64 {
    sums.iter().flatten().copied().filter(|&sum| sum > 0.0).reduce(f64::min).unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use ift_compare::{Comparison, Tolerance};

    use super::*;

    #[test]
    fn a_gap_decays_by_every_position_in_it() {
        let decays = decays(&[3, 4, 9], 0.5);
        assert_eq!(decays, [0.0, 0.5, 0.03125]);
        assert_eq!(propagate(&[1.0, 2.0, 32.0], &decays, Side::Left), [2.5, 3.0, 32.0]);
        assert_eq!(propagate(&[1.0, 2.0, 32.0], &decays, Side::Right), [1.0, 2.5, 32.078_125]);
        assert_eq!(sum_to_the_last(&decays), [0.015_625, 0.046_875, 1.046_875]);
    }

    #[test]
    fn the_transpose_is_the_other_direction() {
        let decays = decays(&[1, 2, 5, 6], 0.7);
        let (u, v) = ([0.3, -1.0, 2.0, 0.1], [1.5, 0.2, -0.7, 4.0]);
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        let forward = dot(&propagate(&u, &decays, Side::Left), &v);
        let backward = dot(&u, &propagate(&v, &decays, Side::Right));
        let mut comparison = Comparison::new("dot products", Tolerance::absolute(1e-15));
        comparison.value("transpose", forward, backward);
        comparison.finish();
    }

    #[test]
    fn nothing_in_nothing_out() {
        assert!(decays(&[], 0.9).is_empty());
        assert!(sum_to_the_last(&[]).is_empty());
        assert_eq!(smallest_positive(&[vec![], vec![0.0]]), 0.0);
    }
}
