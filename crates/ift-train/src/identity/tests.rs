//! Every field of a recipe and every kind of contents counts.

use serde_json::json;

use super::*;
use crate::change::STRUCTURE;
use crate::resume::accepted_changes;

/// Recipes that together have every field there is: every method, every optimizer, and every
/// field that may be left out.
fn recipes() -> Vec<Recipe> {
    let schema = serde_json::to_value(schemars::schema_for!(Recipe)).unwrap();
    let names = |of: &str| -> Vec<String> {
        let variants = schema["$defs"][of]["oneOf"].as_array().unwrap();
        let name = |v: &Value| v["properties"]["name"]["const"].as_str().unwrap().to_owned();
        variants.iter().map(name).collect()
    };
    let (methods, optimizers) = (names("Method"), names("Optimizer"));
    assert!(methods.len() >= 16 && optimizers.len() == 4, "{methods:?} {optimizers:?}");
    let recipe = |(i, method): (usize, &String)| {
        let optimizer = &optimizers[i % optimizers.len()];
        let text = format!(
            "model.path = 'm'\noutput.dir = 'o'\nmethod.name = '{method}'\n\
             optimizer.name = '{optimizer}'\n\
             data = {{ train = 'd', eval = 'e', eval_fraction = 0.1, template = 't', max_rows \
             = 3, columns = {{ prompt = 'q' }}, ignore = ['i'], template_arguments = {{ a = 1 }} \
             }}\n\
             schedule = {{ warmup_steps = 1, warmup_ratio = 0.1 }}\n\
             train = {{ steps = 3, ema_decay = 0.5 }}\nreference.path = 'r'\n\
             adapter.path = 'a'\n"
        );
        Recipe::from_toml(&text).unwrap()
    };
    methods.iter().enumerate().map(recipe).collect()
}

fn of(recipe: Value) -> Identity {
    let contents =
        CONTENTS.iter().map(|(name, _)| ((*name).to_owned(), "0123456789abcdef".to_owned()));
    Identity { recipe, contents: contents.collect() }
}

/// Puts another value into a field.
fn changed(recipe: &Value, field: &str) -> Value {
    let mut recipe = recipe.clone();
    let place = format!("/{}", field.replace('.', "/"));
    *recipe.pointer_mut(&place).unwrap() = json!("another");
    recipe
}

fn check(then: &Identity, now: &Identity, accepted: &[&str]) -> Result<Vec<Change>, String> {
    let accepted: Vec<String> = accepted.iter().map(|&field| field.to_owned()).collect();
    accepted_changes(then, now, &accepted, Path::new("c")).map_err(|e| e.to_string())
}

#[test]
fn every_field_is_free_or_stands_for_contents_or_is_refused() {
    let (mut seen, mut refused) = (BTreeSet::new(), 0);
    for recipe in recipes() {
        let recipe = as_read(&recipe);
        let then = of(recipe.clone());
        for field in leaves(&recipe).into_keys() {
            let now = of(changed(&recipe, &field));
            seen.insert(field.clone());
            if not_compared(&field).is_some() {
                assert_eq!(check(&then, &now, &[]), Ok(Vec::new()), "{field}");
                let message = check(&then, &now, &[&field]).unwrap_err();
                assert!(message.contains("may change freely"), "{message}");
                continue;
            }
            refused += 1;
            let message = check(&then, &now, &[]).unwrap_err();
            let what = format!("`{field}` was {}, is \"another\"", leaves(&recipe)[&field]);
            assert!(message.contains(&what), "{message}");
            if then.changes(&now)[0].is_structure() {
                let message = check(&then, &now, &[&field]).unwrap_err();
                assert!(message.contains("cannot be resumed with another"), "{message}");
            } else {
                assert!(message.contains(&format!("`--accept {field}`")), "{message}");
                let accepted = check(&then, &now, &[&field]).unwrap();
                assert_eq!((accepted.len(), &accepted[0].field), (1, &field));
            }
        }
    }
    assert!(refused > 100, "{refused}");
    // Nothing on the lists is misspelt or gone.
    let listed = FREE.iter().chain(BY_CONTENTS.iter().map(|(field, _)| field));
    for field in listed.chain(&STRUCTURE) {
        assert!(seen.contains(*field), "{field}");
    }
    all_fields_of_the_schema_are(&seen);
}

