//! Training methods as pure functions: per-token log-probabilities in, a loss and its gradient out.
//!
//! A method does not see text, tensors or the model. For each answer it gets the log-probabilities
//! `ℓ[t] = log p(x[t] | x[<t])` of the targets ([`RowScores`]), and returns a sum, a count and
//! `g[t] = d loss / d ℓ[t]` ([`RowLoss`]). The gradient with respect to the logits is then
//! `g[t] · (onehot − p)`, so all methods share one backward pass through the output head.
//!
//! Losses are sums with a count: the trainer adds the sums and counts of all rows of an optimizer
//! step and divides once. So splitting a batch does not change a gradient, provided that rows which
//! a method couples ([`Coupling::Batch`]) are given together.
//!
//! Some losses need more than the log-probabilities of the policy ([`Method::needs`]): those of a
//! reference model, the divergence from it over the whole vocabulary at each target, or an entropy.
//! These are fields of [`RowScores`] too. If the loss depends on the divergence, `d loss / d
//! divergence[t]` is returned as well.
//!
//! [`Method`] is the `[method]` table of a recipe and the entry point. Its variants are grouped:
//! `likelihood` has `lm` and `sft`, `ift` has Intuitive Fine-Tuning (arXiv 2405.11870), `pairs` the
//! methods that compare answers, and `siblings` those that, like IFT, learn from demonstrations
//! only. [`Ppo`] has the same form but is no [`Method`]: it needs rewards for samples of the
//! policy, which no data set contains.
//!
//! [`Curve`], the learning rate over the steps of a run, is here too, since all trainers of the
//! methods share it.

mod checks;
mod curve;
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

pub use curve::Curve;
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
