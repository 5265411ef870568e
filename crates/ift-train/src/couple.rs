//! What couples the rows of a step, over all processes: KTO's KL point, and the losses of methods
//! in which the loss of a row depends on other rows.

use std::ops::Range;

use ift_methods::{Coupling, Method, RowKind, RowLoss};
use ift_parallel::{Collective, CollectiveError};

use crate::sums::AnswerDetail;

/// What is computed from all rows of a step before its backward passes.
pub(crate) struct Coupled {
    /// KTO's KL point, 0 for other methods.
    pub kl_point: f64,
    /// The losses of this process's answers, in order, where they depend on those of other rows.
    pub losses: Option<Vec<RowLoss>>,
}

/// Exchanges the scores of this process's `mismatched` sequences and of its `answers`, as far as
/// the method couples them. Every process gets the same results.
///
/// # Errors
/// If the exchange fails.
pub(crate) fn couple(
    method: &Method,
    collective: &dyn Collective,
    mismatched: &[AnswerDetail],
    answers: &[AnswerDetail],
) -> Result<Coupled, CollectiveError> {
    let mut coupled = Coupled { kl_point: 0.0, losses: None };
    if method.needs().rows == RowKind::Judged {
        let (all, _) = gather(collective, mismatched)?;
        let scores: Vec<_> = all.iter().map(AnswerDetail::scores).collect();
        coupled.kl_point = method.kl_point(&scores);
    }
    if method.coupling() == Coupling::Batch {
        let (all, own) = gather(collective, answers)?;
        let mut losses = losses(method, &all, coupled.kl_point);
        losses.truncate(own.end);
        coupled.losses = Some(losses.split_off(own.start));
    }
    Ok(coupled)
}

/// The method's losses of answers.
pub(crate) fn losses(method: &Method, details: &[AnswerDetail], kl_point: f64) -> Vec<RowLoss> {
    method.losses(&details.iter().map(AnswerDetail::scores).collect::<Vec<_>>(), kl_point)
}

/// The answers of all processes in the order of their ranks, and which of them are this one's.
fn gather(
    collective: &dyn Collective,
    own: &[AnswerDetail],
) -> Result<(Vec<AnswerDetail>, Range<usize>), CollectiveError> {
    let mut bytes = Vec::new();
    for answer in own {
        write(answer, &mut bytes);
    }
    let (mut all, mut range) = (Vec::new(), 0..0);
    for (rank, bytes) in collective.all_gather(&bytes)?.iter().enumerate() {
        let start = all.len();
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            let answer = read(&mut rest).ok_or_else(|| CollectiveError {
                rank: collective.rank(),
                operation: "all_gather",
                problem: format!("rank {rank} sent scores that are cut off"),
            })?;
            all.push(answer);
        }
        if rank == collective.rank() {
            range = start..all.len();
        }
    }
    Ok((all, range))
}

/// Writes what a method reads of an answer: whether it is chosen, then each list, prefixed
/// with its length.
fn write(answer: &AnswerDetail, out: &mut Vec<u8>) {
    let AnswerDetail { chosen, positions, log_probs, reference, .. } = answer;
    let AnswerDetail { target_weights, divergence, entropy, .. } = answer;
    out.push(u8::from(*chosen));
    out.extend((positions.len() as u64).to_le_bytes());
    out.extend(positions.iter().flat_map(|&position| (position as u64).to_le_bytes()));
    for list in [log_probs, reference, target_weights, divergence, entropy] {
        out.extend((list.len() as u64).to_le_bytes());
        out.extend(list.iter().flat_map(|value| value.to_le_bytes()));
    }
}

/// The inverse of [`write`]; takes what it reads from the front of `bytes`.
fn read(bytes: &mut &[u8]) -> Option<AnswerDetail> {
    let chosen = *bytes.split_off_first()? != 0;
    let positions = words(bytes)?.into_iter().map(|word| word as usize).collect();
    let mut floats = || Some(words(bytes)?.into_iter().map(f64::from_bits).collect::<Vec<_>>());
    Some(AnswerDetail {
        chosen,
        positions,
        log_probs: floats()?,
        reference: floats()?,
        target_weights: floats()?,
        divergence: floats()?,
        entropy: floats()?,
        ..AnswerDetail::default()
    })
}

/// A length-prefixed list of eight-byte words.
fn words(bytes: &mut &[u8]) -> Option<Vec<u64>> {
    let length = u64::from_le_bytes(bytes.split_off(..8)?.try_into().ok()?);
    let list = bytes.split_off(..usize::try_from(length).ok()?.checked_mul(8)?)?;
    Some(list.as_chunks::<8>().0.iter().map(|word| u64::from_le_bytes(*word)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_survive_the_exchange_to_the_bit() {
        let answers = [
            AnswerDetail {
                chosen: true,
                positions: vec![1, 7],
                log_probs: vec![-0.1, f64::NAN],
                reference: vec![-0.0, 1e-300],
                target_weights: vec![0.25, 3.0],
                divergence: vec![0.5],
                ..AnswerDetail::default()
            },
            AnswerDetail { entropy: vec![0.25], ..AnswerDetail::default() },
        ];
        let mut bytes = Vec::new();
        for answer in &answers {
            write(answer, &mut bytes);
        }
        let mut rest = bytes.as_slice();
        for answer in &answers {
            let found = read(&mut rest).unwrap();
            assert_eq!(format!("{found:?}"), format!("{answer:?}"));
        }
        assert!(rest.is_empty());
        for cut in 1..bytes.len() {
            let mut rest = &bytes[..cut];
            while !rest.is_empty() {
                if read(&mut rest).is_none() {
                    break;
                }
            }
        }
    }
}
