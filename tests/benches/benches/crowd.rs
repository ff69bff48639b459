//! Two hundred devices at one central. They are light ones, all in this process: they enrol, attend and beat as `peer.proto` says,
//! say of each shard that it is loaded, and compute nothing. What they cost the central, how fast it answers a heartbeat, and how
//! long it takes to a plan.

use std::{
    collections::HashMap,
    error::Error,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use host_wire::{
    admin::{Device, Explanation},
    peer::{pb, pb::central_message::Says as Told, pb::device_message::Says},
};
use rustls::pki_types::CertificateDer;
use serde_json::json;
use shardhost_benches::{
    Host, Times,
    peer::{self, Identity, Lane, rpc::central_client::CentralClient},
    pool::{self, Token},
    report, round,
};
use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{Instant as Tick, MissedTickBehavior, interval_at},
};
use tokio_stream::wrappers::ReceiverStream;

const DEVICES: u32 = 200;
const MODEL: &str = "digits";
/// Devices that enrol or begin to attend at once; a central lets so many strangers in and more.
const AT_ONCE: usize = 16;
/// Messages of a device that may wait.
const MESSAGES_MAX: usize = 256;
/// A plan that has not changed for so long is the last one.
const STEADY: Duration = Duration::from_secs(3);
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How long the central is watched when nothing happens but heartbeats.
const QUIET: Duration = Duration::from_secs(20);
/// Devices with a stage that leave, one after another.
const LEAVING: usize = 10;

type Failed = Box<dyn Error>;
type Lags = Arc<Mutex<Vec<Duration>>>;

/// A device as its central knows it.
struct Light {
    id: String,
    say: mpsc::Sender<pb::DeviceMessage>,
}

fn main() -> Result<(), Failed> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let folder = tempfile::tempdir()?;
    let central = pool::central(folder.path().join("central"), Path::new("models"), &[])?;
    runtime.block_on(measure(&central))
}

async fn measure(central: &Host) -> Result<(), Failed> {
    let (resident_before, lags) = (central.resident_mib(), Lags::default());
    let (token, authority) = (pool::token(central, DEVICES)?, peer::authority(central)?);
    let mut attending = JoinSet::new();
    let (started, cpu) = (Instant::now(), central.cpu());
    let identities = enrol(&token, &authority).await?;
    let (enrolled, enrolled_cpu) = (started.elapsed(), central.cpu() - cpu);
    let (started, cpu) = (Instant::now(), central.cpu());
    let lights = attend(&token.central, identities, &lags, &mut attending).await?;
    let attended = Instant::now();
    let planned = steady(central)?;
    let joined_cpu = central.cpu() - cpu;
    take(&lags);
    let cpu = central.cpu();
    thread::sleep(QUIET);
    let quiet_cpu = central.cpu() - cpu;
    let beats = Times::of(&take(&lags));
    let left = leave(central, &lights).await?;
    let devices: Vec<Device> = central.admin()?.look("/devices")?;
    let resident = central.resident_mib();
    let values = json!({
        "devices": DEVICES,
        "enrol_ms_each": round(enrolled.as_secs_f64() * 1e3 / f64::from(DEVICES)),
        "enrol_cpu_ms_each": round(enrolled_cpu.as_secs_f64() * 1e3 / f64::from(DEVICES)),
        "attend_ms_each": round((attended - started).as_secs_f64() * 1e3 / f64::from(DEVICES)),
        "plan_ms_after_the_last": round(planned.saturating_duration_since(attended).as_secs_f64() * 1e3),
        "join_and_plan_cpu_s": round(joined_cpu.as_secs_f64()),
        "quiet_cores": round(quiet_cpu.as_secs_f64() / QUIET.as_secs_f64()),
        "heartbeat_answered": beats.spread_ms(),
        "plan_without_one_that_left": left.spread_ms(),
        "ready": devices.iter().filter(|device| device.state == "ready").count(),
        "left": LEAVING,
        "resident_mib_before": resident_before,
        "resident_mib": resident,
        "resident_kib_each": round((resident - resident_before) * 1024.0 / f64::from(DEVICES)),
    });
    report("crowd", values);
    // Nobody's stream may have ended but of those that left.
    while let Some(ended) = attending.try_join_next() {
        ended??;
    }
    attending.abort_all();
    Ok(())
}

fn take(lags: &Lags) -> Vec<Duration> {
    std::mem::take(&mut *lags.lock().unwrap_or_else(PoisonError::into_inner))
}

fn id(number: u32) -> String {
    format!("light-{number:03}")
}

/// Every device gets its certificate.
async fn enrol(token: &Token, authority: &CertificateDer<'static>) -> Result<Vec<(u32, Identity)>, Failed> {
    let (mut enrolling, mut identities, mut next) = (JoinSet::new(), Vec::new(), 0..DEVICES);
    loop {
        while enrolling.len() < AT_ONCE
            && let Some(number) = next.next()
        {
            let (token, authority) = (token.clone(), authority.clone());
            enrolling.spawn(async move { peer::enrol(&authority, &token, &id(number)).await.map(|identity| (number, identity)) });
        }
        match enrolling.join_next().await {
            Some(enrolled) => identities.push(enrolled??),
            None => return Ok(identities),
        }
    }
}

