//! The `ift` program. The library of the same name holds its code.

use std::process::ExitCode;

fn main() -> ExitCode {
    ift::run(std::env::args_os())
}
