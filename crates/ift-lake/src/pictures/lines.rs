//! Line charts: distances over training steps, and over the values of a setting of IFT.

use plotters::style::{Color, RGBAColor};

use super::{
    axis::{Axis, value},
    colours::{BLACK, BLUE, GREY, INK, ORANGE, RULE, of_learner},
    sketch::{Align, Point, Sketch, TextFormat, WIDTH},
};
use crate::{
    report::{Scene, Sweep, WorldReport},
    statistics::Estimate,
    verdict::PAPER_METHODS,
};

/// A line of a chart, with one point per value of `Chart::x`.
struct PlotLine<'a> {
    label: &'a str,
    colour: RGBAColor,
    /// Drawn thicker and on top of the others.
    emphasised: bool,
    points: &'a [Estimate],
}

/// A line chart.
struct Chart<'a> {
    name: String,
    what: String,
    x_title: &'a str,
    y_title: &'a str,
    height: f64,
    x: Vec<f64>,
    /// Whether points are marked by dots.
    dots: bool,
    lines: Vec<PlotLine<'a>>,
}

/// Distance of every learner from the optimum over training steps.
pub(super) fn curves(steps: &[u64], scene: &Scene) -> Sketch {
    let lines = scene.results.learners.iter().map(|learner| PlotLine {
        label: &learner.label,
        colour: of_learner(&learner.label, &scene.results),
        emphasised: PAPER_METHODS.contains(&learner.label.as_str()),
        points: &learner.curve,
    });
    let chart = Chart {
        name: scene.name.clone(),
        what: "distance from the optimum during training".to_owned(),
        x_title: "training steps",
        y_title: "mean squared error of the policy, with 95 % interval",
        height: 520.0,
        x: steps.iter().map(|step| *step as f64).collect(),
        dots: false,
        lines: lines.collect(),
    };
    chart.draw()
}

/// Distance of IFT from the optimum over the values of one of its settings.
pub(super) fn sweep(world: &WorldReport, sweep: &Sweep) -> Sketch {
    let setting = match sweep.setting {
        "lambda" => "λ",
        "gamma" => "γ",
        other => other,
    };
    let line = |label, colour, points| PlotLine { label, colour, emphasised: true, points };
    let mut lines = vec![
        line("all states", BLACK, &sweep.all),
        line("on the trajectory", BLUE, &sweep.on),
        line("off the trajectory", ORANGE, &sweep.off),
    ];
    // A world without states off the trajectory has no means over them.
    lines.retain(|line| line.points.iter().all(Estimate::exists));
    let chart = Chart {
        name: format!("{}, start {}", world.name, sweep.start.name()),
        what: format!("IFT over {setting}"),
        x_title: setting,
        y_title: "mean squared error of the policy, with 95 % interval",
        height: 400.0,
        x: sweep.values.clone(),
        dots: true,
        lines,
    };
    chart.draw()
}

const LEFT: f64 = 64.0;
const TOP: f64 = 72.0;
/// Height below the plot.
const BOTTOM: f64 = 56.0;
/// Width to the right of the plot, for the labels of lines.
const RIGHT: f64 = 232.0;
/// Width between the plot and the labels.
const LEADER: f64 = 24.0;

