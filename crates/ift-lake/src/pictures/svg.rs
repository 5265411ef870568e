//! Encoding of sketches as SVG. Consecutive primitives of one style share an element. Files are
//! less than half as large as those of plotters, in which every primitive has all attributes.

use std::fmt::Write;

use plotters::style::RGBAColor;

use super::{
    fonts::{FAMILY, HALF_CAPITAL},
    sketch::{Align, Point, Primitive, SCALE, Sketch, TextFormat, WIDTH, pixel},
};

/// Encodes a sketch as an SVG document.
pub(super) fn svg(sketch: &Sketch) -> String {
    let (height, (right, bottom)) = (sketch.height, pixel((WIDTH, sketch.height)));
    let mut document = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" \
         viewBox=\"0 0 {right} {bottom}\" font-family=\"{FAMILY}\">\n\
         <path fill=\"#fff\" d=\"M0 0H{right}V{bottom}H0z"
    );
    let mut group = StyleGroup { opening: String::new(), closing: PATH_END };
    for primitive in &sketch.primitives {
        let next = StyleGroup::of(primitive);
        if next != group {
            document.push_str(group.closing);
            document.push_str(&next.opening);
            group = next;
        }
        write_primitive(&mut document, primitive);
    }
    document.push_str(group.closing);
    document.push_str("</svg>\n");
    document
}

const PATH_END: &str = "\"/>\n";

/// The element that consecutive primitives of one kind and style share.
#[derive(PartialEq)]
struct StyleGroup {
    opening: String,
    closing: &'static str,
}

impl StyleGroup {
    fn of(primitive: &Primitive) -> Self {
        match primitive {
            Primitive::Polygon { colour, .. } => Self {
                opening: format!("<path {} d=\"", paint("fill", *colour)),
                closing: PATH_END,
            },
            Primitive::Line { stroke, colour, .. } => {
                let (paint, width) = (paint("stroke", *colour), stroke * SCALE);
                let opening = format!(
                    "<path fill=\"none\" {paint} stroke-width=\"{width}\" \
                     stroke-linejoin=\"round\" d=\""
                );
                Self { opening, closing: PATH_END }
            }
            Primitive::Dot { colour, .. } => {
                Self { opening: format!("<g {}>", paint("fill", *colour)), closing: "</g>\n" }
            }
            Primitive::Text { format, .. } => {
                Self { opening: opening_of_text(format), closing: "</g>\n" }
            }
        }
    }
}

fn opening_of_text(format: &TextFormat) -> String {
    let anchor = match format.align {
        Align::Start => "",
        Align::Middle => " text-anchor=\"middle\"",
        Align::End => " text-anchor=\"end\"",
    };
    let weight = if format.bold { " font-weight=\"bold\"" } else { "" };
    let size = round(format.em * SCALE);
    format!("<g {} font-size=\"{size}\"{anchor}{weight}>", paint("fill", format.colour))
}

/// Writes a primitive into the element of its group.
fn write_primitive(document: &mut String, primitive: &Primitive) {
    // Writing to a string cannot fail.
    let _ = match primitive {
        Primitive::Polygon { points, .. } => {
            write_path(document, points);
            document.push('z');
            Ok(())
        }
        Primitive::Line { points, .. } => {
            write_path(document, points);
            Ok(())
        }
        Primitive::Dot { centre, radius, .. } => {
            let (x, y) = pixel(*centre);
            write!(document, "<circle cx=\"{x}\" cy=\"{y}\" r=\"{}\"/>", round(radius * SCALE))
        }
        Primitive::Text { anchor: (x, y), text, format } => {
            let line = HALF_CAPITAL * format.em;
            let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
            if format.upwards {
                let (x, y) = pixel((x + line, *y));
                write!(document, "<text transform=\"translate({x} {y})rotate(-90)\">{text}</text>")
            } else {
                let (x, y) = pixel((*x, y + line));
                write!(document, "<text x=\"{x}\" y=\"{y}\">{text}</text>")
            }
        }
    };
}

/// Writes the first point, then the difference to each next one, which has fewer digits.
fn write_path(document: &mut String, points: &[Point]) {
    let mut points = points.iter().map(|point| pixel(*point));
    let Some(mut last) = points.next() else { return };
    let _ = write!(document, "M{} {}", last.0, last.1);
    for (index, point) in points.enumerate() {
        let (right, down) = (point.0 - last.0, point.1 - last.1);
        // A minus sign needs no space before it.
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

/// Rounds to two decimals.
fn round(number: f64) -> f64 {
    (number * 100.0).round() / 100.0
}
