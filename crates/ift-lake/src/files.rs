//! The result files of a study: JSON, CSV tables and pictures.

use std::{fs, path::Path};

use rayon::prelude::*;

use crate::{
    error::LakeError,
    measure::Measure,
    pictures::pictures,
    report::{Scene, SceneResults, StudyReport},
    statistics::Estimate,
    summary::{Findings, RunRow},
    verdict::{Relation, Verdict},
};

/// Writes the results into an existing folder.
///
/// * `report.json`: the [`crate::StudyReport`]; the `estimates` of a learner are an object with one
///   entry for each [`Measure`], by its name;
/// * `runs.csv`: one line per policy;
/// * `summary.csv`: one line per scene and learner, with means and half widths of 95 % intervals;
/// * `comparisons.csv`: one line per scene and pair of learners;
/// * `groups.csv`: the same as `summary.csv` for scenes over several maps, whose unit is the map;
///   `world` is the origin and ice of the maps, and `samples` their number;
/// * `verdicts.csv`: one line per scene or group, claim, measure and relation of the claim: the
///   advantage of the first method with its interval and p-values. `unit` says what the `samples`
///   are: seeds of a scene or maps of a group. Columns that begin with `claim_` are about the whole
///   claim and repeat for its relations (see [`crate::Verdict`]);
/// * `pictures/`, if `with_pictures` is set: every picture as SVG and as PNG.
///
/// Means over no states are null in `report.json` and empty in CSV files. There, numbers below
/// 0.00001 have an exponent: `6.87e-7`.
///
/// # Errors
/// If a file cannot be written or a picture cannot be drawn.
pub fn write(findings: &Findings, folder: &Path, with_pictures: bool) -> Result<(), LakeError> {
    let json = serde_json::to_string(&findings.report).map_err(|error| failed(folder, &error))?;
    put(&folder.join("report.json"), json.as_bytes())?;
    runs(&findings.runs, &folder.join("runs.csv"))?;
    summary(findings, &folder.join("summary.csv"))?;
    comparisons(findings, &folder.join("comparisons.csv"))?;
    groups(&findings.report, &folder.join("groups.csv"))?;
    verdicts(&findings.report, &folder.join("verdicts.csv"))?;
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
        row.push(run.rejected_optimal.map_or_else(String::new, number));
        row.extend(run.measures.iter().copied().map(number));
        row
    });
    table(path, header, rows)
}

fn summary(findings: &Findings, path: &Path) -> Result<(), LakeError> {
    let header = ["world", "start", "suboptimal", "learner"].map(str::to_owned);
    let header = header.into_iter().chain(columns_of_measures()).collect();
    let rows = scenes(&findings.report).flat_map(|(world, scene)| {
        scene.results.learners.iter().map(move |learner| {
            let names = names(world, &scene.results).into_iter().chain([learner.label.as_str()]);
            names.map(str::to_owned).chain(columns_of(&learner.estimates)).collect()
        })
    });
    table(path, header, rows)
}

fn groups(report: &StudyReport, path: &Path) -> Result<(), LakeError> {
    let header = ["world", "start", "suboptimal", "samples", "learner"].map(str::to_owned);
    let header = header.into_iter().chain(columns_of_measures()).collect();
    let rows = report.groups.iter().flat_map(|group| {
        group.results.learners.iter().map(move |learner| {
            let names = names(&group.maps, &group.results).map(str::to_owned).into_iter();
            let names = names.chain([group.different_maps.to_string(), learner.label.clone()]);
            names.chain(columns_of(&learner.estimates)).collect()
        })
    });
    table(path, header, rows)
}

/// Every scene with the name of its world.
fn scenes(report: &StudyReport) -> impl Iterator<Item = (&str, &Scene)> {
    let worlds = report.worlds.iter();
    worlds.flat_map(|world| world.scenes.iter().map(|scene| (world.name.as_str(), scene)))
}

/// The columns `world`, `start` and `suboptimal`. For a group, `world` is its maps.
fn names<'a>(world: &'a str, results: &SceneResults) -> [&'a str; 3] {
    [world, results.start.name(), results.suboptimal.name()]
}

