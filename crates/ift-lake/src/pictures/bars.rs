//! Bar charts of a scene: distance from the optimum and success rate of each learner, and alignment
//! of the cells that training used with those that the agent visits.

use super::{
    axis::{Axis, value},
    colours::{GREY, INK, RULE, WHITE, blend, of_learner},
    sketch::{Align, Sketch, TextFormat},
};
use crate::{
    measure::Measure,
    report::{LearnerReport, Scene, SceneResults, WorldReport},
    statistics::Estimate,
    verdict::PAPER_METHODS,
};

/// One bar in the group of each learner: measure, name in the legend, and share of white in its
/// colour.
type Series = (Measure, &'static str, f64);

const DISTANCES: [Series; 3] = [
    (Measure::Mse, "all states", 0.0),
    (Measure::MseOn, "on the trajectory", 0.45),
    (Measure::MseOff, "off the trajectory", 0.75),
];
const SUCCESSES: [Series; 2] = [
    (Measure::Success, "actions drawn", 0.0),
    (Measure::GreedySuccess, "most probable action", 0.6),
];
const ALIGNMENTS: [Series; 4] = [
    (Measure::Aligned, "visits at the time", 0.0),
    (Measure::AlignedStart, "visits of the initial policy", 0.35),
    (Measure::AlignedEnd, "visits of the trained policy", 0.6),
    (Measure::AlignedCells, "cells in common", 0.8),
];

const MARGIN: f64 = 12.0;
/// Top of the first group.
const TOP: f64 = 88.0;
/// Height of the group of a learner.
const GROUP: f64 = 32.0;
/// Height of all bars of a group.
const BARS: f64 = 26.0;
/// Right end of the axis of distances.
const DISTANCE: f64 = 490.0;
/// Both ends of the axis of success rates.
const SUCCESS: (f64, f64) = (586.0, 826.0);
/// Width next to an axis, for the values of the first bars.
const VALUE: f64 = 56.0;
/// Largest width of the name of a learner.
const LABEL: f64 = 168.0;

/// The learners of a scene, the closest to the optimum first.
pub(super) fn bars(world: &WorldReport, scene: &Scene) -> Sketch {
    let mut learners: Vec<&LearnerReport> = scene.results.learners.iter().collect();
    learners
        .sort_by(|a, b| a.estimate(Measure::Mse).mean.total_cmp(&b.estimate(Measure::Mse).mean));
    let bottom = TOP + GROUP * learners.len() as f64;
    let mut sketch = Sketch::new(bottom + 40.0);
    sketch.title(MARGIN, &scene.name, "distance from the optimum, and success");
    let gutter = names(&mut sketch, &learners);
    let distances = BarChart {
        results: &scene.results,
        title: "mean squared error, with 95 % interval",
        series: &DISTANCES,
        high: None,
        sides: (gutter, DISTANCE),
    };
    let successes = BarChart {
        results: &scene.results,
        title: "reaches the goal",
        series: &SUCCESSES,
        high: Some(1.0),
        sides: SUCCESS,
    };
    distances.draw(&mut sketch, &learners, bottom);
    let axis = successes.draw(&mut sketch, &learners, bottom);
    let optimum = axis.at(world.optimum_success);
    sketch.line(vec![(optimum, TOP - 4.0), (optimum, bottom)], 1.0, INK);
    let note = format!("line: the optimum, {:.3}", world.optimum_success);
    sketch.text((SUCCESS.1, bottom + 30.0), note, TextFormat::new(11.0, GREY).align(Align::End));
    sketch
}

/// The alignment of the learners of a scene, the most aligned first.
pub(super) fn alignment(scene: &Scene) -> Sketch {
    let mut learners: Vec<&LearnerReport> = scene.results.learners.iter().collect();
    let aligned = |learner: &LearnerReport| learner.estimate(Measure::Aligned).mean;
    learners.sort_by(|a, b| aligned(b).total_cmp(&aligned(a)));
    let bottom = TOP + GROUP * learners.len() as f64;
    let mut sketch = Sketch::new(bottom + 40.0);
    sketch.title(MARGIN, &scene.name, "do the cells of training agree with the agent's?");
    let gutter = names(&mut sketch, &learners);
    let chart = BarChart {
        results: &scene.results,
        title: "overlap of the cells that training used with those that the policy visits",
        series: &ALIGNMENTS,
        high: Some(1.0),
        sides: (gutter, SUCCESS.1),
    };
    chart.draw(&mut sketch, &learners, bottom);
    sketch
}

/// Writes the names of the learners, and returns the x at which their bars begin.
fn names(sketch: &mut Sketch, learners: &[&LearnerReport]) -> f64 {
    let names = TextFormat::new(12.0, INK);
    let widest =
        learners.iter().map(|learner| names.bold(true).width(&learner.label)).fold(0.0, f64::max);
    let gutter = MARGIN + widest.min(LABEL) + 8.0;
    for (index, learner) in learners.iter().enumerate() {
        let middle = TOP + GROUP * (index as f64 + 0.5);
        let names = names.bold(PAPER_METHODS.contains(&learner.label.as_str()));
        sketch.text(
            (gutter - 8.0, middle),
            names.fit(&learner.label, LABEL),
            names.align(Align::End),
        );
    }
    gutter
}

/// Bars with a common axis.
struct BarChart<'a> {
    /// The scene of the learners.
    results: &'a SceneResults,
    title: &'static str,
    series: &'static [Series],
    /// Largest value of the axis; `None` to take it from the bars.
    high: Option<f64>,
    /// Left and right end of the axis.
    sides: (f64, f64),
}

