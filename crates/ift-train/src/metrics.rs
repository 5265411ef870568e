//! What is measured, and `metrics.jsonl`: one line for each step, evaluation and sample.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};

use crate::durable;
use crate::error::TrainError;
use crate::sums::{PreferenceSums, Sums};

/// A line of `metrics.jsonl`, told apart by its field `kind`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Metrics {
    /// An optimizer step.
    Step(StepMetrics),
    /// An evaluation on the held-out rows.
    Eval(EvalMetrics),
    /// An answer to a prompt of `generate.prompts`.
    Sample(Sample),
    /// What rounding the final weights to the type of the model's files does.
    Rounding(Rounding),
}

/// A number, or not a number where a line has `null`: so JSON writes what is not finite.
fn or_nan<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or(f64::NAN))
}

/// What an optimizer step did. Losses are means in the method's reduction, in nats.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepMetrics {
    /// The step, from 1.
    pub step: u64,
    /// Completed epochs after this step, with the fraction of the current one.
    pub epoch: f64,
    /// The method's loss.
    #[serde(deserialize_with = "or_nan")]
    pub loss: f64,
    /// The plain loss of the first pass, on the data's own tokens (SFT's loss); only for methods
    /// of two passes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_pass_loss: Option<f64>,
    /// The plain loss of the second pass, without weights; only for methods of two passes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unweighted_loss: Option<f64>,
    /// λ of this step; only for methods of two passes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lambda: Option<f64>,
    /// Share of targets whose likelihood the gradient pushes down; only for methods of two passes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pushed_down: Option<f64>,
    /// The plain negative log-likelihood of the demonstrations, the chosen or the desirable
    /// answers, where the loss is another.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nll: Option<f64>,
    /// Divergence between reference and policy, summed over a sequence, on average; only for
    /// methods that use one. KTO's is its KL point.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kl: Option<f64>,
    /// Only for methods that compare answers.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub preference: Option<PreferenceMetrics>,
    /// Learning rate.
    pub lr: f64,
    /// Global norm of the gradient, before clipping.
    #[serde(deserialize_with = "or_nan")]
    pub grad_norm: f64,
    /// Rows.
    pub rows: u64,
    /// Scored targets.
    pub targets: u64,
    /// Tokens of the rows.
    pub tokens: u64,
    /// Wall-clock time of forward, backward and update.
    pub seconds: f64,
    /// `tokens / seconds`.
    #[serde(deserialize_with = "or_nan")]
    pub tokens_per_second: f64,
    /// Most resident memory of the process so far, where the system tells.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peak_memory_bytes: Option<u64>,
}

/// Means over chosen (desirable) and rejected (undesirable) answers; 0 where a step has none of a
/// kind.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct PreferenceMetrics {
    /// Implicit reward of the chosen answers.
    pub chosen_reward: f64,
    /// Implicit reward of the rejected answers.
    pub rejected_reward: f64,
    /// The first minus the second.
    pub reward_margin: f64,
    /// Share of pairs whose chosen answer has the larger reward; only for pairs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reward_accuracy: Option<f64>,
    /// Log-probability of the chosen answers, summed over each one's targets.
    pub chosen_log_prob: f64,
    /// Log-probability of the rejected answers.
    pub rejected_log_prob: f64,
}

impl PreferenceMetrics {
    /// The means; `None` where no answer has a reward.
    pub fn of(sums: &Sums) -> Option<Self> {
        let PreferenceSums { chosen, rejected, pairs, accurate } = sums.preference;
        if chosen.count + rejected.count == 0 {
            return None;
        }
        let mean = |sum: f64, count: u64| sum / count.max(1) as f64;
        let chosen_reward = mean(chosen.rewards, chosen.count);
        let rejected_reward = mean(rejected.rewards, rejected.count);
        Some(Self {
            chosen_reward,
            rejected_reward,
            reward_margin: chosen_reward - rejected_reward,
            reward_accuracy: (pairs > 0).then(|| accurate as f64 / pairs as f64),
            chosen_log_prob: mean(chosen.log_probs, chosen.count),
            rejected_log_prob: mean(rejected.log_probs, rejected.count),
        })
    }

