//! Generation: texts do not depend on the schedule, and every request finishes.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod generate;
mod model;
mod schedules;
mod score;
mod steps;
