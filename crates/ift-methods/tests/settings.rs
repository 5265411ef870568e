//! The `[method]` table: names, defaults, refusals.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use ift_methods::{Ift, LookAhead, LookAheadKind, Method, MethodError, Minimum, Norm, Reduction, Side};

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
    assert_eq!(parse("name = 'lm'").unwrap().reduction(), Reduction::Token);
}

#[test]
fn every_field_is_read_and_written_again() {
    let method = parse(
        "name = 'ift'\nlambda = 0.3\nnorm = 'L2'\nside = 'right'\nminimum = 'row'\nlook_ahead = 'topk'\nk = 3\nreduction = 'token'",
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
    let error = refused("name = 'ift'\nlambda_schedule = 'linear'\nmin_lambda = 0.5\nmax_lambda = 0.25");
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
    let error = refused("name = 'ift'\nformula = 'paper'\nnorm = 'L2'");
    assert_eq!(
        error.to_string(),
        "`norm` = L2 has no effect: it applies only with `formula = \"code\"`; remove it or set `formula = \"code\"`"
    );
}
