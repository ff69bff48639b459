//! The store on a real disk: durable, exclusive, and whole after a bad write.

use host_core::plan::{Capacity, CheckedPlan, Plan};
use host_wire::admin;

use super::*;

fn open(data: &Path) -> Store {
    Store::open(data, StoreLimits { plans_kept_max: 2, ..StoreLimits::default() }).expect("opens")
}

fn plan(number: u64) -> CheckedPlan {
    Plan { number: host_core::ids::PlanNumber(number), ..Plan::default() }.check(&Capacity::default()).expect("an empty plan fits")
}

fn generation(slot: &str, generation: u64) -> GenerationRecord {
    GenerationRecord { slot: slot.into(), generation, plugin: format!("p{generation}"), digest: "d".into(), config: None, reason: "installed".into(), at_ms: 0 }
}

#[test]
fn what_was_kept_is_there_after_closing_and_old_plans_are_forgotten() {
    let data = tempfile::tempdir().expect("a folder");
    let store = open(data.path());
    for number in 1..=3 {
        store.record_plan(&plan(number), "test", Vec::new()).expect("kept");
    }
    store.put_plugin(PluginRecord { name: "greedy".into(), digest: "d".into(), ..PluginRecord::default() }).expect("kept");
    for record in [generation("routing", 1), generation("routing", 2), generation("allocation", 1)] {
        store.record_generation(record).expect("kept");
    }
    drop(store);
    let store = open(data.path());
    let plans = store.plans(10).expect("read");
    assert_eq!(plans.iter().map(|record| record.plan.number).collect::<Vec<_>>(), [3, 2]);
    assert!(plans[0].made_at_ms > 1_600_000_000_000, "{}", plans[0].made_at_ms);
    assert_eq!(store.plugins().expect("read")[0].name, "greedy");
    let bound: Vec<(String, u64)> = store.bindings().expect("read").into_iter().map(|record| (record.slot, record.generation)).collect();
    assert_eq!(bound, [("allocation".to_owned(), 1), ("routing".to_owned(), 2)]);
    assert_eq!(store.generations("routing", 1).expect("read")[0].plugin, "p2");
}

#[test]
fn a_second_host_is_refused_by_name_until_the_first_has_gone() {
    let data = tempfile::tempdir().expect("a folder");
    let first = open(data.path());
    let error = Store::open(data.path(), StoreLimits::default()).expect_err("locked");
    assert!(error.to_string().contains(&format!("pid {}", std::process::id())), "{error}");
    drop(first);
    open(data.path());
}

#[test]
fn a_write_that_fails_leaves_those_beside_it_in_place() {
    let data = tempfile::tempdir().expect("a folder");
    let store = open(data.path());
    store.record_generation(generation("routing", 1)).expect("kept");
    let error = store.record_generation(generation("routing", 1)).expect_err("the number is taken");
    assert!(error.to_string().starts_with("the store could not keep the generation: "), "{error}");
    std::thread::scope(|scope| {
        for number in 2..40 {
            let store = store.clone();
            scope.spawn(move || store.record_generation(generation("routing", number)).expect("kept"));
        }
    });
    assert_eq!(store.generations("routing", 100).expect("read").len(), 39);
}

#[test]
fn a_blob_is_found_by_its_digest_and_a_damaged_one_is_not_believed() {
    let data = tempfile::tempdir().expect("a folder");
    let store = open(data.path());
    let digest = Digest::of(b"component");
    store.put_blob(digest, b"component").expect("kept");
    assert_eq!(store.blob(digest).expect("there"), Bytes::from_static(b"component"));
    std::fs::write(data.path().join("blobs").join(digest.to_string()), b"comp0nent").expect("damaged");
    assert!(store.blob(digest).expect_err("damaged").to_string().ends_with("is damaged on disk"));
    store.put_blob(digest, b"component").expect("kept again");
    assert!(store.blob(digest).is_ok());
    assert!(store.blob(Digest::of(b"other")).expect_err("unknown").to_string().contains("is not in the store"));
}

