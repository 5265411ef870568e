//! Checks TOML values against the JSON schema of the settings that they are converted to.
//!
//! It knows the keywords that `schemars` uses for Rust types and ignores others: serde checks the
//! values again.

use serde_json::Value as Schema;
use toml::{Table, Value};

use crate::place::FieldPath;

mod wording;

use wording::{bound, constants, expected, found, listed, nearest, target};

/// One thing wrong with one field.
pub(crate) struct Finding {
    /// The field.
    pub(crate) path: FieldPath,
    /// The field's full path, what was found and what was expected.
    pub(crate) message: String,
    /// Advice on how to correct it.
    pub(crate) help: Option<String>,
}

/// Finds everything in `value` that `schema` does not allow.
pub(crate) fn check(value: &Value, schema: &Schema) -> Vec<Finding> {
    let mut check = Check { root: schema, findings: Vec::new() };
    check.value(&FieldPath::default(), value, schema);
    check.findings
}

struct Check<'a> {
    root: &'a Schema,
    findings: Vec<Finding>,
}

/// Tables that are distinguished by the value of one field, the tag.
struct Variants<'a> {
    tag: &'a str,
    /// The value of the tag and the schema of each table.
    tables: Vec<(&'a str, &'a Schema)>,
}

impl<'a> Check<'a> {
    fn value(&mut self, path: &FieldPath, value: &Value, schema: &'a Schema) {
        if let Some(target) = self.target(schema) {
            self.value(path, value, target);
        }
        for part in array(schema, "allOf") {
            self.value(path, value, part);
        }
        for keyword in ["oneOf", "anyOf"] {
            let alternatives: Vec<_> = array(schema, keyword)
                .iter()
                .map(|part| self.target(part).unwrap_or(part))
                .collect();
            if !alternatives.is_empty() {
                self.alternatives(path, value, &alternatives);
            }
        }
        if let Some(names) = constants(schema) {
            self.constant(path, value, &names);
        } else if !has_type(value, schema) {
            self.unexpected(path, value, &expected(&[schema], self.root));
        } else {
            match value {
                Value::Table(table) => self.table(path, table, schema, None),
                Value::Array(elements) => self.array(path, elements, schema),
                Value::Integer(number) => self.range(path, value, *number as f64, schema),
                Value::Float(number) => self.range(path, value, *number, schema),
                Value::String(_) | Value::Boolean(_) | Value::Datetime(_) => {}
            }
        }
    }

    fn table(
        &mut self,
        path: &FieldPath,
        table: &Table,
        schema: &'a Schema,
        variants: Option<&Variants>,
    ) {
        let properties = schema.get("properties").and_then(Schema::as_object);
        let additional = schema.get("additionalProperties");
        for (key, value) in table {
            let property = properties.and_then(|properties| properties.get(key));
            match (property, additional) {
                (Some(property), _) => self.value(&path.key(key), value, property),
                (None, Some(Schema::Bool(false))) => {
                    let names: Vec<_> = properties
                        .into_iter()
                        .flat_map(|map| map.keys())
                        .map(String::as_str)
                        .collect();
                    self.unknown(path, key, &names, variants);
                }
                (None, Some(additional)) => self.value(&path.key(key), value, additional),
                (None, None) => {}
            }
        }
        for name in array(schema, "required").iter().filter_map(Schema::as_str) {
            if !table.contains_key(name) {
                let property = properties.and_then(|properties| properties.get(name));
                self.missing(&path.key(name), property);
            }
        }
    }

    fn array(&mut self, path: &FieldPath, elements: &[Value], schema: &'a Schema) {
        let fixed = array(schema, "prefixItems");
        for (index, element) in elements.iter().enumerate() {
            if let Some(item) = fixed.get(index).or_else(|| schema.get("items")) {
                self.value(&path.key(&index.to_string()), element, item);
            }
        }
    }

    fn range(&mut self, path: &FieldPath, value: &Value, number: f64, schema: &Schema) {
        let bound = |keyword| bound(schema, keyword);
        let (least, most) = (bound("minimum"), bound("maximum"));
        let (above, below) = (bound("exclusiveMinimum"), bound("exclusiveMaximum"));
        let fits = least.is_none_or(|least| number >= least)
            && most.is_none_or(|most| number <= most)
            && above.is_none_or(|above| number > above)
            && below.is_none_or(|below| number < below);
        if !fits {
            self.unexpected(path, value, &expected(&[schema], self.root));
        }
    }

