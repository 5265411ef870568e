//! Elements that are not finite in the layers of a decoder.

use super::super::fixture::{Fixture, Kept, Result, START, slot, tokens};
use super::super::results::Results;
use super::element::Element;
use crate::{
    Attention, AttentionSaved, Backend, Embedding, GateFunction, Gated, Linear, LinearStarts, Norm,
    Out, PassInputs, Segment,
};

pub(super) fn embedding<B: Backend>(
    element: Element,
    f: &Fixture<B>,
    results: &mut Results,
) -> Result<()> {
    let (b, vocabulary) = (f.backend, 9);
    let embedding = Embedding { vocabulary, width: 21, scale: 1.5 };
    let len = vocabulary * embedding.width;
    let ids: Vec<u32> = (0..30).map(|t| t % vocabulary as u32).collect();
    let inputs = f.upload(&ids)?;
    let table = f.weight_from(Kept::Trainable, &element.among(f, 1, len, 4 * 21 + 20))?;
    let size = ids.len() * embedding.width;
    let mut out = b.activation(size)?;
    b.embed(embedding, &inputs, table.weight(), &mut out)?;
    results.near("out", f.read(&out, size));
    let d_out = b.activation_from(&element.among(f, 2, size, 100))?;
    let mut d_table = b.accumulator(START + len)?;
    b.embed_backward(embedding, &inputs, &d_out, slot(&mut d_table))?;
    results.near("d_table", f.read_accumulator(&d_table, START + len));
    Ok(())
}

/// In the input and, backwards, in the gradient.
pub(super) fn linear<B: Backend>(
    element: Element,
    f: &Fixture<B>,
    results: &mut Results,
) -> Result<()> {
    let (b, linear) = (f.backend, Linear { tokens: 7, inputs: 33, outputs: 19 });
    let Linear { tokens, inputs, outputs } = linear;
    let w = f.weight(Kept::Trainable, 1, outputs * inputs)?;
    let x = b.activation_from(&element.among(f, 2, tokens * inputs, 3 * inputs + 5))?;
    let mut out = b.activation(tokens * outputs)?;
    b.linear(linear, &x, w.weight(), None, Out::Set, &mut out)?;
    results.near("out", f.read(&out, tokens * outputs));
    let d_out = b.activation_from(&element.among(f, 3, tokens * outputs, 2 * outputs + 11))?;
    let mut d_x = b.activation(tokens * inputs)?;
    b.linear_backward_input(linear, &d_out, w.weight(), Out::Set, &mut d_x)?;
    results.near("d_x", f.read(&d_x, tokens * inputs));
    let len = outputs * inputs + outputs;
    let starts = LinearStarts { weight: Some(0), bias: Some(outputs * inputs) };
    let finite = f.activation(4, tokens * inputs)?;
    for (name, x, d_out) in
        [("d_out", &finite, &d_out), ("x", &x, &f.activation(5, tokens * outputs)?)]
    {
        let mut gradients = b.accumulator(len)?;
        b.linear_backward_weight(linear, x, d_out, starts, &mut gradients)?;
        results.near(format!("gradients, {name}"), f.read_accumulator(&gradients, len));
    }
    Ok(())
}

pub(super) fn linear_weight<B: Backend>(
    element: Element,
    f: &Fixture<B>,
    results: &mut Results,
) -> Result<()> {
    let (b, linear) = (f.backend, Linear { tokens: 7, inputs: 33, outputs: 19 });
    let Linear { tokens, inputs, outputs } = linear;
    let values = element.among(f, 1, outputs * inputs, 8 * inputs + 32);
    let bias = element.among(f, 6, outputs, 3);
    for kept in &Kept::ALL[..3] {
        let (w, bias) = (f.weight_from(*kept, &values)?, f.weight_from(*kept, &bias)?);
        let x = f.activation(2, tokens * inputs)?;
        let mut out = b.activation(tokens * outputs)?;
        b.linear(linear, &x, w.weight(), Some(bias.weight()), Out::Set, &mut out)?;
        results.near(format!("out, {kept:?}"), f.read(&out, tokens * outputs));
        let d_out = f.activation(3, tokens * outputs)?;
        let mut d_x = b.activation(tokens * inputs)?;
        b.linear_backward_input(linear, &d_out, w.weight(), Out::Set, &mut d_x)?;
        results.near(format!("d_x, {kept:?}"), f.read(&d_x, tokens * inputs));
    }
    Ok(())
}

