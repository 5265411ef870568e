//! The comparison that all tests use.
//!
//! A test that takes the largest difference with `f64::max` cannot see NaN, one that zips two lists
//! cannot see that one is longer, and one that loops over an empty list compares nothing. A
//! [`Comparison`] fails on each of these, and says how much it compared.
//!
//! ```
//! use ift_compare::{Comparison, Tolerance};
//!
//! let mut comparison = Comparison::new("losses", Tolerance::absolute(1e-9));
//! comparison.values("loss", &[1.0, 2.0], &[1.0, 2.0]);
//! comparison.finish();
//! ```

use std::collections::BTreeMap;
use std::fmt;

/// The difference that is allowed between a found and an expected element: the sum of its parts.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Tolerance {
    /// A constant.
    pub absolute: f64,
    /// Times the magnitude of the expected element.
    pub relative: f64,
    /// Times the largest magnitude among the expected elements of the tensor.
    pub of_largest: f64,
}

impl Tolerance {
    /// The same bits are expected (0.0 and -0.0 count as equal).
    pub const EXACT: Self = Self { absolute: 0.0, relative: 0.0, of_largest: 0.0 };

    /// A constant.
    pub const fn absolute(absolute: f64) -> Self {
        Self { absolute, ..Self::EXACT }
    }

    /// A share of each expected element.
    pub const fn relative(relative: f64) -> Self {
        Self { relative, ..Self::EXACT }
    }

    /// A share of the largest expected element.
    pub const fn of_largest(of_largest: f64) -> Self {
        Self { of_largest, ..Self::EXACT }
    }

    fn allows(self, found: f64, expected: f64, largest: f64) -> bool {
        if found == expected || (found.is_nan() && expected.is_nan()) {
            return true;
        }
        let allowed =
            self.absolute + self.relative * expected.abs() + self.of_largest * largest.abs();
        // Written so that a NaN on either side is not allowed.
        (found - expected).abs() <= allowed && expected.is_finite()
    }
}

/// Compares tensors by name, collects what differs and panics in [`Comparison::finish`].
///
/// A NaN fails unless both sides have it at the same place; so does an infinity.
#[must_use = "a comparison does nothing until `finish` is called"]
#[derive(Debug)]
pub struct Comparison {
    what: String,
    tolerance: Tolerance,
    tensors: usize,
    elements: usize,
    failures: Vec<String>,
    largest: Option<Difference>,
}

/// The largest difference found so far.
#[derive(Clone, Debug, PartialEq)]
struct Difference {
    size: f64,
    place: String,
}

/// How many failures a message lists.
const LISTED: usize = 8;

impl Comparison {
    /// A comparison of `what`, which names it in messages.
    pub fn new(what: impl Into<String>, tolerance: Tolerance) -> Self {
        Self {
            what: what.into(),
            tolerance,
            tensors: 0,
            elements: 0,
            failures: Vec::new(),
            largest: None,
        }
    }

    /// Compares the elements of one tensor under the comparison's tolerance.
    pub fn values<T: Copy + Into<f64>>(&mut self, name: &str, found: &[T], expected: &[T]) {
        self.values_within(name, found, expected, self.tolerance);
    }

    /// Compares the elements of one tensor under a tolerance of its own.
    pub fn values_within<T: Copy + Into<f64>>(
        &mut self,
        name: &str,
        found: &[T],
        expected: &[T],
        tolerance: Tolerance,
    ) {
        self.tensors += 1;
        if found.len() != expected.len() {
            let (found, expected) = (found.len(), expected.len());
            self.failures.push(format!("`{name}` has {found} elements, expected {expected}"));
            return;
        }
        let (found, expected): (Vec<f64>, Vec<f64>) =
            found.iter().zip(expected).map(|(&a, &b)| (a.into(), b.into())).unzip();
        let finite = expected.iter().filter(|x| x.is_finite());
        let largest =
            finite.fold(0.0, |largest, x| if x.abs() > largest { x.abs() } else { largest });
        let mut reported = false;
        for (i, (&a, &b)) in found.iter().zip(&expected).enumerate() {
            self.elements += 1;
            let size = (a - b).abs();
            if self.largest.as_ref().is_none_or(|l| size > l.size) {
                self.largest = Some(Difference { size, place: format!("{name}[{i}]") });
            }
            if !tolerance.allows(a, b, largest) && !reported {
                self.failures.push(format!("`{name}[{i}]` is {a:e}, expected {b:e}"));
                reported = true;
            }
        }
    }

    /// Compares one number.
    pub fn value(&mut self, name: &str, found: impl Into<f64>, expected: impl Into<f64>) {
        self.values(name, &[found.into()], &[expected.into()]);
    }

