//! Training methods as pure functions: per-token log-probabilities in, a loss and its gradient out.
//!
//! A method never sees text, tensors or the model. It is given, for each row, the log-probabilities
//! `ℓ[t] = log p(x[t] | x[<t])` of the row's targets ([`RowScores`]) and returns a sum, a count and
//! `d loss / d ℓ[t]` ([`RowLoss`]). The gradient of any such loss with respect to the logits is
//! `g[t] · (onehot − p)`, so one backward pass through the head serves every method.
//!
//! Losses are sums with a count: the trainer adds the sums and counts of all the rows of an
//! optimizer step and divides once. Splitting a batch therefore never changes a gradient, as long
//! as rows that a method couples ([`Coupling::Batch`]) are given together.
//!
//! Some losses know more than the log-probabilities of the targets ([`Method::needs`]): those of a
//! reference model, a divergence from it over the whole vocabulary at each target, an entropy. They
//! are given in [`RowScores`] too; where the loss has a gradient through the divergence, `d loss /
//! d divergence[t]` is returned beside the other.
//!
//! [`Method`] is the recipe's `[method]` table and the entry point; the methods stand by family:
//! `likelihood` holds `lm` and `sft`, `ift` Intuitive Fine-Tuning (arXiv 2405.11870), `pairs` the
//! methods that compare answers, `siblings` those that like IFT learn from demonstrations alone.
//! [`Ppo`] stands beside them: it has the same shape, but learns from rewards on what the policy
//! draws while it trains, which no recipe's data can hold.

mod checks;
mod error;
mod ift;
mod lambda;
mod likelihood;
mod method;
mod needs;
mod objective;
mod pairs;
mod ppo;
mod row;
mod siblings;
mod stable;

pub use error::MethodError;
pub use ift::{Formula, Ift, LookAheadKind, Minimum, Norm, Side, Source};
pub use lambda::LambdaSchedule;
pub use likelihood::{Lm, Sft};
pub use method::Method;
pub use needs::{Coupling, KlDirection, LookAhead, Needs, RowKind};
pub use pairs::{Dpo, Ipo, Kto, Orpo, Simpo, Tdpo1, Tdpo2};
pub use ppo::Ppo;
pub use row::{Reduction, RowLoss, RowScores};
pub use siblings::{Asft, Dft, Eaft, IwSft, Level, Psft, ScheduledSampling};
