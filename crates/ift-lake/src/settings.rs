//! The settings of a study: the fields of its recipe.

use std::path::PathBuf;

use ift_methods::{
    Asft, Dft, Dpo, Eaft, Ift, Ipo, IwSft, Kto, LookAhead, Method, Orpo, Psft, ScheduledSampling,
    Sft, Simpo, Tdpo1, Tdpo2,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    action::Action,
    error::LakeError,
    online::Online,
    training::Training,
    trajectory::Suboptimal,
    world::{Ice, Rewards},
};

/// A Frozen Lake study. Every list is crossed with every other; everything has a default.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// The folder that results and pictures go to.
    pub output: PathBuf,
    /// The maps: `4x4`, `8x8` (Gymnasium's), `random` (see `[random]`), or a file with lines of S,
    /// F, H and G.
    pub maps: Vec<String>,
    /// The ice: `solid`, `slippery`.
    pub ice: Vec<Ice>,
    /// Where training starts: `random` weights, or `sft`, the policy after SFT on the optimal
    /// trajectory. It is the reference of the methods that have one.
    pub starts: Vec<Start>,
    /// The kinds of sub-optimal trajectory that methods on pairs reject: `longer`, `hole`,
    /// `wandering`; or `own`, an episode of the policy itself, drawn anew at every step.
    pub suboptimal: Vec<Suboptimal>,
    /// Share of steps in which the walker of the sub-optimal trajectory acts at random, above 0 to
    /// 1.
    #[schemars(range(max = 1.0), extend("exclusiveMinimum" = 0.0))]
    pub noise: f64,
    /// Whether every seed draws its own trajectories, `drawn`, or all learn from those of the
    /// first, `fixed`, as in a world that was designed around one pair.
    pub trajectories: Trajectories,
    /// Number of seeds. Each draws initial weights, and perhaps an optimal trajectory and a
    /// sub-optimal one of each kind.
    #[schemars(range(min = 1, max = 100_000))]
    pub seeds: u64,
    /// The first seed.
    pub seed: u64,
    /// On slippery ice, how often a move goes where it was meant to; else it goes to either side.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub success_rate: f64,
    /// Moves after which an episode is cut; 0 for Gymnasium's limit, 100 up to 16 cells and 200 on
    /// larger maps.
    #[schemars(range(max = 100_000))]
    pub limit: usize,
    /// Worth of a reward one move later, above 0 up to 0.9999; makes the optimum the shortest way.
    #[schemars(range(max = 0.9999), extend("exclusiveMinimum" = 0.0))]
    pub discount: f64,
    /// The world's rewards, by the cell that a move leads to.
    pub rewards: Rewards,
    /// The map `random`.
    pub random: RandomMap,
    /// How policies are trained.
    pub training: Training,
    /// The methods, with their own settings: `[{ name = "sft" }, { name = "ift", lambda = 0.3 }]`.
    pub methods: Vec<Method>,
    /// PPO, which plays in the world while it learns.
    pub ppo: Online,
    /// What IFT is swept over.
    pub sweep: SweepValues,
    /// Whether pictures are drawn.
    pub pictures: bool,
    /// Threads; 0 for one per core.
    pub threads: usize,
}

/// A map drawn at random, as Gymnasium draws one (its generator is another, and so are its maps).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RandomMap {
    /// Rows and columns.
    #[schemars(range(min = 2, max = 100))]
    pub size: usize,
    /// Probability that a cell is frozen, not a hole.
    #[schemars(range(max = 1.0), extend("exclusiveMinimum" = 0.0))]
    pub frozen: f64,
    /// Seed of the map.
    pub seed: u64,
}

/// Where training starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Start {
    /// From random weights.
    Random,
    /// After SFT on the optimal trajectory.
    Sft,
}

impl Start {
    /// Its name in recipes and files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Random => "random",
            Self::Sft => "sft",
        }
    }
}

/// Which trajectories the seeds of a study learn from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Trajectories {
    /// Each from its own.
    Drawn,
    /// All from those of the first seed.
    Fixed,
}

/// Values of IFT's settings, each tried with the other at its default.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SweepValues {
    /// Shares of the greedy policy's state in the input, 0 to 1.
    pub lambda: Vec<f64>,
    /// Decays of a relation per step, 0 to 1.
    pub gamma: Vec<f64>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            output: PathBuf::from("runs/lake"),
            maps: ["4x4", "8x8"].map(str::to_owned).to_vec(),
            ice: vec![Ice::Solid, Ice::Slippery],
            starts: vec![Start::Random, Start::Sft],
            suboptimal: Suboptimal::ALL.to_vec(),
            noise: 0.5,
            trajectories: Trajectories::Drawn,
            seeds: 100,
            seed: 0,
            success_rate: 1.0 / 3.0,
            limit: 0,
            discount: 0.99,
            rewards: Rewards::default(),
            random: RandomMap::default(),
            training: Training::default(),
            methods: every_method(),
            ppo: Online::default(),
            sweep: SweepValues::default(),
            pictures: true,
            threads: 0,
        }
    }
}

impl Default for RandomMap {
    fn default() -> Self {
        Self { size: 8, frozen: 0.8, seed: 0 }
    }
}

