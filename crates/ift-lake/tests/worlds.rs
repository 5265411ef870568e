//! The worlds of a study: designed maps, random maps, and messages about wrong settings.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail by panicking")]

use std::{collections::HashSet, fs};

use ift_lake::{
    BothSettings, Cell, DesignedMap, Ice, InitialPolicy, LakeError, LakeMap, LeftOutReason, Origin,
    Player, PpoSettings, RandomMap, SolvedWorld, Start, Study, StudySettings, Suboptimal,
    SweepValues, TrainingSettings, TrajectorySource, solved_worlds,
};
use ift_methods::{Dpo, Method, Sft};

/// A change that makes settings wrong, the setting that is at fault, a part of the message.
type Case<T> = (fn(&mut T), &'static str, &'static str);

const POND: &str = "SFF\nFFF\nFHG\n";

/// A designed map whose sub-optimal trajectory is `moves`.
fn pond(name: &str, moves: &str) -> DesignedMap {
    DesignedMap {
        name: name.to_owned(),
        map: POND.to_owned(),
        optimal: "RRDD".to_owned(),
        suboptimal: moves.to_owned(),
    }
}

fn settings() -> StudySettings {
    StudySettings { maps: Vec::new(), seeds: 2, ..StudySettings::default() }
}

fn designed(maps: Vec<DesignedMap>) -> StudySettings {
    StudySettings { designed: maps, ..settings() }
}

/// A small study: SFT and DPO, few steps, no sweeps, no PPO.
fn small(settings: StudySettings) -> StudySettings {
    StudySettings {
        methods: vec![Method::Sft(Sft::default()), Method::Dpo(Dpo::default())],
        training: TrainingSettings {
            steps: 10,
            sft_steps: 5,
            fit_steps: 20,
            hidden: 8,
            ..TrainingSettings::default()
        },
        ppo: PpoSettings { episodes: 0, ..PpoSettings::default() },
        sweep: SweepValues { starts: Vec::new(), ..SweepValues::default() },
        ..settings
    }
}

