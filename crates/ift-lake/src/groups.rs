//! Scenes over several maps, whose unit is the map.

use std::cmp::Reverse;

use crate::{
    measure::Measure,
    report::{LearnerReport, MapGroup, Origin, Scene, SceneResults, WorldReport},
    start::Start,
    statistics::Estimate,
    trajectory::Suboptimal,
    verdict::{correct, verdicts},
    world::Ice,
};

/// What the scenes of a group share.
type Key = (Origin, Ice, Start, Suboptimal);

/// Smallest number of maps of a group: with two, a test over maps could decide nothing.
const FEWEST_MAPS: usize = 3;

/// One group for each scene that three or more different maps of the same origin and ice have.
pub(crate) fn groups(worlds: &[WorldReport]) -> Vec<MapGroup> {
    let mut found: Vec<(Key, Vec<(&WorldReport, &Scene)>)> = Vec::new();
    for world in worlds {
        for scene in &world.scenes {
            let key = (world.origin, world.ice, scene.results.start, scene.results.suboptimal);
            match found.iter_mut().find(|group| group.0 == key) {
                Some((_, scenes)) => scenes.push((world, scene)),
                None => found.push((key, vec![(world, scene)])),
            }
        }
    }
    let mut groups: Vec<_> = found.iter().map(|(key, scenes)| group(*key, scenes)).collect();
    groups.retain(|group| group.different_maps >= FEWEST_MAPS);
    // Groups with the same heading stand together, and of these, those with the same start.
    let starts: Vec<Start> = groups.iter().map(|group| group.results.start).collect();
    groups.sort_by_key(|group| {
        let start = starts.iter().position(|start| *start == group.results.start);
        (group.origin as usize, group.ice as usize, Reverse(group.different_maps), start)
    });
    correct(groups.iter_mut().map(|group| &mut group.results.verdicts));
    groups
}

/// The group of some scenes, without Holm's correction.
fn group((origin, ice, start, suboptimal): Key, scenes: &[(&WorldReport, &Scene)]) -> MapGroup {
    let maps = match ice {
        Ice::Solid => origin.name().to_owned(),
        Ice::Slippery => format!("{}-slippery", origin.name()),
    };
    // Several pairs of trajectories can be designed on one map; they are no independent samples.
    let mut different: Vec<(&[String], Vec<&Scene>)> = Vec::new();
    for (world, scene) in scenes {
        match different.iter_mut().find(|(map, _)| *map == world.map) {
            Some((_, scenes)) => scenes.push(scene),
            None => different.push((&world.map, vec![scene])),
        }
    }
    // One mean per map.
    let means = |label: &str, measure: Measure| -> Option<Vec<f64>> {
        let of_scene = |scene: &&Scene| Some(scene.results.learner(label)?.estimate(measure).mean);
        let of_map = |(_, scenes): &(_, Vec<&Scene>)| {
            let means = scenes.iter().map(of_scene).collect::<Option<Vec<_>>>()?;
            Some(Estimate::of(&means).mean)
        };
        different.iter().map(of_map).collect()
    };
    let learner = |label: &str| {
        let estimates =
            Measure::ALL.iter().map(|measure| Some(Estimate::of(&means(label, *measure)?)));
        let estimates = estimates.collect::<Option<_>>()?;
        Some(LearnerReport { label: label.to_owned(), estimates, curve: Vec::new() })
    };
    let first = scenes.first().map(|(_, scene)| &scene.results.learners[..]).unwrap_or_default();
    let labels: Vec<_> = first.iter().map(|learner| learner.label.as_str()).collect();
    MapGroup {
        name: format!("{maps}-{}-{}", start.name(), suboptimal.name()),
        maps,
        origin,
        ice,
        different_maps: different.len(),
        worlds: scenes.iter().map(|(world, _)| world.name.clone()).collect(),
        results: SceneResults {
            start,
            suboptimal,
            learners: labels.iter().filter_map(|label| learner(label)).collect(),
            verdicts: verdicts(&labels, means),
        },
    }
}

#[cfg(test)]
mod tests;
