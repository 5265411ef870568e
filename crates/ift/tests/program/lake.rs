//! `ift lake`: files and tables of the study, own maps, and messages about mistakes.

use std::path::Path;

use ift::load_recipe;
use ift_lake::StudySettings;
use insta::assert_snapshot;

use crate::common::Folder;

/// A study that takes seconds.
const STUDY: &str = "\
maps = ['4x4']
ice = ['solid']
starts = ['random']
suboptimal = ['hole']
seeds = 3
methods = [
    { name = 'sft' },
    { name = 'ift' },
    { name = 'orpo' },
    { name = 'dpo', beta = 0.3 },
    { name = 'dpo' },
]
training = { steps = 40, sft_steps = 10, fit_steps = 200, hidden = 8 }
ppo = { episodes = 4 }
sweep = { lambda = [0.0, 0.5], gamma = [0.9] }
output = 'study'
";

fn folder() -> Folder {
    let folder = Folder::new();
    folder.write("study.toml", STUDY);
    folder
}

#[test]
fn a_study_leaves_numbers_tables_and_pictures() {
    let folder = folder();
    let said = folder.ift(&["lake", "study.toml"]).done();
    for line in
        ["4x4, solid ice, from random weights", "dpo beta=0.3", "ppo", "optimum", "random, hole"]
    {
        assert!(said.contains(line), "{line}: {said}");
    }
    let files = [
        "comparisons.csv",
        "groups.csv",
        "pictures",
        "report.json",
        "runs.csv",
        "study.toml",
        "summary.csv",
        "verdicts.csv",
    ];
    assert_eq!(folder.names("study"), files);
    let pictures = [
        "alignment-4x4-random-hole",
        "bars-4x4-random-hole",
        "curves-4x4-random-hole",
        "grids-4x4-random-hole",
        "overview",
        "sweep-4x4-random-gamma",
        "sweep-4x4-random-lambda",
    ];
    let names = pictures.iter().flat_map(|name| [format!("{name}.png"), format!("{name}.svg")]);
    assert_eq!(folder.names("study/pictures"), names.collect::<Vec<_>>());
    // One line for each policy: five methods and PPO, three seeds.
    assert_eq!(folder.text("study/runs.csv").lines().count(), 1 + 6 * 3);
    assert_eq!(folder.text("study/summary.csv").lines().count(), 1 + 6);
    assert_eq!(folder.text("study/comparisons.csv").lines().count(), 1 + 15);
    // Eight measures of the first claim and four of the second, with three relations each.
    let verdicts = folder.text("study/verdicts.csv");
    assert_eq!(verdicts.lines().count(), 1 + (8 + 4) * 3);
    assert!(verdicts.contains("\nseed,3,4x4,random,hole,distance,fitted,dpo,ift,"), "{verdicts}");
    assert_eq!(folder.text("study/groups.csv").lines().count(), 1, "one map is no group");
    let report = folder.json("study/report.json");
    assert_eq!(report["seeds"], 3);
    assert_eq!(report["worlds"][0]["scenes"][0]["verdicts"].as_array().unwrap().len(), 12);
    let learners = report["worlds"][0]["scenes"][0]["learners"].as_array().unwrap();
    let labels: Vec<_> =
        learners.iter().map(|learner| learner["label"].as_str().unwrap()).collect();
    assert_eq!(labels, ["sft", "ift", "orpo", "dpo beta=0.3", "dpo", "ppo"]);
    // The resolved recipe gives the same study.
    folder.ift(&["lake", "study/study.toml", "--set", "output=again", "--set", "threads=1"]).done();
    for name in
        ["report.json", "runs.csv", "pictures/overview.png", "pictures/grids-4x4-random-hole.svg"]
    {
        assert_eq!(
            folder.bytes(&format!("study/{name}")),
            folder.bytes(&format!("again/{name}")),
            "{name}"
        );
    }
    let other = [
        "lake",
        "study.toml",
        "--set",
        "output=other",
        "--set",
        "seed=7",
        "--set",
        "pictures=false",
        "--json",
    ];
    let other = folder.ift(&other).json();
    assert_ne!(other["worlds"][0]["scenes"], report["worlds"][0]["scenes"]);
    assert!(folder.exists("other/runs.csv") && !folder.exists("other/pictures"));
}

