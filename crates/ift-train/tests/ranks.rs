//! A step that is divided over several processes is the step of one process: KTO's KL point and
//! losses whose rows depend on each other are those of all rows, and so are sums and gradients.

#![allow(clippy::unwrap_used, reason = "a panic fails the test")]

mod numbers;

use std::sync::Arc;
use std::thread;

use ift_backend::{Backend, Reference as Exact, Storage};
use ift_compare::{Comparison, Tolerance};
use ift_data::Row;
use ift_methods::{Method, RowKind};
use ift_model::{Model, Trained};
use ift_parallel::{Collective, Group};
use ift_train::{
    AdamW, AnswerDetail, KnownScores, Learner, NotFinite, Optimizer, ReferenceSource, StepContext,
    StepSettings, Sums, TrainError, accumulate_with,
};
use numbers::{folder, json, sequences, weighted};

fn rows(kind: RowKind) -> Vec<Row> {
    let batch = &json("batches.json")["pref"];
    let [chosen, rejected, kl] = ["chosen", "rejected", "kl"].map(|side| sequences(&batch[side]));
    let row = |(i, ((chosen, rejected), kl))| {
        let row = match kind {
            RowKind::Text | RowKind::Demonstration => Row::demonstration(weighted(&chosen)),
            RowKind::Pair => Row::pair(chosen, rejected),
            RowKind::Judged => Row::judged(chosen, kl, i != 1),
        };
        row.at(0, i as u64 + 1)
    };
    chosen.into_iter().zip(rejected).zip(kl).enumerate().map(row).collect()
}

fn method(settings: &str) -> Method {
    serde_json::from_str(settings).unwrap()
}

fn load(method: &Method) -> Model<Exact> {
    let trained = Trained::All { input_embeddings: method.trains_input_embeddings() };
    Model::load(&folder("llama"), Arc::new(Exact), trained).unwrap()
}

fn reference(method: &Method) -> Option<Model<Exact>> {
    let trained = Trained::Nothing { storage: Storage::Exact };
    let load = || Model::load(&folder("llama").join("ref"), Arc::new(Exact), trained).unwrap();
    method.needs().reference.then(load)
}

/// What a process computes of its rows.
struct Share {
    sums: Sums,
    details: Vec<AnswerDetail>,
    gradients: Vec<f64>,
}

fn share(method: &Method, rows: &[Row], micro_batch_tokens: usize, at: &dyn Collective) -> Share {
    let (model, reference) = (load(method), reference(method));
    let source = reference.as_ref().map_or(ReferenceSource::None, ReferenceSource::Model);
    let lambda = method.lambda_at(0, 0, 0);
    let context =
        StepContext { lambda, collective: at, ..StepContext::plain(method, micro_batch_tokens) };
    let rows: Vec<&Row> = rows.iter().collect();
    let mut gradients = model.gradients().unwrap();
    let mut details = Vec::new();
    let mut show = |answers: &[AnswerDetail]| details.extend_from_slice(answers);
    let sums =
        accumulate_with(&model, &source, &mut gradients, &rows, &context, &mut show).unwrap();
    let all = 0..model.trainable().len();
    Share { sums, details, gradients: model.backend().read_accumulator(&gradients.sums, all) }
}