/// Two columns for each measure: the mean, and half the width of its interval.
fn columns_of_measures() -> impl Iterator<Item = String> {
    let columns =
        |measure: Measure| [measure.name().to_owned(), format!("{}_half_width", measure.name())];
    Measure::ALL.into_iter().flat_map(columns)
}

fn columns_of(estimates: &[Estimate]) -> impl Iterator<Item = String> {
    let columns = |estimate: &Estimate| [estimate.mean, estimate.half_width].map(number);
    estimates.iter().flat_map(columns)
}

fn verdicts(report: &StudyReport, path: &Path) -> Result<(), LakeError> {
    let header = [
        "unit",
        "samples",
        "world",
        "start",
        "suboptimal",
        "claim",
        "measure",
        "better",
        "worse",
        "advantage",
        "half_width",
        "p",
        "p_opposite",
        "claim_holds",
        "claim_share",
        "claim_p",
        "claim_p_holm",
        "claim_p_against",
        "claim_p_against_holm",
        "claim_outcome",
    ];
    let seeds = report.seeds.to_string();
    let of_scenes = scenes(report).map(|(world, scene)| {
        (["seed".to_owned(), seeds.clone()], names(world, &scene.results), &scene.results)
    });
    let of_groups = report.groups.iter().map(|group| {
        let unit = ["map".to_owned(), group.different_maps.to_string()];
        (unit, names(&group.maps, &group.results), &group.results)
    });
    let rows = of_scenes.chain(of_groups).flat_map(|(unit, names, results)| {
        let begin: Vec<_> = unit.into_iter().chain(names.map(str::to_owned)).collect();
        results.verdicts.iter().flat_map(move |verdict| rows_of(begin.clone(), verdict))
    });
    table(path, header.map(str::to_owned).to_vec(), rows)
}

/// One row for each relation of a verdict, all of which begin with the same columns.
fn rows_of(begin: Vec<String>, verdict: &Verdict) -> impl Iterator<Item = Vec<String>> {
    verdict.relations.iter().map(move |relation| {
        let Relation { better, worse, advantage, p, p_opposite } = relation;
        let mut row = begin.clone();
        let names = [verdict.claim.name(), verdict.measure.name(), better, worse];
        row.extend(names.map(str::to_owned));
        let Estimate { mean, half_width } = *advantage;
        row.extend([mean, half_width, *p, *p_opposite].map(number));
        row.push(verdict.holds.to_string());
        let Verdict { share, p, p_holm, p_against, p_against_holm, .. } = *verdict;
        row.extend([share, p, p_holm, p_against, p_against_holm].map(number));
        row.push(verdict.outcome.name().to_owned());
        row
    })
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
    let rows = scenes(&findings.report).flat_map(|(world, scene)| {
        scene.comparisons.iter().map(move |pair| {
            let learners = [pair.first.as_str(), &pair.second];
            let names = names(world, &scene.results).into_iter().chain(learners);
            let Estimate { mean, half_width } = pair.difference;
            let numbers = [mean, half_width, pair.closer, pair.farther, pair.p, pair.p_holm];
            names.map(str::to_owned).chain(numbers.map(number)).collect()
        })
    });
    table(path, header.map(str::to_owned).to_vec(), rows)
}

/// The shortest text that is parsed as the same number, with an exponent for very small and very
/// large numbers; empty for NaN, a value that does not exist.
fn number(value: f64) -> String {
    match value.abs() {
        size if size.is_nan() => String::new(),
        0.0 => "0".to_owned(),
        1e-5..1e15 | f64::INFINITY => value.to_string(),
        _ => format!("{value:e}"),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_read_back_the_same() {
        for (value, text) in [
            (0.0, "0"),
            (-0.0, "0"),
            (0.25, "0.25"),
            (-3.0, "-3"),
            (1e-5, "0.00001"),
            (9.5e-6, "9.5e-6"),
            (-6.87e-120, "-6.87e-120"),
            (1e300, "1e300"),
            (f64::NAN, ""),
        ] {
            assert_eq!(number(value), text);
        }
        for value in [0.1 + 0.2, 1e-7 / 3.0, -f64::MIN_POSITIVE, f64::MAX, f64::INFINITY] {
            let text = number(value);
            assert_eq!(text.parse::<f64>(), Ok(value));
            assert!(text.len() < 26, "{text}");
        }
    }
}
