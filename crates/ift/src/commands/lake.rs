//! `ift lake`: the Frozen Lake study.

use std::fs;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Error, Result, bail};
use ift_lake::{Findings, LakeError, LeftOut, LeftOutReason, Study, StudySettings, SweepValues};
use ift_train::write_folder;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::{lake_table, lake_watch};
use crate::arguments::LakeArguments;
use crate::output::Output;
use crate::recipe_file::RecipeFile;

/// Runs the command.
pub(crate) fn run(arguments: &LakeArguments, output: Output) -> Result<()> {
    let file = match &arguments.recipe {
        Some(path) => RecipeFile::read(path, &arguments.set)?,
        None => RecipeFile::parse("ift lake", "", &arguments.set)?,
    };
    let settings: StudySettings = file.resolve()?;
    let at_fault = |error| match error {
        LakeError::Setting { ref field, .. } => file.invalid(field, &error).into(),
        // Mistakes in the map of `[[designed]]` are errors of that setting.
        LakeError::Read { .. } | LakeError::Map { .. } => file.invalid("maps", &error).into(),
        error => Error::new(error),
    };
    if let Some(policy) = &arguments.watch {
        let show = lake_watch::Show::new(&settings, policy).map_err(at_fault)?;
        return show.run(arguments, output);
    }
    let target = &settings.output;
    check_free(target, arguments.overwrite)?;
    let study = Study::new(&settings).map_err(at_fault)?;
    let notes = [left_out_note(study.left_out()), sweep_note(&settings)];
    for note in notes.iter().flatten() {
        output.note(note);
    }
    let began = Instant::now();
    let findings = run_study(&study, output).map_err(at_fault)?;
    write_folder(target, |folder| {
        fs::write(folder.join("study.toml"), toml::to_string_pretty(&settings)?)
            .with_context(|| format!("cannot write `{}`", folder.join("study.toml").display()))?;
        Ok::<_, Error>(ift_lake::write(&findings, folder, settings.pictures)?)
    })?;
    if output.json() {
        output.result(&serde_json::to_string(&findings.report)?)?;
    } else {
        output.result(lake_table::tables(&findings.report).trim_end())?;
    }
    output.note(&format!(
        "\n{} policies in {:.0} s; results are in {}",
        study.policies(),
        began.elapsed().as_secs_f64(),
        target.display()
    ));
    Ok(())
}

/// Checks that the study may be written to the folder.
fn check_free(target: &Path, overwrite: bool) -> Result<()> {
    if target.as_os_str().is_empty() {
        bail!("`output` is empty; expected the name of a folder");
    }
    if !target.exists() {
        return Ok(());
    }
    let name = target.display();
    if !overwrite {
        bail!(
            "`{name}` exists already; `--overwrite` replaces it, `--set output=…` chooses another \
             folder"
        );
    }
    // What is replaced is deleted, so it must be a study.
    if !target.join("report.json").is_file() || !target.join("runs.csv").is_file() {
        bail!(
            "`{name}` exists and is not an earlier study; choose another folder with `--set \
             output=…`"
        );
    }
    Ok(())
}

/// The line that says that values of sweeps have no effect, unless they are the defaults.
fn sweep_note(settings: &StudySettings) -> Option<String> {
    let SweepValues { lambda, gamma, .. } = SweepValues::default();
    let sweep = &settings.sweep;
    let chosen = sweep.lambda != lambda || sweep.gamma != gamma;
    let note = "nothing is swept, because `sweep.starts` lists none of `starts`";
    (chosen && !sweep.starts.is_empty() && settings.sweeps_nothing()).then(|| note.to_owned())
}

/// The line on random maps that the study leaves out, with the reason for the first of them.
fn left_out_note(left_out: &[LeftOut]) -> Option<String> {
    let LeftOut { map_seed, reason } = left_out.first()?;
    let which = match left_out.len() {
        1 => format!("seed {map_seed} was left out, which"),
        // The names of the worlds show the seeds that are used.
        count @ 11.. => format!("{count} were left out, the first with seed {map_seed}, which"),
        _ => {
            let seeds: Vec<_> = left_out.iter().map(|map| map.map_seed.to_string()).collect();
            format!("seeds {} were left out; the first", seeds.join(", "))
        }
    };
    let repeated = |map: &&LeftOut| matches!(map.reason, LeftOutReason::Repeated { .. });
    let repeats = match left_out.iter().filter(repeated).count() {
        count @ 1.. if left_out.len() > 1 => format!("; {count} of them repeat a map that is used"),
        _ => String::new(),
    };
    Some(format!("random maps: {which} {reason}{repeats}"))
}

/// Runs the study with a progress bar.
fn run_study(study: &Study, output: Output) -> Result<Findings, LakeError> {
    let target =
        if output.progress() { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    let bar = ProgressBar::with_draw_target(Some(study.policies()), target);
    if let Ok(style) = ProgressStyle::with_template("{bar:24} {pos}/{len} policies, {eta} left") {
        bar.set_style(style);
    }
    let findings = study.run(|| bar.inc(1));
    bar.finish_and_clear();
    findings
}
