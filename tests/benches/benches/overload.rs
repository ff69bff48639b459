//! Twice as many requests as a host can answer, of two priorities: how long the urgent take, against how long they take alone, what the
//! others get, and how fast those are told who are turned away. With the queueing policies that the host has, in turns. Requests come at
//! random times that do not wait for answers, and each time is counted from when its request was due.

use std::{
    error::Error,
    fmt::Write as _,
    io,
    net::TcpStream,
    path::Path,
    sync::{Mutex, PoisonError},
    thread::{self, Scope, ScopedJoinHandle},
    time::{Duration, Instant},
};

use host_core::noise;
use host_engine::{Kind, MlpSize};
use serde_json::{Value, json};
use shardhost_benches::{
    Host, Times,
    http::{Answer, Connection},
    models, pool, report, round,
};

const MODEL: &str = "wide";
const SIZE: MlpSize = MlpSize { inputs: 16, hidden: 384, layers: 4, outputs: 4 };
/// Devices that each hold the whole model; so many requests run at once.
const DEVICES: usize = 8;
/// How many times as slow as this machine they are. They sleep most of the time, so that two cores are enough for all of them and the load.
const SLOWDOWN: u32 = 100;
/// Requests that may wait.
const DEPTH_MAX: usize = 64;
/// What is asked for, of what can be answered.
const OFFERED_RATIO: f64 = 2.0;
/// The part that is urgent, of what can be answered.
const URGENT_RATIO: f64 = 0.4;
const WARM_UP: Duration = Duration::from_secs(5);
const WINDOW: Duration = Duration::from_secs(30);
const ROUNDS: u64 = 3;
/// The policies, in the slot one after another. The first says what order alone costs.
const POLICIES: [&str; 3] = ["first-come-queueing", "deadline-queueing", "priority-queueing"];

type Failed = Box<dyn Error>;

fn main() -> Result<(), Failed> {
    let folder = tempfile::tempdir()?;
    let host = start(folder.path())?;
    let per_s = capacity(&host)?;
    for policy in POLICIES {
        host.command(&["plugin", "swap", "queueing", policy, "-o", "json"])?;
        let (mut alone, mut urgent, mut others) = (Seen::default(), Seen::default(), Seen::default());
        // What was learned of the line before is forgotten.
        together(&host, per_s, OFFERED_RATIO, u64::MAX, WARM_UP)?;
        for seed in 0..ROUNDS {
            alone.add(together(&host, per_s, URGENT_RATIO, seed, WINDOW)?.0);
            let (first, second) = together(&host, per_s, OFFERED_RATIO, seed + ROUNDS, WINDOW)?;
            urgent.add(first);
            others.add(second);
        }
        report("overload", values(policy, per_s, &alone, &urgent, &others));
    }
    Ok(())
}

fn start(folder: &Path) -> Result<Host, Failed> {
    let models = folder.join("models");
    models::write(&models, MODEL, &models::generated(&Kind::Mlp(SIZE))?, &format!("objective: throughput, stages_max: 1, replicas_max: {DEVICES}"))?;
    let mut config = format!("requests: {{ running_max: {DEVICES}, queue_depth_max: {DEPTH_MAX} }}\nlocal_devices:\n");
    for device in 0..DEVICES {
        writeln!(config, "  - {{ id: slow-{device}, slowdown: {SLOWDOWN} }}")?;
    }
    let file = folder.join("host.yaml");
    std::fs::write(&file, config)?;
    let host = Host::start(folder.join("data"), &["--config", &file.display().to_string(), "--models", &models.display().to_string()])?;
    pool::placed(&host, MODEL, |explanation| explanation.replicas.len() == DEVICES)?;
    Ok(host)
}

/// What became of requests of one priority.
#[derive(Default)]
struct Seen {
    answered: Vec<Duration>,
    shed: Vec<Duration>,
    /// What was neither, and what was said.
    failed: Vec<String>,
    /// When answers came, from the start of each window on.
    answered_at: Vec<Duration>,
    /// The longest time between two answers.
    still_max: Duration,
}

impl Seen {
    fn add(&mut self, other: Self) {
        self.answered.extend(other.answered);
        self.shed.extend(other.shed);
        self.failed.extend(other.failed);
        self.still_max = self.still_max.max(other.still_max);
    }

    fn count(&self) -> usize {
        self.answered.len() + self.shed.len() + self.failed.len()
    }

    /// Closes a window: how long there was none of these answers in it at most.
    fn over(mut self) -> Self {
        self.answered_at.sort_unstable();
        let pauses = self.answered_at.windows(2).map(|pair| pair[1].saturating_sub(pair[0]));
        self.still_max = pauses.chain(self.answered_at.first().copied()).max().unwrap_or(WINDOW);
        self
    }
}

/// Moments at random, on average so many a second.
struct Moments(Mutex<Moment>);

struct Moment {
    due: Instant,
    end: Instant,
    per_s: f64,
    seed: u64,
    drawn: u64,
}

impl Moments {
    fn new(start: Instant, window: Duration, per_s: f64, seed: u64) -> Self {
        Self(Mutex::new(Moment { due: start, end: start + window, per_s, seed, drawn: 0 }))
    }

