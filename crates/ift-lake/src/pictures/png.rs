//! Encoding of sketches as PNG, drawn with plotters.

use plotters::{
    backend::{BitMapBackend, DrawingBackend},
    style::{
        Color, FontDesc, FontFamily, FontStyle, FontTransform, ShapeStyle, TextStyle,
        text_anchor::{HPos, Pos, VPos},
    },
};

use super::{
    fonts::{FAMILY, HALF_CAPITAL, SIZE_PER_EM, registered},
    sketch::{Align, Point, Primitive, SCALE, Sketch, TextFormat, WIDTH, pixel},
};

/// Samples per pixel in each direction. Pictures are drawn larger and averaged, because plotters
/// places letters at whole pixels and smooths few edges.
const SAMPLES: usize = 2;

/// Encodes a sketch as a PNG file.
pub(super) fn png(sketch: &Sketch) -> Result<Vec<u8>, String> {
    if !registered() {
        return Err("the font cannot be read".to_owned());
    }
    let (width, height) = pixel((WIDTH, sketch.height));
    let (width, height) = (width as u32, height as u32);
    let samples = SAMPLES as u32;
    let mut drawn = vec![255; (width * samples) as usize * (height * samples) as usize * CHANNELS];
    let mut bitmap = BitMapBackend::with_buffer(&mut drawn, (width * samples, height * samples));
    for primitive in &sketch.primitives {
        draw(&mut bitmap, primitive).map_err(|error| error.to_string())?;
    }
    bitmap.present().map_err(|error| error.to_string())?;
    drop(bitmap);
    encode(&averaged(&drawn, width as usize), (width, height)).map_err(|error| error.to_string())
}

/// Bytes per pixel.
const CHANNELS: usize = 3;

/// Averages the samples of each pixel. `drawn` has the samples of `width` pixels per row.
fn averaged(drawn: &[u8], width: usize) -> Vec<u8> {
    let pixel = SAMPLES * CHANNELS;
    let row = width * pixel;
    let mut pixels = Vec::with_capacity(drawn.len() / (SAMPLES * SAMPLES));
    for rows in drawn.chunks_exact(row * SAMPLES) {
        let (upper, lower) = rows.split_at(row);
        for (upper, lower) in upper.chunks_exact(pixel).zip(lower.chunks_exact(pixel)) {
            let (first, second) = upper.split_at(CHANNELS);
            if upper == lower && first == second {
                pixels.extend_from_slice(first);
                continue;
            }
            let samples = |channel| {
                let beside = channel + CHANNELS;
                [upper[channel], upper[beside], lower[channel], lower[beside]]
            };
            pixels.extend((0..CHANNELS).map(|channel| mean(samples(channel))));
        }
    }
    pixels
}

/// The mean of the samples of a channel. If they differ, as at edges, it is rounded to one of 16
/// levels: the difference cannot be seen, and files are a third smaller.
fn mean(samples: [u8; SAMPLES * SAMPLES]) -> u8 {
    const LEVEL: u16 = 255 / 15;
    let [first, rest @ ..] = samples;
    if rest.iter().all(|sample| *sample == first) {
        return first;
    }
    let sum: u16 = samples.into_iter().map(u16::from).sum();
    let level = (sum / samples.len() as u16 + LEVEL / 2) / LEVEL;
    (level * LEVEL) as u8
}

fn encode(pixels: &[u8], (width, height): (u32, u32)) -> Result<Vec<u8>, png::EncodingError> {
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, width, height);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_compression(png::Compression::Balanced);
    // TextFormat and arrows repeat to the byte, which a filter would hide from the compression.
    encoder.set_filter(png::Filter::NoFilter);
    let mut writer = encoder.write_header()?;
    writer.write_image_data(pixels)?;
    writer.finish()?;
    Ok(file)
}

fn draw(
    bitmap: &mut BitMapBackend,
    primitive: &Primitive,
) -> Result<(), impl std::error::Error + use<>> {
    match primitive {
        Primitive::Polygon { points, colour } => {
            bitmap.fill_polygon(points.iter().map(|point| sample(*point)), colour)
        }
        Primitive::Line { points, stroke, colour } => {
            // Each segment is drawn by itself, with round joints: plotters' own joints are wrong
            // where a line turns back.
            let width = whole(*stroke).max(1);
            let style = ShapeStyle::from(colour).stroke_width(width);
            for piece in points.windows(2) {
                bitmap.draw_line(sample(piece[0]), sample(piece[1]), &style)?;
            }
            for joint in points.iter().skip(1).rev().skip(1) {
                bitmap.draw_circle(sample(*joint), width / 2, &colour.filled(), true)?;
            }
            Ok(())
        }
        Primitive::Dot { centre, radius, colour } => {
            bitmap.draw_circle(sample(*centre), whole(*radius), &colour.filled(), true)
        }
        Primitive::Text { anchor, text, format } => {
            let (style, anchor) = typeset(format, *anchor);
            bitmap.draw_text(text, &style, sample(anchor))
        }
    }
}

/// Plotters' text style, and the anchor at which it centres capitals at `(x, y)`. Plotters centres
/// a box at the anchor whose height is the font size divided by 1.24, and places the line of
/// letters half a font size below the top of that box.
fn typeset(format: &TextFormat, (x, y): Point) -> (TextStyle<'_>, Point) {
    let line = SIZE_PER_EM * (0.5 - 0.5 / 1.24);
    let down = (HALF_CAPITAL - line) * format.em;
    let style = if format.bold { FontStyle::Bold } else { FontStyle::Normal };
    let size = format.em * SIZE_PER_EM * SCALE * SAMPLES as f64;
    let font = FontDesc::new(FontFamily::Name(FAMILY), size, style);
    let (font, anchor) = if format.upwards {
        (font.transform(FontTransform::Rotate270), (x + down, y))
    } else {
        (font, (x, y + down))
    };
    let align = match format.align {
        Align::Start => HPos::Left,
        Align::Middle => HPos::Center,
        Align::End => HPos::Right,
    };
    (TextStyle::from(font).color(&format.colour).pos(Pos::new(align, VPos::Center)), anchor)
}

fn sample((x, y): Point) -> (i32, i32) {
    pixel((x * SAMPLES as f64, y * SAMPLES as f64))
}

fn whole(length: f64) -> u32 {
    (length * SCALE * SAMPLES as f64).round() as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pictures::colours::INK;

    fn drawn(text: &str) -> Vec<u8> {
        let mut sketch = Sketch::new(40.0);
        sketch.text((20.0, 20.0), text, TextFormat::new(16.0, INK));
        png(&sketch).unwrap()
    }

    #[test]
    fn the_font_has_the_letters_that_pictures_use() {
        let missing = drawn("\u{F8FE}");
        for letter in ["a", "λ", "γ", "✓", "✗", "–", "…", "←", "<"] {
            assert!(drawn(letter) != missing && drawn(letter) != drawn(" "), "{letter}");
        }
    }

    #[test]
    fn a_pixel_is_the_mean_of_its_samples() {
        let cases = [
            ([7; 4], 7),
            ([255; 4], 255),
            ([0, 0, 255, 255], 119),
            ([0, 0, 0, 255], 68),
            ([254, 255, 255, 255], 255),
        ];
        for (samples, pixel) in cases {
            assert_eq!(mean(samples), pixel, "{samples:?}");
        }
        // Two rows of two pixels of one colour each become one row.
        let row = [[1, 2, 3], [1, 2, 3], [4, 5, 6], [4, 5, 6]].concat();
        assert_eq!(averaged(&[row.clone(), row].concat(), 2), [1, 2, 3, 4, 5, 6]);
    }
}
