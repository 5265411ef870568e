//! The policies that training starts from.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::trajectory::Suboptimal;

/// The policy that training starts from, as a setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum InitialPolicy {
    /// A network with random weights.
    Random,
    /// The same network after SFT on the optimal trajectory.
    Sft,
    /// The same network fitted to both trajectories.
    Both,
}

/// The policy that training starts from in a scene.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(into = "&'static str")]
pub enum Start {
    /// A network with random weights.
    Random,
    /// The same network after SFT on the optimal trajectory.
    Sft,
    /// The same network fitted to the optimal trajectory and the sub-optimal one of this kind.
    Both(Suboptimal),
}

impl Start {
    /// The setting that gives this start.
    pub(crate) fn setting(self) -> InitialPolicy {
        match self {
            Self::Random => InitialPolicy::Random,
            Self::Sft => InitialPolicy::Sft,
            Self::Both(_) => InitialPolicy::Both,
        }
    }

    /// Name in result files: `random`, `sft`, `both-hole`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Random => "random",
            Self::Sft => "sft",
            Self::Both(Suboptimal::Longer) => "both-longer",
            Self::Both(Suboptimal::Hole) => "both-hole",
            Self::Both(Suboptimal::Wandering) => "both-wandering",
            Self::Both(Suboptimal::Own) => "both-own",
        }
    }
}

impl From<Start> for &'static str {
    fn from(start: Start) -> Self {
        start.name()
    }
}
