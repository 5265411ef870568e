//! Rotary position embeddings: the inverse frequencies of each variant.

use std::f64::consts::PI;

/// A rotary embedding.
#[derive(Clone, Debug, PartialEq)]
pub struct Rope {
    /// Elements of a head that are rotated, in pairs.
    pub head_dim: usize,
    /// Base θ of the frequencies `θ^(-2i/d)`.
    pub theta: f64,
    /// How the frequencies are stretched for long contexts.
    pub scaling: RopeScaling,
}

/// How frequencies are changed for contexts longer than those of pre-training.
#[derive(Clone, Debug, PartialEq)]
pub enum RopeScaling {
    /// Not at all.
    None,
    /// Every frequency divided by `factor` (position interpolation, arXiv 2306.15595).
    Linear {
        /// The divisor.
        factor: f64,
    },
    /// Llama 3's: long wavelengths are divided by `factor`, short ones kept, those between blended.
    Llama3 {
        /// The divisor of the long wavelengths.
        factor: f64,
        /// Wavelengths above `original_max_position / low_freq_factor` are divided.
        low_freq_factor: f64,
        /// Wavelengths below `original_max_position / high_freq_factor` are kept.
        high_freq_factor: f64,
        /// Context length of pre-training, in tokens.
        original_max_position: f64,
    },
}

impl Rope {
    /// `[head_dim/2]` inverse frequencies, radians per token.
    pub fn inverse_frequencies(&self) -> Vec<f64> {
        let dim = self.head_dim as f64;
        let plain = (0..self.head_dim / 2).map(|i| self.theta.powf(-((2 * i) as f64) / dim));
        plain.map(|frequency| self.scaling.apply(frequency)).collect()
    }
}

impl RopeScaling {
    fn apply(&self, frequency: f64) -> f64 {
        match *self {
            Self::None => frequency,
            Self::Linear { factor } => frequency / factor,
            Self::Llama3 { factor, low_freq_factor, high_freq_factor, original_max_position } => {
                let wavelength = 2.0 * PI / frequency;
                if wavelength > original_max_position / low_freq_factor {
                    frequency / factor
                } else if wavelength < original_max_position / high_freq_factor {
                    frequency
                } else {
                    let smooth = (original_max_position / wavelength - low_freq_factor)
                        / (high_freq_factor - low_freq_factor);
                    (1.0 - smooth) * frequency / factor + smooth * frequency
                }
            }
        }
    }
}
