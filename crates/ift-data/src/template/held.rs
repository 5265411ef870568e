//! Checks values that names keep, so that the operators of the engine cannot exhaust the stack.

use std::fmt;

use minijinja::value::ValueKind;
use minijinja::{Error, State, Value};

use super::arguments::wrong;
use super::limits::{is_too_deep, pay_for_parts, too_deep};
use super::printed::is_container;

/// Values that are looked at for one step.
const SEEN_PER_STEP: u64 = 4;

/// Checks a value that a name or an attribute of `owners` is set to. The engine compares, joins and
/// hashes values by recursion and counts no steps for what is inside, so none may be nested
/// deeply, hold one value very many times, or hold itself. Only a namespace could hold itself,
/// because no other value can be changed.
///
/// # Errors
/// When the value exceeds a limit.
pub(super) fn check_held(
    state: &State<'_, '_>,
    value: &Value,
    owners: &[Value],
) -> Result<(), Error> {
    struct Walk<'a> {
        state: &'a State<'a, 'a>,
        owners: &'a [Value],
        /// Values that were seen.
        seen: u64,
    }
    impl Walk<'_> {
        fn visit(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
            // Other iterators can be read only once.
            if !is_container(value) {
                return Ok(());
            }
            if is_too_deep(depth) {
                return Err(too_deep());
            }
            let map = value.kind() == ValueKind::Map;
            if map && !self.owners.is_empty() && is_namespace(value) {
                for owner in self.owners {
                    pay_for_parts(self.state, owner)?;
                    // One that is merely equal is refused too: the engine does not tell them apart.
                    if value == owner {
                        return Err(wrong(
                            "limit: a namespace would hold itself; set its attribute to another \
                             value",
                        ));
                    }
                }
            }
            for item in value.try_iter()?.checked() {
                let item = item?;
                self.seen += 1;
                if self.seen.is_multiple_of(SEEN_PER_STEP) {
                    self.state.consume_fuel(1)?;
                }
                let part = if map { value.get_item(&item)? } else { item };
                self.visit(&part, depth + 1)?;
            }
            Ok(())
        }
    }
    Walk { state, owners, seen: 0 }.visit(value, 0)
}

/// Whether a value is a namespace, which the engine keeps to itself but names in debug output.
fn is_namespace(value: &Value) -> bool {
    /// Compares what is written with the rest of a name, and stops at the first difference.
    struct Name(&'static str);
    impl fmt::Write for Name {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            self.0 = self.0.strip_prefix(text).ok_or(fmt::Error)?;
            if self.0.is_empty() { Err(fmt::Error) } else { Ok(()) }
        }
    }
    let mut name = Name("Namespace");
    let Some(object) = value.as_object() else { return false };
    // It fails as soon as the answer is known.
    let _ = fmt::Write::write_fmt(&mut name, format_args!("{object:?}"));
    name.0.is_empty()
}
