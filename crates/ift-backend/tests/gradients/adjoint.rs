//! Linear operations that are each other's backward passes: `⟨A·x, y⟩ = ⟨x, Aᵀ·y⟩`.

use super::difference::{dot, wave};
use ift_backend::{Backend, Columns, Dropout, PassInputs, Reference, RowMap, Segment, Slot};
use ift_random::{part_stream, uniform};

fn equal(found: f64, expected: f64) {
    assert!((found - expected).abs() < 1e-12 && found.abs() > 1e-3, "{found} for {expected}");
}

fn dropped(dropout: Dropout, streams: &[u64], x: &[f64]) -> Vec<f64> {
    let tokens = vec![0; streams.len()];
    let inputs = Reference
        .upload(&PassInputs {
            tokens: &tokens,
            segments: &[Segment { len: tokens.len(), ..Segment::default() }],
            streams,
            noise: &[],
            look_ahead: None,
            past_blocks: None,
        })
        .unwrap();
    let mut out = Reference.activation(x.len()).unwrap();
    Reference.dropout(dropout, &inputs, &x.to_vec(), &mut out);
    out
}

#[test]
fn dropout_is_its_own_backward_pass() {
    let dropout = Dropout { width: 33, rate: 0.4, part: 7 };
    let streams = [3, 1, 4, 1, 5];
    let (x, y) = (wave(5 * 33, 0.7), wave(5 * 33, 0.41));
    equal(dot(&dropped(dropout, &streams, &x), &y), dot(&x, &dropped(dropout, &streams, &y)));
}

/// What is dropped is what the draws say, about as much as the rate, and the rest is scaled up.
#[test]
fn dropout_drops_at_its_rate() {
    let (width, rate, part) = (400, 0.3, 3);
    let streams: Vec<u64> = (0..50).collect();
    let out = dropped(Dropout { width, rate, part }, &streams, &vec![1.0; 50 * 400]);
    for (i, x) in out.iter().enumerate() {
        let stream = part_stream(streams[i / width], part);
        let kept = uniform(stream, (i % width) as u32) >= rate;
        assert_eq!(*x, if kept { 1.0 / 0.7 } else { 0.0 });
    }
    let share = out.iter().filter(|x| **x == 0.0).count() as f64 / out.len() as f64;
    assert!((share - rate).abs() < 0.01, "{share}");
}

#[test]
fn taking_and_adding_columns() {
    let columns = Columns { tokens: 3, width: 7, columns: 2..6 };
    let (x, y) = (wave(21, 0.7), wave(12, 0.41));
    let (mut taken, mut added) = (vec![f64::NAN; 12], vec![0.0; 21]);
    Reference.take_columns(&columns, &x, &mut taken);
    Reference.add_columns(&columns, &y, 1.0, &mut added);
    equal(dot(&taken, &y), dot(&x, &added));
}

/// The gradients of `x[t][c]·factor[c]` along the factors are the columns' products.
#[test]
fn scaling_columns_and_their_products() {
    let columns = Columns { tokens: 3, width: 7, columns: 2..6 };
    let (x, d_out, factors) = (wave(21, 0.7), wave(21, 0.41), wave(4, 1.3));
    let scaled = |factors: &[f64]| {
        let mut scaled = x.clone();
        Reference.scale_columns(&columns, factors, &mut scaled);
        dot(&scaled, &d_out)
    };
    let mut sums = vec![1.0; 5];
    let slot = Slot { buffer: &mut sums, start: 1 };
    Reference.column_products(&columns, &x, &d_out, slot);
    // Linear in the factors.
    let rest = scaled(&[0.0; 4]);
    let gradient: Vec<f64> = sums[1..].iter().map(|sum| sum - 1.0).collect();
    equal(scaled(&factors) - rest, dot(&gradient, &factors));
}

#[test]
fn gathering_and_scattering_rows() {
    let (width, index) = (3, [4, 0, 4, 2]);
    let (x, y) = (wave(15, 0.7), wave(18, 0.41));
    let mut gathered = vec![0.0; 18];
    Reference.copy_rows(width, &RowMap::gather(index, 2), &x, &mut gathered);
    let mut scattered = vec![0.0; 15];
    // No destination may occur twice in a map: one row at a time.
    for (i, &to) in index.iter().enumerate() {
        let map = RowMap::scatter(2 + i, &[to]).unwrap();
        Reference.add_rows(width, &map, &y, &mut scattered);
    }
    equal(dot(&gathered, &y), dot(&x, &scattered));
}
