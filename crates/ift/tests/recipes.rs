//! Correct and wrong recipes, on settings like those of the program.

#![allow(
    clippy::unwrap_used,
    missing_docs,
    reason = "helpers of tests fail by panicking and explain themselves"
)]

use std::{collections::BTreeMap, net::IpAddr, path::PathBuf};

use ift::{Place, RecipeError, RecipeFile, load_recipe, report};
use ift_methods::{Ift, Method};
use schemars::JsonSchema;
use serde::Deserialize;

#[derive(Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Recipe {
    model: PathBuf,
    method: Method,
    #[serde(default)]
    optimizer: Option<Optimizer>,
    #[serde(default)]
    data: Vec<Source>,
    #[serde(default)]
    warm_up: Option<WarmUp>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
}

#[derive(Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct Optimizer {
    learning_rate: f64,
    betas: (f64, f64),
    steps: u32,
    fused: bool,
    host: Option<IpAddr>,
    schedule: Option<Schedule>,
}

#[derive(Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Schedule {
    Constant,
    /// The schema of a documented variant differs from that of a plain one.
    Cosine,
}

#[derive(Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Source {
    path: String,
    #[serde(default)]
    weight: Option<f64>,
}

#[derive(Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(untagged)]
enum WarmUp {
    Steps(u64),
    Ratio { ratio: f64 },
    Pieces(Vec<Piece>),
}

#[derive(Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(untagged)]
enum Piece {
    Name(Schedule),
    Table(Source),
}

const RECIPE: &str = "\
model = 'models/tiny'

[method]
name = 'ift'
lambda = 0.3

[optimizer]
learning_rate = 5e-7
schedule = 'cosine'

[[data]]
path = 'a.jsonl'

[[data]]
path = 'b.jsonl'
weight = 2
";

fn load(text: &str, sets: &[&str]) -> Result<Recipe, RecipeError> {
    let sets: Vec<_> = sets.iter().map(ToString::to_string).collect();
    RecipeFile::parse("recipe.toml", text, &sets)?.resolve()
}

/// The message that the program prints about a wrong recipe.
#[track_caller]
fn refusal(text: &str, sets: &[&str]) -> String {
    report(&load(text, sets).unwrap_err().into())
}

/// The recipe with one text replaced.
fn with(from: &str, to: &str) -> String {
    assert!(RECIPE.contains(from));
    RECIPE.replacen(from, to, 1)
}

#[test]
fn a_recipe_and_its_overrides() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("recipe.toml");
    std::fs::write(&path, RECIPE).unwrap();
    let sets = [
        "method.gamma=0.5",
        "method.lambda=1",
        "optimizer.betas=[0.9, 0.95]",
        "optimizer.fused = true",
        "data.1.path=c=d.jsonl",
        "warm_up={ratio = 0.1}",
        "labels.\"run name\"=first try",
        "model=models/other",
    ]
    .map(str::to_owned);
    let recipe: Recipe = load_recipe(&path, &sets).unwrap();
    let expected = Recipe {
        model: "models/other".into(),
        method: Method::Ift(Ift { lambda: 1.0, gamma: 0.5, ..Ift::default() }),
        optimizer: Some(Optimizer {
            learning_rate: 5e-7,
            betas: (0.9, 0.95),
            fused: true,
            schedule: Some(Schedule::Cosine),
            ..Optimizer::default()
        }),
        data: vec![
            Source { path: "a.jsonl".into(), weight: None },
            Source { path: "c=d.jsonl".into(), weight: Some(2.0) },
        ],
        warm_up: Some(WarmUp::Ratio { ratio: 0.1 }),
        labels: BTreeMap::from([("run name".into(), "first try".into())]),
    };
    assert_eq!(recipe, expected);
}

#[test]
fn overrides_alone_make_a_recipe() {
    let recipe = load("", &["model=x", "method.name=sft", "warm_up=7"]).unwrap();
    assert_eq!(recipe.method, Method::Sft(ift_methods::Sft::default()));
    assert_eq!(recipe.warm_up, Some(WarmUp::Steps(7)));
    // An override of a whole table replaces the table in the file.
    let recipe = load(RECIPE, &["method={name='lm'}"]).unwrap();
    assert_eq!(recipe.method, Method::Lm(ift_methods::Lm::default()));
}

