//! Trouble without end for devices under constant load: they are killed and started again, suspended for up to three seconds, cut
//! off, and left on connections on which nothing flows. Every picture must be answered, once, with the label that it had when
//! nothing was wrong. Fails if one is not, or if the central took more memory than it may.
//!
//! `cargo bench -p shardhost-benches --bench chaos -- events=200 seconds=600 memory_mib_max=400` goes on until that many things have
//! happened and that much time is over.

use std::{
    error::Error,
    path::{Path, PathBuf},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use host_wire::admin::Device;
use serde_json::{Value, json};
use shardhost_benches::{
    Host, Times,
    pictures::{self, Asking, Picture, Seen},
    pool, report,
    trouble::{Events, Limits, Trouble},
    victim::Victim,
};

const CLIENTS: usize = 4;
/// From one request of a client to its next.
const ASK_EVERY: Duration = Duration::from_millis(20);
const LIMITS: Limits = Limits { lasting_max: Duration::from_secs(3), pause_max: Duration::from_secs(2) };
/// How often the central is asked how devices are.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// A device that is not whole again by then is gone, and the run with it.
const WHOLE_MAX: Duration = Duration::from_secs(60);
/// Pictures that the model must get right when nothing is wrong, of 200.
const RIGHT_MIN: usize = 194;
/// Reasons that are printed when something went wrong.
const REASONS_MAX: usize = 10;
/// Damping is set aside: a pool in which each device comes and goes all the time would do nothing but wait.
const NO_DAMPING: [&str; 2] = ["--set", "leases.flaps_max=1000000"];

type Failed = Box<dyn Error>;

fn main() -> Result<(), Failed> {
    let settings = Settings::read(std::env::args().skip(1))?;
    let folder = tempfile::tempdir()?;
    let central = pool::central(folder.path().join("central"), Path::new("models"), &NO_DAMPING)?;
    let id = |number: usize| format!("device-{number}");
    let victims = (0..settings.devices).map(|number| Victim::join(&central, folder.path(), &id(number))).collect::<Result<Vec<_>, _>>()?;
    pool::placed(&central, "digits", |_| true)?;
    let mut pictures = pictures::read(&PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../models/digits/samples"))?;
    pictures::learn(&central.address, &mut pictures)?;
    let right = pictures.iter().filter(|picture| picture.label == picture.digit).count();
    if right < RIGHT_MIN {
        return Err(format!("{right} pictures were right before anything was wrong, at least {RIGHT_MIN} must be").into());
    }
    let scene = Scene { central, victims, pictures, watch: Watch::new(settings.devices) };
    let resident_before = scene.central.resident_mib();
    let (ran, seen) = scene.run(&settings)?;
    let memory = json!({
        "resident_mib_before": resident_before,
        "resident_mib": scene.central.resident_mib(),
        "resident_mib_max": scene.central.resident_mib_max(),
    });
    report("chaos", summary(&scene, &ran, &seen, memory));
    judge(&settings, &scene.central, &seen)
}

/// What the words behind the program's name say: each `KEY=NUMBER`.
#[derive(Clone, Copy, Debug)]
struct Settings {
    events: usize,
    seconds: u64,
    devices: usize,
    seed: u64,
    memory_mib_max: u64,
}

impl Settings {
    fn read(words: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut settings = Self { events: 200, seconds: 0, devices: 5, seed: 1, memory_mib_max: u64::MAX };
        // Cargo adds flags of its own.
        for word in words.filter(|word| !word.starts_with("--")) {
            let (key, value) = word.split_once('=').ok_or_else(|| format!("`{word}` is not of the form KEY=NUMBER"))?;
            let number: u64 = value.parse().map_err(|_| format!("{key} is `{value}`, it must be a whole number"))?;
            let count = usize::try_from(number).map_err(|error| format!("{key} is {number}: {error}"))?;
            match key {
                "events" => settings.events = count,
                "seconds" => settings.seconds = number,
                "devices" if count >= 3 => settings.devices = count,
                "devices" => return Err(format!("devices is {count}, it must be at least 3: one is in trouble, and the others are not")),
                "seed" => settings.seed = number,
                "memory_mib_max" => settings.memory_mib_max = number,
                _ => return Err(format!("`{key}` is not known, there are events, seconds, devices, seed, memory_mib_max")),
            }
        }
        Ok(settings)
    }
}

/// Something that was done to a device.
#[derive(Clone, Copy, Debug)]
struct Ran {
    device: usize,
    trouble: Trouble,
    at: Instant,
}

/// What the central says of devices, from moment to moment.
struct Watch(Mutex<Watched>);

struct Watched {
    /// By device, whether it is ready.
    ready: Vec<bool>,
    /// When that changed, of which device, and to what.
    changes: Vec<(Instant, usize, bool)>,
}

impl Watch {
    fn new(devices: usize) -> Self {
        Self(Mutex::new(Watched { ready: vec![true; devices], changes: Vec::new() }))
    }

    fn lock(&self) -> MutexGuard<'_, Watched> {
        // Whole between any two statements.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, victims: &[Victim], devices: &[Device]) {
        let mut watched = self.lock();
        for (index, victim) in victims.iter().enumerate() {
            let ready = devices.iter().any(|device| device.id == victim.id && device.state == "ready");
            if watched.ready[index] != ready {
                watched.ready[index] = ready;
                watched.changes.push((Instant::now(), index, ready));
            }
        }
    }
}

struct Scene {
    central: Host,
    victims: Vec<Victim>,
    pictures: Vec<Picture>,
    watch: Watch,
}

impl Scene {
    /// Trouble under load.
    fn run(&self, settings: &Settings) -> Result<(Vec<Ran>, Vec<Seen>), String> {
        let over = AtomicBool::new(false);
        let asking = Asking { door: &self.central.address, pictures: &self.pictures, every: ASK_EVERY, over: &over };
        thread::scope(|scope| {
            let clients: Vec<_> = (0..CLIENTS).map(|number| scope.spawn(move || pictures::client(asking, number))).collect();
            scope.spawn(|| self.look(&over));
            let ran = self.trouble(settings);
            over.store(true, Ordering::Relaxed);
            let failed = |_| "a client's thread failed".to_owned();
            let seen: Vec<Seen> = clients.into_iter().map(|client| client.join().map_err(failed)).collect::<Result<_, _>>()?;
            Ok((ran?, seen))
        })
    }

    /// Watches devices until it is over.
    fn look(&self, over: &AtomicBool) {
        while !over.load(Ordering::Relaxed) {
            // A look that fails is made up for by the next.
            if let Ok(devices) = self.central.admin().and_then(|mut admin| admin.look::<Vec<Device>>("/devices")) {
                self.watch.note(&self.victims, &devices);
            }
            thread::sleep(LOOK_EVERY);
        }
    }

    /// Lets one thing after another happen; several devices may be in trouble at once, but never half of them.
    fn trouble(&self, settings: &Settings) -> Result<Vec<Ran>, String> {
        let in_trouble: Vec<AtomicBool> = self.victims.iter().map(|_| AtomicBool::new(false)).collect();
        let (started, least) = (Instant::now(), Duration::from_secs(settings.seconds));
        let mut ran = Vec::new();
        thread::scope(|scope| {
            let mut under_way = Vec::new();
            for event in Events::new(settings.seed, self.victims.len(), LIMITS) {
                if ran.len() >= settings.events && started.elapsed() >= least {
                    break;
                }
                thread::sleep(event.pause);
                self.wait_until_whole(event.device, &in_trouble)?;
                let (victim, busy) = (&self.victims[event.device], &in_trouble[event.device]);
                busy.store(true, Ordering::Release);
                ran.push(Ran { device: event.device, trouble: event.trouble, at: Instant::now() });
                under_way.push(scope.spawn(move || {
                    let befallen = victim.befall(event.trouble);
                    busy.store(false, Ordering::Release);
                    befallen
                }));
            }
            for done in under_way {
                done.join().map_err(|_| "a thread that makes trouble failed".to_owned())??;
            }
            Ok::<_, String>(())
        })?;
        for device in 0..self.victims.len() {
            self.wait_until_whole(device, &in_trouble)?;
        }
        Ok(ran)
    }

    /// Waits until a device is there and out of trouble, and enough others are.
    fn wait_until_whole(&self, device: usize, in_trouble: &[AtomicBool]) -> Result<(), String> {
        let started = Instant::now();
        loop {
            let whole: Vec<bool> = in_trouble.iter().zip(&self.watch.lock().ready).map(|(busy, ready)| *ready && !busy.load(Ordering::Acquire)).collect();
            let impaired = whole.iter().filter(|whole| !**whole).count();
            if whole[device] && impaired < (whole.len() - 1) / 2 {
                return Ok(());
            }
            if started.elapsed() > WHOLE_MAX {
                let gone: Vec<&str> = self.victims.iter().zip(&whole).filter(|(_, whole)| !**whole).map(|(victim, _)| victim.id.as_str()).collect();
                return Err(format!("{} did not come back within {} s", gone.join(", "), WHOLE_MAX.as_secs()));
            }
            thread::sleep(LOOK_EVERY);
        }
    }
}

fn summary(scene: &Scene, ran: &[Ran], seen: &[Seen], memory: Value) -> Value {
    let changes = scene.watch.lock().changes.clone();
    let (mut detected, mut back, mut served) = (Vec::new(), Vec::new(), Vec::new());
    for (index, event) in ran.iter().enumerate() {
        let next = ran[index + 1..].iter().find(|next| next.device == event.device).map(|next| next.at);
        let own = changes.iter().filter(|(at, device, _)| *device == event.device && *at >= event.at && next.is_none_or(|next| *at < next));
        let first = |wanted: bool| own.clone().find(|(_, _, ready)| *ready == wanted).map(|(at, ..)| *at - event.at);
        detected.extend(first(false));
        back.extend(first(true));
        served.extend(served_again(seen, event.at));
    }
    let slowest = seen.iter().flat_map(|client| &client.right).map(|(sent, answered)| *answered - *sent).max();
    let count = |of: fn(&Seen) -> usize| seen.iter().map(of).sum::<usize>();
    let kinds = ["kill", "suspend", "cut", "freeze"].map(|kind| (kind.to_owned(), json!(ran.iter().filter(|event| event.trouble.name() == kind).count())));
    json!({
        "events": ran.len(),
        "kinds": serde_json::Map::from_iter(kinds),
        "devices": scene.victims.len(),
        "requests": count(Seen::requests),
        "lost": count(|client| client.lost.len()),
        "wrong": count(|client| client.wrong.len()),
        "unasked": count(|client| client.unasked.len()),
        "detected": Times::of(&detected).spread_ms(),
        "served_again": Times::of(&served).spread_ms(),
        "back": Times::of(&back).spread_ms(),
        "slowest_answer_ms": slowest.map(|slowest| slowest.as_millis() as u64),
        "memory": memory,
    })
}

/// The time until every client had an answer to a request that it sent after this moment. None where one sent no more.
fn served_again(seen: &[Seen], at: Instant) -> Option<Duration> {
    let first = |client: &Seen| client.right.get(client.right.partition_point(|(sent, _)| *sent < at)).map(|(_, answered)| *answered - at);
    seen.iter().map(first).collect::<Option<Vec<_>>>()?.into_iter().max()
}

/// An error if anything was lost, wrong or answered twice, or the central grew too large.
fn judge(settings: &Settings, central: &Host, seen: &[Seen]) -> Result<(), Failed> {
    for reason in seen.iter().flat_map(|client| client.lost.iter().chain(&client.wrong).chain(&client.unasked)).take(REASONS_MAX) {
        eprintln!("{reason}");
    }
    if !seen.iter().all(Seen::is_sound) {
        return Err("not every request was answered rightly, once".into());
    }
    let (resident, most) = (central.resident_mib(), settings.memory_mib_max);
    if resident > most as f64 {
        return Err(format!("the central has {resident} MiB in memory, at most {most} are allowed").into());
    }
    Ok(())
}
