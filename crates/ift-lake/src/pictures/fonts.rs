//! The letters of pictures: `DejaVu Sans`, in the program itself, so that none of the system is
//! needed.

use std::sync::LazyLock;

use plotters::style::{FontStyle, register_font};

/// The family, followed by what shows an SVG on a machine without it.
pub(super) const FAMILY: &str = "DejaVu Sans,Verdana,sans-serif";

/// Plotters' size of a font in bitmaps is the height of its line, here 1.164 em.
pub(super) const SIZE_PER_EM: f64 = 1.164;

/// Half the height of its capitals, em.
pub(super) const HALF_CAPITAL: f64 = 0.3645;

/// Makes the family known to plotters; says whether it is.
pub(super) fn registered() -> bool {
    static REGISTERED: LazyLock<bool> = LazyLock::new(|| {
        register_font(FAMILY, FontStyle::Normal, dejavu::sans::regular()).is_ok()
            && register_font(FAMILY, FontStyle::Bold, dejavu::sans::bold()).is_ok()
    });
    *REGISTERED
}
