//! Maps: parsing, reading, random maps, and errors.

use std::fs;

use ift_compare::{Comparison, Tolerance};
use ift_lake::{Cell, LakeError, LakeMap, default_limit};

#[test]
fn a_map_prints_the_letters_that_it_was_parsed_from() {
    let letters = "SFFFG\nFHFHF\nFFSFF\n";
    let map = LakeMap::parse("own", letters).unwrap();
    assert_eq!((map.rows(), map.columns(), map.states(), map.name()), (3, 5, 15, "own"));
    assert_eq!(map.to_string(), letters);
    assert_eq!(
        [0, 4, 6, 12].map(|state| map.cell(state)),
        [Cell::Start, Cell::Goal, Cell::Hole, Cell::Start]
    );
}

#[test]
fn white_space_at_the_ends_is_ignored() {
    let expected = LakeMap::parse("map", "SF\nFG").unwrap();
    for same in ["SF\nFG\n", "SF\r\nFG\r\n", "SF  \nFG\t\n", "SF\nFG\n\n  \n\r\n"] {
        assert_eq!(LakeMap::parse("map", same).unwrap(), expected, "{same:?}");
    }
}

#[test]
fn invalid_maps_are_errors_with_line_and_cause() {
    let huge = format!("S{}G\n{}", "F".repeat(4998), format!("{}\n", "F".repeat(5000)).repeat(2));
    let refused: [(&str, Option<usize>, &str); 14] = [
        ("SFF\nFXF\nFFG", Some(2), "found `X` in column 2, expected `S`, `F`, `H` or `G`"),
        ("SFF\nFFg", Some(2), "found `g` in column 3, expected the capital `G`"),
        ("sfg", Some(1), "found `s` in column 1, expected the capital `S`"),
        (" SFG", Some(1), "found ` ` in column 1"),
        ("\u{feff}SFG", Some(1), "found `\\u{feff}` in column 1"),
        ("SFF\nFF\nFFG", Some(2), "has 2 cells, but line 1 has 3"),
        ("SFF\nFFFG", Some(2), "has 4 cells, but line 1 has 3"),
        ("SF\n\nFG", Some(2), "is blank"),
        ("\nSF\nFG", Some(1), "is blank"),
        ("", None, "is empty"),
        ("FFG", None, "has no `S`"),
        ("SFF", None, "has no `G`"),
        ("SFG\nFHH\nHFS", Some(3), "there is no path from the `S` in column 3 to a `G`"),
        (&huge, Some(3), "exceeds the 10000 cells that a map may have"),
    ];
    for (letters, expected, cause) in refused {
        match LakeMap::parse("lake.txt", letters) {
            Err(LakeError::Map { name, line, problem }) => {
                assert_eq!((name.as_str(), line), ("lake.txt", expected), "{problem}");
                assert!(problem.contains(cause), "`{problem}`, expected `{cause}`");
            }
            other => panic!("{other:?} from {letters:?}"),
        }
    }
    let error = LakeMap::parse("lake.txt", "SFF\nFXG").unwrap_err();
    assert_eq!(
        error.to_string(),
        "lake.txt, line 2: found `X` in column 2, expected `S`, `F`, `H` or `G`"
    );
}

#[test]
fn the_largest_map_has_ten_thousand_cells() {
    let row = "F".repeat(100);
    let map = format!("S{}\n{}{}G\n", &row[1..], format!("{row}\n").repeat(98), &row[1..]);
    assert_eq!(LakeMap::parse("map", &map).unwrap().states(), 10_000);
}

#[test]
fn a_map_has_the_stem_of_its_file_as_name_and_errors_have_its_path() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pond.txt");
    fs::write(&path, "SFG\r\n").unwrap();
    let map = LakeMap::read(&path).unwrap();
    assert_eq!((map.name(), map.columns()), ("pond", 3));

    fs::write(&path, "\u{feff}SFG\n").unwrap();
    assert_eq!(LakeMap::read(&path).unwrap(), map);

    fs::write(&path, "SFQ").unwrap();
    let error = LakeMap::read(&path).unwrap_err().to_string();
    assert!(error.starts_with(&format!("{}, line 1: found `Q`", path.display())), "{error}");

    fs::write(&path, [b'S', 0xff, b'G']).unwrap();
    assert!(matches!(LakeMap::read(&path), Err(LakeError::Read { .. })));
    let missing = folder.path().join("missing.txt");
    let error = LakeMap::read(&missing).unwrap_err();
    assert!(matches!(&error, LakeError::Read { path, .. } if *path == missing), "{error}");
}

#[test]
fn the_standard_maps_are_those_of_gymnasium() {
    assert_eq!(LakeMap::standard("4x4").map(|map| default_limit(&map)), Some(100));
    assert_eq!(LakeMap::standard("8x8").map(|map| default_limit(&map)), Some(200));
    assert_eq!(LakeMap::standard("5x5"), None);
}

#[test]
fn random_maps_are_valid_and_depend_on_the_seed_alone() {
    for size in [2, 3, 8, 30, 100] {
        for seed in 0..5 {
            let map = LakeMap::random(size, 0.8, seed).unwrap();
            assert_eq!((map.rows(), map.columns()), (size, size));
            assert_eq!((map.cell(0), map.cell(size * size - 1)), (Cell::Start, Cell::Goal));
            // Parsing checks that the map has a path.
            assert_eq!(LakeMap::parse(map.name(), &map.to_string()).unwrap(), map);
            assert_eq!(LakeMap::random(size, 0.8, seed).unwrap(), map);
        }
    }
    assert_ne!(
        LakeMap::random(8, 0.8, 0).unwrap().to_string(),
        LakeMap::random(8, 0.8, 1).unwrap().to_string()
    );
    assert!(!LakeMap::random(20, 1.0, 0).unwrap().to_string().contains('H'));
}

#[test]
fn random_maps_have_the_expected_share_of_holes() {
    // Maps without a path are drawn again, which lowers the share of holes; at these shares of
    // frozen cells nearly all maps have a path.
    for frozen in [0.8, 0.9] {
        let maps: Vec<_> =
            (0..200).map(|seed| LakeMap::random(20, frozen, seed).unwrap().to_string()).collect();
        let holes: usize = maps.iter().map(|map| map.matches('H').count()).sum();
        let share = holes as f64 / (200.0 * 398.0);
        let mut comparison =
            Comparison::new(format!("{frozen} frozen"), Tolerance::absolute(0.006));
        comparison.value("holes", share, 1.0 - frozen);
        comparison.finish();
    }
}

#[test]
fn impossible_random_maps_are_errors() {
    for (size, frozen, field) in [
        (0, 0.8, "random.size"),
        (1, 0.8, "random.size"),
        (101, 0.8, "random.size"),
        (8, 0.0, "random.frozen"),
        (8, 1.01, "random.frozen"),
        (8, f64::NAN, "random.frozen"),
    ] {
        match LakeMap::random(size, frozen, 0) {
            Err(LakeError::Setting { field: found, .. }) => assert_eq!(found, field),
            other => panic!("{other:?}"),
        }
    }
    let error = LakeMap::random(50, 0.01, 0).unwrap_err();
    assert!(matches!(error, LakeError::Impossible(_)));
    assert!(error.to_string().contains("50x50 cells with a share of 0.01"), "{error}");
}
