//! Drawings of a map, with the arrows of a policy or with trajectories.

use std::collections::BTreeMap;

use plotters::style::RGBAColor;

use super::{
    colours::{BLACK, GREEN, GREY, INK, VERMILLION, WHITE, blend},
    sketch::{Align, Point, Sketch, TextFormat},
};
use crate::{optimum::StateActionMatrix, report::Panel, trajectory::Trajectory};

const HOLE: RGBAColor = RGBAColor(0x1B, 0x36, 0x5D, 1.0);
const GRID: RGBAColor = RGBAColor(0xB8, 0xB8, 0xB8, 1.0);

/// Shades of cells that training used: the smallest share of the inputs, and the colour. Shares of
/// the first shade are above 0.
pub(super) const SHADES: [(f64, RGBAColor); 4] = [
    (0.0, RGBAColor(0xFE, 0xF8, 0xE0, 1.0)),
    (0.05, RGBAColor(0xFB, 0xEC, 0xB4, 1.0)),
    (0.1, RGBAColor(0xF8, 0xDD, 0x80, 1.0)),
    (0.2, RGBAColor(0xF2, 0xC8, 0x4B, 1.0)),
];

/// The place in [`SHADES`] of a share of the inputs; `None` for 0.
fn shade(share: f64) -> Option<usize> {
    SHADES.iter().rposition(|(from, _)| share > 0.0 && share >= *from)
}

/// Directions of the actions, in the order of their numbers: left, down, right, up.
const DIRECTIONS: [Point; 4] = [(-1.0, 0.0), (0.0, 1.0), (1.0, 0.0), (0.0, -1.0)];

/// The smallest probability that is shown; smaller ones would read `.00` with two digits.
const LEAST: f64 = 0.005;

/// Colour class of an arrow, the palest first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Tone {
    /// Not the most probable action: its probability in eighths, and the place of its cell's
    /// colour in [`SHADES`].
    Pale { eighths: u8, shade: Option<usize> },
    /// The most probable action, and not an optimal one.
    Wrong,
    /// The most probable action, and an optimal one.
    Right,
}

impl Tone {
    fn colour(self) -> RGBAColor {
        match self {
            Self::Pale { eighths, shade } => blend(
                shade.map_or(WHITE, |shade| SHADES[shade].1),
                BLACK,
                0.25 + 0.06 * f64::from(eighths),
            ),
            Self::Wrong => VERMILLION,
            Self::Right => BLACK,
        }
    }
}

/// A map with its upper left corner at `origin`. A cell has width and height `size`.
pub(super) struct MapPlot<'a> {
    pub(super) map: &'a [String],
    pub(super) origin: Point,
    pub(super) size: f64,
}