/// In the input, the weight and, backwards, in the gradient.
pub(super) fn norm<B: Backend>(
    element: Element,
    f: &Fixture<B>,
    results: &mut Results,
) -> Result<()> {
    let (b, rows, norm) = (f.backend, 5, Norm { width: 37, eps: 1e-5, offset: 1.0 });
    let size = rows * norm.width;
    let values = |seed, wrong| {
        if wrong { element.among(f, seed, size, 2 * norm.width + 30) } else { f.values(seed, size) }
    };
    let weights =
        |wrong| if wrong { element.among(f, 1, norm.width, 12) } else { f.values(1, norm.width) };
    for place in ["x", "weight", "d_out"] {
        let x = b.activation_from(&values(2, place == "x"))?;
        let w = f.weight_from(Kept::Trainable, &weights(place == "weight"))?;
        let d_out = b.activation_from(&values(3, place == "d_out"))?;
        let mut out = b.activation(size)?;
        b.norm(rows, norm, &x, w.weight(), &mut out)?;
        results.near(format!("out, {place}"), f.read(&out, size));
        let mut d_x = f.activation(4, size)?;
        let mut d_w = b.accumulator(START + norm.width)?;
        let to = Some(slot(&mut d_w));
        b.norm_backward(rows, norm, &x, w.weight(), &d_out, &mut d_x, to)?;
        results.near(format!("d_x, {place}"), f.read(&d_x, size));
        let d_w = f.read_accumulator(&d_w, START + norm.width);
        results.near(format!("d_weight, {place}"), d_w);
    }
    Ok(())
}

pub(super) fn gated<B: Backend>(
    element: Element,
    f: &Fixture<B>,
    results: &mut Results,
) -> Result<()> {
    for function in [GateFunction::Silu, GateFunction::GeluTanh] {
        let gated = Gated { tokens: 3, width: 29, function };
        let size = gated.tokens * gated.width;
        for (place, at) in [("gate", 2 * gated.width + 7), ("up", 3 * gated.width + 7)] {
            let gate_up = f.backend.activation_from(&element.among(f, 1, 2 * size, at))?;
            let mut out = f.backend.activation(size)?;
            f.backend.gated(gated, &gate_up, &mut out);
            results.near(format!("{function:?}, {place}: out"), f.read(&out, size));
            let mut d_gate_up = f.backend.activation(2 * size)?;
            let d_out = f.activation(2, size)?;
            f.backend.gated_backward(gated, &gate_up, &d_out, &mut d_gate_up);
            let d_gate_up = f.read(&d_gate_up, 2 * size);
            results.near(format!("{function:?}, {place}: d_gate_up"), d_gate_up);
        }
    }
    Ok(())
}

/// In the second of three sequences: in its last query, which sees all keys, and in its first key
/// and value, which all queries see. What a query must not see may be multiplied by 0 and make it
/// NaN, but not in another sequence.
pub(super) fn attention<B: Backend>(
    element: Element,
    f: &Fixture<B>,
    results: &mut Results,
) -> Result<()> {
    let (b, d) = (f.backend, 16);
    let attention = Attention { heads: 2, kv_heads: 1, head_dim: d, scale: 0.25, window: None };
    let (first, second, third) = (5, 70, 6);
    let n = first + second + third;
    let segments = [
        Segment { len: first, ..Segment::default() },
        Segment { start: first, len: second, ..Segment::default() },
        Segment { start: first + second, len: third, ..Segment::default() },
    ];
    let inputs = b.upload(&PassInputs {
        tokens: &tokens(1, n, 9),
        segments: &segments,
        streams: &[],
        noise: &[],
        look_ahead: None,
        past_blocks: None,
    })?;
    let (q_size, kv_size) = (n * attention.q_width(), n * attention.kv_width());
    for (place, at) in [
        ("query", (first + second - 1) * attention.q_width() + 3),
        ("key", first * attention.kv_width() + 3),
        ("value", first * attention.kv_width() + d + 3),
    ] {
        let (q, kv) = match place {
            "query" => (element.among(f, 2, q_size, at), f.values(3, kv_size)),
            _ => (f.values(2, q_size), element.among(f, 3, kv_size, at)),
        };
        let (q, kv) = (b.activation_from(&q)?, b.activation_from(&kv)?);
        let mut out = b.activation(q_size)?;
        let mut lse = b.accumulator(n * attention.heads)?;
        b.attention(&attention, &inputs, &q, &kv, None, &mut out, &mut lse)?;
        results.near(format!("{place}: out"), f.read(&out, q_size));
        let saved = AttentionSaved { q: &q, kv: &kv, past: None, out: &out, lse: &lse };
        let d_out = f.activation(4, q_size)?;
        let (mut d_q, mut d_kv) = (b.activation(q_size)?, b.activation(kv_size)?);
        b.attention_backward(&attention, &inputs, saved, &d_out, &mut d_q, &mut d_kv, None)?;
        results.near(format!("{place}: d_q"), f.read(&d_q, q_size));
        results.near(format!("{place}: d_kv"), f.read(&d_kv, kv_size));
        results.near(format!("{place}: lse"), f.read_accumulator(&lse, n * attention.heads));
    }
    Ok(())
}
