//! The executable specification: f64, plain loops that read like the formulas, one thread.

mod attention;
mod head;
mod norm;

use crate::{
    Activation, AttentionRow, AttentionShape, Backend, Choice, Distributions, Divergence,
    DivergenceGradient, HeadNorms, HeadScores, HostTensor, Mix, Norm, Out, Past, Storage, Update,
    quantize,
};
use attention::HeadWeights;
use ift_random::uniform;
use std::ops::Range;

/// The f64 backend. Slow and right.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reference;

fn head_weights<'a>(norms: &'a HeadNorms<Vec<f64>>) -> HeadWeights<'a> {
    HeadWeights { q: norms.q, k: norms.k, norm: norms.norm }
}

fn past_slice<'a>(past: Option<&Past<'a, Vec<f64>>>) -> &'a [f64] {
    past.map_or(&[], |p| p.kv)
}

/// What is added to the result of a product at `at`.
fn base(to: Out<Vec<f64>>, out: &[f64], at: usize) -> f64 {
    match to {
        Out::Set => 0.0,
        Out::Add => out[at],
        Out::Plus(other) => other[at],
    }
}

/// The activation and its derivative.
fn gate(activation: Activation, x: f64) -> (f64, f64) {
    match activation {
        Activation::Silu => {
            let s = 1.0 / (1.0 + (-x).exp());
            (x * s, s * (1.0 + x * (1.0 - s)))
        }
        Activation::GeluTanh => {
            let c = (2.0 / std::f64::consts::PI).sqrt();
            let t = (c * (x + 0.044_715 * x * x * x)).tanh();
            let d_inner = c * (1.0 + 3.0 * 0.044_715 * x * x);
            (0.5 * x * (1.0 + t), 0.5 * (1.0 + t) + 0.5 * x * (1.0 - t * t) * d_inner)
        }
    }
}

impl Backend for Reference {
    type Element = f64;
    type Activation = Vec<f64>;
    type Weight = Vec<f64>;
    type Accumulator = Vec<f64>;
    /// It never keeps any.
    type Logits = ();

    const ACTIVATION_BYTES: usize = size_of::<f64>();
    const WEIGHT_BYTES: usize = size_of::<f64>();

    fn activation(&self, len: usize) -> Vec<f64> {
        // Contents are unspecified by contract: NaN makes a read before a write visible.
        vec![f64::NAN; len]
    }

    fn activation_from(&self, values: &[f64]) -> Vec<f64> {
        values.to_vec()
    }

    fn read_activation(&self, activation: &Vec<f64>, len: usize) -> Vec<f64> {
        activation[..len].to_vec()
    }

    fn weight(&self, parts: &[HostTensor]) -> Vec<f64> {
        let mut weight = vec![0.0; parts.iter().map(HostTensor::len).sum()];
        let mut rest = &mut weight[..];
        for part in parts {
            let (head, tail) = rest.split_at_mut(part.len());
            part.convert_into(head);
            rest = tail;
        }
        weight
    }

    fn frozen_weight(&self, parts: &[HostTensor], storage: Storage) -> Vec<f64> {
        quantize::rounded(&self.weight(parts), storage)
    }

    fn write_weight(&self, weight: &mut Vec<f64>, values: &[f64]) {
        weight.copy_from_slice(values);
    }

    fn read_weight(&self, weight: &Vec<f64>, range: Range<usize>) -> Vec<f64> {
        weight[range].to_vec()
    }

    fn accumulator(&self, len: usize) -> Vec<f64> {
        vec![0.0; len]
    }

    fn write_accumulator(&self, accumulator: &mut Vec<f64>, values: &[f64]) {
        accumulator.copy_from_slice(values);
    }

    fn read_accumulator(&self, accumulator: &Vec<f64>, range: Range<usize>) -> Vec<f64> {
        accumulator[range].to_vec()
    }

    fn clear(&self, accumulator: &mut Vec<f64>) {
        accumulator.fill(0.0);
    }

    fn sum_of_squares(&self, accumulator: &Vec<f64>, range: Range<usize>) -> f64 {
        accumulator[range].iter().map(|x| x * x).sum()
    }