    /// The next one, for whoever asks first; none once the window is over.
    fn next(&self) -> Option<Instant> {
        let mut moment = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        moment.drawn += 1;
        let pause = -(1.0 - noise::uniform(moment.seed, moment.drawn)).ln() / moment.per_s;
        moment.due += Duration::from_secs_f64(pause);
        (moment.due < moment.end).then_some(moment.due)
    }
}

/// Requests of both priorities for a window, together so many times what can be answered: the urgent ones, and the others.
fn together(host: &Host, per_s: f64, ratio: f64, seed: u64, window: Duration) -> Result<(Seen, Seen), Failed> {
    let start = Instant::now();
    let urgent = Moments::new(start, window, per_s * URGENT_RATIO, seed);
    let others = Moments::new(start, window, per_s * (ratio - URGENT_RATIO), !seed);
    thread::scope(|scope| {
        let first = clients(scope, &host.address, &urgent, 1, start);
        let second = if ratio > URGENT_RATIO { clients(scope, &host.address, &others, 3, start) } else { Vec::new() };
        Ok((gathered(first)?, gathered(second)?))
    })
}

type Client<'scope> = ScopedJoinHandle<'scope, io::Result<Seen>>;

/// More clients than can be waited for at once, so that one is always free to send what is due.
fn clients<'scope>(scope: &'scope Scope<'scope, '_>, door: &'scope str, moments: &'scope Moments, priority: u32, start: Instant) -> Vec<Client<'scope>> {
    (0..DEPTH_MAX + 4 * DEVICES).map(|_| scope.spawn(move || ask_when_due(door, moments, priority, start))).collect()
}

fn gathered(clients: Vec<Client<'_>>) -> Result<Seen, Failed> {
    let mut seen = Seen::default();
    for client in clients {
        let mut one = client.join().map_err(|_| "a client's thread failed")??;
        seen.answered_at.append(&mut one.answered_at);
        seen.add(one);
    }
    Ok(seen.over())
}

/// Sends what is due over one connection, one after another.
fn ask_when_due(door: &str, moments: &Moments, priority: u32, start: Instant) -> io::Result<Seen> {
    let (mut connection, mut seen) = (Connection::to_door(door)?, Seen::default());
    while let Some(due) = moments.next() {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        let answer = ask(&mut connection, priority)?;
        match (answer.status, answer.header("retry-after")) {
            (200, _) => {
                seen.answered.push(due.elapsed());
                seen.answered_at.push(start.elapsed());
            }
            (503, Some(_)) => seen.shed.push(due.elapsed()),
            (status, _) => seen.failed.push(format!("status {status}: {}", String::from_utf8_lossy(&answer.body))),
        }
    }
    Ok(seen)
}

fn ask(connection: &mut Connection<TcpStream>, priority: u32) -> io::Result<Answer> {
    let input = json!({ "name": "input", "datatype": "FP32", "shape": [1, SIZE.inputs], "data": vec![1; SIZE.inputs] });
    let body = json!({ "parameters": { "priority": priority }, "inputs": [input] }).to_string();
    connection.post(&format!("/v2/models/{MODEL}/infer"), &[("content-type", "application/json")], body.as_bytes())
}

/// Requests per second that the host answers while it always has some that wait, and never too many.
fn capacity(host: &Host) -> Result<f64, Failed> {
    let start = Instant::now();
    let [from, to] = [start + WARM_UP, start + WARM_UP + WINDOW];
    let count = || -> io::Result<u32> {
        let (mut connection, mut answered) = (Connection::to_door(&host.address)?, 0);
        while Instant::now() < to {
            let status = ask(&mut connection, 1)?.status;
            answered += u32::from(status == 200 && (from..to).contains(&Instant::now()));
        }
        Ok(answered)
    };
    thread::scope(|scope| {
        let counts: Vec<_> = (0..3 * DEVICES).map(|_| scope.spawn(count)).collect();
        let mut answered = 0;
        for count in counts {
            answered += count.join().map_err(|_| "a client's thread failed")??;
        }
        Ok(f64::from(answered) / WINDOW.as_secs_f64())
    })
}

fn values(policy: &str, per_s: f64, alone: &Seen, urgent: &Seen, others: &Seen) -> Value {
    let seconds = WINDOW.as_secs_f64() * ROUNDS as f64;
    let p99_ms = |times: &[Duration]| Times::of(times).percentile(0.99) / 1e3;
    let failed: Vec<&String> = [alone, urgent, others].into_iter().flat_map(|seen| &seen.failed).collect();
    json!({
        "policy": policy,
        "capacity_per_s": round(per_s),
        "offered_per_s": round((urgent.count() + others.count()) as f64 / seconds),
        "urgent_alone": Times::of(&alone.answered).spread_ms(),
        "urgent": Times::of(&urgent.answered).spread_ms(),
        "urgent_p99_ms_alone": round(p99_ms(&alone.answered)),
        "urgent_p99_ms": round(p99_ms(&urgent.answered)),
        "ratio_p99": round(p99_ms(&urgent.answered) / p99_ms(&alone.answered)),
        "urgent_shed": urgent.shed.len(),
        "others_answered_per_s": round(others.answered.len() as f64 / seconds),
        "others_p99_ms": round(p99_ms(&others.answered)),
        "others_none_for_ms_max": round(others.still_max.as_secs_f64() * 1e3),
        "others_shed": others.shed.len(),
        "shed_after": Times::of(&others.shed).spread_ms(),
        "failed": failed.len(),
        "first_failure": failed.first(),
    })
}
