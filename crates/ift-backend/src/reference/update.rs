//! Optimizer steps.

use crate::{RangeUpdate, Update};

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
