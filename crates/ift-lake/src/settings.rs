//! The settings of a study: the fields of its recipe.

use std::path::PathBuf;

use ift_methods::{
    Asft, Dft, Dpo, Eaft, Ift, Ipo, IwSft, Kto, Method, Orpo, Psft, ScheduledSampling, Sft, Simpo,
    Tdpo1, Tdpo2,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    online::PpoSettings,
    start::InitialPolicy,
    training::TrainingSettings,
    trajectory::Suboptimal,
    world::{Ice, Rewards},
};

/// A Frozen Lake study. It covers every combination of the listed maps, ice, starts, kinds of
/// trajectory and methods. Every field has a default.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct StudySettings {
    /// The folder for results and pictures.
    pub output: PathBuf,
    /// The maps: `4x4` and `8x8` (Gymnasium's), `random` (see `[random]`), or a file with lines of
    /// `S`, `F`, `H` and `G`. The list may be empty if there are designed maps.
    pub maps: Vec<String>,
    /// The ice: `solid`, `slippery`.
    pub ice: Vec<Ice>,
    /// Maps designed around one pair of trajectories, in addition to `maps`. They have solid ice,
    /// whatever `ice` says.
    pub designed: Vec<DesignedMap>,
    /// The policy that training starts from: `random` weights; `sft`, the policy after SFT on the
    /// optimal trajectory; or `both`, a policy that was fitted to both trajectories (see
    /// `[both]`), once for each kind of sub-optimal trajectory but `own`. It is also the reference
    /// of methods that have one.
    pub starts: Vec<InitialPolicy>,
    /// How the initial policy `both` is made.
    pub both: BothSettings,
    /// The kinds of sub-optimal trajectory that methods on pairs reject: `longer`, `hole`,
    /// `wandering`, or `own`, a new episode of the policy at every training step.
    pub suboptimal: Vec<Suboptimal>,
    /// Share of the moves of a sub-optimal trajectory whose action is drawn uniformly instead of
    /// from the optimal policy, above 0, up to 1.
    #[schemars(range(max = 1.0), extend("exclusiveMinimum" = 0.0))]
    pub noise: f64,
    /// The trajectories of the seeds: `drawn` for each seed, or `fixed`, those of the first seed
    /// for all. Those of a designed map are always the same.
    pub trajectories: TrajectorySource,
    /// Number of seeds. Each seed draws initial weights and, unless trajectories are `fixed`, an
    /// optimal trajectory and a sub-optimal one of each kind.
    #[schemars(range(min = 1, max = 100_000))]
    pub seeds: u64,
    /// The first seed.
    pub seed: u64,
    /// On slippery ice, the probability that a move goes in the direction of its action; otherwise
    /// it slips to either side with equal probability.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub success_rate: f64,
    /// Number of moves after which an episode is cut; 0 for Gymnasium's limit, which is 100 for up
    /// to 16 cells and 200 for larger maps.
    #[schemars(range(max = 100_000))]
    pub limit: usize,
    /// Discount factor per move, above 0, up to 0.9999. With it the optimum takes a shortest path.
    #[schemars(range(max = 0.9999), extend("exclusiveMinimum" = 0.0))]
    pub discount: f64,
    /// Rewards by the cell that a move reaches.
    pub rewards: Rewards,
    /// How the maps `random` are drawn.
    pub random: RandomMap,
    /// How policies are trained.
    pub training: TrainingSettings,
    /// The methods, with their own settings: `[{ name = "sft" }, { name = "ift", lambda = 0.3 }]`.
    pub methods: Vec<Method>,
    /// PPO, which plays episodes during training.
    pub ppo: PpoSettings,
    /// The settings of IFT that are swept.
    pub sweep: SweepValues,
    /// Whether pictures are written.
    pub pictures: bool,
    /// Number of threads; 0 for one per core. Results do not depend on it.
    #[schemars(range(max = 1024))]
    pub threads: usize,
}

/// Random maps, drawn as Gymnasium draws them. They differ from Gymnasium's for the same seed,
/// because the random generators differ.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RandomMap {
    /// Number of rows and of columns.
    #[schemars(range(min = 2, max = 100))]
    pub size: usize,
    /// Probability that a cell is frozen and not a hole.
    #[schemars(range(max = 1.0), extend("exclusiveMinimum" = 0.0))]
    pub frozen: f64,
    /// Seed of the first map.
    pub seed: u64,
    /// Number of maps, with seeds from `seed` upwards. A map is left out, and one with a higher
    /// seed takes its place, if a seed of the study cannot draw a trajectory of every kind in
    /// `suboptimal` on it, with every kind of ice, or if its cells are those of a map with a lower
    /// seed. So the maps depend on these settings too. The names of the worlds show the seeds. The
    /// study fails if all of the first 20 maps are left out, or 1000 in total.
    #[schemars(range(min = 1, max = 1000))]
    pub count: u64,
}

