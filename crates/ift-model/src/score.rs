//! The output head: final norm and log-probabilities at chosen positions of one or several passes.

use crate::{Gradients, Model, ModelError, Pass};
use ift_backend::{
    Backend, Distributions, Divergence, DivergenceGradient, Head, HeadGradient, HeadScores,
    HeadTargets, RowMap, Select, Slot,
};

/// The scores of the output head, which stay on the backend, and what its backward pass reads.
pub struct Scored<B: Backend> {
    scores: B::Scores,
    /// Number of scores.
    len: usize,
    /// `[len, hidden]` gathered hidden states, before the final norm.
    gathered: B::Activation,
    /// `[len, hidden]` the same after the final norm.
    normed: B::Activation,
}

impl<B: Backend> Scored<B> {
    /// The scores, as inputs of a later pass ([`ift_backend::LookAheadInputs`]).
    /// [`Model::read_scores`] brings them to the host.
    pub fn scores(&self) -> &B::Scores {
        &self.scores
    }
}

/// A divergence between a model and a reference at the same positions, as a part of the loss.
/// [`Model::divergence`] must have been called.
pub struct ScoredDivergence<'a, B: Backend> {
    /// The reference. With its adapters off it may be the model itself.
    pub reference: &'a Model<B>,
    /// Its scores of the same targets.
    pub scored: &'a Scored<B>,
    /// Which divergence.
    pub kind: Divergence,
    /// `[positions]` derivative of the loss with respect to each divergence.
    pub d_divergences: &'a [f64],
}

/// `[positions, hidden]`: the gradient of the gathered hidden states.
/// [`Model::hidden_gradient`] takes from it the part of one pass.
pub struct ScoreGradient<B: Backend> {
    gathered: B::Activation,
}

impl<B: Backend> Model<B> {
    fn head(&self) -> Head {
        Head { width: self.config.hidden, vocabulary: self.config.vocabulary }
    }

    /// Scores `targets` at positions of `pieces`: for each pass the packed indices of the tokens
    /// that predict them, in the order of the targets. The logits never exist as a whole, unless
    /// they are small and to be kept for [`Model::score_backward`].
    ///
    /// # Errors
    /// If memory runs out.
    pub fn score(
        &self,
        pieces: &[(&Pass<B>, &[usize])],
        targets: &[u32],
        select: Select,
        keep_logits: bool,
    ) -> Result<Scored<B>, ModelError> {
        let (gathered, normed) = self.gather_normed(pieces)?;
        let weight = self.weight(self.map.head);
        let head_targets = HeadTargets { ids: targets, select, keep_logits };
        let scores = self.backend.head(self.head(), &normed, weight, &head_targets)?;
        Ok(Scored { scores, len: targets.len(), gathered, normed })
    }

    /// Copies the scores to the host: one read for each scored pass of a micro-batch.
    pub fn read_scores(&self, scored: &Scored<B>) -> HeadScores {
        self.backend.read_scores(&scored.scores)
    }

    /// The logits at positions of a pass, `[positions, vocabulary]`, on the host.
    ///
    /// # Errors
    /// If memory runs out.
    pub fn logits(&self, pass: &Pass<B>, positions: &[usize]) -> Result<Vec<f32>, ModelError> {
        let (_, normed) = self.gather_normed(&[(pass, positions)])?;
        let weight = self.weight(self.map.head);
        Ok(self.backend.logits(self.head(), positions.len(), &normed, weight)?)
    }

    fn gather_normed(
        &self,
        pieces: &[(&Pass<B>, &[usize])],
    ) -> Result<(B::Activation, B::Activation), ModelError> {
        let (backend, width) = (self.backend(), self.config.hidden);
        let n = pieces.iter().map(|(_, index)| index.len()).sum();
        let mut gathered = backend.activation(n * width)?;
        let mut start = 0;
        for (pass, index) in pieces {
            let map = RowMap::gather(index.iter().copied(), start);
            backend.copy_rows(width, &map, &pass.hidden, &mut gathered);
            start += index.len();
        }
        let mut normed = backend.activation(n * width)?;
        let weight = self.weight(self.map.final_norm);
        backend.norm(n, self.config.final_norm.norm, &gathered, weight, &mut normed)?;
        Ok((gathered, normed))
    }

