//! Pictures of a study, as SVG and PNG.
//!
//! A picture is laid out once, as a [`Sketch`]: a list of shapes, which either format is drawn
//! from.

mod axis;
mod bars;
mod board;
mod colours;
mod fonts;
mod grids;
mod lines;
mod overview;
mod png;
mod sketch;
mod svg;

use self::sketch::Sketch;
use crate::{error::LakeError, report::Report};

/// A picture, ready to be written.
#[derive(Debug)]
pub struct Picture {
    /// Stem of the file's name: what is shown, and the scene or sweep that it shows.
    pub name: String,
    sketch: Sketch,
}

impl Picture {
    /// The picture as an SVG document. The same report gives the same bytes.
    pub fn svg(&self) -> String {
        svg::svg(&self.sketch)
    }

    /// The picture as a PNG file's bytes, 1800 pixels wide. The same report gives the same bytes.
    ///
    /// # Errors
    /// [`LakeError::Write`] if it cannot be drawn or encoded.
    pub fn png(&self) -> Result<Vec<u8>, LakeError> {
        png::png(&self.sketch).map_err(|problem| LakeError::Write {
            path: format!("{}.png", self.name).into(),
            problem,
        })
    }
}

/// All pictures of a study: `overview`, then for each scene `grids-`, `bars-` and `curves-` with
/// the scene's name, and for each sweep `sweep-` with its name.
///
/// A map of more than 32 rows or columns has no grids: its arrows would be too small to see.
pub fn pictures(report: &Report) -> Vec<Picture> {
    // Texts are measured while pictures are laid out; without the font that is an estimate, and
    // drawing is an error.
    fonts::registered();
    let picture =
        |kind: &str, name: &str, sketch| Picture { name: format!("{kind}-{name}"), sketch };
    let mut pictures =
        vec![Picture { name: "overview".to_owned(), sketch: overview::overview(report) }];
    for world in &report.worlds {
        let (rows, columns) = board::Board::shape(&world.map);
        for scene in &world.scenes {
            if rows.max(columns) <= grids::LARGEST {
                pictures.push(picture("grids", &scene.name, grids::grids(world, scene)));
            }
            pictures.push(picture("bars", &scene.name, bars::bars(world, scene)));
            pictures.push(picture(
                "curves",
                &scene.name,
                lines::curves(&report.curve_steps, scene),
            ));
        }
        for sweep in &world.sweeps {
            pictures.push(picture("sweep", &sweep.name, lines::sweep(world, sweep)));
        }
    }
    pictures
}
