//! The command line: global flags and subcommands. Every option is documented here and nowhere
//! else.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Fine-tunes language models from Hugging Face folders with Intuitive Fine-Tuning.
#[derive(Debug, Parser)]
#[command(version, arg_required_else_help = true)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) output: OutputArguments,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options that every subcommand has.
#[derive(Debug, Args)]
pub(crate) struct OutputArguments {
    /// Print only results and errors
    #[arg(long, short, global = true)]
    pub(crate) quiet: bool,
    /// Print results as JSON
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Train a model as a recipe describes
    Train(TrainArguments),
    /// Generate answers to prompts
    Generate(GenerateArguments),
    /// Merge an adapter into its base model and write a plain model folder
    Merge(MergeArguments),
    /// Create a model folder with random weights and a tokenizer trained on given text
    New(NewArguments),
    /// Print the loss and the gradients of given rows, to compare with another trainer
    ///
    /// Every token that is read has a gradient at its input embedding. In transformers the pad
    /// token of a folder has none (`padding_idx`), even if it is a token of the rows, as an end of
    /// turn may be: there the row of that token in the embedding table differs.
    Gradients(GradientsArguments),
    /// Time the training step on given rows
    Bench(BenchArguments),
    /// Run the Frozen Lake study: how close each method comes to a known optimum
    Lake(LakeArguments),
    /// Print the JSON schema of a recipe
    Schema(SchemaArguments),
}

/// `ift train`.
#[derive(Debug, Args)]
pub(crate) struct TrainArguments {
    /// The recipe, a TOML file; paths in it are relative to the working directory
    pub(crate) recipe: PathBuf,
    /// Override a field of the recipe, such as method.lambda=0.3; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
    /// Resume from the newest complete checkpoint in the output folder
    #[arg(long)]
    pub(crate) resume: bool,
    /// Delete an earlier run in the output folder and start again
    #[arg(long, conflicts_with = "resume")]
    pub(crate) overwrite: bool,
    /// Resume although this has changed since the checkpoint: a field of the recipe, such as
    /// optimizer.lr, or the contents of `model`, `adapter`, `reference`, `tokenizer`, `template`,
    /// `data`, `held_out` or `version`; may be repeated
    #[arg(long, value_name = "FIELD", requires = "resume")]
    pub(crate) accept: Vec<String>,
}

/// `ift generate`.
#[derive(Debug, Args)]
pub(crate) struct GenerateArguments {
    /// The model, a Hugging Face folder
    #[arg(long, value_name = "DIR")]
    pub(crate) model: PathBuf,
    /// The user's message; may be repeated, and all prompts run in one batch
    #[arg(long, required = true)]
    pub(crate) prompt: Vec<String>,
    /// A system message before each prompt
    #[arg(long)]
    pub(crate) system: Option<String>,
    /// Continue the prompt as plain text, without the chat template
    #[arg(long, conflicts_with_all = ["system", "template"])]
    pub(crate) raw: bool,
    /// A chat template in place of the tokenizer's: a built-in name or a Jinja file
    #[arg(long)]
    pub(crate) template: Option<String>,
    /// Whether a beginning-of-sequence (BOS) token stands first, as `data.bos` in a recipe
    #[arg(long, value_enum, default_value = "auto")]
    pub(crate) bos: BosArgument,
    /// Maximum number of tokens in an answer; the model's context length is a limit too
    #[arg(long, default_value_t = 256)]
    pub(crate) max_tokens: usize,
    /// Sampling temperature, which divides the logits; 0 is greedy decoding
    #[arg(long, default_value_t = 0.0, allow_negative_numbers = true, value_parser = non_negative)]
    pub(crate) temperature: f64,
    /// Nucleus sampling: draw from the most probable tokens that together have this probability
    #[arg(long, default_value_t = 1.0, allow_negative_numbers = true, value_parser = probability)]
    pub(crate) top_p: f64,
    /// Seed for sampling
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,
    #[command(flatten)]
    pub(crate) compute: ComputeArguments,
}

/// Whether a BOS token stands first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum BosArgument {
    /// As the tokenizer's own template writes it; with another template, or `--raw`, as the
    /// tokenizer adds it to plain text
    Auto,
    /// Always, once
    Always,
    /// Never
    Never,
}

/// `ift merge`.
#[derive(Debug, Args)]
pub(crate) struct MergeArguments {
    /// The adapter, a PEFT folder; its `adapter_config.json` names the base
    #[arg(long, value_name = "DIR")]
    pub(crate) adapter: PathBuf,
    /// The folder to write the merged model to; it must not exist
    #[arg(long, value_name = "DIR")]
    pub(crate) output: PathBuf,
    /// The base weights that the adapter is added to: as they are in the base's files, or rounded
    /// as they were in training
    #[arg(long, value_enum, default_value = "exact")]
    pub(crate) base: MergeBase,
    /// Data type of the merged weights; by default that of the base's files
    #[arg(long, value_enum)]
    pub(crate) number: Option<NumberArgument>,
    /// Number of threads; 0 for one per core
    #[arg(long, default_value_t = 0)]
    pub(crate) threads: usize,
}

/// The base weights that an adapter is added to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum MergeBase {
    /// As in the base's files
    Exact,
    /// Rounded to bfloat16
    Bf16,
    /// Quantised to 8 bits
    Int8,
    /// Quantised to 4 bits (NF4)
    Nf4,
}

/// A data type of weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum NumberArgument {
    /// IEEE 754 single precision
    F32,
    /// bfloat16
    Bf16,
    /// IEEE 754 half precision
    F16,
}

