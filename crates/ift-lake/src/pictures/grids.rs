//! The policies of a scene on the map, after the figure in IFT's paper.

use super::{
    colours::{GREEN, INK, VERMILLION},
    map_plot::{MapPlot, NOTE, SHADES, is_terminal},
    sketch::{Align, Point, Sketch, TextFormat, WIDTH},
};
use crate::{
    optimum::StateActionMatrix,
    report::{Scene, WorldReport},
};

/// Largest number of rows or columns at which arrows can be seen.
pub(super) const LARGEST: usize = 32;
/// Largest number of rows or columns with room for probabilities.
const LARGEST_WITH_NUMBERS: usize = 5;

const MARGIN: f64 = 12.0;
/// Top of the first row of panels.
const TOP: f64 = 90.0;
/// Height at which the legend of the shades stands.
const LEGEND: f64 = 68.0;
/// Gap between panels.
const GAP: f64 = 20.0;
/// Height of the title of a panel.
const TITLE: f64 = 20.0;
/// Largest size of a cell.
const CELL: f64 = 72.0;
/// Largest height of a map.
const MAP: f64 = 360.0;

/// The two trajectories, the optimum, the fitted policy and the policy of each learner.
pub(super) fn grids(world: &WorldReport, scene: &Scene) -> Sketch {
    let (rows, columns) = MapPlot::size(&world.map);
    let (rows, columns) = (rows.max(1), columns.max(1));
    let numbered = rows.max(columns) <= LARGEST_WITH_NUMBERS;
    let abreast = if numbered || columns > 10 { 3 } else { 4 };
    let slot = (WIDTH - 2.0 * MARGIN + GAP) / f64::from(abreast) - GAP;
    let size = CELL.min(slot / columns as f64).min(MAP / rows as f64);
    let panels = &scene.portrait.panels;
    let pitch = TITLE + size * rows as f64 + GAP;
    let lines = (panels.len() + 1).div_ceil(abreast as usize);
    let mut sketch = Sketch::new(TOP + pitch * lines as f64);

    sketch.title(MARGIN, &scene.name, "policies of the first seed");
    sketch.text(
        (MARGIN, 48.0),
        "Arrows are actions, longer where more probable; the most probable is black if optimal, \
         else red. Bars across a line: moves against the edge.",
        NOTE,
    );
    legend(&mut sketch);
    let corner = |index: usize| -> Point {
        let (line, place) = (index / abreast as usize, index % abreast as usize);
        (MARGIN + (slot + GAP) * place as f64, TOP + pitch * line as f64)
    };
    let plot_at = |(x, y): Point| MapPlot { map: &world.map, origin: (x, y + TITLE), size };

    let first = corner(0);
    let title = TextFormat::new(12.0, INK).bold(true);
    walks(&mut sketch, scene, &plot_at(first), first);
    for (index, panel) in panels.iter().enumerate() {
        let (x, y) = corner(index + 1);
        let mut room = slot;
        if index > 0 {
            let error = squared_error(world, &panel.policy);
            let error = format!("MSE {error:.3}");
            room -= NOTE.width(&error) + 8.0;
            sketch.text((x + slot, y + 8.0), error, NOTE.align(Align::End));
        }
        sketch.text((x, y + 8.0), title.fit(&panel.title, room), title);
        let plot = plot_at((x, y));
        plot.draw_map(&mut sketch, &panel.inputs);
        let numbers = numbered.then(|| TextFormat::new(0.16 * size, INK));
        plot.draw_policy(&mut sketch, panel, &world.optimum, numbers);
    }
    sketch
}

/// The mean squared error of a policy from the optimum, over non-terminal states and actions.
fn squared_error(world: &WorldReport, policy: &StateActionMatrix) -> f64 {
    let letters = world.map.iter().flat_map(|row| row.chars());
    let rows =
        letters.zip(world.optimum.iter().zip(policy)).filter(|(letter, _)| !is_terminal(*letter));
    let (sum, count) = rows
        .flat_map(|(_, (optimum, policy))| optimum.iter().zip(policy))
        .fold((0.0, 0.0), |(sum, count), (optimum, policy)| {
            (sum + (optimum - policy).powi(2), count + 1.0)
        });
    sum / count
}

/// Draws the legend of the shades of cells.
fn legend(sketch: &mut Sketch) {
    let text = "Shaded: cells that training used, by their share of all its inputs:";
    sketch.text((MARGIN, LEGEND), text, NOTE);
    let mut x = MARGIN + NOTE.width(text) + 14.0;
    for (index, (from, colour)) in SHADES.into_iter().enumerate() {
        sketch.rectangle((x, LEGEND - 6.0), (x + 16.0, LEGEND + 6.0), colour);
        let percent = |share: f64| (100.0 * share).round();
        let name = match SHADES.get(index + 1) {
            Some((to, _)) if from == 0.0 => format!("below {} %", percent(*to)),
            Some((to, _)) => format!("{}–{} %", percent(from), percent(*to)),
            None => format!("{} % or more", percent(from)),
        };
        x += 21.0;
        let width = NOTE.width(&name);
        sketch.text((x, LEGEND), name, NOTE);
        x += width + 14.0;
    }
}

/// Draws the two trajectories.
fn walks(sketch: &mut Sketch, scene: &Scene, plot: &MapPlot, (x, y): Point) {
    plot.draw_map(sketch, &[]);
    let format = |colour| TextFormat::new(12.0, colour).bold(true);
    plot.draw_walk(sketch, &scene.portrait.suboptimal, 0.1, VERMILLION);
    plot.draw_walk(sketch, &scene.portrait.optimal, -0.1, GREEN);
    sketch.text((x, y + 8.0), "optimal", format(GREEN));
    let beside = x + format(GREEN).width("optimal") + 14.0;
    sketch.text((beside, y + 8.0), "sub-optimal", format(VERMILLION));
}
