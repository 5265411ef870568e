//! How far the cells that training used as inputs agree with those that the policy visits.

use crate::{training_curve::InputCounts, world::World};

/// Expected number of moves from a cell per episode from which on a policy visits it: once in
/// twenty episodes.
const VISITED: f64 = 0.05;

/// Measures of this agreement, each 0 to 1; 0 without any inputs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Alignment {
    /// [`crate::Measure::Aligned`].
    pub(crate) mean: f64,
    /// [`crate::Measure::AlignedStart`].
    pub(crate) start: f64,
    /// [`crate::Measure::AlignedEnd`].
    pub(crate) end: f64,
    /// [`crate::Measure::AlignedCells`].
    pub(crate) cells: f64,
}

impl Alignment {
    /// The alignment of the inputs of a training run with the visits of its policy at each point of
    /// its training curve. `visits: [points, states]`, with 0 for terminal states
    pub(crate) fn new(world: &World, inputs: &InputCounts, visits: &[&[f64]]) -> Self {
        let non_terminal = |counts: &[f64]| {
            let mut counts = counts.to_vec();
            for (state, count) in counts.iter_mut().enumerate() {
                if world.is_terminal(state) {
                    *count = 0.0;
                }
            }
            counts
        };
        let intervals = inputs.by_interval().iter().map(|counts| non_terminal(counts));
        let overlaps: Vec<_> =
            intervals.zip(visits).filter_map(|(counts, visits)| overlap(&counts, visits)).collect();
        let total = non_terminal(&inputs.total());
        let of_whole = |visits: Option<&&[f64]>| {
            visits.and_then(|visits| overlap(&total, visits)).unwrap_or(0.0)
        };
        Self {
            mean: overlaps.iter().sum::<f64>() / overlaps.len().max(1) as f64,
            start: of_whole(visits.first()),
            end: of_whole(visits.last()),
            cells: visits.last().map_or(0.0, |visits| common_cells(&total, visits)),
        }
    }
}

/// The sum over states of the smaller of the shares of two counts; `None` if there is nothing to
/// share.
fn overlap(inputs: &[f64], visits: &[f64]) -> Option<f64> {
    let (all_inputs, all_visits) = (inputs.iter().sum::<f64>(), visits.iter().sum::<f64>());
    let smaller = |(inputs, visits): (&f64, &f64)| (inputs / all_inputs).min(visits / all_visits);
    (all_inputs > 0.0 && all_visits > 0.0)
        .then(|| inputs.iter().zip(visits).map(smaller).sum::<f64>())
}

/// Of the states that were inputs or are visited, the share of those that are both.
fn common_cells(inputs: &[f64], visits: &[f64]) -> f64 {
    let cells = || inputs.iter().zip(visits).map(|(&i, &v)| (i > 0.0, v >= VISITED));
    let both = cells().filter(|&(used, visited)| used && visited).count();
    let either = cells().filter(|&(used, visited)| used || visited).count();
    both as f64 / either.max(1) as f64
}

#[cfg(test)]
mod tests {
    use ift_compare::{Comparison, Tolerance};

    use super::*;
    use crate::{
        map::LakeMap,
        network::Input,
        world::{Ice, Rewards},
    };

    /// S F G: two non-terminal states.
    fn corridor() -> World {
        let map = LakeMap::parse("corridor", "SFG").unwrap();
        World::new(map, Ice::Solid, 1.0, Rewards::default(), 3)
    }

    fn assert_alignment(found: Alignment, mean: f64, start: f64, end: f64, cells: f64) {
        let mut comparison = Comparison::new("alignment", Tolerance::absolute(1e-14));
        comparison.value("mean", found.mean, mean);
        comparison.value("start", found.start, start);
        comparison.value("end", found.end, end);
        comparison.value("cells", found.cells, cells);
        comparison.finish();
    }

    #[test]
    fn overlaps_equal_those_by_hand() {
        // Three steps, each an interval of its own. The goal does not count, and the second
        // interval has no other inputs.
        let mut inputs = InputCounts::new(3, 3);
        inputs.add(0, [(Input::at(0), 3.0)]);
        inputs.add(0, [(Input::at(1), 1.0)]);
        inputs.add(0, [(Input::at(2), 5.0)]);
        inputs.add(1, [(Input::at(2), 1.0)]);
        inputs.add(2, [(Input::at(1), 2.0)]);
        let visits: [&[f64]; 4] =
            [&[2.0, 2.0, 0.0], &[1.0, 9.0, 0.0], &[0.3, 0.1, 0.0], &[0.99, 0.01, 0.0]];
        // Overlaps of the first and the third interval: 1/2 + 1/4 and 0 + 1/4. All inputs: half
        // of them in each state. The second state is visited too rarely to count.
        assert_alignment(Alignment::new(&corridor(), &inputs, &visits), 0.5, 1.0, 0.51, 0.5);
        let often: [&[f64]; 4] = [visits[0], visits[1], visits[2], &[0.95, 0.05, 0.0]];
        assert_alignment(Alignment::new(&corridor(), &inputs, &often), 0.5, 1.0, 0.55, 1.0);
    }

    #[test]
    fn without_inputs_or_visits_nothing_agrees() {
        let mut inputs = InputCounts::new(3, 1);
        let visits: [&[f64]; 2] = [&[1.0, 1.0, 0.0]; 2];
        assert_alignment(Alignment::new(&corridor(), &inputs, &visits), 0.0, 0.0, 0.0, 0.0);
        inputs.add(0, [(Input::at(0), 1.0)]);
        let none: [&[f64]; 2] = [&[0.0; 3]; 2];
        assert_alignment(Alignment::new(&corridor(), &inputs, &none), 0.0, 0.0, 0.0, 0.0);
    }
}
