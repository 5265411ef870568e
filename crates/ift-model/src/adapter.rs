//! Low-rank adapters: which tensors get one, how large, and how their frozen base is stored.
//!
//! An adapter adds `scale·B·A` to a weight that never changes (`LoRA`, arXiv 2106.09685); only `A`
//! (`[rank, inputs]`) and `B` (`[outputs, rank]`) are trained. `DoRA` (arXiv 2402.09353) also
//! trains the magnitude of every row of the sum.

use ift_backend::Storage;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Which adapter to train: the recipe's `[adapter]` table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Adapter {
    /// Rank of the matrices `A` and `B`, at least 1.
    #[schemars(range(min = 1))]
    pub rank: usize,
    /// The sum is scaled by `alpha / rank`.
    #[schemars(range(min = 0.0))]
    pub alpha: f64,
    /// Share of an adapter's inputs that are dropped while training, from 0 to below 1.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub dropout: f64,
    /// The linear layers that are adapted; without this field all of them.
    pub targets: Vec<Target>,
    /// Scale by `alpha / √rank` instead (rsLoRA, arXiv 2312.03732), so that large ranks learn as
    /// fast as small ones.
    pub rslora: bool,
    /// Learn the length of every weight row apart from its direction (`DoRA`, arXiv 2402.09353).
    pub dora: bool,
    /// How the frozen base is kept in memory.
    pub base: BaseStorage,
    /// A folder in PEFT's format to continue from: rank, alpha, targets, `rslora` and `dora` are
    /// then read from it, and those of this table are ignored.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<PathBuf>,
}

impl Default for Adapter {
    fn default() -> Self {
        Self {
            rank: 8,
            alpha: 16.0,
            dropout: 0.0,
            targets: Target::ALL.to_vec(),
            rslora: false,
            dora: false,
            base: BaseStorage::Bf16,
            path: None,
        }
    }
}

impl Adapter {
    /// The largest rank: far beyond use, and small enough that no size overflows.
    const MOST_RANK: usize = 1 << 16;

    /// The factor of `B·A`: `alpha / rank`, or `alpha / √rank` for rsLoRA.
    pub fn scale(&self) -> f64 {
        let rank = self.rank as f64;
        self.alpha / if self.rslora { rank.sqrt() } else { rank }
    }

    /// Checks the settings.
    ///
    /// # Errors
    /// The first unusable field, with what was found and what was expected.
    pub fn validate(&self) -> Result<(), (&'static str, String)> {
        if self.rank == 0 || self.rank > Self::MOST_RANK {
            let expected = format!("expected a number from 1 to {}", Self::MOST_RANK);
            return Err(("rank", format!("is {}, {expected}", self.rank)));
        }
        if !(self.alpha.is_finite() && self.alpha > 0.0) {
            return Err(("alpha", format!("is {}, expected a number above 0", self.alpha)));
        }
        if !(0.0..1.0).contains(&self.dropout) {
            return Err((
                "dropout",
                format!("is {}, expected a number from 0 to below 1", self.dropout),
            ));
        }
        if self.targets.is_empty() {
            let all = Target::ALL.map(Target::name).join(", ");
            return Err(("targets", format!("names nothing to adapt, expected some of {all}")));
        }
        match self
            .targets
            .iter()
            .enumerate()
            .find(|(i, target)| self.targets[..*i].contains(target))
        {
            Some((_, target)) => Err(("targets", format!("names `{}` twice", target.name()))),
            None => Ok(()),
        }
    }
}

/// An adapter and the layers that it adapts, from the recipe or from an adapter folder.
#[derive(Clone, Debug)]
pub(crate) struct ResolvedAdapter {
    pub settings: Adapter,
    /// Names of linear layers or ends of such names, as in PEFT's `target_modules`: adapters of
    /// some layers have whole ones.
    pub modules: Vec<String>,
}

impl ResolvedAdapter {
    /// An adapter of the settings' targets in all layers.
    pub fn all_layers(settings: Adapter) -> Self {
        let modules = settings.targets.iter().map(|target| target.name().to_owned()).collect();
        Self { settings, modules }
    }

