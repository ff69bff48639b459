//! What the central knows of the shards of devices that attend, from what they are told and what they say.

use host_core::{
    device::Device,
    ids::{ModelId, ModelName, SiteName},
    shard::BlockRange,
};
use host_engine::Golden;

use super::*;
use crate::store::cache::Aside;

fn hello(name: &str, address: Option<&str>) -> Hello {
    let (id, site) = (DeviceId::parse(name).expect("an id"), SiteName::parse("home").expect("a name"));
    let device = Device { id, site, labels: BTreeMap::new(), offers: Vec::new() };
    Hello { device, held: Vec::new(), address: address.map(str::to_owned), process: 1, release: "0.1.0".to_owned() }
}

fn shard() -> Arc<Shard> {
    let model = ModelId { name: ModelName::parse("tiny").expect("a name"), version: 1 };
    let file = bytes::Bytes::from_static(b"a file");
    Arc::new(Shard {
        id: ShardId { model, range: BlockRange::new(2, 4).expect("a range") },
        digest: Digest::of(&file),
        inputs: Vec::new(),
        outputs: Vec::new(),
        border_in: None,
        border_out: None,
        operators: Vec::new(),
        weight_bytes: Bytes::ZERO,
        file,
        golden: Some(Golden { inputs: Vec::new(), outputs: Vec::new(), tolerance: 0.5 }),
        artefacts: Vec::new(),
    })
}

fn cpu() -> AcceleratorName {
    AcceleratorName::parse("cpu").expect("a name")
}

fn at() -> ShardAt {
    ShardAt { accelerator: cpu(), shard: shard().id.clone() }
}

fn nobody() -> Attending {
    Attending::new(Arc::new(Awaited::new(std::time::Duration::ZERO)))
}

fn run<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().expect("a runtime").block_on(work)
}

async fn next(told: &mut Told) -> Says {
    told.recv().await.and_then(Result::ok).and_then(|message| message.says).expect("it is told something")
}

#[test]
fn a_device_is_a_source_from_when_it_has_loaded_a_shard_until_it_is_told_to_drop_it() {
    let (attending, shard, files) = (nobody(), shard(), Files::offering(Aside::start("aside").expect("starts")));
    let Admitted { attendance, mut told, .. } = attending.admit(&hello("a", Some("127.0.0.1:7"))).expect("taken in");
    let (cpu, wiring) = (cpu(), Wiring::given(&[], &[]));
    let device = async {
        let Says::Load(load) = next(&mut told).await else { panic!("it is told to load") };
        let load = Load::try_from(load).expect("sound");
        assert_eq!((load.file.digest, load.file.bytes, load.sources.len()), (shard.digest.0, 6, 0));
        assert!(load.golden.is_some());
        let nothing = LoadProgress { at: at(), bytes: Bytes::ZERO, bytes_total: Bytes(6) };
        assert_eq!(attending.loads(), [(attendance.id.clone(), nothing)]);
        let some = LoadProgress { at: at(), bytes: Bytes(3), bytes_total: Bytes(15) };
        attendance.progress(some.clone());
        assert_eq!(attending.loads(), [(attendance.id.clone(), some)]);
        assert!(attending.holders(shard.digest).is_empty(), "not before it is loaded");
        attendance.loaded(&at(), Ok(()));
    };
    let (loaded, ()) = run(async { tokio::join!(attendance.load(&cpu, &shard, &wiring, &files, Vec::new(), PlanNumber(3)), device) });
    loaded.expect("loaded");
    assert!(attending.loads().is_empty());
    assert_eq!(attending.holders(shard.digest), [Source { device: attendance.id.clone(), address: "127.0.0.1:7".to_owned() }]);
    let device = async {
        assert!(matches!(next(&mut told).await, Says::Unload(_)));
        assert!(attending.holders(shard.digest).is_empty());
        attendance.unloaded(&at());
    };
    let (unloaded, ()) = run(async { tokio::join!(attendance.unload(&cpu, &shard.id), device) });
    unloaded.expect("unloaded");
}

#[test]
fn a_load_that_failed_makes_no_source_and_progress_that_nobody_asked_for_is_not_noted() {
    let (attending, shard, files) = (nobody(), shard(), Files::offering(Aside::start("aside").expect("starts")));
    let Admitted { attendance, mut told, .. } = attending.admit(&hello("a", Some("127.0.0.1:7"))).expect("taken in");
    attendance.progress(LoadProgress { at: at(), bytes: Bytes(1), bytes_total: Bytes(2) });
    assert!(attending.loads().is_empty());
    let (cpu, wiring) = (cpu(), Wiring::given(&[], &[]));
    let device = async {
        next(&mut told).await;
        attendance.loaded(&at(), Err("no room".to_owned()));
    };
    let (loaded, ()) = run(async { tokio::join!(attendance.load(&cpu, &shard, &wiring, &files, Vec::new(), PlanNumber(3)), device) });
    assert_eq!(loaded.expect_err("it failed").to_string(), "a/cpu: no room");
    assert!(attending.holders(shard.digest).is_empty() && attending.loads().is_empty());
}

#[test]
fn what_a_device_has_kept_can_be_fetched_from_it_if_it_can_be_reached() {
    let attending = nobody();
    let held = HeldShard { at: at(), digest: shard().digest.0 };
    for (name, address) in [("a", Some("127.0.0.1:7")), ("b", None)] {
        attending.admit(&hello(name, address)).expect("taken in").attendance.holds(std::slice::from_ref(&held));
    }
    let holders = attending.holders(shard().digest);
    assert_eq!(holders.iter().map(|source| source.device.as_str()).collect::<Vec<_>>(), ["a"]);
    assert!(attending.holders(Digest::of(b"another")).is_empty());
}
