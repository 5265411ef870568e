//! Requests to stop: Ctrl-C and the signals of other programs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::output::interrupt;

/// Signals that come this soon after the first are the same request: some senders signal both a
/// process and its group.
const ONE_REQUEST: Duration = Duration::from_secs(1);

/// Whether the program was asked to stop. A second request ends it at once.
#[derive(Clone, Default)]
pub(crate) struct StopRequest {
    asked: Arc<AtomicBool>,
    /// The exit code that the signal asks for.
    code: Arc<AtomicU8>,
}

impl StopRequest {
    /// Listens from now on. `answer` is printed at the first request. To be called before the
    /// program starts threads.
    ///
    /// # Errors
    /// If the system does not let it.
    pub(crate) fn listen(answer: &'static str) -> Result<Self> {
        let this = Self::default();
        let Self { asked, code } = this.clone();
        let mut first: Option<Instant> = None;
        listen(move |exit_code| match first {
            None => {
                first = Some(Instant::now());
                code.store(exit_code, Ordering::Relaxed);
                asked.store(true, Ordering::Release);
                interrupt(answer);
            }
            Some(at) if at.elapsed() < ONE_REQUEST => {}
            Some(_) => std::process::exit(exit_code.into()),
        })?;
        Ok(this)
    }

    /// Set by the first request.
    pub(crate) fn asked(&self) -> &AtomicBool {
        &self.asked
    }

    /// The exit code of a program that stopped for it: 128 and the number of the signal, as shells
    /// have it; 0 without a request.
    pub(crate) fn exit_code(&self) -> u8 {
        self.code.load(Ordering::Relaxed)
    }
}

/// Calls `received` with the exit code for each signal. Signals are blocked and waited for, since a
/// handler could not tell safely which one it was.
#[cfg(unix)]
fn listen(mut received: impl FnMut(u8) + Send + 'static) -> Result<()> {
    use anyhow::Context;
    use nix::sys::signal::{SigSet, Signal};

    let mut signals = SigSet::from_iter([Signal::SIGINT, Signal::SIGTERM]);
    if !ignores(Signal::SIGHUP as u32) {
        signals.add(Signal::SIGHUP);
    }
    signals.thread_block().context("cannot listen for Ctrl-C")?;
    let wait = move || {
        while let Ok(signal) = signals.wait() {
            received(128 + signal as u8);
        }
    };
    let thread = std::thread::Builder::new().name("signals".to_owned());
    thread.spawn(wait).context("cannot listen for Ctrl-C")?;
    Ok(())
}

/// The same; Ctrl-C is the only request.
#[cfg(not(unix))]
fn listen(mut received: impl FnMut(u8) + Send + 'static) -> Result<()> {
    use anyhow::Context;

    ctrlc::set_handler(move || received(130)).context("cannot listen for Ctrl-C")
}

/// Whether the program was started with this signal ignored, as `nohup` does with a hangup, so that
/// it goes on when its terminal is closed. Only Linux tells.
#[cfg(unix)]
fn ignores(signal: u32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    ignored.is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
}
