//! Optimizer steps.

use crate::{RangeUpdate, Update};

/// The nearest bfloat16 number, ties to even.
fn bf16(x: f32) -> f32 {
    half::bf16::from_f32(x).to_f32()
}

/// One step for the parameters of a range.
pub(super) fn update(
    parameters: &mut [f64],
    gradient: &[f64],
    states: &mut [Vec<f64>],
    update: &RangeUpdate,
    gradient_scale: f64,
) {
    for i in update.range.clone() {
        let p = &mut parameters[i];
        let g = gradient[i] * gradient_scale;
        match update.rule {
            Update::RmsProp { lr, alpha, eps, momentum, weight_decay } => {
                let g = g + weight_decay * *p;
                states[0][i] = alpha * states[0][i] + (1.0 - alpha) * g * g;
                let step = g / (states[0][i].sqrt() + eps);
                if momentum > 0.0 {
                    states[1][i] = momentum * states[1][i] + step;
                    *p -= lr * states[1][i];
                } else {
                    *p -= lr * step;
                }
            }
            Update::RmsPropBf16 { lr, alpha, eps } => {
                let (lr, alpha, rest) = (lr as f32, alpha as f32, (1.0 - alpha) as f32);
                let g = bf16(gradient[i] as f32 * gradient_scale as f32);
                let v = bf16(bf16(alpha * states[0][i] as f32) + rest * g * g);
                let root = bf16(bf16(v.sqrt()) + eps as f32);
                states[0][i] = f64::from(v);
                *p = f64::from(bf16(*p as f32 + -lr * g / root));
            }
            Update::AdamW { lr, beta1, beta2, eps, weight_decay, step } => {
                *p *= 1.0 - lr * weight_decay;
                states[0][i] = beta1 * states[0][i] + (1.0 - beta1) * g;
                states[1][i] = beta2 * states[1][i] + (1.0 - beta2) * g * g;
                let correction1 = 1.0 - beta1.powf(step as f64);
                let correction2 = 1.0 - beta2.powf(step as f64);
                *p -= lr / correction1 * states[0][i]
                    / (states[1][i].sqrt() / correction2.sqrt() + eps);
            }
            Update::Sgd { lr, momentum, weight_decay } => {
                let mut g = g + weight_decay * *p;
                if momentum > 0.0 {
                    states[0][i] = momentum * states[0][i] + g;
                    g = states[0][i];
                }
                *p -= lr * g;
            }
        }
    }
}
