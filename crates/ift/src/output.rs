//! The only module that prints.
//!
//! Results go to standard output, everything else to standard error, so that results can be piped.
//! It is not an error if the reader of a pipe closes it early.

use std::{
    env,
    io::{self, IsTerminal, Write},
    process::ExitCode,
};

/// The program's output streams and their settings.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    quiet: bool,
    json: bool,
    colour: bool,
}

#[expect(clippy::unused_self, reason = "printing needs an `Output`, even if no setting matters")]
impl Output {
    /// Output to this process's streams, in colour only on a terminal and if `NO_COLOR` is not set.
    pub(crate) fn new(quiet: bool, json: bool) -> Self {
        Self { quiet, json, colour: !refuses_colour() && io::stderr().is_terminal() }
    }

    /// Whether results are printed as JSON.
    pub(crate) fn json(self) -> bool {
        self.json
    }

    /// Whether to draw a progress bar: on a terminal, unless quiet.
    pub(crate) fn progress(self) -> bool {
        !self.quiet && io::stderr().is_terminal()
    }

    /// Whether results go to a terminal that may be coloured and redrawn.
    pub(crate) fn screen(self) -> bool {
        io::stdout().is_terminal() && !refuses_colour()
    }

    /// Prints a result and a newline to standard output.
    ///
    /// # Errors
    /// An error of the stream other than a closed pipe.
    pub(crate) fn result(self, text: &str) -> io::Result<()> {
        match writeln!(io::stdout().lock(), "{text}") {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            done => done,
        }
    }

    /// Prints a part of a result to standard output at once, without a newline.
    ///
    /// # Errors
    /// As [`Output::result`].
    pub(crate) fn piece(self, text: &str) -> io::Result<()> {
        let mut stdout = io::stdout().lock();
        match write!(stdout, "{text}").and_then(|()| stdout.flush()) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            done => done,
        }
    }

    /// Prints a message about progress to standard error, unless quiet.
    pub(crate) fn note(self, text: &str) {
        if !self.quiet {
            print(text);
        }
    }

    /// Prints errors as worded by [`crate::report`] to standard error, labels in colour.
    pub(crate) fn error(self, report: &str) {
        if !self.colour {
            return print(report);
        }
        let lines: Vec<_> = report.lines().map(paint).collect();
        print(&lines.join("\n"));
    }
}

/// Prints help, version or a usage error of `clap`, and returns its exit code: 0 or 2.
pub(crate) fn usage(answer: &clap::Error) -> ExitCode {
    // If the standard streams are closed, only the exit code can report the result.
    let _ = answer.print();
    ExitCode::from(u8::try_from(answer.exit_code()).unwrap_or(1))
}

/// Prints the response to Ctrl-C, which arrives at any time.
pub(crate) fn interrupt(text: &str) {
    print(text);
}

/// <https://no-color.org>: set and not empty.
fn refuses_colour() -> bool {
    env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
}

fn print(text: &str) {
    // There is nowhere else to report that standard error is closed.
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Colours the label at the start of a line, bold red or cyan.
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
    fn only_labels_are_coloured() {
        assert_eq!(paint("error: x"), "\x1b[1;31merror:\x1b[0m x");
        assert_eq!(paint("  help: y"), "\x1b[1;36m  help:\x1b[0m y");
        assert_eq!(paint("  cause: error: z"), "  cause: error: z");
    }
}
