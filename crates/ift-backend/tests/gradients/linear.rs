//! Linear layers.

use super::difference::{START, check, dot, parameters, wave, weight};
use ift_backend::{Backend, Linear, LinearStarts, Out, Reference};

const LINEAR: Linear = Linear { tokens: 3, inputs: 5, outputs: 4 };

#[test]
fn gradients_of_a_linear_layer() {
    let Linear { tokens, inputs, outputs } = LINEAR;
    let (x, w, b) = (wave(tokens * inputs, 0.7), wave(outputs * inputs, 1.3), wave(outputs, 2.1));
    let d_out = wave(tokens * outputs, 0.41);
    let loss = |x: &[f64], w: &[f64], b: &[f64]| {
        let (w, b) = (parameters(w), parameters(b));
        let mut out = Reference.activation(tokens * outputs).unwrap();
        let bias = Some(weight(&b));
        Reference.linear(LINEAR, &x.to_vec(), weight(&w), bias, Out::Set, &mut out).unwrap();
        dot(&out, &d_out)
    };
    let stored = parameters(&w);
    let (nothing, other) = (vec![0.0; tokens * inputs], wave(tokens * inputs, 0.23));
    for (to, before) in [(Out::Set, &nothing), (Out::Add, &other), (Out::Plus(&other), &other)] {
        let mut d_x = match to {
            Out::Add => other.clone(),
            _ => Reference.activation(tokens * inputs).unwrap(),
        };
        Reference.linear_backward_input(LINEAR, &d_out, weight(&stored), to, &mut d_x).unwrap();
        check(&format!("{to:?}: d_x"), &d_x, before, &x, |x| loss(x, &w, &b));
    }
    // The bias lies before the weight.
    let starts = LinearStarts { weight: Some(START + outputs), bias: Some(START) };
    let before = wave(START + outputs + outputs * inputs, 0.11);
    let mut gradients = before.clone();
    Reference.linear_backward_weight(LINEAR, &x, &d_out, starts, &mut gradients).unwrap();
    let (d_b, d_w) = gradients[START..].split_at(outputs);
    let (before_b, before_w) = before[START..].split_at(outputs);
    check("d_weight", d_w, before_w, &w, |w| loss(&x, w, &b));
    check("d_bias", d_b, before_b, &b, |b| loss(&x, &w, b));
    assert_eq!(gradients[..START], before[..START]);
}

#[test]
fn what_is_added_to_the_output() {
    let Linear { tokens, inputs, outputs } = LINEAR;
    let (x, w) = (wave(tokens * inputs, 0.7), parameters(&wave(outputs * inputs, 1.3)));
    let other = wave(tokens * outputs, 0.23);
    let run = |to, mut out: Vec<f64>| {
        Reference.linear(LINEAR, &x, weight(&w), None, to, &mut out).unwrap();
        out
    };
    let plain = run(Out::Set, vec![f64::NAN; tokens * outputs]);
    let sum: Vec<f64> = other.iter().zip(&plain).map(|(a, b)| a + b).collect();
    assert_eq!(run(Out::Add, other.clone()), sum);
    assert_eq!(run(Out::Plus(&other), vec![f64::NAN; tokens * outputs]), sum);
}
