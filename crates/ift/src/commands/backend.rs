//! The precision and threads that the arguments ask for.

use ift_train::{Precision, Work};

use crate::arguments::{ComputeArguments, PrecisionArgument};

/// Does `work` in the precision and on the threads asked for.
pub(crate) fn run_on<W: Work>(compute: ComputeArguments, work: W) -> W::Output {
    let precision = match compute.precision {
        PrecisionArgument::F32 => Precision::F32,
        PrecisionArgument::Bf16 => Precision::Bf16,
        PrecisionArgument::F64 => Precision::F64,
    };
    ift_train::run_on(precision, compute.threads, work)
}
