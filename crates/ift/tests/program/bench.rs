//! `ift bench`: its result has the fields of the yardstick's.

use crate::common::{Folder, ROWS};

#[test]
fn the_result_has_the_yardsticks_fields() {
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
    assert!(result["tokens_per_second"].as_f64().unwrap() > 0.0);
    // The first step computes what `ift gradients` does.
    let loss = folder.ift(&[&["gradients"], &step[..]].concat()).json()["loss"].as_f64().unwrap();
    assert!((result["first_loss"].as_f64().unwrap() - loss).abs() < 1e-5, "{result} {loss}");
}

#[test]
fn a_profile_is_a_note() {
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
