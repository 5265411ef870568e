use rand::{Rng, RngExt};

use super::*;

/// Means of DPO, IFT, ORPO and SFT in the order of both claims; alignments are negated.
const CLAIMED: [f64; 4] = [1.0, 2.0, 3.0, 4.0];

/// Values of the methods in [`PAPER_METHODS`], by method, by sample.
type Samples = [Vec<f64>; 4];

/// Samples with these means. What all methods of a sample share is large, as between seeds.
fn drawn(means: [f64; 4], noise: f64, count: usize, rng: &mut impl Rng) -> Samples {
    let shared: Vec<f64> = (0..count).map(|_| rng.random_range(-5.0..5.0)).collect();
    means.map(|mean| {
        shared.iter().map(|shared| mean + shared + noise * rng.random_range(-1.0..1.0)).collect()
    })
}

/// Verdicts whose values are `samples` for distances, and their opposite for alignments.
fn of(samples: &Samples) -> Vec<Verdict> {
    verdicts(&PAPER_METHODS, |label, measure| {
        let method = PAPER_METHODS.iter().position(|method| *method == label)?;
        let sign = if Claim::Alignment.measures().contains(&measure) { -1.0 } else { 1.0 };
        Some(samples[method].iter().map(|value| sign * value).collect())
    })
}

fn corrected(mut scenes: Vec<Vec<Verdict>>) -> Vec<Vec<Verdict>> {
    correct(scenes.iter_mut());
    scenes
}

#[test]
fn what_holds_is_confirmed_by_every_measure() {
    let mut rng = ift_random::generator(1, 0);
    for verdict in &corrected(vec![of(&drawn(CLAIMED, 0.5, 30, &mut rng))])[0] {
        assert_eq!(verdict.outcome, Outcome::Confirmed, "{verdict:?}");
        assert!(verdict.holds && verdict.share > 0.5 && verdict.p < 1e-3, "{verdict:?}");
        assert_eq!(verdict.p_against, 1.0);
        for relation in &verdict.relations {
            assert!(relation.advantage.mean > 0.5 && relation.p + relation.p_opposite > 0.999);
        }
    }
}

#[test]
fn one_reversed_relation_refutes() {
    let mut rng = ift_random::generator(2, 0);
    // The methods exchanged, and whether the claim of distance and that of alignment name the two.
    for (exchanged, expected) in
        [([0, 1], [true, true]), ([1, 2], [true, true]), ([2, 3], [false, true])]
    {
        let mut means = CLAIMED;
        means.swap(exchanged[0], exchanged[1]);
        for verdict in &corrected(vec![of(&drawn(means, 0.5, 30, &mut rng))])[0] {
            let refuted = expected[usize::from(verdict.claim == Claim::Alignment)];
            let outcome = if refuted { Outcome::Refuted } else { Outcome::Confirmed };
            assert_eq!((verdict.outcome, verdict.holds), (outcome, !refuted), "{verdict:?}");
        }
    }
}

#[test]
fn noise_decides_nothing() {
    let mut rng = ift_random::generator(3, 0);
    let scenes = (0..40).map(|_| of(&drawn([0.0; 4], 1.0, 20, &mut rng))).collect();
    for verdict in corrected(scenes).iter().flatten() {
        assert_eq!(verdict.outcome, Outcome::Undecided, "{verdict:?}");
        assert!(verdict.share < 0.5);
    }
    // Methods that are equal but for rounding, a single sample, and values that are not finite.
    for samples in [
        [vec![0.1 + 0.2; 9], vec![0.3; 9], vec![0.1 + 0.2; 9], vec![0.3; 9]],
        CLAIMED.map(|mean| vec![mean]),
        CLAIMED.map(|_| vec![f64::NAN; 5]),
        [vec![1.0; 5], vec![2.0; 5], vec![f64::INFINITY; 5], vec![4.0; 5]],
        CLAIMED.map(|_| Vec::new()),
    ] {
        for verdict in &corrected(vec![of(&samples)])[0] {
            assert_eq!(verdict.outcome, Outcome::Undecided, "{verdict:?}");
            assert!(verdict.p.is_finite() && verdict.p_against.is_finite());
        }
    }
}

#[test]
fn p_values_are_those_of_the_relations() {
    let mut rng = ift_random::generator(4, 0);
    for _ in 0..20 {
        for verdict in of(&drawn([0.0, 0.1, 0.1, 0.3], 1.0, 12, &mut rng)) {
            let relations = &verdict.relations;
            assert!(relations.iter().all(|relation| relation.p <= verdict.p));
            assert!(relations.iter().any(|relation| relation.p == verdict.p));
            let least = relations.iter().map(|relation| relation.p_opposite).fold(1.0, f64::min);
            assert_eq!(verdict.p_against, (3.0 * least).min(1.0));
            let names: Vec<_> =
                relations.iter().map(|r| [r.better.as_str(), r.worse.as_str()]).collect();
            assert_eq!(names, verdict.claim.relations());
        }
    }
}

#[test]
fn holms_correction_is_over_scenes_and_keeps_their_order() {
    let mut rng = ift_random::generator(5, 0);
    let scene = |step: usize, rng: &mut _| {
        of(&drawn(CLAIMED.map(|mean| mean * 0.05 * step as f64), 0.5, 10, rng))
    };
    let scenes: Vec<_> = (0..12).map(|step| scene(step, &mut rng)).collect();
    let alone = scenes.clone();
    let together = corrected(scenes);
    let number = together.len() as f64;
    for reading in 0..together[0].len() {
        let mut pairs: Vec<_> = together
            .iter()
            .map(|verdicts| (verdicts[reading].p, verdicts[reading].p_holm))
            .collect();
        pairs.sort_by(|a, b| a.0.total_cmp(&b.0));
        assert_eq!(pairs[0].1, (pairs[0].0 * number).min(1.0));
        assert!(pairs.windows(2).all(|pair| pair[0].1 <= pair[1].1), "{pairs:?}");
        assert!(pairs.iter().all(|(p, holm)| p <= holm && *holm <= 1.0), "{pairs:?}");
    }
    // A scene without verdicts is no test.
    let mut with_empty = alone;
    with_empty.insert(3, Vec::new());
    let mut with_empty = corrected(with_empty);
    assert_eq!(with_empty.remove(3), Vec::new());
    assert_eq!(with_empty, together);
}

#[test]
fn a_missing_method_leaves_no_verdict() {
    let without = |missing: &'static str| {
        let labels = PAPER_METHODS.into_iter().filter(|label| *label != missing);
        verdicts(&labels.collect::<Vec<_>>(), |_, _| Some(vec![1.0, 2.0, 3.0]))
    };
    let readings: usize = Claim::ALL.iter().map(|claim| claim.measures().len()).sum();
    assert_eq!(without("kto").len(), readings);
    assert!(PAPER_METHODS.iter().all(|method| without(method).is_empty()));
}

#[test]
fn a_method_with_other_settings_is_tested_if_it_is_not_there_with_its_defaults() {
    let labels = ["sft", "ift lambda=0", "ift", "dpo beta=0.3", "dpo beta=1", "orpo", "ipo"];
    let tested = |method| tested_as(&labels, method);
    assert_eq!(tested("ift"), Some("ift"));
    assert_eq!(tested("dpo"), Some("dpo beta=0.3"));
    assert_eq!(tested("po"), None);
    let verdict = verdicts(&labels, |_, _| Some(vec![1.0, 2.0, 3.0])).swap_remove(0);
    assert_eq!(
        (&*verdict.relations[0].better, &*verdict.relations[0].worse),
        ("dpo beta=0.3", "ift")
    );
}
