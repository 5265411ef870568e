//! The overview of a study: tables of distances by learner and scene, and the paper's claims.

use super::{
    colours::{BLUE, GREEN, GREY, INK, RULE, VERMILLION, WHITE, blend},
    sketch::{Align, Point, Sketch, TextFormat, WIDTH},
};
use crate::{
    measure::Measure,
    report::{SceneResults, StudyReport},
    verdict::{Claim, Outcome, PAPER_METHODS},
};

const MARGIN: f64 = 12.0;
/// Top of the first table.
const TOP: f64 = 74.0;
/// Height of the line of worlds, and of the line of starts.
const HEADER: f64 = 20.0;
/// Height of the row of a learner.
const ROW: f64 = 24.0;
/// Height of the row of a claim.
const CLAIM: f64 = 20.0;
/// Gap between tables.
const GAP: f64 = 34.0;
/// Height of a line of the legend.
const LINE: f64 = 18.0;
/// Largest width of the name of a learner.
const LABEL: f64 = 150.0;
/// Largest width of a column.
const COLUMN: f64 = 76.0;
/// Smallest size of the names above columns.
const SMALLEST_HEADING: f64 = 9.0;
/// Number of columns above which a world gets a table of its own.
const WIDE: usize = 16;
/// The same in studies with more than four times as many columns.
const WIDEST: usize = 32;
/// Largest number of tables of worlds.
const TABLES: usize = 12;
/// Largest size of the values in cells.
const LARGEST_NUMBER: f64 = 10.0;
/// Smallest size of the values in cells; narrower cells have none.
const SMALLEST_NUMBER: f64 = 5.0;

/// Draws the tables. Rows are learners, columns are scenes; a cell shows the distance from the
/// optimum, darker where it is smaller. Groups of maps follow the worlds.
pub(super) fn overview(report: &StudyReport) -> Sketch {
    let worlds = report.worlds.iter().flat_map(|world| {
        world.scenes.iter().map(|scene| Column::new(world.name.clone(), &scene.results))
    });
    let groups = report.groups.iter().map(|group| Column::new(group.heading(), &group.results));
    let (worlds, groups): (Vec<Column>, Vec<Column>) = (worlds.collect(), groups.collect());
    let mut tables = split(&worlds);
    let left_out = tables.len().saturating_sub(TABLES);
    tables.truncate(TABLES);
    tables.extend(split(&groups));
    if tables.is_empty() {
        tables.push(&[]);
    }
    let layout = Layout::new(rows(&worlds), &tables);

    let legend = layout.legend(left_out);
    let below = TOP + (layout.height() + GAP) * tables.len() as f64 - GAP + 16.0;
    let mut sketch = Sketch::new(below + LINE * legend.len() as f64 + 8.0);
    let title = TextFormat::new(16.0, INK).bold(true);
    sketch.text((MARGIN, 24.0), "Distance from the optimum in every scene", title);
    let note = "Mean squared error of the policy. Dark: closest of the column; white: farthest.";
    sketch.text((MARGIN, 48.0), note, TextFormat::new(12.0, GREY));
    for (index, columns) in tables.iter().enumerate() {
        layout.table(&mut sketch, columns, TOP + (layout.height() + GAP) * index as f64);
    }
    for (index, line) in legend.into_iter().enumerate() {
        let y = below + LINE * (index as f64 + 0.5);
        sketch.text((MARGIN, y), line, TextFormat::new(11.0, GREY));
    }
    sketch
}

/// The columns of each table: those of one world or group, or of several that fit beside each
/// other.
fn split<'a, 'b>(columns: &'b [Column<'a>]) -> Vec<&'b [Column<'a>]> {
    let limit = if columns.len() > 4 * WIDE { WIDEST } else { WIDE };
    let mut tables = Vec::new();
    let (mut start, mut end) = (0, 0);
    for section in columns.chunk_by(|a, b| a.heading == b.heading) {
        if end > start && end + section.len() - start > limit {
            tables.push(&columns[start..end]);
            start = end;
        }
        end += section.len();
    }
    if end > start {
        tables.push(&columns[start..end]);
    }
    tables
}

