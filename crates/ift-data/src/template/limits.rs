//! Limits on what a template may cost, so that none can hang or end the program.
//!
//! Rendering is paid for in steps: one for an instruction, one for 64 bytes that are written or
//! read. Their number grows with the conversation, so long conversations are fine. As every byte
//! costs, the steps also bound the output and the memory. Values that are nested deeply need much
//! stack, so templates are compiled and rendered on a thread with a large one.

use std::cell::RefCell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

use minijinja::value::ValueKind;
use minijinja::{Error, State, Value};

use super::arguments::wrong;
use super::tags::{Token, tags};

/// Longest source, in bytes.
const SOURCE: usize = 1 << 20;
/// Most operators and brackets in one tag. Each may nest the compiled expression by one.
const OPERATORS: usize = 1000;
/// Most `elif` tags in a template.
const BRANCHES: usize = 1000;
/// Deepest nesting of a value that is printed or written as JSON.
const DEEPEST: usize = 200;
/// Steps for a conversation without messages.
const STEPS: u64 = 500_000;
/// Further steps for each value of the conversation: a message, a field, a tool.
const STEPS_PER_VALUE: u64 = 5_000;
/// Further steps for each byte of the conversation.
const STEPS_PER_BYTE: u64 = 4;
/// Stack of the thread that works on a template, in bytes. Only what is used takes memory.
const STACK: usize = 256 << 20;
/// Longest time for one conversation.
const LONGEST: Duration = Duration::from_secs(120);

/// Checks what could make the compiler use too much stack or time.
///
/// # Errors
/// With the limit that is exceeded, or an escape that would be read otherwise than by Jinja2.
pub(super) fn check_source(source: &str) -> Result<(), String> {
    if source.len() > SOURCE {
        return Err(format!(
            "limit: its text has {} bytes, at most {SOURCE} are allowed; use a shorter template",
            source.len()
        ));
    }
    let line = |at: usize| source[..at].matches('\n').count() + 1;
    let mut branches = 0;
    for tag in tags(source) {
        let operators = ["and", "or", "not", "if", "else", "is", "in"];
        let tokens = tag.tokens();
        let count = tokens.iter().filter(|token| match token {
            Token::Name(name) => operators.contains(name),
            Token::Sign(sign) => !matches!(sign, ',' | ':'),
            Token::Literal => false,
        });
        let count = count.count();
        if count > OPERATORS {
            return Err(format!(
                "limit: a tag has {count} operators and brackets, at most {OPERATORS} are allowed \
                 (line {} of the template); divide it into several with `set`",
                line(tag.range.start)
            ));
        }
        branches += usize::from(tokens.first() == Some(&Token::Name("elif")));
        if let Some(escape) = unsupported_escape(tag.inside) {
            return Err(format!(
                "the escape `{}` is not supported (line {} of the template); write the character \
                 itself",
                escape.escape_debug(),
                line(tag.range.start)
            ));
        }
    }
    if branches > BRANCHES {
        return Err(format!(
            "limit: it has {branches} `elif` tags, at most {BRANCHES} are allowed; use a dictionary"
        ));
    }
    Ok(())
}

/// The first escape that Jinja2 reads and the engine does not.
fn unsupported_escape(text: &str) -> Option<&'static str> {
    let mut rest = text;
    while let Some((_, escape)) = rest.split_once('\\') {
        match escape.chars().next() {
            Some('U') => return Some("\\U"),
            Some('N') if escape.starts_with("N{") => return Some("\\N{"),
            Some('\n') => return Some("\\\n"),
            Some(c) => rest = &escape[c.len_utf8()..],
            None => break,
        }
    }
    None
}

/// The steps that rendering these values may take.
pub(super) fn steps<'a>(values: impl IntoIterator<Item = &'a Value>) -> u64 {
    values.into_iter().map(cost).fold(STEPS, u64::saturating_add)
}

fn cost(value: &Value) -> u64 {
    let own = STEPS_PER_VALUE
        .saturating_add(STEPS_PER_BYTE * value.as_str().map_or(0, |text| text.len() as u64));
    let Ok(items) = (match value.kind() {
        ValueKind::Seq | ValueKind::Map => value.try_iter(),
        _ => return own,
    }) else {
        return own;
    };
    let map = value.kind() == ValueKind::Map;
    let of = |item: Value| {
        if map { cost(&value.get_item(&item).unwrap_or_default()) } else { cost(&item) }
    };
    items.map(of).fold(own, u64::saturating_add)
}

