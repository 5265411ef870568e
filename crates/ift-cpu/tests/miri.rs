//! Every operation once, forward and backward, at sizes that Miri runs in seconds; without Miri
//! against the reference. Together with the unit tests whose names begin with `miri_` it is what CI
//! runs under Miri, in about two minutes:
//!
//! ```text
//! MIRIFLAGS=-Zmiri-disable-isolation \
//!     cargo +nightly miri test -p ift-cpu --lib --test miri miri_
//! ```
//!
//! Miri has no vector instructions, so these are the portable kernels. The arena takes its memory
//! from the heap there, and threads come from the standard library.

#![allow(clippy::unwrap_used, reason = "tests stop at the first surprise")]

use half::bf16;
use ift_backend::{
    Attention, AttentionSaved, Backend, BackendError, Columns, Distributions, Divergence,
    DivergenceGradient, Dropout, Element, Embedding, GateFunction, Gated, Head, HeadGradient,
    HeadNormStarts, HeadNorms, HeadTargets, Heads, HostTensor, Linear, LinearStarts,
    LookAheadInputs, LowRank, Norm, NumberType, Out, PassInputs, PastBlocks, RangeUpdate,
    Reference, Residual, RowMap, Segment, Select, Slot, Storage, Update, Weight,
};
use ift_compare::{Comparison, Tolerance};
use ift_cpu::{Cpu, Instructions, Number};
use std::collections::BTreeMap;

type Result<T> = std::result::Result<T, BackendError>;

const TOKENS: usize = 13;
const PAST: usize = 5;
const WIDTH: usize = 12;
const VOCABULARY: usize = 21;
const ATTENTION: Attention =
    Attention { heads: 4, kv_heads: 2, head_dim: 6, scale: 0.4, window: Some(9) };
const NORM: Norm = Norm { width: WIDTH, eps: 1e-5, offset: 1.0 };
const HEAD: Head = Head { width: WIDTH, vocabulary: VOCABULARY };
/// The first of the cases that differ little in what memory they touch: Miri runs the last ones.
const FIRST: usize = if cfg!(miri) { 1 } else { 0 };
/// Where weights begin among the trainable elements.
const TABLE: usize = 0;
const PROJECTION: usize = 256;
const SMALL: usize = 768;
const ELEMENTS: usize = 800;

/// Elements that are exact in bf16.
fn values(seed: usize, len: usize) -> Vec<f64> {
    (0..len).map(|i| f64::from(((i * 37 + seed * 11) % 64) as f32 / 32.0 - 1.0)).collect()
}

/// Results by name.
struct Run<'a, B: Backend> {
    b: &'a B,
    results: BTreeMap<String, Vec<f64>>,
}

