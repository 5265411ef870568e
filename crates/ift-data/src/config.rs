//! The `[data]` table of a recipe.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, MapAccess, SeqAccess, Visitor, value::MapAccessDeserializer};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use crate::format::Format;
use crate::strict::Strict;

/// The data of a run: files, targets, and the longest row.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct DataConfig {
    /// Training files: a path, a table with `path`, or a list of either. They are read in this
    /// order.
    #[serde(deserialize_with = "one_or_many")]
    #[schemars(with = "OneOrMany")]
    pub train: Vec<Source>,
    /// Held-out files, in the same forms. Not together with `eval_fraction`.
    #[serde(deserialize_with = "one_or_many", skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "OneOrMany")]
    pub eval: Vec<Source>,
    /// Share of the training records to hold out instead of `eval`, between 0 and 1. The choice
    /// depends only on the position of each record in its file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eval_fraction: Option<f64>,
    /// Which assistant turns are targets. For methods on pairs or judged answers it is always the
    /// last one only.
    pub targets: Targets,
    /// Longest row in tokens, at least 2. Documents of plain text are cut into pieces of this
    /// length.
    pub max_length: usize,
    /// What happens to a conversation that is longer than `max_length`. A pair is kept or dropped
    /// as a whole.
    pub over_length: OverLength,
    /// Chat template to use instead of the tokenizer's: `zephyr`, `chatml`, `llama3`, or the path
    /// of a Jinja file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub template: Option<String>,
    /// Variables of the chat template, such as `{ enable_thinking = false }`. The saved model has
    /// them as defaults.
    #[serde(deserialize_with = "exact", skip_serializing_if = "Map::is_empty")]
    pub template_arguments: Map<String, Value>,
    /// Whether a beginning-of-sequence token stands before each row.
    pub bos: Bos,
    /// Whether a document of plain text ends with the end-of-sequence token, so that the model
    /// learns where texts end.
    pub end_of_text: bool,
    /// Names of columns for fields that are called otherwise, such as `{ prompt = "question" }`;
    /// each must be in every file.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub columns: BTreeMap<String, String>,
    /// Fields of records to ignore although they would change what is learned, such as `tools`;
    /// those of messages as `messages.NAME`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ignore: Vec<String>,
    /// Largest number of rows to read from the training files, before a held-out share is taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_rows: Option<usize>,
}

impl Default for DataConfig {
    fn default() -> Self {
        Self {
            train: Vec::new(),
            eval: Vec::new(),
            eval_fraction: None,
            targets: Targets::default(),
            max_length: 1024,
            over_length: OverLength::default(),
            template: None,
            template_arguments: Map::new(),
            bos: Bos::default(),
            end_of_text: true,
            columns: BTreeMap::new(),
            ignore: Vec::new(),
            max_rows: None,
        }
    }
}

impl DataConfig {
    /// What a tokenizer's chat template is made of.
    pub fn template_settings(&self) -> TemplateSettings {
        TemplateSettings {
            template: self.template.clone(),
            bos: self.bos,
            arguments: self.template_arguments.clone(),
        }
    }
}

/// What a tokenizer's chat template is made of, beside the files of its folder.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TemplateSettings {
    /// A template to use instead of the tokenizer's: a built-in name or the path of a Jinja file.
    pub template: Option<String>,
    /// Whether a beginning-of-sequence token stands before each conversation.
    pub bos: Bos,
    /// Variables of the template.
    pub arguments: Map<String, Value>,
}

/// Whether a beginning-of-sequence (BOS) token stands before each row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Bos {
    /// As the tokenizer's own template writes it; with a built-in template or a file, as the
    /// tokenizer's post-processor adds it to plain text.
    #[default]
    Auto,
    /// Always, once.
    Always,
    /// Never.
    Never,
}

/// Which assistant turns are targets, each with its end-of-turn token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Targets {
    /// Every assistant turn.
    #[default]
    Assistant,
    /// The last assistant turn only.
    Last,
}

/// What happens to a conversation that is longer than `max_length`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OverLength {
    /// It is dropped, and counted in the report.
    #[default]
    Drop,
    /// It is cut at `max_length`, and counted in the report; if no target is left, it is dropped.
    Truncate,
    /// The run stops with an error that names the record.
    Error,
}

