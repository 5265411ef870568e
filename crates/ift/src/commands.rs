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

use anyhow::Result;

use crate::{arguments::Command, output::Output};

impl Command {
    /// Runs the subcommand.
    pub(crate) fn run(self, output: Output) -> Result<()> {
        match self {
            Self::Train(arguments) => train::run(&arguments, output),
            Self::Generate(arguments) => generate::run(arguments, output),
            Self::Merge(arguments) => merge::run(&arguments, output),
            Self::New(arguments) => new::run(&arguments, output),
            Self::Gradients(arguments) => gradients::run(arguments, output),
            Self::Bench(arguments) => bench::run(arguments, output),
            Self::Lake(arguments) => lake::run(&arguments, output),
            Self::Schema(arguments) => schema::run(&arguments, output),
        }
    }
}