    /// Checks a value that may have one of several forms.
    fn alternatives(&mut self, path: &FieldPath, value: &Value, alternatives: &[&'a Schema]) {
        // TOML has no null: an optional field is left out.
        let forms: Vec<_> = alternatives
            .iter()
            .copied()
            .filter(|form| form.get("type") != Some(&"null".into()))
            .collect();
        let names: Option<Vec<_>> = forms.iter().map(|form| constants(form)).collect();
        if let [form] = forms[..] {
            self.value(path, value, form);
        } else if let Some(names) = names {
            self.constant(path, value, &names.concat());
        } else if let (Value::Table(table), Some(variants)) = (value, variants(&forms)) {
            self.tagged(path, table, &variants);
        } else {
            self.nearest_form(path, value, &forms);
        }
    }

    fn tagged(&mut self, path: &FieldPath, table: &Table, variants: &Variants<'a>) {
        let names: Vec<_> = variants.tables.iter().map(|(name, _)| *name).collect();
        let path_of_tag = path.key(variants.tag);
        match table.get(variants.tag) {
            None => self.findings.push(Finding {
                message: format!("missing field `{path_of_tag}`"),
                help: Some(format!("set it to {}", listed(&names, '"'))),
                // The tag is missing, so the place is that of its table.
                path: path_of_tag,
            }),
            Some(tag) => {
                let chosen = variants.tables.iter().find(|(name, _)| tag.as_str() == Some(name));
                match chosen {
                    Some((_, schema)) => self.table(path, table, schema, Some(variants)),
                    None => self.constant(&path_of_tag, tag, &names),
                }
            }
        }
    }

    /// Untagged forms: one that fits is enough. If none fits, reports the findings of the form with
    /// the value's type, or that there is no such form.
    fn nearest_form(&mut self, path: &FieldPath, value: &Value, forms: &[&'a Schema]) {
        let tried = forms.iter().map(|form| {
            let mut check = Check { root: self.root, findings: Vec::new() };
            check.value(path, value, form);
            check.findings
        });
        let mut inside = Vec::new();
        for findings in tried {
            if findings.is_empty() {
                return;
            }
            if findings.iter().all(|finding| finding.path != *path) {
                inside = findings;
            }
        }
        if inside.is_empty() {
            self.unexpected(path, value, &expected(forms, self.root));
        } else {
            self.findings.extend(inside);
        }
    }

    fn constant(&mut self, path: &FieldPath, value: &Value, names: &[&str]) {
        if value.as_str().is_some_and(|text| names.contains(&text)) {
            return;
        }
        self.unexpected(path, value, &listed(names, '"'));
        let near = value.as_str().and_then(|text| nearest(text, names));
        if let (Some(finding), Some(near)) = (self.findings.last_mut(), near) {
            finding.help = Some(format!("did you mean \"{near}\"?"));
        }
    }

    fn unexpected(&mut self, path: &FieldPath, value: &Value, expected: &str) {
        self.findings.push(Finding {
            path: path.clone(),
            message: format!("`{path}` is {}, expected {expected}", found(value)),
            help: None,
        });
    }

    fn unknown(
        &mut self,
        path: &FieldPath,
        key: &str,
        names: &[&str],
        variants: Option<&Variants>,
    ) {
        let owner = variants.and_then(|variants| {
            let has = |schema: &Schema| {
                schema.get("properties").is_some_and(|names| names.get(key).is_some())
            };
            let owner = variants.tables.iter().find(|(_, schema)| has(schema));
            owner.map(|(name, _)| format!("`{key}` belongs to `{} = \"{name}\"`", variants.tag))
        });
        let near = || nearest(key, names).map(|near| format!("did you mean `{near}`?"));
        let all = || format!("valid names here are {}", listed(names, '`'));
        let path = path.key(key);
        self.findings.push(Finding {
            message: format!("unknown field `{path}`"),
            help: Some(owner.or_else(near).unwrap_or_else(all)),
            path,
        });
    }

    fn missing(&mut self, path: &FieldPath, property: Option<&Schema>) {
        self.findings.push(Finding {
            path: path.clone(),
            message: format!("missing field `{path}`"),
            help: property.map(|schema| format!("set it to {}", expected(&[schema], self.root))),
        });
    }

    /// The schema that a `$ref` points to.
    fn target(&self, schema: &Schema) -> Option<&'a Schema> {
        target(schema, self.root)
    }
}

fn array<'a>(schema: &'a Schema, keyword: &str) -> &'a [Schema] {
    schema.get(keyword).and_then(Schema::as_array).map_or(&[], Vec::as_slice)
}

/// Whether the schema lists the value's type; a schema without types allows every one.
fn has_type(value: &Value, schema: &Schema) -> bool {
    let fits = |name: &Schema| {
        matches!(
            (name.as_str(), value),
            (Some("string"), Value::String(_))
                | (Some("integer" | "number"), Value::Integer(_))
                | (Some("number"), Value::Float(_))
                | (Some("boolean"), Value::Boolean(_))
                | (Some("array"), Value::Array(_))
                | (Some("object"), Value::Table(_))
        )
    };
    match schema.get("type") {
        Some(Schema::Array(names)) => names.iter().any(fits),
        Some(name) => fits(name),
        None => true,
    }
}

/// The field that has a different constant in every form, and the forms by that constant.
fn variants<'a>(forms: &[&'a Schema]) -> Option<Variants<'a>> {
    fn properties(form: &Schema) -> Option<&serde_json::Map<String, Schema>> {
        form.get("properties")?.as_object()
    }
    fn fixed<'a>(form: &'a Schema, tag: &str) -> Option<(&'a str, &'a Schema)> {
        Some((properties(form)?.get(tag)?.get("const")?.as_str()?, form))
    }
    properties(forms.first()?)?.keys().find_map(|tag| {
        let tables = forms.iter().map(|form| fixed(form, tag)).collect::<Option<Vec<_>>>()?;
        Some(Variants { tag, tables })
    })
}
