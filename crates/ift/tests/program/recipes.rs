//! The recipes in the repository are valid, and those of the paper have the paper's settings.

use std::fs;
use std::path::{Path, PathBuf};

use ift_data::{Bos, ChatTokenizer, Conversation, Message, OverLength, Targets, TemplateSettings};
use ift_methods::{Dpo, Ift, LambdaSchedule, Method, Orpo, Sft, Simpo, Tdpo2};
use ift_train::{Curve, Optimizer, Recipe, SaveAs};

use crate::common::Folder;

/// A recipe of `ift new`.
const FRESH: &str = "quickstart-model.toml";

/// How the names of recipes of Frozen Lake studies begin.
const LAKE: &str = "lake";

/// The folders of `recipes/paper`.
const MODELS: [&str; 3] = ["gemma-2b", "llama-3-8b", "mistral-7b"];

/// A file of each folder that is not the paper's: SFT that trains the input embeddings.
const PLAIN: &str = "sft-plain";

/// A file of `mistral-7b` alone: IFT with weights in bfloat16, as the authors train.
const BF16: &str = "ift-bf16";

/// The files of each folder, each also with the prefix `sft-then-`.
const METHODS: [&str; 7] = ["dpo", "ift", "ift-noisy", "orpo", "sft", "simpo", "tdpo"];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../recipes")
}

/// The entries of a folder, sorted.
fn entries(folder: &Path) -> Vec<PathBuf> {
    let mut all: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    all.sort();
    all
}

/// All recipes of training runs in a folder, recursively.
fn recipes(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for path in entries(folder) {
        let name = path.file_name().unwrap().to_str().unwrap();
        if path.is_dir() {
            found.extend(recipes(&path));
        } else if path.extension().is_some_and(|e| e == "toml")
            && name != FRESH
            && !name.starts_with(LAKE)
        {
            found.push(path);
        }
    }
    found
}

/// Resolves a recipe and validates it.
fn read(path: &Path) -> Recipe {
    let recipe: Recipe =
        ift::load_recipe(path, &[]).unwrap_or_else(|e| panic!("{}", ift::report(&e.into())));
    recipe.validate().unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    recipe
}

#[test]
fn every_recipe_is_valid() {
    let found = recipes(&folder());
    for path in &found {
        let recipe = read(path);
        let stages = recipe.stages().unwrap().into_iter().map(|stage| stage.recipe);
        for run in stages.chain([recipe]) {
            // The copy in the folder of a run.
            let again = Recipe::from_toml(&run.to_toml().unwrap()).unwrap();
            assert_eq!(format!("{again:?}"), format!("{run:?}"), "{}", path.display());
        }
    }
    assert!(found.len() >= 6 + 2 * MODELS.len() * METHODS.len(), "{}", found.len());
}

#[test]
fn the_papers_experiments_are_complete() {
    for model in MODELS {
        let mut expected: Vec<_> = METHODS
            .iter()
            .flat_map(|m| [format!("{m}.toml"), format!("sft-then-{m}.toml")])
            .chain([format!("{PLAIN}.toml")])
            .chain((model == "mistral-7b").then(|| format!("{BF16}.toml")))
            .collect();
        expected.sort();
        let found = entries(&folder().join("paper").join(model));
        let found: Vec<_> =
            found.iter().map(|path| path.file_name().unwrap().to_str().unwrap()).collect();
        assert_eq!(found, expected, "{model}");
    }
}

#[test]
fn the_papers_experiments_have_its_settings() {
    for model in MODELS {
        for name in METHODS {
            let base = read(&folder().join(format!("paper/{model}/{name}.toml")));
            let after = read(&folder().join(format!("paper/{model}/sft-then-{name}.toml")));
            assert!(base.stage.is_empty(), "{model}/{name}");
            has_the_papers_settings(&base, name);
            let stages = after.stages().unwrap();
            let [first, second] = &stages[..] else {
                panic!("{model}/sft-then-{name} has two stages")
            };
            // It stands for a model that others trained.
            has_the_papers_settings(&first.recipe, PLAIN);
            has_the_papers_settings(&second.recipe, name);

            assert_eq!(first.recipe.model.path, base.model.path);
            assert_eq!(base.output.dir, Path::new("runs/paper").join(model).join(name));
            assert_eq!(
                after.output.dir,
                base.output.dir.with_file_name(format!("sft-then-{name}"))
            );
            has_the_papers_data(&base, &first.recipe, &second.recipe);
        }
        let plain = read(&folder().join(format!("paper/{model}/{PLAIN}.toml")));
        has_the_papers_settings(&plain, PLAIN);
        assert_eq!(plain.output.dir, Path::new("runs/paper").join(model).join(PLAIN));
    }
}

