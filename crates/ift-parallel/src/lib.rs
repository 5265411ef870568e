//! What the processes of one training run exchange.
//!
//! A run is divided over *ranks*, numbered from 0; each computes a share of the rows of every step.
//! The [`Collective`] is all that a step knows of the others. [`Solo`] is a run of one process, in
//! which every exchange returns what it was given; [`Group`] makes the ranks of one process, each
//! on a thread of its own, to test what a division over several ranks does.
//!
//! Every operation is collective: all ranks call the same operations in the same order, or none of
//! them returns. Results are the same on every rank, to the bit: sums are formed in the order of
//! the ranks.
//!
//! ```
//! use ift_parallel::{Collective, Solo};
//!
//! let mut sums = [1.5, 2.0];
//! Solo.all_reduce_sum(&mut sums)?;
//! assert_eq!((sums, Solo.size()), ([1.5, 2.0], 1));
//! # Ok::<(), ift_parallel::CollectiveError>(())
//! ```

mod group;

use std::fmt::Debug;

pub use group::{Group, Member};

/// An exchange that failed. The run cannot continue.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("rank {rank}: `{operation}` with the other processes failed: {problem}")]
pub struct CollectiveError {
    /// The rank that noticed.
    pub rank: usize,
    /// The operation.
    pub operation: &'static str,
    /// What was found, what was expected.
    pub problem: String,
}

/// The ranks of a run, as one of them sees them.
pub trait Collective: Debug + Send + Sync {
    /// Number of ranks, at least 1.
    fn size(&self) -> usize;

    /// This rank, from 0 to below [`Collective::size`].
    fn rank(&self) -> usize;

    /// Replaces each element by its sum over all ranks, added in the order of the ranks.
    ///
    /// # Errors
    /// If the exchange fails, or ranks give different numbers of elements.
    fn all_reduce_sum(&self, values: &mut [f64]) -> Result<(), CollectiveError>;

    /// The bytes of every rank, in the order of the ranks; each may give another number of them.
    ///
    /// # Errors
    /// If the exchange fails.
    fn all_gather(&self, bytes: &[u8]) -> Result<Vec<Vec<u8>>, CollectiveError>;

    /// Replaces the bytes by those of rank `root`.
    ///
    /// # Errors
    /// If the exchange fails, or there is no such rank.
    fn broadcast(&self, root: usize, bytes: &mut Vec<u8>) -> Result<(), CollectiveError>;

    /// Returns when all ranks have called it.
    ///
    /// # Errors
    /// If the exchange fails.
    fn barrier(&self) -> Result<(), CollectiveError>;
}

/// The only rank of a run of one process.
#[derive(Clone, Copy, Debug, Default)]
pub struct Solo;

impl Collective for Solo {
    fn size(&self) -> usize {
        1
    }

    fn rank(&self) -> usize {
        0
    }

    fn all_reduce_sum(&self, _: &mut [f64]) -> Result<(), CollectiveError> {
        Ok(())
    }

    fn all_gather(&self, bytes: &[u8]) -> Result<Vec<Vec<u8>>, CollectiveError> {
        Ok(vec![bytes.to_vec()])
    }

    fn broadcast(&self, root: usize, _: &mut Vec<u8>) -> Result<(), CollectiveError> {
        check_root(self, root)
    }

    fn barrier(&self) -> Result<(), CollectiveError> {
        Ok(())
    }
}

fn check_root(collective: &impl Collective, root: usize) -> Result<(), CollectiveError> {
    let (rank, size) = (collective.rank(), collective.size());
    if root < size {
        return Ok(());
    }
    let problem = format!("found root {root}, expected a rank below {size}");
    Err(CollectiveError { rank, operation: "broadcast", problem })
}
