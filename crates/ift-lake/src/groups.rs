//! Scenes over several maps, whose unit is the map.

use crate::{
    measure::Measure,
    report::{LearnerReport, MapGroup, Origin, Scene, WorldReport},
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

/// One group for each scene that three or more maps of the same origin and ice have.
pub(crate) fn groups(worlds: &[WorldReport]) -> Vec<MapGroup> {
    let mut found: Vec<(Key, Vec<(&WorldReport, &Scene)>)> = Vec::new();
    for world in worlds {
        for scene in &world.scenes {
            let key = (world.origin, world.ice, scene.start, scene.suboptimal);
            match found.iter_mut().find(|group| group.0 == key) {
                Some((_, scenes)) => scenes.push((world, scene)),
                None => found.push((key, vec![(world, scene)])),
            }
        }
    }
    let several = found.into_iter().filter(|(_, scenes)| scenes.len() >= FEWEST_MAPS);
    let mut groups: Vec<_> = several.map(|(key, scenes)| group(key, &scenes)).collect();
    // Groups of the same maps stand together.
    groups.sort_by_key(|group| (group.origin as usize, group.ice as usize));
    correct(groups.iter_mut().map(|group| &mut group.verdicts));
    groups
}

/// The group of some scenes, without Holm's correction.
fn group((origin, ice, start, suboptimal): Key, scenes: &[(&WorldReport, &Scene)]) -> MapGroup {
    let maps = match ice {
        Ice::Solid => origin.name().to_owned(),
        Ice::Slippery => format!("{}-slippery", origin.name()),
    };
    // One mean per map.
    let means = |label: &str, measure: Measure| -> Option<Vec<f64>> {
        let mean = |(_, scene): &(_, &Scene)| Some(scene.learner(label)?.estimate(measure).mean);
        scenes.iter().map(mean).collect()
    };
    let learner = |label: &String| {
        let estimates =
            Measure::ALL.iter().map(|measure| Some(Estimate::of(&means(label, *measure)?)));
        let estimates = estimates.collect::<Option<_>>()?;
        Some(LearnerReport { label: label.clone(), estimates, curve: Vec::new() })
    };
    let labels = scenes.first().map(|(_, scene)| &scene.learners[..]).unwrap_or_default();
    MapGroup {
        name: format!("{maps}-{}-{}", start.name(), suboptimal.name()),
        maps,
        origin,
        ice,
        start,
        suboptimal,
        worlds: scenes.iter().map(|(world, _)| world.name.clone()).collect(),
        learners: labels.iter().filter_map(|report| learner(&report.label)).collect(),
        verdicts: verdicts(labels.iter().map(|report| report.label.as_str()), means),
    }
}

#[cfg(test)]
mod tests;
