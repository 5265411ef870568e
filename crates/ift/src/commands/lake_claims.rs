//! The tables that `ift lake` prints about the two claims of the paper.

use std::fmt::Write;

use ift_lake::{Claim, Estimate, Outcome, PAPER_METHODS, SceneResults, StudyReport, Verdict};

const LEGEND: &str = "\
The paper (section 5.3) makes two claims about the methods dpo, ift, orpo and sft:
  distance:  the policy of dpo is closer to the best possible one than that of ift, and that of
             ift is closer than those of orpo and sft;
  alignment: the cells that training uses are those that the agent itself visits, most with dpo,
             then ift, then orpo, then sft.
Columns: the initial policy and what methods on pairs reject; the four methods in the order
found, best first, with `=` between equal ones; how much better the first of two methods is than
the second (negative: it is worse), ± half a 95 % interval; whether the claim holds; a p-value;
and of all ways to measure the claim, how many confirm, refute and do not decide it.
A claim is confirmed if all its comparisons hold, and refuted if one holds the other way round,
each with a p-value below 0.05. The p-value of a refuted claim is that of the test against it, all
others are those of the test for it. Both are corrected over the rows of the table (Holm), the
tests for the claim and those against it separately.
";

/// Largest number of scenes that are printed.
const MOST_SCENES: usize = 60;

/// All tables about the claims: those over maps first, because they are about the most samples.
pub(super) fn tables(report: &StudyReport) -> String {
    let scenes: Vec<Row> = report
        .worlds
        .iter()
        .flat_map(|world| world.scenes.iter().map(|s| (world.name.clone(), &s.results)))
        .collect();
    if scenes.iter().all(|scene| scene.1.verdicts.is_empty()) {
        return format!(
            "The paper's claims are not tested: they need the methods {}.\n",
            PAPER_METHODS.join(", ")
        );
    }
    let groups: Vec<Row> =
        report.groups.iter().map(|group| (group.heading(), &group.results)).collect();
    let mut text = LEGEND.to_owned();
    for method in PAPER_METHODS {
        let tested = scenes.first().and_then(|scene| scene.1.tested_as(method));
        if let Some(learner) = tested.filter(|learner| learner.label != method) {
            _ = writeln!(text, "Here {method} is `{}`.", learner.label);
        }
    }
    if !groups.is_empty() {
        for claim in Claim::ALL {
            let samples = "over maps, each with its mean over the seeds";
            table(&mut text, claim, samples, &groups, true);
        }
    }
    if scenes.len() > MOST_SCENES {
        _ = writeln!(
            text,
            "\nThe {} scenes are too many to be printed; `verdicts.csv` has them all.",
            scenes.len()
        );
    } else {
        for claim in Claim::ALL {
            let samples = format!("in each scene, over {}", seeds(report));
            table(&mut text, claim, &samples, &scenes, report.seeds > 1);
        }
    }
    text.push('\n');
    for claim in Claim::ALL {
        if !groups.is_empty() {
            count(&mut text, claim, "groups of maps", &groups);
        }
        count(&mut text, claim, "scenes", &scenes);
    }
    text
}

/// The number of seeds with its noun.
pub(super) fn seeds(report: &StudyReport) -> String {
    match report.seeds {
        1 => "1 seed".to_owned(),
        count => format!("{count} seeds"),
    }
}

/// A scene or a group of maps, with its world or its maps.
type Row<'a> = (String, &'a SceneResults);

/// The paper's methods from best to worst: `dpo < ift < sft = orpo`.
fn order(results: &SceneResults, verdict: &Verdict) -> String {
    let mean = |method| Some((method, results.tested_as(method)?.estimate(verdict.measure).mean));
    let mut found: Vec<(&str, f64)> = PAPER_METHODS.into_iter().filter_map(mean).collect();
    found.sort_by(|a, b| a.1.total_cmp(&b.1));
    let sign = match verdict.claim {
        Claim::Distance => "<",
        Claim::Alignment => {
            found.reverse();
            ">"
        }
    };
    let mut text = String::new();
    for (index, (method, mean)) in found.iter().enumerate() {
        if let Some((_, better)) = index.checked_sub(1).map(|before| found[before]) {
            let tie = verdict.claim.advantage(better, *mean) == 0.0;
            _ = write!(text, " {} ", if tie { "=" } else { sign });
        }
        text.push_str(method);
    }
    text
}

