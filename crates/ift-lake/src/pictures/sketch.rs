//! A picture as a list of primitives, independent of the file format.

use plotters::style::{FontDesc, FontFamily, FontStyle, RGBAColor};

use super::{
    colours::INK,
    fonts::{FAMILY, SIZE_PER_EM},
};

/// Width of every picture, in the unit of all lengths. x grows to the right, y downwards.
pub(super) const WIDTH: f64 = 900.0;

/// Pixels in files per unit of length; 2 keeps pictures sharp on dense screens.
pub(super) const SCALE: f64 = 2.0;

/// A point of a picture.
pub(super) type Point = (f64, f64);

/// An element of a picture.
#[derive(Debug)]
pub(super) enum Primitive {
    /// A filled polygon. Overlapping polygons of one colour must have the same orientation.
    Polygon { points: Vec<Point>, colour: RGBAColor },
    /// A line through points.
    Line { points: Vec<Point>, stroke: f64, colour: RGBAColor },
    /// A filled circle.
    Dot { centre: Point, radius: f64, colour: RGBAColor },
    /// A text, anchored at half the height of its capitals.
    Text { anchor: Point, text: String, format: TextFormat },
}

/// Format of a text.
#[derive(Clone, Copy, Debug)]
pub(super) struct TextFormat {
    pub(super) em: f64,
    pub(super) bold: bool,
    pub(super) align: Align,
    /// Whether the text runs upwards instead of to the right.
    pub(super) upwards: bool,
    pub(super) colour: RGBAColor,
}

/// The part of a text that is placed at its anchor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Align {
    Start,
    Middle,
    End,
}

impl TextFormat {
    /// Regular text that starts at its anchor.
    pub(super) const fn new(em: f64, colour: RGBAColor) -> Self {
        Self { em, bold: false, align: Align::Start, upwards: false, colour }
    }

    pub(super) const fn bold(self, bold: bool) -> Self {
        Self { bold, ..self }
    }

    pub(super) const fn align(self, align: Align) -> Self {
        Self { align, ..self }
    }

    pub(super) const fn upwards(self) -> Self {
        Self { upwards: true, ..self }
    }

    /// The width of a text in this format.
    pub(super) fn width(&self, text: &str) -> f64 {
        // Measured at a large size, because the measured width is in whole pixels.
        const LARGE: f64 = 100.0;
        let style = if self.bold { FontStyle::Bold } else { FontStyle::Normal };
        let font = FontDesc::new(FontFamily::Name(FAMILY), LARGE * SIZE_PER_EM, style);
        let ems = font
            .box_size(text)
            .map_or(0.6 * text.chars().count() as f64, |size| f64::from(size.0) / LARGE);
        ems * self.em
    }

    /// The text, cut at the end and with an ellipsis if it is wider than `width`.
    pub(super) fn fit(&self, text: &str, width: f64) -> String {
        if self.width(text) <= width {
            return text.to_owned();
        }
        let mut kept = text.to_owned();
        while kept.pop().is_some() {
            let shortened = format!("{}…", kept.trim_end());
            if self.width(&shortened) <= width {
                return shortened;
            }
        }
        String::new()
    }
}

/// A picture: its height and its primitives, in drawing order.
#[derive(Debug)]
pub(super) struct Sketch {
    pub(super) height: f64,
    pub(super) primitives: Vec<Primitive>,
}

impl Sketch {
    pub(super) const fn new(height: f64) -> Self {
        Self { height, primitives: Vec::new() }
    }

    /// A filled rectangle between two corners.
    pub(super) fn rectangle(
        &mut self,
        (left, top): Point,
        (right, bottom): Point,
        colour: RGBAColor,
    ) {
        self.polygon(vec![(left, top), (right, top), (right, bottom), (left, bottom)], colour);
    }

    pub(super) fn polygon(&mut self, points: Vec<Point>, colour: RGBAColor) {
        self.primitives.push(Primitive::Polygon { points, colour });
    }

    pub(super) fn line(&mut self, points: Vec<Point>, stroke: f64, colour: RGBAColor) {
        self.primitives.push(Primitive::Line { points, stroke, colour });
    }

    pub(super) fn dot(&mut self, centre: Point, radius: f64, colour: RGBAColor) {
        self.primitives.push(Primitive::Dot { centre, radius, colour });
    }

    /// The title of the picture, `name: what`, which starts at `left`. It is smaller where it has
    /// no room, and then the name is cut before its end, which tells scenes of a world apart.
    pub(super) fn title(&mut self, left: f64, name: &str, what: &str) {
        const SIZE: f64 = 16.0;
        const SMALLEST: f64 = 11.0;
        const END: usize = 24;
        let format = TextFormat::new(SIZE, INK).bold(true);
        let room = WIDTH - left - 12.0;
        let what = format!(": {what}");
        let em = SIZE * room / format.width(&format!("{name}{what}"));
        let format = TextFormat { em: em.clamp(SMALLEST, SIZE), ..format };
        let (cut, _) = name.char_indices().rev().nth(END - 1).unwrap_or_default();
        let (name, end) = name.split_at(cut);
        let end = format!("{end}{what}");
        let name = format.fit(name, room - format.width(&end));
        self.text((left, 24.0), name + &end, format);
    }

    pub(super) fn text(&mut self, anchor: Point, text: impl Into<String>, format: TextFormat) {
        self.primitives.push(Primitive::Text { anchor, text: text.into(), format });
    }
}

/// The pixel of a point in files.
pub(super) fn pixel((x, y): Point) -> (i32, i32) {
    ((x * SCALE).round() as i32, (y * SCALE).round() as i32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pictures::fonts;

    #[test]
    fn a_text_is_cut_where_its_room_ends() {
        assert!(fonts::registered());
        let format = TextFormat::new(12.0, INK);
        let text = "scheduled_sampling λ=0.5";
        let whole = format.width(text);
        assert_eq!(format.fit(text, whole), text);
        for share in [0.1, 0.3, 0.5, 0.9] {
            let cut = format.fit(text, share * whole);
            assert!(format.width(&cut) <= share * whole && cut.ends_with('…'), "{cut}");
            assert!(text.starts_with(cut.trim_end_matches('…')));
        }
        assert_eq!(format.fit(text, 1.0), "");
    }

    #[test]
    fn a_title_ends_before_the_edge_and_says_what_is_shown() {
        assert!(fonts::registered());
        for (length, whole) in [(3, true), (60, true), (100, false), (1000, false)] {
            let mut sketch = Sketch::new(100.0);
            let name = "long-".repeat(length / 5) + "map";
            sketch.title(64.0, &name, "distance from the optimum during training");
            let [Primitive::Text { anchor, text, format }] = &sketch.primitives[..] else {
                panic!("{:?}", sketch.primitives);
            };
            assert!(anchor.0 + format.width(text) <= WIDTH - 11.9, "{text}");
            assert!(text.ends_with("map: distance from the optimum during training"), "{text}");
            assert_eq!(text.starts_with(&name), whole, "{text}");
            assert_eq!(text.contains('…'), !whole, "{text}");
        }
    }

    #[test]
    fn bold_letters_are_wider() {
        assert!(fonts::registered());
        let format = TextFormat::new(12.0, INK);
        assert!(format.bold(true).width("optimum") > 1.05 * format.width("optimum"));
    }
}
