//! Settings of a model's adapters, and constants derived from their weights.

use crate::adapter::ResolvedAdapter;
use crate::parameter_map::AdapterIds;
use std::collections::BTreeMap;

/// The settings of a model's adapters, and what is derived from their weights.
pub(crate) struct Adapted {
    pub placed: ResolvedAdapter,
    /// By the index of the magnitude: one for each row. Renewed by
    /// [`crate::Model::adapters_changed`].
    pub rows: BTreeMap<usize, Vec<RowScale>>,
}

/// `DoRA`'s constants of one row of a weight.
pub(crate) struct RowScale {
    /// `1/‖W + scale·B·A‖`; 0 for a row of zeros.
    pub inverse_norm: f64,
    /// The magnitude over the norm.
    pub factor: f64,
}

impl Adapted {
    pub fn new(placed: ResolvedAdapter) -> Self {
        Self { placed, rows: BTreeMap::new() }
    }

    pub fn rank(&self) -> usize {
        self.placed.settings.rank
    }

    /// The factor of `B·A`.
    pub fn scale(&self) -> f64 {
        self.placed.settings.scale()
    }

    pub fn dropout(&self) -> f64 {
        self.placed.settings.dropout
    }

    pub fn dora(&self) -> bool {
        self.placed.settings.dora
    }

    /// The rows of an adapted tensor; none unless it has magnitudes.
    pub fn rows_of(&self, adapter: &AdapterIds) -> &[RowScale] {
        adapter.magnitude.and_then(|m| self.rows.get(&m)).map_or(&[], Vec::as_slice)
    }
}
