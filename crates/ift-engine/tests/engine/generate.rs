//! Texts of a list of prompts.

use crate::model::{VOCABULARY, greedy_without_cache, model};
use ift_backend::Reference;
use ift_engine::{
    EngineError, Finish, Generated, GenerationSettings, RequestError, Sampling, generate,
};

fn settings(sampling: Sampling, stop: Vec<u32>) -> GenerationSettings {
    GenerationSettings { sampling, max_tokens: 9, stop, seed: 5 }
}

#[test]
fn texts_are_those_of_whole_sequences() {
    for window in [None, Some(4)] {
        let (_folder, model) = model(Reference, window, 40);
        let prompts = [vec![1, 2, 3, 4, 5, 6, 7], vec![9], vec![30, 31, 32]];
        let together =
            generate(&model, &prompts, &settings(Sampling::GREEDY, vec![]), &mut |_, _| false)
                .unwrap();
        for (prompt, result) in prompts.iter().zip(&together) {
            assert_eq!(result.tokens, greedy_without_cache(&model, prompt, 9));
            assert_eq!(result.finish, Finish::Length);
        }
    }
}

#[test]
fn the_cpu_continues_long_prompts_as_whole_sequences() {
    for window in [None, Some(20)] {
        let (_folder, model) = model(ift_cpu::CpuF32::new(2), window, 200);
        let prompts: Vec<Vec<u32>> =
            [100, 65].map(|length| (0..length).map(|i| i * i % 37).collect()).into();
        let texts =
            generate(&model, &prompts, &settings(Sampling::GREEDY, vec![]), &mut |_, _| false)
                .unwrap();
        for (prompt, text) in prompts.iter().zip(texts) {
            assert_eq!(text.tokens, greedy_without_cache(&model, prompt, 9));
        }
    }
}

