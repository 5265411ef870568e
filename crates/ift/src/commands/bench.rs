//! `ift bench`: the training step, timed on given rows.

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use ift_backend::{Backend, Profile, Storage};
use ift_data::{Row, rows_from_jsonl};
use ift_parallel::Solo;
use ift_train::{
    Learner, Optimizer, ReferenceSource, StepSettings, Work, page_faults, peak_memory,
};
use serde_json::json;

use super::backend::run_on;
use crate::arguments::BenchArguments;
use crate::commands::method::{MethodSettings, load_reference};
use crate::output::Output;

/// Runs the command.
pub(crate) fn run(arguments: BenchArguments, output: Output) -> Result<()> {
    let settings = MethodSettings::new(&arguments.step)?;
    let rows = rows_from_jsonl(&arguments.step.rows, settings.method.needs().rows)?;
    if rows.is_empty() {
        bail!("`{}` holds no rows", arguments.step.rows.display());
    }
    run_on(arguments.step.compute, BenchWork { arguments, settings, rows, output })
}

struct BenchWork {
    arguments: BenchArguments,
    settings: MethodSettings,
    rows: Vec<Row>,
    output: Output,
}

impl Work for BenchWork {
    type Output = Result<()>;

    fn run<B: Backend>(self, backend: Arc<B>, _: usize) -> Result<()> {
        let (step_arguments, per_step) =
            (&self.arguments.step, self.arguments.rows_per_step as usize);
        let (settings, method) = (&self.settings, &self.settings.method);
        let loaded =
            load_reference(settings, step_arguments, Arc::clone(&backend), Storage::Bf16, true)?;
        let model = settings.load(step_arguments, backend)?;
        // The settings of the comparison: RMSprop, learning rate 5e-7, clipping at 10.
        let mut learner = Learner::new(model, Optimizer::default(), None)?;
        let common = StepSettings {
            method,
            seed: step_arguments.seed,
            warmup_steps: 0,
            noise: 0.0,
            recompute: step_arguments.recompute,
            micro_batch_tokens: step_arguments.micro_batch_tokens,
            collective: &Solo,
        };
        let (mut seconds, mut tokens, mut first, mut faults) = (Vec::new(), 0, None, None);
        for step in 0..=self.arguments.steps {
            let at = |i: usize| (step as usize * per_step + i) % self.rows.len();
            let rows: Vec<&Row> = (0..per_step).map(|i| &self.rows[at(i)]).collect();
            let context = common.at(step);
            let start = Instant::now();
            let reference = match &loaded {
                Some(reference) => ReferenceSource::Model(reference),
                None if method.needs().reference => ReferenceSource::Base,
                None => ReferenceSource::None,
            };
            let (sums, _) = learner
                .step(&reference, &rows, &context, Optimizer::default().lr())
                .with_context(|| format!("`{}` cannot be used", step_arguments.rows.display()))?;
            if first.is_none() {
                // The first step warms up caches and buffers and is not timed.
                first = Some(sums.loss / sums.count);
                learner.model().backend().take_profile();
                faults = page_faults();
            } else {
                seconds.push(start.elapsed().as_secs_f64());
                tokens += sums.tokens;
            }
        }
        let faults = faults.zip(page_faults()).map(|(before, after)| after - before);
        let total: f64 = seconds.iter().sum();
        let backend = learner.model().backend();
        let profile = backend.take_profile();
        let peak = if self.arguments.profile { backend.peak() } else { None };
        if self.arguments.profile {
            self.output.note(&table(&profile, total, peak));
        }
        let gibibytes = |bytes: u64| round(bytes as f64 / f64::from(1u32 << 30), 2);
        let answer = json!({
            "peer": "ift",
            "method": step_arguments.method,
            "dtype": step_arguments.compute.precision.name(),
            "pad": "none",
            "sort": false,
            "attn": "fused",
            "rows": per_step,
            "micro": step_arguments.micro_batch_tokens,
            "step_seconds": round(median(seconds), 3),
            "tokens_per_second": round(tokens as f64 / total, 1),
            "first_loss": first.map(|loss| round(loss, 5)),
            "peak_rss_gib": peak_memory().map(gibibytes),
            "peak_gpu_gib": null,
            "threads": profile.threads,
            "recompute": step_arguments.recompute,
            "page_faults_per_step": faults.map(|n| n / self.arguments.steps),
            "gflops": round(useful(&profile) / total / 1e9, 1),
            "peak_gflops": peak.map(|p| round(p / 1e9, 1)),
            "ift": env!("CARGO_PKG_VERSION"),
        });
        self.output.result(&answer.to_string())?;
        Ok(())
    }
}

/// Floating point operations of everything that was counted.
fn useful(profile: &Profile) -> f64 {
    profile.entries.iter().map(|entry| entry.flops as f64).sum()
}

/// Where the timed steps went, by kind of operation, and how near the arithmetic came to `peak`.
fn table(profile: &Profile, seconds: f64, peak: Option<f64>) -> String {
    let of_peak =
        |rate: f64| peak.map_or(String::new(), |peak| format!("{:.1}%", 100.0 * rate / peak));
    let line = |name: &str, time: f64, flops: f64| {
        let rate = flops / time;
        let (billions, of_peak) = if flops > 0.0 {
            (format!("{:.1}", rate / 1e9), of_peak(rate))
        } else {
            Default::default()
        };
        format!(
            "{name:<22} {time:>9.3} {:>6.1}% {billions:>9} {of_peak:>8}",
            100.0 * time / seconds
        )
    };
    let mut lines = vec![format!(
        "{:<22} {:>9} {:>7} {:>9} {:>8}",
        "operation", "seconds", "share", "GFLOP/s", "of peak"
    )];
    let mut known = 0.0;
    for entry in &profile.entries {
        let time = entry.time.as_secs_f64();
        known += time;
        lines.push(line(entry.operation, time, entry.flops as f64));
    }
    lines.push(line("between", seconds - known, 0.0));
    lines.push(line("all", seconds, useful(profile)));
    if profile.threads > 0 {
        let threads = profile.threads;
        let idle = 1.0 - profile.busy.as_secs_f64() / (seconds * threads as f64);
        lines.push(format!("idle: {:.1}% of the time of {threads} threads", 100.0 * idle));
    }
    if let Some(peak) = peak {
        lines.push(format!("peak: {:.1} GFLOP/s, measured after the steps", peak / 1e9));
    }
    lines.join("\n")
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len().is_multiple_of(2) {
        f64::midpoint(values[middle - 1], values[middle])
    } else {
        values[middle]
    }
}

fn round(value: f64, digits: i32) -> f64 {
    let scale = 10f64.powi(digits);
    (value * scale).round() / scale
}

#[cfg(test)]
mod tests {
    use super::{median, round};

    #[test]
    fn medians_and_digits() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), 2.5);
        assert_eq!(round(1.23456, 3), 1.235);
    }
}
