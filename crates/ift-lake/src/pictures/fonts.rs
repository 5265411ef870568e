//! The font of pictures: `DejaVu Sans`, which is part of the program, so that no system font is
//! needed.

use std::sync::LazyLock;

use plotters::style::{FontStyle, register_font};

/// The font family, followed by the fallbacks for viewing an SVG without it.
pub(super) const FAMILY: &str = "DejaVu Sans,Verdana,sans-serif";

/// Font size of plotters' bitmaps per em: plotters takes the line height, which is 1.164 em here.
pub(super) const SIZE_PER_EM: f64 = 1.164;

/// Half the height of capitals, em.
pub(super) const HALF_CAPITAL: f64 = 0.3645;

/// Registers the font with plotters and returns whether this succeeded.
pub(super) fn registered() -> bool {
    static REGISTERED: LazyLock<bool> = LazyLock::new(|| {
        register_font(FAMILY, FontStyle::Normal, dejavu::sans::regular()).is_ok()
            && register_font(FAMILY, FontStyle::Bold, dejavu::sans::bold()).is_ok()
    });
    *REGISTERED
}
