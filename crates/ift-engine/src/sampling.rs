//! Choosing the next token from logits.

use rand::{Rng, RngExt};

/// How the next token is chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampling {
    /// What the logits are divided by; 0 takes the most probable token.
    pub temperature: f64,
    /// Draws only from the smallest set of most probable tokens whose probabilities sum to at
    /// least this (nucleus sampling, arXiv 1904.09751); 1 draws from all.
    pub top_p: f64,
}

impl Sampling {
    /// The most probable token, always.
    pub const GREEDY: Self = Self { temperature: 0.0, top_p: 1.0 };

    /// The field that has an unusable value, if one has: its name, its value, and what is
    /// expected.
    pub(crate) fn fault(&self) -> Option<(&'static str, f64, &'static str)> {
        if !(self.temperature.is_finite() && self.temperature >= 0.0) {
            return Some(("temperature", self.temperature, "a finite number, 0 or more"));
        }
        if !(0.0..=1.0).contains(&self.top_p) {
            return Some(("top_p", self.top_p, "a number from 0 to 1"));
        }
        None
    }

    /// Chooses from finite `logits` (`[vocabulary]`); the lowest id among equals when greedy.
    pub(crate) fn choose(&self, logits: &[f32], random: &mut impl Rng) -> u32 {
        let greedy = argmax(logits);
        if self.temperature <= 0.0 {
            return greedy;
        }
        let max = f64::from(logits[greedy as usize]);
        let weights = logits.iter().map(|&l| ((f64::from(l) - max) / self.temperature).exp());
        let mut candidates: Vec<(u32, f64)> = (0..).zip(weights).collect();
        let total: f64 = candidates.iter().map(|(_, w)| w).sum();
        if self.top_p < 1.0 {
            candidates.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
            let mut sum = 0.0;
            let enough = candidates.iter().position(|(_, w)| {
                sum += w;
                sum >= self.top_p * total
            });
            candidates.truncate(enough.map_or(candidates.len(), |i| i + 1));
        }
        let kept: f64 = candidates.iter().map(|(_, w)| w).sum();
        let mut draw = random.random::<f64>() * kept;
        for (token, weight) in &candidates {
            draw -= weight;
            if draw < 0.0 {
                return *token;
            }
        }
        greedy
    }
}

/// The first token id whose logit no choice can be made with, and that logit. (A logit of -∞ is a
/// token that is never chosen; it may be some, but not all.)
pub(crate) fn not_finite(logits: &[f32]) -> Option<(u32, f32)> {
    let unusable = |logit: f32| logit.is_nan() || logit == f32::INFINITY;
    let found = (0..).zip(logits.iter().copied()).find(|(_, logit)| unusable(*logit));
    let none = || logits.iter().all(|logit| *logit == f32::NEG_INFINITY);
    found.or_else(|| none().then_some((0, f32::NEG_INFINITY)))
}

fn argmax(logits: &[f32]) -> u32 {
    let mut best = (0, f32::NEG_INFINITY);
    for (i, &l) in (0..).zip(logits) {
        if l > best.1 {
            best = (i, l);
        }
    }
    best.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use ift_random::generator;

    fn frequencies(sampling: Sampling, logits: &[f32]) -> Vec<f64> {
        let mut random = generator(1, 0);
        let mut counts = vec![0.0; logits.len()];
        for _ in 0..20_000 {
            counts[sampling.choose(logits, &mut random) as usize] += 1.0 / 20_000.0;
        }
        counts
    }

    #[test]
    fn draws_follow_the_distribution() {
        let logits = [0.5f64.ln() as f32, 0.3f64.ln() as f32, 0.2f64.ln() as f32];
        let plain = frequencies(Sampling { temperature: 1.0, top_p: 1.0 }, &logits);
        assert!((plain[0] - 0.5).abs() < 0.02 && (plain[2] - 0.2).abs() < 0.02, "{plain:?}");
        let nucleus = frequencies(Sampling { temperature: 1.0, top_p: 0.6 }, &logits);
        assert!((nucleus[0] - 0.625).abs() < 0.02 && nucleus[2] == 0.0, "{nucleus:?}");
        let cold = frequencies(Sampling { temperature: 0.5, top_p: 1.0 }, &logits);
        assert!((cold[0] - 0.25 / 0.38).abs() < 0.02, "{cold:?}");
    }

    #[test]
    fn greedy_takes_the_lowest_id_among_equals() {
        let logits = [1.0, 3.0, 3.0];
        assert_eq!(frequencies(Sampling::GREEDY, &logits)[1].round(), 1.0);
        let nothing_else = Sampling { temperature: 1.0, top_p: 0.0 };
        assert_eq!(frequencies(nothing_else, &logits)[1].round(), 1.0);
    }

    #[test]
    fn logits_that_are_not_finite_are_found() {
        let (nan, none) = (f32::NAN, f32::NEG_INFINITY);
        assert_eq!(not_finite(&[1.0, -2.0, none]), None);
        assert_eq!(not_finite(&[1.0, f32::INFINITY, nan]), Some((1, f32::INFINITY)));
        assert_eq!(not_finite(&[1.0, 0.0, nan]).unwrap().0, 2);
        assert_eq!(not_finite(&[none, none]), Some((0, none)));
    }

    #[test]
    fn unusable_values_are_named() {
        let fault = |temperature, top_p| Sampling { temperature, top_p }.fault().map(|f| f.0);
        assert_eq!(fault(1.0, 0.9), None);
        assert_eq!(fault(0.0, 0.0), None);
        for temperature in [-1.0, f64::NAN, f64::INFINITY] {
            assert_eq!(fault(temperature, 1.0), Some("temperature"));
        }
        for top_p in [-0.1, 1.1, f64::NAN] {
            assert_eq!(fault(1.0, top_p), Some("top_p"));
        }
    }
}
