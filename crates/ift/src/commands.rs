//! The subcommands, one file each.

mod backend;
mod bench;
mod generate;
mod gradients;
mod lake;
mod lake_claims;
mod lake_table;
mod lake_watch;
mod merge;
mod method;
mod new;
mod schema;
mod train;
mod train_report;

use std::process::ExitCode;

use anyhow::Result;

use crate::{arguments::Command, output::Output};

impl Command {
    /// Runs the subcommand. Returns the exit code, which is not 0 if a signal stopped it.
    pub(crate) fn run(self, output: Output) -> Result<ExitCode> {
        match self {
            Self::Train(arguments) => return train::run(&arguments, output),
            Self::Generate(arguments) => generate::run(arguments, output),
            Self::Merge(arguments) => merge::run(&arguments, output),
            Self::New(arguments) => new::run(&arguments, output),
            Self::Gradients(arguments) => gradients::run(arguments, output),
            Self::Bench(arguments) => bench::run(arguments, output),
            Self::Lake(arguments) => lake::run(&arguments, output),
            Self::Schema(arguments) => schema::run(&arguments, output),
        }
        .map(|()| ExitCode::SUCCESS)
    }
}
