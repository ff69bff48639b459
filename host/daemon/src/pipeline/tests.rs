//! Requests before devices that only pretend: some are silent, some lie, and some keep what they are sent until they are told.

use std::{
    path::Path,
    sync::{LazyLock, Mutex, atomic::AtomicUsize},
};

use host_core::{
    ids::{AcceleratorName, ModelName, OfferId},
    plan::Stage,
    shard::BlockRange,
    topology::{Segment, ServedModel, Topology, TopologyDevice},
    turns::TurnLimits,
};
use host_engine::{ElementType, Engines};
use host_plugin::{EventSink, PluginConfig};
use tokio::task::JoinHandle;

use super::*;
use crate::{
    admission::AdmissionLimits,
    clock,
    manifest::Manifest,
    passage::{Carrier, Seat},
};

/// How long anything may take before a test gives up.
const PATIENCE: Duration = Duration::from_secs(60);
/// Nothing is given up early, and reservations last.
const PATIENT: PipelineLimits =
    PipelineLimits { attempts_max: 3, replica_wait_max: PATIENCE, attempt_ratio_max: 1.0, attempt_min: Millis(1e6), exclusive_ms_max: 1_000_000 };
/// Runs are given up once they take longer than expected.
const HASTY: PipelineLimits = PipelineLimits { attempt_min: Millis(1.0), ..PATIENT };

static PLUGINS: LazyLock<Arc<PluginHost>> = LazyLock::new(|| {
    let started = PluginHost::start(PluginConfig::default(), Arc::new(Engines::default()), EventSink::none());
    Arc::new(started.expect("the built-in plugins start"))
});

static MODEL: LazyLock<Arc<Model>> = LazyLock::new(|| {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/mlp");
    let path = folder.join("model.yaml");
    let manifest = Manifest::parse(&path, &std::fs::read_to_string(&path).expect("in the repository")).expect("sound");
    let id = ModelId { name: ModelName::parse("mlp").expect("a name"), version: 1 };
    Arc::new(Model::load(id, &folder.join("1/model.onnx"), manifest).expect("loads"))
});

/// What a device does with rows that come to it.
#[derive(Clone, Copy, Debug)]
enum Conduct {
    /// Answers what the model declares.
    Answers,
    /// Answers something else.
    Lies,
    /// Has no shape so long.
    Refuses,
    /// Keeps them until it is told to answer.
    Keeps,
}

#[derive(Debug)]
struct Pretender {
    conduct: Conduct,
    came: AtomicUsize,
    kept: Mutex<Vec<Job>>,
}

impl Pretender {
    fn new(conduct: Conduct) -> Arc<Self> {
        Arc::new(Self { conduct, came: AtomicUsize::new(0), kept: Mutex::default() })
    }

    /// Rows that came to it so far.
    fn came(&self) -> usize {
        self.came.load(Ordering::SeqCst)
    }

    /// Answers what it has kept.
    fn let_go(&self) {
        let kept = std::mem::take(&mut *self.kept.lock().expect("nobody panics while it holds this"));
        kept.into_iter().for_each(|job| answer(job, 4));
    }
}

impl Carrier for Pretender {
    fn carry(&self, job: Job) {
        match self.conduct {
            Conduct::Answers => answer(job, 4),
            Conduct::Lies => answer(job, 5),
            Conduct::Refuses => refuse(job),
            Conduct::Keeps => self.kept.lock().expect("nobody panics while it holds this").push(job),
        }
        self.came.fetch_add(1, Ordering::SeqCst);
    }
}

/// Ends a passage with so many numbers.
fn answer(mut job: Job, width: usize) {
    job.progress.outputs = vec![(0, Tensor::zeros(ElementType::Fp32, &[1, width]).expect("small"))];
    job.position = job.passage.hops.len();
    job.go_on();
}

/// Ends a passage as an adapter does whose accelerator has no shape for it.
fn refuse(job: Job) {
    let fault = host_plugin::Fault::Engine {
        plugin: "rknn-adapter".to_owned(),
        shard: "mlp@1[0..1)".to_owned(),
        kind: EngineErrorKind::Invalid,
        message: "dimension `sequence` is 33, the largest bucket has 32".to_owned(),
    };
    job.fail(host_plugin::Error::from(fault).into());
}

