//! One record as rows of the kind that a method learns from; and records that are too long, have
//! no target, or consist of two equal answers.

use std::collections::BTreeSet;

use ift_methods::RowKind;

use crate::config::{DataConfig, OverLength, Targets};
use crate::conversation::{Conversation, Example, Message, REASONING};
use crate::error::DataError;
use crate::rows::{Row, Sequence};
use crate::tokenizer::{ChatTokenizer, EncodedChat, beginning};

/// The rows of one record, and whether it was kept.
pub(crate) struct Encoded {
    /// `source` and `record` are 0.
    pub rows: Vec<Row>,
    pub outcome: RecordOutcome,
    pub notes: Notes,
    /// Number of tokens of the record, kept or not.
    pub tokens: u64,
    pub tokens_lost: u64,
}

/// What the report counts of a record beside its outcome.
#[derive(Clone, Default)]
pub(crate) struct Notes {
    /// It has the text of a special token.
    pub special_in_text: bool,
    /// The roles of which the template left out text.
    pub left_out: BTreeSet<String>,
    /// The two answers of a pair follow different prompts.
    pub prompts_differ: bool,
    /// Answers of which only the end of the turn is learned.
    pub answers_empty: u64,
    /// It is far longer than `max_length`, so the number of its tokens is an estimate.
    pub estimated: bool,
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
    notes: Notes,
    /// The rendered text before the first target.
    prompt: String,
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
                let conversation = self.answer(conversation)?;
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
        let conversations = [self.answer(chosen)?, self.answer(rejected)?];
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

    /// A conversation whose last answer is compared with others, so that it has weight 1 or none.
    fn answer(&self, conversation: &Conversation) -> Result<EncodedConversation, DataError> {
        let last = conversation.messages.iter().rfind(|message| message.is_assistant());
        match last.and_then(|message| message.weight) {
            Some(weight) if weight != 0.0 && weight != 1.0 => Err(DataError::field(
                "weight",
                weight.to_string(),
                "0 or 1: methods on pairs and on judged answers do not weigh them",
            )),
            _ => self.conversation(conversation, Targets::Last),
        }
    }

    fn conversation(
        &self,
        conversation: &Conversation,
        targets: Targets,
    ) -> Result<EncodedConversation, DataError> {
        let max_length = self.config.max_length;
        let limit = self.tokenizer.bytes_beyond(max_length).unwrap_or(usize::MAX);
        if self.config.over_length != OverLength::Truncate && text_bytes(conversation) > limit {
            return self.far_too_long(conversation);
        }
        let EncodedChat { mut sequence, prompt, left_out, length, estimated } =
            self.tokenizer.encode_beginning(conversation, targets, limit)?;
        let mut outcome = RecordOutcome::Kept;
        if length > max_length {
            outcome = self.too_long(length, estimated)?;
            sequence.truncate(max_length);
        }
        if outcome != RecordOutcome::TooLong && sequence.target_count() == 0 {
            outcome = RecordOutcome::WithoutTargets;
        }
        let notes = Notes {
            special_in_text: self.special_in(conversation),
            left_out,
            prompts_differ: false,
            answers_empty: empty_answers(conversation, targets),
            estimated,
        };
        Ok(EncodedConversation { sequence, outcome, notes, prompt, length })
    }

    /// A conversation that is neither rendered nor tokenised, because its text alone is far longer
    /// than `max_length`.
    fn far_too_long(&self, conversation: &Conversation) -> Result<EncodedConversation, DataError> {
        let texts = conversation.messages.iter().map(Message::text);
        let sample = texts.max_by_key(|text| text.len()).unwrap_or_default();
        let sample = beginning(sample, SAMPLE_BYTES);
        let length = self.tokenizer.estimate_tokens(sample, text_bytes(conversation))?;
        Ok(EncodedConversation {
            sequence: Sequence::default(),
            outcome: self.too_long(length, true)?,
            notes: Notes { estimated: true, ..Notes::default() },
            prompt: String::new(),
            length,
        })
    }

    fn too_long(&self, tokens: usize, estimated: bool) -> Result<RecordOutcome, DataError> {
        match self.config.over_length {
            OverLength::Error => {
                let max_length = self.config.max_length;
                Err(DataError::OverLength { tokens, estimated, max_length })
            }
            OverLength::Drop => Ok(RecordOutcome::TooLong),
            OverLength::Truncate => Ok(RecordOutcome::Truncated),
        }
    }

    fn text(&self, example: &Example) -> Result<Encoded, DataError> {
        let mut notes = Notes::default();
        let tokens = match example {
            Example::Text(text) => {
                let DataConfig { bos, end_of_text, .. } = *self.config;
                // A document without text has nothing to end.
                let end = end_of_text && !text.is_empty();
                notes.special_in_text = self.tokenizer.holds_special_token(text);
                self.tokenizer.encode_document(text, bos, end)?
            }
            Example::Chat(conversation)
            | Example::Pair { chosen: conversation, .. }
            | Example::Judged { conversation, .. } => {
                notes.special_in_text = self.special_in(conversation);
                let (tokens, left_out) = self.tokenizer.encode_rendered(conversation, false)?;
                notes.left_out = left_out;
                tokens
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
        Ok(Encoded::new(rows, outcome, notes, read))
    }

    fn special_in(&self, conversation: &Conversation) -> bool {
        let mut messages = conversation.messages.iter();
        messages.any(|message| self.tokenizer.holds_special_token(message.text()))
    }
}

/// Length of the text from which the tokens of a far longer one are estimated: 16 KiB.
const SAMPLE_BYTES: usize = 16 << 10;

/// Length of all messages in bytes, without their further fields.
fn text_bytes(conversation: &Conversation) -> usize {
    conversation.messages.iter().map(|message| message.text().len()).sum()
}

/// The number of learned answers without text, calls or reasoning.
fn empty_answers(conversation: &Conversation, targets: Targets) -> u64 {
    let answers = conversation.messages.iter().rev().filter(|message| message.is_assistant());
    let most = if targets == Targets::Last { 1 } else { usize::MAX };
    let empty = |message: &&Message| {
        message.weight != Some(0.0)
            && message.text().trim().is_empty()
            && !message.fields.contains_key("tool_calls")
            && !REASONING.iter().any(|name| message.fields.contains_key(*name))
    };
    answers.take(most).filter(empty).count() as u64
}

/// The rows of one record, or none if one of its conversations is to be dropped: a record is kept
/// or dropped as a whole.
fn finish_record<const N: usize>(
    conversations: [EncodedConversation; N],
    rows: impl FnOnce([Sequence; N]) -> Vec<Row>,
) -> Encoded {
    let mut notes = Notes::default();
    for conversation in &conversations {
        notes.special_in_text |= conversation.notes.special_in_text;
        notes.left_out.extend(conversation.notes.left_out.iter().cloned());
        notes.answers_empty += conversation.notes.answers_empty;
        notes.estimated |= conversation.notes.estimated;
    }
    notes.prompts_differ =
        !notes.estimated && conversations.windows(2).any(|pair| pair[0].prompt != pair[1].prompt);
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
    Encoded::new(rows, outcome, notes, read)
}

impl Encoded {
    fn new(rows: Vec<Row>, outcome: RecordOutcome, notes: Notes, read: usize) -> Self {
        let kept: usize = rows.iter().map(Row::len_tokens).sum();
        Self { rows, outcome, notes, tokens: read as u64, tokens_lost: (read - kept) as u64 }
    }
}
