//! Adding adapters to the weights they belong to, on the host.

use crate::folder::{Shards, Tensors};
use crate::layout::{Layout, LowRank, Product, Tensor};
use crate::peft::AdapterFolder;
use crate::{Config, ModelError};
use ift_backend::{Element, HostTensor};
use rayon::prelude::*;

/// An adapter of one tensor, as numbers.
pub(crate) struct Pair {
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

impl Pair {
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
pub(crate) struct Merge<'a> {
    layout: Layout,
    tensors: Tensors<'a>,
    rank: usize,
    scale: f64,
}

impl<'a> Merge<'a> {
    /// Checks that the folder holds an adapter for a model of that configuration.
    pub fn new(
        config: &Config,
        adapter: &AdapterFolder,
        shards: &'a Shards,
    ) -> Result<Self, ModelError> {
        let settings = &adapter.placed.settings;
        let layout = Layout::adapted(config, &adapter.placed);
        let tensors = shards.tensors()?;
        tensors.refuse_unknown(layout.adapter_tensors(), |_| false)?;
        Ok(Self { layout, tensors, rank: settings.rank, scale: settings.scale() })
    }

    /// Whether a parameter of the base changes.
    pub fn changes(&self, parameter: usize) -> bool {
        self.pairs(parameter).next().is_some()
    }

    /// Merges into the numbers of a parameter of the base.
    pub fn apply<E: Element>(&self, parameter: usize, values: &mut [E]) -> Result<(), ModelError> {
        for (product, pair) in self.pairs(parameter) {
            let inputs = product.inputs;
            let rows = &mut values[pair.columns.start * inputs..pair.columns.end * inputs];
            self.pair(pair)?.merge_into(inputs, rows);
        }
        Ok(())
    }

    fn pairs(&self, parameter: usize) -> impl Iterator<Item = (&Product, &LowRank)> {
        self.layout.low_ranks().filter(move |(product, _)| product.weight == parameter)
    }

    fn pair(&self, pair: &LowRank) -> Result<Pair, ModelError> {
        let read = |parameter: usize| {
            let tensor: &Tensor = &self.layout.parameters[parameter].tensors[0];
            self.tensors.read(tensor).map(|tensor| numbers(&tensor))
        };
        let magnitude = pair.magnitude.map(read).transpose()?;
        Ok(Pair {
            a: read(pair.a)?,
            b: read(pair.b)?,
            magnitude,
            rank: self.rank,
            scale: self.scale,
        })
    }
}

fn numbers(tensor: &HostTensor) -> Vec<f64> {
    let mut values = vec![0.0; tensor.len()];
    tensor.convert_into(&mut values);
    values
}
