//! Frozen Lake: how close each training method brings a policy to a known optimum (IFT's paper,
//! arXiv 2405.11870, section 5.3).
//!
//! A [`World`] is Gymnasium's `FrozenLake-v1` on a [`LakeMap`]. [`value_iteration`] and
//! [`policy_iteration`] compute its [`Optimum`]. A policy is a network with two layers on the
//! one-hot encoding of the state.
//!
//! A [`Study`] trains one policy per map, kind of ice, initial policy, kind of sub-optimal
//! [`Trajectory`], method and seed. Methods are those of `ift-methods`, and PPO. Its [`Findings`]
//! hold the distance of each policy from the optimum by every [`Measure`]; [`write()`] writes them
//! to a folder, with [`pictures()`]. A [`Player`] plays episodes with one policy.

mod action;
mod alignment;
mod designed;
mod episode;
mod error;
mod files;
mod fit;
mod groups;
mod learner;
mod map;
mod measure;
mod network;
mod offline;
mod online;
mod optimizer;
mod optimum;
mod pictures;
mod plan;
mod player;
mod report;
mod seed_result;
mod seed_setup;
mod settings;
mod softmax;
mod solved_world;
mod start;
mod statistics;
mod streams;
mod study;
mod study_worlds;
mod summary;
mod training;
mod training_curve;
mod trajectory;
mod validation;
mod verdict;
mod world;

pub use action::Action;
pub use designed::DesignedPair;
pub use episode::success_rate;
pub use error::LakeError;
pub use files::write;
pub use map::{Cell, LakeMap};
pub use measure::Measure;
pub use network::ActivationFunction;
pub use online::PpoSettings;
pub use optimizer::Rule;
pub use optimum::{Optimum, StateActionMatrix, greedy, policy_iteration, value_iteration};
pub use pictures::{Picture, pictures};
pub use player::Player;
pub use report::{
    LearnerReport, MapGroup, Origin, PairedComparison, Panel, Portrait, Scene, SceneResults,
    StudyReport, Sweep, WorldReport,
};
pub use settings::{
    BothSettings, DesignedMap, RandomMap, StudySettings, SweepValues, TrajectorySource,
};
pub use solved_world::SolvedWorld;
pub use start::{InitialPolicy, Start};
pub use statistics::Estimate;
pub use study::Study;
pub use study_worlds::{LeftOut, LeftOutReason, solved_worlds};
pub use summary::{Findings, RunRow};
pub use training::TrainingSettings;
pub use trajectory::{Suboptimal, Trajectory, Visit, draw_optimal, draw_suboptimal, rollout};
pub use verdict::{Claim, Outcome, PAPER_METHODS, Relation, Verdict};
pub use world::{Ice, Rewards, Transition, World, default_limit};
