//! The KV cache by itself.

use crate::model::model;
use ift_backend::Reference;
use ift_compare::{Comparison, Tolerance};
use ift_model::{Cache, CachedSequence, Keep, Model, PastOf, Sequences};

/// Runs the next tokens of sequences through the cache and returns the logits of each last one.
fn run(
    model: &Model<Reference>,
    cache: &mut Cache<Reference>,
    sequences: &mut [CachedSequence],
    tokens: &[&[u32]],
) -> Vec<f32> {
    for (sequence, tokens) in sequences.iter_mut().zip(tokens) {
        let wanted = sequence.len() + tokens.len();
        assert!(cache.reserve(model, sequence, wanted).unwrap());
    }
    let inputs = cache.next(sequences.iter().zip(tokens.iter().copied()));
    let pass = model.forward(&inputs, None, &cache.past(), Keep::KeysAndValues).unwrap();
    cache.extend(model, &pass, sequences.iter_mut());
    let last: Vec<usize> = inputs.segments.iter().map(|s| s.start + s.len - 1).collect();
    model.logits(&pass, &last).unwrap()
}

#[test]
fn keys_and_values_outlive_growth_and_the_blocks_of_others() {
    let block = Cache::<Reference>::BLOCK;
    let (_folder, model) = model(Reference, None, 10 * block);
    let mut cache = Cache::new(&model, 12 * block).unwrap();
    let texts: [Vec<u32>; 2] =
        [1u32, 5].map(|step| (0..3 * block as u32).map(|i| i * step % 37).collect());
    let mut sequences = [CachedSequence::default(), CachedSequence::default()];
    let mut comparison = Comparison::new("logits", Tolerance::EXACT);
    let mut done = 0;
    for (round, part) in [1, block - 1, block + 3, 7].into_iter().enumerate() {
        let tokens = texts.each_ref().map(|text| &text[done..done + part]);
        done += part;
        let mut passing = CachedSequence::default();
        assert!(cache.reserve(&model, &mut passing, 1 + round * block / 2).unwrap());
        let found = run(&model, &mut cache, &mut sequences, &tokens);
        cache.release(&mut passing);
        let mut whole = Sequences::default();
        for text in &texts {
            whole.push(&text[..done]);
        }
        let pass = model.forward(&whole, None, &PastOf::Nothing, Keep::Nothing).unwrap();
        let expected = model.logits(&pass, &[done - 1, 2 * done - 1]).unwrap();
        comparison.values(&format!("after {done} tokens"), &found, &expected);
    }
    comparison.finish();
    assert_eq!(cache.free(), 12 * block - 2 * 3 * block);
    for sequence in &mut sequences {
        cache.release(sequence);
    }
    assert!(cache.free() == cache.limit() && sequences.iter().all(CachedSequence::is_empty));
}

#[test]
fn room_that_is_not_there_changes_nothing() {
    let block = Cache::<Reference>::BLOCK;
    let (_folder, model) = model(Reference, None, 40);
    let mut sequence = CachedSequence::default();

    let mut small = Cache::new(&model, 2 * block).unwrap();
    assert!(!small.reserve(&model, &mut sequence, 2 * block + 1).unwrap());
    assert!(small.reserve(&model, &mut sequence, 2 * block).unwrap());

    // More than any memory holds is an error.
    let mut sequence = CachedSequence::default();
    let mut unbounded = Cache::new(&model, 1 << 50).unwrap();
    let error = unbounded.reserve(&model, &mut sequence, 1 << 50).unwrap_err();
    assert!(error.to_string().contains("out of memory"), "{error}");
    assert!(unbounded.reserve(&model, &mut sequence, block + 1).unwrap());
    assert_eq!(unbounded.limit() - unbounded.free(), 2 * block);
}
