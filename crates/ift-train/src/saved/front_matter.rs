//! The YAML header of a model card: what is read of a base's, and how values are written.

use std::fs;
use std::path::Path;

use ift_model::HubModel;
use serde_json::Value;

/// The licence of a model, as the Hub names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct License {
    /// `license`, and where it is `other`, `license_name` and `license_link`.
    fields: Vec<(&'static str, String)>,
}

impl License {
    /// That of a model folder: of the header of its `README.md`, or its licence text where that is
    /// a common one.
    pub fn of(folder: &Path) -> Option<Self> {
        let readme = read_card(folder);
        let fields: Vec<_> = ["license", "license_name", "license_link"]
            .into_iter()
            .filter_map(|name| Some((name, field(&readme, name)?)))
            .collect();
        if fields.first().is_some_and(|(name, _)| *name == "license") {
            return Some(Self { fields });
        }
        let texts = ["LICENSE", "LICENSE.txt", "LICENSE.md"];
        let text = texts.iter().find_map(|name| fs::read_to_string(folder.join(name)).ok())?;
        let name = if text.contains("Apache License") && text.contains("Version 2.0") {
            "apache-2.0"
        } else if text.contains("MIT License") {
            "mit"
        } else {
            "other"
        };
        Some(Self { fields: vec![("license", name.to_owned())] })
    }

    pub fn name(&self) -> &str {
        self.fields.get(1).or(self.fields.first()).map_or("", |(_, value)| value)
    }
}

/// The header of a card.
pub(super) struct FrontMatter<'a> {
    pub base: &'a str,
    /// How it comes from the base: `finetune`, `adapter` or `merge`.
    pub relation: &'a str,
    pub datasets: &'a [String],
    pub license: Option<&'a License>,
    pub library: &'a str,
    pub tags: &'a [&'a str],
}

impl FrontMatter<'_> {
    /// The header with its fences. Texts are quoted, so that none is read as something else.
    pub fn text(&self) -> String {
        let quoted = |text: &str| Value::from(text).to_string();
        let mut out = vec!["---".to_owned()];
        // The Hub refuses a card that names what cannot be a model of it.
        if HubModel::is_name(self.base) {
            out.push(format!("base_model: {}", quoted(self.base)));
            out.push(format!("base_model_relation: {}", self.relation));
        }
        let license = self.license.iter().flat_map(|license| &license.fields);
        out.extend(license.map(|(name, value)| format!("{name}: {}", quoted(value))));
        if !self.datasets.is_empty() {
            out.push("datasets:".to_owned());
            out.extend(self.datasets.iter().map(|name| format!("- {}", quoted(name))));
        }
        out.push(format!("library_name: {}", self.library));
        out.push("pipeline_tag: text-generation\ntags:".to_owned());
        out.extend(self.tags.iter().map(|tag| format!("- {tag}")));
        out.push("---\n".to_owned());
        out.join("\n")
    }
}

/// The card of a folder, with the line ends of Unix; empty if there is none.
pub(super) fn read_card(folder: &Path) -> String {
    let card = fs::read_to_string(folder.join("README.md")).unwrap_or_default();
    card.replace("\r\n", "\n")
}

/// A field of the header of a card that is one text.
pub(super) fn field(card: &str, name: &str) -> Option<String> {
    let (header, _) = split(card)?;
    let line = header.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?.trim();
    // A quoted text, or a plain one; a comment may follow.
    let plain = || match line.strip_prefix('\'') {
        Some(quoted) => quoted.split('\'').next().unwrap_or_default(),
        None => line.split(" #").next().unwrap_or_default().trim(),
    };
    let mut quoted = serde_json::Deserializer::from_str(line).into_iter::<String>();
    let text = match quoted.next() {
        Some(Ok(text)) => text,
        _ => plain().to_owned(),
    };
    Some(text).filter(|text| !text.is_empty())
}

/// The text below the header of a card that this program wrote; `None` for other cards.
pub(super) fn own_body(card: &str) -> Option<&str> {
    let (header, body) = split(card)?;
    header.lines().any(|line| line == "- ift").then_some(body)
}

fn split(card: &str) -> Option<(&str, &str)> {
    card.strip_prefix("---\n")?.split_once("\n---\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_licence_is_read_from_the_card_or_its_text() {
        let folder = tempfile::tempdir().unwrap();
        let of = |name: &str, text: &str| {
            fs::write(folder.path().join(name), text).unwrap();
            License::of(folder.path()).map(|license| license.fields)
        };
        assert_eq!(of("config.json", "{}"), None);
        let fields = |name: &str| Some(vec![("license", name.to_owned())]);
        assert_eq!(of("LICENSE", "MIT License\n\n…"), fields("mit"));
        assert_eq!(of("LICENSE", "our own terms"), fields("other"));
        let apache = "Apache License\n   Version 2.0, January 2004";
        assert_eq!(of("LICENSE", apache), fields("apache-2.0"));
        let readme = "---\nlanguage:\n- en\nlicense: other\nlicense_name: 'gemma'\n---\n# M";
        let named = [("license", "other".to_owned()), ("license_name", "gemma".to_owned())];
        assert_eq!(of("README.md", readme), Some(named.to_vec()));
        for line in ["license: mit # free", "license: \"mit\" # free", "license: 'mit'"] {
            assert_eq!(of("README.md", &format!("---\r\n{line}\r\n---\r\n# M")), fields("mit"));
        }
        assert_eq!(of("README.md", "# no header\nlicense: mit"), fields("apache-2.0"));
    }

    #[test]
    fn a_header_is_read_back() {
        let license = License { fields: vec![("license", "mit".to_owned())] };
        let header = FrontMatter {
            base: "org/Name",
            relation: "finetune",
            datasets: &["a: b".to_owned()],
            license: Some(&license),
            library: "transformers",
            tags: &["ift", "sft"],
        };
        let card = header.text() + "\n# Title\n";
        assert!(card.contains("\ndatasets:\n- \"a: b\"\n"), "{card}");
        assert_eq!(field(&card, "base_model").as_deref(), Some("org/Name"));
        assert_eq!(own_body(&card), Some("\n# Title\n"));
        let local = FrontMatter { base: "my model", license: None, ..header };
        assert!(!local.text().contains("base_model"), "{}", local.text());
        assert_eq!(own_body(&card.replace("- ift", "- other")), None);
    }
}