#[test]
fn claims_are_counted_over_scenes_and_over_maps() {
    let folder = folder();
    folder.write("pond.txt", "SFF\nFHF\nFFG\n");
    let sets = [
        "maps=['4x4', '8x8', 'pond.txt']",
        "ice=['solid', 'slippery']",
        "suboptimal=['hole', 'own']",
        "sweep={ lambda = [], gamma = [] }",
        "seeds=2",
        "pictures=false",
    ];
    let sets: Vec<_> = sets.iter().flat_map(|set| ["--set", set]).collect();
    let said = folder.ift(&[&["lake", "study.toml"], &sets[..]].concat()).done();
    for line in [
        "Claim: distance, in each scene, over 2 seeds",
        "Measure: mean squared error × 1000 from a network fitted to the optimum (`fitted`)",
        "Claim: alignment, over maps, each with its mean over the seeds",
        "8x8-slippery",
        "listed-slippery, 3 maps",
        "Claim distance, scenes: ",
        "Claim alignment, groups of maps: ",
    ] {
        assert!(said.lines().any(|found| found.starts_with(line)), "{line}: {said}");
    }
    // What is said about many maps stands above what is said about each.
    let claims = said.lines().filter(|line| line.starts_with("Claim: "));
    let over_maps: Vec<_> = claims.map(|line| line.contains("over maps")).collect();
    assert_eq!(over_maps, [true, true, false, false], "{said}");
    // Two claims, with a line for each of twelve scenes and of four groups.
    assert_eq!(said.lines().filter(|line| line.starts_with("  random, ")).count(), 2 * (12 + 4));
    let claims = said.split_once("\nThe paper").unwrap().1;
    assert!(claims.lines().all(|line| line.chars().count() <= 120), "{claims}");
    assert_eq!(folder.text("study/groups.csv").lines().count(), 1 + 4 * 6);
    let verdicts = folder.text("study/verdicts.csv");
    assert_eq!(verdicts.lines().count(), 1 + (12 + 4) * (8 + 4) * 3);
    assert!(
        verdicts.contains("\nmap,3,listed-slippery,random,own,alignment,aligned_cells,orpo,sft,"),
        "{verdicts}"
    );
    let groups = &folder.json("study/report.json")["groups"];
    assert_eq!(groups[0]["name"], "listed-random-hole");
    assert_eq!(
        groups[3]["worlds"],
        serde_json::json!(["4x4-slippery", "8x8-slippery", "pond-slippery"])
    );
    // A method with other settings is tested if it is not there with its defaults.
    let methods = "methods=[{name='ift', gamma=0.5}, {name='sft'}, {name='dpo'}, {name='orpo'}]";
    let said = folder
        .ift(&[&["lake", "study.toml"], &sets[..], &["--set", methods, "--overwrite"]].concat());
    assert!(said.done().contains("\nHere ift is `ift gamma=0.5`.\n"));
    assert!(folder.text("study/verdicts.csv").contains(",alignment,aligned,dpo,ift gamma=0.5,"));
    // Without one of the methods there is nothing to test.
    let methods = ["--set", "methods=[{ name = 'ift' }, { name = 'sft' }]", "--overwrite"];
    let said = folder.ift(&[&["lake", "study.toml"], &sets[..], &methods].concat()).done();
    assert!(said.contains("claims are not tested: they need the methods dpo, ift,"), "{said}");
    assert_eq!(folder.text("study/verdicts.csv").lines().count(), 1);
}

#[test]
fn equal_methods_are_not_ordered_and_long_output_is_cut() {
    let folder = folder();
    // With λ = γ = 0, IFT is SFT.
    let sets = [
        "methods=[{name='sft'}, {name='ift', lambda=0, gamma=0}, {name='orpo'}, {name='dpo'}]",
        "maps=['4x4', '8x8']",
        "ice=['solid', 'slippery']",
        "starts=['random', 'sft', 'both']",
        "suboptimal=['hole', 'own']",
        "sweep={ lambda = [], gamma = [] }",
        "seeds=2",
        "pictures=false",
    ];
    let sets = sets.iter().flat_map(|set| ["--set", set]);
    let said =
        folder.ift(&["lake", "study.toml"].into_iter().chain(sets).collect::<Vec<_>>()).done();
    assert!(said.contains("ift = sft") || said.contains("sft = ift"), "{said}");
    assert!(!said.contains("ift < sft") && !said.contains("sft < ift"), "{said}");
    assert!(said.contains(" 0.0 ± 0.0") && !said.contains("-0.0"), "{said}");
    // Tables of eight of twelve worlds and starts.
    assert_eq!(said.matches("\noptimum ").count(), 8);
    assert!(said.contains("4x4-slippery, slippery ice, after SFT\n"), "{said}");
    assert!(said.contains("Not shown: 4 more tables"), "{said}");
    // Only the start `both` has tables if there is no other, and no sweeps.
    let both = ["--set", "starts=['both']", "--set", "suboptimal=['hole']", "--overwrite"];
    let answer = folder.ift(&[&["lake", "study.toml"], &both[..]].concat());
    let note = "nothing is swept, because `sweep.starts` lists none of `starts`";
    assert!(answer.stderr.contains(note), "{}", answer.stderr);
    let said = answer.done();
    assert!(said.contains("4x4, solid ice, from a policy fitted to both trajectories (hole)"));
    assert!(!said.contains("Not shown"), "{said}");
}

