//! `ift bench`: its result has the fields of `bench/torch_peer.py`.

use crate::common::{Folder, ROWS, close, number};

#[test]
fn the_result_has_the_fields_of_the_peer() {
    let folder = Folder::with_model();
    folder.write("rows.jsonl", ROWS);
    let step = ["--model", "base", "--rows", "rows.jsonl"];
    let more = ["--rows-per-step", "3", "--steps", "2"];
    let answer = folder.ift(&[&["bench"], &step[..], &more].concat());
    assert_eq!(answer.stderr, "");
    let result = answer.json();
    let names: Vec<_> = result.as_object().unwrap().keys().map(String::as_str).take(13).collect();
    assert_eq!(
        names,
        [
            "peer",
            "method",
            "dtype",
            "pad",
            "sort",
            "attn",
            "rows",
            "micro",
            "step_seconds",
            "tokens_per_second",
            "first_loss",
            "peak_rss_gib",
            "peak_gpu_gib",
        ]
    );
    assert_eq!(
        (&result["peer"], &result["method"], &result["rows"]),
        (&"ift".into(), &"ift".into(), &3.into())
    );
    assert!(number(&result, "tokens_per_second") > 0.0);
    // The first step has the loss of `ift gradients`.
    let gradients = folder.ift(&[&["gradients"], &step[..]].concat()).json();
    // It is rounded to five digits.
    close("first_loss", number(&result, "first_loss"), number(&gradients, "loss"), 1e-5);
}

#[test]
fn a_profile_is_printed_to_standard_error() {
    let folder = Folder::with_model();
    folder.write("rows.jsonl", ROWS);
    let answer = folder.ift(&[
        "bench",
        "--model",
        "base",
        "--rows",
        "rows.jsonl",
        "--steps",
        "1",
        "--profile",
    ]);
    for line in [
        "operation",
        "products",
        "attention",
        "head",
        "optimizer",
        "between",
        "all",
        "idle",
        "peak",
    ] {
        assert!(answer.stderr.lines().any(|l| l.starts_with(line)), "{line}: {}", answer.stderr);
    }
    assert_eq!(answer.json()["peer"], "ift");
    folder.write("empty.jsonl", "");
    let said = folder.ift(&["bench", "--model", "base", "--rows", "empty.jsonl"]).refused(1);
    assert!(said.contains("`empty.jsonl`"), "{said}");
}