/// A window, how tokens are chosen, and the text of each prompt.
type Known = (Option<usize>, Sampling, [(&'static [u32], Finish); 3]);

/// Texts of earlier versions: a seed gives the same text for ever.
#[test]
fn a_seed_names_a_text() {
    let warm = Sampling { temperature: 1.0, top_p: 0.9 };
    let cool = Sampling { temperature: 0.8, top_p: 1.0 };
    let known: [Known; 6] = [
        (
            None,
            Sampling::GREEDY,
            [
                (&[19], Finish::Stop),
                (&[20, 30, 30, 30, 30, 30, 29, 29, 29], Finish::Length),
                (&[30, 29, 29, 29, 6, 31, 31, 16, 6], Finish::Length),
            ],
        ),
        (
            None,
            warm,
            [
                (&[19, 2, 15], Finish::Stop),
                (&[15, 11, 11, 25, 0, 33, 15, 33, 10], Finish::Length),
                (&[35, 19, 31, 16, 28, 27, 19, 31, 28], Finish::Length),
            ],
        ),
        (
            None,
            cool,
            [
                (&[9, 18, 19, 23, 23, 14, 35, 19, 18], Finish::Length),
                (&[10, 33, 1, 25, 28, 11, 24, 20, 10], Finish::Length),
                (&[34, 23], Finish::Stop),
            ],
        ),
        (
            Some(4),
            Sampling::GREEDY,
            [
                (&[19, 16, 19, 34, 6, 6, 6, 6, 30], Finish::Length),
                (&[20, 30, 30, 30, 29, 29, 29, 6, 16], Finish::Length),
                (&[30, 29, 23, 9, 18, 19, 33, 11, 19], Finish::Length),
            ],
        ),
        (
            Some(4),
            warm,
            [
                (&[19, 1, 34, 25, 30, 30, 17, 4, 21], Finish::Length),
                (&[15, 11, 11, 25, 22, 30], Finish::Stop),
                (&[35, 19, 31, 25, 31, 29, 21, 18, 19], Finish::Length),
            ],
        ),
        (
            Some(4),
            cool,
            [
                (&[15], Finish::Stop),
                (&[10, 33, 1, 25, 35, 9, 16, 8, 8], Finish::Length),
                (&[34, 23, 9, 10, 27, 27, 35, 8, 30], Finish::Length),
            ],
        ),
    ];
    let prompts = [vec![1, 2, 3, 4, 5, 6, 7], vec![9], vec![30, 31, 32]];
    for (window, sampling, expected) in known {
        let (_folder, model) = model(Reference, window, 40);
        let mut seen = vec![Vec::new(); 3];
        let texts = generate(&model, &prompts, &settings(sampling, vec![7, 12]), &mut |i, t| {
            seen[i].push(t);
            false
        });
        let expected =
            expected.map(|(tokens, finish)| Generated { tokens: tokens.to_vec(), finish });
        assert_eq!(texts.unwrap(), expected, "{window:?} {sampling:?}");
        assert_eq!(seen, expected.map(|text| text.tokens));
    }
}

/// A caller that looks at the text ends it after any token; the other texts do not change.
#[test]
fn a_text_ends_where_the_caller_says() {
    let (_folder, model) = model(Reference, None, 40);
    let prompts = [vec![1, 2, 3, 4, 5, 6, 7], vec![9], vec![30, 31, 32]];
    let settings = settings(Sampling::GREEDY, vec![]);
    let whole = generate(&model, &prompts, &settings, &mut |_, _| false).unwrap();
    let mut count = 0;
    let ended = generate(&model, &prompts, &settings, &mut |prompt, _| {
        count += usize::from(prompt == 1);
        prompt == 1 && count == 3
    });
    let mut expected = whole;
    expected[1].tokens.truncate(3);
    expected[1].finish = Finish::Stop;
    assert_eq!(ended.unwrap(), expected);
    assert_eq!(count, 3);
}

#[test]
fn a_text_ends_with_the_context() {
    let (_folder, model) = model(Reference, None, 40);
    let settings =
        GenerationSettings { max_tokens: usize::MAX, ..settings(Sampling::GREEDY, vec![]) };
    let texts =
        generate(&model, &[vec![1; 30], vec![2; 39]], &settings, &mut |_, _| false).unwrap();
    // The last position's prediction is a token too.
    assert_eq!(texts.iter().map(|a| a.tokens.len()).collect::<Vec<_>>(), [11, 2]);
}

#[test]
fn nothing_is_asked_of_the_model_for_no_tokens() {
    let (_folder, model) = model(Reference, None, 40);
    let nothing = GenerationSettings { max_tokens: 0, ..settings(Sampling::GREEDY, vec![]) };
    let texts = generate(&model, &[vec![1], vec![2]], &nothing, &mut |_, _| false).unwrap();
    assert_eq!(texts, vec![Generated { tokens: vec![], finish: Finish::Length }; 2]);
    assert!(generate(&model, &[], &nothing, &mut |_, _| false).unwrap().is_empty());
}

#[test]
fn prompts_are_checked() {
    let (_folder, model) = model(Reference, None, 40);
    let run = |prompt: Vec<u32>, sampling| {
        let prompts = [vec![1], prompt];
        let error = generate(&model, &prompts, &settings(sampling, vec![]), &mut |_, _| false);
        let error = error.unwrap_err();
        let message = error.to_string();
        let EngineError::Prompt { prompt: 1, fault } = error else { panic!("{error}") };
        (message, fault)
    };
    let (message, fault) = run(vec![], Sampling::GREEDY);
    assert_eq!(fault, RequestError::EmptyPrompt);
    assert_eq!(message, "prompt 2: the prompt has no tokens; expected at least one");
    let (message, fault) = run(vec![1; 40], Sampling::GREEDY);
    assert_eq!(fault, RequestError::TooLong { tokens: 40, context: 40 });
    assert!(message.contains("`max_position_embeddings`"), "{message}");
    let (_, fault) = run(vec![1, 37], Sampling::GREEDY);
    assert_eq!(fault, RequestError::Token { token: 37, vocabulary: VOCABULARY });
}

#[test]
fn unusable_sampling_is_refused() {
    let (_folder, model) = model(Reference, None, 40);
    let cold = settings(Sampling { temperature: -1.0, top_p: 1.0 }, vec![]);
    let error = generate(&model, &[vec![1]], &cold, &mut |_, _| false).unwrap_err().to_string();
    assert_eq!(error, "prompt 1: `temperature` is -1, expected a finite number, 0 or more");
}
