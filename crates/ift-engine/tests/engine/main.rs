//! The engine over tiny models: texts do not depend on the schedule, every request finishes, and
//! scores are those of whole sequences.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod cache;
mod generate;
mod model;
mod schedules;
mod score;
mod steps;
