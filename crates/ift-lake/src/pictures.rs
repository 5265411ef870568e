//! Pictures of a study, as SVG and PNG.
//!
//! A picture is laid out once, as a [`Sketch`]: a list of primitives, from which both formats are
//! written.

mod axis;
mod bars;
mod colours;
mod fonts;
mod grids;
mod lines;
mod map_plot;
mod overview;
mod png;
mod sketch;
mod svg;

use self::sketch::Sketch;
use crate::{error::LakeError, report::StudyReport};

/// A picture, laid out but not yet encoded.
#[derive(Debug)]
pub struct Picture {
    /// Stem of the file name: the kind of picture and the scene or sweep that it shows.
    pub name: String,
    sketch: Sketch,
}

impl Picture {
    /// Encodes the picture as an SVG document. The same report gives the same bytes.
    pub fn svg(&self) -> String {
        svg::svg(&self.sketch)
    }

    /// Encodes the picture as a PNG file, 1800 pixels wide. The same report gives the same bytes.
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

/// All pictures of a study: `overview`, for each scene `grids-`, `bars-`, `alignment-` and
/// `curves-` with the name of the scene, and for each sweep `sweep-` with its name.
///
/// Maps with more than 32 rows or columns have no grids, because arrows would be too small to see.
pub fn pictures(report: &StudyReport) -> Vec<Picture> {
    // The layout measures texts. Without the font it uses an estimate, and encoding as PNG fails.
    fonts::registered();
    let picture =
        |kind: &str, name: &str, sketch| Picture { name: format!("{kind}-{name}"), sketch };
    let mut pictures =
        vec![Picture { name: "overview".to_owned(), sketch: overview::overview(report) }];
    for world in &report.worlds {
        let (rows, columns) = map_plot::MapPlot::size(&world.map);
        for scene in &world.scenes {
            if rows.max(columns) <= grids::LARGEST {
                pictures.push(picture("grids", &scene.name, grids::grids(world, scene)));
            }
            pictures.push(picture("bars", &scene.name, bars::bars(world, scene)));
            pictures.push(picture("alignment", &scene.name, bars::alignment(scene)));
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