impl<B: Backend> Run<'_, B> {
    fn from(&self, seed: usize, len: usize) -> Result<B::Activation> {
        self.b.activation_from(&values(seed, len))
    }

    fn keep(&mut self, name: &str, x: &B::Activation, len: usize) {
        let x = self.b.read_activation(x, len).into_iter().map(Element::to_f64).collect();
        self.results.insert(name.to_owned(), x);
    }

    fn keep_all(&mut self, name: &str, x: &B::Accumulator, len: usize) {
        let x = self.b.read_accumulator(x, 0..len).into_iter().map(Element::to_f64).collect();
        self.results.insert(name.to_owned(), x);
    }

    fn segments() -> [Segment; 3] {
        let segment =
            |start, len, past_start, past_len| Segment { start, len, past_start, past_len };
        [segment(0, 2, 0, 3), segment(2, 0, 0, 0), segment(2, 11, 0, PAST)]
    }

    /// The inputs of a pass; with a look-ahead if there are scores, with a past in blocks of two.
    fn upload(
        &self,
        look_ahead: Option<(&B::Scores, Residual)>,
        blocks: bool,
    ) -> Result<B::Inputs> {
        let tokens: Vec<u32> = (0..TOKENS as u32).map(|t| t * 5 % VOCABULARY as u32).collect();
        let streams: Vec<u64> = (0..TOKENS as u64).collect();
        let index: Vec<Option<u32>> =
            (0..TOKENS as u32).map(|t| (t % 3 > 0).then_some(t)).collect();
        let look_ahead =
            look_ahead.map(|(scores, how)| LookAheadInputs { scores, index: &index, how });
        self.b.upload(&PassInputs {
            tokens: &tokens,
            segments: &Self::segments(),
            streams: &streams,
            noise: &[0.125; TOKENS],
            look_ahead,
            past_blocks: blocks.then_some(PastBlocks { size: 2, table: &[2, 0, 1] }),
        })
    }

    fn embeddings(&mut self, table: Weight<B>) -> Result<()> {
        let ids: Vec<u32> = (0..TOKENS as u32).collect();
        let targets = HeadTargets { ids: &ids, select: Select::Argmax, keep_logits: false };
        let x = self.from(1, TOKENS * WIDTH)?;
        let scores = &self.b.head(HEAD, &x, table, &targets)?;
        let embedding = Embedding { vocabulary: HEAD.vocabulary, width: WIDTH, scale: 1.5 };
        for (name, how) in
            [("mixed", Residual::Mix { lambda: 0.25 }), ("replaced", Residual::Replace)]
        {
            let inputs = self.upload(Some((scores, how)), false)?;
            let mut x = self.b.activation(TOKENS * WIDTH)?;
            self.b.embed(embedding, &inputs, table, &mut x)?;
            self.b.add_noise(WIDTH, 3, &inputs, &mut x);
            self.keep(name, &x, TOKENS * WIDTH);
            let mut dropped = self.b.activation(TOKENS * WIDTH)?;
            let dropout = Dropout { width: WIDTH, rate: 0.5, part: 1 };
            self.b.dropout(dropout, &inputs, &x, &mut dropped);
            self.keep(&format!("{name}, dropped"), &dropped, TOKENS * WIDTH);
            if how == Residual::Replace {
                let mut d_table = self.b.accumulator(ELEMENTS)?;
                let slot = Slot { buffer: &mut d_table, start: TABLE };
                self.b.embed_backward(embedding, &inputs, &x, slot)?;
                self.keep_all(&format!("{name}, gradient"), &d_table, ELEMENTS);
            }
        }
        Ok(())
    }

    fn norms_and_gates(&mut self, weight: Weight<B>) -> Result<()> {
        let b = self.b;
        let x = self.from(1, TOKENS * WIDTH)?;
        let mut out = b.activation(TOKENS * WIDTH)?;
        b.norm(TOKENS, NORM, &x, weight, &mut out)?;
        self.keep("norm", &out, TOKENS * WIDTH);
        let (mut d_x, mut d_weight) = (self.from(2, TOKENS * WIDTH)?, b.accumulator(ELEMENTS)?);
        let slot = Slot { buffer: &mut d_weight, start: SMALL };
        b.norm_backward(TOKENS, NORM, &x, weight, &out, &mut d_x, Some(slot))?;
        self.keep("norm, d_x", &d_x, TOKENS * WIDTH);
        self.keep_all("norm, d_weight", &d_weight, ELEMENTS);
        let width = WIDTH / 2;
        for function in [GateFunction::Silu, GateFunction::GeluTanh] {
            let gated = Gated { tokens: TOKENS, width, function };
            b.gated(gated, &x, &mut out);
            self.keep(&format!("{function:?}"), &out, TOKENS * width);
            b.gated_backward(gated, &x, &d_x, &mut out);
            self.keep(&format!("{function:?}, gradient"), &out, TOKENS * WIDTH);
        }
        Ok(())
    }

    /// A few tokens and more take different paths.
    fn products(&mut self, tokens: usize, weight: Weight<B>, bias: Weight<B>) -> Result<()> {
        let (b, weights) = (self.b, self.results.len());
        let linear = Linear { tokens, inputs: WIDTH, outputs: 14 };
        let (x, base) = (self.from(1, tokens * WIDTH)?, self.from(2, tokens * 14)?);
        let mut out = b.activation(tokens * 14)?;
        b.linear(linear, &x, weight, Some(bias), Out::Plus(&base), &mut out)?;
        self.keep(&format!("{weights} linear"), &out, tokens * 14);
        let mut d_x = self.from(3, tokens * WIDTH)?;
        b.linear_backward_input(linear, &base, weight, Out::Add, &mut d_x)?;
        self.keep(&format!("{weights} linear, d_x"), &d_x, tokens * WIDTH);
        let mut gradients = b.accumulator(ELEMENTS)?;
        let starts = LinearStarts { weight: Some(PROJECTION), bias: Some(SMALL) };
        b.linear_backward_weight(linear, &x, &base, starts, &mut gradients)?;
        self.keep_all(&format!("{weights} linear, gradients"), &gradients, ELEMENTS);
        Ok(())
    }

    fn attention(&mut self, weight: Weight<B>) -> Result<()> {
        let b = self.b;
        let (q_len, kv_len) = (TOKENS * ATTENTION.q_width(), TOKENS * ATTENTION.kv_width());
        let (inputs, blocks) = (self.upload(None, false)?, self.upload(None, true)?);
        let rotary = b.rotary(&inputs, &[1.0, 0.5, 0.25])?;
        let norm = Norm { width: 6, ..NORM };
        let norms = Some(HeadNorms { q: weight, k: weight, norm });
        let heads = Heads { tokens: TOKENS, attention: &ATTENTION, rotary: Some(&rotary), norms };
        let qkv = self.from(1, TOKENS * ATTENTION.qkv_width())?;
        let (mut q, mut kv) = (b.activation(q_len)?, b.activation(kv_len)?);
        b.split_heads(&heads, &qkv, &mut q, &mut kv)?;
        self.keep("queries", &q, q_len);
        self.keep("keys and values", &kv, kv_len);
        let past = self.from(4, 6 * ATTENTION.kv_width())?;
        let (mut out, mut lse) = (b.activation(q_len)?, b.accumulator(TOKENS * 4)?);
        b.attention(&ATTENTION, &blocks, &q, &kv, Some(&past), &mut out, &mut lse)?;
        self.keep("attention over blocks", &out, q_len);
        b.attention(&ATTENTION, &inputs, &q, &kv, Some(&past), &mut out, &mut lse)?;
        self.keep("attention", &out, q_len);
        self.keep_all("log-sum-exps", &lse, TOKENS * 4);
        let d_out = self.from(5, q_len)?;
        let (mut d_q, mut d_kv) = (b.activation(q_len)?, b.activation(kv_len)?);
        let mut d_past = b.accumulator(6 * ATTENTION.kv_width())?;
        let saved = AttentionSaved { q: &q, kv: &kv, past: Some(&past), out: &out, lse: &lse };
        b.attention_backward(
            &ATTENTION,
            &inputs,
            saved,
            &d_out,
            &mut d_q,
            &mut d_kv,
            Some(&mut d_past),
        )?;
        self.keep("d_q", &d_q, q_len);
        self.keep("d_kv", &d_kv, kv_len);
        self.keep_all("d_past", &d_past, 6 * ATTENTION.kv_width());
        let mut d_qkv = b.activation(TOKENS * ATTENTION.qkv_width())?;
        let mut gradients = b.accumulator(ELEMENTS)?;
        let starts = HeadNormStarts { q: SMALL, k: SMALL + 16 };
        let d_norms = Some((starts, &mut gradients));
        b.split_heads_backward(&heads, Some(&qkv), &d_q, &d_kv, &mut d_qkv, d_norms)?;
        self.keep("d_qkv", &d_qkv, TOKENS * ATTENTION.qkv_width());
        self.keep_all("gradients of head norms", &gradients, ELEMENTS);
        Ok(())
    }

    fn rows_and_columns(&mut self, weight: Weight<B>, small: Weight<B>) -> Result<()> {
        let b = self.b;
        let x = self.from(1, TOKENS * WIDTH)?;
        let mut out = self.from(2, TOKENS * WIDTH)?;
        b.copy_rows(WIDTH, &RowMap::gather([3, 3, 12], 2), &x, &mut out);
        b.add_rows(WIDTH, &RowMap::scatter(1, &[12, 0, 4]).unwrap(), &x, &mut out);
        let columns = Columns { tokens: TOKENS, width: WIDTH, columns: 3..8 };
        let mut taken = b.activation(TOKENS * 5)?;
        b.take_columns(&columns, &x, &mut taken);
        b.add_columns(&columns, &taken, 0.5, &mut out);
        b.scale_columns(&columns, &[1.0, 2.0, 3.0, 4.0, 0.5], &mut out);
        self.keep("rows and columns", &out, TOKENS * WIDTH);
        let mut sums = b.accumulator(ELEMENTS)?;
        b.column_products(&columns, &x, &out, Slot { buffer: &mut sums, start: SMALL });
        b.add(ELEMENTS.min(TOKENS * WIDTH), &sums, &mut out);
        b.zero(3, &mut out);
        self.keep("sums added", &out, TOKENS * WIDTH);
        let low_rank = LowRank { inputs: WIDTH, rank: 2, rows: 2..6, scale: 0.5 };
        let norms = b.adapted_norms(&low_rank, weight, small, small)?;
        self.results.insert("adapted norms".to_owned(), norms);
        Ok(())
    }

    fn head(&mut self, weight: Weight<B>, other: Weight<B>) -> Result<()> {
        let b = self.b;
        let (x, y) = (self.from(1, TOKENS * WIDTH)?, self.from(9, TOKENS * WIDTH)?);
        let ids: Vec<u32> = (0..TOKENS as u32).collect();
        let cases = [
            (Divergence::Forward, Select::TopK(2), true),
            (Divergence::Reverse, Select::Entropy { top: 3 }, false),
        ];
        for (kind, select, keep_logits) in cases.into_iter().skip(FIRST) {
            let targets = HeadTargets { ids: &ids, select, keep_logits };
            let mut scores = b.head(HEAD, &x, weight, &targets)?;
            let others = b.head(HEAD, &y, other, &targets)?;
            let reference = Distributions { width: WIDTH, x: &y, weight: other, scores: &others };
            b.divergence(kind, HEAD, &x, weight, &mut scores, reference)?;
            let host = b.read_scores(&scores);
            self.results.insert(format!("{kind:?}"), host.divergences);
            self.results.insert(format!("{kind:?}, log-probabilities"), host.log_probs);
            self.results.insert(format!("{kind:?}, entropies"), host.entropies);
            let d_divergences = values(7, TOKENS);
            let divergence =
                Some(DivergenceGradient { kind, reference, d_divergences: &d_divergences });
            let gradient = HeadGradient { d_log_probs: &d_divergences, divergence };
            let (mut d_x, mut d_weight) = (b.activation(TOKENS * WIDTH)?, b.accumulator(ELEMENTS)?);
            let slot = Some(Slot { buffer: &mut d_weight, start: TABLE });
            b.head_backward(HEAD, &x, weight, scores, &gradient, &mut d_x, slot)?;
            self.keep(&format!("{kind:?}, d_x"), &d_x, TOKENS * WIDTH);
            self.keep_all(&format!("{kind:?}, d_weight"), &d_weight, ELEMENTS);
        }
        let logits = b.logits(HEAD, 3, &x, weight)?.into_iter().map(f64::from).collect();
        self.results.insert("logits".to_owned(), logits);
        Ok(())
    }

    fn optimizer(&mut self, parameters: &mut B::Parameters) -> Result<()> {
        let b = self.b;
        let mut gradient = b.accumulator(ELEMENTS)?;
        let values: Vec<B::Element> =
            values(4, ELEMENTS - 3).into_iter().map(B::Element::from_f64).collect();
        b.write_accumulator(&mut gradient, 3, &values);
        let sums = b.sums_of_squares(&gradient, &[0..4, 4..4, 17..ELEMENTS]);
        self.results.insert("sums of squares".to_owned(), sums);
        let mut states = [b.accumulator(ELEMENTS)?, b.accumulator(ELEMENTS)?];
        let rule = Update::AdamW {
            lr: 0.1,
            beta1: 0.9,
            beta2: 0.99,
            eps: 1e-8,
            weight_decay: 0.1,
            step: 1,
        };
        let updates = [0..20, 48..ELEMENTS].map(|range| RangeUpdate { range, rule });
        b.update(parameters, &gradient, &mut states, &updates, 0.5);
        let mut average = b.accumulator(ELEMENTS)?;
        b.average(parameters, 0.75, &mut average);
        self.keep_all("average", &average, ELEMENTS);
        b.clear(&mut gradient);
        self.keep_all("cleared", &gradient, ELEMENTS);
        Ok(())
    }

    fn frozen(&mut self, elements: &[u8]) -> Result<()> {
        let tensor = |bytes| HostTensor { number: NumberType::F64, bytes };
        let storages = [Storage::Exact, Storage::Bf16, Storage::Int8, Storage::Nf4];
        for storage in storages.into_iter().skip(2 * FIRST) {
            let parts = [tensor(&elements[..808]), tensor(&elements[808..2400])];
            let frozen = self.b.frozen(&parts, storage)?;
            let read = self.b.read_frozen(&frozen, 5..300).into_iter().map(Element::to_f64);
            self.results.insert(format!("{storage:?}"), read.collect());
            self.products(2, Weight::Frozen(&frozen), Weight::Frozen(&frozen))?;
        }
        Ok(())
    }

    fn run(&mut self, family: Family) -> Result<()> {
        let elements: Vec<u8> = values(8, ELEMENTS).iter().flat_map(|x| x.to_le_bytes()).collect();
        let tensor = |bytes| HostTensor { number: NumberType::F64, bytes };
        let mut parameters = self.b.parameters(ELEMENTS)?;
        self.b.write_parameters(&mut parameters, 0, tensor(&elements[..800]));
        self.b.write_parameters(&mut parameters, 100, tensor(&elements[800..]));
        let weight = |start| -> Weight<B> { Weight::Trainable { parameters: &parameters, start } };
        let small = weight(SMALL);
        match family {
            Family::Embeddings => self.embeddings(weight(TABLE)),
            Family::NormsAndGates => self.norms_and_gates(small),
            Family::FewTokens => self.products(2, weight(PROJECTION), small),
            Family::Products => self.products(TOKENS, weight(PROJECTION), small),
            Family::Attention => self.attention(small),
            Family::RowsAndColumns => self.rows_and_columns(weight(PROJECTION), small),
            Family::Head => self.head(weight(TABLE), weight(PROJECTION)),
            Family::Frozen => self.frozen(&elements),
            Family::Optimizer => self.optimizer(&mut parameters),
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Family {
    Embeddings,
    NormsAndGates,
    FewTokens,
    Products,
    Attention,
    RowsAndColumns,
    Head,
    Frozen,
    Optimizer,
}

fn results<B: Backend>(b: &B, family: Family) -> BTreeMap<String, Vec<f64>> {
    let mut run = Run { b, results: BTreeMap::new() };
    run.run(family).unwrap();
    run.results
}

fn check<N: Number>(family: Family, tolerance: Tolerance) {
    let cpu = Cpu::<N>::with_instructions(2, Instructions::Portable).unwrap();
    let found = results(&cpu, family);
    // Miri checks memory accesses; values are compared where that is fast.
    if !cfg!(miri) {
        let mut comparison = Comparison::new(format!("{cpu:?}, {family:?}"), tolerance);
        comparison.tensors(&found, &results(&Reference, family));
        comparison.finish();
    }
}

macro_rules! tests {
    ($($name:ident: $family:ident;)*) => {
        $(
            #[test]
            fn $name() {
                check::<bf16>(
                    Family::$family,
                    Tolerance { relative: 1e-2, ..Tolerance::of_largest(3e-2) },
                );
                // The same code; once is enough for Miri.
                if !cfg!(miri) {
                    check::<f32>(
                        Family::$family,
                        Tolerance { relative: 1e-4, ..Tolerance::of_largest(1e-4) },
                    );
                }
            }
        )*
    };
}
tests! {
    miri_embeddings: Embeddings;
    miri_norms_and_gates: NormsAndGates;
    miri_products_of_few_tokens: FewTokens;
    miri_products_of_more_tokens: Products;
    miri_attention: Attention;
    miri_rows_and_columns: RowsAndColumns;
    miri_head: Head;
    miri_frozen_weights: Frozen;
    miri_optimizer: Optimizer;
}
