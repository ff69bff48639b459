//! Engine `auto`: it takes the fastest engine that is right, measures once, and keeps what came out.

use std::{fs, path::Path, sync::Arc};

use host_core::units::Millis;
use host_engine::{
    AutoSettings, Digest, Engine, Engines, ErrorKind, Kind, LoadOptions, Measured, MlpSize, Outcome, RtenEngine, Shard, TractEngine, check_golden, generate,
    split,
};

use crate::{
    chain::inspected,
    doubles::{Double, Manner},
};

fn shards() -> Vec<Shard> {
    let file = generate(&Kind::Mlp(MlpSize { inputs: 20, hidden: 40, layers: 2, outputs: 5 }), 7).expect("a small model");
    let inspection = inspected(&file, "mlp").with_golden().expect("golden answers");
    split(&inspection, &inspection.legal_cuts()).expect("legal cuts")
}

fn shard() -> Shard {
    shards().remove(0)
}

fn settings(folder: &Path) -> AutoSettings {
    AutoSettings { cpu: "a processor".into(), folder: Some(folder.to_owned()), runs: Millis(1.0), ..AutoSettings::default() }
}

fn registry(engines: &[&Arc<Double>]) -> Engines {
    Engines::new(engines.iter().map(|&engine| engine.clone() as Arc<dyn Engine>).collect())
        .with_auto(AutoSettings { runs: Millis(1.0), ..AutoSettings::default() })
}

/// Whose graph it is, by the memory that doubles say.
fn chosen(engines: &Engines, shard: &Shard) -> u64 {
    engines.load("auto", shard, &LoadOptions::default()).unwrap_or_else(|error| panic!("{error}")).memory().0
}

fn reason(measured: &[Measured], engine: &str) -> String {
    let row = measured.iter().find(|row| row.engine == engine).unwrap_or_else(|| panic!("{engine} is not in {measured:?}"));
    match &row.outcome {
        Outcome::Refused { reason } => reason.clone(),
        Outcome::Agrees(figures) => panic!("{engine} agrees: {figures:?}"),
    }
}

#[test]
fn the_fastest_engine_is_taken_of_those_that_are_right() {
    let (late, wrong) = (Double::new("late", Manner::Late), Double::new("wrong", Manner::Wrong));
    let (refusing, right) = (Double::new("refusing", Manner::Refuses), Double::new("right one", Manner::Right));
    let engines = registry(&[&late, &wrong, &refusing, &right, &Double::unusable("unusable")]);
    let shard = shard();
    assert_eq!(chosen(&engines, &shard), "right one".len() as u64);
    let measured = engines.measured(&shard.digest);
    assert_eq!(measured.iter().map(|row| row.engine.as_str()).collect::<Vec<_>>(), ["late", "wrong", "refusing", "right one"]);
    assert!(reason(&measured, "wrong").contains("differs from the golden one by"), "{measured:?}");
    assert_eq!(reason(&measured, "refusing"), "operator `Relu` is not known to refusing", "in one line");
    let Outcome::Agrees(figures) = &measured[0].outcome else { panic!("{measured:?}") };
    assert!(figures.run.0 >= 20.0 && figures.difference == 0.0 && figures.memory.0 == 4, "{figures:?}");
}

#[test]
fn a_fast_and_wrong_engine_beside_the_real_ones_is_never_taken() {
    let wrong = Double::new("wrong", Manner::Wrong);
    let real: Vec<Arc<dyn Engine>> = vec![wrong.clone(), Arc::new(TractEngine), Arc::new(RtenEngine)];
    let engines = Engines::new(real).with_default("auto").expect("there is one");
    for shard in shards() {
        let mut graph = engines.load("auto", &shard, &LoadOptions::default()).expect("two engines are right");
        check_golden(graph.as_mut(), shard.golden.as_ref().expect("made with them")).expect("what was taken is right");
        assert_eq!(engines.measured(&shard.digest).iter().filter(|row| matches!(row.outcome, Outcome::Agrees(_))).count(), 2);
    }
    let calibrating = engines.calibrating().expect("two engines compute").info().name;
    assert!(["tract", "rten"].contains(&calibrating.as_str()), "{calibrating} stands for auto");
}

#[test]
fn an_engine_is_run_as_often_as_the_settings_say() {
    let shard = shard();
    let runs = |settings: AutoSettings| {
        let alone = Double::new("alone", Manner::Right);
        chosen(&Engines::new(vec![alone.clone()]).with_auto(settings), &shard);
        alone.runs()
    };
    // What is run beside that, to be checked, is the same each time.
    let most = |runs_max| runs(AutoSettings { runs: Millis(3_600_000.0), runs_max, ..AutoSettings::default() });
    assert_eq!(most(9) - most(7), 2, "there is time for more");
    let fewest = |runs_min| runs(AutoSettings { runs: Millis::ZERO, runs_min, ..AutoSettings::default() });
    assert_eq!(fewest(7) - fewest(5), 2, "there is no time for any");
}

#[test]
fn a_shard_that_no_engine_takes_is_refused_with_each_reason() {
    let engines = registry(&[&Double::new("wrong", Manner::Wrong), &Double::new("refusing", Manner::Refuses)]);
    let error = engines.load("auto", &shard(), &LoadOptions::default()).expect_err("neither is right");
    assert_eq!(error.kind(), ErrorKind::Invalid);
    let text = error.to_string();
    assert!(text.starts_with("mlp@1[0..1): no engine takes it; wrong: ") && text.ends_with("; refusing: operator `Relu` is not known to refusing"), "{text}");
    let nothing = Engines::new(Vec::new());
    assert_eq!(nothing.info()[0].unusable(), Some("there is no engine that computes on the CPU"));
    assert!(nothing.load("auto", &Shard { golden: None, ..shard() }, &LoadOptions::default()).is_err());
}

