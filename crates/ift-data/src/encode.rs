//! One record as rows of the kind that a method learns from; and records that are too long, have
//! no target, or consist of two equal answers.

use ift_methods::RowKind;

use crate::config::{DataConfig, OverLength, Targets};
use crate::conversation::{Conversation, Example};
use crate::error::DataError;
use crate::rows::{Row, Sequence};
use crate::tokenizer::ChatTokenizer;

/// The rows of one record, and whether it was kept.
pub(crate) struct Encoded {
    /// `source` and `record` are 0.
    pub rows: Vec<Row>,
    pub outcome: RecordOutcome,
    pub special_in_text: bool,
    /// Number of tokens of the record, kept or not.
    pub tokens: u64,
    pub tokens_lost: u64,
}

/// Whether a record was kept, or why not. If several apply, the last in this list counts.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum RecordOutcome {
    Kept,
    Truncated,
    /// Both answers of the pair are the same.
    Identical,
    WithoutTargets,
    TooLong,
    /// Judged undesirable, but the method imitates answers.
    Undesirable,
}

/// Turns records into rows of one kind.
pub(crate) struct Encoder<'a> {
    pub config: &'a DataConfig,
    pub tokenizer: &'a ChatTokenizer,
    pub kind: RowKind,
}

/// One tokenised conversation, cut at `max_length` if the configuration says so.
struct EncodedConversation {
    sequence: Sequence,
    outcome: RecordOutcome,
    special_in_text: bool,
    /// Number of tokens before the cut.
    length: usize,
}

impl Encoder<'_> {
    /// The rows of one record.
    ///
    /// # Errors
    /// When the example does not have rows of this kind, the template raises an error, or the
    /// record is too long and `over_length` is `error`.
    pub fn encode(&self, example: &Example) -> Result<Encoded, DataError> {
        match (self.kind, example) {
            (RowKind::Text, _) => self.text(example),
            (RowKind::Demonstration, _) => self.demonstration(example),
            (RowKind::Pair | RowKind::Judged, Example::Pair { chosen, rejected }) => {
                self.pair(chosen, rejected)
            }
            (RowKind::Judged, Example::Judged { conversation, desirable }) => {
                let conversation = self.conversation(conversation, Targets::Last)?;
                Ok(finish_record([conversation], |[answer]| {
                    vec![Row::judged_without_mismatch(answer, *desirable)]
                }))
            }
            (RowKind::Pair | RowKind::Judged, _) => {
                Err(DataError::Malformed("found neither a pair nor a judged answer".to_owned()))
            }
        }
    }

    fn pair(&self, chosen: &Conversation, rejected: &Conversation) -> Result<Encoded, DataError> {
        let conversations = [
            self.conversation(chosen, Targets::Last)?,
            self.conversation(rejected, Targets::Last)?,
        ];
        Ok(finish_record(conversations, |[chosen, rejected]| match self.kind {
            RowKind::Judged => vec![
                Row::judged_without_mismatch(chosen, true),
                Row::judged_without_mismatch(rejected, false),
            ],
            _ => vec![Row::pair(chosen, rejected)],
        }))
    }

    fn demonstration(&self, example: &Example) -> Result<Encoded, DataError> {
        let Some(conversation) = example.conversation() else {
            return Err(DataError::Malformed(
                "found plain `text`, which has no prompt and answer; expected a conversation, or \
                 method `lm`, which trains on every token"
                    .to_owned(),
            ));
        };
        let mut conversation = self.conversation(conversation, self.config.targets)?;
        if example.is_undesirable() {
            conversation.outcome = RecordOutcome::Undesirable;
        }
        Ok(finish_record([conversation], |[answer]| vec![Row::demonstration(answer)]))
    }

    fn conversation(
        &self,
        conversation: &Conversation,
        targets: Targets,
    ) -> Result<EncodedConversation, DataError> {
        let (tokens, mask) = self.tokenizer.encode_with_targets(conversation, targets)?;
        let mut sequence = Sequence::masked(tokens, &mask);
        let (length, max_length) = (sequence.len(), self.config.max_length);
        let mut outcome = RecordOutcome::Kept;
        if length > max_length {
            outcome = match self.config.over_length {
                OverLength::Error => {
                    return Err(DataError::OverLength { tokens: length, max_length });
                }
                OverLength::Drop => RecordOutcome::TooLong,
                OverLength::Truncate => RecordOutcome::Truncated,
            };
            sequence.truncate(max_length);
        }
        if outcome != RecordOutcome::TooLong && sequence.target_count() == 0 {
            outcome = RecordOutcome::WithoutTargets;
        }
        Ok(EncodedConversation {
            sequence,
            outcome,
            special_in_text: self.special_in(conversation),
            length,
        })
    }

    fn text(&self, example: &Example) -> Result<Encoded, DataError> {
        let (tokens, special_in_text) = match example {
            Example::Text(text) => {
                let tokens = self.tokenizer.encode_plain(text, true)?;
                let cause = "the tokenizer adds one and the text begins with another; remove it \
                             from the data";
                self.tokenizer.check_bos(&tokens, || cause.to_owned())?;
                (tokens, self.tokenizer.holds_special_token(text))
            }
            Example::Chat(conversation)
            | Example::Pair { chosen: conversation, .. }
            | Example::Judged { conversation, .. } => {
                (self.tokenizer.encode_chat(conversation, false)?, self.special_in(conversation))
            }
        };
        let read = tokens.len();
        // Nothing predicts the only token of a piece.
        let pieces = tokens.chunks(self.config.max_length).filter(|piece| piece.len() > 1);
        let row =
            |piece: &[u32]| Row::text(Sequence::masked(piece.to_vec(), &vec![true; piece.len()]));
        let mut rows: Vec<_> = pieces.map(row).collect();
        let mut outcome =
            if rows.is_empty() { RecordOutcome::WithoutTargets } else { RecordOutcome::Kept };
        if example.is_undesirable() {
            rows.clear();
            outcome = RecordOutcome::Undesirable;
        }
        Ok(Encoded::new(rows, outcome, special_in_text, read))
    }

    fn special_in(&self, conversation: &Conversation) -> bool {
        let mut messages = conversation.messages.iter();
        messages.any(|message| self.tokenizer.holds_special_token(message.text()))
    }
}

/// The rows of one record, or none if one of its conversations is to be dropped: a record is kept
/// or dropped as a whole.
fn finish_record<const N: usize>(
    conversations: [EncodedConversation; N],
    rows: impl FnOnce([Sequence; N]) -> Vec<Row>,
) -> Encoded {
    let special_in_text = conversations.iter().any(|conversation| conversation.special_in_text);
    let read = conversations.iter().map(|conversation| conversation.length).sum();
    let mut outcome = conversations
        .iter()
        .map(|conversation| conversation.outcome)
        .max()
        .unwrap_or(RecordOutcome::Kept);
    if conversations.windows(2).any(|pair| pair[0].sequence == pair[1].sequence) {
        outcome = outcome.max(RecordOutcome::Identical);
    }
    let rows = if outcome > RecordOutcome::Truncated {
        Vec::new()
    } else {
        rows(conversations.map(|conversation| conversation.sequence))
    };
    Encoded::new(rows, outcome, special_in_text, read)
}

impl Encoded {
    fn new(rows: Vec<Row>, outcome: RecordOutcome, special_in_text: bool, read: usize) -> Self {
        let kept: usize = rows.iter().map(Row::len_tokens).sum();
        Self {
            rows,
            outcome,
            special_in_text,
            tokens: read as u64,
            tokens_lost: (read - kept) as u64,
        }
    }
}
