//! Training methods as pure functions: per-token log-probabilities in, a loss and its gradient out.
//!
//! A method never sees text, tensors or the model. It is given, for each row, the log-probabilities
//! `ℓ[t] = log p(x[t] | x[<t])` of the row's targets ([`RowScores`]) and returns a sum, a count and
//! `d loss / d ℓ[t]` ([`RowLoss`]). The gradient of any such loss with respect to the logits is
//! `g[t] · (onehot − p)`, so one backward pass through the head serves every method.
//!
//! Losses are sums with a count: the trainer adds the sums and counts of all the rows of an optimizer step
//! and divides once. Splitting a batch therefore never changes a gradient, as long as rows that a method
//! couples ([`Coupling::Batch`]) are given together.
//!
//! [`Method`] is the recipe's `[method]` table and the entry point; each method has a module of its own:
//! `likelihood` holds `lm` and `sft`, `ift` holds Intuitive Fine-Tuning (arXiv 2405.11870).

mod error;
mod ift;
mod likelihood;
mod method;
mod row;

pub use error::MethodError;
pub use ift::{Formula, Ift, LambdaSchedule, LookAheadKind, Minimum, Norm, Side, Source};
pub use likelihood::{Lm, Sft};
pub use method::{Coupling, LookAhead, Method};
pub use row::{Reduction, RowLoss, RowScores};
