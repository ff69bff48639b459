//! The host that the whole corpus runs in, what happens in it by slot, and the neighbours: threads that use other slots
//! a thousand times a second while plugins misbehave, and to whom nothing may happen.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Condvar, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread::{self, Scope, ScopedJoinHandle},
    time::{Duration, Instant},
};

use host_core::{strikes::StrikePolicy, units::Millis};
use host_engine::{Engines, Kind, MlpSize, Shard, Tensor, generate, inspect, split};
use host_plugin::{CodeFolder, Deadlines, EventSink, Limits, PluginConfig, PluginEvent, PluginHost, RunCall, SlotName};

use crate::scenes::{model_id, request, snapshot};

/// Strikes that roll a slot back.
pub const STRIKES_MAX: u32 = 25;
/// What a plugin that is rolled back waits for, each time.
pub const WAITS_MS: [f64; 4] = [10.0, 20.0, 40.0, 40.0];
/// Deadline of `configure`, so that one that never ends does not take for ever.
pub const CONFIGURE_MS_MAX: u64 = 20;
/// Threads that run cases at once. The machine has fewer processors than that, which is the point.
const CASES_AT_ONCE: usize = 6;
/// Between two requests of a neighbour. Without one the neighbours alone would keep two processors busy, and cases would wait for them.
const NEIGHBOUR_PAUSE: Duration = Duration::from_micros(900);

/// A host, and what happened in it.
pub struct Crowd {
    pub host: PluginHost,
    events: Arc<Events>,
}

#[derive(Default)]
struct Events {
    by_slot: Mutex<BTreeMap<SlotName, Vec<PluginEvent>>>,
    changed: Condvar,
}

impl Crowd {
    /// The one host of this program: everything that misbehaves does so in it, and it must live to the end.
    pub fn get() -> &'static Self {
        static CROWD: OnceLock<Crowd> = OnceLock::new();
        CROWD.get_or_init(|| {
            let strikes =
                StrikePolicy { strikes_max: STRIKES_MAX, window: Millis(3_600_000.0), retry_first: Millis(WAITS_MS[0]), retry_max: Millis(WAITS_MS[3]) };
            // Whoever is not late may be set aside for longer than calls may take elsewhere. Cases that are late in a path bring a
            // deadline of their own.
            let deadlines = Deadlines {
                configure_ms_max: CONFIGURE_MS_MAX,
                route_ms_max: 1_000,
                set_topology_ms_max: 100,
                set_pressure_ms_max: 100,
                load_ms_max: 100,
                ..Deadlines::default()
            };
            let config = PluginConfig {
                // What one case was asked would keep the next ones from being installed.
                rehearsed_problems_max: 0,
                code: Some(CodeFolder::at(concat!(env!("CARGO_TARGET_TMPDIR"), "/native-code"))),
                // Smaller limits are met sooner, and the corpus runs unoptimised.
                limits: Limits { deadlines, allocation_returned_bytes_max: 1 << 20, tensors_max: 64, graphs_max: 1, ..Limits::default() },
                strikes,
                ..PluginConfig::default()
            };
            let events = Arc::new(Events::default());
            let sink = Arc::clone(&events);
            let note = move |event: PluginEvent| {
                sink.by_slot.lock().expect("nothing panics here").entry(slot_of(&event).clone()).or_default().push(event);
                sink.changed.notify_all();
            };
            let host = PluginHost::start(config, Arc::new(Engines::default()), EventSink::new(note)).expect("the built-in plugins start");
            Self { host, events }
        })
    }

    /// What happened in a slot so far.
    pub fn events(&self, slot: &SlotName) -> Vec<PluginEvent> {
        self.events.by_slot.lock().expect("nothing panics here").get(slot).cloned().unwrap_or_default()
    }

    /// Waits until so many events of a kind happened in a slot; panics after a minute.
    pub fn wait_for(&self, slot: &SlotName, count: usize, wanted: impl Fn(&PluginEvent) -> bool) {
        let end = Instant::now() + Duration::from_secs(60);
        let mut by_slot = self.events.by_slot.lock().expect("nothing panics here");
        loop {
            let events = by_slot.get(slot).map(Vec::as_slice).unwrap_or_default();
            if events.iter().filter(|event| wanted(event)).count() >= count {
                return;
            }
            let left = end.checked_duration_since(Instant::now()).unwrap_or_else(|| panic!("{slot}: it did not come: {:?}", events.last()));
            by_slot = self.events.changed.wait_timeout(by_slot, left).expect("nothing panics here").0;
        }
    }

    /// Runs all cases, some at once, while neighbours use the built-in policies and the built-in adapter all the time.
    /// Whatever the cases do, each request of a neighbour must be answered, and by the plugin that it asked.
    pub fn under_load<C: Sync>(&self, cases: &[C], run: impl Fn(&C) + Sync) {
        // Tests of one program run at once; one crowd is enough for the machine.
        static TURN: Mutex<()> = Mutex::new(());
        let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let (stop, next) = (AtomicBool::new(false), Mutex::new(cases.iter()));
        thread::scope(|scope| {
            let (began, begun) = mpsc::channel();
            let neighbours = self.neighbours(scope, &stop, began);
            // Cases begin under load. A neighbour that fails at once is told below.
            for _ in &neighbours {
                let _ = begun.recv();
            }
            let worker = || {
                loop {
                    let case = next.lock().expect("nothing panics while it is held").next();
                    let Some(case) = case else { return };
                    run(case);
                }
            };
            let workers: Vec<_> = (0..CASES_AT_ONCE.min(cases.len())).map(|_| scope.spawn(worker)).collect();
            let failed: Vec<_> = workers.into_iter().filter_map(|worker| worker.join().err()).collect();
            stop.store(true, Ordering::Relaxed);
            for neighbour in neighbours {
                let requests = neighbour.join().expect("a neighbour's request failed");
                assert!(requests > 0, "there was no load");
            }
            if let Some(panic) = failed.into_iter().next() {
                std::panic::resume_unwind(panic);
            }
        });
    }

    fn neighbours<'s>(&'s self, scope: &'s Scope<'s, '_>, stop: &'s AtomicBool, began: mpsc::Sender<()>) -> Vec<ScopedJoinHandle<'s, u32>> {
        let adapter_began = began.clone();
        let routing = move || {
            let slot = self.host.routing(Some("round-robin")).expect("a built-in plugin");
            let snapshot = snapshot(1, 3, 0.0);
            count_until(stop, began, |ordinal| {
                let decided = slot.route(&snapshot, &request(ordinal, 6)).expect("a neighbour is answered");
                assert!(decided.answer.is_ok() && decided.fallback.is_none() && &*decided.by.plugin == "round-robin-routing", "{decided:?}");
            })
        };
        let adapter = move || {
            let shard = Arc::clone(&shards()[0]);
            let mut instance = self.host.adapter("cpu").expect("a built-in plugin").open(shard, 0).expect("it opens");
            let right = instance.run(&RunCall::default(), vec![input()]).expect("it runs");
            count_until(stop, adapter_began, |_| assert_eq!(instance.run(&RunCall::default(), vec![input()]).expect("it runs"), right))
        };
        vec![scope.spawn(routing), scope.spawn(adapter)]
    }
}