#[test]
fn one_seed_has_no_interval_and_many_scenes_are_only_counted() {
    let folder = folder();
    let sets = [
        "maps=['random']",
        "random={ size = 4, count = 8 }",
        "ice=['solid', 'slippery']",
        "starts=['random', 'sft']",
        "suboptimal=['hole', 'own']",
        "training={ steps = 2, sft_steps = 2, fit_steps = 2, hidden = 4 }",
        "sweep={ lambda = [], gamma = [] }",
        "seeds=1",
        "pictures=false",
    ];
    let sets: Vec<_> = sets.iter().flat_map(|set| ["--set", set]).collect();
    let said = folder.ift(&[&["lake", "study.toml"], &sets[..]].concat()).done();
    let (distances, claims) = said.split_once("\nThe paper").unwrap();
    assert!(distances.contains("of 1 seed, without intervals, closest first"), "{said}");
    assert!(!distances.contains('±') && !said.contains("1 seeds"), "{said}");
    // Groups of eight maps have intervals.
    assert_eq!(claims.matches("\n  random, ").count(), 2 * 2 * 2);
    assert_eq!(claims.matches("\nClaim: ").count(), 2, "{claims}");
    assert!(claims.contains("\nThe 64 scenes are too many to be printed; `verdicts.csv` has"));
    assert!(claims.contains("\nClaim distance, scenes: 0 of 64 confirm it, "), "{claims}");
    assert_eq!(folder.text("study/verdicts.csv").lines().count(), 1 + (64 + 8) * (8 + 4) * 3);
    let few = ["--set", "random.count=1", "--overwrite"];
    let said = folder.ift(&[&["lake", "study.toml"], &sets[..], &few].concat()).done();
    assert!(said.contains("\nClaim: distance, in each scene, over 1 seed\n"), "{said}");
    let claims = said.split_once("\nClaim: ").unwrap().1;
    assert!(!claims.contains('±') && !claims.contains("1 seeds"), "{claims}");
}

#[test]
fn means_over_no_states_are_absent() {
    let folder = folder();
    folder.write("row.txt", "SFG\n");
    let sets = ["maps=['row.txt']", "suboptimal=['own']"];
    let sets: Vec<_> = sets.iter().flat_map(|set| ["--set", set]).collect();
    let said = folder.ift(&[&["lake", "study.toml"], &sets[..]].concat()).done();
    assert!(!said.contains("NaN"), "{said}");
    for name in ["runs.csv", "summary.csv"] {
        let text = folder.text(&format!("study/{name}"));
        let mut lines = text.lines().map(|line| line.split(',').collect::<Vec<_>>());
        let header = lines.next().unwrap();
        let of = |measure: &str| header.iter().position(|name| *name == measure).unwrap();
        let (all, on, off) = (of("mse"), of("mse_on"), of("mse_off"));
        for line in lines {
            assert!(line[all] == line[on] && line[all].parse::<f64>().is_ok(), "{name}: {line:?}");
            assert_eq!(line[off], "", "{name}");
        }
    }
    let report = folder.json("study/report.json");
    let estimates = &report["worlds"][0]["scenes"][0]["learners"][0]["estimates"];
    assert_eq!(estimates["mse"], estimates["mse_on"]);
    assert!(estimates["mse"]["mean"].is_number());
    assert_eq!(estimates["kl_off"], serde_json::json!({ "mean": null, "half_width": null }));
}

#[test]
fn diverged_learners_are_reported() {
    let folder = folder();
    let sets = [
        "training.optimizer=sgd",
        "training.lr=1e3",
        "methods=[{name='sft'}, {name='ipo'}]",
        "pictures=false",
    ];
    let sets = sets.iter().flat_map(|set| ["--set", set]);
    let said =
        folder.ift(&["lake", "study.toml"].into_iter().chain(sets).collect::<Vec<_>>()).done();
    assert!(said.contains("ipo diverged in 100.0 % of its runs"), "{said}");
    assert!(!said.contains("NaN"), "{said}");
}

