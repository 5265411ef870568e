//! The two records of a run: `metrics.jsonl` with everything, and event files for `TensorBoard`
//! with the scalars.

use crate::error::TrainError;
use crate::metrics::{
    EvalMetrics, Line, Metrics, MetricsFile, PreferenceMetrics, Rounding, Sample, StepMetrics,
    read_metrics,
};
use crate::output::RunFolder;
use crate::tensorboard::EventFile;

/// A number that a chart can show.
fn finite(value: f64) -> Option<f64> {
    value.is_finite().then_some(value)
}

/// Both records, being written.
pub(crate) struct Log {
    metrics: MetricsFile,
    events: EventFile,
    /// The step that an interrupted run is resumed at, with what is known of it already.
    resumed: Option<Resumed>,
}

#[derive(Clone, Copy)]
struct Resumed {
    step: u64,
    evaluated: bool,
    sampled: bool,
}

impl Log {
    /// Empty records; or with the number of steps done, those of an interrupted run, without what
    /// it will do again. `samples` are the answers that the run logs at a time; with `again`, what
    /// the evaluation of the last step said no longer holds.
    pub fn open(
        folder: &RunFolder,
        resumed_at: Option<u64>,
        samples: usize,
        again: bool,
    ) -> Result<Self, TrainError> {
        let mut resumed = None;
        let metrics = match resumed_at {
            Some(step) if step > 0 => {
                let file = MetricsFile::resume(&folder.metrics(), step, samples, again)?;
                let lines: Vec<Line> = read_metrics(&folder.metrics())?;
                let has = |kind| lines.iter().any(|line| line.step == step && line.kind == kind);
                resumed = Some(Resumed { step, evaluated: has("eval"), sampled: has("sample") });
                file
            }
            _ => MetricsFile::create(&folder.metrics())?,
        };
        // A run that starts over measures again before its first step, at step 0.
        let again_from = resumed_at.map(|step| if step > 0 { step + 1 } else { 0 });
        let events = EventFile::create(&folder.tensorboard(), again_from)?;
        Ok(Self { metrics, events, resumed })
    }

    /// Whether the run was interrupted after the evaluation of this step.
    pub fn has_evaluated(&self, step: u64) -> bool {
        self.resumed.is_some_and(|resumed| resumed.step == step && resumed.evaluated)
    }

    /// Whether the run was interrupted after the answers of this step.
    pub fn has_sampled(&self, step: u64) -> bool {
        self.resumed.is_some_and(|resumed| resumed.step == step && resumed.sampled)
    }

    pub fn step(&mut self, metrics: &StepMetrics) -> Result<(), TrainError> {
        self.metrics.write(&Metrics::Step(metrics.clone()))?;
        let always = [
            ("train/loss", Some(metrics.loss)),
            ("train/first_pass_loss", metrics.first_pass_loss),
            ("train/unweighted_loss", metrics.unweighted_loss),
            ("train/lambda", metrics.lambda),
            ("train/pushed_down", metrics.pushed_down),
            ("train/nll", metrics.nll),
            ("train/kl", metrics.kl),
            ("train/lr", Some(metrics.lr)),
            ("train/grad_norm", Some(metrics.grad_norm)),
            ("train/epoch", Some(metrics.epoch)),
            ("speed/tokens_per_second", Some(metrics.tokens_per_second)),
            ("speed/peak_memory_bytes", metrics.peak_memory_bytes.map(|bytes| bytes as f64)),
        ];
        self.scalars(metrics.step, &always, "rewards", metrics.preference)
    }

    pub fn eval(&mut self, metrics: &EvalMetrics) -> Result<(), TrainError> {
        self.metrics.write(&Metrics::Eval(metrics.clone()))?;
        let always = [
            ("eval/loss", Some(metrics.loss)),
            ("eval/nll_per_target", Some(metrics.nll_per_target)),
            ("eval/perplexity", Some(metrics.perplexity)),
            ("eval/method_loss", metrics.method_loss),
        ];
        self.scalars(metrics.step, &always, "eval_rewards", metrics.preference)
    }

    /// Writes what is known of `always`, and the preference's scalars under `group`.
    fn scalars(
        &mut self,
        step: u64,
        always: &[(&str, Option<f64>)],
        group: &str,
        preference: Option<PreferenceMetrics>,
    ) -> Result<(), TrainError> {
        let own = always.iter().map(|&(tag, value)| (tag.to_owned(), value));
        let compared = preference.iter().flat_map(PreferenceMetrics::scalars);
        let compared = compared.map(|(name, value)| (format!("{group}/{name}"), value));
        let known: Vec<(String, f64)> =
            own.chain(compared).filter_map(|(tag, value)| Some((tag, finite(value?)?))).collect();
        let known: Vec<(&str, f64)> =
            known.iter().map(|(tag, value)| (tag.as_str(), *value)).collect();
        self.events.scalars(step, &known)
    }

    pub fn sample(&mut self, sample: &Sample) -> Result<(), TrainError> {
        self.metrics.write(&Metrics::Sample(sample.clone()))
    }

    pub fn rounding(&mut self, rounding: &Rounding) -> Result<(), TrainError> {
        self.metrics.write(&Metrics::Rounding(rounding.clone()))
    }

    /// Makes sure that all lines so far survive a power cut.
    pub fn sync(&self) -> Result<(), TrainError> {
        self.metrics.sync()
    }
}
