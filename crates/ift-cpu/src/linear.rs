//! Linear layers: products over packed tiles, and dot products where there are only a few tokens.

use crate::Cpu;
use crate::instructions::kernel;
use crate::math::dot;
use crate::number::Number;
use crate::pack::{Matrix, Operand};
use crate::product::Product;
use crate::stored::{Memory, Stored};
use crate::threads::Shared;
use ift_backend::Out;

/// Up to so many tokens, reading a weight once beats packing it.
const FEW: usize = 12;
/// Numbers of a weight that one task takes.
const TASK: usize = 65_536;

kernel! {
    /// `out[t] = x[t]·weight` for every token, rows of the weight `0..out.len()`.
    fn dots<S, N: Number>(x: &[N], weight: &[N], out: &mut [f32]) {
        for (out, weight) in out.iter_mut().zip(weight.chunks_exact(x.len())) {
            *out = dot::<S, N, N>(x, weight);
        }
    }
}

impl<N: Number> Cpu<N> {
    /// `out = [out +] x·Wᵀ [+ b]`.
    pub(crate) fn linear_product<C: Number>(
        &self,
        n: usize,
        inputs: usize,
        outputs: usize,
        x: &[N],
        weight: Stored<N>,
        bias: Option<&[f32]>,
        to: Out<[C]>,
        out: &mut [C],
    ) {
        if n > FEW {
            let (a, b) = (Matrix::by_rows(x, inputs), Operand::transposed(weight, inputs));
            let bias = bias.map(|b| &b[..outputs]);
            self.multiply(&Product { m: n, n: outputs, k: inputs, a, b, bias, to }, out);
            return;
        }
        let block = (TASK / inputs.max(1)).clamp(1, outputs);
        let out = Shared::new(out);
        self.threads.each_of(2 * n * inputs * outputs, outputs.div_ceil(block), |task| {
            let (first, last) = (task * block, outputs.min((task + 1) * block));
            let mut memory = Memory::default();
            // A few rows of the weight at a time, so that the next token finds them in the cache.
            for first in (first..last).step_by(8) {
                let last = last.min(first + 8);
                let weight = weight.read(self.set, first * inputs..last * inputs, &mut memory);
                for t in 0..n {
                    let mut sums = [0.0; 8];
                    let sums = &mut sums[..last - first];
                    dots(self.set, &x[t * inputs..(t + 1) * inputs], weight, sums);
                    let at = t * outputs + first;
                    // SAFETY: tasks have different columns.
                    let to_row = unsafe { out.range(at..t * outputs + last) };
                    for (i, (slot, sum)) in to_row.iter_mut().zip(sums).enumerate() {
                        let sum = *sum + bias.map_or(0.0, |b| b[first + i]);
                        let base = match to {
                            Out::Set => 0.0,
                            Out::Add => slot.widen(),
                            Out::Plus(base) => base[at + i].widen(),
                        };
                        *slot = C::round(sum + base);
                    }
                }
            }
        });
    }
}
