//! RMS norms.

use super::difference::{START, check, dot, parameters, wave, weight};
use ift_backend::{Backend, Norm, Reference, Slot};

#[test]
fn gradients_of_a_norm() {
    for (rows, norm) in [
        (3, Norm { width: 7, eps: 1e-5, offset: 0.0 }),
        (2, Norm { width: 5, eps: 0.1, offset: 1.0 }),
        (1, Norm { width: 1, eps: 0.5, offset: 0.0 }),
    ] {
        let size = rows * norm.width;
        let (x, w, d_out) = (wave(size, 0.7), wave(norm.width, 1.3), wave(size, 0.41));
        let loss = |x: &[f64], w: &[f64]| {
            let mut out = Reference.activation(size).unwrap();
            let w = parameters(w);
            Reference.norm(rows, norm, &x.to_vec(), weight(&w), &mut out).unwrap();
            dot(&out, &d_out)
        };
        let residual = wave(size, 0.23);
        let (mut d_x, mut d_w) = (residual.clone(), vec![0.25; START + norm.width]);
        let stored = parameters(&w);
        let slot = Slot { buffer: &mut d_w, start: START };
        Reference
            .norm_backward(rows, norm, &x, weight(&stored), &d_out, &mut d_x, Some(slot))
            .unwrap();
        check(&format!("{norm:?}: d_x"), &d_x, &residual, &x, |x| loss(x, &w));
        let before = vec![0.25; norm.width];
        check(&format!("{norm:?}: d_w"), &d_w[START..], &before, &w, |w| loss(&x, w));
        assert_eq!(d_w[..START], [0.25; START]);
    }
}
