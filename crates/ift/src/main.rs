//! The `ift` program; see the library of the same name for what it does.

use std::process::ExitCode;

fn main() -> ExitCode {
    ift::run(std::env::args_os())
}