    /// Compares all tensors of two collections; a name that only one of them has is a failure.
    pub fn tensors<T: Copy + Into<f64>>(
        &mut self,
        found: &BTreeMap<String, Vec<T>>,
        expected: &BTreeMap<String, Vec<T>>,
    ) {
        for (name, expected) in expected {
            match found.get(name) {
                Some(found) => self.values(name, found, expected),
                None => self.failures.push(format!("`{name}` is missing")),
            }
        }
        for name in found.keys().filter(|name| !expected.contains_key(*name)) {
            self.failures.push(format!("`{name}` was not expected"));
        }
    }

    /// Compares directions: fails where the cosine between found and expected is below `least` or
    /// either is zero or not finite. Two tensors that are all zero agree.
    pub fn direction<T: Copy + Into<f64>>(
        &mut self,
        name: &str,
        found: &[T],
        expected: &[T],
        least: f64,
    ) {
        self.tensors += 1;
        if found.len() != expected.len() {
            let (found, expected) = (found.len(), expected.len());
            self.failures.push(format!("`{name}` has {found} elements, expected {expected}"));
            return;
        }
        self.elements += found.len();
        let dot =
            |a: &[T], b: &[T]| -> f64 { a.iter().zip(b).map(|(&x, &y)| x.into() * y.into()).sum() };
        let (own, other) = (dot(found, found), dot(expected, expected));
        if own == 0.0 && other == 0.0 {
            return;
        }
        let cosine = dot(found, expected) / (own.sqrt() * other.sqrt());
        // Written so that a NaN is not above the least.
        let agrees = cosine >= least;
        if !agrees {
            self.failures
                .push(format!("`{name}` has a cosine of {cosine}, expected {least} or more"));
        }
    }

    /// Ends the comparison.
    ///
    /// # Panics
    /// If anything differed, or nothing was compared.
    #[track_caller]
    pub fn finish(self) {
        let compared = self.elements > 0 || !self.failures.is_empty();
        assert!(compared, "{}: nothing was compared", self.what);
        assert!(self.failures.is_empty(), "{self}");
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let Self { what, tensors, elements, failures, .. } = self;
        write!(f, "{what}: {elements} elements of {tensors} tensors compared")?;
        if let Some(Difference { size, place }) = &self.largest {
            write!(f, ", largest difference {size:.1e} at {place}")?;
        }
        for failure in failures.iter().take(LISTED) {
            write!(f, "\n  {failure}")?;
        }
        if failures.len() > LISTED {
            write!(f, "\n  and {} more", failures.len() - LISTED)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fails(compare: impl FnOnce(&mut Comparison)) -> bool {
        let mut comparison = Comparison::new("test", Tolerance::absolute(0.1));
        compare(&mut comparison);
        !comparison.failures.is_empty() || comparison.elements == 0
    }

    #[test]
    fn what_differs_fails() {
        assert!(!fails(|c| c.values("a", &[1.0, 2.0], &[1.05, 2.0])));
        assert!(fails(|c| c.values("a", &[1.0, 2.2], &[1.0, 2.0])));
        assert!(fails(|c| c.values("a", &[1.0], &[1.0, 2.0])));
        assert!(fails(|c| c.values("a", &[1.0, 2.0], &[1.0])));
    }

    #[test]
    fn what_is_not_a_number_fails() {
        assert!(fails(|c| c.values("a", &[f64::NAN], &[1.0])));
        assert!(fails(|c| c.values("a", &[1.0], &[f64::NAN])));
        assert!(fails(|c| c.values("a", &[1.0], &[f64::INFINITY])));
        assert!(fails(|c| c.values("a", &[f64::INFINITY], &[1.0])));
        assert!(!fails(|c| c.values("a", &[f64::INFINITY], &[f64::INFINITY])));
        assert!(fails(|c| c.direction("a", &[f64::NAN, 1.0], &[1.0, 1.0], 0.9)));
        assert!(fails(|c| c.direction("a", &[0.0, 0.0], &[1.0, 1.0], 0.9)));
    }

    #[test]
    fn nothing_and_half_of_it_fail() {
        assert!(fails(|_| {}));
        assert!(fails(|c| c.values::<f64>("a", &[], &[])));
        let tensors = |names: &[&str]| -> BTreeMap<String, Vec<f64>> {
            names.iter().map(|name| ((*name).to_owned(), vec![1.0])).collect()
        };
        assert!(!fails(|c| c.tensors(&tensors(&["a", "b"]), &tensors(&["a", "b"]))));
        assert!(fails(|c| c.tensors(&tensors(&["a"]), &tensors(&["a", "b"]))));
        assert!(fails(|c| c.tensors(&tensors(&["a", "b"]), &tensors(&["a"]))));
    }

    #[test]
    fn tolerances_add_up() {
        let tolerance = Tolerance { absolute: 0.0, relative: 0.01, of_largest: 0.001 };
        let mut comparison = Comparison::new("test", tolerance);
        comparison.values("a", &[0.05, 101.0], &[0.0, 100.0]);
        assert!(comparison.failures.is_empty(), "{comparison}");
        comparison.values("a", &[0.2, 100.0], &[0.0, 100.0]);
        assert_eq!(comparison.failures.len(), 1);
    }
}