/// A replica on each of these devices, sorted by their ids. The first is by far the fastest, so that the policy chooses no other.
fn serving(before: &Serving, replicas: &[(&str, &Arc<Pretender>)]) -> Serving {
    /// Plugins tell topologies apart by their numbers, and these tests share the plugins.
    static NUMBERS: AtomicU32 = AtomicU32::new(1);
    let range = BlockRange::new(0, 1).expect("not empty");
    let device = |name: &str| DeviceId::parse(name).expect("a name");
    let offer = |name: &str| OfferId { device: device(name), accelerator: AcceleratorName::parse("cpu").expect("a name") };
    let segments = (0_u32..).zip(replicas).map(|(replica, &(name, _))| Segment {
        stage: Stage { offer: offer(name), range },
        device: replica,
        replica,
        position: 0,
        run: Millis(1.0 + 1e4 * f64::from(replica)),
        divisible: false,
    });
    let model = ServedModel { id: MODEL.id.clone(), blocks: 1, borders: vec![Bytes(16)], segments: segments.collect() };
    let topology = Topology {
        number: NUMBERS.fetch_add(1, Ordering::SeqCst),
        models: vec![model],
        devices: replicas.iter().map(|&(name, _)| TopologyDevice { id: device(name), site: 0 }).collect(),
        ..Topology::default()
    };
    let seat = |offer: &OfferId| {
        let (_, pretender) = replicas.iter().find(|(name, _)| *name == offer.device.as_str())?;
        let carrier: Arc<dyn Carrier> = Arc::<Pretender>::clone(pretender);
        Some(Seat::There(offer.clone(), carrier))
    };
    before.next(Arc::new(topology), seat, |_| Arc::from([0_usize]))
}

fn pipeline(limits: PipelineLimits, replicas: &[(&str, &Arc<Pretender>)]) -> Arc<Pipeline> {
    let (clock, metrics) = (Clock::start(), Arc::new(Metrics::new()));
    let served = Arc::new(Served::default());
    served.store(serving(&Serving::default(), replicas));
    let turns = TurnLimits { running_max: 64, waiting_max: 64, classes: 1 };
    let admitted = AdmissionLimits { turns, retry_after_max: Millis(60e3) };
    Arc::new(Pipeline {
        limits,
        clock: clock.clone(),
        admission: Admission::new(admitted, clock.clone(), PLUGINS.queueing().clone(), metrics.clone()),
        plugins: PLUGINS.clone(),
        serving: served,
        reserving: Reserving::new(clock, metrics.clone()),
        randomness: Randomness::seeded(1),
        requests: AtomicU32::new(0),
        run: 1,
        passages: AtomicU64::new(0),
        metrics,
    })
}

/// Sends a request of one row.
fn ask(pipeline: &Arc<Pipeline>, access: Access) -> JoinHandle<Result<Answer, Error>> {
    let pipeline = pipeline.clone();
    let request = Request {
        model: MODEL.clone(),
        inputs: vec![("x".to_owned(), Tensor::zeros(ElementType::Fp32, &[1, 16]).expect("small"))],
        deadline: pipeline.clock.millis() + Millis(PATIENCE.as_secs_f64() * 1e3),
        class: 0,
        access,
        sequence_key: 0,
        routing: None,
        trace: Trace::default(),
    };
    tokio::spawn(async move { pipeline.infer(request).await })
}

async fn answered(asked: JoinHandle<Result<Answer, Error>>) -> Answer {
    asked.await.expect("nothing panics").expect("an answer")
}

async fn refused(asked: JoinHandle<Result<Answer, Error>>) -> Error {
    asked.await.expect("nothing panics").expect_err("no answer")
}

async fn until(what: &str, is_so: impl Fn() -> bool) {
    let begun = clock::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "{what} did not come about");
        tokio::task::yield_now().await;
    }
}

/// Waits until so many requests wait for their devices.
async fn waiting(pipeline: &Pipeline, count: u32) {
    let line = format!("host_reservations_waiting {count}");
    until(&line, || pipeline.metrics.text().lines().any(|found| found == line)).await;
}

#[tokio::test]
async fn a_device_that_does_not_answer_costs_time_and_no_answer() {
    let (silent, other) = (Pretender::new(Conduct::Keeps), Pretender::new(Conduct::Answers));
    let pipeline = pipeline(HASTY, &[("a", &silent), ("b", &other)]);
    let answer = answered(ask(&pipeline, Access::Shared)).await;
    assert_eq!((silent.came(), other.came()), (1, 1));
    assert!(answer.policy.starts_with("least-loaded-routing") && answer.policy.ends_with(", detour"), "{}", answer.policy);
}

#[tokio::test]
async fn where_replicas_share_stages_the_shortest_way_is_chosen_and_else_the_replica_with_the_least_work() {
    let device = Pretender::new(Conduct::Answers);
    for (devices, policy) in [(["a", "b"], "least-loaded-routing"), (["a", "a"], "shortest-path-routing")] {
        let pipeline = pipeline(PATIENT, &devices.map(|name| (name, &device)));
        let answer = answered(ask(&pipeline, Access::Shared)).await;
        assert!(answer.policy.starts_with(policy), "{} for {devices:?}", answer.policy);
    }
}

#[tokio::test]
async fn where_there_is_no_other_replica_it_is_waited_for_until_one_turns_up() {
    let (silent, other) = (Pretender::new(Conduct::Keeps), Pretender::new(Conduct::Answers));
    let pipeline = pipeline(HASTY, &[("a", &silent)]);
    let asked = ask(&pipeline, Access::Shared);
    until("a row", || silent.came() == 1).await;
    let more = serving(&pipeline.serving.load_full(), &[("a", &silent), ("b", &other)]);
    pipeline.serving.store(more);
    answered(asked).await;
    assert_eq!((silent.came(), other.came()), (1, 1));
}

