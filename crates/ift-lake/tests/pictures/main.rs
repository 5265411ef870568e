//! Pictures of invented reports: their content, and reports with unusual sizes.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking")]

mod invented;

use ift_lake::{Estimate, Measure, Outcome, Picture, Start, StudyReport, Suboptimal, pictures};

use invented::{EIGHT, FOUR, InventedStudy, verdicts};

const PAPER: &[&str] = &["sft", "ift", "dpo", "orpo"];

fn small() -> StudyReport {
    InventedStudy {
        maps: &[("4x4", FOUR), ("8x8", EIGHT)],
        learners: &["sft", "ift", "dpo", "orpo", "scheduled_sampling", "ift lambda=0.5"],
        starts: &[Start::Random, Start::Sft],
        kinds: &[Suboptimal::Hole, Suboptimal::Wandering],
        seeds: 100,
    }
    .report()
}

fn one_scene<'a>(
    name: &'a str,
    map: &'a [&'a str],
    learners: &'a [&'a str],
    seeds: u64,
) -> StudyReport {
    let (starts, kinds) = (&[Start::Random], &[Suboptimal::Longer]);
    InventedStudy { maps: &[(name, map)], learners, starts, kinds, seeds }.report()
}

fn named<'a>(pictures: &'a [Picture], name: &str) -> &'a Picture {
    pictures
        .iter()
        .find(|picture| picture.name == name)
        .unwrap_or_else(|| panic!("no picture {name}"))
}