impl MapPlot<'_> {
    /// Numbers of rows and columns.
    pub(super) fn size(map: &[String]) -> (usize, usize) {
        (map.len(), map.iter().map(|row| row.chars().count()).max().unwrap_or(0))
    }

    /// State, letter and centre of every cell.
    fn cells(&self) -> impl Iterator<Item = (usize, char, Point)> {
        let (_, columns) = Self::size(self.map);
        self.map.iter().enumerate().flat_map(move |(row, letters)| {
            letters.chars().enumerate().map(move |(column, letter)| {
                let state = row * columns + column;
                (state, letter, self.middle(state))
            })
        })
    }

    /// The centre of the cell of a state.
    fn middle(&self, state: usize) -> Point {
        let (_, columns) = Self::size(self.map);
        let columns = columns.max(1);
        let along = |index: usize, origin: f64| origin + self.size * (index as f64 + 0.5);
        (along(state % columns, self.origin.0), along(state / columns, self.origin.1))
    }

    /// Draws the map. Cells are shaded by their share of the inputs. `inputs: [states]`, or empty
    pub(super) fn draw_map(&self, sketch: &mut Sketch, inputs: &[f64]) {
        let half = self.size / 2.0;
        for (state, letter, (x, y)) in self.cells() {
            let fill = match letter {
                'H' => Some(HOLE),
                _ => inputs.get(state).and_then(|share| shade(*share)).map(|shade| SHADES[shade].1),
            };
            if let Some(fill) = fill {
                sketch.rectangle((x - half, y - half), (x + half, y + half), fill);
            }
            match letter {
                'G' => self.flag(sketch, (x, y)),
                'S' => {
                    let format = TextFormat::new(0.18 * self.size, INK).bold(true);
                    sketch.text((x - 0.45 * self.size, y - 0.39 * self.size), "S", format);
                }
                _ => {}
            }
        }
        let (rows, columns) = Self::size(self.map);
        let (left, top) = self.origin;
        let (right, bottom) = (left + self.size * columns as f64, top + self.size * rows as f64);
        for row in 0..=rows {
            let y = top + self.size * row as f64;
            sketch.line(vec![(left, y), (right, y)], 0.5, GRID);
        }
        for column in 0..=columns {
            let x = left + self.size * column as f64;
            sketch.line(vec![(x, top), (x, bottom)], 0.5, GRID);
        }
    }

    /// Draws the flag of a goal.
    fn flag(&self, sketch: &mut Sketch, (x, y): Point) {
        let at = |(right, down): Point| (x + right * self.size, y + down * self.size);
        sketch.line(
            [(-0.14, 0.3), (-0.14, -0.3)].map(at).to_vec(),
            (0.06 * self.size).max(0.5),
            INK,
        );
        sketch.polygon([(-0.12, -0.3), (0.26, -0.14), (-0.12, 0.02)].map(at).to_vec(), GREEN);
    }

    /// Draws one arrow per action of a policy, and the probabilities if `numbers` gives their
    /// format. The most probable action, and any with at least 95 % of its probability, is
    /// black if it is optimal, otherwise red.
    pub(super) fn draw_policy(
        &self,
        sketch: &mut Sketch,
        panel: &Panel,
        optimum: &StateActionMatrix,
        numbers: Option<TextFormat>,
    ) {
        let mut arrows = Vec::new();
        let mut texts = Vec::new();
        for (state, letter, middle) in self.cells() {
            let (Some(policy), Some(optimal)) = (panel.policy.get(state), optimum.get(state))
            else {
                continue;
            };
            if is_terminal(letter) {
                continue;
            }
            let shade = panel.inputs.get(state).and_then(|share| shade(*share));
            let largest = policy.iter().copied().fold(0.0, f64::max);
            for (action, probability) in
                policy.iter().copied().enumerate().filter(|(_, p)| *p >= LEAST)
            {
                let tone = if probability < 0.95 * largest {
                    Tone::Pale { eighths: (8.0 * probability) as u8, shade }
                } else if optimal[action] > 0.0 {
                    Tone::Right
                } else {
                    Tone::Wrong
                };
                arrows.push((tone, self.arrow(middle, DIRECTIONS[action], probability)));
                texts.push((action, middle, probability));
            }
        }
        // Dark arrows are drawn over pale ones. Arrows of one colour are drawn together, so that
        // they share an SVG element.
        arrows.sort_by_key(|arrow| arrow.0);
        for (tone, outline) in arrows {
            sketch.polygon(outline, tone.colour());
        }
        if let Some(format) = numbers {
            texts.sort_by_key(|text| text.0);
            for (action, middle, probability) in texts {
                self.number(sketch, middle, action, probability, format);
            }
        }
    }

    /// The outline of an arrow from the centre of a cell. Its length grows with the square root of
    /// the probability, so that improbable actions can still be seen.
    fn arrow(&self, middle: Point, direction: Point, probability: f64) -> Vec<Point> {
        let length = 0.45 * probability.sqrt() * self.size;
        let head = (0.16 * self.size).min(0.7 * length);
        let (shaft, wing) = ((0.025 * self.size).max(0.4), 0.6 * head);
        let neck = length - head;
        let outline = [
            (0.0, -shaft),
            (neck, -shaft),
            (neck, -wing),
            (length, 0.0),
            (neck, wing),
            (neck, shaft),
            (0.0, shaft),
        ];
        outline.map(|place| along(middle, direction, place)).to_vec()
    }

    /// Writes a probability to the right of its arrow, as seen in the direction of the arrow.
    fn number(
        &self,
        sketch: &mut Sketch,
        middle: Point,
        action: usize,
        probability: f64,
        format: TextFormat,
    ) {
        let rounded = (100.0 * probability).round() as u32;
        let text = if rounded < 100 { format!(".{rounded:02}") } else { "1.0".to_owned() };
        let (right, down) = DIRECTIONS[action];
        let (ahead, aside) = if down == 0.0 { (0.46, 0.2) } else { (0.38, 0.1) };
        let anchor = along(middle, (right, down), (ahead * self.size, aside * self.size));
        let align = if right > 0.0 || down > 0.0 { Align::End } else { Align::Start };
        sketch.text(anchor, text, format.align(align));
    }

    /// Draws the moves of a trajectory against the edge of the map: a line from the centre of the
    /// cell to the edge, with one bar across it for each move, at most four.
    fn draw_bumps(&self, sketch: &mut Sketch, walk: &Trajectory, shift: f64, colour: RGBAColor) {
        let ends = walk.visits.iter().skip(1).map(|visit| visit.state).chain([walk.end]);
        // Numbers of moves by state and direction.
        let mut bumps: BTreeMap<(usize, usize), usize> = BTreeMap::new();
        for (visit, _) in walk.visits.iter().zip(ends).filter(|(visit, end)| visit.state == *end) {
            *bumps.entry((visit.state, visit.action.turned(visit.turn).index())).or_default() += 1;
        }
        let stroke = (0.05 * self.size).max(1.0);
        for ((state, action), count) in bumps {
            let (x, y) = self.middle(state);
            let from = (x + shift, y + shift);
            let (right, down) = DIRECTIONS[action];
            let edge = 0.45 * self.size - shift * (right + down);
            let mut line = |ends: [Point; 2]| {
                let ends = ends.map(|place| along(from, (right, down), place));
                sketch.line(ends.to_vec(), stroke, colour);
            };
            line([(0.0, 0.0), (edge, 0.0)]);
            for bar in 0..count.min(4) {
                let ahead = edge - 0.09 * self.size * bar as f64;
                line([-0.1, 0.1].map(|aside| (ahead, aside * self.size)));
            }
        }
    }

    /// Draws a trajectory. Each move is drawn a little to its right, so that moves back and forth
    /// do not overlap. The whole trajectory is shifted by the share `shift` of a cell, so that
    /// two trajectories do not overlap either.
    pub(super) fn draw_walk(
        &self,
        sketch: &mut Sketch,
        walk: &Trajectory,
        shift: f64,
        colour: RGBAColor,
    ) {
        let (lane, shift) = (0.06 * self.size, shift * self.size);
        self.draw_bumps(sketch, walk, shift, colour);
        let states: Vec<usize> =
            walk.visits.iter().map(|visit| visit.state).chain([walk.end]).collect();
        let places =
            states.iter().map(|state| self.middle(*state)).map(|(x, y)| (x + shift, y + shift));
        let places: Vec<Point> = places.collect();
        // Moves with their directions, without those against the edge of the map.
        let cells = |length: f64| (length / self.size).round();
        let moves: Vec<(Point, Point)> = places
            .iter()
            .zip(places.iter().skip(1))
            .map(|(from, to)| (*from, (cells(to.0 - from.0), cells(to.1 - from.1))))
            .filter(|(_, direction)| *direction != (0.0, 0.0))
            .collect();
        let (Some((start, first)), Some((end, last))) = (moves.first(), moves.last()) else {
            if let Some(place) = places.first() {
                sketch.dot(*place, 0.09 * self.size, colour);
            }
            return;
        };
        let mut path = vec![along(*start, *first, (0.0, lane))];
        for ((from, before), (corner, after)) in moves.iter().zip(moves.iter().skip(1)) {
            // 1 is a turn to the right, -1 to the left, 0 straight on or back.
            let turn = before.0 * after.1 - before.1 * after.0;
            if turn != 0.0 {
                path.push(along(*corner, *after, (turn * lane, lane)));
            } else if before != after {
                path.extend([
                    along(*from, *before, (self.size, lane)),
                    along(*corner, *after, (0.0, lane)),
                ]);
            }
        }
        path.push(along(*end, *last, (self.size, lane)));
        sketch.dot(along(*start, *first, (0.0, lane)), 0.09 * self.size, colour);
        sketch.line(path, (0.06 * self.size).max(1.0), colour);
        let (head, tip) = (0.13 * self.size, 0.63 * self.size);
        let outline =
            [(tip, lane), (tip - 1.6 * head, lane + head), (tip - 1.6 * head, lane - head)];
        for (from, direction) in moves {
            sketch.polygon(outline.map(|place| along(from, direction, place)).to_vec(), colour);
        }
    }
}

