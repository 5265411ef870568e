//! `ift gradients`: losses and gradients to compare with another trainer.

use safetensors::{Dtype, SafeTensors};
use serde_json::Value;

use crate::common::{Folder, ROWS, close, number};

fn with_rows() -> Folder {
    let folder = Folder::with_model();
    folder.write("rows.jsonl", ROWS);
    folder
}

#[track_caller]
fn gradients(folder: &Folder, more: &[&str]) -> Value {
    folder.ift(&[&["gradients", "--model", "base", "--rows", "rows.jsonl"], more].concat()).json()
}

#[test]
fn results_for_each_row() {
    let folder = with_rows();
    let answer = gradients(&folder, &[]);
    let counts = ["rows", "targets", "tokens"].map(|field| answer[field].as_u64().unwrap());
    assert_eq!(counts, [3, 10, 17]);
    assert_eq!((number(&answer, "lambda"), number(&answer, "count")), (0.2, 3.0));
    let rows = answer["per_row"].as_array().unwrap();
    assert_eq!(rows[0]["positions"], serde_json::json!([2, 3, 4, 5]));
    for row in rows {
        for list in ["log_probs", "first_pass_log_probs", "look_ahead", "weights", "d_log_probs"] {
            assert_eq!(
                row[list].as_array().unwrap().len() as u64,
                row["targets"].as_u64().unwrap(),
                "{list}"
            );
        }
    }
    let mean = rows.iter().map(|row| number(row, "loss")).sum::<f64>() / 3.0;
    close("loss", number(&answer, "loss"), mean, 1e-13);

    // SFT's loss is the mean over rows of the mean over targets of −log p.
    let sft = gradients(&folder, &["--method", "sft"]);
    let mean_of = |row: &Value| {
        let values: Vec<_> =
            row["log_probs"].as_array().unwrap().iter().map(|v| -v.as_f64().unwrap()).collect();
        values.iter().sum::<f64>() / values.len() as f64
    };
    let by_hand = sft["per_row"].as_array().unwrap().iter().map(mean_of).sum::<f64>() / 3.0;
    close("loss of SFT", number(&sft, "loss"), by_hand, 1e-13);
}

#[test]
fn ift_without_mixing_and_propagation_is_sft() {
    let folder = with_rows();
    let sft = gradients(&folder, &["--method", "sft"]);
    let ift = gradients(&folder, &["--set", "method.lambda=0", "--set", "method.gamma=0"]);
    assert_eq!(ift["loss"], sft["loss"]);
    // IFT does not train the input embeddings; the other gradients agree.
    assert!(number(&ift, "grad_norm") <= number(&sft, "grad_norm"));
    assert_eq!(ift["per_row"][0]["d_log_probs"], sft["per_row"][0]["d_log_probs"]);
    let mixed = gradients(&folder, &["--set", "method.gamma=0"]);
    assert_ne!(mixed["loss"], sft["loss"]);
}

#[test]
fn single_and_double_precision_agree() {
    let folder = with_rows();
    for method in ["lm", "sft", "ift"] {
        let [single, double] =
            ["f32", "f64"].map(|p| gradients(&folder, &["--method", method, "--precision", p]));
        for field in ["loss", "grad_norm", "first_pass_loss", "unweighted_loss"] {
            let what = format!("{method} {field}");
            close(&what, number(&single, field), number(&double, field), 1e-5);
        }
        let look_ahead = |answer: &Value| answer["per_row"][2]["look_ahead"].clone();
        assert_eq!(look_ahead(&single), look_ahead(&double));
    }
}

#[test]
fn gradient_files_have_hugging_face_names() {
    let folder = with_rows();
    let weights = folder.bytes("base/model.safetensors");
    let weights = SafeTensors::deserialize(&weights).unwrap();
    for (precision, dtype) in [("f32", Dtype::F32), ("f64", Dtype::F64)] {
        let more = ["--method", "sft", "--precision", precision, "--out", "g.safetensors"];
        let answer = gradients(&folder, &more);
        let bytes = folder.bytes("g.safetensors");
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let shapes = |file: &SafeTensors| {
            let mut shapes: Vec<_> =
                file.iter().map(|(name, t)| (name.to_owned(), t.shape().to_vec())).collect();
            shapes.sort();
            shapes
        };
        assert_eq!(shapes(&file), shapes(&weights));
        let mut squares = 0.0;
        for (name, tensor) in file.iter() {
            assert_eq!(tensor.dtype(), dtype, "{name}");
            let own = squares;
            squares += match dtype {
                Dtype::F64 => tensor
                    .data()
                    .as_chunks()
                    .0
                    .iter()
                    .map(|b| f64::from_le_bytes(*b).powi(2))
                    .sum::<f64>(),
                _ => tensor
                    .data()
                    .as_chunks()
                    .0
                    .iter()
                    .map(|b| f64::from(f32::from_le_bytes(*b)).powi(2))
                    .sum(),
            };
            assert!(squares > own, "{name} has no gradient");
        }
        close("norm", squares.sqrt(), number(&answer, "grad_norm"), 1e-5);
    }
    // IFT does not train the input embeddings, which have no gradient if the head is not tied.
    gradients(&folder, &["--out", "ift.safetensors"]);
    let bytes = folder.bytes("ift.safetensors");
    let file = SafeTensors::deserialize(&bytes).unwrap();
    assert_eq!(file.len(), weights.len() - 1);
    assert!(
        file.tensor("model.embed_tokens.weight").is_err() && file.tensor("lm_head.weight").is_ok()
    );
}

#[test]
fn unusable_rows_and_settings_are_refused() {
    let folder = with_rows();
    folder.write(
        "untargeted.jsonl",
        &format!("{ROWS}{{\"input_ids\":[1,40],\"labels\":[1,-100]}}\n"),
    );
    folder.write("outside.jsonl", &format!("{ROWS}{{\"input_ids\":[1,900],\"labels\":[1,900]}}\n"));
    folder.write("uneven.jsonl", &format!("{ROWS}{{\"input_ids\":[1,40],\"labels\":[1]}}\n"));
    folder
        .write("shifted.jsonl", &format!("{ROWS}{{\"input_ids\":[1,40],\"labels\":[40,-100]}}\n"));
    folder.write("empty.jsonl", "");
    for (rows, words) in [
        ("untargeted.jsonl", &["4", "has no target after its first token"][..]),
        ("outside.jsonl", &["4", "token 900"]),
        ("uneven.jsonl", &["`uneven.jsonl`, line 4", "`labels`"]),
        ("shifted.jsonl", &["`shifted.jsonl`, line 4", "`labels[0]`"]),
        ("empty.jsonl", &["`empty.jsonl`"]),
        ("none.jsonl", &["`none.jsonl`"]),
    ] {
        let said = folder.ift(&["gradients", "--model", "base", "--rows", rows]).refused(1);
        assert!(words.iter().all(|word| said.contains(word)), "{rows}: {said}");
    }
    for (more, words) in [
        (["--method", "itf"], "did you mean \"ift\"?"),
        (["--set", "method.lamda=0.3"], "did you mean `lambda`?"),
        (["--set", "method.lambda=3"], "at least 0 and at most 1"),
        (["--set", "method.k=3"], "`look_ahead = \"topk\"`"),
        (["--precision", "f16"], "possible values: f32, bf16, f64"),
    ] {
        let said = folder
            .ift(&[&["gradients", "--model", "base", "--rows", "rows.jsonl"], &more[..]].concat());
        let said = said.refused(2);
        assert!(said.contains(words), "{more:?}: {said}");
    }
}
