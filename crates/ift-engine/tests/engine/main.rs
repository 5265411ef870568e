//! Generation: texts do not depend on the schedule, and every request finishes.

mod generate;
mod model;
mod schedules;
mod score;
mod steps;
