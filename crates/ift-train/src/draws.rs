//! Random number streams. A stream is named by the seed, the step, the row's source and record, and
//! the position. So neither the split into micro-batches nor a resume changes a draw.

use ift_data::Row;
use ift_engine::Packed;
use ift_model::Sequences;
use ift_random::{stream, substream};

use crate::context::StepContext;
use crate::pack::Part;

/// A stream for each score of a micro-batch, in the order of the scores.
pub(crate) fn of_scores(context: &StepContext, batch: &Packed, rows: &[&Row]) -> Vec<u64> {
    let mut streams = vec![0; batch.targets.len()];
    for answer in &batch.answers {
        for (&position, &score) in answer.positions.iter().zip(&answer.scores) {
            streams[score] = of_token(context, rows[answer.group], position);
        }
    }
    streams
}

fn of_token(context: &StepContext, row: &Row, position: usize) -> u64 {
    stream([context.seed, context.step, u64::from(row.source), row.record, position as u64])
}

/// Sets the random stream of every token, for dropout and noise, and the largest noise on its
/// embedding.
pub(crate) fn randomize(
    context: &StepContext,
    batch: &mut Packed,
    rows: &[&Row],
    part: Part,
    hidden: usize,
) {
    let set = |sequences: &mut Sequences, owner: &dyn Fn(usize) -> (usize, usize)| {
        for (i, place) in sequences.segments.clone().iter().enumerate() {
            let (row, side) = owner(i);
            let length = part.of(rows[row]).map_or(0, |all| all[side].len());
            let magnitude = context.noise / ((length * hidden) as f64).sqrt();
            for position in place.past_len..place.past_len + place.len {
                let token = of_token(context, rows[row], position);
                sequences.streams.push(substream(token, 1 + side as u64));
                if context.noise > 0.0 {
                    sequences.noise.push(magnitude);
                }
            }
        }
    };
    let (answers, of_continuations) = (&batch.answers, &batch.continuation_answers);
    set(&mut batch.prompts, &|row| (row, 0));
    set(&mut batch.continuations, &|continuation| {
        let answer = &answers[of_continuations[continuation]];
        (answer.group, answer.side)
    });
}
