//! The `[method]` table: names, defaults, refusals.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

mod every;
mod rows;

use every::every_method;
use ift_methods::{
    Ift, KlDirection, LookAhead, LookAheadKind, Method, MethodError, Minimum, Needs, Norm,
    Reduction, RowKind, Side,
};
use rows::{Row, scores};

fn parse(text: &str) -> Result<Method, String> {
    toml::from_str(text).map_err(|error: toml::de::Error| error.message().to_owned())
}

fn refused(text: &str) -> MethodError {
    parse(text).unwrap().validate().unwrap_err()
}

#[test]
fn defaults_are_the_published_ones() {
    let ift = parse("name = 'ift'").unwrap();
    assert_eq!(ift, Method::Ift(Ift::default()));
    assert_eq!(ift.lambda_at(0, 10, 0), 0.2);
    assert_eq!((ift.reduction(), ift.look_ahead()), (Reduction::Sequence, Some(LookAhead::Greedy)));
    assert!(!ift.trains_input_embeddings());
    let sft = parse("name = 'sft'").unwrap();
    assert_eq!((sft.reduction(), sft.look_ahead()), (Reduction::Sequence, None));
    assert!(sft.trains_input_embeddings());
    let frozen = parse("name = 'sft'\nfreeze_input_embeddings = true").unwrap();
    assert!(!frozen.trains_input_embeddings());
    assert_eq!(frozen.look_ahead(), None);
    assert_eq!(parse("name = 'lm'").unwrap().reduction(), Reduction::Token);
}

#[test]
fn every_field_is_read_and_written_again() {
    let method = parse(
        "name = 'ift'\nlambda = 0.3\nnorm = 'L2'\nside = 'right'\nminimum = 'row'\n\
         look_ahead = 'topk'\nk = 3\nreduction = 'token'",
    )
    .unwrap();
    let expected = Ift {
        lambda: 0.3,
        norm: Norm::L2,
        side: Side::Right,
        minimum: Minimum::Row,
        look_ahead: LookAheadKind::Topk,
        k: 3,
        reduction: Reduction::Token,
        ..Ift::default()
    };
    assert_eq!(method, Method::Ift(expected));
    assert_eq!(method.validate(), Ok(()));
    assert_eq!(method.look_ahead(), Some(LookAhead::TopK { k: 3 }));
    assert_eq!(parse(&toml::to_string(&method).unwrap()).unwrap(), method);
}

#[test]
fn unknown_and_foreign_fields_are_refused_by_name() {
    let unknown = parse("name = 'ift'\nlamda = 0.3").unwrap_err();
    assert!(unknown.contains("unknown field `lamda`") && unknown.contains("`lambda`"), "{unknown}");
    let foreign = parse("name = 'sft'\ngamma = 0.9").unwrap_err();
    assert!(foreign.contains("unknown field `gamma`"), "{foreign}");
    let name = parse("name = 'itf'").unwrap_err();
    assert!(name.contains("`itf`") && name.contains("`ift`"), "{name}");
}

#[test]
fn values_out_of_range_are_named() {
    for (field, value) in [
        ("lambda", "1.5"),
        ("gamma", "-0.1"),
        ("gamma", "nan"),
        ("min_lambda", "2.0"),
        ("max_lambda", "-1.0"),
        ("sigma", "-0.5"),
        ("temperature", "0.0"),
        ("k", "0"),
    ] {
        let error = refused(&format!("name = 'ift'\n{field} = {value}"));
        assert!(matches!(error, MethodError::OutOfRange { .. }), "{error}");
        assert_eq!(error.field(), field);
    }
    let error =
        refused("name = 'ift'\nlambda_schedule = 'linear'\nmin_lambda = 0.5\nmax_lambda = 0.25");
    assert_eq!(error.to_string(), "`max_lambda` is 0.25, expected `min_lambda` or more");
}

