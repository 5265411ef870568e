//! Adding adapters to the weights they belong to, on the host.

use crate::error::zeros;
use crate::folder::Shards;
use crate::parameter_map::{AdapterIds, LinearIds, ParameterMap, TrainedParts};
use crate::peft::AdapterFolder;
use crate::{Config, ModelError};
use ift_backend::{Element, HostTensor};
use rayon::prelude::*;

/// The values of an adapter of one tensor.
pub(crate) struct AdapterValues {
    /// `[rank, inputs]`.
    pub a: Vec<f64>,
    /// `[rows, rank]`.
    pub b: Vec<f64>,
    /// `[rows]` lengths of the rows (`DoRA`).
    pub magnitude: Option<Vec<f64>>,
    pub rank: usize,
    /// The factor of `B·A`.
    pub scale: f64,
}

impl AdapterValues {
    /// `W + scale·B·A` in place, every row then scaled to its magnitude if there is one. `rows`:
    /// `[…, inputs]`.
    pub fn merge_into<E: Element>(&self, inputs: usize, rows: &mut [E]) {
        rows.par_chunks_mut(inputs).enumerate().for_each_init(
            || vec![0.0; inputs],
            |row, (o, out)| {
                row.iter_mut().zip(&*out).for_each(|(row, w)| *row = w.to_f64());
                for (b, a) in self.b[o * self.rank..].iter().zip(self.a.chunks_exact(inputs)) {
                    let b = self.scale * b;
                    row.iter_mut().zip(a).for_each(|(row, a)| *row += b * a);
                }
                let factor = self.magnitude.as_ref().map_or(1.0, |magnitude| {
                    let norm = row.iter().map(|w| w * w).sum::<f64>().sqrt();
                    if norm > 0.0 { magnitude[o] / norm } else { 0.0 }
                });
                out.iter_mut().zip(row).for_each(|(out, row)| *out = E::from_f64(factor * *row));
            },
        );
    }
}

/// An adapter folder that is to be merged into its base.
pub(crate) struct Merge {
    map: ParameterMap,
    shards: Shards,
    rank: usize,
    scale: f64,
}

impl Merge {
    /// Checks that the folder holds an adapter for a model of that configuration.
    pub fn new(config: &Config, adapter: &AdapterFolder) -> Result<Self, ModelError> {
        let settings = &adapter.placed.settings;
        let map = ParameterMap::new(config, TrainedParts::Adapters(&adapter.placed));
        let shards = Shards::open_adapter(&adapter.folder)?;
        shards.tensors()?.check(map.adapter_tensors(), |_| false)?;
        Ok(Self { map, shards, rank: settings.rank, scale: settings.scale() })
    }

    /// Whether a parameter of the base changes.
    pub fn changes(&self, parameter: usize) -> bool {
        self.adapters(parameter).next().is_some()
    }

    /// Merges into the elements of a parameter of the base.
    pub fn apply<E: Element>(&self, parameter: usize, values: &mut [E]) -> Result<(), ModelError> {
        for (layer, adapter) in self.adapters(parameter) {
            let inputs = layer.inputs;
            let rows = &mut values[adapter.rows.start * inputs..adapter.rows.end * inputs];
            self.values(adapter)?.merge_into(inputs, rows);
        }
        Ok(())
    }

    fn adapters(&self, parameter: usize) -> impl Iterator<Item = (&LinearIds, &AdapterIds)> {
        self.map.adapters().filter(move |(layer, _)| layer.weight == parameter)
    }

    fn values(&self, adapter: &AdapterIds) -> Result<AdapterValues, ModelError> {
        let tensors = self.shards.tensors()?;
        let read = |parameter: usize| {
            let tensor = &self.map.parameters[parameter].tensors[0];
            elements(&tensors.read(tensor)?)
        };
        let magnitude = adapter.magnitude.map(read).transpose()?;
        let (a, b) = (read(adapter.a)?, read(adapter.b)?);
        Ok(AdapterValues { a, b, magnitude, rank: self.rank, scale: self.scale })
    }
}

fn elements(tensor: &HostTensor) -> Result<Vec<f64>, ModelError> {
    let mut values = zeros::<f64>("a factor of an adapter", tensor.len())?;
    tensor.convert_into(&mut values);
    Ok(values)
}
