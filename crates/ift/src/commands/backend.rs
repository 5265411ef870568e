//! Which backend computes, by the precision asked for.

use std::sync::Arc;

use anyhow::Result;
use ift_backend::{Backend, Reference};
use ift_cpu::{CpuBf16, CpuF32};

use crate::arguments::{ComputeArguments, PrecisionArgument};

/// Work that any backend can do.
pub(crate) trait Work {
    /// Does it.
    fn run<B: Backend>(self, backend: Arc<B>) -> Result<()>;
}

/// Does `work` in the numbers and on the threads asked for.
pub(crate) fn run_on(compute: ComputeArguments, work: impl Work) -> Result<()> {
    match compute.precision {
        PrecisionArgument::F32 => work.run(Arc::new(CpuF32::new(compute.threads))),
        PrecisionArgument::Bf16 => work.run(Arc::new(CpuBf16::new(compute.threads))),
        PrecisionArgument::F64 => work.run(Arc::new(Reference)),
    }
}
