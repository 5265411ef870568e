//! The overview of a study: a table of distances by learner and scene.

use super::{
    colours::{BLUE, GREY, INK, RULE, WHITE, blend},
    sketch::{Align, Point, Sketch, TextFormat, WIDTH},
};
use crate::{
    measure::Measure,
    report::{Scene, StudyReport},
    verdict::PAPER_METHODS,
};

const MARGIN: f64 = 12.0;
/// Top of the line with the names of the worlds.
const TOP: f64 = 74.0;
/// Height of the line of worlds, and of the line of starts.
const HEADER: f64 = 20.0;
/// Height of the row of a learner.
const ROW: f64 = 24.0;
/// Largest width of the name of a learner.
const LABEL: f64 = 150.0;
/// Largest width of a column.
const COLUMN: f64 = 76.0;

/// Draws the table. Rows are learners, columns are scenes; a cell shows the distance from the
/// optimum, darker where it is smaller.
pub(super) fn overview(report: &StudyReport) -> Sketch {
    let scenes: Vec<&Scene> = report.worlds.iter().flat_map(|world| &world.scenes).collect();
    let columns: Vec<Column> = scenes.iter().map(|scene| Column::of(scene)).collect();
    let rows = rows(&columns);

    let names = TextFormat::new(12.0, INK);
    let widest =
        rows.iter().copied().chain([ORDER]).map(|name| names.width(name)).fold(0.0, f64::max);
    let left = MARGIN + widest.min(LABEL) + 10.0;
    let width = COLUMN.min((WIDTH - MARGIN - left) / columns.len().max(1) as f64);
    let kinds = scenes.iter().map(|scene| names.width(scene.suboptimal.name())).fold(0.0, f64::max);
    let top = TOP + 2.0 * HEADER + kinds + 12.0;
    let bottom = top + ROW * rows.len() as f64;
    let mut sketch = Sketch::new(bottom + ROW + 34.0);

    let title = TextFormat::new(16.0, INK).bold(true);
    sketch.text((MARGIN, 24.0), "Distance from the optimum in every scene", title);
    let note = "Mean squared error of the policy. Dark: closest of the column; white: farthest.";
    sketch.text((MARGIN, 48.0), note, TextFormat::new(12.0, GREY));

    for (row, name) in rows.iter().enumerate() {
        let place = (left - 8.0, top + ROW * (row as f64 + 0.5));
        let bold = PAPER_METHODS.contains(name);
        sketch.text(place, names.bold(bold).fit(name, LABEL), names.bold(bold).align(Align::End));
    }
    sketch.text((left - 8.0, bottom + ROW / 2.0 + 2.0), ORDER, names.align(Align::End));

    let format = TextFormat::new(12.0, GREY).align(Align::End);
    sketch.text((left - 8.0, TOP), "map", format);
    sketch.text((left - 8.0, TOP + HEADER), "start", format);
    sketch.text((left - 8.0, top - 14.0), "sub-optimal", format);
    let at = |column: usize| left + width * column as f64;
    headers(&mut sketch, report, at, top - 8.0);
    for (index, (column, scene)) in columns.iter().zip(&scenes).enumerate() {
        for (row, name) in rows.iter().enumerate() {
            if let Some(value) = column.value(name) {
                column.cell(&mut sketch, (at(index), top + ROW * row as f64), width, value);
            }
        }
        let middle = at(index) + width / 2.0;
        _ = (middle, scene);
    }
    let order =
        format!("✓: {}, from closest to farthest, as the paper reports", PAPER_METHODS.join(" < "));
    sketch.text((MARGIN, bottom + ROW + 18.0), order, TextFormat::new(11.0, GREY));
    sketch
}

/// Largest size of the values in cells.
const LARGEST_NUMBER: f64 = 10.0;
/// Smallest size of the values in cells; narrower cells have none.
const SMALLEST_NUMBER: f64 = 5.0;

const ORDER: &str = "the paper's order";

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

/// Draws the names of worlds and initial policies over their columns, and the kinds of sub-optimal
/// trajectory over each column. The kinds end at `bottom`.
fn headers(sketch: &mut Sketch, report: &StudyReport, at: impl Fn(usize) -> f64, bottom: f64) {
    let mut column = 0;
    for world in &report.worlds {
        let count = world.scenes.len();
        let (from, to) = (at(column), at(column + count));
        heading(sketch, &world.name, (from, to), TOP, true);
        for starts in world.scenes.chunk_by(|a, b| a.start == b.start) {
            let (from, to) = (at(column), at(column + starts.len()));
            let start = starts.first().map_or("", |scene| scene.start.name());
            heading(sketch, start, (from, to), TOP + HEADER, false);
            for scene in starts {
                let middle = f64::midpoint(at(column), at(column + 1));
                sketch.text(
                    (middle, bottom),
                    scene.suboptimal.name(),
                    TextFormat::new(12.0, INK).upwards(),
                );
                column += 1;
            }
        }
    }
}

/// Draws a name over some columns, with a line below.
fn heading(sketch: &mut Sketch, name: &str, (from, to): (f64, f64), y: f64, bold: bool) {
    let format = TextFormat::new(12.0, INK).bold(bold).align(Align::Middle);
    sketch.text((f64::midpoint(from, to), y), format.fit(name, to - from - 6.0), format);
    sketch.line(
        vec![(from + 3.0, y + 10.0), (to - 3.0, y + 10.0)],
        0.5,
        if bold { INK } else { RULE },
    );
}

/// The learners of a scene with their distances from the optimum.
struct Column<'a> {
    values: Vec<(&'a str, f64)>,
    low: f64,
    high: f64,
}

impl<'a> Column<'a> {
    fn of(scene: &'a Scene) -> Self {
        let values: Vec<_> = scene
            .learners
            .iter()
            .map(|learner| (learner.label.as_str(), learner.estimate(Measure::Mse).mean))
            .collect();
        let low = values.iter().map(|value| value.1).fold(f64::INFINITY, f64::min);
        let high = values.iter().map(|value| value.1).fold(f64::NEG_INFINITY, f64::max);
        Self { values, low, high }
    }

    fn value(&self, name: &str) -> Option<f64> {
        self.values.iter().find(|value| value.0 == name).map(|value| value.1)
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
