//! Messages and exit codes of errors.

use std::process::ExitCode;

use ift_data::DataError;
use ift_lake::LakeError;
use ift_train::TrainError;

use crate::recipe_file::RecipeError;

/// The exit code of an error: 2 if the recipe, its overrides or a name on the command line are
/// wrong, 1 otherwise.
pub(crate) fn exit_code(error: &anyhow::Error) -> ExitCode {
    let recipe = error.chain().any(|cause| {
        let data = match cause.downcast_ref() {
            Some(TrainError::Data(error)) => Some(error),
            _ => cause.downcast_ref(),
        };
        cause.is::<RecipeError>()
            || matches!(data, Some(DataError::Config { .. }))
            || matches!(cause.downcast_ref(), Some(LakeError::Policy { .. }))
    });
    ExitCode::from(if recipe { 2 } else { 1 })
}

/// The text of an error: `error: …`, then a `cause:` line for each cause that adds information, and
/// a `help:` line if there is advice. A recipe has an `error:` line for each of its faults.
/// Control characters, which names of files and settings may have, are escaped.
pub fn report(error: &anyhow::Error) -> String {
    let keeps = |c: char| !c.is_control() || matches!(c, '\n' | '\t');
    let escaped = |c: char| {
        if keeps(c) { c.to_string() } else { c.escape_debug().to_string() }
    };
    worded(error).chars().map(escaped).collect()
}

fn worded(error: &anyhow::Error) -> String {
    if let Some(RecipeError::Fields { faults }) = error.downcast_ref() {
        return faults.iter().map(fault).collect::<Vec<_>>().join("\n");
    }
    let mut last = error.to_string();
    let mut lines = vec![format!("error: {last}")];
    for cause in error.chain().skip(1).map(ToString::to_string) {
        // Many errors repeat their source in their own message.
        if !last.contains(&cause) {
            lines.push(format!("  cause: {cause}"));
            last = cause;
        }
    }
    lines.join("\n")
}

fn fault(fault: &crate::recipe_file::Fault) -> String {
    let help = fault.help.as_ref().map(|help| format!("\n  help: {help}")).unwrap_or_default();
    format!("error: {fault}{help}")
}

#[cfg(test)]
mod tests {
    use anyhow::{Context, anyhow};

    use super::*;

    #[test]
    fn causes_that_repeat_the_message_are_left_out() {
        let error = Err::<(), _>(anyhow!("no such file"))
            .context("cannot open `x`: no such file")
            .context("the model cannot be read")
            .unwrap_err();
        assert_eq!(
            report(&error),
            "error: the model cannot be read\n  cause: cannot open `x`: no such file"
        );
        assert_eq!(format!("{:?}", exit_code(&error)), format!("{:?}", ExitCode::from(1)));
    }

    #[test]
    fn control_characters_are_escaped() {
        let error = anyhow!("no map `a\u{1b}[31m\0\r`").context("two\n\tlines");
        let expected = "error: two\n\tlines\n  cause: no map `a\\u{1b}[31m\\0\\r`";
        assert_eq!(report(&error), expected);
    }

    #[test]
    fn a_faulty_recipe_is_wrong_usage_in_any_context() {
        let error = RecipeError::Override { argument: "x".to_owned(), message: "y".to_owned() };
        let error = anyhow::Error::new(error).context("cannot train");
        assert_eq!(format!("{:?}", exit_code(&error)), format!("{:?}", ExitCode::from(2)));
        assert_eq!(report(&error), "error: cannot train\n  cause: `--set x`: y");
    }
}
