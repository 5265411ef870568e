//! Update rules of optimizers, as data: a backend applies one to a range of elements in one pass.

/// The rule of one optimizer step. `p` is a parameter and `g` its accumulated gradient times
/// `gradient_scale` (one over the count that the loss is a mean of, times the clipping factor).
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Update {
    /// `g += wd·p; v = α·v + (1-α)·g²; p -= lr·g / (√v + ε)`, with momentum `b = μ·b + g/(√v + ε);
    /// p -= lr·b` (torch.optim.RMSprop). States: `v`, and `b` when `momentum > 0`.
    RmsProp {
        /// Learning rate.
        lr: f64,
        /// Smoothing constant α.
        alpha: f64,
        /// ε, added outside the root.
        eps: f64,
        /// Momentum μ; 0 keeps no buffer.
        momentum: f64,
        /// L2 penalty added to the gradient.
        weight_decay: f64,
    },
    /// torch.optim.RMSprop on bfloat16 tensors, without momentum and weight decay: `p`, `g` and the
    /// state hold bfloat16 numbers, and the result of each operation of torch's is rounded to the
    /// nearest one, ties to even. With `R` for rounding, in f32 arithmetic from left to right:
    /// `g = R(g); v = R(R(α·v) + (1-α)·g·g); p = R(p + -lr·g / R(R(√v) + ε))`. State: `v`.
    RmsPropBf16 {
        /// Learning rate.
        lr: f64,
        /// Smoothing constant α.
        alpha: f64,
        /// ε, added outside the root.
        eps: f64,
    },
    /// Decoupled weight decay (Loshchilov & Hutter, arXiv 1711.05101; torch.optim.AdamW):
    /// `p *= 1 - lr·wd; m = β1·m + (1-β1)·g; v = β2·v + (1-β2)·g²; p -= lr/(1-β1^t) · m /
    /// (√v/√(1-β2^t) + ε)`. States: `m`, `v`.
    AdamW {
        /// Learning rate.
        lr: f64,
        /// β1.
        beta1: f64,
        /// β2.
        beta2: f64,
        /// ε.
        eps: f64,
        /// Decoupled weight decay.
        weight_decay: f64,
        /// `t`: 1 in the first step.
        step: u64,
    },
    /// `g += wd·p; b = μ·b + g (b = g in the first step); p -= lr·b` (torch.optim.SGD, dampening 0,
    /// no Nesterov). State: `b` when `momentum > 0`; a `b` that starts at zero makes the first
    /// step the same.
    Sgd {
        /// Learning rate.
        lr: f64,
        /// Momentum μ; 0 keeps no buffer.
        momentum: f64,
        /// L2 penalty added to the gradient.
        weight_decay: f64,
    },
}

impl Update {
    /// The number of optimizer states per parameter; all start at zero.
    pub fn states(&self) -> usize {
        match *self {
            Self::RmsProp { momentum, .. } => 1 + usize::from(momentum > 0.0),
            Self::RmsPropBf16 { .. } => 1,
            Self::AdamW { .. } => 2,
            Self::Sgd { momentum, .. } => usize::from(momentum > 0.0),
        }
    }
}