#[test]
fn fields_without_effect_are_named() {
    for (field, value) in [
        ("min_lambda", "0.1"),
        ("max_lambda", "0.1"),
        ("sigma", "0.1"),
        ("k", "3"),
        ("temperature", "1.0"),
        ("minimum", "'row'"),
    ] {
        let error = refused(&format!("name = 'ift'\n{field} = {value}"));
        assert!(matches!(error, MethodError::NoEffect { .. }), "{error}");
        assert_eq!(error.field(), field);
    }
    let error = refused("name = 'ift'\nlambda_schedule = 'linear'\nlambda = 0.3");
    assert_eq!(error.field(), "lambda");
    for formula in ["paper", "equation", "algorithm"] {
        for setting in ["source = 'mask'", "side = 'right'", "norm = 'L2'", "detach_weights = true"]
        {
            let error = refused(&format!("name = 'ift'\nformula = '{formula}'\n{setting}"));
            assert_eq!(Some(error.field()), setting.split(' ').next());
        }
    }
    let error = refused("name = 'ift'\nformula = 'algorithm'\nnorm = 'L2'");
    assert_eq!(
        error.to_string(),
        "`norm` = L2 has no effect: it applies only with `formula = \"code\"`; remove it or set \
         `formula = \"code\"`"
    );
}

#[test]
fn every_method_is_named_as_in_recipes_and_survives_being_written() {
    const NAMES: [&str; 16] = [
        "lm",
        "sft",
        "ift",
        "dpo",
        "ipo",
        "orpo",
        "simpo",
        "tdpo1",
        "tdpo2",
        "kto",
        "dft",
        "asft",
        "eaft",
        "iw_sft",
        "psft",
        "scheduled_sampling",
    ];
    let mut seen = Vec::new();
    for method in every_method() {
        assert_eq!(method.validate(), Ok(()), "{method:?}");
        let text = toml::to_string(&method).unwrap();
        assert_eq!(parse(&text).unwrap(), method, "{text}");
        let table: toml::Table = toml::from_str(&text).unwrap();
        seen.push(table["name"].as_str().unwrap().to_owned());
    }
    seen.dedup();
    assert_eq!(seen, NAMES);
    for name in NAMES {
        let unknown = parse(&format!("name = '{name}'\nbetta = 1.0")).unwrap_err();
        assert!(unknown.contains("unknown field `betta`"), "{name}: {unknown}");
    }
}

/// The numbers a method has when a recipe says nothing but its name.
#[test]
fn defaults() {
    for (name, expected) in [
        ("dpo", "beta = 0.1\nlabel_smoothing = 0.0\nreference_free = false\n"),
        ("ipo", "beta = 0.1\nipo_average = false\n"),
        ("orpo", "beta = 0.25\n"),
        ("simpo", "beta = 2.0\ngamma_beta_ratio = 0.8\n"),
        ("tdpo1", "beta = 0.1\n"),
        ("tdpo2", "beta = 0.1\nalpha = 0.5\n"),
        ("kto", "beta = 0.1\ndesirable_weight = 1.0\nundesirable_weight = 1.0\n"),
        ("dft", "reduction = \"token\"\n"),
        ("asft", "lambda = 0.05\ndirection = \"forward\"\nreduction = \"token\"\n"),
        ("eaft", "alpha = 1.0\nk = 20\nreduction = \"token\"\n"),
        (
            "iw_sft",
            "level = \"sequence\"\ntemperature = 1.0\nmax_weight = 16.0\nepsilon = 0.8\n\
             reduction = \"token\"\n",
        ),
        ("psft", "epsilon = 0.28\nwindow = 8\nreduction = \"token\"\n"),
        (
            "scheduled_sampling",
            "lambda = 0.2\nlambda_schedule = \"fixed\"\nmin_lambda = 0.0\nmax_lambda = 0.2\n\
             sigma = 0.5\nreduction = \"sequence\"\n",
        ),
    ] {
        let method = parse(&format!("name = '{name}'")).unwrap();
        assert_eq!(toml::to_string(&method).unwrap(), format!("name = \"{name}\"\n{expected}"));
    }
}

