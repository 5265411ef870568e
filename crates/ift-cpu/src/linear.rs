//! Linear layers: products of packed tiles, or dot products where there are only a few tokens.

use crate::Cpu;
use crate::arena::Buffer;
use crate::elements::{Elements, ScratchVec};
use crate::instructions::kernel;
use crate::math::dot;
use crate::number::Number;
use crate::pack::{Matrix, Operand};
use crate::parameters::operand;
use crate::product::MatrixProduct;
use crate::profile::Kind;
use crate::scalar::Scalar;
use crate::threads::Shared;
use ift_backend::{BackendError, Linear, LinearStarts, Out, Weight};

type Result<T> = std::result::Result<T, BackendError>;

/// For at most this many tokens, reading a weight once is faster than packing it.
const UNPACKED_TOKENS: usize = 12;
/// Elements of a weight that one task takes.
const TASK: usize = 65_536;

kernel! {
    /// `out[t] = x[t]·weight` for every token, rows of the weight `0..out.len()`.
    fn dots<S, N: Number>(x: &[N], weight: &[N], out: &mut [f32]) {
        for (out, weight) in out.iter_mut().zip(weight.chunks_exact(x.len())) {
            *out = dot::<S, N, N>(x, weight);
        }
    }
}

/// The slice of an operation's output.
fn slice<N: Number>(to: Out<Buffer<N>>) -> Out<[N]> {
    match to {
        Out::Set => Out::Set,
        Out::Add => Out::Add,
        Out::Plus(base) => Out::Plus(base),
    }
}

/// Useful floating point operations of a layer, forward.
fn flops(linear: Linear) -> u64 {
    2 * (linear.tokens * linear.inputs * linear.outputs) as u64
}

impl<N: Number> Cpu<N> {
    pub(crate) fn linear_forward(
        &self,
        linear: Linear,
        x: &[N],
        (weight, bias): (Weight<Self>, Option<Weight<Self>>),
        to: Out<Buffer<N>>,
        out: &mut [N],
    ) -> Result<()> {
        let _timer = self.meter.start(Kind::Products, flops(linear));
        let bias = bias.map(|bias| self.weight_values(bias, linear.outputs)).transpose()?;
        self.linear_product(linear, x, operand(weight), bias.as_deref(), slice(to), out)
    }

    pub(crate) fn linear_input_gradient(
        &self,
        linear: Linear,
        d_out: &[N],
        weight: Weight<Self>,
        to: Out<Buffer<N>>,
        d_x: &mut [N],
    ) -> Result<()> {
        let Linear { tokens, inputs, outputs } = linear;
        let _timer = self.meter.start(Kind::Products, flops(linear));
        let product = MatrixProduct {
            m: tokens,
            n: inputs,
            k: outputs,
            a: Matrix::by_rows(d_out, outputs),
            b: Operand::by_rows(operand(weight), inputs),
            bias: None,
            to: slice(to),
        };
        self.multiply(&product, d_x)
    }

    pub(crate) fn linear_weight_gradients(
        &self,
        linear: Linear,
        x: &[N],
        d_out: &[N],
        starts: LinearStarts,
        gradients: &mut [f32],
    ) -> Result<()> {
        let Linear { tokens, inputs, outputs } = linear;
        let flops = if starts.weight.is_some() { flops(linear) } else { 0 };
        let _timer = self.meter.start(Kind::Products, flops);
        if let Some(start) = starts.weight {
            let product = MatrixProduct {
                m: outputs,
                n: inputs,
                k: tokens,
                a: Matrix::transposed(d_out, outputs),
                b: Operand::by_rows(Elements::from(x), inputs),
                bias: None,
                to: Out::Add,
            };
            self.multiply(&product, &mut gradients[start..])?;
        }
        if let Some(start) = starts.bias {
            self.add_column_sums(tokens, outputs, d_out, &mut gradients[start..]);
        }
        Ok(())
    }

    /// `out = [out +] x·Wᵀ [+ b]`.
    pub(crate) fn linear_product<C: Scalar>(
        &self,
        linear: Linear,
        x: &[N],
        weight: Elements<N>,
        bias: Option<&[f32]>,
        to: Out<[C]>,
        out: &mut [C],
    ) -> Result<()> {
        let Linear { tokens, inputs, outputs } = linear;
        let bias = bias.map(|b| &b[..outputs]);
        if tokens > UNPACKED_TOKENS {
            let (a, b) = (Matrix::by_rows(x, inputs), Operand::transposed(weight, inputs));
            return self.multiply(
                &MatrixProduct { m: tokens, n: outputs, k: inputs, a, b, bias, to },
                out,
            );
        }
        let block = (TASK / inputs.max(1)).clamp(1, outputs.max(1));
        // A product that overflows is more than any slice holds; from here on none does.
        let out = Shared::new(&mut out[..tokens.saturating_mul(outputs)]);
        let flops = flops(linear) as usize;
        self.threads.each_of(flops, outputs.div_ceil(block), |task| {
            let (first, last) = (task * block, outputs.min((task + 1) * block));
            let mut memory = ScratchVec::default();
            // A few rows of the weight at a time, so that the next token finds them in the cache.
            for first in (first..last).step_by(8) {
                let last = last.min(first + 8);
                let weight = weight.read(self.set, first * inputs..last * inputs, &mut memory);
                for t in 0..tokens {
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
        Ok(())
    }
}
