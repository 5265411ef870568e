//! The result files of a study: JSON, CSV tables and pictures.

use std::{fs, path::Path};

use rayon::prelude::*;

use crate::{
    error::LakeError,
    measure::Measure,
    pictures::pictures,
    statistics::Estimate,
    summary::{Findings, RunRow},
};

/// Writes the results into an existing folder.
///
/// * `report.json`: the [`crate::StudyReport`];
/// * `runs.csv`: one line per policy;
/// * `summary.csv`: one line per scene and learner, with means and half widths of 95 % intervals;
/// * `comparisons.csv`: one line per scene and pair of learners;
/// * `pictures/`, if `with_pictures` is set: every picture as SVG and as PNG.
///
/// # Errors
/// If a file cannot be written or a picture cannot be drawn.
pub fn write(findings: &Findings, folder: &Path, with_pictures: bool) -> Result<(), LakeError> {
    let json = serde_json::to_string(&findings.report).map_err(|error| failed(folder, &error))?;
    put(&folder.join("report.json"), json.as_bytes())?;
    runs(&findings.runs, &folder.join("runs.csv"))?;
    summary(findings, &folder.join("summary.csv"))?;
    comparisons(findings, &folder.join("comparisons.csv"))?;
    if !with_pictures {
        return Ok(());
    }
    let gallery = folder.join("pictures");
    fs::create_dir(&gallery).map_err(|error| failed(&gallery, &error))?;
    pictures(&findings.report).par_iter().try_for_each(|picture| {
        put(&gallery.join(format!("{}.svg", picture.name)), picture.svg().as_bytes())?;
        put(&gallery.join(format!("{}.png", picture.name)), &picture.png()?)
    })
}

fn runs(runs: &[RunRow], path: &Path) -> Result<(), LakeError> {
    let names = ["world", "start", "suboptimal", "learner", "seed", "rejected_optimal"].into_iter();
    let header = names.chain(Measure::ALL.map(Measure::name)).map(str::to_owned).collect();
    let rows = runs.iter().map(|run| {
        let suboptimal = run.suboptimal.map_or("", |kind| kind.name());
        let mut row =
            [&run.world, run.start.name(), suboptimal, &run.learner].map(str::to_owned).to_vec();
        row.push(run.seed.to_string());
        row.push(run.rejected_optimal.map_or_else(String::new, |share| share.to_string()));
        row.extend(run.measures.iter().map(f64::to_string));
        row
    });
    table(path, header, rows)
}

fn summary(findings: &Findings, path: &Path) -> Result<(), LakeError> {
    let mut header = ["world", "start", "suboptimal", "learner"].map(str::to_owned).to_vec();
    for measure in Measure::ALL {
        header.extend([measure.name().to_owned(), format!("{}_half_width", measure.name())]);
    }
    let scenes =
        findings.report.worlds.iter().flat_map(|w| w.scenes.iter().map(move |scene| (w, scene)));
    let rows = scenes.flat_map(|(world, scene)| {
        scene.learners.iter().map(move |learner| {
            let names = [&world.name, scene.start.name(), scene.suboptimal.name(), &learner.label];
            let mut row = names.map(str::to_owned).to_vec();
            for estimate in &learner.estimates {
                row.extend([estimate.mean, estimate.half_width].map(|number| number.to_string()));
            }
            row
        })
    });
    table(path, header, rows)
}

fn comparisons(findings: &Findings, path: &Path) -> Result<(), LakeError> {
    let header = [
        "world",
        "start",
        "suboptimal",
        "first",
        "second",
        "difference",
        "half_width",
        "closer",
        "farther",
        "p",
        "p_holm",
    ];
    let scenes =
        findings.report.worlds.iter().flat_map(|w| w.scenes.iter().map(move |scene| (w, scene)));
    let rows = scenes.flat_map(|(world, scene)| {
        scene.comparisons.iter().map(move |pair| {
            let names = [
                &world.name,
                scene.start.name(),
                scene.suboptimal.name(),
                &pair.first,
                &pair.second,
            ];
            let Estimate { mean, half_width } = pair.difference;
            let numbers = [mean, half_width, pair.closer, pair.farther, pair.p, pair.p_holm];
            names
                .map(str::to_owned)
                .into_iter()
                .chain(numbers.map(|number| number.to_string()))
                .collect()
        })
    });
    table(path, header.map(str::to_owned).to_vec(), rows)
}

fn table(
    path: &Path,
    header: Vec<String>,
    rows: impl Iterator<Item = Vec<String>>,
) -> Result<(), LakeError> {
    let mut writer = csv::Writer::from_path(path).map_err(|error| failed(path, &error))?;
    writer.write_record(header).map_err(|error| failed(path, &error))?;
    for row in rows {
        writer.write_record(row).map_err(|error| failed(path, &error))?;
    }
    writer.flush().map_err(|error| failed(path, &error))
}

fn put(path: &Path, contents: &[u8]) -> Result<(), LakeError> {
    fs::write(path, contents).map_err(|error| failed(path, &error))
}

fn failed(path: &Path, error: &dyn std::error::Error) -> LakeError {
    LakeError::Write { path: path.to_owned(), problem: error.to_string() }
}