/// Every device attends; what it does from then on goes into `attending`.
async fn attend(central: &str, identities: Vec<(u32, Identity)>, lags: &Lags, attending: &mut JoinSet<Result<(), String>>) -> Result<Vec<Light>, Failed> {
    let (mut greeting, mut lights, mut waiting) = (JoinSet::new(), Vec::new(), identities.into_iter());
    loop {
        while greeting.len() < AT_ONCE
            && let Some((number, identity)) = waiting.next()
        {
            let central = central.to_owned();
            greeting.spawn(async move { greet(&central, number, &identity).await });
        }
        let Some(greeted) = greeting.join_next().await else { return Ok(lights) };
        let (light, says, number) = greeted??;
        attending.spawn(live(light.say.clone(), says, number, lags.clone()));
        lights.push(light);
    }
}

/// Opens the stream on which a device attends, and says hello.
async fn greet(central: &str, number: u32, identity: &Identity) -> Result<(Light, tonic::Streaming<pb::CentralMessage>, u32), String> {
    let channel = identity.to_central(central)?.open(Lane::Latency).await?;
    let (say, said) = mpsc::channel(MESSAGES_MAX);
    let light = Light { id: id(number), say };
    light.say.send(message(Says::Hello(hello(number)))).await.map_err(|error| error.to_string())?;
    let attended = CentralClient::new(channel).attend(ReceiverStream::new(said)).await;
    let says = attended.map_err(|status| format!("{} may not attend: {status}", light.id))?.into_inner();
    Ok((light, says, number))
}

/// Small machines of different speeds.
fn hello(number: u32) -> pb::Hello {
    let cost = pb::Cost { gflop_ms: 5.0 + f64::from(number % 10) * 5.0, weight_mb_ms: 0.05, activation_mb_ms: 0.05, fixed_ms: 0.02 };
    let offer = pb::Offer {
        accelerator: "cpu".to_owned(),
        adapter: "cpu".to_owned(),
        memory_bytes: 4e9,
        weight_factor: 2.0,
        fixed_bytes: 8e6,
        head: true,
        body: true,
        tail: true,
        cost: Some(cost),
        ..pb::Offer::default()
    };
    pb::Hello { site: "hall".to_owned(), offers: vec![offer], process: u64::from(number) + 1, ..pb::Hello::default() }
}

fn message(says: Says) -> pb::DeviceMessage {
    pb::DeviceMessage { says: Some(says) }
}

/// Beats, and says that it has done whatever it is told, until its stream ends.
async fn live(say: mpsc::Sender<pb::DeviceMessage>, mut says: tonic::Streaming<pb::CentralMessage>, number: u32, lags: Lags) -> Result<(), String> {
    let mut every = Duration::from_millis(500);
    if let Some(pb::CentralMessage { says: Some(Told::Welcome(welcome)) }) = says.message().await.map_err(|status| status.to_string())? {
        every = Duration::from_millis(welcome.heartbeat_ms.max(1));
    }
    // Two hundred machines do not beat at the same moment.
    let mut beats = interval_at(Tick::now() + every * (number % 50) / 50, every);
    beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut count, mut sent) = (0, HashMap::new());
    loop {
        let told = tokio::select! {
            told = says.message() => told.map_err(|status| status.to_string())?,
            _ = beats.tick() => {
                count += 1;
                sent.insert(count, Instant::now());
                let beat = pb::Heartbeat { number: count, cpu: 0.1, memory: 0.1, ..pb::Heartbeat::default() };
                say.send(message(Says::Heartbeat(beat))).await.map_err(|error| error.to_string())?;
                continue;
            }
        };
        let answer = match told.and_then(|told| told.says) {
            Some(Told::Load(load)) => load.shard.map(Says::Loaded),
            Some(Told::Unload(shard)) => Some(Says::Unloaded(shard)),
            Some(Told::HeartbeatSeen(seen)) => {
                lags.lock().unwrap_or_else(PoisonError::into_inner).extend(sent.remove(&seen.number).map(|sent: Instant| sent.elapsed()));
                None
            }
            Some(Told::Goodbye(goodbye)) => return Err(goodbye.reason),
            Some(_) => None,
            None => return Ok(()),
        };
        if let Some(answer) = answer {
            say.send(message(answer)).await.map_err(|error| error.to_string())?;
        }
    }
}

/// Waits until the plan does not change any more and is carried out; the moment since when.
fn steady(central: &Host) -> Result<Instant, String> {
    let mut last: Option<(u64, Instant)> = None;
    pool::until("a plan that stays", || {
        thread::sleep(LOOK_EVERY);
        let explanation = pool::explained(central, MODEL)?;
        let devices: Vec<Device> = central.admin()?.look("/devices")?;
        if !pool::is_loaded(&explanation, &devices) {
            last = None;
            return Ok(None);
        }
        let (_, since) = *last.get_or_insert((explanation.plan, Instant::now()));
        if last.is_some_and(|(plan, _)| plan != explanation.plan) {
            last = Some((explanation.plan, Instant::now()));
            return Ok(None);
        }
        Ok((since.elapsed() > STEADY).then_some(since))
    })
}

/// Devices that have a stage leave; the time until the plan does without each and is carried out.
async fn leave(central: &Host, lights: &[Light]) -> Result<Times, Failed> {
    let uses = |explanation: &Explanation, id: &str| explanation.replicas.iter().flat_map(|replica| &replica.stages).any(|stage| stage.stage.device == id);
    let mut times = Vec::new();
    for _ in 0..LEAVING {
        let explanation = pool::explained(central, MODEL)?;
        let light = lights.iter().find(|light| uses(&explanation, &light.id)).ok_or("no device has a stage")?;
        let started = Instant::now();
        light.say.send(message(Says::Leaving(pb::Leaving { reason: "it was measured".to_owned() }))).await?;
        pool::placed(central, MODEL, |explanation| !uses(explanation, &light.id))?;
        times.push(started.elapsed());
    }
    Ok(Times::of(&times))
}