#[test]
fn what_a_plugin_replaces_is_kept_with_its_manifest_until_it_is_too_much_and_serves_nowhere() {
    let data = tempfile::tempdir().expect("a folder");
    let store = Store::open(data.path(), StoreLimits { earlier_plugins_kept_max: 2, ..StoreLimits::default() }).expect("opens");
    let digest = |mark: u8| Digest::of(&[mark]);
    let put = |mark: u8| {
        store.put_blob(digest(mark), &[mark]).expect("kept");
        let manifest = Some(format!("version = \"{mark}\""));
        let record = PluginRecord { name: "mine".into(), digest: digest(mark).to_string(), manifest, enabled: true, ..PluginRecord::default() };
        store.put_plugin(record).expect("kept");
    };
    let marks = || -> Vec<u8> {
        let earlier = store.earlier_plugins().expect("read").into_iter();
        earlier.map(|record| (0..9).find(|mark| record.digest == digest(*mark).to_string()).expect("one of these")).collect()
    };
    put(1);
    store.record_generation(GenerationRecord { digest: digest(1).to_string(), ..generation("routing", 1) }).expect("kept");
    (2..=5).for_each(put);
    assert_eq!(marks(), [4, 3, 1], "the last two, and the one that serves");
    assert_eq!(store.earlier_plugins().expect("read")[0].manifest.as_deref(), Some("version = \"4\""));
    assert!(store.blob(digest(2)).is_err() && store.blob(digest(1)).is_ok());
    assert_eq!(store.identify(&[3]).expect("read"), digest(3));
    put(3);
    assert_eq!(marks(), [5, 4, 1], "one that comes back is none of the earlier ones");
    store.remove_plugin("mine").expect("forgotten");
    assert!(marks().is_empty() && store.plugins().expect("read").is_empty());
    assert!((1..=5).all(|mark| store.blob(digest(mark)).is_err()));
}

#[test]
fn a_store_of_a_newer_host_is_refused() {
    let data = tempfile::tempdir().expect("a folder");
    drop(open(data.path()));
    rusqlite::Connection::open(data.path().join("host.sqlite")).expect("opens").pragma_update(None, "user_version", 99).expect("set");
    let error = Store::open(data.path(), StoreLimits::default()).expect_err("newer");
    assert!(error.to_string().contains("has version 99, this host knows up to 4"), "{error}");
}

#[test]
fn a_store_of_an_earlier_version_keeps_what_it_has_and_gets_the_new_tables() {
    let data = tempfile::tempdir().expect("a folder");
    let store = open(data.path());
    store.put_plugin(PluginRecord { name: "greedy".into(), digest: "d".into(), ..PluginRecord::default() }).expect("kept");
    drop(store);
    let to_version_3 = "ALTER TABLE plan DROP COLUMN policy; ALTER TABLE plan DROP COLUMN expected;";
    let to_version_2 = format!("{to_version_3} DROP TABLE token; DROP TABLE device; DROP TABLE certificate;");
    let to_version_1 = format!("{to_version_2} ALTER TABLE plugin DROP COLUMN enabled; ALTER TABLE plugin DROP COLUMN signer;");
    for (change, version) in [(to_version_3, 3), (to_version_2.as_str(), 2), (to_version_1.as_str(), 1)] {
        let connection = rusqlite::Connection::open(data.path().join("host.sqlite")).expect("opens");
        connection.execute_batch(change).expect("taken back");
        connection.pragma_update(None, "user_version", version).expect("set");
        drop(connection);
        let store = open(data.path());
        assert_eq!(store.plugins().expect("read")[0].name, "greedy", "from version {version}");
        assert_eq!((store.tokens().expect("read"), store.enrolled_devices().expect("read")), (Vec::new(), Vec::new()), "from version {version}");
    }
}

#[test]
fn a_plan_is_kept_with_what_was_expected_of_it_and_whose_it_is() {
    let data = tempfile::tempdir().expect("a folder");
    let store = open(data.path());
    assert_eq!(store.plan_policy().expect("read"), None);
    let policy = |plugin: &str| admin::PlanPolicy { plugin: plugin.into(), digest: "d".into(), config: "{}".into() };
    // Before there is a plan there is nothing to note it at.
    store.endorse_plan(policy("early")).expect("kept");
    let expected = admin::ExpectedModel { name: "m".into(), version: 1, objective: "balanced".into(), throughput_per_s: 0.1 + 0.2, latency_ms: 4.0 };
    store.record_plan(&plan(1), "model m was added", vec![expected.clone()]).expect("kept");
    store.endorse_plan(policy("greedy")).expect("kept");
    store.record_plan(&plan(2), "lost b", Vec::new()).expect("kept");
    assert_eq!(store.plan_policy().expect("read"), Some(policy("greedy")), "nobody was asked about the newest one yet");
    let plans = store.plans(2).expect("read");
    assert_eq!((plans[0].policy.clone(), plans[0].expected.clone()), (None, Vec::new()));
    assert_eq!((plans[1].policy.clone(), plans[1].expected.clone()), (Some(policy("greedy")), vec![expected]));
    store.endorse_plan(policy("balanced")).expect("kept");
    assert_eq!(store.plan_policy().expect("read"), Some(policy("balanced")));
}