    /// Whether a linear layer is adapted.
    pub fn applies_to(&self, module: &str) -> bool {
        let ends = |name: &String| module.strip_suffix(name.as_str());
        self.modules.iter().filter_map(ends).any(|rest| rest.is_empty() || rest.ends_with('.'))
    }
}

/// A linear layer of every block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// Queries.
    QProj,
    /// Keys.
    KProj,
    /// Values.
    VProj,
    /// Attention output.
    OProj,
    /// The gate of the MLP.
    GateProj,
    /// The up projection of the MLP, which the gate multiplies.
    UpProj,
    /// MLP output.
    DownProj,
}

impl Target {
    /// Every linear layer: what PEFT calls `all-linear`.
    pub const ALL: [Self; 7] = [
        Self::QProj,
        Self::KProj,
        Self::VProj,
        Self::OProj,
        Self::GateProj,
        Self::UpProj,
        Self::DownProj,
    ];

    /// The layer's name in tensor names.
    pub fn name(self) -> &'static str {
        match self {
            Self::QProj => "q_proj",
            Self::KProj => "k_proj",
            Self::VProj => "v_proj",
            Self::OProj => "o_proj",
            Self::GateProj => "gate_proj",
            Self::UpProj => "up_proj",
            Self::DownProj => "down_proj",
        }
    }

    /// The layer of that name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|target| target.name() == name)
    }
}

/// How the base under an adapter is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BaseStorage {
    /// bfloat16.
    #[default]
    Bf16,
    /// As the backend keeps trainable weights.
    Exact,
    /// Eight bits in blocks for the linear layers, bfloat16 for embeddings and head.
    Int8,
    /// Four bits in blocks (NF4 of `QLoRA`, arXiv 2305.14314) for the linear layers, bfloat16 for
    /// embeddings and head.
    Nf4,
}

impl BaseStorage {
    /// The backend's name of it.
    pub fn storage(self) -> Storage {
        match self {
            Self::Bf16 => Storage::Bf16,
            Self::Exact => Storage::Exact,
            Self::Int8 => Storage::Int8,
            Self::Nf4 => Storage::Nf4,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unusable_settings_are_named() {
        let field = |adapter: Adapter| adapter.validate().err().map(|(field, _)| field);
        let default = Adapter::default;
        assert_eq!(field(default()), None);
        for rank in [0, 1 << 17, usize::MAX] {
            assert_eq!(field(Adapter { rank, ..default() }), Some("rank"));
        }
        for alpha in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert_eq!(field(Adapter { alpha, ..default() }), Some("alpha"));
        }
        for dropout in [-0.1, 1.0, f64::NAN] {
            assert_eq!(field(Adapter { dropout, ..default() }), Some("dropout"));
        }
        assert_eq!(field(Adapter { targets: Vec::new(), ..default() }), Some("targets"));
        let targets = vec![Target::QProj, Target::UpProj, Target::QProj];
        assert_eq!(field(Adapter { targets, ..default() }), Some("targets"));
    }

    #[test]
    fn a_table_has_defaults_and_no_unknown_fields() {
        let read = |text: &str| serde_json::from_str::<Adapter>(text);
        assert_eq!(read("{}").unwrap(), Adapter::default());
        let some =
            read(r#"{"rank": 4, "targets": ["q_proj", "down_proj"], "base": "nf4"}"#).unwrap();
        assert_eq!((some.rank, some.base.storage()), (4, Storage::Nf4));
        assert_eq!(some.targets, [Target::QProj, Target::DownProj]);
        assert!(read(r#"{"ranks": 4}"#).is_err());
        assert!(read(r#"{"targets": ["lm_head"]}"#).is_err());
    }

    #[test]
    fn the_scale_is_lora_s_or_rslora_s() {
        let adapter = Adapter { rank: 16, alpha: 8.0, ..Adapter::default() };
        assert_eq!(adapter.scale(), 0.5);
        assert_eq!(Adapter { rslora: true, ..adapter }.scale(), 2.0);
    }
}