#[test]
fn unknown_fields_at_every_depth() {
    for (text, expected) in [
        (
            with("model", "modle"),
            "error: recipe.toml: missing field `model`\n  help: set it to a string\n\
             error: recipe.toml:1:1: unknown field `modle`\n  help: did you mean `model`?",
        ),
        (
            with("lambda", "lamda"),
            "error: recipe.toml:5:1: unknown field `method.lamda`\n  help: did you mean `lambda`?",
        ),
        (
            with("learning_rate", "lr"),
            "error: recipe.toml:8:1: unknown field `optimizer.lr`\n  \
             help: valid names here are `learning_rate`, `betas`, `steps`, `fused`, `host` or \
             `schedule`",
        ),
        (
            with("weight", "wieght"),
            "error: recipe.toml:16:1: unknown field `data.1.wieght`\n  help: did you mean \
             `weight`?",
        ),
        (
            with("'ift'", "'sft'"),
            "error: recipe.toml:5:1: unknown field `method.lambda`\n  help: `lambda` belongs to \
             `name = \"ift\"`",
        ),
    ] {
        assert_eq!(refusal(&text, &[]), expected);
    }
    assert_eq!(
        refusal(RECIPE, &["optimizer.step=3"]),
        "error: `--set optimizer.step=3`: unknown field `optimizer.step`\n  help: did you mean \
         `steps`?"
    );
    // A table within an argument, and an inline table in the file.
    assert_eq!(
        refusal(RECIPE, &["method={name='ift', gama=1}"]),
        "error: `--set method={name='ift', gama=1}`: unknown field `method.gama`\n  help: did you \
         mean `gamma`?"
    );
    assert_eq!(
        refusal("model = 'x'\nmethod = { name = 'ift', gama = 1 }", &[]),
        "error: recipe.toml:2:26: unknown field `method.gama`\n  help: did you mean `gamma`?"
    );
}

#[test]
fn wrong_values_name_what_was_found_and_expected() {
    for (from, to, expected) in [
        (
            "0.3",
            "'high'",
            "5:1: `method.lambda` is the string \"high\", expected a number, at least 0 and at \
             most 1",
        ),
        (
            "0.3",
            "1.5",
            "5:1: `method.lambda` is the number 1.5, expected a number, at least 0 and at most 1",
        ),
        ("5e-7", "[1]", "8:1: `optimizer.learning_rate` is an array, expected a number"),
        (
            "5e-7",
            "0\nsteps = 5000000000",
            "9:1: `optimizer.steps` is the whole number 5000000000, expected a whole number, at \
             least 0 and at most \
             4294967295",
        ),
        (
            "5e-7",
            "0\nsteps = 2.5",
            "9:1: `optimizer.steps` is the number 2.5, expected a whole number, at least 0 and at \
             most 4294967295",
        ),
        (
            "5e-7",
            "0\nfused = 1",
            "9:1: `optimizer.fused` is the whole number 1, expected true or false",
        ),
        ("5e-7", "0\nbetas = [1, false]", "9:13: `optimizer.betas.1` is false, expected a number"),
        ("'a.jsonl'", "{}", "12:1: `data.0.path` is a table, expected a string"),
        (
            "'cosine'",
            "'cosin'",
            "9:1: `optimizer.schedule` is the string \"cosin\", expected \"constant\" or \
             \"cosine\"\n  \
             help: did you mean \"cosine\"?",
        ),
        (
            "'ift'",
            "'itf'",
            "4:1: `method.name` is the string \"itf\", expected \"lm\", \"sft\", \"ift\", \
             \"dpo\", \"ipo\", \"orpo\", \
             \"simpo\", \"tdpo1\", \"tdpo2\", \"kto\", \"dft\", \"asft\", \"eaft\", \"iw_sft\", \
             \"psft\" or \
             \"scheduled_sampling\"\n  \
             help: did you mean \"ift\"?",
        ),
        (
            "name = 'ift'\n",
            "",
            "3:2: missing field `method.name`\n  help: set it to \"lm\", \"sft\", \"ift\", \
             \"dpo\", \"ipo\", \"orpo\", \
             \"simpo\", \"tdpo1\", \"tdpo2\", \"kto\", \"dft\", \"asft\", \"eaft\", \"iw_sft\", \
             \"psft\" or \
             \"scheduled_sampling\"",
        ),
        ("path = 'b.jsonl'\n", "", "14:1: missing field `data.1.path`\n  help: set it to a string"),
    ] {
        assert_eq!(refusal(&with(from, to), &[]), format!("error: recipe.toml:{expected}"));
    }
    assert_eq!(
        refusal(RECIPE, &["warm_up=soon"]),
        "error: `--set warm_up=soon`: `warm_up` is the string \"soon\", \
         expected a whole number, at least 0 or a table or an array"
    );
    assert_eq!(
        refusal(RECIPE, &["warm_up=['constant', 1]"]),
        "error: `--set warm_up=['constant', 1]`: `warm_up.1` is the whole number 1, \
         expected \"constant\" or \"cosine\" or a table"
    );
    assert_eq!(
        refusal(RECIPE, &["warm_up=[{path='a', wieght=1}]"]),
        "error: `--set warm_up=[{path='a', wieght=1}]`: unknown field `warm_up.0.wieght`\n  \
         help: did you mean `weight`?"
    );
    assert_eq!(
        refusal(RECIPE, &["warm_up.ratio=soon"]),
        "error: `--set warm_up.ratio=soon`: `warm_up.ratio` is the string \"soon\", expected a \
         number"
    );
    assert_eq!(
        refusal(RECIPE, &["labels.a=1"]),
        "error: `--set labels.a=1`: `labels.a` is the whole number 1, expected a string"
    );
    assert_eq!(
        refusal(RECIPE, &["method=ift"]),
        "error: `--set method=ift`: `method` is the string \"ift\", expected a table"
    );
}

