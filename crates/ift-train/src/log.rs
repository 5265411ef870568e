//! The two records of a run: `metrics.jsonl` with everything, and event files for `TensorBoard` with the scalars.

use crate::TrainError;
use crate::metrics::{EvalMetrics, Metrics, MetricsFile, Sample, StepMetrics};
use crate::output::RunFolder;
use crate::tensorboard::EventFile;

/// Both records, being written.
pub(crate) struct Log {
    metrics: MetricsFile,
    events: EventFile,
}

impl Log {
    /// Empty records; or with the number of steps done, those of an interrupted run, without what it will do again.
    pub fn open(folder: &RunFolder, resumed_at: Option<u64>) -> Result<Self, TrainError> {
        let metrics = match resumed_at {
            Some(step) if step > 0 => MetricsFile::resume(&folder.metrics(), step)?,
            _ => MetricsFile::create(&folder.metrics())?,
        };
        // A run that starts over measures again before its first step, at step 0.
        let again_from = resumed_at.map(|step| if step > 0 { step + 1 } else { 0 });
        Ok(Self { metrics, events: EventFile::create(&folder.tensorboard(), again_from)? })
    }

    pub fn step(&mut self, metrics: &StepMetrics) -> Result<(), TrainError> {
        self.metrics.write(&Metrics::Step(metrics.clone()))?;
        let always = [
            ("train/loss", Some(metrics.loss)),
            ("train/first_pass_loss", metrics.first_pass_loss),
            ("train/unweighted_loss", metrics.unweighted_loss),
            ("train/lambda", metrics.lambda),
            ("train/pushed_down", metrics.pushed_down),
            ("train/lr", Some(metrics.lr)),
            ("train/grad_norm", Some(metrics.grad_norm)),
            ("train/epoch", Some(metrics.epoch)),
            ("speed/tokens_per_second", Some(metrics.tokens_per_second)),
            ("speed/peak_memory_bytes", metrics.peak_memory_bytes.map(|bytes| bytes as f64)),
        ];
        let known: Vec<(&str, f64)> = always.iter().filter_map(|&(tag, value)| Some((tag, value?))).collect();
        self.events.scalars(metrics.step, &known)
    }

    pub fn eval(&mut self, metrics: &EvalMetrics) -> Result<(), TrainError> {
        self.metrics.write(&Metrics::Eval(metrics.clone()))?;
        let scalars = [
            ("eval/loss", metrics.loss),
            ("eval/nll_per_target", metrics.nll_per_target),
            ("eval/perplexity", metrics.perplexity),
        ];
        self.events.scalars(metrics.step, &scalars)
    }

    pub fn sample(&mut self, sample: &Sample) -> Result<(), TrainError> {
        self.metrics.write(&Metrics::Sample(sample.clone()))
    }

    /// Makes sure that all lines so far survive a power cut.
    pub fn sync(&self) -> Result<(), TrainError> {
        self.metrics.sync()
    }
}