    /// Names for a record of scalars, with the values.
    pub(crate) fn scalars(&self) -> [(&'static str, Option<f64>); 6] {
        [
            ("chosen_reward", Some(self.chosen_reward)),
            ("rejected_reward", Some(self.rejected_reward)),
            ("reward_margin", Some(self.reward_margin)),
            ("reward_accuracy", self.reward_accuracy),
            ("chosen_log_prob", Some(self.chosen_log_prob)),
            ("rejected_log_prob", Some(self.rejected_log_prob)),
        ]
    }
}

/// The loss on the held-out rows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EvalMetrics {
    /// Steps done.
    pub step: u64,
    /// The plain negative log-likelihood (SFT's loss) in the method's reduction, in nats. Not a
    /// number, `null` in the file, where no held-out row has a chosen answer.
    #[serde(deserialize_with = "or_nan")]
    pub loss: f64,
    /// Mean negative log-likelihood of a target, in nats. Not a number as `loss`.
    #[serde(deserialize_with = "or_nan")]
    pub nll_per_target: f64,
    /// `exp(nll_per_target)`. Not a number as `loss`.
    #[serde(deserialize_with = "or_nan")]
    pub perplexity: f64,
    /// The method's own loss; only for methods that compare answers. (The others above are of the
    /// chosen answers then.)
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method_loss: Option<f64>,
    /// Only for methods that compare answers.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub preference: Option<PreferenceMetrics>,
    /// Rows.
    pub rows: u64,
    /// Scored targets.
    pub targets: u64,
    /// Wall-clock time.
    pub seconds: f64,
}

/// An answer to a prompt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    /// Steps done.
    pub step: u64,
    /// The prompt.
    pub prompt: String,
    /// The answer.
    pub answer: String,
}

/// What rounding the final weights to a narrow type does to what was learned. The losses are those
/// of [`EvalMetrics`], of the method itself where answers are compared.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rounding {
    /// Steps done.
    pub step: u64,
    /// The type.
    pub number: String,
    /// The rows that were measured: `held-out` ones, or a sample of the `training` ones.
    pub rows: String,
    /// Loss before training, where it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<f64>,
    /// Loss of the trained weights.
    #[serde(deserialize_with = "or_nan")]
    pub in_memory: f64,
    /// Loss of the rounded weights; none if one of them does not fit into the type.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub as_saved: Option<f64>,
    /// Share of the change of the loss that rounding takes back:
    /// `(as_saved - in_memory) / (before - in_memory)`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub share_of_loss: Option<f64>,
    /// Share of the change of the weights that rounding takes back, by its projection on the
    /// change; only where the losses cannot tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub share_of_change: Option<f64>,
    /// Why the weights were not compared, where they should have been.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// The type that the model is saved in.
    pub saved_as: String,
}

impl fmt::Display for Rounding {
    /// A sentence without its full stop.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (number, rows, in_memory) = (&self.number, &self.rows, self.in_memory);
        let Some(as_saved) = self.as_saved else {
            return write!(f, "a weight is too large for {number}; saved in {}", self.saved_as);
        };
        write!(f, "loss of {rows} rows")?;
        if let Some(before) = self.before {
            write!(f, " {before:.4} before training,")?;
        }
        write!(f, " {in_memory:.4} in memory, {as_saved:.4} as saved in {number}: rounding ")?;
        let percent = |share: f64| match 100.0 * share {
            share if share < 0.05 => "nothing".to_owned(),
            share => format!("{share:.1} %"),
        };
        match (self.share_of_loss, self.share_of_change) {
            (_, Some(share)) => {
                write!(f, "loses {} of the change of the weights", percent(share))?;
            }
            (Some(share), None) => write!(f, "loses {} of the gain", percent(share))?,
            (None, None) => write!(f, "cannot be compared with what was learned")?,
        }
        if let Some(problem) = &self.problem {
            write!(f, ", because {problem}")?;
        }
        write!(f, "; saved in {}", self.saved_as)
    }
}

/// Only the step of a line, and its kind.
#[derive(Deserialize)]
pub(crate) struct Line {
    pub step: u64,
    pub kind: String,
}

/// The lines of a `metrics.jsonl`, as [`Metrics`] or as [`Line`]; none if it is not there. Lines
/// that cannot be read as that are left out: a run does not fail because of its log.
pub(crate) fn read_metrics<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>, TrainError> {
    if !path.exists() {
        return Ok(Vec::new());
    }
    let text = fs::read(path).map_err(TrainError::io("read", path))?;
    let lines = text.split(|&byte| byte == b'\n');
    Ok(lines.filter_map(|line| serde_json::from_slice(line).ok()).collect())
}

/// `metrics.jsonl` of a run, being written.
pub(crate) struct MetricsFile {
    path: PathBuf,
    file: File,
}

impl MetricsFile {
    /// An empty file, replacing an earlier one.
    pub fn create(path: &Path) -> Result<Self, TrainError> {
        durable::write_file(path, b"")?;
        Self::append(path)
    }