/// The point that is `ahead` of `from` in a direction and `aside` to the right of it.
fn along(from: Point, (right, down): Point, (ahead, aside): Point) -> Point {
    (from.0 + right * ahead - down * aside, from.1 + down * ahead + right * aside)
}

/// Whether an episode ends in a cell with this letter.
pub(super) fn is_terminal(letter: char) -> bool {
    matches!(letter, 'H' | 'G')
}

/// Text format of legends and notes.
pub(super) const NOTE: TextFormat = TextFormat::new(11.0, GREY);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{action::Action, pictures::sketch::Primitive, trajectory::Visit};

    #[test]
    fn moves_against_the_edge_are_drawn() {
        let map = ["SFG".to_owned()];
        let plot = MapPlot { map: &map, origin: (10.0, 20.0), size: 50.0 };
        // Lines, and the largest distance of their points from the cell of the start to the left.
        let drawn = |moves: &[Action]| {
            let mut state = 0;
            let mut visits = Vec::new();
            for &action in moves {
                visits.push(Visit { state, action, turn: 0 });
                state += usize::from(action == Action::Right);
            }
            let mut sketch = Sketch::new(100.0);
            plot.draw_walk(&mut sketch, &Trajectory { visits, end: state }, 0.1, VERMILLION);
            let lines = sketch.primitives.iter().filter_map(|primitive| match primitive {
                Primitive::Line { points, .. } => Some(points),
                _ => None,
            });
            let points = lines.clone().flatten();
            let inside = points
                .clone()
                .all(|(x, y)| (10.0..=160.0).contains(x) && (20.0..=70.0).contains(y));
            assert!(inside, "{moves:?}: {sketch:?}");
            (lines.count(), points.map(|point| point.0).fold(f64::INFINITY, f64::min))
        };
        let (lines, left) = drawn(&[Action::Right, Action::Right]);
        assert!(lines == 1 && left > 35.0);
        // The way, the line to the edge and one bar for each move.
        let (lines, left) = drawn(&[Action::Left, Action::Left, Action::Right, Action::Right]);
        assert!(lines == 1 + 1 + 2 && left < 15.0);
        assert_eq!(drawn(&[Action::Left, Action::Up, Action::Right]).0, 1 + 2 * 2);
        assert_eq!(drawn(&[Action::Up; 9]).0, 1 + 4);
    }
}