#[tokio::test]
async fn what_the_model_does_not_declare_is_not_believed() {
    let (liar, other) = (Pretender::new(Conduct::Lies), Pretender::new(Conduct::Answers));
    let two = pipeline(PATIENT, &[("a", &liar), ("b", &other)]);
    assert_eq!(answered(ask(&two, Access::Shared)).await.outputs[0].1.shape(), [1, 4]);
    assert_eq!((liar.came(), other.came()), (1, 1));

    let alone = pipeline(PATIENT, &[("a", &liar)]);
    let error = refused(ask(&alone, Access::Shared)).await;
    let said = error.to_string();
    assert!(said.starts_with("model mlp@1: shape of output `y` must be") && said.ends_with("the stages gave [1, 5]"), "{said}");
    assert_eq!((error.kind(), liar.came()), (ErrorKind::Internal, 4), "it was tried as often as it may");
}

#[tokio::test]
async fn what_one_accelerator_does_not_take_another_one_may() {
    let (short, other) = (Pretender::new(Conduct::Refuses), Pretender::new(Conduct::Answers));
    let two = pipeline(PATIENT, &[("a", &short), ("b", &other)]);
    let answer = answered(ask(&two, Access::Shared)).await;
    assert!(answer.policy.ends_with(", detour"), "{}", answer.policy);
    assert_eq!((short.came(), other.came()), (1, 1));
    for (replicas, came) in [(&[("a", &short)][..], 1), (&[("a", &short), ("b", &short)], 2)] {
        let before = short.came();
        let error = refused(ask(&pipeline(PATIENT, replicas), Access::Shared)).await;
        assert!(error.kind() == ErrorKind::Invalid && error.to_string().contains("is 33, the largest bucket has 32"), "{error}");
        assert_eq!(short.came() - before, came, "each is asked once");
    }
}

#[tokio::test]
async fn requests_with_devices_to_themselves_come_one_after_another() {
    let device = Pretender::new(Conduct::Keeps);
    let pipeline = pipeline(PATIENT, &[("a", &device)]);
    let first = ask(&pipeline, Access::Exclusive);
    until("the first", || device.came() == 1).await;
    let second = ask(&pipeline, Access::Exclusive);
    waiting(&pipeline, 1).await;
    let third = ask(&pipeline, Access::Shared);
    waiting(&pipeline, 2).await;
    assert_eq!((device.came(), pipeline.reserved()), (1, 1));
    device.let_go();
    answered(first).await;
    until("the second", || device.came() == 2).await;
    assert_eq!(pipeline.reserved(), 1);
    device.let_go();
    answered(second).await;
    until("the third", || device.came() == 3).await;
    assert_eq!(pipeline.reserved(), 0);
    device.let_go();
    answered(third).await;
}

#[tokio::test]
async fn a_client_that_goes_away_frees_its_devices() {
    let device = Pretender::new(Conduct::Keeps);
    let pipeline = pipeline(PATIENT, &[("a", &device)]);
    let first = ask(&pipeline, Access::Exclusive);
    until("the first", || device.came() == 1).await;
    let second = ask(&pipeline, Access::Exclusive);
    waiting(&pipeline, 1).await;
    let third = ask(&pipeline, Access::Shared);
    waiting(&pipeline, 2).await;
    second.abort();
    waiting(&pipeline, 1).await;
    assert_eq!(device.came(), 1, "the first one still has it");
    first.abort();
    until("the third", || device.came() == 2).await;
    device.let_go();
    answered(third).await;
}

#[tokio::test]
async fn nobody_has_devices_alone_for_longer_than_the_limit() {
    let device = Pretender::new(Conduct::Keeps);
    let pipeline = pipeline(PipelineLimits { exclusive_ms_max: 1, ..PATIENT }, &[("a", &device)]);
    let error = refused(ask(&pipeline, Access::Exclusive)).await;
    assert_eq!(error.to_string(), "the request has had a to itself for 1 ms, requests.exclusive_ms_max allows no more");
    assert_eq!((error.kind(), device.came(), pipeline.reserved()), (ErrorKind::Busy, 1, 0), "it is not tried again");
    let next = ask(&pipeline, Access::Shared);
    until("the next", || device.came() == 2).await;
    device.let_go();
    answered(next).await;
}

#[tokio::test]
async fn others_go_around_reserved_devices_where_there_is_another_replica() {
    let (reserved, other) = (Pretender::new(Conduct::Keeps), Pretender::new(Conduct::Answers));
    let pipeline = pipeline(PATIENT, &[("a", &reserved), ("b", &other)]);
    let first = ask(&pipeline, Access::Exclusive);
    until("the first", || reserved.came() == 1).await;
    for access in [Access::Shared, Access::Exclusive] {
        let answer = answered(ask(&pipeline, access)).await;
        assert!(answer.policy.ends_with(", detour"), "{access:?}: {}", answer.policy);
    }
    assert_eq!((reserved.came(), other.came(), pipeline.reserved()), (1, 2, 1));
    reserved.let_go();
    assert!(!answered(first).await.policy.ends_with(", detour"));
}
