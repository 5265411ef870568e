//! The instruction sets that kernels are compiled for, and the choice of a compiled copy at run
//! time.
//!
//! A kernel is written once, generic over [`Simd`](crate::simd::Simd), and compiled three times by
//! the `kernel!` macro: for any machine, for AVX2 with FMA and for AVX-512. An ordinary
//! `cargo build --release` binary holds all three.

use thiserror::Error;

/// The instruction sets that have their own copy of every kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Instructions {
    /// The instructions that every machine of the compiled target has.
    Portable,
    /// AVX2 and FMA (x86-64-v3): eight `f32` at a time.
    Avx2,
    /// AVX-512F with AVX2 and FMA: sixteen `f32` at a time.
    Avx512,
    /// AVX-512 with products of pairs of `bf16` (`avx512bf16`), at twice the rate of `f32`. All
    /// other operations are those of `Avx512`.
    Avx512Bf16,
}

/// Why a CPU backend could not be made.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum CpuError {
    /// The machine lacks the instructions.
    #[error(
        "this machine has no {asked:?} instructions; ask for {best:?}, the best that it has, or \
         let the program choose"
    )]
    Unavailable {
        /// What was asked for.
        asked: Instructions,
        /// The best that this machine has.
        best: Instructions,
    },
}

impl Instructions {
    /// All sets, from the most common to the rarest.
    pub const ALL: [Self; 4] = [Self::Portable, Self::Avx2, Self::Avx512, Self::Avx512Bf16];

    /// The best set of this machine.
    pub fn detect() -> Self {
        Self::ALL.into_iter().rev().find(|set| set.available()).unwrap_or(Self::Portable)
    }

    /// Whether this machine has the set.
    #[cfg(target_arch = "x86_64")]
    pub fn available(self) -> bool {
        let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
        let avx512 = avx2 && is_x86_feature_detected!("avx512f");
        match self {
            Self::Portable => true,
            Self::Avx2 => avx2,
            Self::Avx512 => avx512,
            Self::Avx512Bf16 => avx512 && is_x86_feature_detected!("avx512bf16"),
        }
    }

    /// Whether this machine has the set.
    #[cfg(not(target_arch = "x86_64"))]
    pub fn available(self) -> bool {
        self == Self::Portable
    }
}

/// A set that this machine was found to have. [`Available::new`] checks it, so a kernel's copy for
/// a set runs only where its instructions exist.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Available(Instructions);

impl Available {
    pub(crate) fn new(set: Instructions) -> Result<Self, CpuError> {
        if set.available() {
            Ok(Self(set))
        } else {
            Err(CpuError::Unavailable { asked: set, best: Instructions::detect() })
        }
    }

    pub(crate) fn best() -> Self {
        Self(Instructions::detect())
    }

    pub(crate) fn get(self) -> Instructions {
        self.0
    }
}

/// Defines `fn name(set: Available, …)`, which runs the copy of the body compiled for `set`. The
/// body may use the first type parameter, the [`Simd`](crate::simd::Simd) implementation of that
/// copy (with a bound that all implementations meet); any others are the caller's.
macro_rules! kernel {
    (
        $(#[$attribute:meta])*
        $visibility:vis fn $name:ident<$S:ident $(: $more:path)? $(, $T:ident: $bound:path)*>(
            $($argument:ident: $type:ty),* $(,)?
        ) $(-> $output:ty)? $body:block
    ) => {
        $(#[$attribute])*
        $visibility fn $name<$($T: $bound),*>(
            set: $crate::instructions::Available,
            $($argument: $type),*
        ) $(-> $output)? {
            #[inline(always)]
            fn run<$S: $crate::simd::Simd $(+ $more)? $(, $T: $bound)*>(
                $($argument: $type),*
            ) $(-> $output)? $body

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            fn avx2<$($T: $bound),*>($($argument: $type),*) $(-> $output)? {
                run::<$crate::simd::Avx2 $(, $T)*>($($argument),*)
            }

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx2,fma")]
            fn avx512<$($T: $bound),*>($($argument: $type),*) $(-> $output)? {
                run::<$crate::simd::Avx512 $(, $T)*>($($argument),*)
            }

            match set.get() {
                #[cfg(target_arch = "x86_64")]
                // SAFETY: an `Available` exists only where its instructions were detected.
                $crate::Instructions::Avx2 => unsafe { avx2::<$($T),*>($($argument),*) },
                #[cfg(target_arch = "x86_64")]
                // SAFETY: as above.
                $crate::Instructions::Avx512 | $crate::Instructions::Avx512Bf16 => unsafe {
                    avx512::<$($T),*>($($argument),*)
                },
                _ => run::<$crate::simd::Portable $(, $T)*>($($argument),*),
            }
        }
    };
}
pub(crate) use kernel;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_set_is_available_and_a_missing_one_is_refused() {
        assert!(Instructions::detect().available());
        for set in Instructions::ALL {
            match Available::new(set) {
                Ok(_) => assert!(set.available()),
                Err(error) => {
                    assert_eq!(
                        error,
                        CpuError::Unavailable { asked: set, best: Instructions::detect() }
                    );
                    assert!(error.to_string().contains(&format!("{set:?}")));
                }
            }
        }
    }
}
