//! A picture as a list of shapes, before anything is known of the format it is written in.

use plotters::style::{FontDesc, FontFamily, FontStyle, RGBAColor};

use super::fonts::{FAMILY, SIZE_PER_EM};

/// Width of every picture. Lengths are pixels of a picture shown this wide; x grows to the right, y
/// downwards.
pub(super) const WIDTH: f64 = 900.0;

/// Pixels per length in files: sharp on dense screens and when shown larger.
pub(super) const SCALE: f64 = 2.0;

/// A place in a picture.
pub(super) type Point = (f64, f64);

/// What a picture is made of.
#[derive(Debug)]
pub(super) enum Shape {
    /// A filled polygon. Polygons that overlap and have one colour must turn the same way round.
    Polygon { points: Vec<Point>, colour: RGBAColor },
    /// A line from point to point.
    Line { points: Vec<Point>, stroke: f64, colour: RGBAColor },
    /// A filled circle.
    Dot { centre: Point, radius: f64, colour: RGBAColor },
    /// A text, anchored in the middle of its capitals' height.
    Text { anchor: Point, text: String, letters: Letters },
}

/// How a text looks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Letters {
    pub(super) em: f64,
    pub(super) bold: bool,
    pub(super) align: Align,
    /// Runs upwards instead of to the right.
    pub(super) upwards: bool,
    pub(super) colour: RGBAColor,
}

/// Which part of a text lies at its anchor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Align {
    Start,
    Middle,
    End,
}

impl Letters {
    /// Regular letters that start at their anchor.
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

    /// How long a text is in these letters.
    pub(super) fn width(&self, text: &str) -> f64 {
        // Measured large, because whole pixels are counted.
        const LARGE: f64 = 100.0;
        let style = if self.bold { FontStyle::Bold } else { FontStyle::Normal };
        let font = FontDesc::new(FontFamily::Name(FAMILY), LARGE * SIZE_PER_EM, style);
        let ems = font
            .box_size(text)
            .map_or(0.6 * text.chars().count() as f64, |size| f64::from(size.0) / LARGE);
        ems * self.em
    }

    /// The text, or as much of its beginning as fits a width, with an ellipsis.
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

/// A picture.
#[derive(Debug)]
pub(super) struct Sketch {
    pub(super) height: f64,
    pub(super) shapes: Vec<Shape>,
}

impl Sketch {
    pub(super) const fn new(height: f64) -> Self {
        Self { height, shapes: Vec::new() }
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
        self.shapes.push(Shape::Polygon { points, colour });
    }

    pub(super) fn line(&mut self, points: Vec<Point>, stroke: f64, colour: RGBAColor) {
        self.shapes.push(Shape::Line { points, stroke, colour });
    }

    pub(super) fn dot(&mut self, centre: Point, radius: f64, colour: RGBAColor) {
        self.shapes.push(Shape::Dot { centre, radius, colour });
    }

    pub(super) fn text(&mut self, anchor: Point, text: impl Into<String>, letters: Letters) {
        self.shapes.push(Shape::Text { anchor, text: text.into(), letters });
    }
}

/// Where a place lies in a file, whole pixels.
pub(super) fn pixel((x, y): Point) -> (i32, i32) {
    ((x * SCALE).round() as i32, (y * SCALE).round() as i32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pictures::{colours::INK, fonts};

    #[test]
    fn a_text_is_cut_where_its_room_ends() {
        assert!(fonts::registered());
        let letters = Letters::new(12.0, INK);
        let text = "scheduled_sampling λ=0.5";
        let whole = letters.width(text);
        assert_eq!(letters.fit(text, whole), text);
        for share in [0.1, 0.3, 0.5, 0.9] {
            let cut = letters.fit(text, share * whole);
            assert!(letters.width(&cut) <= share * whole && cut.ends_with('…'), "{cut}");
            assert!(text.starts_with(cut.trim_end_matches('…')));
        }
        assert_eq!(letters.fit(text, 1.0), "");
    }

    #[test]
    fn bold_letters_are_wider() {
        assert!(fonts::registered());
        let letters = Letters::new(12.0, INK);
        assert!(letters.bold(true).width("optimum") > 1.05 * letters.width("optimum"));
    }
}
