//! Help and error messages, word for word.

use insta::assert_snapshot;

use crate::common::Folder;

#[test]
fn version_and_help_are_results() {
    let folder = Folder::new();
    let answer = folder.ift(&["--version"]);
    assert_eq!((answer.code, answer.stderr.as_str()), (Some(0), ""));
    assert_eq!(answer.stdout, format!("ift {}\n", env!("CARGO_PKG_VERSION")));
    assert_snapshot!("help", folder.ift(&["--help"]).done());
    for command in ["train", "generate", "new", "gradients", "bench", "lake", "schema"] {
        assert_snapshot!(format!("help_{command}"), folder.ift(&[command, "--help"]).done());
    }
}

#[test]
fn wrong_usage_exits_with_2_and_names_the_argument() {
    let folder = Folder::new();
    assert_snapshot!("error_unknown_flag", folder.ift(&["--quite"]).refused(2));
    assert_snapshot!("error_unknown_command", folder.ift(&["tran", "recipe.toml"]).refused(2));
    assert_eq!(folder.ift(&[]).refused(2), folder.ift(&["--help"]).done());
}

#[test]
fn typical_mistakes() {
    let folder = Folder::ready_to_train();
    let train = |set: &str, code| {
        folder.ift(&["train", "recipe.toml", "--quiet", "--set", set]).refused(code)
    };
    assert_snapshot!("error_override", train("train.stpes=3", 2));
    assert_snapshot!("error_value", train("method.lambda=1.5", 2));
    assert_snapshot!("error_no_data", train("data.train=none.jsonl", 1));
    folder.write("broken.jsonl", &format!("{}{{\"messages\": 3}}\n", crate::common::CHATS));
    assert_snapshot!("error_broken_data", train("data.train=broken.jsonl", 1));
    folder.write(
        "faulty.toml",
        "[modl]\npath = 'base'\n[data]\ntrain = 3\n[method]\nname = 'ift'\nlamda = 1\n",
    );
    assert_snapshot!("error_recipe", folder.ift(&["train", "faulty.toml"]).refused(2));
    folder.ift(&["train", "recipe.toml", "--quiet", "--set", "train.steps=1"]).done();
    assert_snapshot!("error_output_in_use", train("train.steps=1", 1));
}