#[test]
fn only_a_study_is_replaced_and_only_with_overwrite() {
    let folder = folder();
    folder.ift(&["lake", "study.toml", "--quiet"]).done();
    let before = folder.bytes("study/runs.csv");
    let again = ["lake", "study.toml", "--set", "seed=1"];
    assert!(
        folder.ift(&again).refused(1).contains("`study` exists already; `--overwrite` replaces it")
    );
    assert_eq!(folder.bytes("study/runs.csv"), before);
    folder.ift(&[&again[..], &["--overwrite"]].concat()).done();
    assert_ne!(folder.bytes("study/runs.csv"), before);
    let here = folder.ift(&["lake", "study.toml", "--set", "output=.", "--overwrite"]).refused(1);
    assert!(here.contains("is not an earlier study"), "{here}");
    assert!(folder.exists("study.toml"));
}

#[test]
fn the_recipe_in_the_repository_spells_out_the_defaults() {
    let recipe = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../recipes/lake.toml");
    assert_eq!(load_recipe::<StudySettings>(&recipe, &[]).unwrap(), StudySettings::default());
}

#[test]
fn own_and_random_maps() {
    let folder = folder();
    folder.write("pond.txt", "SFF\nFHF\nFFG\n");
    folder
        .ift(&[
            "lake",
            "study.toml",
            "--set",
            "maps=['pond.txt', 'random']",
            "--set",
            "random.size=5",
        ])
        .done();
    let report = folder.json("study/report.json");
    assert_eq!(report["worlds"][0]["name"], "pond");
    assert_eq!(report["worlds"][0]["map"], serde_json::json!(["SFF", "FHF", "FFG"]));
    assert_eq!(report["worlds"][1]["name"], "random-5x5-0");
    assert_eq!(report["worlds"][1]["map"].as_array().unwrap().len(), 5);
}

#[test]
fn random_maps_that_are_left_out_are_named() {
    let folder = folder();
    let random = "random={ size = 4, frozen = 0.7, seed = 10, count = 2 }";
    let sets = ["maps=['random']", random, "suboptimal=['longer', 'hole']", "pictures=false"];
    let sets: Vec<_> = sets.iter().flat_map(|set| ["--set", set]).collect();
    let answer = folder.ift(&[&["lake", "study.toml"], &sets[..]].concat());
    let note = "random maps: seed 10 was left out, which fails with seed 0 of the study: map \
                `random-4x4-10`, solid ice: no sub-optimal trajectory of kind `longer` in ";
    assert_eq!(answer.code, Some(0));
    assert!(answer.stderr.lines().any(|line| line.starts_with(note)), "{}", answer.stderr);
    let random = "random={ size = 2, frozen = 0.5, count = 3 }";
    let sets = ["maps=['random']", random, "suboptimal=['own']", "pictures=false", "output='few'"];
    let sets: Vec<_> = sets.iter().flat_map(|set| ["--set", set]).collect();
    let answer = folder.ift(&[&["lake", "study.toml"], &sets[..]].concat());
    let note = " of them repeat a map that is used";
    assert!(answer.code == Some(0) && answer.stderr.contains(note), "{}", answer.stderr);
}

