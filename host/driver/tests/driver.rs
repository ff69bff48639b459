//! Driver processes that live, die, hang and lie. The program of this test is its own driver process: called with the name of a role, it is
//! a real one or one that misbehaves; without, it runs the tests one after another.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Write as _},
    os::fd::AsFd as _,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use double_core::Payload;
use host_core::ids::{ModelId, ModelName};
use host_driver::{DriverEngine, DriverEvent, DriverLimits, DriverSettings, EventSink, Message, PROGRAM, PROTOCOL, RestartLimits, ServeOrder, serve};
use host_engine::{Engine as _, Graph, Kind, LoadOptions, MlpSize, Shard, Tensor, TractEngine, generate, inspect, split};

const TESTS: [(&str, fn()); 11] = [
    ("it_computes_what_the_engine_computes", it_computes_what_the_engine_computes),
    ("a_killed_process_costs_a_retry", a_killed_process_costs_a_retry),
    ("a_stopped_process_is_found_and_replaced", a_stopped_process_is_found_and_replaced),
    ("one_that_never_greets_is_given_up", one_that_never_greets_is_given_up),
    ("one_of_another_release_is_named", one_of_another_release_is_named),
    ("one_that_talks_nonsense_is_ended", one_that_talks_nonsense_is_ended),
    ("one_that_ends_says_its_last_words", one_that_ends_says_its_last_words),
    ("waits_between_starts_grow_and_calls_fail_at_once", waits_between_starts_grow_and_calls_fail_at_once),
    ("one_that_takes_too_much_memory_is_ended", one_that_takes_too_much_memory_is_ended),
    ("hundreds_of_loads_leave_nothing_behind", hundreds_of_loads_leave_nothing_behind),
    ("hundreds_of_loads_behind_a_vendors_library_leave_nothing_behind", hundreds_of_loads_behind_a_vendors_library_leave_nothing_behind),
];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.first().map(String::as_str) {
        Some("serve") => serve(&order(&arguments)).expect("it serves"),
        Some("nonsense") => say(b"nonsense"),
        Some("release") => say(&Message::Hello { protocol: PROTOCOL, program: "0.0.0".into() }.encode()),
        Some("mute") => std::thread::sleep(Duration::from_secs(60)),
        Some("exit") => {
            say(&Message::Hello { protocol: PROTOCOL, program: PROGRAM.into() }.encode());
            println!("the library is not for this machine");
            std::process::exit(7);
        }
        _ => {
            for (name, test) in TESTS
                .iter()
                .filter(|(name, _)| arguments.iter().all(|wanted| wanted.starts_with('-')) || arguments.iter().any(|wanted| name.contains(wanted.as_str())))
            {
                test();
                println!("test {name} ... ok");
            }
        }
    }
}

/// Writes to the parent, then waits for its end.
fn say(bytes: &[u8]) {
    let socket = io::stdin().as_fd().try_clone_to_owned().unwrap();
    fs::File::from(socket).write_all(bytes).unwrap();
    if bytes != b"nonsense" && std::env::args().nth(1).as_deref() == Some("exit") {
        return;
    }
    std::thread::sleep(Duration::from_secs(60));
}

fn order(arguments: &[String]) -> ServeOrder {
    let after = |flag: &str| arguments.iter().position(|argument| argument == flag).map(|place| arguments[place + 1].clone());
    let number = |flag: &str| after(flag).unwrap().parse::<u64>().unwrap();
    ServeOrder {
        engine: after("--engine").unwrap(),
        library: after("--library").map(PathBuf::from),
        settings: BTreeMap::new(),
        heartbeat_ms: number("--heartbeat-ms"),
        inline_bytes_max: number("--inline-bytes") as usize,
        shared_bytes_max: number("--shared-bytes"),
        spin_us: number("--spin-us"),
        data_bytes_max: number("--data-bytes"),
    }
}

type Told = Arc<Mutex<Vec<DriverEvent>>>;

fn engine(role: &str, limits: DriverLimits) -> (DriverEngine, Told) {
    engine_behind(role, limits, "tract", None)
}

fn engine_behind(role: &str, limits: DriverLimits, name: &str, library: Option<PathBuf>) -> (DriverEngine, Told) {
    let told = Told::default();
    let log = EventSink::new({
        let told = told.clone();
        move |event| told.lock().unwrap().push(event.clone())
    });
    let settings = DriverSettings {
        program: std::env::current_exe().unwrap(),
        arguments: vec![role.into()],
        engine: name.into(),
        library,
        settings: BTreeMap::new(),
        limits,
        info: TractEngine.info(),
        log,
    };
    (DriverEngine::new(settings), told)
}

fn patient() -> DriverLimits {
    // A busy machine may starve a process for long; only the test that hangs one wants to know soon.
    DriverLimits { silent_ms_max: 60_000, ..DriverLimits::default() }
}