/// Names of the learners, the closest to the optimum over all scenes first.
fn rows<'a>(columns: &[Column<'a>]) -> Vec<&'a str> {
    let mut rows: Vec<(&str, f64, f64)> = Vec::new();
    for column in columns {
        for (name, value) in &column.values {
            let farness = column.farness(*value);
            match rows.iter_mut().find(|row| row.0 == *name) {
                Some(row) => (row.1, row.2) = (row.1 + farness, row.2 + 1.0),
                None => rows.push((name, farness, 1.0)),
            }
        }
    }
    rows.sort_by(|a, b| (a.1 / a.2).total_cmp(&(b.1 / b.2)));
    rows.into_iter().map(|(name, ..)| name).collect()
}

/// What all tables share.
struct Layout<'a> {
    /// Names of the learners.
    rows: Vec<&'a str>,
    /// The claims that have a row: both or none.
    claims: &'static [Claim],
    /// Left end of the columns.
    left: f64,
    /// Width of a column.
    width: f64,
    /// Whether all names of initial policies fit above their columns. If not, they run upwards.
    starts_fit: bool,
    /// Height of the names of initial policies.
    start: f64,
    /// Height of the names above the columns.
    head: f64,
}

impl<'a> Layout<'a> {
    fn new(rows: Vec<&'a str>, tables: &[&[Column]]) -> Self {
        let columns = || tables.iter().copied().flatten();
        let tested = columns().any(|column| !column.results.verdicts.is_empty());
        let claims: &[Claim] = if tested { &Claim::ALL } else { &[] };
        let names = TextFormat::new(12.0, INK);
        let labels = claims.iter().map(|claim| label(*claim));
        let labels = rows.iter().map(|name| (*name).to_owned()).chain(labels);
        let widest = labels.map(|name| names.bold(true).width(&name)).fold(0.0, f64::max);
        let left = MARGIN + widest.min(LABEL) + 10.0;
        let most = tables.iter().map(|columns| columns.len()).max().unwrap_or(1).max(1);
        let width = COLUMN.min((WIDTH - MARGIN - left) / most as f64);
        let starts_fit = tables.iter().all(|columns| {
            let mut sections = columns.chunk_by(Column::has_start_of);
            sections.all(|section| {
                names.width(section[0].results.start.name()) < width * section.len() as f64 - 4.0
            })
        });
        let starts = columns().map(|column| names.width(column.results.start.name()));
        let start = if starts_fit { HEADER } else { starts.fold(0.0, f64::max) + 12.0 };
        let kinds = columns().map(|column| names.width(column.results.suboptimal.name()));
        let head = HEADER + start + kinds.fold(0.0, f64::max) + 12.0;
        Self { rows, claims, left, width, starts_fit, start, head }
    }

    /// Height of a table.
    fn height(&self) -> f64 {
        let claims = if self.claims.is_empty() { 0.0 } else { 4.0 };
        let claims = claims + CLAIM * self.claims.len() as f64;
        self.head + ROW * self.rows.len() as f64 + claims
    }

    /// Draws a table.
    fn table(&self, sketch: &mut Sketch, columns: &[Column], top: f64) {
        let names = TextFormat::new(12.0, INK);
        let side = self.left - 8.0;
        let cells = top + self.head;
        let claims = cells + ROW * self.rows.len() as f64 + 4.0;
        for (row, name) in self.rows.iter().enumerate() {
            let format = names.bold(PAPER_METHODS.contains(name));
            let place = (side, cells + ROW * (row as f64 + 0.5));
            sketch.text(place, format.fit(name, LABEL), format.align(Align::End));
        }
        for (row, claim) in self.claims.iter().enumerate() {
            let place = (side, claims + CLAIM * (row as f64 + 0.5));
            sketch.text(place, label(*claim), names.align(Align::End));
        }
        let format = TextFormat::new(12.0, GREY).align(Align::End);
        sketch.text((side, top), "map", format);
        let start = if self.starts_fit { HEADER } else { self.start };
        sketch.text((side, top + start), "start", format);
        sketch.text((side, cells - 14.0), "sub-optimal", format);
        let places = self.places(columns);
        self.headers(sketch, columns, &places, top);
        for (column, &x) in columns.iter().zip(&places) {
            for (row, name) in self.rows.iter().enumerate() {
                if let Some(value) = column.value(name) {
                    column.cell(sketch, (x, cells + ROW * row as f64), self.width, value);
                }
            }
            for (row, claim) in self.claims.iter().enumerate() {
                if let Some(outcome) = column.outcome(*claim) {
                    let (sign, colour) = sign(outcome);
                    let format = TextFormat::new(13.0, colour).bold(true).align(Align::Middle);
                    let y = claims + CLAIM * (row as f64 + 0.5);
                    sketch.text((x + self.width / 2.0, y), sign, format);
                }
            }
        }
    }