/// Section 5.1: from the base model, SFT and IFT learn the chosen answers and as many
/// conversations, other methods the pairs. Stages learn conversations, then pairs or their chosen
/// answers.
fn has_the_papers_data(base: &Recipe, first: &Recipe, second: &Recipe) {
    let chats = Path::new("data/ultrachat_200k");
    let [chat] = &first.data.train[..] else { panic!("one source: {:?}", first.data.train) };
    assert_eq!(
        (chat.path.as_path(), chat.split.as_deref(), chat.weight),
        (chats, Some("train_sft"), None)
    );
    let [pairs] = &second.data.train[..] else { panic!("one source: {:?}", second.data.train) };
    assert!(pairs.path.to_str().unwrap().contains("ultrafeedback"), "{}", pairs.path.display());
    assert_eq!((&base.data.eval, pairs.weight), (&second.data.eval, None));
    let alone = matches!(base.method, Method::Sft(_) | Method::Ift(_));
    match &base.data.train[..] {
        [both, more] if alone => {
            assert_eq!(
                (both, more.path.as_path(), more.split.as_deref(), more.weight),
                (pairs, chats, Some("train_sft"), None)
            );
        }
        [only] if !alone => assert_eq!(only, pairs),
        other => panic!("{:?}: {other:?}", base.method),
    }
}

/// Table 4 and Appendix B.1; values that they do not give are those of the authors' program.
fn has_the_papers_settings(run: &Recipe, name: &str) {
    assert_eq!(run.method, published(name));
    let train = &run.train;
    assert_eq!(
        (train.epochs, train.steps, train.rows_per_step, train.seed),
        (3, None, 512, 0),
        "{name}"
    );
    assert!(matches!(run.optimizer, Optimizer::Rmsprop(_)), "{name}: {:?}", run.optimizer);
    assert_eq!((run.optimizer.lr(), run.optimizer.clip()), (5e-7, 10.0), "{name}");
    assert_eq!(
        (run.schedule.name, run.schedule.warmup_steps(1000)),
        (Curve::Cosine, 100),
        "{name}"
    );
    assert_eq!((run.schedule.final_ratio, run.data.max_length), (0.0, 1024), "{name}");
    assert_eq!(run.data.over_length, OverLength::Truncate, "{name}");
    assert_eq!(run.data.template.as_deref(), Some("zephyr"), "{name}");
    // A rounded checkpoint would lose the small updates before the next stage.
    assert_eq!(run.checkpoint.number, SaveAs::F32, "{name}");
    assert!(run.train.recompute && run.adapter.is_none(), "{name}");
}

/// The methods with the paper's coefficients, whatever the program's defaults are.
fn published(name: &str) -> Method {
    let ift =
        Ift { lambda: 0.2, gamma: 0.95, lambda_schedule: LambdaSchedule::Fixed, ..Ift::default() };
    match name {
        "sft" => Method::Sft(Sft { freeze_input_embeddings: true, ..Sft::default() }),
        PLAIN => Method::Sft(Sft::default()),
        "dpo" => Method::Dpo(Dpo { beta: 0.1, label_smoothing: 0.0, reference_free: false }),
        "tdpo" => Method::Tdpo2(Tdpo2 { beta: 0.1, alpha: 0.5 }),
        "orpo" => Method::Orpo(Orpo { beta: 0.25 }),
        "simpo" => Method::Simpo(Simpo { beta: 2.0, gamma_beta_ratio: 0.8 }),
        "ift" => Method::Ift(ift),
        "ift-noisy" => {
            Method::Ift(Ift { lambda_schedule: LambdaSchedule::Noisy, sigma: 0.5, ..ift })
        }
        other => panic!("{other}"),
    }
}

/// What differs between the runs of the paper, one line for each: the recipe, its stage, `data.bos`
/// for each of [`MODELS`] (`-` if it has no such recipe), `data.targets`, `checkpoint.number`, how
/// many records of `UltraChat` it reads, and whether input embeddings are trained.
const RUNS: &str = "\
dpo                 1  always never  never   assistant  f32  -      trained
ift                 1  always always always  assistant  f32  61136  constant
ift-bf16            1  -      -      always  assistant  bf16 61136  constant
ift-noisy           1  always always always  assistant  f32  61136  constant
orpo                1  always always always  assistant  f32  -      trained
sft                 1  always always always  assistant  f32  61136  constant
sft-then-dpo        1  always always always  assistant  f32  all    trained
sft-then-dpo        2  always never  never   assistant  f32  -      trained
sft-then-ift        1  always always always  assistant  f32  all    trained
sft-then-ift        2  always always always  assistant  f32  -      constant
sft-then-ift-noisy  1  always always always  assistant  f32  all    trained
sft-then-ift-noisy  2  always always always  assistant  f32  -      constant
sft-then-orpo       1  always always always  assistant  f32  all    trained
sft-then-orpo       2  always always always  assistant  f32  -      trained
sft-then-sft        1  always always always  assistant  f32  all    trained
sft-then-sft        2  always always always  assistant  f32  -      constant
sft-then-simpo      1  always always always  assistant  f32  all    trained
sft-then-simpo      2  always never  never   assistant  f32  -      trained
sft-then-tdpo       1  always always always  assistant  f32  all    trained
sft-then-tdpo       2  always never  never   assistant  f32  -      trained
simpo               1  always never  never   assistant  f32  -      trained
tdpo                1  always never  never   assistant  f32  -      trained
sft-plain           1  always always always  assistant  f32  61136  trained
";

