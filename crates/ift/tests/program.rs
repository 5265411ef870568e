//! The program as a whole: exit codes and where it speaks.

use assert_cmd::Command;

fn ift(arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_ift")).args(arguments).output();
    output.map_or_else(
        |error| (None, String::new(), error.to_string()),
        |output| {
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            (output.status.code(), text(&output.stdout), text(&output.stderr))
        },
    )
}

#[test]
fn version_and_help_are_results() {
    let (code, stdout, stderr) = ift(&["--version"]);
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    assert_eq!(stdout, format!("ift {}\n", env!("CARGO_PKG_VERSION")));
    let (code, stdout, _) = ift(&["--help"]);
    assert_eq!(code, Some(0));
    assert!(stdout.contains("--quiet") && stdout.contains("--json"), "{stdout}");
}

#[test]
fn wrong_usage_is_2_and_names_the_word() {
    let (code, stdout, stderr) = ift(&["--quite"]);
    assert_eq!((code, stdout.as_str()), (Some(2), ""));
    assert!(stderr.starts_with("error: ") && stderr.contains("'--quite'"), "{stderr}");
    assert!(stderr.contains("'--quiet'"), "{stderr}");
    assert_eq!(ift(&[]).0, Some(2));
}