impl BarChart<'_> {
    /// Draws the chart and returns its axis.
    fn draw(&self, sketch: &mut Sketch, learners: &[&LearnerReport], bottom: f64) -> Axis {
        let (left, right) = self.sides;
        sketch.text((left, 48.0), self.title, TextFormat::new(13.0, INK));
        // A world without states off the trajectory has no means over them.
        let exists = |series: &&Series| {
            learners.is_empty()
                || learners.iter().any(|learner| learner.estimate(series.0).exists())
        };
        let shown: Vec<_> = self.series.iter().filter(exists).collect();
        self.legend(sketch, &shown);
        let ends = learners
            .iter()
            .flat_map(|learner| shown.iter().map(|series| learner.estimate(series.0)))
            .map(|estimate| estimate.mean + estimate.half_width);
        let high = self.high.unwrap_or_else(|| ends.fold(0.0, f64::max));
        let axis = Axis::new((0.0, high), self.sides, 5).round();
        for tick in axis.ticks() {
            sketch.line(vec![(tick.at, TOP - 4.0), (tick.at, bottom)], 0.5, RULE);
            sketch.text(
                (tick.at, bottom + 12.0),
                tick.label,
                TextFormat::new(11.0, INK).align(Align::Middle),
            );
        }
        let height = BARS / shown.len() as f64;
        for (group, learner) in learners.iter().enumerate() {
            let middle = TOP + GROUP * (group as f64 + 0.5);
            let mut top = middle - BARS / 2.0;
            for (measure, _, paleness) in &shown {
                let estimate = learner.estimate(*measure);
                let colour = blend(of_learner(&learner.label, self.results), WHITE, *paleness);
                sketch.rectangle((left, top), (axis.at(estimate.mean), top + height - 1.0), colour);
                whisker(sketch, axis, estimate, top + (height - 1.0) / 2.0);
                top += height;
            }
            if let Some((measure, ..)) = shown.first() {
                let format = TextFormat::new(11.0, INK).align(Align::End);
                let value = value(learner.estimate(*measure).mean);
                sketch.text((right + VALUE, middle - BARS / 2.0 + height / 2.0), value, format);
            }
        }
        axis
    }

    /// Draws the legend.
    fn legend(&self, sketch: &mut Sketch, shown: &[&Series]) {
        let format = TextFormat::new(11.0, INK);
        let mut x = self.sides.0;
        for (_, name, paleness) in shown {
            sketch.rectangle((x, 61.0), (x + 12.0, 71.0), blend(GREY, WHITE, *paleness));
            sketch.text((x + 17.0, 66.0), *name, format);
            x += 17.0 + format.width(name) + 16.0;
        }
    }
}

/// Draws the confidence interval at the end of a bar.
fn whisker(sketch: &mut Sketch, axis: Axis, estimate: Estimate, y: f64) {
    if estimate.half_width > 0.0 {
        let low = axis.at((estimate.mean - estimate.half_width).max(0.0));
        let high = axis.at((estimate.mean + estimate.half_width).min(axis.high()));
        let ends = [(low, -2.0), (low, 2.0), (low, 0.0), (high, 0.0), (high, -2.0), (high, 2.0)];
        let outline = ends.map(|(x, rise)| (x, y + rise)).to_vec();
        // White around the line, to be seen on dark bars.
        sketch.line(outline.clone(), 1.5, WHITE);
        sketch.line(outline, 0.5, INK);
    }
}
