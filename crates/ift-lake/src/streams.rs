//! Numbers of the random streams of a seed.

/// Initial weights.
pub(crate) const WEIGHTS: u64 = 0;
/// The optimal trajectory.
pub(crate) const OPTIMAL: u64 = 1;
/// The first kind of sub-optimal trajectory; the others follow.
pub(crate) const SUBOPTIMAL: u64 = 2;
/// Training.
pub(crate) const TRAINING: u64 = 16;
/// The first episode that is shown in the terminal; the others follow.
pub(crate) const EPISODES: u64 = 1 << 32;