    /// The file of an interrupted run, without its lines beyond `step`: they will be written again.
    /// A last line that was cut off goes too, and of `step` itself what only the end of a run
    /// writes, or writes again: answers that are not all there (of `samples`), rounding, and with
    /// `again` the evaluation.
    pub fn resume(path: &Path, step: u64, samples: usize, again: bool) -> Result<Self, TrainError> {
        let text = if path.exists() {
            fs::read(path).map_err(TrainError::io("read", path))?
        } else {
            Vec::new()
        };
        let known = |line: &[u8]| {
            line.ends_with(b"\n").then(|| serde_json::from_slice::<Line>(line).ok()).flatten()
        };
        let lines: Vec<(&[u8], Line)> = text
            .split_inclusive(|&byte| byte == b'\n')
            .filter_map(|line| Some((line, known(line)?)))
            .collect();
        let of_step =
            |kind: &str| lines.iter().filter(|(_, l)| l.step == step && l.kind == kind).count();
        let whole = of_step("sample") >= samples;
        let is_kept_of_last = |kind: &str| match kind {
            "rounding" => false,
            "sample" => whole,
            "eval" => !again,
            _ => true,
        };
        let is_kept =
            |line: &Line| line.step < step || line.step == step && is_kept_of_last(&line.kind);
        let kept = lines.iter().filter(|(_, line)| is_kept(line)).map(|(text, _)| *text);
        durable::write_file(path, &kept.collect::<Vec<_>>().concat())?;
        Self::append(path)
    }

    fn append(path: &Path) -> Result<Self, TrainError> {
        let file =
            OpenOptions::new().append(true).open(path).map_err(TrainError::io("open", path))?;
        Ok(Self { path: path.to_owned(), file })
    }

    /// Appends a line.
    pub fn write(&mut self, metrics: &Metrics) -> Result<(), TrainError> {
        let line = serde_json::to_string(metrics);
        let line = line
            .map_err(|e| TrainError::file(&self.path, format!("a line cannot be written: {e}")))?;
        self.file
            .write_all(format!("{line}\n").as_bytes())
            .map_err(TrainError::io("write", &self.path))
    }

    /// Makes sure that every line so far survives a power cut.
    pub fn sync(&self) -> Result<(), TrainError> {
        self.file.sync_all().map_err(TrainError::io("write", &self.path))
    }
}

/// Most resident memory of this process so far, in bytes; `None` where the system does not tell.
pub fn peak_memory() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

/// Pages that the system had to give this process so far, each cleared first (minor page faults);
/// `None` where it does not tell.
pub fn page_faults() -> Option<u64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // The name of the program stands in parentheses and may hold anything; `minflt` is the eighth
    // field behind it.
    stat.rsplit_once(')')?.1.split_whitespace().nth(7)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn eval(step: u64) -> Metrics {
        let (loss, seconds) = (0.5, 0.25);
        Metrics::Eval(EvalMetrics {
            step,
            loss,
            nll_per_target: loss,
            perplexity: loss.exp(),
            method_loss: None,
            preference: None,
            rows: 1,
            targets: 2,
            seconds,
        })
    }

    #[test]
    fn resuming_cuts_off_what_was_not_saved() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("metrics.jsonl");
        let mut file = MetricsFile::create(&path).unwrap();
        for step in [0, 1, 2, 2] {
            file.write(&eval(step)).unwrap();
        }
        let before = fs::read(&path).unwrap();
        for step in [3, 4] {
            file.write(&eval(step)).unwrap();
        }
        fs::write(
            &path,
            [fs::read(&path).unwrap(), b"{\"kind\":\"eval\",\"step\":1".to_vec()].concat(),
        )
        .unwrap();
        let mut file = MetricsFile::resume(&path, 2, 0, false).unwrap();
        assert_eq!(fs::read(&path).unwrap(), before);
        file.write(&eval(3)).unwrap();
        file.sync().unwrap();
        let lines = fs::read_to_string(&path).unwrap();
        let last: Metrics = serde_json::from_str(lines.lines().last().unwrap()).unwrap();
        assert_eq!((last, lines.lines().count()), (eval(3), 5));
        MetricsFile::resume(&path, 2, 0, true).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap().lines().count(), 2);
    }

    #[test]
    fn a_missing_file_starts_empty() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("metrics.jsonl");
        MetricsFile::resume(&path, 2, 0, false).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"");
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn peak_memory_is_at_least_what_is_held() {
        let held = vec![1u8; 50 << 20];
        assert!(peak_memory().unwrap() >= held.iter().map(|&b| u64::from(b)).sum::<u64>());
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn touching_new_memory_takes_pages() {
        let before = page_faults().unwrap();
        let held = vec![1u8; 50 << 20];
        assert_eq!(held[held.len() - 1], 1);
        assert!(page_faults().unwrap() > before);
    }
}