impl Default for SweepValues {
    fn default() -> Self {
        Self {
            lambda: vec![0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0],
            gamma: vec![0.0, 0.5, 0.8, 0.9, 0.95, 0.99, 1.0],
        }
    }
}

/// All methods with their defaults, but `lm`, which is `sft` where every step is a target. EAFT's
/// entropy is taken over the four actions there are.
fn every_method() -> Vec<Method> {
    vec![
        Method::Sft(Sft::default()),
        Method::Ift(Ift::default()),
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

impl Settings {
    /// Checks what the schema's ranges cannot say, and the methods' own settings.
    ///
    /// # Errors
    /// Names the setting, what was found and what was expected.
    pub fn validate(&self) -> Result<(), LakeError> {
        let wrong = |field: &str, problem: &str| {
            Err(LakeError::Setting { field: field.to_owned(), problem: problem.to_owned() })
        };
        for (field, empty, repeated) in [
            ("maps", self.maps.is_empty(), repeats(&self.maps)),
            ("ice", self.ice.is_empty(), repeats(&self.ice)),
            ("starts", self.starts.is_empty(), repeats(&self.starts)),
            ("suboptimal", self.suboptimal.is_empty(), repeats(&self.suboptimal)),
            ("methods", self.methods.is_empty(), repeats(&self.methods)),
            ("sweep.lambda", false, repeats(&self.sweep.lambda)),
            ("sweep.gamma", false, repeats(&self.sweep.gamma)),
        ] {
            if empty {
                return wrong(field, "is empty, expected at least one entry");
            }
            if repeated {
                return wrong(field, "has the same entry twice");
            }
        }
        // Nearer to 1, actions that differ would count as equally good (see [`crate::Optimum`]).
        if !(self.discount > 0.0 && self.discount <= 0.9999) {
            return wrong(
                "discount",
                &format!("is {}, expected a number above 0, up to 0.9999", self.discount),
            );
        }
        if !(self.noise > 0.0 && self.noise <= 1.0) {
            return wrong(
                "noise",
                &format!("is {}, expected a number above 0, up to 1", self.noise),
            );
        }
        if !(0.0..=1.0).contains(&self.success_rate) {
            return wrong(
                "success_rate",
                &format!("is {}, expected a number from 0 to 1", self.success_rate),
            );
        }
        if !(self.training.lr > 0.0 && self.training.lr.is_finite()) {
            return wrong(
                "training.lr",
                &format!("is {}, expected a finite number above 0", self.training.lr),
            );
        }
        for (field, number) in [
            ("seeds", self.seeds),
            ("training.steps", self.training.steps),
            ("training.hidden", self.training.hidden as u64),
            ("training.sft_steps", self.training.sft_steps),
            ("training.fit_steps", self.training.fit_steps),
        ] {
            if number == 0 {
                return wrong(field, "is 0, expected 1 or more");
            }
        }
        for (field, number) in [
            ("rewards.goal", self.rewards.goal),
            ("rewards.hole", self.rewards.hole),
            ("rewards.frozen", self.rewards.frozen),
        ] {
            if number.is_nan() || number.abs() > 1e6 {
                return wrong(field, &format!("is {number}, expected a number from -1e6 to 1e6"));
            }
        }
        for (field, values) in
            [("sweep.lambda", &self.sweep.lambda), ("sweep.gamma", &self.sweep.gamma)]
        {
            if let Some(value) = values.iter().find(|value| !(0.0..=1.0).contains(*value)) {
                return wrong(field, &format!("has {value}, expected numbers from 0 to 1"));
            }
        }
        for (index, method) in self.methods.iter().enumerate() {
            if let Err(error) = method.validate() {
                return wrong(
                    &format!("methods.{index}.{}", error.field()),
                    &format!("is wrong: {error}"),
                );
            }
            if let Some(LookAhead::TopK { k }) = method.look_ahead()
                && k > Action::ALL.len()
            {
                return wrong(
                    &format!("methods.{index}.k"),
                    &format!("is {k}, but there are four actions"),
                );
            }
        }
        self.ppo.validate()
    }
}

fn repeats<T: PartialEq>(entries: &[T]) -> bool {
    entries.iter().enumerate().any(|(index, entry)| entries[..index].contains(entry))
}

/// A method's name, with those of its settings that are not the defaults: `ift lambda=0.3`.
pub(crate) fn label(method: &Method, usual: &[Method]) -> String {
    let fields = |method: &Method| match serde_json::to_value(method) {
        Ok(serde_json::Value::Object(fields)) => fields,
        _ => serde_json::Map::new(),
    };
    let own = fields(method);
    let defaults =
        usual.iter().map(fields).find(|defaults| defaults.get("name") == own.get("name"));
    let mut label =
        own.get("name").and_then(serde_json::Value::as_str).unwrap_or_default().to_owned();
    for (key, value) in &own {
        let default = defaults.as_ref().and_then(|defaults| defaults.get(key));
        if key != "name" && default != Some(value) {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            label.extend([" ", key.as_str(), "=", &text]);
        }
    }
    label
}

/// Labels of all methods of the settings, in their order.
pub(crate) fn labels(methods: &[Method]) -> Vec<String> {
    let usual = every_method();
    methods.iter().map(|method| label(method, &usual)).collect()
}
