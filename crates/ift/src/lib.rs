//! The program: what was typed, what it means, and what is said about it.
//!
//! `arguments` holds what may be typed, `recipe_file` turns a recipe and its `--set` overrides into
//! settings, `commands` does the work, `failure` says what went wrong and with which exit code, and
//! `output` is the one place that prints. No crate below this one prints, exits or knows that there
//! is a terminal.

mod arguments;
mod commands;
mod failure;
mod output;
mod recipe_file;
mod schema_check;

use std::{ffi::OsString, process::ExitCode};

use arguments::Arguments;
use clap::Parser;
pub use failure::{exit_code, report};
pub use output::Output;
pub use recipe_file::{Fault, Place, RecipeError, RecipeFile, load_recipe};

/// Runs the program on its command line, the program's name first, and says how it ended: 0 done, 1
/// failed, 2 wrong usage or recipe.
pub fn run(command_line: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments = match Arguments::try_parse_from(command_line) {
        Ok(arguments) => arguments,
        Err(answer) => return output::usage(&answer),
    };
    let output = Output::new(arguments.output.quiet, arguments.output.json);
    match arguments.command.run(output) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            output.error(&report(&error));
            exit_code(&error)
        }
    }
}
