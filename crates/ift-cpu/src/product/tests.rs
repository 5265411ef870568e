use super::*;
use crate::elements::Elements;
use crate::words::Pairs;
use crate::{CpuBf16, Instructions};
use half::bf16;
use ift_compare::{Comparison, Tolerance};

/// Pairs on every machine, by instructions that take them apart: the same products as with
/// widened elements.
#[test]
fn miri_pairs_give_the_products_of_widened_elements() {
    let sizes: &[_] = if cfg!(miri) {
        &[(1, 1, 1), (7, 17, 6)]
    } else {
        &[(1, 1, 1), (7, 33, 2), (13, 97, 65), (150, 40, 1400), (31, 130, 1281), (16, 64, 640)]
    };
    let element = |i: usize| bf16::from_f32((i as f32 * 0.37).sin());
    // AVX-512 multiplies pairs only where it has an instruction for them: `Avx512Bf16`.
    let sets = Instructions::ALL.into_iter().filter(|set| *set != Instructions::Avx512);
    for cpu in sets.filter_map(|set| CpuBf16::with_instructions(2, set).ok()) {
        for &(m, n, k) in sizes {
            let a: Vec<bf16> = (0..m * k).map(element).collect();
            let b: Vec<bf16> = (0..n * k).map(|i| element(3 * i + 1)).collect();
            let base: Vec<f32> = (0..m * n).map(|i| i as f32 * 1e-3).collect();
            let stored = Elements::from(&b[..]);
            let layouts = [
                (Matrix::by_rows(&a, k), Operand::transposed(stored, k)),
                (Matrix::by_rows(&a, k), Operand::by_rows(stored, n)),
                (Matrix::transposed(&a, m), Operand::by_rows(stored, n)),
            ];
            for (i, (a, b)) in layouts.into_iter().enumerate() {
                let product = MatrixProduct { m, n, k, a, b, bias: None, to: Out::Plus(&base[..]) };
                let (mut plain, mut pairs) = (vec![0.0f32; m * n], vec![f32::NAN; m * n]);
                cpu.multiply_in::<Plain, f32>(&product, &mut plain).unwrap();
                cpu.multiply_in::<Pairs, f32>(&product, &mut pairs).unwrap();
                let what = format!("{cpu:?}, {m} x {n} x {k}, layout {i}");
                let mut comparison = Comparison::new(what, Tolerance::absolute(1e-4));
                comparison.values("C", &pairs, &plain);
                comparison.finish();
            }
        }
    }
}

/// All layouts of small products against plain sums, also such as have rows that are read in
/// place, and sums in several cuts.
#[test]
fn miri_products_are_sums_of_products() {
    let sizes: &[_] = if cfg!(miri) {
        &[(7, 9, 5), (13, 3, 34), (2, 3, 330)]
    } else {
        &[(1, 1, 1), (7, 9, 5), (13, 17, 33), (31, 130, 1281)]
    };
    for cpu in Instructions::ALL
        .into_iter()
        .filter_map(|set| crate::CpuF32::with_instructions(2, set).ok())
    {
        for &(m, n, k) in sizes {
            let a: Vec<f32> = (0..m * k).map(|i| (i as f32 * 0.7).sin()).collect();
            let b: Vec<f32> = (0..k * n).map(|i| (i as f32 * 0.3).cos()).collect();
            let bias: Vec<f32> = (0..n).map(|i| i as f32).collect();
            let stored = Elements::from(&b[..]);
            let layouts = [
                (Matrix::by_rows(&a, k), Operand::transposed(stored, k), (k, 1), (1, k)),
                (Matrix::by_rows(&a, k), Operand::by_rows(stored, n), (k, 1), (n, 1)),
                (Matrix::transposed(&a, m), Operand::by_rows(stored, n), (1, m), (n, 1)),
            ];
            for (i, (left, right, at_a, at_b)) in layouts.into_iter().enumerate() {
                let bias = Some(&bias[..]);
                let product = MatrixProduct { m, n, k, a: left, b: right, bias, to: Out::Add };
                let mut found = vec![1.0f32; m * n];
                cpu.multiply(&product, &mut found).unwrap();
                let sum = |row: usize, column: usize| {
                    let products = (0..k).map(|p| {
                        f64::from(a[row * at_a.0 + p * at_a.1])
                            * f64::from(b[p * at_b.0 + column * at_b.1])
                    });
                    1.0 + column as f64 + products.sum::<f64>()
                };
                let expected: Vec<f32> = (0..m * n).map(|i| sum(i / n, i % n) as f32).collect();
                let what = format!("{cpu:?}, {m} x {n} x {k}, layout {i}");
                let mut comparison = Comparison::new(what, Tolerance::absolute(1e-3));
                comparison.values("C", &found, &expected);
                comparison.finish();
            }
        }
    }
}

#[test]
#[should_panic(expected = "`A` is not")]
fn miri_a_matrix_that_is_too_short_is_refused() {
    let (a, b) = ([0.0f32; 11], [0.0f32; 12]);
    let b = Operand::by_rows(Elements::from(&b[..]), 4);
    let a = Matrix::by_rows(&a, 3);
    let product = MatrixProduct { m: 4, n: 4, k: 3, a, b, bias: None, to: Out::Set };
    drop(crate::CpuF32::new(1).multiply(&product, &mut [0.0f32; 16]));
}
