//! What a training run shows in the terminal.

use std::path::Path;
use std::time::Duration;

use ift_train::{
    EvalMetrics, Observer, Phase, PreferenceMetrics, Progress, Rounding, Sample, Start, StepMetrics,
};
use indicatif::{HumanBytes, HumanDuration, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::output::Output;

/// Lines over a whole run where there is no progress bar.
const LINES: u64 = 40;

/// Shows a run, and remembers what to compare at its end.
pub(crate) struct TrainReport {
    output: Output,
    bar: ProgressBar,
    evals: Vec<EvalMetrics>,
    samples: Vec<Sample>,
    /// How many tenths of the rows scored with a precomputed reference were reported.
    tenth: Option<usize>,
}

impl TrainReport {
    /// A report that shows nothing yet.
    pub(crate) fn new(output: Output) -> Self {
        let target = if output.progress() {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        };
        let bar = ProgressBar::with_draw_target(Some(0), target);
        set_style(&bar, "{msg}");
        Self { output, bar, evals: Vec::new(), samples: Vec::new(), tenth: None }
    }

    /// Takes the progress bar away.
    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }

    /// Shows how much of something is done, from now on.
    fn count(&self, all: u64, done: u64) {
        set_style(&self.bar, "{bar:24} {pos}/{len} {msg}");
        self.bar.set_length(all);
        self.bar.set_position(done);
    }

    fn note(&self, text: &str) {
        self.bar.suspend(|| self.output.note(text));
    }

    /// Held-out loss and answers, before and after.
    pub(crate) fn comparison(&self) {
        if let [first, .., last] = self.evals.as_slice() {
            // A resumed run has not seen the beginning.
            let when = if first.step == 0 {
                "before".to_owned()
            } else {
                format!("at step {}", first.step)
            };
            self.note(&format!(
                "\nheld-out loss {:.4} {when}, {:.4} after ({} rows, {} targets; perplexity {:.2} \
                    → {:.2})",
                first.loss, last.loss, last.rows, last.targets, first.perplexity, last.perplexity
            ));
        }
        let Some(end) = self.samples.last().map(|s| s.step) else { return };
        let Some(start) = self.samples.first().map(|s| s.step).filter(|&start| start < end) else {
            return;
        };
        let of = |step: u64| self.samples.iter().filter(move |s| s.step == step);
        for (before, after) in of(start).zip(of(end)) {
            self.note(&format!(
                "\n  prompt  {}\n  before  {}\n  after   {}",
                one_line(&before.prompt),
                one_line(&before.answer),
                one_line(&after.answer)
            ));
        }
        self.note("");
    }
}

/// Text with its line ends shown as `⏎`, cut where it gets long.
fn one_line(text: &str) -> String {
    const LONGEST: usize = 200;
    let mut line: String = text.trim().replace('\n', " ⏎ ").chars().take(LONGEST).collect();
    if line.is_empty() {
        line.push_str("(nothing)");
    } else if text.chars().count() > LONGEST {
        line.push('…');
    }
    line
}

impl Observer for TrainReport {
    fn phase(&mut self, phase: Phase) {
        let what = match phase {
            Phase::ReadingData => "reading the data",
            Phase::ReadingModel => "reading the model",
            Phase::Evaluating => "evaluating",
            Phase::Sampling => "answering the prompts",
            Phase::Saving => "saving",
        };
        self.bar.set_message(what);
    }

    fn stage(&mut self, number: usize, stages: usize, name: &str) {
        self.note(&format!("\nstage {number} of {stages}: {name}"));
        self.evals.clear();
        self.samples.clear();
    }

    fn reference_scored(&mut self, done: usize, rows: usize) {
        self.bar.set_message("rows scored with the reference model");
        self.count(rows as u64, done as u64);
        // Rows come in groups; the first of each tenth is worth a line.
        let tenth = |row: usize| 10 * row / rows.max(1);
        if !self.output.progress() && tenth(done) > self.tenth.replace(tenth(done)).unwrap_or(0) {
            self.output.note(&format!("scoring with the reference model: {done} of {rows} rows"));
        }
    }

    fn started(&mut self, start: &Start) {
        self.note(&format!("training rows\n{}", start.train));
        if let Some(held_out) = &start.held_out {
            self.note(&format!("held-out rows\n{held_out}"));
        }
        for notice in &start.notices {
            self.note(&format!("note: {notice}"));
        }
        if let Some(from) = &start.resumed_from {
            self.note(&format!("resuming from {}", from.display()));
        }
        self.note(&format!(
            "{} of {} parameters are trainable; {} rows; {} steps ({} per epoch, {} of warm-up); \
             {} threads; at most about {} of memory",
            millions(start.trainable),
            millions(start.weights),
            start.rows,
            start.steps,
            start.steps_per_epoch,
            start.warmup_steps,
            start.threads,
            HumanBytes(start.memory as u64)
        ));
        self.count(start.steps, start.steps_done);
    }

    fn stepped(&mut self, metrics: &StepMetrics, progress: &Progress) {
        let lambda = metrics.lambda.map(|l| format!(" λ {l:.3}")).unwrap_or_default();
        let preference = metrics.preference.map(|p| preference(&p)).unwrap_or_default();
        let line = format!(
            "loss {:.4}{lambda}{preference} lr {:.2e} norm {:.3} {:.0} tokens/s, {} left",
            metrics.loss,
            metrics.lr,
            metrics.grad_norm,
            metrics.tokens_per_second,
            HumanDuration(Duration::from_secs(progress.time_left.as_secs()))
        );
        self.bar.set_position(metrics.step);
        self.bar.set_message(line.clone());
        let (last, every) = (progress.steps_left == 0, (progress.steps / LINES).max(1));
        if !self.output.progress()
            && (metrics.step == 1 || metrics.step.is_multiple_of(every) || last)
        {
            self.output.note(&format!("step {}/{} {line}", metrics.step, progress.steps));
        }
    }

    fn evaluated(&mut self, metrics: &EvalMetrics) {
        let own = metrics
            .method_loss
            .map(|loss| format!(" ({loss:.4} of the method)"))
            .unwrap_or_default();
        let preference = metrics.preference.map(|p| preference(&p)).unwrap_or_default();
        self.note(&format!(
            "step {}: held-out loss {:.4}{own}, perplexity {:.2}{preference}",
            metrics.step, metrics.loss, metrics.perplexity
        ));
        self.evals.push(metrics.clone());
    }

    fn sampled(&mut self, sample: &Sample) {
        self.samples.push(sample.clone());
    }

    fn rounded(&mut self, rounding: &Rounding) {
        self.note(&format!("step {}: {rounding}", rounding.step));
    }

    fn checkpointed(&mut self, step: u64, path: &Path) {
        self.note(&format!("step {step}: checkpoint {}", path.display()));
    }
}

fn set_style(bar: &ProgressBar, template: &str) {
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
}

/// How far apart chosen and rejected answers are.
fn preference(metrics: &PreferenceMetrics) -> String {
    let accuracy =
        metrics.reward_accuracy.map(|a| format!(" accuracy {:.0}%", 100.0 * a)).unwrap_or_default();
    format!(" margin {:.3}{accuracy}", metrics.reward_margin)
}

fn millions(count: usize) -> String {
    format!("{:.2}M", count as f64 / 1e6)
}

#[cfg(test)]
mod tests {
    use super::one_line;

    #[test]
    fn answers_are_shown_on_one_line() {
        assert_eq!(one_line(" a\nb "), "a ⏎ b");
        assert_eq!(one_line(""), "(nothing)");
        assert_eq!(one_line(&"x".repeat(300)).chars().count(), 201);
    }
}
