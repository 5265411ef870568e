//! Axes with round tick labels.

/// A linear mapping from a range of values to a range of coordinates.
#[derive(Clone, Copy, Debug)]
pub(super) struct Axis {
    low: f64,
    high: f64,
    /// Distance between ticks, in values.
    step: f64,
    from: f64,
    to: f64,
}

/// Largest number of decimals of a label without an exponent.
const MOST_DECIMALS: usize = 4;

/// A value as text: with four decimals, or with an exponent if these would be zeros.
pub(super) fn value(value: f64) -> String {
    if value != 0.0 && value.abs() < 5e-5 { format!("{value:.1e}") } else { format!("{value:.4}") }
}

/// A tick of an axis.
#[derive(Debug)]
pub(super) struct Tick {
    pub(super) at: f64,
    pub(super) label: String,
}

impl Axis {
    /// An axis that maps values from `low` to `high` to coordinates between `from` and `to`, with
    /// about `ticks` ticks.
    pub(super) fn new((low, high): (f64, f64), (from, to): (f64, f64), ticks: usize) -> Self {
        let high = if high > low { high } else { low + 1.0 };
        let rough = (high - low) / ticks as f64;
        let power = 10.0_f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0]
            .map(|round| round * power)
            .into_iter()
            .find(|step| *step >= 0.999 * rough);
        Self { low, high, step: step.unwrap_or(10.0 * power), from, to }
    }

    /// The same axis, extended so that both ends are ticks.
    pub(super) fn round(self) -> Self {
        Self {
            low: (self.low / self.step + 1e-9).floor() * self.step,
            high: (self.high / self.step - 1e-9).ceil() * self.step,
            ..self
        }
    }

    /// The largest value.
    pub(super) fn high(&self) -> f64 {
        self.high
    }

    /// The coordinate of a value.
    pub(super) fn at(&self, value: f64) -> f64 {
        self.from + (value - self.low) / (self.high - self.low) * (self.to - self.from)
    }

    /// All ticks, ascending by value.
    pub(super) fn ticks(&self) -> Vec<Tick> {
        let decimals = (-(self.step * 1.0001).log10().floor()).max(0.0) as usize;
        let label = |number: f64| {
            let label = format!("{number:.decimals$}");
            // Long labels get an exponent: `2e-7`.
            match label.parse::<f64>() {
                Ok(0.0) if decimals > MOST_DECIMALS => "0".to_owned(),
                Ok(number) if decimals > MOST_DECIMALS => format!("{number:e}"),
                _ => label,
            }
        };
        let first = (self.low / self.step - 1e-9).ceil() as i64;
        let last = (self.high / self.step + 1e-9).floor() as i64;
        let tick = |index: i64| {
            let number = index as f64 * self.step;
            Tick { at: self.at(number), label: label(number) }
        };
        (first..=last).map(tick).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_within_the_ends() {
        let cases: [((f64, f64), &[&str]); 8] = [
            ((0.0, 1.0), &["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]),
            ((0.0, 300.0), &["0", "100", "200", "300"]),
            ((0.013, 0.087), &["0.02", "0.04", "0.06", "0.08"]),
            ((-3.0, 7.0), &["-2", "0", "2", "4", "6"]),
            ((0.0, 1e-6), &["0", "2e-7", "4e-7", "6e-7", "8e-7", "1e-6"]),
            ((0.0, 2.6e-8), &["0", "1e-8", "2e-8"]),
            ((0.0, 5e-4), &["0.0000", "0.0001", "0.0002", "0.0003", "0.0004", "0.0005"]),
            ((4.0, 4.0), &["4.0", "4.2", "4.4", "4.6", "4.8", "5.0"]),
        ];
        for (ends, expected) in cases {
            let labels: Vec<String> = Axis::new(ends, (0.0, 100.0), 5)
                .ticks()
                .into_iter()
                .map(|tick| tick.label)
                .collect();
            assert_eq!(labels, expected, "{ends:?}");
        }
    }

    #[test]
    fn small_values_have_an_exponent() {
        let cases = [(0.0, "0.0000"), (0.25, "0.2500"), (5.1e-5, "0.0001"), (1.26e-8, "1.3e-8")];
        for (number, text) in cases {
            assert_eq!(value(number), text);
        }
    }

    #[test]
    fn a_rounded_axis_ends_at_ticks_and_contains_its_values() {
        for (low, high) in [(0.0, 0.9), (0.013, 0.087), (-3.0, 7.1), (0.2, 0.8), (99.0, 101.0)] {
            let axis = Axis::new((low, high), (10.0, 20.0), 6).round();
            let ticks = axis.ticks();
            assert!(
                (ticks[0].at - 10.0).abs() < 1e-9
                    && (ticks[ticks.len() - 1].at - 20.0).abs() < 1e-9
            );
            assert!(axis.at(low) > 10.0 - 1e-9 && axis.at(high) < 20.0 + 1e-9);
        }
    }
}