    fn update(
        &self,
        weight: &mut Vec<f64>,
        gradient: &Vec<f64>,
        states: &mut [Vec<f64>],
        rule: &Update,
        gradient_scale: f64,
    ) {
        for (i, (p, g)) in weight.iter_mut().zip(gradient).enumerate() {
            let g = g * gradient_scale;
            match *rule {
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

    fn average(&self, weight: &Vec<f64>, decay: f64, average: &mut Vec<f64>) {
        for (average, w) in average.iter_mut().zip(weight) {
            *average = decay * *average + (1.0 - decay) * w;
        }
    }

    fn embed(
        &self,
        table: &Vec<f64>,
        width: usize,
        tokens: &[u32],
        mix: Option<Mix>,
        scale: f64,
        out: &mut Vec<f64>,
    ) {
        let row = |token: u32| &table[token as usize * width..][..width];
        for (t, (&token, out)) in tokens.iter().zip(out.chunks_exact_mut(width)).enumerate() {
            let own = mix.and_then(|m| m.own[t].map(|own| (m.lambda, own)));
            for (c, out) in out.iter_mut().enumerate() {
                *out = scale
                    * match own {
                        Some((lambda, own)) => {
                            (1.0 - lambda) * row(token)[c] + lambda * row(own)[c]
                        }
                        None => row(token)[c],
                    };
            }
        }
    }

    fn embed_backward(
        &self,
        width: usize,
        tokens: &[u32],
        scale: f64,
        d_out: &Vec<f64>,
        d_table: &mut Vec<f64>,
    ) {
        for (&token, d_out) in tokens.iter().zip(d_out.chunks_exact(width)) {
            for (d, g) in d_table[token as usize * width..][..width].iter_mut().zip(d_out) {
                *d += scale * g;
            }
        }
    }

    fn norm(&self, n: usize, x: &Vec<f64>, weight: &Vec<f64>, norm: Norm, out: &mut Vec<f64>) {
        for (x, out) in x.chunks_exact(norm.width).zip(out.chunks_exact_mut(norm.width)).take(n) {
            norm::norm_row(x, weight, norm, out);
        }
    }

    fn norm_backward(
        &self,
        n: usize,
        x: &Vec<f64>,
        weight: &Vec<f64>,
        norm: Norm,
        d_out: &Vec<f64>,
        d_x: &mut Vec<f64>,
        mut d_weight: Option<&mut Vec<f64>>,
    ) {
        for t in 0..n {
            let row = t * norm.width..(t + 1) * norm.width;
            let d_weight = d_weight.as_mut().map(|d| d.as_mut_slice());
            norm::norm_row_backward(
                &x[row.clone()],
                weight,
                norm,
                &d_out[row.clone()],
                &mut d_x[row],
                d_weight,
            );
        }
    }

    fn linear(
        &self,
        n: usize,
        inputs: usize,
        outputs: usize,
        x: &Vec<f64>,
        weight: &Vec<f64>,
        bias: Option<&Vec<f64>>,
        to: Out<Vec<f64>>,
        out: &mut Vec<f64>,
    ) {
        for t in 0..n {
            for o in 0..outputs {
                let mut sum = bias.map_or(0.0, |b| b[o]);
                for i in 0..inputs {
                    sum += x[t * inputs + i] * weight[o * inputs + i];
                }
                out[t * outputs + o] = base(to, out, t * outputs + o) + sum;
            }
        }
    }

    fn linear_backward_input(
        &self,
        n: usize,
        inputs: usize,
        outputs: usize,
        d_out: &Vec<f64>,
        weight: &Vec<f64>,
        to: Out<Vec<f64>>,
        d_x: &mut Vec<f64>,
    ) {
        for t in 0..n {
            for i in 0..inputs {
                let mut sum = 0.0;
                for o in 0..outputs {
                    sum += d_out[t * outputs + o] * weight[o * inputs + i];
                }
                d_x[t * inputs + i] = base(to, d_x, t * inputs + i) + sum;
            }
        }
    }

    fn linear_backward_weight(
        &self,
        n: usize,
        inputs: usize,
        outputs: usize,
        x: &Vec<f64>,
        d_out: &Vec<f64>,
        d_weight: &mut Vec<f64>,
        mut d_bias: Option<&mut Vec<f64>>,
    ) {
        for t in 0..n {
            for o in 0..outputs {
                let g = d_out[t * outputs + o];
                if let Some(d_bias) = &mut d_bias {
                    d_bias[o] += g;
                }
                for i in 0..inputs {
                    d_weight[o * inputs + i] += g * x[t * inputs + i];
                }
            }
        }
    }

    fn take_columns(
        &self,
        n: usize,
        width: usize,
        x: &Vec<f64>,
        columns: Range<usize>,
        out: &mut Vec<f64>,
    ) {
        let rows = out.chunks_exact_mut(columns.len()).zip(x.chunks_exact(width)).take(n);
        rows.for_each(|(out, x)| out.copy_from_slice(&x[columns.clone()]));
    }

    fn add_columns(
        &self,
        n: usize,
        width: usize,
        x: &Vec<f64>,
        scale: f64,
        columns: Range<usize>,
        out: &mut Vec<f64>,
    ) {
        for (out, x) in out.chunks_exact_mut(width).zip(x.chunks_exact(columns.len())).take(n) {
            out[columns.clone()].iter_mut().zip(x).for_each(|(out, x)| *out += scale * x);
        }
    }

    fn scale_columns(
        &self,
        n: usize,
        width: usize,
        factors: &[f64],
        columns: Range<usize>,
        x: &mut Vec<f64>,
    ) {
        for x in x.chunks_exact_mut(width).take(n) {
            x[columns.clone()].iter_mut().zip(factors).for_each(|(x, factor)| *x *= factor);
        }
    }

    fn column_products(
        &self,
        n: usize,
        width: usize,
        x: &Vec<f64>,
        y: &Vec<f64>,
        columns: Range<usize>,
        sums: &mut Vec<f64>,
    ) {
        for t in 0..n {
            for (sum, c) in sums.iter_mut().zip(columns.clone()) {
                *sum += x[t * width + c] * y[t * width + c];
            }
        }
    }

    fn dropout(
        &self,
        n: usize,
        width: usize,
        x: &Vec<f64>,
        rate: f64,
        streams: &[u64],
        out: &mut Vec<f64>,
    ) {
        for t in 0..n {
            for c in 0..width {
                let keeps = uniform(streams[t], c as u32) >= rate;
                out[t * width + c] = if keeps { x[t * width + c] / (1.0 - rate) } else { 0.0 };
            }
        }
    }

    fn add_noise(
        &self,
        n: usize,
        width: usize,
        magnitudes: &[f64],
        streams: &[u64],
        x: &mut Vec<f64>,
    ) {
        for t in 0..n {
            for c in 0..width {
                x[t * width + c] += magnitudes[t] * (2.0 * uniform(streams[t], c as u32) - 1.0);
            }
        }
    }

    fn adapted_norms(
        &self,
        inputs: usize,
        rank: usize,
        weight: &Vec<f64>,
        rows: Range<usize>,
        a: &Vec<f64>,
        b: &Vec<f64>,
        scale: f64,
    ) -> Vec<f64> {
        let adapted = |o: usize, i: usize| {
            let sum: f64 =
                (0..rank).map(|k| b[(o - rows.start) * rank + k] * a[k * inputs + i]).sum();
            weight[o * inputs + i] + scale * sum
        };
        let norm = |o| (0..inputs).map(|i| adapted(o, i).powi(2)).sum::<f64>().sqrt();
        rows.clone().map(norm).collect()
    }

    fn rotary(&self, positions: &[u32], inverse_frequencies: &[f64]) -> Vec<f64> {
        let angles = |p: u32| inverse_frequencies.iter().map(move |f| f64::from(p) * f);
        positions
            .iter()
            .flat_map(|&p| angles(p).map(f64::cos).chain(angles(p).map(f64::sin)))
            .collect()
    }

    fn split_heads(
        &self,
        n: usize,
        shape: &AttentionShape,
        qkv: &Vec<f64>,
        rotary: &Vec<f64>,
        norms: Option<HeadNorms<Vec<f64>>>,
        q: &mut Vec<f64>,
        kv: &mut Vec<f64>,
    ) {
        attention::split_heads(
            n,
            shape,
            qkv,
            rotary,
            norms.as_ref().map(head_weights).as_ref(),
            q,
            kv,
        );
    }

    fn split_heads_backward(
        &self,
        n: usize,
        shape: &AttentionShape,
        qkv: Option<&Vec<f64>>,
        rotary: &Vec<f64>,
        norms: Option<HeadNorms<Vec<f64>>>,
        d_q: &Vec<f64>,
        d_kv: &Vec<f64>,
        d_qkv: &mut Vec<f64>,
        d_norms: Option<(&mut Vec<f64>, &mut Vec<f64>)>,
    ) {
        attention::split_heads_backward(
            n,
            shape,
            qkv.map_or(&[], |x| x),
            rotary,
            norms.as_ref().map(head_weights).as_ref(),
            d_q,
            d_kv,
            d_qkv,
            d_norms.map(|(q, k)| (q.as_mut_slice(), k.as_mut_slice())),
        );
    }

    fn attention(
        &self,
        shape: &AttentionShape,
        rows: &[AttentionRow],
        q: &Vec<f64>,
        kv: &Vec<f64>,
        past: Option<Past<Vec<f64>>>,
        out: &mut Vec<f64>,
        lse: &mut Vec<f64>,
    ) {
        attention::forward(shape, rows, q, kv, past_slice(past.as_ref()), out, lse);
    }

    fn attention_backward(
        &self,
        shape: &AttentionShape,
        rows: &[AttentionRow],
        q: &Vec<f64>,
        kv: &Vec<f64>,
        past: Option<Past<Vec<f64>>>,
        out: &Vec<f64>,
        lse: &Vec<f64>,
        d_out: &Vec<f64>,
        d_q: &mut Vec<f64>,
        d_kv: &mut Vec<f64>,
        d_past: Option<&mut Vec<f64>>,
    ) {
        let d_past = d_past.map_or(&mut [][..], |d| d.as_mut_slice());
        let past = past_slice(past.as_ref());
        attention::backward(shape, rows, q, kv, past, out, lse, d_out, d_q, d_kv, d_past);
    }

    fn gated(
        &self,
        n: usize,
        width: usize,
        activation: Activation,
        gate_up: &Vec<f64>,
        out: &mut Vec<f64>,
    ) {
        for (gate_up, out) in
            gate_up.chunks_exact(2 * width).zip(out.chunks_exact_mut(width)).take(n)
        {
            for c in 0..width {
                out[c] = gate(activation, gate_up[c]).0 * gate_up[width + c];
            }
        }
    }

    fn gated_backward(
        &self,
        n: usize,
        width: usize,
        activation: Activation,
        gate_up: &Vec<f64>,
        d_out: &Vec<f64>,
        d_gate_up: &mut Vec<f64>,
    ) {
        for t in 0..n {
            for c in 0..width {
                let (at, up_at) = (t * 2 * width + c, t * 2 * width + width + c);
                let (value, slope) = gate(activation, gate_up[at]);
                d_gate_up[at] = d_out[t * width + c] * gate_up[up_at] * slope;
                d_gate_up[up_at] = d_out[t * width + c] * value;
            }
        }
    }

    fn gather(
        &self,
        width: usize,
        x: &Vec<f64>,
        index: &[usize],
        out: &mut Vec<f64>,
        out_start: usize,
    ) {
        for (i, &from) in index.iter().enumerate() {
            out[(out_start + i) * width..][..width].copy_from_slice(&x[from * width..][..width]);
        }
    }

    fn scatter_add(
        &self,
        width: usize,
        x: &Vec<f64>,
        x_start: usize,
        index: &[usize],
        out: &mut Vec<f64>,
    ) {
        for (i, &to) in index.iter().enumerate() {
            let source = &x[(x_start + i) * width..][..width];
            for (o, v) in out[to * width..][..width].iter_mut().zip(source) {
                *o += v;
            }
        }
    }

    fn zero(&self, len: usize, x: &mut Vec<f64>) {
        x[..len].fill(0.0);
    }

    fn add(&self, len: usize, x: &Vec<f64>, out: &mut Vec<f64>) {
        for (o, v) in out[..len].iter_mut().zip(&x[..len]) {
            *o += v;
        }
    }

    fn head(
        &self,
        width: usize,
        vocabulary: usize,
        x: &Vec<f64>,
        weight: &Vec<f64>,
        targets: &[u32],
        choice: Choice,
        _: bool,
    ) -> (HeadScores, Option<()>) {
        (head::forward(width, x, &weight[..vocabulary * width], targets, &choice), None)
    }

    fn divergence(
        &self,
        vocabulary: usize,
        policy: Distributions<Vec<f64>, Vec<f64>>,
        reference: Distributions<Vec<f64>, Vec<f64>>,
        kind: Divergence,
    ) -> Vec<f64> {
        head::divergence(vocabulary, policy, reference, kind)
    }

    fn head_backward(
        &self,
        width: usize,
        vocabulary: usize,
        x: &Vec<f64>,
        weight: &Vec<f64>,
        targets: &[u32],
        log_normalizers: &[f64],
        _: Option<()>,
        d_log_probs: &[f64],
        divergence: Option<DivergenceGradient<Vec<f64>, Vec<f64>>>,
        d_x: &mut Vec<f64>,
        d_weight: Option<&mut Vec<f64>>,
    ) {
        let weight = &weight[..vocabulary * width];
        let d_weight = d_weight.map(Vec::as_mut_slice);
        let divergence = divergence.as_ref();
        head::backward(
            width,
            x,
            weight,
            targets,
            log_normalizers,
            d_log_probs,
            divergence,
            d_x,
            d_weight,
        );
    }

    fn logits(
        &self,
        n: usize,
        width: usize,
        vocabulary: usize,
        x: &Vec<f64>,
        weight: &Vec<f64>,
    ) -> Vec<f32> {
        let weight = &weight[..vocabulary * width];
        x.chunks_exact(width)
            .take(n)
            .flat_map(|x| head::logits_row(x, weight, width))
            .map(|l| l as f32)
            .collect()
    }
}