#[test]
fn what_each_method_needs() {
    let only =
        |rows| Needs { rows, reference: false, old_policy: None, divergence: None, entropy: None };
    let reference = |rows| Needs { reference: true, ..only(rows) };
    let divergence = |rows, direction| Needs { divergence: Some(direction), ..reference(rows) };
    for (settings, needs) in [
        ("name = 'lm'", only(RowKind::Text)),
        ("name = 'sft'", only(RowKind::Demonstration)),
        ("name = 'ift'", only(RowKind::Demonstration)),
        ("name = 'dpo'", reference(RowKind::Pair)),
        ("name = 'dpo'\nreference_free = true", only(RowKind::Pair)),
        ("name = 'ipo'", reference(RowKind::Pair)),
        ("name = 'orpo'", only(RowKind::Pair)),
        ("name = 'simpo'", only(RowKind::Pair)),
        ("name = 'tdpo1'", divergence(RowKind::Pair, KlDirection::Forward)),
        ("name = 'tdpo2'", divergence(RowKind::Pair, KlDirection::Forward)),
        ("name = 'kto'", reference(RowKind::Judged)),
        ("name = 'dft'", only(RowKind::Demonstration)),
        ("name = 'asft'", divergence(RowKind::Demonstration, KlDirection::Forward)),
        (
            "name = 'asft'\ndirection = 'reverse'",
            divergence(RowKind::Demonstration, KlDirection::Reverse),
        ),
        ("name = 'eaft'\nk = 7", Needs { entropy: Some(7), ..only(RowKind::Demonstration) }),
        ("name = 'iw_sft'", reference(RowKind::Demonstration)),
        ("name = 'psft'", Needs { old_policy: Some(8), ..reference(RowKind::Demonstration) }),
        ("name = 'psft'\nwindow = 0", reference(RowKind::Demonstration)),
        ("name = 'scheduled_sampling'", only(RowKind::Demonstration)),
    ] {
        assert_eq!(parse(settings).unwrap().needs(), needs, "{settings}");
    }
}

#[test]
fn two_passes_are_those_of_ift_and_scheduled_sampling() {
    for method in every_method() {
        let two = matches!(method, Method::Ift(_) | Method::ScheduledSampling(_));
        assert_eq!(method.look_ahead().is_some(), two, "{method:?}");
        assert_eq!(method.lambda_at(0, 0, 0), if two { 0.2 } else { 0.0 });
        assert_eq!(method.replaces_tokens(), matches!(method, Method::ScheduledSampling(_)));
        assert_eq!(method.trains_input_embeddings(), !matches!(method, Method::Ift(_)));
    }
    let growing = parse(
        "name = 'scheduled_sampling'\nlambda_schedule = 'linear'\nmin_lambda = 0.25\n\
         max_lambda = 0.75",
    )
    .unwrap();
    assert_eq!(growing.validate(), Ok(()));
    assert_eq!([0, 2, 4, 5].map(|step| growing.lambda_at(step, 4, 0)), [0.25, 0.5, 0.75, 0.75]);
}

#[test]
fn settings_of_the_other_methods_out_of_range_are_named() {
    for (name, field, value, expected) in [
        ("dpo", "beta", "0.0", "a number from 1e-9 to 1e9"),
        ("dpo", "beta", "inf", "a number from 1e-9 to 1e9"),
        ("dpo", "label_smoothing", "0.6", "a number from 0 to 0.5"),
        ("dpo", "label_smoothing", "nan", "a number from 0 to 0.5"),
        ("ipo", "beta", "-1.0", "a number from 1e-9 to 1e9"),
        ("orpo", "beta", "-0.1", "a number from 0 to 1e9"),
        ("simpo", "beta", "0.0", "a number from 1e-9 to 1e9"),
        ("simpo", "gamma_beta_ratio", "-0.5", "a number from 0 to 1e9"),
        ("tdpo1", "beta", "0.0", "a number from 1e-9 to 1e9"),
        ("tdpo2", "beta", "0.0", "a number from 1e-9 to 1e9"),
        ("tdpo2", "alpha", "-0.5", "a number from 0 to 1e9"),
        ("kto", "beta", "0.0", "a number from 1e-9 to 1e9"),
        ("kto", "desirable_weight", "-1.0", "a number from 0 to 1e9"),
        ("kto", "undesirable_weight", "nan", "a number from 0 to 1e9"),
        ("asft", "lambda", "-0.1", "a number from 0 to 1e9"),
        ("eaft", "alpha", "-1.0", "a number from 0 to 1e9"),
        ("eaft", "k", "1", "a whole number, 2 or more"),
        ("iw_sft", "temperature", "-1.0", "a number from 0 to 1e9"),
        ("iw_sft", "max_weight", "0.0", "a number from 1e-9 to 1e9"),
        ("iw_sft", "epsilon", "1.5", "a number from 0 to 1"),
        ("psft", "epsilon", "-0.1", "a number from 0 to 1e9"),
        ("scheduled_sampling", "lambda", "1.1", "a number from 0 to 1"),
        ("scheduled_sampling", "sigma", "-1.0", "a number from 0 to 1e9"),
    ] {
        let error = refused(&format!("name = '{name}'\n{field} = {value}"));
        let found = value.trim_end_matches(".0").replace("nan", "NaN");
        assert_eq!(
            error.to_string(),
            format!("`{field}` is {found}, expected {expected}"),
            "{name}"
        );
    }
}

