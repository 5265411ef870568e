//! The results of a case, by name.

use ift_compare::{Comparison, Tolerance};
use std::collections::BTreeMap;

/// What a backend computed in a case: tensors by name, each widened to f64.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Results {
    tensors: BTreeMap<String, Vec<f64>>,
    /// The tensors that have a tolerance of their own.
    tolerances: BTreeMap<String, Tolerance>,
}

impl Results {
    /// The tensors.
    pub fn tensors(&self) -> &BTreeMap<String, Vec<f64>> {
        &self.tensors
    }

    /// The first element whose bits differ from those of `other`, as a message; `None` if there is
    /// none. All NaN count as the same.
    pub fn first_difference(&self, other: &Self) -> Option<String> {
        if !self.tensors.keys().eq(other.tensors.keys()) {
            return Some("other names of tensors".to_owned());
        }
        let tensors = self.tensors.iter().zip(other.tensors.values());
        tensors.into_iter().find_map(|((name, own), other)| {
            if own.len() != other.len() {
                return Some(format!("`{name}`: {} elements and {}", own.len(), other.len()));
            }
            let same = |a: f64, b: f64| a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan());
            let at = own.iter().zip(other).position(|(&a, &b)| !same(a, b))?;
            Some(format!("`{name}[{at}]`: {:e} and {:e}", own[at], other[at]))
        })
    }

    /// A tensor under the tolerance of the case.
    pub(super) fn near(&mut self, name: impl Into<String>, values: Vec<f64>) {
        let name = name.into();
        let before = self.tensors.insert(name.clone(), values);
        assert!(before.is_none(), "there are two results `{name}`");
    }

    /// A tensor under a tolerance of its own.
    pub(super) fn within(
        &mut self,
        name: impl Into<String>,
        values: Vec<f64>,
        tolerance: Tolerance,
    ) {
        let name = name.into();
        self.tolerances.insert(name.clone(), tolerance);
        self.near(name, values);
    }

    /// A tensor that has no rounding: copies, token ids, flags.
    pub(super) fn exact(&mut self, name: impl Into<String>, values: Vec<f64>) {
        self.within(name, values, Tolerance::EXACT);
    }

    /// Compares with the reference's results.
    pub(super) fn compare(&self, expected: &Self, comparison: &mut Comparison) {
        let own = |name: &String| self.tolerances.contains_key(name);
        let common = |of: &Self| -> BTreeMap<String, Vec<f64>> {
            let tensors = of.tensors.iter().filter(|(name, _)| !own(name));
            tensors.map(|(name, values)| (name.clone(), values.clone())).collect()
        };
        comparison.tensors(&common(self), &common(expected));
        for (name, &tolerance) in &self.tolerances {
            let none = Vec::new();
            let expected = expected.tensors.get(name).unwrap_or(&none);
            comparison.values_within(name, &self.tensors[name], expected, tolerance);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn results(values: &[f64]) -> Results {
        let mut results = Results::default();
        results.near("a", values.to_vec());
        results.exact("b", vec![1.0]);
        results
    }

    #[test]
    fn bits_are_compared() {
        let first = results(&[1.0, f64::NAN]);
        assert_eq!(first.first_difference(&results(&[1.0, -f64::NAN])), None);
        let different = first.first_difference(&results(&[1.0 + f64::EPSILON, f64::NAN])).unwrap();
        assert!(different.starts_with("`a[0]`"), "{different}");
        assert!(first.first_difference(&results(&[1.0])).is_some());
        assert!(first.first_difference(&Results::default()).is_some());
    }

    #[test]
    #[should_panic(expected = "`b[0]`")]
    fn a_tensor_keeps_its_own_tolerance() {
        let mut expected = results(&[1.0]);
        expected.tensors.insert("b".to_owned(), vec![1.01]);
        let mut comparison = Comparison::new("test", Tolerance::absolute(0.1));
        results(&[1.05]).compare(&expected, &mut comparison);
        comparison.finish();
    }
}
