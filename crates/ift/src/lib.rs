//! The `ift` program as a library: command line, recipe files, subcommands, printing, exit codes.
//!
//! `arguments` defines the command line. `recipe_file` turns a recipe and its `--set` overrides
//! into settings, which `schema_check` checks first; `place` says where a field was written.
//! `commands` has one file for each subcommand. `failure` words errors and chooses exit codes.
//! `signal` listens for Ctrl-C.
//! `output` is the only module that prints, and no crate below this one prints, exits or knows
//! about terminals.

mod arguments;
mod commands;
mod failure;
mod output;
mod place;
mod recipe_file;
mod schema_check;
mod signal;

use std::{ffi::OsString, process::ExitCode};

use clap::Parser;

use arguments::Arguments;
pub use failure::report;
pub use place::Place;
pub use recipe_file::{Fault, RecipeError, RecipeFile, load_recipe};

use failure::exit_code;
use output::Output;

/// Runs the program. The command line starts with the program's name.
///
/// The exit code is 0 for success, 1 for a failure, 2 for wrong usage or a wrong recipe, and 128
/// plus the number of the signal for a run that a signal stopped.
pub fn run(command_line: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments = match Arguments::try_parse_from(command_line) {
        Ok(arguments) => arguments,
        Err(answer) => return output::usage(&answer),
    };
    let output = Output::new(arguments.output.quiet, arguments.output.json);
    match arguments.command.run(output) {
        Ok(code) => code,
        Err(error) => {
            output.error(&report(&error));
            exit_code(&error)
        }
    }
}