    /// Left ends of the columns. There is a gap after worlds whose names are wider than their
    /// columns, if the table has room for it.
    fn places(&self, columns: &[Column]) -> Vec<f64> {
        let format = TextFormat::new(SMALLEST_HEADING, INK).bold(true);
        let mut places = Vec::new();
        let mut x = self.left;
        for section in columns.chunk_by(|a, b| a.heading == b.heading) {
            places.extend((0..section.len()).map(|column| x + self.width * column as f64));
            let least = format.width(&section[0].heading) + 10.0;
            x += least.max(self.width * section.len() as f64);
        }
        if x > WIDTH - MARGIN + 1e-6 {
            return (0..columns.len()).map(|c| self.left + self.width * c as f64).collect();
        }
        places
    }

    /// Draws the names of worlds and initial policies over their columns, and the kinds of
    /// sub-optimal trajectory over each column. `places` are the left ends of the columns.
    fn headers(&self, sketch: &mut Sketch, columns: &[Column], places: &[f64], top: f64) {
        let mut from = 0;
        for section in columns.chunk_by(|a, b| a.heading == b.heading) {
            let next = places.get(from + section.len());
            let end = next.copied().unwrap_or(WIDTH - MARGIN);
            let sides = (places[from], places[from] + self.width * section.len() as f64);
            heading(sketch, &section[0].heading, sides, (top, end), true);
            for starts in section.chunk_by(Column::has_start_of) {
                let left = places[from];
                let sides = (left, left + self.width * starts.len() as f64);
                let name = starts[0].results.start.name();
                if self.starts_fit {
                    heading(sketch, name, sides, (top + HEADER, sides.1), false);
                } else {
                    let place = (f64::midpoint(sides.0, sides.1), top + HEADER + self.start - 18.0);
                    sketch.text(place, name, TextFormat::new(12.0, INK).upwards());
                    let y = top + HEADER + self.start - 10.0;
                    sketch.line(vec![(sides.0 + 3.0, y), (sides.1 - 3.0, y)], 0.5, RULE);
                }
                for column in starts {
                    let place = (places[from] + self.width / 2.0, top + self.head - 8.0);
                    let format = TextFormat::new(12.0, INK).upwards();
                    sketch.text(place, column.results.suboptimal.name(), format);
                    from += 1;
                }
            }
        }
    }

    /// The lines of the legend.
    fn legend(&self, left_out: usize) -> Vec<String> {
        let mut lines = Vec::new();
        if left_out > 0 {
            lines.push("Other worlds are not shown; all are in summary.csv.".to_owned());
        }
        if !self.claims.is_empty() {
            let signs = [Outcome::Confirmed, Outcome::Refuted, Outcome::Undecided];
            let [yes, no, open] = signs.map(|outcome| sign(outcome).0);
            lines.push(format!(
                "The paper's claims: {yes} the claim holds; {no} a part of it is reversed; {open} \
                 neither is significant (Holm's correction)."
            ));
        }
        lines.extend(self.claims.iter().map(|claim| match claim {
            Claim::Distance => {
                "Distance: dpo < ift < orpo, sft, in mean squared error from the fitted policy. \
                 (Nothing is claimed about orpo and sft.)"
            }
            Claim::Alignment => {
                "Alignment: dpo > ift > orpo > sft, in the overlap of the cells that training used \
                 with those that the agent itself visits."
            }
        }).map(str::to_owned));
        lines
    }
}

