//! Numbers of the random streams of a seed.

/// Initial weights.
pub(crate) const WEIGHTS: u64 = 0;
/// A random map. It has the stream of the weights: the seed of a map is a setting of its own, and
/// where it is also a seed of the study, the map and the initial weights of that seed are drawn
/// from the same numbers. Another stream would be another map for every seed.
pub(crate) const RANDOM_MAP: u64 = 0;
/// The optimal trajectory.
pub(crate) const OPTIMAL: u64 = 1;
/// The first kind of sub-optimal trajectory; the others follow.
pub(crate) const SUBOPTIMAL: u64 = 2;
/// Training.
pub(crate) const TRAINING: u64 = 16;
/// The first episode that is shown in the terminal; the others follow.
pub(crate) const EPISODES: u64 = 1 << 32;
