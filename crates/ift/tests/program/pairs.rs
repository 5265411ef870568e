//! Training with methods on pairs, and references.

use serde_json::Value;

use crate::common::{Folder, close, number};

/// Overrides that all runs here share.
const ON_PAIRS: [&str; 3] =
    ["data.train=pairs.jsonl", "data.eval=pairs.jsonl", "generate.prompts=[]"];

#[test]
fn every_method_trains_on_pairs_and_reports_its_metrics() {
    let folder = Folder::ready_to_train();
    for method in ["dpo", "ipo", "tdpo1", "tdpo2", "orpo", "simpo", "kto"] {
        let (method, output) = (format!("method.name={method}"), format!("output.dir={method}"));
        folder.train(&[&ON_PAIRS[..], &[&method, &output]].concat());
        let lines = folder.lines(&format!("{}/metrics.jsonl", &output["output.dir=".len()..]));
        let of = |kind: &str| {
            lines.iter().filter(|l| l["kind"] == kind).cloned().collect::<Vec<Value>>()
        };
        let margin = |line: &Value| line["reward_margin"].as_f64().unwrap();
        let evals = of("eval");
        let (first, last) = (&evals[0], &evals[evals.len() - 1]);
        assert!(margin(last) > margin(first), "{method}: {first} {last}");
        let own = [
            "method_loss",
            "chosen_reward",
            "rejected_reward",
            "chosen_log_prob",
            "rejected_log_prob",
            "loss",
        ];
        for field in own {
            assert!(last[field].is_number(), "{method} {field}: {last}");
        }
        assert_eq!(last["reward_accuracy"].is_number(), method != "method.name=kto", "{last}");
        let step = &of("step")[0];
        assert!(step["nll"].is_number() && step["reward_margin"].is_number(), "{step}");
        let tells_kl = ["tdpo1", "tdpo2", "kto"].iter().any(|name| method.ends_with(name));
        assert_eq!(step["kl"].is_number(), tells_kl, "{method}: {step}");
    }
}

#[test]
fn siblings_of_ift_learn_from_the_same_chats() {
    let folder = Folder::ready_to_train();
    for method in ["dft", "asft", "eaft", "iw_sft", "psft", "scheduled_sampling"] {
        let (set, output) = (format!("method.name={method}"), format!("output.dir={method}"));
        folder.train(&[&set, &output, "generate.prompts=[]", "optimizer.lr=3e-3"]);
        let lines = folder.metrics(method);
        let evals: Vec<f64> = lines
            .iter()
            .filter(|l| l["kind"] == "eval")
            .map(|l| l["loss"].as_f64().unwrap())
            .collect();
        assert!(evals[evals.len() - 1] < evals[0], "{method}: {evals:?}");
    }
    // Methods on single answers accept pairs and learn the chosen answers.
    folder.train(&["data.train=pairs.jsonl", "data.eval=pairs.jsonl", "output.dir=chosen"]);
    folder.train(&["output.dir=chats"]);
    assert_eq!(folder.metrics("chosen"), folder.metrics("chats"));
}

/// A precomputed reference gives the same run as one that stays in memory.
#[test]
fn a_precomputed_reference_equals_a_resident_one() {
    let folder = Folder::ready_to_train();
    let train = |output: &str, reference: &str| {
        let (output, reference) =
            (format!("output.dir={output}"), format!("reference={reference}"));
        folder.train(&[&ON_PAIRS[..], &["method.name=dpo", &output, &reference]].concat());
    };
    train("resident", "start");
    train("known", "precomputed");
    assert_eq!(folder.metrics("resident"), folder.metrics("known"));
    assert_eq!(folder.names("known/reference").len(), 1);
    assert!(!folder.exists("resident/reference"));
    // A row that occurs several times is scored once.
    let size = |run: &str| {
        let name = &folder.names(&format!("{run}/reference"))[0];
        folder.bytes(&format!("{run}/reference/{name}")).len()
    };
    for (output, reference) in [("resident-twice", "start"), ("known-twice", "precomputed")] {
        let (output, reference) =
            (format!("output.dir={output}"), format!("reference={reference}"));
        let twice = "data.train={ path = 'pairs.jsonl', weight = 2.0 }";
        folder.train(&[&ON_PAIRS[..], &["method.name=dpo", &output, &reference, twice]].concat());
    }
    assert_eq!(folder.metrics("resident-twice"), folder.metrics("known-twice"));
    assert_eq!(size("known-twice"), size("known"));
    // With an exact reference the rewards of the first step are zero; in bfloat16 rounding remains.
    train("exact", "{ storage = 'exact' }");
    let first = &folder.metrics("exact")[0];
    assert!(number(first, "chosen_reward").abs() < 1e-6, "{first}");
    close("method_loss", number(first, "method_loss"), 2f64.ln(), 1e-6);
}