#[test]
fn errors_that_only_serde_finds_are_reported() {
    assert_eq!(
        refusal(RECIPE, &["optimizer.host=nowhere"]),
        "error: recipe.toml: invalid IP address syntax in `optimizer.host`"
    );
}

#[test]
fn overrides_that_cannot_be_applied() {
    for (argument, message) in [
        ("method.lambda", "expected `section.key=value`, found no `=`"),
        ("=3", "`` is not a field; expected keys joined with dots"),
        ("a b=3", "`a b` is not a field; expected keys joined with dots"),
        ("a=1\nb=2", ""),
        ("model.path=3", "`model` is \"models/tiny\", not a table; it has no field `path`"),
        ("data.2.path=x", "`data` has 2 elements, counted from 0; found no element `2`"),
        ("data.first.path=x", "`data` has 2 elements, counted from 0; found no element `first`"),
    ] {
        let report = refusal(RECIPE, &[argument]);
        assert!(report.starts_with(&format!("error: `--set {argument}`: {message}")), "{report}");
    }
}

#[test]
fn files_that_are_not_recipes() {
    let missing = load_recipe::<Recipe>("no/such.toml".as_ref(), &[]).unwrap_err();
    assert!(report(&missing.into()).starts_with("error: cannot read the recipe `no/such.toml`: "));
    let broken = refusal("model = 'x'\nmethod = [", &[]);
    assert!(broken.starts_with("error: recipe.toml:2:"), "{broken}");
    let twice = refusal("model = 'x'\nmodel = 'y'", &[]);
    assert!(twice.starts_with("error: recipe.toml:2:1: duplicate key"), "{twice}");
}

#[test]
fn errors_of_the_settings_name_their_place() {
    let recipe = RecipeFile::parse("recipe.toml", RECIPE, &["method.k=3".to_owned()]).unwrap();
    let Method::Ift(ift) = recipe.resolve::<Recipe>().unwrap().method else { unreachable!() };
    let error = Method::Ift(ift).validate().unwrap_err();
    assert_eq!(
        recipe.invalid(&format!("method.{}", error.field()), error).to_string(),
        "`--set method.k=3`: `k` = 3 has no effect: it applies only with `look_ahead = \"topk\"`; \
         remove it or set `look_ahead = \"topk\"`"
    );
    let RecipeError::Fields { faults } = recipe.invalid("method.gamma", "x") else {
        unreachable!()
    };
    assert_eq!(faults[0].place, Place::Line { file: "recipe.toml".into(), line: 3, column: 2 });
}
