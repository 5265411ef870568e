use super::*;
use crate::{
    report::Portrait,
    trajectory::Trajectory,
    verdict::{Claim, Outcome, PAPER_METHODS},
};

/// A world with one scene per start and kind. The distance of each method is its place in
/// [`PAPER_METHODS`] times `slope`, plus `level`.
fn world(
    name: &str,
    (origin, ice): (Origin, Ice),
    scenes: &[(Start, Suboptimal)],
    (slope, level): (f64, f64),
) -> WorldReport {
    let walk = Trajectory { visits: Vec::new(), end: 0 };
    let learner = |(place, label): (usize, &&str)| LearnerReport {
        label: (*label).to_owned(),
        estimates: vec![
            Estimate { mean: slope * place as f64 + level, half_width: 0.1 };
            Measure::ALL.len()
        ],
        curve: Vec::new(),
    };
    let scene = |&(start, suboptimal): &(Start, Suboptimal)| Scene {
        name: format!("{name}-{}-{}", start.name(), suboptimal.name()),
        results: SceneResults {
            start,
            suboptimal,
            learners: PAPER_METHODS.iter().enumerate().map(learner).collect(),
            verdicts: Vec::new(),
        },
        comparisons: Vec::new(),
        portrait: Portrait { optimal: walk.clone(), suboptimal: walk.clone(), panels: Vec::new() },
    };
    WorldReport {
        name: name.to_owned(),
        map: vec![name.trim_end_matches("-slippery").to_owned()],
        ice,
        origin,
        optimum: Vec::new(),
        optimum_success: 1.0,
        scenes: scenes.iter().map(scene).collect(),
        sweeps: Vec::new(),
    }
}

#[test]
fn a_group_has_the_maps_of_one_origin_and_ice_that_have_the_scene() {
    use Suboptimal::{Hole, Longer, Own};
    let (solid, designed) = ((Origin::Random, Ice::Solid), (Origin::Designed, Ice::Solid));
    let both = [(Start::Random, Hole), (Start::Both(Hole), Own)];
    let worlds = [
        world("a", solid, &both, (1.0, 0.0)),
        world("4x4", (Origin::Listed, Ice::Solid), &both, (1.0, 0.0)),
        world("a-slippery", (Origin::Random, Ice::Slippery), &both, (1.0, 0.0)),
        world("b", solid, &both, (1.1, 5.0)),
        world("b-slippery", (Origin::Random, Ice::Slippery), &both, (1.0, 0.0)),
        world("c", solid, &both, (0.9, 2.0)),
        world("c-slippery", (Origin::Random, Ice::Slippery), &both, (1.0, 0.0)),
        world("8x8", (Origin::Listed, Ice::Solid), &both, (1.0, 0.0)),
        world("d", designed, &[(Start::Random, Hole), (Start::Random, Own)], (1.0, 0.0)),
        world("e", designed, &[(Start::Random, Longer), (Start::Random, Own)], (1.0, 0.0)),
        world("f", designed, &[(Start::Random, Longer), (Start::Random, Own)], (1.0, 0.0)),
    ];
    let groups = groups(&worlds);
    let found: Vec<_> =
        groups.iter().map(|group| (group.name.as_str(), group.worlds.join(" "))).collect();
    let expected = [
        ("random-random-hole", "a b c"),
        ("random-both-hole-own", "a b c"),
        ("random-slippery-random-hole", "a-slippery b-slippery c-slippery"),
        ("random-slippery-both-hole-own", "a-slippery b-slippery c-slippery"),
        ("designed-random-own", "d e f"),
    ];
    assert_eq!(found, expected.map(|(name, worlds)| (name, worlds.to_owned())));
    // Means of the maps are the samples: for the last method 3 · 1, 3 · 1.1 + 5 and 3 · 0.9 + 2.
    let estimate = groups[0].results.learners[3].estimate(Measure::Fitted);
    assert_eq!(groups[0].results.learners[3].label, "sft");
    let expected = Estimate::of(&[3.0, 8.3, 4.7]);
    assert!((estimate.mean - expected.mean).abs() < 1e-12);
    assert!((estimate.half_width - expected.half_width).abs() < 1e-12);
}