fn shard() -> Shard {
    let file = generate(&Kind::Mlp(MlpSize { inputs: 64, hidden: 128, layers: 4, outputs: 10 }), 1).unwrap();
    let inspection = inspect(&file, ModelId { name: ModelName::parse("mlp").unwrap(), version: 1 }).unwrap();
    split(&inspection, &[]).unwrap().remove(0)
}

fn inputs(graph: &dyn Graph) -> Vec<Tensor> {
    let shape: Vec<usize> = graph.inputs()[0].shape.iter().map(|dimension| dimension.fixed().unwrap_or(1)).collect();
    let values: Vec<f32> = (0..shape.iter().product()).map(|value: usize| value as f32 / 7.0).collect();
    vec![Tensor::from_f32(&shape, &values).unwrap()]
}

fn until(what: &str, mut is: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is() {
        assert!(began.elapsed() < Duration::from_secs(60), "{what} has not come in a minute");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Processes, dead ones that nobody has waited for included, whose parent is this one.
fn children() -> usize {
    let own = format!("PPid:\t{}\n", std::process::id());
    let status = |entry: io::Result<fs::DirEntry>| fs::read_to_string(entry.ok()?.path().join("status")).ok();
    fs::read_dir("/proc").unwrap().filter_map(status).filter(|status| status.contains(&own)).count()
}

fn signal(pid: u32, signal: i32) {
    // SAFETY: sends a signal to a child of this process.
    assert_eq!(unsafe { libc::kill(pid as i32, signal) }, 0);
}

fn it_computes_what_the_engine_computes() {
    let shard = shard();
    let expected = |inputs: &[Tensor]| TractEngine.load(&shard, &LoadOptions::default()).unwrap().run(inputs.to_vec()).unwrap();
    // Once in the message and once through shared memory.
    for inline_bytes_max in [64 << 10, 0] {
        let (engine, told) = engine("serve", DriverLimits { inline_bytes_max, ..patient() });
        let mut graph = engine.load(&shard, &LoadOptions::default()).unwrap();
        let mut other = graph.share().unwrap();
        let inputs = inputs(graph.as_ref());
        assert_eq!(graph.run(inputs.clone()).unwrap(), expected(&inputs));
        assert_eq!(other.run(inputs.clone()).unwrap(), expected(&inputs));
        assert_eq!(engine.info(), TractEngine.info());
        let pid = engine.state().pid.unwrap();
        drop((graph, other));
        until("the end of the process", || told.lock().unwrap().contains(&DriverEvent::Ended { engine: "tract".into(), pid }));
        assert!(!PathBuf::from(format!("/proc/{pid}")).exists());
    }
}

fn a_killed_process_costs_a_retry() {
    let (engine, _) = engine("serve", patient());
    let shard = shard();
    let mut graph = engine.load(&shard, &LoadOptions::default()).unwrap();
    let mut others: Vec<Box<dyn Graph>> = (0..2).map(|_| graph.share().unwrap()).collect();
    let inputs = inputs(graph.as_ref());
    let expected = graph.run(inputs.clone()).unwrap();
    std::thread::scope(|scope| {
        for other in &mut others {
            scope.spawn(|| (0..400).for_each(|_| assert_eq!(other.run(inputs.clone()).unwrap(), expected)));
        }
        for _ in 0..3 {
            std::thread::sleep(Duration::from_millis(20));
            until("a process", || engine.state().pid.is_some());
            let before = engine.state();
            signal(before.pid.unwrap(), libc::SIGKILL);
            until("a new process", || {
                graph.run(inputs.clone()).unwrap();
                engine.state().starts > before.starts
            });
        }
    });
    let state = engine.state();
    // One whose end was asked for already, because nothing was loaded in it, does not count as killed.
    let killed = state.deaths.get("signal").copied().unwrap_or_default();
    assert!((1..=3).contains(&killed) && state.deaths.len() == 1 && state.starts >= 4, "{state:?}");
}

fn a_stopped_process_is_found_and_replaced() {
    let (engine, _) = engine("serve", DriverLimits { silent_ms_max: 500, ..DriverLimits::default() });
    let mut graph = engine.load(&shard(), &LoadOptions::default()).unwrap();
    let inputs = inputs(graph.as_ref());
    let expected = graph.run(inputs.clone()).unwrap();
    signal(engine.state().pid.unwrap(), libc::SIGSTOP);
    // A thread that runs just then may still answer before it stops.
    until("its end", || {
        assert_eq!(graph.run(inputs.clone()).unwrap(), expected);
        engine.state().deaths.contains_key("silent")
    });
}

/// Why nothing can be loaded in a process of this role.
fn refused(role: &str, limits: DriverLimits) -> (String, DriverEngine) {
    let (engine, _) = engine(role, limits);
    let error = engine.load(&shard(), &LoadOptions::default()).expect_err("it misbehaves").to_string();
    assert!(engine.info().unusable().is_some_and(|reason| error.contains(reason)), "{error}");
    (error, engine)
}

fn one_that_never_greets_is_given_up() {
    let (error, engine) = refused("mute", DriverLimits { start_ms_max: 200, ..DriverLimits::default() });
    assert!(error.contains("did not open its engine within 200 ms"), "{error}");
    assert_eq!(engine.state().deaths, BTreeMap::from([("late", 2)]));
}

fn one_of_another_release_is_named() {
    let (error, engine) = refused("release", DriverLimits::default());
    assert!(error.contains("is release 0.0.0 with protocol 1, this host is release"), "{error}");
    assert_eq!(engine.state().starts, 1, "another try would find the same program");
}

fn one_that_talks_nonsense_is_ended() {
    let (error, _) = refused("nonsense", DriverLimits::default());
    assert!(error.contains("said what is no message"), "{error}");
}

fn one_that_ends_says_its_last_words() {
    let (error, _) = refused("exit", DriverLimits::default());
    assert!(error.contains("exit status: 7, its last words: the library is not for this machine"), "{error}");
}

fn waits_between_starts_grow_and_calls_fail_at_once() {
    let restarts = RestartLimits { at_once_max: 1, first_ms: 3_600_000, factor: 2.0, most_ms: 7_200_000, calm_ms: 60_000 };
    let (error, engine) = refused("nonsense", DriverLimits { restarts, ..DriverLimits::default() });
    assert!(error.contains("tract"), "{error}");
    let starts = engine.state().starts;
    let error = engine.load(&shard(), &LoadOptions::default()).expect_err("it has to wait an hour").to_string();
    assert!(error.contains("it is started again in 3"), "{error}");
    assert_eq!(engine.state().starts, starts);
}

fn one_that_takes_too_much_memory_is_ended() {
    let (engine, _) = engine("serve", DriverLimits { memory_bytes_max: 1, ..patient() });
    let loaded = engine.load(&shard(), &LoadOptions::default());
    until("its end", || {
        if let Ok(graph) = &loaded {
            let mut graph = graph.share().unwrap();
            let inputs = inputs(graph.as_ref());
            // Each fresh process is ended in turn.
            drop(graph.run(inputs));
        }
        engine.state().deaths.contains_key("memory")
    });
}

/// Loads, runs and unloads a shard.
fn cycle(engine: &DriverEngine, shard: &Shard) {
    let mut graph = engine.load(shard, &LoadOptions::default()).unwrap();
    let inputs = inputs(graph.as_ref());
    graph.run(inputs).unwrap();
}

/// A number of KiB that the system says of a process.
fn kib(process: &str, field: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with(field)).unwrap();
    line.split_ascii_whitespace().nth(1).unwrap().parse().unwrap()
}

/// 2 % more than there was, and what allocators keep of it.
fn at_most(kib: u64) -> u64 {
    kib + kib / 50 + 2048
}

fn hundreds_of_loads_leave_nothing_behind() {
    let (engine, _) = engine("serve", patient());
    leave_nothing_behind(&engine, &shard());
}

/// Each load has a process of its own, because unloading ends it.
fn leave_nothing_behind(engine: &DriverEngine, shard: &Shard) {
    let open = || fs::read_dir("/proc/self/fd").unwrap().count();
    let held = engine.load(shard, &LoadOptions::default()).unwrap();
    until("one process", || children() == 1);
    drop(held);
    (0..50).for_each(|_| cycle(engine, shard));
    until("the end of the process", || engine.state().pid.is_none());
    let (descriptors, memory) = (open(), kib("self", "VmRSS"));
    (0..500).for_each(|_| cycle(engine, shard));
    until("all to be closed", || open() <= descriptors);
    until("all children to be gone", || children() == 0);
    let found = kib("self", "VmRSS");
    assert!(found <= at_most(memory), "{memory} KiB have become {found}");
    assert!(engine.state().deaths.is_empty(), "{:?}", engine.state());
}

/// Another shard keeps the process, which is as small after hundreds of loads as after a few.
fn keep_its_size(engine: &DriverEngine, shard: &Shard) {
    let held = engine.load(shard, &LoadOptions::default()).unwrap();
    let pid = engine.state().pid.unwrap();
    let own = || kib(&pid.to_string(), "RssAnon");
    (0..50).for_each(|_| cycle(engine, shard));
    let memory = own();
    (0..500).for_each(|_| cycle(engine, shard));
    // It hears of the last unloading a moment later than this process.
    until("its memory", || own() <= at_most(memory));
    assert_eq!(engine.state().pid, Some(pid), "it is the same process");
    drop(held);
    until("the end of the process", || engine.state().pid.is_none() && children() == 0);
}

fn hundreds_of_loads_behind_a_vendors_library_leave_nothing_behind() {
    for (kind, chip) in [("rknn", "rk3588"), ("acl", "ascend310p3")] {
        let library = double_core::library(&format!("{kind}_double")).unwrap();
        let (engine, _) = engine_behind("serve", patient(), kind, Some(library));
        let mut shard = shard();
        let payload = Payload::of(kind, chip, &shard, &BTreeMap::new()).unwrap();
        shard.artefacts.push(payload.artefact());
        keep_its_size(&engine, &shard);
        leave_nothing_behind(&engine, &shard);
    }
}
