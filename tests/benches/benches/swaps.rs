//! 1,000 swaps between two different routing policies while requests come at a fixed rate: how many fail, how many are answered
//! by a generation older than the one in service when they were sent, and what that does to their times and to memory.
//! Rounds with and without swaps take turns.

use std::{
    os::unix::net::UnixStream,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use shardhost_benches::{Host, Times, http::Connection, report, round};

const CLIENTS: u32 = 8;
const REQUESTS_PER_S: u32 = 2_000;
const ROUNDS: u32 = 4;
const SWAPS_PER_ROUND: u32 = 250;
const ROUND: Duration = Duration::from_secs(10);
const BODY: &str = r#"{"inputs":[{"name":"x","datatype":"FP32","shape":[1,16],"data":[0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15]}]}"#;

fn main() -> Result<(), String> {
    let data = tempfile::tempdir().map_err(|error| error.to_string())?;
    let host = Host::start(data.path().into(), &["--local-devices", "1", "--models", "models"])?;
    let generation = AtomicU64::new(0);
    // The first swaps fill the history of the slot and the allocator's arenas.
    round_of(&host, &generation, 50)?;
    let memory_before = host.resident_mib();
    let (mut quiet, mut swapped) = (Seen::default(), Seen::default());
    for _ in 0..ROUNDS {
        quiet.add(round_of(&host, &generation, 0)?);
        swapped.add(round_of(&host, &generation, SWAPS_PER_ROUND)?);
    }
    let memory_after = host.resident_mib();
    let (without, with) = (Times::of(&quiet.times), Times::of(&swapped.times));
    let values = json!({
        "swaps": ROUNDS * SWAPS_PER_ROUND,
        "requests": quiet.times.len() + swapped.times.len(),
        "requests_per_s": round(swapped.times.len() as f64 / (ROUND.as_secs_f64() * f64::from(ROUNDS))),
        "failed": quiet.failed + swapped.failed,
        "by_an_older_generation": quiet.older + swapped.older,
        "swap": Times::of(&swapped.swaps).summary(),
        "without_swaps": without.summary(),
        "with_swaps": with.summary(),
        "ratio_p50": round(with.percentile(0.5) / without.percentile(0.5)),
        "ratio_p99": round(with.percentile(0.99) / without.percentile(0.99)),
        "resident_mib_before": memory_before,
        "resident_mib_after": memory_after,
    });
    report("swaps", values);
    Ok(())
}

/// What happened to requests.
#[derive(Default)]
struct Seen {
    times: Vec<Duration>,
    swaps: Vec<Duration>,
    failed: u32,
    older: u32,
}

impl Seen {
    fn add(&mut self, other: Self) {
        self.times.extend(other.times);
        self.swaps.extend(other.swaps);
        self.failed += other.failed;
        self.older += other.older;
    }
}

/// Clients ask at their rate for the length of a round, while so many swaps are spread over it.
fn round_of(host: &Host, generation: &AtomicU64, swaps: u32) -> Result<Seen, String> {
    let over = AtomicBool::new(false);
    let pause = Duration::from_secs_f64(f64::from(CLIENTS) / f64::from(REQUESTS_PER_S));
    thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|number| {
                let (over, address) = (&over, &host.address);
                scope.spawn(move || {
                    thread::sleep(pause.mul_f64(f64::from(number) / f64::from(CLIENTS)));
                    client(address, pause, generation, over)
                })
            })
            .collect();
        let (mut seen, mut admin, started) = (Seen::default(), host.admin()?, Instant::now());
        for swap in 0..swaps {
            let due = ROUND.mul_f64(f64::from(swap) / f64::from(swaps));
            thread::sleep(due.saturating_sub(started.elapsed()));
            let name = if swap % 2 == 0 { "round-robin-routing" } else { "least-loaded-routing" };
            let asked = Instant::now();
            let installed = swap_in(&mut admin, name)?;
            seen.swaps.push(asked.elapsed());
            let now = installed["generation"].as_u64().ok_or_else(|| format!("no generation in {installed}"))?;
            generation.store(now, Ordering::SeqCst);
        }
        thread::sleep(ROUND.saturating_sub(started.elapsed()));
        over.store(true, Ordering::Relaxed);
        for client in clients {
            seen.add(client.join().map_err(|_| "a client's thread failed".to_owned())??);
        }
        Ok(seen)
    })
}

/// Asks at a fixed rate over one connection. A request whose turn has passed goes at once.
fn client(address: &str, pause: Duration, generation: &AtomicU64, over: &AtomicBool) -> Result<Seen, String> {
    let failed = |error: std::io::Error| error.to_string();
    let mut connection = Connection::to_door(address).map_err(failed)?;
    let (mut seen, mut due) = (Seen::default(), Instant::now());
    while !over.load(Ordering::Relaxed) {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        due += pause;
        let floor = generation.load(Ordering::SeqCst);
        let asked = Instant::now();
        let answer = connection.post("/v2/models/mlp/infer", &[("content-type", "application/json")], BODY.as_bytes()).map_err(failed)?;
        seen.times.push(asked.elapsed());
        // `PLUGIN generation NUMBER`
        let generation = answer.header("x-host-policy").and_then(|policy| policy.split(' ').nth(2)?.parse().ok()).unwrap_or(0_u64);
        seen.failed += u32::from(answer.status != 200);
        seen.older += u32::from(answer.status == 200 && generation < floor);
    }
    Ok(seen)
}

/// Puts a policy in service.
fn swap_in(admin: &mut Connection<UnixStream>, policy: &str) -> Result<Value, String> {
    let path = format!("/plugins?source=swap&name={policy}&slot=routing&accept_worse=true");
    admin.post(&path, &[], &[]).map_err(|error| error.to_string())?.json()
}
