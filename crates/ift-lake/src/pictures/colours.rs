//! Colours: the palette of Okabe and Ito, which colour-blind readers can tell apart.

use plotters::style::RGBAColor;

use crate::report::SceneResults;

const fn rgb(red: u8, green: u8, blue: u8) -> RGBAColor {
    RGBAColor(red, green, blue, 1.0)
}

pub(super) const BLACK: RGBAColor = rgb(0, 0, 0);
pub(super) const WHITE: RGBAColor = rgb(255, 255, 255);
pub(super) const BLUE: RGBAColor = rgb(0x00, 0x72, 0xB2);
pub(super) const GREEN: RGBAColor = rgb(0x00, 0x9E, 0x73);
pub(super) const ORANGE: RGBAColor = rgb(0xE6, 0x9F, 0x00);
pub(super) const PURPLE: RGBAColor = rgb(0xCC, 0x79, 0xA7);
pub(super) const SKY: RGBAColor = rgb(0x56, 0xB4, 0xE9);
pub(super) const VERMILLION: RGBAColor = rgb(0xD5, 0x5E, 0x00);

/// Text and axes.
pub(super) const INK: RGBAColor = rgb(0x22, 0x22, 0x22);
/// Notes.
pub(super) const GREY: RGBAColor = rgb(0x66, 0x66, 0x66);
/// Grid lines.
pub(super) const RULE: RGBAColor = rgb(0xDD, 0xDD, 0xDD);

/// Methods on pairs or judged answers, except those of the paper's comparison.
const JUDGED: [&str; 5] = ["ipo", "simpo", "tdpo1", "tdpo2", "kto"];
/// Methods on demonstrations, except those of the paper's comparison.
const DEMONSTRATED: [&str; 7] =
    ["dft", "asft", "eaft", "iw_sft", "psft", "scheduled_sampling", "lm"];

/// The colour of a learner in every picture. Each method of the paper's comparison has its own
/// colour, the others have a shade of the colour of their family. Learners with settings other than
/// the defaults, which are part of the label, are paler and darker by turns.
pub(super) fn of_learner(label: &str, results: &SceneResults) -> RGBAColor {
    let method = method_of(label);
    let shade = |family: &[&str], colour| {
        let place = family.iter().position(|name| *name == method)?;
        Some(blend(colour, BLACK, 0.5 * place as f64 / family.len() as f64))
    };
    let colour = match method {
        "sft" => BLUE,
        "ift" => VERMILLION,
        "dpo" => GREEN,
        "orpo" => PURPLE,
        "ppo" => INK,
        _ => shade(&JUDGED, SKY).or_else(|| shade(&DEMONSTRATED, ORANGE)).unwrap_or(GREY),
    };
    // Number of the learner among those of the same method with other settings.
    let labels = results.learners.iter().map(|learner| learner.label.as_str());
    let mut variants = labels.filter(|other| method_of(other) == method && *other != method);
    match variants.position(|other| other == label) {
        None => colour,
        Some(number) => {
            let share = (0.4 + 0.2 * (number / 2) as f64).min(0.8);
            blend(colour, if number % 2 == 0 { WHITE } else { BLACK }, share)
        }
    }
}

/// The method of a learner: the first word of its label.
fn method_of(label: &str) -> &str {
    label.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default()
}

/// A mixture with share `share` of `to` and the rest `from`.
pub(super) fn blend(from: RGBAColor, to: RGBAColor, share: f64) -> RGBAColor {
    let channel = |from: u8, to: u8| {
        (f64::from(from) + share * (f64::from(to) - f64::from(from))).round() as u8
    };
    RGBAColor(channel(from.0, to.0), channel(from.1, to.1), channel(from.2, to.2), 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{report::LearnerReport, start::Start, trajectory::Suboptimal};

    #[test]
    fn learners_of_one_method_have_different_colours() {
        let labels =
            ["ift", "ift lambda=0", "sft", "ift gamma=0", "ift k=2", "dpo beta=1", "ift k=3"];
        let learner = |label: &str| LearnerReport {
            label: label.to_owned(),
            estimates: Vec::new(),
            curve: Vec::new(),
        };
        let results = SceneResults {
            start: Start::Random,
            suboptimal: Suboptimal::Hole,
            learners: labels.map(learner).to_vec(),
            verdicts: Vec::new(),
        };
        let colours = labels.map(|label| of_learner(label, &results));
        assert_eq!((colours[0], colours[2]), (VERMILLION, BLUE));
        for (index, colour) in colours.iter().enumerate() {
            assert!(!colours[..index].contains(colour), "{}", labels[index]);
        }
    }
}
