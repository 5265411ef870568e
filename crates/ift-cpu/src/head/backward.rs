//! The backward pass: takes the logits that were kept or computes a block again, and turns it into
//! the logits' gradient in place, so that each block of the weight's gradient is touched once.

use super::blocks::{ROWS, States, blocks};
use super::divergence::Term;
use super::scores::Scores;
use crate::Cpu;
use crate::elements::Elements;
use crate::instructions::kernel;
use crate::math::exp;
use crate::number::Number;
use crate::pack::{Matrix, Operand};
use crate::parameters::operand;
use crate::product::MatrixProduct;
use crate::profile::Kind;
use crate::scalar::{Scalar, round_in_place};
use crate::threads::Cut;
use ift_backend::{BackendError, Head, HeadGradient, Out, Weight};

type Result<T> = std::result::Result<T, BackendError>;

kernel! {
    /// `g = factor·(onehot - exp(logit - normalizer)) + divergence_gradient`, in place;
    /// `divergence_gradient` may be empty. Where elements are narrow, `g` is rounded too, to the
    /// beginning of the row.
    fn logits_gradient<S, N: Scalar>(
        logits: &mut [f32],
        target: Option<usize>,
        normalizer: f32,
        factor: f32,
        divergence_gradient: &[f32],
    ) {
        for x in &mut *logits {
            *x = -factor * exp::<S>(*x - normalizer);
        }
        if let Some(x) = target.and_then(|t| logits.get_mut(t)) {
            *x += factor;
        }
        logits.iter_mut().zip(divergence_gradient).for_each(|(x, d)| *x += d);
        round_in_place::<N>(logits);
    }
}

impl<N: Number> Cpu<N> {
    pub(crate) fn head_gradients(
        &self,
        head: Head,
        (x, weight): (&[N], Weight<Self>),
        mut scores: Scores,
        gradient: &HeadGradient<Self>,
        d_x: &mut [N],
        mut d_weight: Option<&mut [f32]>,
    ) -> Result<()> {
        let Head { width, vocabulary } = head;
        let mut kept = scores.kept.take();
        // The logits again unless they were kept, then one product or two; and the reference's
        // logits.
        let products = 1 + usize::from(kept.is_none()) + usize::from(d_weight.is_some());
        let reference_width = gradient.divergence.as_ref().map_or(0, |d| d.reference.width);
        let flops = scores.targets.len() * vocabulary * (products * width + reference_width);
        let _timer = self.meter.start(Kind::Head, 2 * flops as u64);

        let states = States { width, x, weight: operand(weight) };
        let term = gradient.divergence.as_ref().map(Term::new);
        // Rows of narrow elements begin where those of `f32` elements did: row `i` of a block of
        // `size` columns begins at element `i·row_stride·size`.
        let row_stride = size_of::<f32>() / size_of::<N>();
        let rows = scores.targets.len();
        let mut buffer = self.logits_buffer(if kept.is_none() { rows } else { 0 }, vocabulary)?;
        let mut divergence_gradient =
            self.logits_buffer(if term.is_some() { rows } else { 0 }, vocabulary)?;
        let len = rows.min(ROWS).saturating_mul(width);
        let mut sums = self.arena.take::<f32>("gradients of hidden states", len)?;
        for (part, targets) in scores.targets.chunks(ROWS).enumerate() {
            let (n, start) = (targets.len(), part * ROWS);
            let x = &x[start * width..(start + n) * width];
            for (i, block) in blocks(vocabulary).enumerate() {
                let size = block.size;
                let g = if let Some(kept) = kept.as_mut().and_then(|kept| kept.get_mut(i)) {
                    kept
                } else {
                    self.logits_block(&states, start, n, block, &mut buffer)?;
                    &mut buffer
                };
                let g = &mut g[..n * size];
                if let Some(term) = &term {
                    let divergence_gradient = &mut divergence_gradient[..n * size];
                    self.divergence_term(term, &scores, start, block, g, divergence_gradient)?;
                }
                self.threads.rows(n, size, Cut(&mut *g, size), |rows, g| {
                    for (row, g) in rows.zip(g.chunks_exact_mut(size)) {
                        let target = (targets[row] as usize).checked_sub(block.first);
                        let normalizer = scores.log_normalizers[start + row] as f32;
                        let factor = gradient.d_log_probs[start + row] as f32;
                        let divergence_gradient = if divergence_gradient.is_empty() {
                            &[]
                        } else {
                            &divergence_gradient[row * size..(row + 1) * size]
                        };
                        logits_gradient::<N>(
                            self.set,
                            g,
                            target,
                            normalizer,
                            factor,
                            divergence_gradient,
                        );
                    }
                });
                let g: &[N] = bytemuck::cast_slice(g);
                let entries = block.first * width..(block.first + size) * width;
                let to_x = MatrixProduct {
                    m: n,
                    n: width,
                    k: size,
                    a: Matrix::by_rows(g, row_stride * size),
                    b: Operand::by_rows(states.weight.skip(entries.start), width),
                    bias: None,
                    to: if block.first == 0 { Out::Set } else { Out::Add },
                };
                self.multiply(&to_x, &mut sums)?;
                if let Some(d_weight) = &mut d_weight {
                    let to_weight = MatrixProduct {
                        m: size,
                        n: width,
                        k: n,
                        a: Matrix::transposed(g, row_stride * size),
                        b: Operand::by_rows(Elements::from(x), width),
                        bias: None,
                        to: Out::Add,
                    };
                    self.multiply(&to_weight, &mut d_weight[entries])?;
                }
            }
            self.round_elements(&sums, &mut d_x[start * width..(start + n) * width]);
        }
        Ok(())
    }
}