/// Every field that the schema knows is among those that were changed.
fn all_fields_of_the_schema_are(seen: &BTreeSet<String>) {
    let schema = serde_json::to_value(schemars::schema_for!(Recipe)).unwrap();
    let mut fields = BTreeSet::new();
    walk(&schema, &schema, "", &mut fields);
    // A table whose keys the user chooses is seen by one of them.
    let found = |field: &str| {
        seen.contains(field) || seen.iter().any(|seen| seen.starts_with(&format!("{field}.")))
    };
    // Stages are recipes of their own; a word stands for a table of `reference`.
    let missing: Vec<&String> =
        fields.iter().filter(|f| !f.starts_with("stage") && !found(f)).collect();
    assert!(fields.len() > 80 && missing.is_empty(), "{}: {missing:?}", fields.len());
}

/// Collects the dotted names of all fields below a schema. Lists count as one field.
fn walk(root: &Value, schema: &Value, at: &str, fields: &mut BTreeSet<String>) {
    if let Some(name) = schema["$ref"].as_str() {
        return walk(root, &root["$defs"][name.rsplit('/').next().unwrap()], at, fields);
    }
    for key in ["oneOf", "anyOf", "allOf"] {
        for variant in schema[key].as_array().into_iter().flatten() {
            walk(root, variant, at, fields);
        }
    }
    let Some(properties) = schema["properties"].as_object() else { return };
    for (name, field) in properties {
        let field_at = if at.is_empty() { name.clone() } else { format!("{at}.{name}") };
        let mut below = BTreeSet::new();
        // A source of data is an entry of a list.
        if !["data.train", "data.eval"].contains(&field_at.as_str()) {
            walk(root, field, &field_at, &mut below);
        }
        if below.is_empty() {
            below.insert(field_at);
        }
        fields.extend(below);
    }
}

#[test]
fn fields_that_only_one_side_has_differ() {
    let [then, now] = ["rmsprop", "adamw"].map(|name| {
        let text = format!("model.path = 'm'\noutput.dir = 'o'\noptimizer.name = '{name}'");
        of(as_read(&Recipe::from_toml(&text).unwrap()))
    });
    let message = check(&then, &now, &[]).unwrap_err();
    for part in [
        "the recipe has changed since the checkpoint `c`: ",
        "`optimizer.alpha` was 0.99, is unset",
        "`optimizer.beta1` was unset, is 0.9",
        "`optimizer.name` was \"rmsprop\", is \"adamw\"",
        "another `optimizer.name`, which decides what it holds",
    ] {
        assert!(message.contains(part), "{message}");
    }
}

#[test]
fn contents_differ_and_are_accepted_by_name() {
    let recipe = as_read(&recipes()[0]);
    let then = of(recipe.clone());
    for (name, meaning) in CONTENTS {
        for other in [Some("ffff456789abcdef"), None] {
            let mut now = of(recipe.clone());
            now.contents.remove(name);
            now.contents.extend(other.map(|text| (name.to_owned(), text.to_owned())));
            let message = check(&then, &now, &[]).unwrap_err();
            let is = other.map_or("unset", |_| "ffff456789ab");
            let text = format!("`{name}` ({meaning}) was 0123456789ab, is {is}");
            assert!(message.contains(&text), "{message}");
            assert!(message.contains(&format!("`--accept {name}`")), "{message}");
            assert_eq!(check(&then, &now, &[name]).unwrap().len(), 1);
        }
    }
}

#[test]
fn only_what_has_changed_can_be_accepted() {
    let recipe = as_read(&recipes()[0]);
    let (then, now) = (of(recipe.clone()), of(changed(&recipe, "train.seed")));
    for (accepted, problem) in [
        ("train.epochs", "has not changed since the checkpoint; expected one of `train.seed`"),
        ("data", "has not changed since the checkpoint; expected one of `train.seed`"),
        ("train.epoch", "is neither a field of the recipe nor the name of contents; expected"),
        ("train.threads", "may change freely; expected one of `train.seed`"),
        ("model.path", "only the contents count (`--accept model`)"),
    ] {
        let message = check(&then, &now, &["train.seed", accepted]).unwrap_err();
        assert!(message.contains(&format!("`--accept {accepted}`: ")), "{message}");
        assert!(message.contains(problem), "{message}");
    }
    let message = check(&then, &then, &["train.seed"]).unwrap_err();
    assert!(message.contains("leave `--accept` out"), "{message}");
}

/// Decimals that JSON rounds are the same after a save.
#[test]
fn an_identity_survives_its_file() {
    let text = "model.path = 'm'\noutput.dir = 'o'\n\
                optimizer = { name = 'adamw', lr = 1.2345678901234567e-5, beta2 = 0.1 }";
    let identity = of(as_read(&Recipe::from_toml(text).unwrap()));
    let text = serde_json::to_string_pretty(&identity).unwrap();
    let read: Identity = serde_json::from_str(&text).unwrap();
    assert_eq!(check(&read, &identity, &[]), Ok(Vec::new()));
}