/// The error of a template that is out of steps.
pub(super) fn out_of_steps(steps: u64) -> String {
    format!(
        "limit: it needs more than {steps} steps for this conversation, so it seems to loop or to \
         build texts without end; correct the template, or divide the record if it is very long"
    )
}

/// Pays for the values in a value before work is done on all of them.
///
/// # Errors
/// When they are nested too deeply, or there are not enough steps left.
pub(super) fn pay_for_parts(state: &State<'_, '_>, value: &Value) -> Result<(), Error> {
    fn walk(state: &State<'_, '_>, value: &Value, depth: usize) -> Result<(), Error> {
        if !matches!(value.kind(), ValueKind::Seq | ValueKind::Map | ValueKind::Iterable) {
            return Ok(());
        }
        if depth > DEEPEST {
            return Err(too_deep());
        }
        let map = value.kind() == ValueKind::Map;
        for item in value.try_iter()?.checked() {
            let item = item?;
            state.consume_fuel(1)?;
            let part = if map { value.get_item(&item)? } else { item };
            walk(state, &part, depth + 1)?;
        }
        Ok(())
    }
    walk(state, value, 0)
}

/// The error of a value that is nested too deeply.
pub(super) fn too_deep() -> Error {
    wrong(format!("limit: a value is nested more than {DEEPEST} deep; use flatter values"))
}

/// Whether a value may be nested this deep.
pub(super) fn is_too_deep(depth: usize) -> bool {
    depth > DEEPEST
}

type Job = Box<dyn FnOnce() + Send>;

thread_local! {
    /// The thread with a large stack that works for this one. It ends when this one does.
    static COMPANION: RefCell<Option<Sender<Job>>> = const { RefCell::new(None) };
}

/// Starts a thread with a large stack that does jobs, until nobody can send any more.
fn companion() -> Result<Sender<Job>, String> {
    let (sender, receiver) = mpsc::channel::<Job>();
    thread::Builder::new()
        .name("template".to_owned())
        .stack_size(STACK)
        .spawn(move || receiver.into_iter().for_each(|job| job()))
        .map_err(|e| format!("no thread can be started for it: {e}"))?;
    Ok(sender)
}

/// Runs work on a thread with a large stack, which is kept for the next work of this thread. The
/// time is only looked at for work whose steps the engine does not count: comparisons of values
/// that hold one another many times.
///
/// # Errors
/// When no thread can be started, the work panics, or it takes longer than the limit.
pub(super) fn on_large_stack<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, String> {
    within(LONGEST, work)
}

fn within<T: Send + 'static>(
    longest: Duration,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, String> {
    let (sender, receiver) = mpsc::sync_channel(1);
    let job = Box::new(move || {
        // Nothing that the work shares is used again after a panic.
        let result = panic::catch_unwind(AssertUnwindSafe(work));
        // Nobody waits any longer if this fails.
        let _ = sender.send(result);
    });
    let failed = || "the template engine failed".to_owned();
    // Taken out, so that a thread that does not answer in time gets no further work.
    let jobs = match COMPANION.take() {
        Some(jobs) => jobs,
        None => companion()?,
    };
    jobs.send(job).map_err(|_| failed())?;
    let result = receiver.recv_timeout(longest).map_err(|e| match e {
        RecvTimeoutError::Timeout => format!(
            "limit: it works for more than {} seconds on one conversation; correct the template",
            longest.as_secs()
        ),
        RecvTimeoutError::Disconnected => failed(),
    })?;
    COMPANION.set(Some(jobs));
    result.map_err(|_| failed())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_thread_is_kept_until_it_fails_to_answer() {
        let id = || on_large_stack(|| thread::current().id());
        let first = id();
        assert_ne!(first, Ok(thread::current().id()));
        assert_eq!(id(), first);
        // A panic is an error, and the thread goes on.
        let failed = on_large_stack(|| assert!(thread::panicking(), "a fault of the engine"));
        assert_eq!(failed, Err("the template engine failed".to_owned()));
        assert_eq!(id(), first);
        // One that is late is given up.
        let (release, wait) = mpsc::channel::<()>();
        let late = within(Duration::ZERO, move || wait.recv().is_ok());
        assert!(late.is_err_and(|e| e.starts_with("limit: ")));
        assert_ne!(id(), first);
        drop(release);
    }

    #[test]
    fn threads_of_a_pool_may_all_wait() {
        use rayon::prelude::*;
        let sum: Result<Vec<usize>, _> =
            (0..1000_usize).into_par_iter().map(|i| on_large_stack(move || i)).collect();
        assert_eq!(sum, Ok((0..1000).collect()));
    }
}
