//! Sketches as SVG. Neighbours of one style share an element, which makes files less than half as
//! large as plotters' own, where every shape carries all its attributes.

use std::fmt::Write;

use plotters::style::RGBAColor;

use super::{
    fonts::{FAMILY, HALF_CAPITAL},
    sketch::{Align, Letters, Point, SCALE, Shape, Sketch, WIDTH, pixel},
};

/// The sketch as a document.
pub(super) fn svg(sketch: &Sketch) -> String {
    let (height, (right, bottom)) = (sketch.height, pixel((WIDTH, sketch.height)));
    let mut document = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" viewBox=\"0 0 {right} {bottom}\" \
         font-family=\"{FAMILY}\">\n<path fill=\"#fff\" d=\"M0 0H{right}V{bottom}H0z"
    );
    let mut group = Group { opening: String::new(), closing: PATH_END };
    for shape in &sketch.shapes {
        let next = Group::of(shape);
        if next != group {
            document.push_str(group.closing);
            document.push_str(&next.opening);
            group = next;
        }
        write_shape(&mut document, shape);
    }
    document.push_str(group.closing);
    document.push_str("</svg>\n");
    document
}

const PATH_END: &str = "\"/>\n";

/// What shapes of one kind and style have in common.
#[derive(PartialEq)]
struct Group {
    opening: String,
    closing: &'static str,
}

impl Group {
    fn of(shape: &Shape) -> Self {
        match shape {
            Shape::Polygon { colour, .. } => Self {
                opening: format!("<path {} d=\"", paint("fill", *colour)),
                closing: PATH_END,
            },
            Shape::Line { stroke, colour, .. } => {
                let (paint, width) = (paint("stroke", *colour), stroke * SCALE);
                let opening = format!(
                    "<path fill=\"none\" {paint} stroke-width=\"{width}\" stroke-linejoin=\"round\" d=\""
                );
                Self { opening, closing: PATH_END }
            }
            Shape::Dot { colour, .. } => {
                Self { opening: format!("<g {}>", paint("fill", *colour)), closing: "</g>\n" }
            }
            Shape::Text { letters, .. } => {
                Self { opening: opening_of_text(letters), closing: "</g>\n" }
            }
        }
    }
}

fn opening_of_text(letters: &Letters) -> String {
    let anchor = match letters.align {
        Align::Start => "",
        Align::Middle => " text-anchor=\"middle\"",
        Align::End => " text-anchor=\"end\"",
    };
    let weight = if letters.bold { " font-weight=\"bold\"" } else { "" };
    let size = round(letters.em * SCALE);
    format!("<g {} font-size=\"{size}\"{anchor}{weight}>", paint("fill", letters.colour))
}

/// What of a shape is its own.
fn write_shape(document: &mut String, shape: &Shape) {
    // Writing to a string cannot fail.
    let _ = match shape {
        Shape::Polygon { points, .. } => {
            write_path(document, points);
            document.push('z');
            Ok(())
        }
        Shape::Line { points, .. } => {
            write_path(document, points);
            Ok(())
        }
        Shape::Dot { centre, radius, .. } => {
            let (x, y) = pixel(*centre);
            write!(document, "<circle cx=\"{x}\" cy=\"{y}\" r=\"{}\"/>", round(radius * SCALE))
        }
        Shape::Text { anchor: (x, y), text, letters } => {
            let line = HALF_CAPITAL * letters.em;
            let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
            if letters.upwards {
                let (x, y) = pixel((x + line, *y));
                write!(document, "<text transform=\"translate({x} {y})rotate(-90)\">{text}</text>")
            } else {
                let (x, y) = pixel((*x, y + line));
                write!(document, "<text x=\"{x}\" y=\"{y}\">{text}</text>")
            }
        }
    };
}

/// The first point, then how far it is to each next one, which has fewer digits.
fn write_path(document: &mut String, points: &[Point]) {
    let mut points = points.iter().map(|point| pixel(*point));
    let Some(mut last) = points.next() else { return };
    let _ = write!(document, "M{} {}", last.0, last.1);
    for (index, point) in points.enumerate() {
        let (right, down) = (point.0 - last.0, point.1 - last.1);
        // A minus separates as well as a space.
        let before = if index == 0 { "l" } else { separator(right) };
        let _ = write!(document, "{before}{right}{}{down}", separator(down));
        last = point;
    }
}

fn separator(next: i32) -> &'static str {
    if next < 0 { "" } else { " " }
}

fn paint(what: &str, RGBAColor(red, green, blue, opacity): RGBAColor) -> String {
    let opacity = if opacity < 1.0 {
        format!(" {what}-opacity=\"{}\"", round(opacity))
    } else {
        String::new()
    };
    format!("{what}=\"#{red:02x}{green:02x}{blue:02x}\"{opacity}")
}

/// To two decimals.
fn round(number: f64) -> f64 {
    (number * 100.0).round() / 100.0
}
