//! The one place that prints.
//!
//! Results go to standard output, everything else to standard error, so that results can be piped.
//! A reader that closes its end early is no error.

use std::{
    env,
    io::{self, IsTerminal, Write},
    process::ExitCode,
};

/// Where and how the program speaks.
#[derive(Clone, Copy, Debug)]
pub struct Output {
    quiet: bool,
    json: bool,
    colour: bool,
}

impl Output {
    /// Output to this process's streams; colour only on a terminal and without `NO_COLOR` in the
    /// environment.
    pub fn new(quiet: bool, json: bool) -> Self {
        Self { quiet, json, colour: !refuses_colour() && io::stderr().is_terminal() }
    }

    /// Whether results are to be JSON.
    pub fn json(self) -> bool {
        self.json
    }

    /// Whether a progress bar may be drawn: on a terminal, unless quiet.
    pub fn progress(self) -> bool {
        !self.quiet && io::stderr().is_terminal()
    }

    /// Whether results go to a terminal, where they may be painted and drawn over.
    pub fn screen(self) -> bool {
        io::stdout().is_terminal() && !refuses_colour()
    }

    /// A result, to standard output, with a line end.
    ///
    /// # Errors
    /// What the stream reports, except that its reader has gone.
    pub fn result(self, text: &str) -> io::Result<()> {
        match writeln!(io::stdout().lock(), "{text}") {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            done => done,
        }
    }

    /// A piece of a result, to standard output at once, without a line end.
    ///
    /// # Errors
    /// As [`Output::result`].
    pub fn piece(self, text: &str) -> io::Result<()> {
        let mut stdout = io::stdout().lock();
        match write!(stdout, "{text}").and_then(|()| stdout.flush()) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            done => done,
        }
    }

    /// A remark on what is going on, to standard error; left out when quiet.
    pub fn note(self, text: &str) {
        if !self.quiet {
            say(text);
        }
    }

    /// Errors as [`crate::report`] words them, to standard error, `error:` and `help:` in colour.
    pub fn error(self, report: &str) {
        if !self.colour {
            return say(report);
        }
        let lines: Vec<_> = report.lines().map(paint).collect();
        say(&lines.join("\n"));
    }
}

/// Prints help, version or a usage error as `clap` words it, and gives its exit code: 0 or 2.
pub(crate) fn usage(answer: &clap::Error) -> ExitCode {
    // When even the standard streams are closed, the exit code is all that can be said.
    let _ = answer.print();
    ExitCode::from(u8::try_from(answer.exit_code()).unwrap_or(1))
}

/// A remark from outside of any command's flow: the answer to Ctrl-C.
pub(crate) fn interrupt(text: &str) {
    say(text);
}

/// <https://no-color.org>: set and not empty.
fn refuses_colour() -> bool {
    env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
}

fn say(text: &str) {
    // When standard error is closed there is no one left to tell.
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// The label at the start of a line in bold red or cyan.
fn paint(line: &str) -> String {
    for (label, colour) in [("error:", "\x1b[1;31m"), ("  help:", "\x1b[1;36m")] {
        if let Some(rest) = line.strip_prefix(label) {
            return format!("{colour}{label}\x1b[0m{rest}");
        }
    }
    line.to_owned()
}

#[cfg(test)]
mod tests {
    use super::paint;

    #[test]
    fn labels_are_painted_and_nothing_else() {
        assert_eq!(paint("error: x"), "\x1b[1;31merror:\x1b[0m x");
        assert_eq!(paint("  help: y"), "\x1b[1;36m  help:\x1b[0m y");
        assert_eq!(paint("  cause: error: z"), "  cause: error: z");
    }
}