/// The texts of an SVG document in order. Panics if the document is not well-formed.
fn texts(svg: &str) -> Vec<String> {
    let mut open = Vec::new();
    let mut texts = Vec::new();
    let mut rest = svg;
    while let Some(start) = rest.find('<') {
        let text = &rest[..start];
        let plain = ["&amp;", "&lt;", "&gt;"]
            .iter()
            .fold(text.to_owned(), |text, entity| text.replace(entity, ""));
        assert!(!plain.contains(['&', '>']), "not escaped: {text}");
        if open.last() == Some(&"text") {
            texts.push(text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"));
        } else {
            assert_eq!(text.trim(), "", "text outside of a text element");
        }
        let end = start + rest[start..].find('>').unwrap();
        let tag = &rest[start + 1..end];
        assert_eq!(tag.matches('"').count() % 2, 0, "quotes of <{tag}>");
        let name = tag.trim_start_matches('/').split([' ', '/']).next().unwrap();
        if tag.starts_with('/') {
            assert_eq!(open.pop(), Some(name));
        } else if !tag.ends_with('/') {
            open.push(name);
        }
        rest = &rest[end + 1..];
    }
    assert!(open.is_empty() && rest.trim().is_empty(), "ends in {open:?}, {rest}");
    texts
}

/// Width, height and pixels.
fn decoded(png: &[u8]) -> (u32, u32, Vec<[u8; 3]>) {
    let mut reader = png::Decoder::new(std::io::Cursor::new(png)).read_info().unwrap();
    let mut bytes = vec![0; reader.output_buffer_size().unwrap()];
    let info = reader.next_frame(&mut bytes).unwrap();
    let pixels = bytes.chunks_exact(3).map(|pixel| pixel.try_into().unwrap()).collect();
    (info.width, info.height, pixels)
}

/// Encodes all pictures in both formats and checks them.
fn check_all(report: &StudyReport) {
    for picture in pictures(report) {
        let svg = picture.svg();
        texts(&svg);
        assert!(
            !["lM", "lz", "l\""].iter().any(|bare| svg.contains(bare)),
            "{}: a path without points",
            picture.name
        );
        let (width, height, pixels) = decoded(&picture.png().unwrap());
        assert_eq!(width, 1800, "{}", picture.name);
        assert!(
            svg.contains(&format!("viewBox=\"0 0 {width} {height}\"")),
            "{}: other sizes",
            picture.name
        );
        let white = pixels.iter().filter(|pixel| **pixel == [255; 3]).count();
        assert!(
            white > pixels.len() / 10 && white < pixels.len(),
            "{}: {white} white",
            picture.name
        );
    }
}

#[test]
fn every_scene_and_sweep_has_its_pictures() {
    let names: Vec<String> = pictures(&small()).into_iter().map(|picture| picture.name).collect();
    let mut expected = vec!["overview".to_owned()];
    for map in ["4x4", "8x8"] {
        for scene in ["random-hole", "random-wandering", "sft-hole", "sft-wandering"] {
            expected.extend(
                ["grids", "bars", "alignment", "curves"]
                    .map(|kind| format!("{kind}-{map}-{scene}")),
            );
        }
        for sweep in ["random-lambda", "random-gamma", "sft-lambda", "sft-gamma"] {
            expected.push(format!("sweep-{map}-{sweep}"));
        }
    }
    assert_eq!(names, expected);
}

#[test]
fn every_picture_is_well_formed_in_both_formats() {
    check_all(&one_scene("4x4", FOUR, PAPER, 10));
    check_all(&one_scene("8x8", EIGHT, PAPER, 10));
}

#[test]
fn pictures_name_every_learner_of_their_scene() {
    let report = small();
    for picture in pictures(&report).iter().filter(|picture| !picture.name.starts_with("sweep")) {
        let texts = texts(&picture.svg());
        for learner in &report.worlds[0].scenes[0].results.learners {
            assert!(texts.contains(&learner.label), "{} lacks {}", picture.name, learner.label);
        }
    }
}

#[test]
fn sweeps_label_their_setting_with_a_greek_letter() {
    let pictures = pictures(&small());
    for (name, letter) in [("sweep-4x4-sft-lambda", "λ"), ("sweep-4x4-sft-gamma", "γ")] {
        assert!(texts(&named(&pictures, name).svg()).contains(&letter.to_owned()));
    }
}

#[test]
fn bars_are_sorted_by_the_distance_from_the_optimum() {
    let report = small();
    let scene = &report.worlds[0].scenes[0];
    let mut learners: Vec<_> = scene.results.learners.iter().collect();
    learners
        .sort_by(|a, b| a.estimate(Measure::Mse).mean.total_cmp(&b.estimate(Measure::Mse).mean));
    let expected: Vec<&str> = learners.iter().map(|learner| learner.label.as_str()).collect();
    let texts = texts(&named(&pictures(&report), "bars-4x4-random-hole").svg());
    let found: Vec<&str> =
        texts.iter().map(String::as_str).filter(|text| expected.contains(text)).collect();
    assert_eq!(found, expected);
}

#[test]
fn alignments_are_sorted_by_the_measure_that_the_paper_names() {
    let mut report = one_scene("4x4", FOUR, PAPER, 10);
    // Of SFT, IFT, DPO and ORPO.
    for (learner, aligned) in
        report.worlds[0].scenes[0].results.learners.iter_mut().zip([1, 3, 4, 2])
    {
        learner.estimates[Measure::Aligned as usize].mean = 0.2 * f64::from(aligned);
    }
    let texts = texts(&named(&pictures(&report), "alignment-4x4-random-longer").svg());
    let found: Vec<_> = texts.iter().filter(|text| PAPER.contains(&text.as_str())).collect();
    assert_eq!(found, ["dpo", "ift", "orpo", "sft"]);
}

#[test]
fn labels_of_curves_descend_by_last_value() {
    let report = small();
    let mut learners: Vec<_> = report.worlds[0].scenes[0].results.learners.iter().collect();
    let last = |learner: &ift_lake::LearnerReport| learner.curve.last().unwrap().mean;
    learners.sort_by(|a, b| last(b).total_cmp(&last(a)));
    let expected: Vec<String> = learners
        .iter()
        .flat_map(|learner| [learner.label.clone(), format!("{:.4}", last(learner))])
        .collect();
    let texts = texts(&named(&pictures(&report), "curves-4x4-random-hole").svg());
    assert_eq!(texts[texts.len() - expected.len()..], expected);
}

#[test]
fn the_overview_shows_whether_each_claim_holds() {
    use Outcome::{Confirmed, Refuted, Undecided};
    let mut report = one_scene("4x4", FOUR, PAPER, 10);
    let mut shown = |outcomes: Option<[Outcome; 2]>| {
        report.worlds[0].scenes[0].results.verdicts = outcomes.map_or_else(Vec::new, verdicts);
        let texts = texts(&named(&pictures(&report), "overview").svg());
        // Signs stand after the labels of both rows; the legend has them in sentences.
        let signs = texts.iter().filter(|text| ["✓", "✗", "–"].contains(&text.as_str())).cloned();
        let legend = texts.iter().any(|text| text.contains("dpo < ift < orpo, sft"));
        assert_eq!(texts.contains(&"claim: alignment".to_owned()), legend);
        (signs.collect::<String>(), legend)
    };
    assert_eq!(shown(Some([Confirmed, Refuted])), ("✓✗".to_owned(), true));
    assert_eq!(shown(Some([Undecided, Undecided])), ("––".to_owned(), true));
    assert_eq!(shown(None), (String::new(), false), "without one of the methods");
}

#[test]
fn the_overview_has_a_table_for_each_world_if_they_are_wide() {
    use Suboptimal::{Hole, Longer, Own, Wandering};
    let starts =
        [Start::Random, Start::Sft, Start::Both(Longer), Start::Both(Hole), Start::Both(Wandering)];
    let maps: Vec<(String, &[&str])> = (0..20).map(|map| (format!("map{map}"), FOUR)).collect();
    let maps: Vec<(&str, &[&str])> = maps.iter().map(|(name, rows)| (&**name, *rows)).collect();
    let of = |maps: &[(&str, &[&str])], kinds: &[Suboptimal]| {
        let report =
            InventedStudy { maps, learners: PAPER, starts: &starts, kinds, seeds: 10 }.report();
        let picture = pictures(&report).swap_remove(0);
        let tables = texts(&picture.svg()).iter().filter(|text| *text == "map").count();
        let (_, height, _) = decoded(&picture.png().unwrap());
        (tables, height)
    };
    // Columns by world, then those of the group of all maps, in another table.
    assert_eq!(of(&maps[..1], &[Longer, Hole, Wandering, Own]).0, 1);
    assert_eq!(of(&maps[..3], &[Longer, Hole, Wandering, Own]).0, 3 + 1);
    assert_eq!(of(&maps[..3], &[Hole]).0, 1 + 1);
    let (tables, height) = of(&maps, &[Longer, Hole, Wandering, Own]);
    assert_eq!(tables, 12 + 1, "other worlds are left out");
    assert!(height < 10_000, "{height}");
}

#[test]
fn what_has_no_states_is_not_drawn() {
    let mut report = one_scene("row", &["SFG"], PAPER, 3);
    let legend = |report: &StudyReport| {
        let names = ["bars-row-random-longer", "sweep-row-random-lambda"];
        names.map(|name| {
            let texts = texts(&named(&pictures(report), name).svg());
            let shown = |part: &str| texts.iter().any(|text| text == part);
            assert!(shown("on the trajectory") && !texts.iter().any(|text| text.contains("NaN")));
            shown("off the trajectory")
        })
    };
    assert_eq!(legend(&report), [true; 2]);
    let absent = Estimate { mean: f64::NAN, half_width: f64::NAN };
    for learner in &mut report.worlds[0].scenes[0].results.learners {
        learner.estimates[Measure::MseOff as usize] = absent;
    }
    for sweep in &mut report.worlds[0].sweeps {
        sweep.off.fill(absent);
    }
    assert_eq!(legend(&report), [false; 2]);
    check_all(&report);
}

#[test]
fn only_small_maps_show_probabilities() {
    let report = one_scene("row", &["SFG"], &["sft"], 3);
    let texts_of = |report: &StudyReport| texts(&pictures(report)[1].svg());
    let texts = texts_of(&report);
    // The optimum goes right in both cells; probabilities of 0 are not shown.
    assert_eq!(texts.iter().filter(|text| *text == "1.0").count(), 2);
    assert!(!texts.contains(&".00".to_owned()));
    let is_number = |text: &String| text.starts_with('.') || text == "1.0";
    assert!(!texts_of(&one_scene("8x8", EIGHT, &["sft"], 3)).iter().any(is_number));
}

#[test]
fn panels_show_the_error_of_their_policy() {
    let mut report = one_scene("row", &["SFG"], &["sft"], 3);
    // Right has probability 0.8 instead of 1, left 0.2 instead of 0: (2 · 0.2²) / 4. The row of the
    // goal does not count.
    report.worlds[0].scenes[0].portrait.panels[2].policy =
        vec![[0.2, 0.0, 0.8, 0.0], [0.2, 0.0, 0.8, 0.0], [1.0; 4]];
    assert!(texts(&pictures(&report)[1].svg()).contains(&"MSE 0.020".to_owned()));
}

#[test]
fn reports_of_unusual_sizes_are_drawn() {
    let large = |size: usize| -> Vec<String> {
        let cell = |index| match index {
            0 => 'S',
            _ if index + 1 == size * size => 'G',
            _ if index % 13 == 5 => 'H',
            _ => 'F',
        };
        (0..size).map(|row| (0..size).map(|column| cell(row * size + column)).collect()).collect()
    };
    let (twenty, forty) = (large(20), large(40));
    let twenty: Vec<&str> = twenty.iter().map(String::as_str).collect();
    let forty: Vec<&str> = forty.iter().map(String::as_str).collect();
    let long = "scheduled_sampling lambda_schedule=linear min_lambda=0.01 max_lambda=0.99 <&\"'>";
    let many: Vec<String> = (0..40).map(|index| format!("method_{index}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    for report in [
        one_scene("row", &["SFG"], &["sft"], 1),
        one_scene("column", &["S", "F", "F", "F", "G"], PAPER, 2),
        one_scene("20x20", &twenty, PAPER, 5),
        one_scene("40x40", &forty, PAPER, 5),
        one_scene(
            "a map whose name is far too long to stand above one column & needs <escapes>",
            FOUR,
            &[long],
            5,
        ),
        one_scene("crowd", FOUR, &many, 5),
        one_scene("nobody", FOUR, &[], 5),
        StudyReport { seeds: 1, curve_steps: Vec::new(), worlds: Vec::new(), groups: Vec::new() },
    ] {
        check_all(&report);
    }
    let mut report = one_scene("4x4", FOUR, PAPER, 5);
    report.curve_steps.truncate(1);
    for learner in &mut report.worlds[0].scenes[0].results.learners {
        learner.curve.truncate(1);
        learner
            .estimates
            .iter_mut()
            .for_each(|estimate| (estimate.mean, estimate.half_width) = (0.0, 0.0));
    }
    check_all(&report);
}

#[test]
fn maps_too_large_for_arrows_have_no_grids() {
    let rows = ["S", "F"].repeat(16).into_iter().chain(["G"]).collect::<Vec<_>>();
    let report = one_scene("tower", &rows, &["sft"], 1);
    assert!(pictures(&report).iter().all(|picture| !picture.name.starts_with("grids")));
}

#[test]
fn the_same_report_gives_the_same_bytes() {
    let report = one_scene("4x4", FOUR, PAPER, 5);
    for (a, b) in pictures(&report).iter().zip(&pictures(&report)) {
        assert_eq!(a.svg(), b.svg());
        assert_eq!(a.png().unwrap(), b.png().unwrap());
    }
}