/// One file of records, or one split of a data set folder.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Source {
    /// A file of records (JSON lines, JSON, CSV, Parquet, Arrow); with `split`, a folder.
    pub path: PathBuf,
    /// The layout of its records; recognised from the first record if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<Format>,
    /// For a folder: the files in it, or in its `data` folder, that are named `SPLIT.*`,
    /// `SPLIT-*` or `SPLIT/*`; or those of the split as `datasets` saved them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub split: Option<String>,
    /// How often its rows occur in an epoch, 1 if absent, at most 1000: 0.5 uses one half of its
    /// records, the same half in every epoch; 2.5 uses every record twice and one half a third
    /// time. Applied after a held-out share is taken; not allowed for held-out files.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<f64>,
    /// Reads only this many records, from the beginning of its files; before a held-out share is
    /// taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_records: Option<u64>,
    /// Names of its columns for fields that are called otherwise, over those of `data.columns`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub columns: BTreeMap<String, String>,
}

impl Source {
    /// A file whose layout is recognised from its first record.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            format: None,
            split: None,
            weight: None,
            max_records: None,
            columns: BTreeMap::new(),
        }
    }
}

/// A source written as a table.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct SourceTable {
    /// A file of records (JSON lines, JSON, CSV, Parquet, Arrow); with `split`, a folder.
    path: PathBuf,
    /// The layout of its records; recognised from the first record if absent.
    #[serde(default)]
    format: Option<Format>,
    /// For a folder: the files in it, or in its `data` folder, that are named `SPLIT.*`,
    /// `SPLIT-*` or `SPLIT/*`; or those of the split as `datasets` saved them.
    #[serde(default)]
    split: Option<String>,
    /// How often its rows occur in an epoch, 1 if absent, at most 1000: 0.5 uses one half of its
    /// records, the same half in every epoch; 2.5 uses every record twice and one half a third
    /// time. Applied after a held-out share is taken; not allowed for held-out files.
    #[serde(default)]
    weight: Option<f64>,
    /// Reads only this many records, from the beginning of its files; before a held-out share is
    /// taken.
    #[serde(default)]
    max_records: Option<u64>,
    /// Names of its columns for fields that are called otherwise, over those of `data.columns`.
    #[serde(default)]
    columns: BTreeMap<String, String>,
}

impl From<SourceTable> for Source {
    fn from(table: SourceTable) -> Self {
        Self {
            path: table.path,
            format: table.format,
            split: table.split,
            weight: table.weight,
            max_records: table.max_records,
            columns: table.columns,
        }
    }
}

struct SourceVisitor;

impl<'de> Visitor<'de> for SourceVisitor {
    type Value = Source;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a path or a table with `path`")
    }

    fn visit_str<E: de::Error>(self, path: &str) -> Result<Source, E> {
        Ok(Source::new(path))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Source, A::Error> {
        SourceTable::deserialize(MapAccessDeserializer::new(map)).map(Source::from)
    }
}

impl<'de> Deserialize<'de> for Source {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SourceVisitor)
    }
}

impl JsonSchema for Source {
    fn schema_name() -> Cow<'static, str> {
        "Source".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let table = SourceTable::json_schema(generator);
        json_schema!({
            "description": "A path, or a table with `path`.",
            "anyOf": [{ "type": "string" }, table],
        })
    }
}

/// One source or a list of them.
fn one_or_many<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Source>, D::Error> {
    struct Sources;

    impl<'de> Visitor<'de> for Sources {
        type Value = Vec<Source>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a path, a table with `path`, or a list of these")
        }

        fn visit_str<E: de::Error>(self, path: &str) -> Result<Self::Value, E> {
            SourceVisitor.visit_str(path).map(|source| vec![source])
        }

        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
            SourceVisitor.visit_map(map).map(|source| vec![source])
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
            let mut sources = Vec::new();
            while let Some(source) = seq.next_element()? {
                sources.push(source);
            }
            Ok(sources)
        }
    }

    deserializer.deserialize_any(Sources)
}

/// Values as they are written: a date of TOML is its text, and a number that JSON does not have is
/// refused.
fn exact<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Map<String, Value>, D::Error> {
    fn with_dates(value: Value) -> Value {
        match value {
            // How the `toml` crate hands on a date.
            Value::Object(map) => match map.get(DATE) {
                Some(date) if map.len() == 1 => date.clone(),
                _ => Value::Object(map.into_iter().map(|(k, v)| (k, with_dates(v))).collect()),
            },
            Value::Array(list) => Value::Array(list.into_iter().map(with_dates).collect()),
            other => other,
        }
    }
    let Strict(value) = Strict::deserialize(deserializer)?;
    match with_dates(value) {
        Value::Object(map) => Ok(map),
        _ => Err(de::Error::custom("expected a table of variables of the chat template")),
    }
}