#[test]
fn mistakes_are_named_and_leave_nothing() {
    let folder = folder();
    folder.write("square.txt", "SFF\nFXF\nFFG\n");
    folder.write("short.txt", "SFF\nFF\nFFG\n");
    folder.write("shut.txt", "SHF\nHFF\nFFG\n");
    folder.write("corridor.txt", "SFFG\n");
    std::fs::write(folder.path("binary.txt"), [b'S', 0xff, b'G']).unwrap();
    let designed = "name = 'x', optimal = 'R', suboptimal = 'L'";
    let of_square = format!("designed=[{{ map = 'square.txt', {designed} }}]");
    folder.write("pond.txt", "SFF\nFHF\nFFG\n");
    std::fs::create_dir(folder.path("other")).unwrap();
    folder.write("other/pond.txt", "SFF\nFFF\nFHG\n");
    for (set, code, words) in [
        ("maps=['none.txt']", 2, "cannot read the map `none.txt`"),
        ("maps=['square.txt']", 2, "square.txt, line 2: "),
        ("maps=['short.txt']", 2, "short.txt, line 2: "),
        ("maps=['shut.txt']", 2, "shut.txt"),
        ("maps=['binary.txt']", 2, "cannot read the map `binary.txt`"),
        (&of_square, 2, "`designed.0.map` is a file that is not a map: square.txt, line 2: "),
        ("maps=[\"a\\u001b[1m\\u0000\"]", 2, "cannot read the map `a\\u{1b}[1m\\0`"),
        ("rewards.goal=1e308", 2, "`rewards.goal` is 1e308, expected"),
        ("sweep.starts=['both']", 2, "`sweep.starts` has no effect"),
        ("maps=['corridor.txt']", 1, "no sub-optimal trajectory of kind `hole`"),
        ("maps=[]", 2, "`maps` is empty, expected at least one entry, or a `[[designed]]` map"),
        (
            "maps=['pond.txt', 'other/pond.txt']",
            2,
            "`maps` has two worlds called `pond`, of the entries `pond.txt` and `other/pond.txt`; \
             rename",
        ),
        ("maps=['4x4', '4x4']", 2, "`maps` has the same entry twice"),
        ("seeds=0", 2, "`seeds`"),
        ("discount=1", 2, "`discount`"),
        ("noise=nan", 2, "`noise`"),
        ("training.lr=inf", 2, "`training.lr`"),
        ("rewards.goal=nan", 2, "`rewards.goal`"),
        ("rewards.goal=0", 2, "`rewards.goal` is 0.0, with 0.0 for a hole and 0.0 for other moves"),
        ("rewards={ goal = 1, hole = 2 }", 2, "expected a number above `rewards.hole`"),
        ("threads=1025", 2, "`threads`"),
        ("output=''", 1, "`output` is empty"),
        ("sweep.lambda=[2]", 2, "`sweep.lambda` has 2"),
        ("ice=['wet']", 2, "`ice.0`"),
        ("methods=[{name='itf'}]", 2, "did you mean \"ift\"?"),
        ("methods=[{name='ift', k=3}]", 2, "`methods.0.k`"),
        ("methods=[{name='ift', look_ahead='topk', k=5}]", 2, "there are four actions"),
        ("methods=[{name='sft', freeze_input_embeddings=true}]", 2, "no input embeddings"),
        ("ppo.epochs=0", 2, "`ppo.epochs`"),
        ("sedes=3", 2, "did you mean `seeds`?"),
    ] {
        let said = folder.ift(&["lake", "study.toml", "--set", set]).refused(code);
        assert!(said.starts_with("error: ") && said.contains(words), "{set}: {said}");
        assert!(!folder.exists("study"), "{set}");
    }
}

#[test]
fn a_policy_is_watched_move_by_move() {
    let folder = folder();
    let optimum = ["lake", "study.toml", "--watch=optimum", "--episodes", "1"];
    assert_snapshot!("lake_watch", folder.ift(&optimum).done());
    let ift = folder.ift(&["lake", "study.toml", "--watch", "--episodes", "2"]).done();
    assert!(
        ift.starts_with(
            "ift on 4x4: trained from random weights; seed 0\n\nift on 4x4, episode 1, step 0\n"
        ) && ift.contains("of 2 episodes reached the goal"),
        "{ift}"
    );
    assert_eq!(ift, folder.ift(&["lake", "study.toml", "--watch=ift", "--episodes", "2"]).done());
    let told =
        folder.ift(&["lake", "study.toml", "--watch=optimum", "--episodes", "2", "--json"]).json();
    assert_eq!((&told["world"], &told["arrived"]), (&"4x4".into(), &2.into()));
    assert!(told["start"].is_null() && told["suboptimal"].is_null() && told["seed"] == 0);
    let dpo = ["lake", "study.toml", "--watch=dpo", "--set", "seed=7", "--set", "starts=['sft']"];
    let said = folder.ift(&dpo).done();
    let first =
        "dpo on 4x4: trained after SFT, rejecting a trajectory that ends in a hole; seed 7\n";
    assert!(said.starts_with(first), "{said}");
    assert_eq!(told["episodes"][1]["visits"].as_array().unwrap().len(), 6);
    let told = folder.ift(&[&dpo[..], &["--json"]].concat()).json();
    assert_eq!((&told["start"], &told["suboptimal"]), (&"sft".into(), &"hole".into()));
    assert_eq!(told["seed"], 7);
    let unknown = folder.ift(&["lake", "study.toml", "--watch=dqn"]).refused(2);
    assert!(unknown.contains("no policy `dqn`") && unknown.contains("`dpo beta=0.3`"), "{unknown}");
    assert!(!folder.exists("study"));
}
