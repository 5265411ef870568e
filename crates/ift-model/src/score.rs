//! The output head: final norm and log-probabilities at chosen positions of one or several passes.

use crate::{Gradients, Model, Pass};
use ift_backend::{Backend, Choice, Distributions, Divergence, DivergenceGradient, HeadScores};

/// What the head said, and what going back through it needs.
pub struct Scored<B: Backend> {
    /// Log-probabilities, normalisers and choices, one per position.
    pub scores: HeadScores,
    targets: Vec<u32>,
    /// `[positions, hidden]` gathered hidden states, before the final norm.
    gathered: B::Activation,
    /// After it.
    normed: B::Activation,
    /// Kept for going back.
    logits: Option<B::Logits>,
}

/// A divergence between what a model and a reference said at the same positions, as a part of the
/// loss.
pub struct ScoredDivergence<'a, B: Backend> {
    /// The reference. With its adapters off it may be the model itself.
    pub reference: &'a Model<B>,
    /// What it said.
    pub scored: &'a Scored<B>,
    /// Which divergence.
    pub kind: Divergence,
    /// `[positions]` the divergences, from [`Model::divergence`].
    pub values: &'a [f64],
    /// `[positions]` the loss's slope along each.
    pub slopes: &'a [f64],
}

/// `[positions, hidden]`: the gradient of the gathered hidden states, to be spread over the passes
/// they came from.
pub struct ScoreGradient<B: Backend> {
    gathered: B::Activation,
}

impl<B: Backend> Model<B> {
    /// Scores `targets` at positions of `pieces`: for each pass the packed indices of the tokens
    /// that predict them, in the order of the targets. The logits never exist as a whole,
    /// unless they are small and to be kept for [`Model::score_backward`].
    pub fn score(
        &self,
        pieces: &[(&Pass<B>, &[usize])],
        targets: &[u32],
        choice: Choice,
        keep_logits: bool,
    ) -> Scored<B> {
        let (backend, width) = (self.backend(), self.config.hidden);
        let (gathered, normed) = self.gather_normed(pieces);
        let head = &self.weights[self.layout.head];
        let vocabulary = self.config.vocabulary;
        let (scores, logits) =
            backend.head(width, vocabulary, &normed, head, targets, choice, keep_logits);
        Scored { scores, targets: targets.to_vec(), gathered, normed, logits }
    }

    /// The logits at positions of a pass, `[positions, vocabulary]`, on the host.
    pub fn logits(&self, pass: &Pass<B>, positions: &[usize]) -> Vec<f32> {
        let (_, normed) = self.gather_normed(&[(pass, positions)]);
        let head = &self.weights[self.layout.head];
        self.backend.logits(
            positions.len(),
            self.config.hidden,
            self.config.vocabulary,
            &normed,
            head,
        )
    }

    fn gather_normed(&self, pieces: &[(&Pass<B>, &[usize])]) -> (B::Activation, B::Activation) {
        let (backend, width) = (self.backend(), self.config.hidden);
        let n = pieces.iter().map(|(_, index)| index.len()).sum();
        let mut gathered = backend.activation(n * width);
        let mut start = 0;
        for (pass, index) in pieces {
            backend.gather(width, &pass.hidden, index, &mut gathered, start);
            start += index.len();
        }
        let mut normed = backend.activation(n * width);
        let weight = &self.weights[self.layout.final_norm];
        backend.norm(n, &gathered, weight, self.config.norm(), &mut normed);
        (gathered, normed)
    }

    /// The head's distributions at scored positions.
    fn distributions<'a>(
        &'a self,
        scored: &'a Scored<B>,
    ) -> Distributions<'a, B::Activation, B::Weight> {
        Distributions {
            width: self.config.hidden,
            x: &scored.normed,
            weight: &self.weights[self.layout.head],
            log_normalizers: &scored.scores.log_normalizers,
        }
    }

    /// The divergence at each scored position between this model and a reference, which has the
    /// same vocabulary and scored the same targets. `[positions]`
    pub fn divergence(
        &self,
        scored: &Scored<B>,
        reference: &Self,
        reference_scored: &Scored<B>,
        kind: Divergence,
    ) -> Vec<f64> {
        let (policy, reference) =
            (self.distributions(scored), reference.distributions(reference_scored));
        self.backend.divergence(self.config.vocabulary, policy, reference, kind)
    }

    /// Backward of [`Model::score`] for `Σ d_log_probs·log_probs`, and of a divergence; adds to the
    /// head's and the final norm's gradients.
    pub fn score_backward(
        &self,
        scored: Scored<B>,
        d_log_probs: &[f64],
        divergence: Option<ScoredDivergence<B>>,
        gradients: &mut Gradients<B>,
    ) -> ScoreGradient<B> {
        let (backend, width) = (self.backend(), self.config.hidden);
        let n = scored.targets.len();
        let mut d_normed = backend.activation(n * width);
        let divergence = divergence.map(|d| DivergenceGradient {
            reference: d.reference.distributions(d.scored),
            kind: d.kind,
            values: d.values,
            slopes: d.slopes,
        });
        backend.head_backward(
            width,
            self.config.vocabulary,
            &scored.normed,
            &self.weights[self.layout.head],
            &scored.targets,
            &scored.scores.log_normalizers,
            scored.logits,
            d_log_probs,
            divergence,
            &mut d_normed,
            gradients.of(self.layout.head),
        );
        let mut d_gathered = backend.activation(n * width);
        backend.zero(n * width, &mut d_gathered);
        let weight = &self.weights[self.layout.final_norm];
        let d_weight = gradients.of(self.layout.final_norm);
        backend.norm_backward(
            n,
            &scored.gathered,
            weight,
            self.config.norm(),
            &d_normed,
            &mut d_gathered,
            d_weight,
        );
        ScoreGradient { gathered: d_gathered }
    }

    /// The part of a score's gradient that belongs to a pass, as a gradient of all its hidden
    /// states: zero but at the positions of `pieces`, each the number of its first score and
    /// the packed positions that were scored from there on. A piece has no position twice.
    pub fn hidden_gradient(
        &self,
        gradient: &ScoreGradient<B>,
        pass: &Pass<B>,
        pieces: &[(usize, &[usize])],
    ) -> B::Activation {
        let (backend, width) = (self.backend(), self.config.hidden);
        let len = pass.sequences().tokens.len() * width;
        let mut d_hidden = backend.activation(len);
        backend.zero(len, &mut d_hidden);
        for (first, positions) in pieces {
            backend.scatter_add(width, &gradient.gathered, *first, positions, &mut d_hidden);
        }
        d_hidden
    }
}