/// Field and message of the error that the settings give.
fn refused(settings: &StudySettings) -> (String, String) {
    match solved_worlds(settings).map(|_| ()).and(settings.validate()) {
        Err(LakeError::Setting { field, problem }) => (field, problem),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_designed_map_has_solid_ice_its_pair_and_a_kind() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lake.txt");
    fs::write(&path, POND).unwrap();
    for (moves, kind) in [
        ("DRRRD", Suboptimal::Longer),
        ("DRD", Suboptimal::Hole),
        ("DDUD", Suboptimal::Wandering),
        ("DL", Suboptimal::Wandering),
    ] {
        for map in [POND.to_owned(), path.display().to_string()] {
            let entry = DesignedMap { map, ..pond("own_1", moves) };
            let solved = solved_worlds(&designed(vec![entry])).unwrap().remove(0);
            assert_eq!((solved.name.as_str(), solved.world.map().name()), ("own_1", "own_1"));
            assert_eq!((solved.origin, solved.world.ice()), (Origin::Designed, Ice::Solid));
            let pair = solved.pair.unwrap();
            assert_eq!((pair.kind, pair.suboptimal.visits.len()), (kind, moves.len()), "{moves}");
            assert_eq!(pair.optimal.visits.len(), 4);
            assert_eq!(solved.world.map().cell(pair.optimal.end), Cell::Goal);
            let states = [0, 1, 2, 5];
            assert!(pair.optimal.visits.iter().map(|visit| visit.state).eq(states));
        }
    }
    // Gymnasium's map, and a map of one line.
    let standard = DesignedMap {
        name: "gym".to_owned(),
        map: "4x4".to_owned(),
        optimal: "DDRDRR".to_owned(),
        suboptimal: "DDRU".to_owned(),
    };
    let line = DesignedMap {
        name: "line".to_owned(),
        map: "SFFG".to_owned(),
        optimal: "RRR".to_owned(),
        suboptimal: "RLRRR".to_owned(),
    };
    let worlds = solved_worlds(&designed(vec![standard, line])).unwrap();
    assert_eq!(worlds[0].world.map().to_string(), LakeMap::standard("4x4").unwrap().to_string());
    let kinds: Vec<_> = worlds.iter().map(|world| world.pair.as_ref().unwrap().kind).collect();
    assert_eq!(kinds, [Suboptimal::Hole, Suboptimal::Longer]);
}

#[test]
fn mistakes_in_designed_maps_are_named() {
    let with = |change: fn(&mut DesignedMap)| {
        let mut map = pond("pond", "DRD");
        change(&mut map);
        designed(vec![pond("first", "DRD"), map])
    };
    let cases: [Case<DesignedMap>; 26] = [
        (|it| it.name = String::new(), "name", "is ``, expected letters, digits, `-` and `_`"),
        (|it| it.name = "a/b".to_owned(), "name", "is `a/b`, expected letters"),
        (|it| it.name = "first".to_owned(), "name", "is `first`, as `designed.0.name` is"),
        (|it| it.name = "First".to_owned(), "name", "is `first`, which differ only in upper"),
        (|it| it.name = "x".repeat(101), "name", "has 101 bytes, expected at most 100"),
        (|it| it.name = "ä".repeat(51), "name", "has 102 bytes, expected at most 100"),
        (|it| it.map = String::new(), "map", "is empty"),
        (|it| it.map = "random".to_owned(), "map", "is `random`"),
        (|it| it.map = "none.txt".to_owned(), "map", "is `none.txt`, which cannot be read"),
        (|it| it.map = "SFF\nFXG".to_owned(), "map", "is wrong in line 2: found `X` in column 2"),
        (|it| it.map = "FFG\n".to_owned(), "map", "has no `S`"),
        (|it| it.map = "SFS\nFFG\n".to_owned(), "map", "has 2 cells `S`, expected one"),
        (|it| it.optimal = String::new(), "optimal", "is empty, expected moves such as `DDRR`"),
        (|it| it.optimal = "RRXD".to_owned(), "optimal", "has `X` as move 3, expected `L`, `D`"),
        (|it| it.optimal = "RRDd".to_owned(), "optimal", "`d` as move 4, expected the capital `D`"),
        (|it| it.optimal = "RRDDL".to_owned(), "optimal", "has `L` as move 5, but move 4 ended"),
        (
            |it| it.optimal = "RRRDD".to_owned(),
            "optimal",
            "has `R` as move 3, which is not optimal",
        ),
        (|it| it.optimal = "RRRDD".to_owned(), "optimal", "not optimal there; expected `D`"),
        (|it| it.optimal = "RLRRDD".to_owned(), "optimal", "expected `D` or `R`"),
        (|it| it.optimal = "RR".to_owned(), "optimal", "ends on the ice (row 1, column 3)"),
        (|it| it.suboptimal = String::new(), "suboptimal", "is empty"),
        (
            |it| it.suboptimal = "DRDR".to_owned(),
            "suboptimal",
            "ended the episode in a hole (row 3",
        ),
        (|it| it.suboptimal = "RRDD".to_owned(), "suboptimal", "is the optimal trajectory"),
        (|it| it.suboptimal = "DRRD".to_owned(), "suboptimal", "in 4 moves and the optimal"),
        // The beginning of the optimal trajectory, and of another shortest path.
        (|it| it.suboptimal = "RR".to_owned(), "suboptimal", "has optimal moves only"),
        (|it| it.suboptimal = "DR".to_owned(), "suboptimal", "has optimal moves only"),
    ];
    for (change, field, message) in cases {
        let settings = with(change);
        let error = Study::new(&settings).map(|_| ()).unwrap_err();
        match error {
            LakeError::Setting { field: found, problem } => {
                assert_eq!(found, format!("designed.1.{field}"), "{problem}");
                assert!(problem.contains(message), "`{problem}`, expected `{message}`");
            }
            other => panic!("{message}: {other:?}"),
        }
    }
    let limited = StudySettings { limit: 4, ..designed(vec![pond("pond", "DRRRD")]) };
    let (field, problem) = refused(&limited);
    assert_eq!(field, "designed.0.suboptimal");
    assert!(problem.contains("has 5 moves, but the limit is 4"), "{problem}");
    let clash = StudySettings {
        maps: vec!["4x4".to_owned()],
        ..designed(vec![pond("4x4-slippery", "DRD")])
    };
    let (field, problem) = refused(&clash);
    assert_eq!(field, "designed.0.name");
    let expected =
        "world of the entry `4x4` of `maps`: both would be called `4x4-slippery`; choose";
    assert!(problem.contains(expected), "{problem}");
    let clash =
        StudySettings { maps: vec!["4x4".to_owned()], ..designed(vec![pond("4X4", "DRD")]) };
    let (field, problem) = refused(&clash);
    assert_eq!(field, "designed.0.name");
    assert!(problem.contains("`4x4` and `4X4`, which differ only in upper"), "{problem}");
    let (field, _) = refused(&designed(vec![pond("pond", "DRD"), pond("pond", "DRRRD")]));
    assert_eq!(field, "designed.1.name");
    // A name of a hundred bytes.
    let settings = designed(vec![pond(&"ä".repeat(50), "DRD")]);
    settings.validate().unwrap();
}

#[test]
fn a_study_of_designed_maps_uses_their_pair_for_every_seed() {
    let mut study = small(designed(vec![pond("way", "DRRRD"), pond("fall", "DRD")]));
    study.suboptimal = vec![Suboptimal::Own, Suboptimal::Wandering];
    let findings = Study::new(&study).unwrap().run(|| ()).unwrap();
    let names = |world: usize| -> Vec<_> {
        findings.report.worlds[world].scenes.iter().map(|scene| scene.name.clone()).collect()
    };
    let expected = ["random-hole", "random-own", "sft-hole", "sft-own"]
        .into_iter()
        .chain(["both-hole-hole", "both-hole-own"]);
    assert!(names(1).into_iter().eq(expected.map(|name| format!("fall-{name}"))));
    assert_eq!(names(0)[4], "way-both-longer-longer");
    for run in &findings.runs {
        // `R` and `D` are optimal in the first two cells of `DRD`, its last move is not.
        let share = match (run.world.as_str(), run.suboptimal) {
            ("fall", Some(Suboptimal::Hole)) => Some(2.0 / 3.0),
            // Of `DRRRD` the second `R` in the last column is not.
            ("way", Some(Suboptimal::Longer)) => Some(4.0 / 5.0),
            _ => None,
        };
        assert_eq!(run.rejected_optimal, share, "{run:?}");
    }
    let again = |study: &StudySettings| -> Vec<Vec<u64>> {
        let runs = Study::new(study).unwrap().run(|| ()).unwrap().runs.into_iter();
        runs.map(|run| run.measures.into_iter().map(f64::to_bits).collect()).collect()
    };
    // Their trajectories are not drawn, nor is their ice; `own` is not in these settings.
    study.suboptimal = vec![Suboptimal::Longer];
    let drawn = again(&study);
    study.trajectories = TrajectorySource::Fixed;
    study.ice = vec![Ice::Slippery];
    assert_eq!(again(&study), drawn);
}

#[test]
fn designed_maps_and_listed_maps_are_in_one_study() {
    let study = small(StudySettings {
        maps: vec!["4x4".to_owned()],
        suboptimal: vec![Suboptimal::Hole],
        seeds: 1,
        ..designed(vec![pond("pond", "DRD")])
    });
    let report = Study::new(&study).unwrap().run(|| ()).unwrap().report;
    let worlds: Vec<_> = report.worlds.iter().map(|it| (&*it.name, it.origin)).collect();
    let expected =
        [("4x4", Origin::Listed), ("4x4-slippery", Origin::Listed), ("pond", Origin::Designed)];
    assert_eq!(worlds, expected);
}

#[test]
fn a_designed_map_is_watched_from_the_first_start() {
    let base = StudySettings {
        starts: vec![InitialPolicy::Both],
        both: BothSettings { steps: 300, share: 1.0 },
        suboptimal: vec![Suboptimal::Own],
        ..small(designed(vec![pond("pond", "DRD")]))
    };
    // Ten steps from a policy that follows the optimal trajectory leave it there.
    let player = Player::new(&base, "sft").unwrap();
    assert_eq!(player.solved.name, "pond");
    let arrived = |player: &Player| {
        let map = player.solved.world.map();
        (0..50).filter(|&episode| map.cell(player.play(episode).end) == Cell::Goal).count()
    };
    assert!(arrived(&player) > 40);
    let random = StudySettings { starts: vec![InitialPolicy::Random], ..base };
    assert!(arrived(&Player::new(&random, "sft").unwrap()) < 40);
}

#[test]
fn only_the_first_map_is_read_to_watch_a_policy() {
    let missing = "none.txt".to_owned();
    let mut study = small(StudySettings {
        maps: vec!["random".to_owned(), missing.clone()],
        designed: vec![pond("pond", "no moves")],
        ..random(1000, &[Suboptimal::Hole], &[Ice::Slippery])
    });
    let watched = |study: &StudySettings| Player::new(study, "sft").map(|it| it.solved.name);
    study.maps[1] = missing.clone();
    let first = watched(&study).unwrap();
    assert_eq!(first, solved_worlds(&random(1, &study.suboptimal, &study.ice)).unwrap()[0].name);
    study.maps = vec!["4x4".to_owned(), missing.clone()];
    assert_eq!(watched(&study).unwrap(), "4x4-slippery");
    study.maps.reverse();
    assert!(
        matches!(watched(&study), Err(LakeError::Read { path, .. }) if path.ends_with(missing))
    );
}

fn random(count: u64, suboptimal: &[Suboptimal], ice: &[Ice]) -> StudySettings {
    StudySettings {
        maps: vec!["random".to_owned()],
        random: RandomMap { size: 4, frozen: 0.7, seed: 10, count },
        suboptimal: suboptimal.to_vec(),
        ice: ice.to_vec(),
        ..settings()
    }
}

/// The seeds of random maps by the names of their worlds.
fn seeds(worlds: &[SolvedWorld]) -> Vec<u64> {
    let seed = |world: &SolvedWorld| {
        let name = world.name.trim_end_matches("-slippery");
        name.strip_prefix("random-4x4-").unwrap().parse().unwrap()
    };
    worlds.iter().map(seed).collect()
}

#[test]
fn random_maps_have_consecutive_seeds_if_all_are_usable() {
    let own = [Suboptimal::Own];
    let mut settings = random(3, &own, &[Ice::Solid, Ice::Slippery]);
    settings.starts = vec![InitialPolicy::Random];
    let worlds = solved_worlds(&settings).unwrap();
    assert_eq!(seeds(&worlds), [10, 10, 11, 11, 12, 12]);
    assert!(worlds.iter().all(|world| world.origin == Origin::Random));
    for world in &worlds {
        let seed = seeds(std::slice::from_ref(world))[0];
        assert_eq!(*world.world.map(), LakeMap::random(4, 0.7, seed).unwrap());
    }
}

#[test]
fn random_maps_that_lack_a_trajectory_are_left_out() {
    let kinds = [Suboptimal::Longer, Suboptimal::Hole];
    let settings = random(5, &kinds, &[Ice::Solid]);
    let worlds = solved_worlds(&settings).unwrap();
    let used = seeds(&worlds);
    assert_eq!(used.len(), 5);
    assert!(used.is_sorted() && used[0] >= 10 && used[4] > 14, "{used:?}");
    assert_eq!(seeds(&solved_worlds(&settings).unwrap()), used);
    // Exactly the maps that are left out make a study fail that asks for them alone.
    for seed in 10..=used[4] {
        let map = LakeMap::random(4, 0.7, seed).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("map.txt");
        fs::write(&path, map.to_string()).unwrap();
        let alone = small(StudySettings {
            maps: vec![path.display().to_string()],
            starts: vec![InitialPolicy::Random],
            ..settings.clone()
        });
        let study = Study::new(&alone).unwrap();
        match study.run(|| ()) {
            Ok(_) => assert!(used.contains(&seed), "{seed}"),
            Err(LakeError::Impossible(reason)) => {
                assert!(!used.contains(&seed), "{seed}: {reason}");
            }
            Err(error) => panic!("{error}"),
        }
    }
    // The study says which they are, with the first seed that fails, for any number of threads.
    let left_out = |threads: usize| {
        let settings = StudySettings { threads, seeds: 20, ..settings.clone() };
        Study::new(&settings).unwrap().left_out().to_vec()
    };
    let told = left_out(1);
    assert_eq!(told, left_out(3));
    let study = Study::new(&settings).unwrap();
    let told: Vec<_> = study.left_out().iter().map(|map| map.map_seed).collect();
    assert!(told.iter().copied().eq((10..used[4]).filter(|seed| !used.contains(seed))));
    for map in study.left_out() {
        let expected = format!("map `random-4x4-{}`, solid ice: no sub-optimal", map.map_seed);
        match &map.reason {
            LeftOutReason::NoTrajectory { seed, problem } => {
                assert!(*seed < 2 && problem.starts_with(&expected), "{map:?}");
            }
            LeftOutReason::Repeated { .. } => panic!("{map:?}"),
        }
    }
    // More maps begin with the same ones.
    let more = seeds(&solved_worlds(&random(6, &kinds, &[Ice::Solid])).unwrap());
    assert_eq!(more[..5], used);
}

#[test]
fn maps_are_given_up_early_if_none_can_be_used() {
    // Without holes.
    let mut settings = random(3, &[Suboptimal::Hole], &[Ice::Solid]);
    settings.random = RandomMap { size: 3, frozen: 1.0, seed: 10, count: 3 };
    let error = solved_worlds(&settings).unwrap_err().to_string();
    let expected = "0 of 3 random maps were found from seed 10 on, and 20 were left out; the map \
                    of seed 29 fails with seed 0 of the study: map `random-3x3-29`, solid ice: no \
                    sub-optimal trajectory of kind `hole`";
    assert!(error.starts_with(expected), "{error}");
}

#[test]
fn random_maps_that_repeat_a_used_one_are_left_out() {
    let own = [Suboptimal::Own];
    let mut settings = random(30, &own, &[Ice::Solid, Ice::Slippery]);
    settings.starts = vec![InitialPolicy::Random];
    settings.random = RandomMap { size: 3, frozen: 0.8, seed: 10, count: 30 };
    let study = Study::new(&settings).unwrap();
    let cells = |seed| LakeMap::random(3, 0.8, seed).unwrap().to_string();
    let mut repeated: Vec<_> = study.left_out().iter().map(|map| map.map_seed).collect();
    for map in study.left_out() {
        let LeftOutReason::Repeated { map_seed } = map.reason else { panic!("{map:?}") };
        assert!(map_seed < map.map_seed && cells(map_seed) == cells(map.map_seed), "{map:?}");
    }
    let worlds = solved_worlds(&settings).unwrap();
    let maps: HashSet<_> = worlds.iter().map(|world| world.world.map().to_string()).collect();
    assert_eq!((worlds.len(), maps.len()), (60, 30));
    // Together they are consecutive.
    let seed = |world: &SolvedWorld| world.world.map().name()[11..].parse::<u64>().unwrap();
    repeated.extend(worlds.iter().step_by(2).map(seed));
    repeated.sort_unstable();
    assert!(
        !study.left_out().is_empty()
            && repeated.into_iter().eq(10..10 + 30 + study.left_out().len() as u64)
    );
    // There are not as many as that.
    settings.random.count = 1000;
    let error = solved_worlds(&settings).unwrap_err().to_string();
    for part in [
        " of 1000 random maps were found from seed 10 on, and 1000 were left out, 1000 of them",
        "there are too few different usable maps of 3x3 cells with a share of 0.8 frozen; lower",
    ] {
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn a_designed_pair_may_not_be_there_twice() {
    let twice = designed(vec![pond("one", "DRD"), pond("other", "DRRRD"), pond("two", "DRD")]);
    let (field, problem) = refused(&twice);
    assert_eq!(field, "designed.2.name");
    assert!(problem.contains("`two` has the map and the trajectories of"), "{problem}");
    assert!(problem.contains("`designed.0.name` `one`"), "{problem}");
    // The same map may be listed, and other pairs and other maps are other units.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("listed.txt");
    fs::write(&path, POND).unwrap();
    let wide = DesignedMap { map: "SFFF\nFFFH\nFHGH".to_owned(), ..pond("wide", "DRD") };
    let maps = vec![path.display().to_string()];
    let entries = vec![pond("one", "DRD"), pond("other", "DRRRD"), wide];
    let worlds = solved_worlds(&StudySettings { maps, ..designed(entries) }).unwrap();
    assert_eq!(worlds.len(), 2 + 3);
}

#[test]
fn sweeps_from_no_start_are_named() {
    let both = StudySettings {
        maps: vec!["4x4".to_owned()],
        starts: vec![InitialPolicy::Both],
        ..settings()
    };
    // By default nothing is swept then; this is quiet.
    both.validate().unwrap();
    assert!(both.sweeps_nothing());
    let with = |starts: &[InitialPolicy], values: &[f64]| {
        let values = values.to_vec();
        let sweep = SweepValues { lambda: values.clone(), gamma: values, starts: starts.to_vec() };
        StudySettings { sweep, ..both.clone() }
    };
    let (field, problem) = refused(&with(&[InitialPolicy::Sft], &[0.5]));
    assert_eq!(field, "sweep.starts");
    assert!(problem.contains("has no effect, because it lists none of `starts`"), "{problem}");
    for fine in [
        with(&[], &[0.5]),
        with(&[InitialPolicy::Sft], &[]),
        with(&[InitialPolicy::Sft, InitialPolicy::Both], &[0.5]),
    ] {
        fine.validate().unwrap();
    }
}

#[test]
fn settings_out_of_range_are_named() {
    let base = StudySettings { maps: vec!["4x4".to_owned()], ..settings() };
    let cases: [Case<StudySettings>; 12] = [
        (
            |it| it.maps.clear(),
            "maps",
            "is empty, expected at least one entry, or a `[[designed]]`",
        ),
        (|it| it.rewards.goal = 1e308, "rewards.goal", "is 1e308, expected"),
        (|it| it.sweep.gamma = vec![-1e300], "sweep.gamma", "has -1e300, expected"),
        (|it| it.both.steps = 0, "both.steps", "is 0, expected 1 or more"),
        (|it| it.both.share = -0.1, "both.share", "is -0.1, expected a number from 0 to 1"),
        (|it| it.both.share = f64::NAN, "both.share", "is NaN, expected a number from 0 to 1"),
        (|it| it.random.count = 0, "random.count", "is 0, expected 1 to 1000 maps"),
        (|it| it.random.count = 1001, "random.count", "is 1001, expected 1 to 1000 maps"),
        (
            |it| it.suboptimal = vec![Suboptimal::Own],
            "starts",
            "write `starts = [\"random\", \"sft\"]`, or add `longer`, `hole` or `wandering` to",
        ),
        (|it| it.starts.clear(), "starts", "is empty"),
        (|it| it.starts = vec![InitialPolicy::Sft; 2], "starts", "has the same entry twice"),
        (|it| it.sweep.starts = vec![InitialPolicy::Sft; 2], "sweep.starts", "same entry twice"),
    ];
    for (change, expected, message) in cases {
        let mut settings = base.clone();
        change(&mut settings);
        match settings.validate() {
            Err(LakeError::Setting { field, problem }) => {
                assert_eq!(field, expected, "{problem}");
                assert!(problem.contains(message), "`{problem}`, expected `{message}`");
            }
            other => panic!("{expected}: {other:?}"),
        }
    }
    base.validate().unwrap();
    // Without listed maps, `both` needs no kinds in the settings; nor do other starts.
    let own = vec![Suboptimal::Own];
    let alone = StudySettings { suboptimal: own.clone(), ..designed(vec![pond("pond", "DRD")]) };
    alone.validate().unwrap();
    let starts = vec![InitialPolicy::Random, InitialPolicy::Sft];
    StudySettings { suboptimal: own, starts, ..base }.validate().unwrap();
    assert_eq!(Start::Both(Suboptimal::Hole).name(), "both-hole");
}