fn label(claim: Claim) -> String {
    format!("claim: {}", claim.name())
}

/// Draws a name over some columns, with a line below. A name that is wider than the columns starts
/// at their left end and may run up to `end`.
fn heading(
    sketch: &mut Sketch,
    name: &str,
    (from, to): (f64, f64),
    (y, end): (f64, f64),
    bold: bool,
) {
    let format = TextFormat::new(12.0, INK).bold(bold);
    let room = end.max(to) - from - 6.0;
    let size = 12.0 * (room / format.width(name)).clamp(SMALLEST_HEADING / 12.0, 1.0);
    let format = TextFormat { em: size, ..format };
    let name = format.fit(name, room);
    if format.width(&name) < to - from - 4.0 {
        sketch.text((f64::midpoint(from, to), y), name, format.align(Align::Middle));
    } else {
        sketch.text((from + 3.0, y), name, format);
    }
    let colour = if bold { INK } else { RULE };
    sketch.line(vec![(from + 3.0, y + 10.0), (to - 3.0, y + 10.0)], 0.5, colour);
}

fn sign(outcome: Outcome) -> (&'static str, plotters::style::RGBAColor) {
    match outcome {
        Outcome::Confirmed => ("✓", GREEN),
        Outcome::Refuted => ("✗", VERMILLION),
        Outcome::Undecided => ("–", GREY),
    }
}

/// The learners of a scene, or of a group of maps, with their distances from the optimum.
struct Column<'a> {
    /// Name of the world or of the maps.
    heading: String,
    results: &'a SceneResults,
    values: Vec<(&'a str, f64)>,
    low: f64,
    high: f64,
}

impl<'a> Column<'a> {
    fn new(heading: String, results: &'a SceneResults) -> Self {
        let values: Vec<_> = results
            .learners
            .iter()
            .map(|learner| (learner.label.as_str(), learner.estimate(Measure::Mse).mean))
            .collect();
        let low = values.iter().map(|value| value.1).fold(f64::INFINITY, f64::min);
        let high = values.iter().map(|value| value.1).fold(f64::NEG_INFINITY, f64::max);
        Self { heading, results, values, low, high }
    }

    /// Whether two columns have the same heading and initial policy.
    fn has_start_of(&self, other: &Self) -> bool {
        (&self.heading, self.results.start) == (&other.heading, other.results.start)
    }

    fn value(&self, name: &str) -> Option<f64> {
        self.values.iter().find(|value| value.0 == name).map(|value| value.1)
    }

    /// What the study says about a claim by the measure that the paper names.
    fn outcome(&self, claim: Claim) -> Option<Outcome> {
        self.results.readings(claim).next().map(|verdict| verdict.outcome)
    }

    /// 0 for the smallest distance of the column, 1 for the largest.
    fn farness(&self, value: f64) -> f64 {
        if self.high > self.low { (value - self.low) / (self.high - self.low) } else { 0.0 }
    }

    fn cell(&self, sketch: &mut Sketch, (x, y): Point, width: f64, value: f64) {
        // The square root keeps the other learners apart if one is very far from the optimum.
        let farness = self.farness(value).sqrt();
        let colour = blend(BLUE, WHITE, farness);
        sketch.rectangle((x + 0.5, y + 0.5), (x + width - 0.5, y + ROW - 0.5), colour);
        let colour = if farness < 0.15 { WHITE } else { INK };
        let text = format!("{value:.3}");
        let text = text.strip_prefix('0').unwrap_or(&text);
        // The largest size at which bold values, the widest, fit the cell.
        let widest = TextFormat::new(LARGEST_NUMBER, colour).bold(true).width(text);
        let size = LARGEST_NUMBER * ((width - 3.0) / widest).min(1.0);
        if size >= SMALLEST_NUMBER {
            let format = TextFormat::new(size, colour).bold(value == self.low).align(Align::Middle);
            sketch.text((x + width / 2.0, y + ROW / 2.0), text, format);
        }
    }
}