#[test]
fn settings_of_the_other_methods_without_effect_are_named() {
    for (settings, field, condition) in [
        ("name = 'iw_sft'\nepsilon = 0.5", "epsilon", "`level = \"token\"`"),
        (
            "name = 'iw_sft'\nlevel = 'token'\ntemperature = 2.0",
            "temperature",
            "`level = \"sequence\"`",
        ),
        (
            "name = 'iw_sft'\nlevel = 'token'\nmax_weight = 2.0",
            "max_weight",
            "`level = \"sequence\"`",
        ),
        (
            "name = 'scheduled_sampling'\nmin_lambda = 0.1",
            "min_lambda",
            "`lambda_schedule = \"linear\"`",
        ),
    ] {
        let error = refused(settings);
        assert_eq!(error.field(), field);
        assert!(
            matches!(error, MethodError::NoEffect { condition: found, .. } if found == condition),
            "{error}"
        );
    }
}

/// Every number of every method, set to values at and beyond the ends: a value is refused by the
/// name of its field, or the method stays finite.
#[test]
fn a_value_is_refused_or_gives_finite_losses() {
    let ends = [
        f64::NAN,
        f64::INFINITY,
        f64::NEG_INFINITY,
        f64::MIN_POSITIVE,
        f64::MAX,
        -1.0,
        -0.0,
        0.0,
        1e-9,
        0.5,
        1.0,
        1e9,
    ];
    let row = |chosen, logps, reference| Row {
        logps,
        reference,
        positions: vec![1, 2, 5],
        divergence: vec![0.1, 0.0, 2.0],
        entropy: vec![0.5, 1.5, 0.0],
        target_weights: vec![1.0, 0.5, 4.0],
        chosen,
    };
    let rows = [
        row(true, vec![-0.5, -3.0, -1e-3], vec![-0.7, -2.0, -1e-3]),
        row(false, vec![-2.5, -0.1, -9.0], vec![-0.7, -30.0, -1.0]),
    ];
    let (mut refused, mut used) = (0, 0);
    let others = [
        "lambda_schedule = 'noisy'",
        "lambda_schedule = 'linear'",
        "look_ahead = 'topk'",
        "look_ahead = 'sample'",
        "side = 'right'\nnorm = 'log'\nminimum = 'row'",
    ];
    let others = others.map(|settings| parse(&format!("name = 'ift'\n{settings}")).unwrap());
    for method in every_method().into_iter().chain(others) {
        let table: toml::Table = toml::from_str(&toml::to_string(&method).unwrap()).unwrap();
        for (field, value) in &table {
            for end in ends {
                let mut table = table.clone();
                let new = match value {
                    toml::Value::Float(_) => toml::Value::Float(end),
                    toml::Value::Integer(_) if end >= 0.0 => toml::Value::Integer(end as i64),
                    _ => continue,
                };
                table.insert(field.clone(), new);
                let Ok(method) = table.try_into::<Method>() else { continue };
                if let Err(error) = method.validate() {
                    assert!(error.to_string().contains(&format!("`{field}`")), "{error}");
                    refused += 1;
                    continue;
                }
                let scores = scores(&rows);
                for loss in &method.losses(&scores, method.kl_point(&scores)) {
                    let slopes = loss.gradient.iter().chain(&loss.divergence_gradient);
                    let mut values = slopes.chain(&loss.weights).chain([&loss.sum]);
                    assert!(values.all(|value| value.is_finite()), "{method:?}: {loss:?}");
                }
                for step in 0..50 {
                    let lambda = method.lambda_at(step, 10, 3);
                    assert!((0.0..=1.0).contains(&lambda), "{method:?}: {lambda}");
                }
                used += 1;
            }
        }
    }
    assert!(refused > 300 && used > 150, "{refused} refused, {used} used");
}