#[test]
fn maps_are_paired_and_corrected_over_groups() {
    let scenes = [(Start::Random, Suboptimal::Hole)];
    let at = |index: usize| {
        let slope = 1.0 + 0.1 * index as f64;
        let ice = if index < 4 { Ice::Solid } else { Ice::Slippery };
        // The last four maps have the opposite order.
        let slope = if index < 4 { slope } else { -slope };
        world(&index.to_string(), (Origin::Random, ice), &scenes, (slope, 7.0 * index as f64))
    };
    let worlds: Vec<_> = (0..8).map(at).collect();
    let groups = groups(&worlds);
    assert_eq!(groups.len(), 2);
    let verdict =
        |group: usize, claim: Claim| groups[group].results.readings(claim).next().unwrap();
    // Levels differ much more than methods do: only paired differences are significant.
    assert_eq!(verdict(0, Claim::Distance).outcome, Outcome::Confirmed);
    assert_eq!(verdict(0, Claim::Alignment).outcome, Outcome::Refuted);
    assert_eq!(verdict(1, Claim::Distance).outcome, Outcome::Refuted);
    assert_eq!(verdict(1, Claim::Alignment).outcome, Outcome::Confirmed);
    let first = verdict(0, Claim::Distance);
    assert_eq!(first.p_holm, 2.0 * first.p, "the smaller of two p-values");
}

#[test]
fn groups_with_the_same_heading_stand_together() {
    use Suboptimal::{Hole, Own};
    let of = |name, scenes: &[_]| world(name, (Origin::Designed, Ice::Solid), scenes, (1.0, 0.0));
    let few = [(Start::Random, Hole), (Start::Random, Own), (Start::Sft, Hole), (Start::Sft, Own)];
    let more = [(Start::Random, Own), (Start::Sft, Own)];
    let worlds = [of("a", &few), of("b", &few), of("c", &few), of("d", &more)];
    let groups = groups(&worlds);
    let headings: Vec<_> = groups.iter().map(MapGroup::heading).collect();
    let [four, three] = ["designed, 4 maps", "designed, 3 maps"];
    assert_eq!(headings, [four, four, three, three]);
    assert_eq!(groups[3].results.start, Start::Sft);
}

#[test]
fn two_maps_are_no_group() {
    let scenes = [(Start::Random, Suboptimal::Hole)];
    let map = |name: &str| world(name, (Origin::Random, Ice::Solid), &scenes, (1.0, 0.0));
    assert!(groups(&[map("a"), map("b")]).is_empty());
    assert_eq!(groups(&[map("a"), map("b"), map("c")]).len(), 1);
}

#[test]
fn worlds_on_one_map_are_one_sample() {
    let scenes = [(Start::Random, Suboptimal::Own)];
    let designed = (Origin::Designed, Ice::Solid);
    let mut worlds: Vec<_> = ["a", "b", "c", "d"]
        .iter()
        .zip([1.0, 2.0, 3.0, 5.0])
        .map(|(name, slope)| world(name, designed, &scenes, (slope, 0.0)))
        .collect();
    let mean = |worlds: &[WorldReport]| {
        let groups = groups(worlds);
        (groups[0].heading(), groups[0].results.learners[1].estimate(Measure::Fitted).mean)
    };
    assert_eq!(mean(&worlds), ("designed, 4 maps".to_owned(), 2.75));
    worlds[3].map = worlds[2].map.clone();
    assert_eq!(mean(&worlds), ("designed, 3 maps".to_owned(), (1.0 + 2.0 + 4.0) / 3.0));
    worlds[1].map = worlds[2].map.clone();
    assert!(groups(&worlds).is_empty());
}