/// Works until it is told to stop, says when it has done so once, and gives how often it has.
fn count_until(stop: &AtomicBool, began: mpsc::Sender<()>, mut work: impl FnMut(u32)) -> u32 {
    let mut count = 0;
    while !stop.load(Ordering::Relaxed) {
        work(count);
        if count == 0 {
            // Fails only where whoever waits for it has failed.
            let _ = began.send(());
        }
        count += 1;
        thread::sleep(NEIGHBOUR_PAUSE);
    }
    count
}

fn slot_of(event: &PluginEvent) -> &SlotName {
    match event {
        PluginEvent::Swapped { now, .. } => &now.slot,
        PluginEvent::Strike { bearer, .. } | PluginEvent::TrialStarted { bearer, .. } | PluginEvent::TrialEnded { bearer, .. } => &bearer.slot,
        PluginEvent::Emptied { slot, .. } | PluginEvent::FellBack { slot, .. } | PluginEvent::RetryFailed { slot, .. } | PluginEvent::Log { slot, .. } => slot,
    }
}

/// A small generated model in two shards.
pub fn shards() -> Vec<Arc<Shard>> {
    let model = generate(&Kind::Mlp(MlpSize { inputs: 64, hidden: 64, layers: 4, outputs: 10 }), 7).expect("a model");
    let inspection = inspect(&model, model_id()).expect("a sound model");
    let cuts = inspection.legal_cuts();
    split(&inspection, &cuts[cuts.len() / 2..=cuts.len() / 2]).expect("two shards").into_iter().map(Arc::new).collect()
}

/// What the first shard takes.
pub fn input() -> Tensor {
    let values: Vec<f32> = (0_u8..64).map(|index| f32::from(index) / 64.0).collect();
    Tensor::from_f32(&[1, 64], &values).expect("64 numbers")
}