/// `ift new`.
#[derive(Debug, Args)]
pub(crate) struct NewArguments {
    /// The recipe, a TOML file: `output`, `seed`, `number`, `text`, and the tables `[model]` and
    /// `[tokenizer]`
    pub(crate) recipe: PathBuf,
    /// Override a field of the recipe, such as seed=1; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
}

/// `ift gradients`.
#[derive(Debug, Args)]
pub(crate) struct GradientsArguments {
    #[command(flatten)]
    pub(crate) step: StepArguments,
    /// Write the gradients of the mean loss to this safetensors file
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
}

/// `ift bench`.
#[derive(Debug, Args)]
pub(crate) struct BenchArguments {
    #[command(flatten)]
    pub(crate) step: StepArguments,
    /// Rows in an optimizer step
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub(crate) rows_per_step: u64,
    /// Timed steps, after one warm-up step
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub(crate) steps: u64,
    /// Also print the time of each kind of operation
    #[arg(long)]
    pub(crate) profile: bool,
}

/// `ift lake`.
#[derive(Debug, Args)]
pub(crate) struct LakeArguments {
    /// The study's recipe, a TOML file; without one, the defaults that `ift schema lake` describes
    pub(crate) recipe: Option<PathBuf>,
    /// Override a field of the recipe, such as seeds=200; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
    /// Replace an earlier study in the output folder
    #[arg(long)]
    pub(crate) overwrite: bool,
    /// Show a policy at play in the terminal instead: a method of the study, `ppo`, `optimum` or
    /// `fitted`, by default `ift`; it is trained in the recipe's first world from its first start
    /// with its first seed
    #[arg(
        long,
        value_name = "POLICY",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "ift",
        conflicts_with = "overwrite"
    )]
    pub(crate) watch: Option<String>,
    /// Number of episodes to show
    #[arg(long, default_value_t = 3, requires = "watch", value_parser = at_least_one)]
    pub(crate) episodes: usize,
    /// Milliseconds between moves, on a terminal
    #[arg(long, default_value_t = 250, requires = "watch", value_name = "MILLISECONDS")]
    pub(crate) pause: u64,
}

/// `ift schema`.
#[derive(Debug, Args)]
pub(crate) struct SchemaArguments {
    /// The subcommand whose recipe the schema describes
    #[arg(value_enum, default_value = "train")]
    pub(crate) of: RecipeOf,
}

/// A subcommand that reads a recipe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum RecipeOf {
    /// `ift train`
    Train,
    /// `ift new`
    New,
    /// `ift lake`
    Lake,
}

/// A training step on tokenised rows.
#[derive(Debug, Args)]
pub(crate) struct StepArguments {
    /// The model, a Hugging Face folder
    #[arg(long, value_name = "DIR")]
    pub(crate) model: PathBuf,
    /// JSON lines with `input_ids` and `labels` (-100 for tokens that are not targets); pairs have
    /// `chosen_ids`, `chosen_labels`, `rejected_ids` and `rejected_labels`
    #[arg(long, value_name = "FILE")]
    pub(crate) rows: PathBuf,
    /// The method: lm, sft, ift, dpo, ipo, orpo, simpo, tdpo1, tdpo2, kto, dft, asft, eaft, psft,
    /// `iw_sft` or `scheduled_sampling`
    #[arg(long, default_value = "ift")]
    pub(crate) method: String,
    /// Set a field of the method, such as method.lambda=0.3, or of an adapter to train, such as
    /// adapter.rank=16; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) set: Vec<String>,
    /// The reference model, a Hugging Face folder, for methods that use one; by default the model
    /// itself as it was before the first step
    #[arg(long, value_name = "DIR")]
    pub(crate) reference: Option<PathBuf>,
    /// Seed for noisy λ, sampled look-ahead tokens, new adapters and dropout
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,
    /// Maximum number of tokens in a micro-batch
    #[arg(long, default_value_t = 2048, value_parser = at_least_one)]
    pub(crate) micro_batch_tokens: usize,
    /// Recompute the activations of each layer in the backward pass instead of keeping them
    #[arg(long)]
    pub(crate) recompute: bool,
    #[command(flatten)]
    pub(crate) compute: ComputeArguments,
}

/// Precision and number of threads.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct ComputeArguments {
    /// Precision of the computation: bf16 takes less memory and is faster where the processor
    /// multiplies bf16; f64 is the reference, plain loops on one core, and slow
    #[arg(long, value_enum, default_value = "f32")]
    pub(crate) precision: PrecisionArgument,
    /// Number of threads; 0 for one per core
    #[arg(long, default_value_t = 0)]
    pub(crate) threads: usize,
}

/// Precision of the computation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum PrecisionArgument {
    /// Single precision
    F32,
    /// bfloat16 activations and products, everything else in single precision
    Bf16,
    /// Double precision
    F64,
}

impl PrecisionArgument {
    /// The name on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::F64 => "f64",
        }
    }
}

fn at_least_one(text: &str) -> Result<usize, String> {
    text.parse()
        .ok()
        .filter(|&n| n > 0)
        .ok_or_else(|| "expected a whole number of at least 1".to_owned())
}

fn non_negative(text: &str) -> Result<f64, String> {
    let fits = |x: &f64| x.is_finite() && *x >= 0.0;
    text.parse().ok().filter(fits).ok_or_else(|| "expected a number of at least 0".to_owned())
}

fn probability(text: &str) -> Result<f64, String> {
    let fits = |x: &f64| *x > 0.0 && *x <= 1.0;
    text.parse().ok().filter(fits).ok_or_else(|| "expected a number above 0 and up to 1".to_owned())
}