impl Chart<'_> {
    fn draw(&self) -> Sketch {
        let mut sketch = Sketch::new(self.height);
        let (right, bottom) = (WIDTH - RIGHT, self.height - BOTTOM);
        let x = Axis::new(extent(self.x.iter().copied()), (LEFT, right), 8);
        let ends = self.lines.iter().flat_map(|line| line.points).flat_map(|point| {
            [(point.mean - point.half_width).max(0.0), point.mean + point.half_width]
        });
        let y = Axis::new(extent(ends), (bottom, TOP), 6).round();

        sketch.title(LEFT, &self.name, &self.what);
        sketch.text((LEFT, 52.0), self.y_title, TextFormat::new(13.0, GREY));
        let ticks = TextFormat::new(12.0, INK);
        for tick in y.ticks() {
            sketch.line(vec![(LEFT, tick.at), (right, tick.at)], 0.5, RULE);
            sketch.text((LEFT - 8.0, tick.at), tick.label, ticks.align(Align::End));
        }
        for tick in x.ticks() {
            sketch.line(vec![(tick.at, bottom), (tick.at, bottom + 5.0)], 0.5, INK);
            sketch.text((tick.at, bottom + 15.0), tick.label, ticks.align(Align::Middle));
        }
        sketch.line(vec![(LEFT, bottom), (right, bottom)], 0.5, INK);
        sketch.text(
            (f64::midpoint(LEFT, right), bottom + 38.0),
            self.x_title,
            TextFormat::new(13.0, INK).align(Align::Middle),
        );

        let (strong, weak): (Vec<&PlotLine>, Vec<&PlotLine>) =
            self.lines.iter().partition(|line| line.emphasised);
        for line in weak.iter().chain(&strong) {
            self.band(&mut sketch, line, x, y);
        }
        for line in weak.iter().chain(&strong) {
            self.line(&mut sketch, line, x, y);
        }
        self.labels(&mut sketch, y);
        sketch
    }

    /// Draws the confidence intervals of a line as a band.
    fn band(&self, sketch: &mut Sketch, line: &PlotLine, x: Axis, y: Axis) {
        if line.points.iter().all(|point| point.half_width == 0.0) {
            return;
        }
        let edge = |sign: f64| {
            let place = move |(at, point): (&f64, &Estimate)| {
                (x.at(*at), y.at((point.mean + sign * point.half_width).max(0.0)))
            };
            self.x.iter().zip(line.points).map(place)
        };
        let lower: Vec<Point> = edge(-1.0).collect();
        let outline = edge(1.0).chain(lower.into_iter().rev()).collect();
        sketch.polygon(outline, line.colour.mix(if line.emphasised { 0.15 } else { 0.05 }));
    }

    fn line(&self, sketch: &mut Sketch, line: &PlotLine, x: Axis, y: Axis) {
        let points: Vec<Point> = self
            .x
            .iter()
            .zip(line.points)
            .map(|(at, point)| (x.at(*at), y.at(point.mean)))
            .collect();
        if self.dots || points.len() == 1 {
            for point in &points {
                sketch.dot(*point, 3.0, line.colour);
            }
        }
        sketch.line(points, if line.emphasised { 2.5 } else { 1.0 }, line.colour);
    }

    /// Writes names and last values next to the ends of the lines, moved apart where they would
    /// overlap.
    fn labels(&self, sketch: &mut Sketch, y: Axis) {
        let ends =
            self.lines.iter().filter_map(|line| line.points.last().map(|end| (line, end.mean)));
        let mut ends: Vec<_> = ends.collect();
        ends.sort_by(|a, b| b.1.total_cmp(&a.1));
        let (top, bottom) = (TOP, self.height - BOTTOM);
        let gap = (15.0_f64).min((bottom - top) / ends.len() as f64);
        let wanted: Vec<f64> = ends.iter().map(|(_, end)| y.at(*end)).collect();
        let right = WIDTH - RIGHT;
        for ((line, end), (wanted, place)) in
            ends.iter().zip(wanted.iter().zip(spread(&wanted, gap, (top, bottom))))
        {
            let stroke = if line.emphasised { 2.0 } else { 1.0 };
            sketch.line(
                vec![
                    (right + 2.0, *wanted),
                    (right + 0.7 * LEADER, place),
                    (right + LEADER, place),
                ],
                stroke,
                line.colour,
            );
            let format = TextFormat::new(gap.min(12.0), INK).bold(line.emphasised);
            let value = value(*end);
            let x = right + LEADER + 5.0;
            let room = WIDTH - 10.0 - format.width(&value) - x - 8.0;
            sketch.text((x, place), format.fit(line.label, room), format);
            sketch.text((WIDTH - 10.0, place), value, format.bold(false).align(Align::End));
        }
    }
}

/// The smallest and the largest of some values; 0 and 1 if there are none.
fn extent(values: impl Iterator<Item = f64>) -> (f64, f64) {
    values
        .fold(None, |extent: Option<(f64, f64)>, value| match extent {
            Some((low, high)) => Some((low.min(value), high.max(value))),
            None => Some((value, value)),
        })
        .unwrap_or((0.0, 1.0))
}

/// Coordinates that are at least `gap` apart and as close to the `wanted` ones, which ascend, as
/// this allows. The ends must have room for all.
fn spread(wanted: &[f64], gap: f64, (start, end): (f64, f64)) -> Vec<f64> {
    // With the gaps subtracted, coordinates must not descend; neighbours that would are replaced by
    // their mean (isotonic regression).
    let mut pools: Vec<(f64, usize)> = Vec::new();
    for (index, place) in wanted.iter().enumerate() {
        let mut pool = (place - gap * index as f64, 1);
        while let Some((mean, count)) = pools.pop_if(|last| last.0 > pool.0) {
            let together = count + pool.1;
            pool = ((mean * count as f64 + pool.0 * pool.1 as f64) / together as f64, together);
        }
        pools.push(pool);
    }
    let last = end - gap * wanted.len().saturating_sub(1) as f64;
    let means = pools.into_iter().flat_map(|(mean, count)| std::iter::repeat_n(mean, count));
    means.enumerate().map(|(index, mean)| mean.min(last).max(start) + gap * index as f64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_keep_apart_in_order_and_within_the_ends() {
        for wanted in [
            vec![],
            vec![5.0],
            vec![10.0, 10.0, 10.0],
            vec![1.0, 50.0, 99.0, 99.5],
            vec![0.0; 11],
            vec![100.0; 11],
        ] {
            let places = spread(&wanted, 10.0, (0.0, 100.0));
            assert_eq!(places.len(), wanted.len());
            assert!(places.windows(2).all(|pair| pair[1] - pair[0] >= 10.0 - 1e-9), "{places:?}");
            assert!(
                places.iter().all(|place| (-1e-9..=100.0 + 1e-9).contains(place)),
                "{places:?}"
            );
        }
    }

    #[test]
    fn labels_with_room_stay_and_others_share_the_way() {
        assert_eq!(spread(&[10.0, 40.0, 70.0], 10.0, (0.0, 100.0)), [10.0, 40.0, 70.0]);
        assert_eq!(
            spread(&[10.0, 50.0, 50.0, 50.0, 90.0], 10.0, (0.0, 100.0)),
            [10.0, 40.0, 50.0, 60.0, 90.0]
        );
    }
}
