//! The tables that `ift lake` prints: distances by learner and kind of sub-optimal trajectory, and
//! the paper's claims.

use std::fmt::Write;

use ift_lake::{Ice, Measure, Start, StudyReport, WorldReport};

use super::lake_claims;

/// Largest number of tables of distances.
const MOST_TABLES: usize = 8;

/// All tables.
pub(crate) fn tables(report: &StudyReport) -> String {
    let seeds = lake_claims::seeds(report);
    let intervals = match report.seeds {
        1 => format!("of {seeds}, without intervals"),
        _ => format!("± half a 95 % interval over {seeds}"),
    };
    let mut text = format!(
        "Distance from the optimum: mean squared error × 1000 from the optimal matrix (`mse`),\n\
         {intervals}, closest first; then the share of episodes that reach\n\
         the goal. Columns: the kind of trajectory that methods on pairs reject; other methods do\n\
         not see it.\n"
    );
    let (shown, left_out) = shown(report);
    for (world, start) in shown {
        text.push('\n');
        distances(&mut text, world, start, report.seeds > 1);
    }
    if left_out > 0 {
        _ = writeln!(
            text,
            "\nNot shown: {left_out} more tables of this kind, of starts `both` or of further \
             worlds.\nTheir numbers are in `summary.csv` and in the picture `overview`."
        );
    }
    diverged(&mut text, report);
    text.push('\n');
    text.push_str(&lake_claims::tables(report));
    text
}

/// The worlds and starts whose distances are printed, and the number of those left out: starts
/// `both`, if there are others, and all after the first [`MOST_TABLES`].
fn shown(report: &StudyReport) -> (Vec<(&WorldReport, Start)>, usize) {
    let mut tables: Vec<(&WorldReport, Start)> = Vec::new();
    for world in &report.worlds {
        let mut starts: Vec<Start> = world.scenes.iter().map(|scene| scene.results.start).collect();
        starts.dedup();
        tables.extend(starts.into_iter().map(|start| (world, start)));
    }
    let all = tables.len();
    let both = |start: Start| matches!(start, Start::Both(_));
    if tables.iter().any(|table| !both(table.1)) {
        tables.retain(|table| !both(table.1));
    }
    tables.truncate(MOST_TABLES);
    let left_out = all - tables.len();
    (tables, left_out)
}

/// One line for each learner whose training diverged.
fn diverged(text: &mut String, report: &StudyReport) {
    let scenes: Vec<_> =
        report.worlds.iter().flat_map(|world| &world.scenes).map(|s| &s.results).collect();
    let Some(first) = scenes.first() else { return };
    for label in first.learners.iter().map(|learner| &learner.label) {
        let shares = scenes.iter().filter_map(|scene| scene.learner(label));
        let shares: Vec<_> =
            shares.map(|learner| learner.estimate(Measure::Diverged).mean).collect();
        let share = shares.iter().sum::<f64>() / shares.len() as f64;
        if share > 0.0 {
            let percent = 100.0 * share;
            _ = writeln!(
                text,
                "{label} diverged in {percent:.1} % of its runs; the policies before that are \
                 measured."
            );
        }
    }
}

/// The table of one world and start: one row for each learner, one column for each kind. A single
/// seed has no `intervals`.
fn distances(text: &mut String, world: &WorldReport, start: Start, intervals: bool) {
    let scenes = world.scenes.iter().map(|scene| &scene.results);
    let scenes: Vec<_> = scenes.filter(|results| results.start == start).collect();
    let Some(first) = scenes.first() else { return };
    let width = first
        .learners
        .iter()
        .map(|learner| learner.label.chars().count())
        .max()
        .unwrap_or(0)
        .max(7);
    let kinds = |wide: usize| {
        let names = scenes.iter().map(|scene| format!("  {:>wide$}", scene.suboptimal.name()));
        names.collect::<Vec<_>>().concat()
    };
    // Widths of the columns; the headings above need more than a single column does.
    let (wide, narrow) = if scenes.len() == 1 { (19, 13) } else { (13, 9) };
    let (left, right) = ((wide + 2) * scenes.len(), (narrow + 2) * scenes.len());
    _ = writeln!(text, "{}", title(world, start));
    _ = writeln!(text, "{:width$}{:>left$}{:>right$}", "", "distance, rejected:", "reaches goal:");
    _ = writeln!(text, "{:width$}{}{}", "", kinds(wide), kinds(narrow));
    let mut order: Vec<_> = (0..first.learners.len()).collect();
    let mean = |learner: usize| -> f64 {
        scenes.iter().map(|scene| scene.learners[learner].estimate(Measure::Mse).mean).sum()
    };
    order.sort_by(|&a, &b| mean(a).total_cmp(&mean(b)));
    for learner in order {
        let mut line = format!("{:width$}", first.learners[learner].label);
        for scene in &scenes {
            let estimate = scene.learners[learner].estimate(Measure::Mse);
            let text = lake_claims::interval(estimate, 1000.0, intervals);
            _ = write!(line, "  {text:>wide$}");
        }
        for scene in &scenes {
            _ = write!(
                line,
                "  {:>narrow$.3}",
                scene.learners[learner].estimate(Measure::Success).mean
            );
        }
        _ = writeln!(text, "{line}");
    }
    _ = writeln!(text, "{:width$}{:>left$}  {:>narrow$.3}", "optimum", "0", world.optimum_success);
}

fn title(world: &WorldReport, start: Start) -> String {
    let ice = match world.ice {
        Ice::Solid => "solid ice",
        Ice::Slippery => "slippery ice",
    };
    format!("{}, {ice}, {}", world.name, start_text(start))
}

/// From which policy training starts.
pub(super) fn start_text(start: Start) -> String {
    match start {
        Start::Random => "from random weights".to_owned(),
        Start::Sft => "after SFT".to_owned(),
        Start::Both(kind) => {
            format!("from a policy fitted to both trajectories ({})", kind.name())
        }
    }
}
