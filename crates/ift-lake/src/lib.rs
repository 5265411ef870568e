//! Frozen Lake: how close each training method brings a policy to a known optimum (IFT's paper,
//! arXiv 2405.11870, section 5.3).
//!
//! A [`World`] is Gymnasium's lake on a [`LakeMap`]; [`value_iteration`] and [`policy_iteration`]
//! find its [`Optimum`]. A policy is a network of two layers on the one-hot state. A [`Study`]
//! crosses maps, ice, starts and kinds of sub-optimal [`Trajectory`], trains a policy with every
//! `ift_methods::Method` (and PPO) for each seed, and its [`Findings`] say how far each is from the
//! optimum by every [`Measure`]. [`write()`] leaves them on disk, with [`pictures()`]; a [`Player`]
//! is a policy to be watched.

mod action;
mod arena;
mod classroom;
mod error;
mod files;
mod fit;
mod map;
mod measure;
mod network;
mod offline;
mod online;
mod optimizer;
mod optimum;
mod pictures;
mod player;
mod report;
mod settings;
mod softmax;
mod statistics;
mod study;
mod summary;
mod training;
mod trajectory;
mod world;

pub use action::Action;
pub use arena::{Arena, arenas};
pub use error::LakeError;
pub use files::write;
pub use map::{Cell, LakeMap};
pub use measure::Measure;
pub use network::Activation;
pub use online::Online;
pub use optimizer::Rule;
pub use optimum::{Matrix, Optimum, greedy, policy_iteration, success_rate, value_iteration};
pub use pictures::{Picture, pictures};
pub use player::Player;
pub use report::{
    Comparison, LearnerReport, PAPER_ORDER, Panel, Portrait, Report, Scene, Sweep, WorldReport,
};
pub use settings::{RandomMap, Settings, Start, SweepValues, Trajectories};
pub use statistics::Estimate;
pub use study::Study;
pub use summary::{Findings, RunRow};
pub use training::Training;
pub use trajectory::{Suboptimal, Trajectory, Visit, draw_optimal, draw_suboptimal, rollout};
pub use world::{Ice, Outcome, Rewards, World, default_limit};