/// A map that is designed around one optimal and one sub-optimal trajectory, the same for all
/// seeds, on solid ice.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DesignedMap {
    /// Name of the world in results: letters, digits, `-` and `_`, at most 100 bytes. Names that
    /// differ only in upper and lower case are refused, since pictures are named after them.
    #[schemars(length(min = 1, max = 100), extend("pattern" = r"^[\p{Alphabetic}\p{N}_-]+$"))]
    pub name: String,
    /// The map: its lines of `S`, `F`, `H` and `G`, or an entry as in `maps`, but not `random`.
    pub map: String,
    /// Moves of the optimal trajectory from the start, a string of `L`, `D`, `R` and `U`, such as
    /// `DDRR`. It must take optimal actions only and end at a goal.
    #[schemars(extend("pattern" = "^[LDRU]+$"))]
    pub optimal: String,
    /// Moves of the sub-optimal trajectory from the same start, a string of `L`, `D`, `R` and `U`.
    /// Its kind is found out: `longer` if it ends at a goal, which must be after more moves, `hole`
    /// if it ends in a hole, else `wandering`. One move or more must not be optimal. Methods on
    /// pairs reject it, and `own` if `suboptimal` lists it.
    #[schemars(extend("pattern" = "^[LDRU]+$"))]
    pub suboptimal: String,
}

/// How the initial policy `both` is made: Adam with learning rate 0.01 fits the network with random
/// weights to the actions of both trajectories. It stands for a given base model, so that it does
/// not depend on the optimizer and the learning rate of `[training]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BothSettings {
    /// Steps of the fit.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub steps: u64,
    /// Share of the optimal trajectory in the loss, 0 to 1. Each trajectory counts with the mean
    /// over its moves.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub share: f64,
}

/// Which trajectories the seeds of a study are trained on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TrajectorySource {
    /// Each seed draws its own.
    Drawn,
    /// All seeds use those of the first seed.
    Fixed,
}

/// Values of λ and γ of IFT. Each value is tried with the other setting at its default.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SweepValues {
    /// Values of λ, the share of the look-ahead state in the input, 0 to 1.
    pub lambda: Vec<f64>,
    /// Values of γ, the decay per move in relation propagation, 0 to 1.
    pub gamma: Vec<f64>,
    /// The initial policies that sweeps start from, of those in `starts` of the study. Without any
    /// of those nothing is swept; unless this is the default or empty, that is an error.
    pub starts: Vec<InitialPolicy>,
}

impl Default for StudySettings {
    fn default() -> Self {
        Self {
            output: PathBuf::from("runs/lake"),
            maps: ["4x4", "8x8"].map(str::to_owned).to_vec(),
            ice: vec![Ice::Solid, Ice::Slippery],
            designed: Vec::new(),
            starts: vec![InitialPolicy::Random, InitialPolicy::Sft, InitialPolicy::Both],
            both: BothSettings::default(),
            suboptimal: Suboptimal::ALL.to_vec(),
            noise: 0.5,
            trajectories: TrajectorySource::Drawn,
            seeds: 100,
            seed: 0,
            success_rate: 1.0 / 3.0,
            limit: 0,
            discount: 0.99,
            rewards: Rewards::default(),
            random: RandomMap::default(),
            training: TrainingSettings::default(),
            methods: every_method(),
            ppo: PpoSettings::default(),
            sweep: SweepValues::default(),
            pictures: true,
            threads: 0,
        }
    }
}

impl Default for RandomMap {
    fn default() -> Self {
        Self { size: 8, frozen: 0.8, seed: 0, count: 1 }
    }
}

impl Default for BothSettings {
    fn default() -> Self {
        Self { steps: 100, share: 0.5 }
    }
}

impl Default for SweepValues {
    fn default() -> Self {
        Self {
            lambda: vec![0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0],
            gamma: vec![0.0, 0.5, 0.8, 0.9, 0.95, 0.99, 1.0],
            starts: vec![InitialPolicy::Random, InitialPolicy::Sft],
        }
    }
}

/// All methods with their defaults, except `lm`, which equals `sft` here because every move is a
/// target. The entropy of EAFT is over the four actions. After IFT follow its two components: with
/// λ = 0 it has no look-ahead state in its inputs, with γ = 0 no relation propagation.
pub(crate) fn every_method() -> Vec<Method> {
    vec![
        Method::Sft(Sft::default()),
        Method::Ift(Ift::default()),
        Method::Ift(Ift { lambda: 0.0, ..Ift::default() }),
        Method::Ift(Ift { gamma: 0.0, ..Ift::default() }),
        Method::Dpo(Dpo::default()),
        Method::Orpo(Orpo::default()),
        Method::Simpo(Simpo::default()),
        Method::Tdpo1(Tdpo1::default()),
        Method::Tdpo2(Tdpo2::default()),
        Method::Kto(Kto::default()),
        Method::Ipo(Ipo::default()),
        Method::Dft(Dft::default()),
        Method::Asft(Asft::default()),
        Method::Eaft(Eaft { k: 4, ..Eaft::default() }),
        Method::IwSft(IwSft::default()),
        Method::Psft(Psft::default()),
        Method::ScheduledSampling(ScheduledSampling::default()),
    ]
}