    /// The head's distributions at scored positions.
    fn distributions<'a>(&'a self, scored: &'a Scored<B>) -> Distributions<'a, B> {
        Distributions {
            width: self.config.hidden,
            x: &scored.normed,
            weight: self.weight(self.map.head),
            scores: &scored.scores,
        }
    }

    /// Adds to the scores, at each position, the divergence between this model and a reference,
    /// which has the same vocabulary and scored the same targets.
    ///
    /// # Errors
    /// If memory runs out.
    pub fn divergence(
        &self,
        scored: &mut Scored<B>,
        reference: &Self,
        reference_scored: &Scored<B>,
        kind: Divergence,
    ) -> Result<(), ModelError> {
        let (head, weight) = (self.head(), self.weight(self.map.head));
        let reference = reference.distributions(reference_scored);
        let Scored { normed, scores, .. } = scored;
        Ok(self.backend.divergence(kind, head, normed, weight, scores, reference)?)
    }

    /// Backward of [`Model::score`] for `Σ d_log_probs·log_probs`, and of a divergence; adds to the
    /// head's and the final norm's gradients.
    ///
    /// # Errors
    /// If memory runs out.
    pub fn score_backward(
        &self,
        scored: Scored<B>,
        d_log_probs: &[f64],
        divergence: Option<ScoredDivergence<B>>,
        gradients: &mut Gradients<B>,
    ) -> Result<ScoreGradient<B>, ModelError> {
        let (backend, width) = (self.backend(), self.config.hidden);
        let Scored { scores, len, gathered, normed } = scored;
        let gradient = HeadGradient {
            d_log_probs,
            divergence: divergence.map(|d| DivergenceGradient {
                kind: d.kind,
                reference: d.reference.distributions(d.scored),
                d_divergences: d.d_divergences,
            }),
        };
        let mut d_normed = backend.activation(len * width)?;
        let weight = self.weight(self.map.head);
        let start = self.start_of(self.map.head);
        let d_weight = start.map(|start| Slot { buffer: &mut gradients.sums, start });
        let head = self.head();
        backend.head_backward(head, &normed, weight, scores, &gradient, &mut d_normed, d_weight)?;
        let mut d_gathered = backend.activation(len * width)?;
        backend.zero(len * width, &mut d_gathered);
        let weight = self.weight(self.map.final_norm);
        let start = self.start_of(self.map.final_norm);
        let d_weight = start.map(|start| Slot { buffer: &mut gradients.sums, start });
        let norm = self.config.final_norm.norm;
        backend.norm_backward(
            len,
            norm,
            &gathered,
            weight,
            &d_normed,
            &mut d_gathered,
            d_weight,
        )?;
        Ok(ScoreGradient { gathered: d_gathered })
    }

    /// The gradient of all hidden states of a pass: that of the gathered states at their positions,
    /// zero elsewhere. Each piece is a list of packed positions of this pass that was scored, with
    /// the index of its first score: `(3, &[5, 9])` says that score 3 was computed from the hidden
    /// state at position 5, and score 4 from that at position 9.
    ///
    /// # Errors
    /// If memory runs out, or a piece has a position twice.
    pub fn hidden_gradient(
        &self,
        gradient: &ScoreGradient<B>,
        pass: &Pass<B>,
        pieces: &[(usize, &[usize])],
    ) -> Result<B::Activation, ModelError> {
        let (backend, width) = (self.backend(), self.config.hidden);
        let len = pass.sequences().tokens.len() * width;
        let mut d_hidden = backend.activation(len)?;
        backend.zero(len, &mut d_hidden);
        for (first, positions) in pieces {
            let map = RowMap::scatter(*first, positions).ok_or_else(|| {
                let mut seen = std::collections::BTreeSet::new();
                let position = positions.iter().copied().find(|position| !seen.insert(*position));
                ModelError::RepeatedPosition { position: position.unwrap_or_default() }
            })?;
            backend.add_rows(width, &map, &gradient.gathered, &mut d_hidden);
        }
        Ok(d_hidden)
    }
}