/// The table of one claim: one line for each row with verdicts. A single sample has no `intervals`.
fn table(text: &mut String, claim: Claim, samples: &str, rows: &[Row], intervals: bool) {
    let (unit, factor) = match claim {
        Claim::Distance => {
            ("mean squared error × 1000 from a network fitted to the optimum (`fitted`)", 1000.0)
        }
        Claim::Alignment => {
            ("overlap of the cells of training with the agent's, in percent (`aligned`)", 100.0)
        }
    };
    _ = writeln!(text, "\nClaim: {}, {samples}\nMeasure: {unit}", claim.name());
    let pairs = claim.relations().map(|[better, worse]| format!("{better} vs {worse}"));
    let [first, second, third] = &pairs;
    _ = writeln!(
        text,
        "  {:25} {:22}{first:>14}{second:>14}{third:>14}  {:9} {:>6}  readings",
        "start, rejected", "found", "claim", "p"
    );
    let mut above = "";
    for (heading, results) in rows {
        let readings: Vec<_> = results.readings(claim).collect();
        let Some(verdict) = readings.first() else { continue };
        if heading != above {
            _ = writeln!(text, "{heading}");
            above = heading;
        }
        let scene = format!("{}, {}", results.start.name(), results.suboptimal.name());
        let mut line = format!("  {scene:25} {:22}", order(results, verdict));
        for relation in &verdict.relations {
            _ = write!(line, " {:>13}", interval(relation.advantage, factor, intervals));
        }
        let p = match verdict.outcome {
            Outcome::Refuted => verdict.p_against_holm,
            Outcome::Confirmed | Outcome::Undecided => verdict.p_holm,
        };
        let [yes, no, open] = counts(readings.iter().copied());
        let (outcome, p) = (verdict.outcome.name(), p_value(p));
        _ = writeln!(text, "{line}  {outcome:9} {p:>6}  {yes}/{no}/{open}");
    }
}

/// `factor` times an estimate, with one decimal, and its interval if there is one.
pub(super) fn interval(estimate: Estimate, factor: f64, exists: bool) -> String {
    let mean = format!("{:.1}", factor * estimate.mean);
    // A small negative number is rounded to a zero without a sign.
    let mean = if mean == "-0.0" { "0.0" } else { &mean };
    if exists { format!("{mean} ± {:.1}", factor * estimate.half_width) } else { mean.to_owned() }
}

fn p_value(p: f64) -> String {
    match p {
        p if p < 1e-99 => "<1e-99".to_owned(),
        p if p < 0.001 => format!("{p:.0e}"),
        p => format!("{p:.3}"),
    }
}

/// How many verdicts are confirmed, refuted and undecided.
fn counts<'a>(verdicts: impl Iterator<Item = &'a Verdict>) -> [usize; 3] {
    let mut counts = [0; 3];
    for verdict in verdicts {
        counts[match verdict.outcome {
            Outcome::Confirmed => 0,
            Outcome::Refuted => 1,
            Outcome::Undecided => 2,
        }] += 1;
    }
    counts
}

/// One line with the number of rows that confirm, refute and do not decide a claim.
fn count(text: &mut String, claim: Claim, what: &str, rows: &[Row]) {
    let verdicts: Vec<_> =
        rows.iter().filter_map(|(_, results)| results.readings(claim).next()).collect();
    let [yes, no, open] = counts(verdicts.iter().copied());
    _ = writeln!(
        text,
        "Claim {}, {what}: {yes} of {} confirm it, {no} refute it, {open} do not decide it.",
        claim.name(),
        verdicts.len()
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p_values_have_at_most_six_characters() {
        let cases = [(1.0, "1.000"), (0.0123, "0.012"), (4e-12, "4e-12"), (3e-99, "3e-99")];
        for (p, text) in cases.into_iter().chain([(1e-120, "<1e-99"), (0.0, "<1e-99")]) {
            assert_eq!(p_value(p), text);
        }
    }

    #[test]
    fn zero_has_no_sign() {
        let text = |mean: f64| interval(Estimate { mean, half_width: 0.001 }, 1e3, true);
        assert_eq!(text(-1e-5), "0.0 ± 1.0");
        assert_eq!(text(-0.0), "0.0 ± 1.0");
        assert_eq!(text(-1e-4), "-0.1 ± 1.0");
        assert_eq!(interval(Estimate { mean: -1e-5, half_width: 0.0 }, 1e3, false), "0.0");
    }
}