/// Runs `work` for each of two processes with its rows: the first one, and the others.
fn on_two<T: Send>(rows: &[Row], work: impl Fn(&[Row], &dyn Collective) -> T + Sync) -> Vec<T> {
    let (first, others) = rows.split_at(1);
    thread::scope(|scope| {
        let work = &work;
        let start = |(member, rows)| scope.spawn(move || work(rows, &member as &dyn Collective));
        let threads: Vec<_> = Group::of(2).into_iter().zip([first, others]).map(start).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

#[test]
fn the_division_over_processes_changes_nothing() {
    for settings in [
        r#"{"name": "ift"}"#,
        r#"{"name": "ift", "side": "right", "minimum": "batch"}"#,
        r#"{"name": "sft", "reduction": "token"}"#,
        r#"{"name": "dpo"}"#,
        r#"{"name": "tdpo2"}"#,
        r#"{"name": "kto"}"#,
    ] {
        let method = method(settings);
        let rows = rows(method.needs().rows);
        let whole = share(&method, &rows, 4096, &ift_parallel::Solo);
        for micro_batch_tokens in [4096, 1] {
            let shares = on_two(&rows, |rows, at| share(&method, rows, micro_batch_tokens, at));
            let what = format!("{settings}, micro-batches of {micro_batch_tokens}");
            let mut comparison = Comparison::new(what, Tolerance::of_largest(1e-11));
            for (rank, Share { sums, .. }) in shares.iter().enumerate() {
                let named =
                    |sums: &Sums| [sums.loss, sums.count, sums.unweighted, sums.nll, sums.kl_point];
                for (i, (found, expected)) in
                    named(sums).into_iter().zip(named(&whole.sums)).enumerate()
                {
                    comparison.value(&format!("sum {i} of rank {rank}"), found, expected);
                }
                assert_eq!(
                    (sums.rows, sums.targets, sums.tokens, sums.preference.pairs),
                    (
                        whole.sums.rows,
                        whole.sums.targets,
                        whole.sums.tokens,
                        whole.sums.preference.pairs
                    )
                );
            }
            let details: Vec<&AnswerDetail> = shares.iter().flat_map(|s| &s.details).collect();
            assert_eq!(details.len(), whole.details.len());
            for (i, (found, expected)) in details.iter().zip(&whole.details).enumerate() {
                let (found, expected) = (&found.loss, &expected.loss);
                comparison.value(&format!("loss of answer {i}"), found.sum, expected.sum);
                let weights = format!("weights of answer {i}");
                comparison.values(&weights, &found.weights, &expected.weights);
            }
            let gradients = shares[0].gradients.iter().zip(&shares[1].gradients);
            let gradients: Vec<f64> = gradients.map(|(a, b)| a + b).collect();
            comparison.values("gradients", &gradients, &whole.gradients);
            comparison.finish();
        }
    }
}

/// Whole optimizer steps: all processes have the same weights, to the bit, and those of one process
/// up to rounding.
#[test]
fn processes_step_together() {
    let method = method(r#"{"name": "kto"}"#);
    let rows = rows(RowKind::Judged);
    let train = |rows: &[Row], at: &dyn Collective| {
        let adamw = Optimizer::Adamw(AdamW { lr: 1e-3, clip: 0.5, ..AdamW::default() });
        let mut learner = Learner::new(load(&method), adamw, Some(0.5)).unwrap();
        let reference = reference(&method);
        let source = reference.as_ref().map_or(ReferenceSource::None, ReferenceSource::Model);
        let settings = StepSettings {
            method: &method,
            seed: 0,
            warmup_steps: 0,
            noise: 0.0,
            recompute: false,
            micro_batch_tokens: 60,
            collective: at,
        };
        let rows: Vec<&Row> = rows.iter().collect();
        let norms: Vec<f64> = (0..3)
            .map(|step| learner.step(&source, &rows, &settings.at(step), 1e-3).unwrap().1)
            .collect();
        let model = learner.model();
        (norms, model.read(0..model.trainable().len()))
    };
    let (norms, weights) = train(&rows, &ift_parallel::Solo);
    let results = on_two(&rows, train);
    assert!(results[0] == results[1], "the processes differ");
    let mut comparison = Comparison::new("weights", Tolerance::of_largest(1e-9));
    comparison.values("norms", &results[0].0, &norms);
    comparison.values("weights", &results[0].1, &weights);
    comparison.finish();
}

/// Scores that are not finite and do not reach the loss: the other process refuses the step too.
#[test]
fn all_processes_refuse_the_step_that_one_refuses() {
    let method = method(r#"{"name": "sft"}"#);
    let rows = rows(RowKind::Demonstration);
    let found = on_two(&rows, |rows, at| {
        let mut learner = Learner::new(load(&method), Optimizer::default(), None).unwrap();
        let all = 0..learner.model().trainable().len();
        let before = learner.model().read(all.clone());
        let score = if at.rank() == 0 { f64::NAN } else { -1.0 };
        let known: Vec<KnownScores> = rows
            .iter()
            .map(|row| KnownScores {
                first: vec![score; row.answer().target_count()],
                ..KnownScores::default()
            })
            .collect();
        let reference = ReferenceSource::Known(known.iter().collect());
        let context = StepContext { collective: at, ..StepContext::plain(&method, 60) };
        let rows: Vec<&Row> = rows.iter().collect();
        let error = learner.step(&reference, &rows, &context, 1e-3).unwrap_err();
        assert!(learner.model().read(all) == before, "weights changed");
        match error {
            TrainError::NotFinite { step: 1, found } => found,
            other => panic!("{other}"),
        }
    });
    assert_eq!(found, [NotFinite::Reference { source: 0, record: 1 }, NotFinite::OtherProcess]);
}