#[test]
fn runs_differ_only_as_listed() {
    let mut expected = Vec::new();
    for line in RUNS.lines() {
        let words: Vec<_> = line.split_whitespace().collect();
        let [name, stage, gemma, llama, mistral, rest @ ..] = &words[..] else { panic!("{line}") };
        let of_models = MODELS.iter().zip([gemma, llama, mistral]);
        for (model, bos) in of_models.filter(|(_, bos)| **bos != "-") {
            expected.push(format!("{model}/{name} {stage} {bos} {}", rest.join(" ")));
        }
    }
    let mut found = Vec::new();
    for path in recipes(&folder().join("paper")) {
        let recipe = read(&path);
        let stages: Vec<_> = recipe.stages().unwrap().into_iter().map(|s| s.recipe).collect();
        let runs = if stages.is_empty() { vec![recipe] } else { stages };
        let model = path.parent().unwrap().file_name().unwrap().to_str().unwrap();
        let name = path.file_stem().unwrap().to_str().unwrap();
        let lines =
            (1..).zip(&runs).map(|(stage, run)| format!("{model}/{name} {stage} {}", line(run)));
        found.extend(lines);
    }
    expected.sort();
    found.sort();
    assert_eq!(found.join("\n"), expected.join("\n"));
}

/// A run as a line of [`RUNS`] describes it.
fn line(run: &Recipe) -> String {
    let bos = match run.data.bos {
        Bos::Auto => "auto",
        Bos::Always => "always",
        Bos::Never => "never",
    };
    let targets = match run.data.targets {
        Targets::Assistant => "assistant",
        Targets::Last => "last",
    };
    let number = match run.checkpoint.number {
        SaveAs::F32 => "f32",
        SaveAs::Bf16 => "bf16",
        _ => "another",
    };
    let chats = run.data.train.iter().find(|source| source.path.ends_with("ultrachat_200k"));
    let records = match chats.map(|source| source.max_records) {
        Some(Some(count)) => count.to_string(),
        Some(None) => "all".to_owned(),
        None => "-".to_owned(),
    };
    let inputs = if run.method.trains_input_embeddings() { "trained" } else { "constant" };
    format!("{bos} {targets} {number} {records} {inputs}")
}

#[test]
fn the_recipe_with_bf16_weights_differs_in_nothing_else() {
    let folder = folder().join("paper/mistral-7b");
    let exact = read(&folder.join("ift.toml"));
    let rounded = read(&folder.join(format!("{BF16}.toml")));
    assert!(matches!(rounded.optimizer, Optimizer::RmspropBf16(_)));
    let settings = |run: &Recipe| (run.optimizer.lr(), run.optimizer.clip());
    assert_eq!(settings(&rounded), settings(&exact));
    let Recipe { optimizer, checkpoint, output, .. } = exact.clone();
    let rounded = Recipe { optimizer, checkpoint, output, ..rounded };
    assert_eq!(format!("{rounded:?}"), format!("{exact:?}"));
}

#[test]
fn the_authors_empty_system_turn_is_a_template() {
    let tokenizer = |template: PathBuf| {
        let template = Some(template.to_str().unwrap().to_owned());
        let settings = TemplateSettings { template, ..TemplateSettings::default() };
        ChatTokenizer::from_folder(&folder().join("../models/quickstart"), &settings).unwrap()
    };
    let theirs = tokenizer(folder().join("paper/empty-system.jinja"));
    let zephyr = tokenizer("zephyr".into());
    let turns = [Message::new("user", "What comes after Tuesday?"), Message::new("assistant", "A")];
    let of = |turns: &[Message]| Conversation::from(turns.to_vec());
    for system in ["", "Be brief."] {
        let with = [&[Message::new("system", system)], &turns[..]].concat();
        let expected = zephyr.encode_with_targets(&of(&with), Targets::Assistant).unwrap();
        assert_eq!(theirs.encode_with_targets(&of(&with), Targets::Assistant).unwrap(), expected);
        if system.is_empty() {
            let found = theirs.encode_with_targets(&of(&turns), Targets::Assistant).unwrap();
            assert_eq!(found, expected);
        }
    }
}

#[test]
fn the_quickstart_model_can_be_created() {
    let here = Folder::new();
    // The real text is generated by an example; any text will do for the shape of the model.
    fs::create_dir_all(here.path("data/quickstart")).unwrap();
    here.write("data/quickstart/pretrain.jsonl", "{\"text\":\"The baker makes bread.\"}\n");
    let path = folder().join(FRESH);
    let sets = ["--set", "model.num_hidden_layers=1", "--set", "tokenizer.vocab_size=264"];
    here.ift(&[&["new", path.to_str().unwrap()], &sets[..]].concat()).done();
    assert_eq!(here.json("runs/quickstart-model/config.json")["hidden_size"], 160);
}