#[test]
fn stages_follow_each_other_in_one_folder() {
    let folder = Folder::ready_to_train();
    folder.write(
        "stages.toml",
        "[model]\npath = 'base'\n[data]\ntrain = 'chats.jsonl'\n\
         [optimizer]\nname = 'adamw'\nlr = 1e-2\n\
         [train]\nsteps = 3\nrows_per_step = 2\n[output]\ndir = 'run'\n\
         [[stage]]\nmethod.name = 'sft'\n\
         [[stage]]\nname = 'pairs'\nmethod = { name = 'dpo', beta = 0.3 }\n\
         data.train = 'pairs.jsonl'\n",
    );
    // A first stage that does not come to its start leaves nothing.
    folder.ift(&["train", "stages.toml", "--set", "model.path=none"]).refused(1);
    assert!(!folder.exists("run"));
    let answer = folder.ift(&["train", "stages.toml"]);
    for part in ["stage 1 of 2: 1-sft", "stage 2 of 2: 2-pairs", "margin"] {
        assert!(answer.stderr.contains(part), "{part}: {}", answer.stderr);
    }
    assert_eq!(answer.done(), "the trained model is in run/stages/2-pairs/model\n");
    assert_eq!(folder.names("run"), ["recipe.toml", "stages"]);
    assert!(folder.ift(&["train", "stages.toml"]).refused(1).contains("--resume"));
    folder.ift(&["train", "stages.toml", "--resume"]).done();
    folder.ift(&["train", "stages.toml", "--overwrite", "--quiet"]).done();
}

#[test]
fn what_cannot_be_compared_is_refused() {
    let folder = Folder::ready_to_train();
    for (sets, code, words) in [
        (&["method.name=dpo"][..], 1, &["`chats.jsonl`, line 1", "chosen"][..]),
        (&["reference=precomputed"], 2, &["`reference`", "has no effect"]),
        (
            &["method.name=tdpo2", "reference=precomputed"],
            2,
            &["`reference.precomputed`", "distributions"],
        ),
        (&["method.name=dpo", "method.beta=-1"], 2, &["method.beta"]),
        (&["method.name=dpo", "reference=last"], 2, &["reference"]),
        (&["method.name=dpo", "data.train=pairs.jsonl", "reference.path=nowhere"], 1, &["nowhere"]),
    ] {
        let sets = sets.iter().flat_map(|set| ["--set", set]);
        let said = folder
            .ift(&["train", "recipe.toml"].into_iter().chain(sets).collect::<Vec<_>>())
            .refused(code);
        assert!(words.iter().all(|word| said.contains(word)), "{words:?}: {said}");
    }
    assert!(!folder.exists("run/metrics.jsonl"));
}

const PAIRED_ROWS: &str = r#"{"chosen_ids":[1,40,50,60,2],"chosen_labels":[-100,-100,50,60,2],"rejected_ids":[1,40,51,2],"rejected_labels":[-100,-100,51,2]}
{"chosen_ids":[1,42,53,2],"chosen_labels":[-100,-100,53,2],"rejected_ids":[1,42,54,64,74,2],"rejected_labels":[-100,-100,54,64,74,2]}
"#;

#[test]
fn gradients_of_pairs_against_another_model() {
    let folder = Folder::with_model();
    folder.write("rows.jsonl", PAIRED_ROWS);
    folder.ift(&["new", "new.toml", "--set", "seed=9", "--set", "output=other"]).done();
    let gradients = |more: &[&str]| {
        folder
            .ift(&[&["gradients", "--model", "base", "--rows", "rows.jsonl"], more].concat())
            .json()
    };
    // The model is its own reference, so the loss is ln 2.
    let own = gradients(&["--method", "dpo"]);
    close("loss", number(&own, "loss"), 2f64.ln(), 1e-6);
    let other = gradients(&["--method", "dpo", "--reference", "other", "--precision", "f64"]);
    let rows = other["per_row"].as_array().unwrap();
    assert_eq!(
        rows.iter().map(|r| r["chosen"].as_bool().unwrap()).collect::<Vec<_>>(),
        [true, false, true, false]
    );
    let sum =
        |list: &Value| list.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).sum::<f64>();
    let reward = |row: &Value| 0.1 * (sum(&row["log_probs"]) - sum(&row["reference_log_probs"]));
    let mut loss = 0.0;
    for pair in rows.chunks(2) {
        close("reward", number(&pair[0], "reward"), reward(&pair[0]), 1e-11);
        loss += (1.0 + (reward(&pair[1]) - reward(&pair[0])).exp()).ln() / 2.0;
    }
    close("loss against another model", number(&other, "loss"), loss, 1e-12);
    assert_eq!(other["tokens"], 19);
    for method in ["ipo", "tdpo1", "tdpo2", "orpo", "simpo", "kto"] {
        let [single, double] = ["f32", "f64"]
            .map(|p| gradients(&["--method", method, "--reference", "other", "--precision", p]));
        for field in ["loss", "grad_norm"] {
            let what = format!("{method} {field}");
            close(&what, number(&single, field), number(&double, field), 1e-4);
        }
    }
    let bench = [
        "bench",
        "--model",
        "base",
        "--rows",
        "rows.jsonl",
        "--method",
        "dpo",
        "--rows-per-step",
        "2",
    ];
    let bench = folder.ift(&[&bench[..], &["--steps", "1"]].concat()).json();
    // The reference is in bfloat16.
    close("first_loss", number(&bench, "first_loss"), 2f64.ln(), 1e-2);
}
