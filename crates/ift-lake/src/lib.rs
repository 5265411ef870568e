//! Frozen Lake: how close each training method brings a policy to a known optimum (IFT's paper, section 5.3).

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
mod trajectory;
mod world;

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
pub use settings::{RandomMap, Settings, Start, SweepValues, Training, Trajectories};
pub use statistics::Estimate;
pub use study::Study;
pub use summary::{Findings, RunRow};
pub use trajectory::{Suboptimal, Trajectory, Visit, draw_optimal, draw_suboptimal, rollout};
pub use world::{Action, Ice, Outcome, Rewards, World, default_limit};
