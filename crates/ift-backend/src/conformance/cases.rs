//! The list of cases.

use super::fixture::Fixture;
use super::operation::Operation;
use super::results::Results;
use super::tolerances::{CaseTolerance, Tolerances};
use super::{
    attention, buffers, columns, divergence, embedding, facts, frozen, gated, head, heads, linear,
    low_rank, non_finite, norm, rows, update, upload,
};
use crate::{Backend, BackendError, NumberType, Reference};
use ift_compare::Comparison;
use std::fmt;

/// All kinds of cases, by the name of what they cover, and how to list them.
macro_rules! kinds {
    ($($kind:ident($case:ty) $name:literal $list:expr;)*) => {
        #[derive(Debug)]
        enum Kind {
            $($kind($case),)*
        }

        impl Kind {
            fn operation(&self) -> &'static str {
                match self {
                    $(Self::$kind(_) => $name,)*
                }
            }

            fn tolerance(&self) -> CaseTolerance {
                match self {
                    $(Self::$kind(case) => case.tolerance(),)*
                }
            }

            fn run<B: Backend>(&self, fixture: &Fixture<B>) -> Result<Results, BackendError> {
                match self {
                    $(Self::$kind(case) => case.run(fixture),)*
                }
            }
        }

        impl fmt::Display for Case {
            fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
                match &self.0 {
                    $(Kind::$kind(case) => write!(f, "{case:?}"),)*
                }
            }
        }

        /// All cases, those of an operation one after the other.
        pub fn cases() -> Vec<Case> {
            let mut cases = Vec::new();
            $(cases.extend($list.into_iter().map(|case| Case(Kind::$kind(case))));)*
            cases
        }
    };
}

kinds! {
    Facts(facts::FactsCase) "facts" facts::cases();
    Buffers(buffers::BuffersCase) "buffers" buffers::cases();
    Parameters(buffers::ParametersCase) "buffers" buffers::parameters_cases();
    Frozen(frozen::FrozenCase) "frozen" frozen::cases();
    Update(update::UpdateCase) "update" update::cases();
    Upload(upload::UploadCase) "upload" upload::cases();
    Embedding(embedding::EmbeddingCase) "embedding" embedding::cases();
    UnknownToken(embedding::UnknownTokenCase) "embedding" embedding::unknown_token_cases();
    Random(embedding::RandomCase) "random" embedding::random_cases();
    Norm(norm::NormCase) "norm" norm::cases();
    Linear(linear::LinearCase) "linear" linear::cases();
    Columns(columns::ColumnsCase) "columns" columns::cases();
    LowRank(low_rank::LowRankCase) "low_rank" low_rank::cases();
    Heads(heads::HeadsCase) "heads" heads::cases();
    Attention(attention::AttentionCase) "attention" attention::cases();
    Gated(gated::GatedCase) "gated" gated::cases();
    Rows(rows::RowsCase) "rows" rows::cases();
    Head(head::HeadCase) "head" head::cases();
    Ties(head::TiesCase) "head" head::ties_cases();
    Divergence(divergence::DivergenceCase) "divergence" divergence::cases();
    SmallDivergence(divergence::SmallDivergenceCase) "divergence" divergence::small_cases();
    NonFinite(non_finite::NonFiniteCase) "non_finite" non_finite::cases();
}

/// One operation, forward and backward, on inputs of one size.
#[derive(Debug)]
pub struct Case(Kind);

impl Case {
    /// What the case covers: `linear`, `attention`, `head`, …
    pub fn operation(&self) -> &'static str {
        self.0.operation()
    }

    /// What a backend computes, from inputs that are exact in a type.
    ///
    /// # Errors
    /// If memory runs out.
    pub fn results<B: Backend>(
        &self,
        backend: &B,
        inputs: NumberType,
    ) -> Result<Results, BackendError> {
        self.0.run(&Fixture { backend, inputs })
    }

    /// What the reference computes from such inputs.
    ///
    /// # Errors
    /// If memory runs out.
    pub fn expected(&self, inputs: NumberType) -> Result<Results, BackendError> {
        self.results(&Reference, inputs)
    }

    /// Compares what the backend called `name` computed with what the reference did.
    ///
    /// # Panics
    /// If a result is too far away, NaN or infinite where the reference's is not, or missing.
    #[track_caller]
    pub fn compare(
        &self,
        name: &str,
        tolerances: &Tolerances,
        found: &Results,
        expected: &Results,
    ) {
        let tolerance = tolerances.of(self.0.tolerance());
        let mut comparison = Comparison::new(format!("{name}, {self}"), tolerance);
        found.compare(expected, &mut comparison);
        comparison.finish();
    }
}