/// The only key of a date of TOML.
const DATE: &str = "$__toml_private_datetime";

/// The schema of what [`one_or_many`] reads.
struct OneOrMany;

impl JsonSchema for OneOrMany {
    fn schema_name() -> Cow<'static, str> {
        "Sources".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let one = generator.subschema_for::<Source>();
        json_schema!({ "anyOf": [one, { "type": "array", "items": one }] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<DataConfig, toml::de::Error> {
        toml::from_str(text)
    }

    #[test]
    fn sources_take_every_form() {
        let one = parse("train = 'a.jsonl'").unwrap();
        assert_eq!(one.train, [Source::new("a.jsonl")]);
        assert_eq!((one.max_length, one.targets), (1024, Targets::Assistant));
        let many = parse("train = ['a.jsonl', { path = 'b', format = 'alpaca', split = 'train' }]")
            .unwrap();
        let table = Source {
            format: Some(Format::Alpaca),
            split: Some("train".into()),
            ..Source::new("b")
        };
        assert_eq!(many.train, [Source::new("a.jsonl"), table.clone()]);
        let weighted = parse("train = { path = 'c', weight = 2 }").unwrap();
        assert_eq!(weighted.train, [Source { weight: Some(2.0), ..Source::new("c") }]);
        let alone = parse("[train]\npath = 'b'\nformat = 'alpaca'\nsplit = 'train'").unwrap();
        assert_eq!(alone.train, [table]);
    }

    #[test]
    fn a_written_configuration_reads_back() {
        let text = "train = ['a', { path = 'b', split = 's', weight = 0.5 }]\n\
                    eval_fraction = 0.1\nover_length = 'truncate'\n\
                    targets = 'last'\ntemplate = 'chatml'\nmax_rows = 5";
        let first = parse(text).unwrap();
        let second = parse(&toml::to_string(&first).unwrap()).unwrap();
        assert_eq!(format!("{first:?}"), format!("{second:?}"));
    }

    #[test]
    fn template_arguments_are_kept_as_they_are_written() {
        let text = "train = 'a'\n[template_arguments]\ndate_string = 2024-07-26\n\
                    list = [1979-05-27T07:32:00Z, { at = 07:32:00 }]\nx = 111.18248007596868";
        let arguments = parse(text).unwrap().template_arguments;
        let wanted = serde_json::json!({"date_string": "2024-07-26", "x": 111.182_480_075_968_68,
                                        "list": ["1979-05-27T07:32:00Z", {"at": "07:32:00"}]});
        assert_eq!(Value::Object(arguments), wanted);
        for number in ["inf", "-inf", "nan"] {
            let text = format!("train = 'a'\ntemplate_arguments = {{ a = [{number}] }}");
            let error = parse(&text).unwrap_err().to_string();
            assert!(error.contains("out of range"), "{error}");
        }
        assert!(parse("train = 'a'\ntemplate_arguments = 2024-07-26").is_err());
    }

    #[test]
    fn unknown_fields_and_values_are_named() {
        for (text, name) in [
            ("train = 'a'\nmax_len = 5", "max_len"),
            ("train = { path = 'a', fromat = 'x' }", "fromat"),
            ("train = ['a', { paht = 'a' }]", "paht"),
            ("train = { path = 'a', weight = 'x' }", "weight"),
            ("train = 'a'\nover_length = 'cut'", "cut"),
            ("train = 'a'\ntargets = 'all'", "all"),
            ("train = 5", "a path"),
        ] {
            let message = parse(text).unwrap_err().to_string();
            assert!(message.contains(name), "{text}: {message}");
        }
    }

    #[test]
    fn the_schema_documents_every_field() {
        let schema = serde_json::to_value(schemars::schema_for!(DataConfig)).unwrap();
        for (name, field) in schema["properties"].as_object().unwrap() {
            assert!(field["description"].is_string(), "{name}");
        }
        assert_eq!(schema["additionalProperties"], false);
    }
}