#[test]
fn loads_of_the_same_shard_at_once_measure_once() {
    let alone = Double::new("refusing", Manner::Refuses);
    chosen(&registry(&[&alone, &Double::new("right", Manner::Right)]), &shard());
    let crowd = Double::new("refusing", Manner::Refuses);
    let (engines, shard) = (registry(&[&crowd, &Double::new("right", Manner::Right)]), shard());
    let start = std::sync::Barrier::new(4);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                start.wait();
                chosen(&engines, &shard)
            });
        }
    });
    assert_eq!(crowd.loads(), alone.loads(), "measured again");
}

/// A process of its own that loads a shard: how often it had to load for measuring, and what it knows then.
fn process(settings: AutoSettings, shard: &Shard, manner: Manner, version: &'static str) -> (usize, Vec<Measured>) {
    let measured = Double::new("measured", manner);
    let right = Double::of_version("right", version);
    let engines = Engines::new(vec![measured.clone(), right]).with_auto(settings);
    engines.load("auto", shard, &LoadOptions::default()).unwrap_or_else(|error| panic!("{error}"));
    (measured.loads(), engines.measured(&shard.digest))
}

#[test]
fn what_was_measured_is_known_to_the_next_process_on_the_same_processor() {
    let folder = tempfile::tempdir().expect("a folder");
    let shard = shard();
    let start = |settings: AutoSettings| process(settings, &shard, Manner::Refuses, "1");
    let (first, rows) = start(settings(folder.path()));
    assert!(first > 0 && rows.len() == 2, "{rows:?}");
    assert_eq!(start(settings(folder.path())), (0, rows), "measured again");
    assert!(start(AutoSettings { cpu: "another one".into(), ..settings(folder.path()) }).0 > 0, "another processor's results were believed");
    let (_, newer) = process(settings(folder.path()), &shard, Manner::Refuses, "2");
    assert_eq!(newer.iter().map(|row| row.version.as_str()).collect::<Vec<_>>(), ["1", "2"], "results of a version that is not here");
    assert_eq!(Engines::default().with_auto(settings(folder.path())).measured(&shard.digest), [], "results of engines that are not here");
    assert_eq!(Engines::default().measured(&Digest::of(b"never seen")), []);
}

/// What becomes of a file.
type Damage = fn(&[u8]) -> Vec<u8>;

#[test]
fn a_damaged_result_is_measured_anew() {
    let folder = tempfile::tempdir().expect("a folder");
    let shard = shard();
    let start = || process(settings(folder.path()), &shard, Manner::Refuses, "1");
    let (first, _) = start();
    let damages: [Damage; 3] = [|_| Vec::new(), |whole| whole[..whole.len() / 2].to_vec(), |_| vec![0xff; 300]];
    for damage in damages {
        for file in fs::read_dir(folder.path()).expect("made by the first").flatten() {
            fs::write(file.path(), damage(&fs::read(file.path()).expect("just listed"))).expect("writable");
        }
        assert_eq!(start().0, first, "a damaged result was believed, or measured more than once");
        assert_eq!(start().0, 0, "the new result was not kept");
    }
}

#[test]
fn a_failure_that_may_pass_is_tried_again_by_the_next_process_only() {
    let folder = tempfile::tempdir().expect("a folder");
    let shard = shard();
    assert!(process(settings(folder.path()), &shard, Manner::Fails, "1").0 > 0);
    assert!(process(settings(folder.path()), &shard, Manner::Fails, "1").0 > 0, "it was refused for ever");
    let failing = Double::new("failing", Manner::Fails);
    let engines = registry(&[&failing, &Double::new("right", Manner::Right)]);
    chosen(&engines, &shard);
    let once = failing.loads();
    chosen(&engines, &shard);
    assert_eq!(failing.loads(), once, "it was tried again by the same process");
}

#[test]
fn no_more_results_are_kept_than_there_may_be() {
    let folder = tempfile::tempdir().expect("a folder");
    let settings = AutoSettings { results_max: 3, ..settings(folder.path()) };
    for shard in shards() {
        process(settings.clone(), &shard, Manner::Refuses, "1");
    }
    assert_eq!(fs::read_dir(folder.path()).expect("made").count(), 3);
}

#[test]
fn the_default_engine_comes_first_and_is_the_one_to_calibrate_with() {
    let names = |engines: &Engines| engines.info().into_iter().map(|info| info.name).collect::<Vec<_>>();
    assert_eq!(names(&Engines::default()), ["tract", "rten", "auto"]);
    assert_eq!(Engines::default().calibrating().expect("tract").info().name, "tract");
    let engines = Engines::default().with_default("rten").expect("it is there");
    assert_eq!((names(&engines), engines.calibrating().expect("rten").info().name), (vec!["rten".into(), "tract".into(), "auto".into()], "rten".to_owned()));
    assert_eq!(names(&Engines::default().with_default("auto").expect("it is there").with_auto(AutoSettings::default())), ["auto", "tract", "rten"]);
    let error = Engines::default().with_default("ort").expect_err("it is not there").to_string();
    assert_eq!(error, "engine `ort` is not here, there are tract, rten, auto");
}
