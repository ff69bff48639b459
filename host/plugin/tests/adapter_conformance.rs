//! The conformance suite of adapters against engines that are right, and engines that are wrong in one way each.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use host_core::units::Bytes;
use host_engine::{Engine, EngineInfo, Engines, Error, Fault, Graph, Lengths, LoadOptions, RtenEngine, Shard, Tensor, TensorSpec, TractEngine};
use host_plugin::{AdapterReport, AdapterSettings, Limits, NotConverted, PluginSource, Subject, Verdict, Workbench};

/// Few of everything. Other tests of this process grow at the same time.
fn few() -> AdapterSettings {
    AdapterSettings { cycles: 3, growth_max: Bytes(u64::MAX), threads: 2, runs: 3, fill: Bytes(1 << 20), ..AdapterSettings::default() }
}

fn examined(plugin: &str, engines: Vec<Arc<dyn Engine>>, settings: &AdapterSettings) -> AdapterReport {
    let source = PluginSource::builtin(plugin).unwrap();
    let bench = Workbench::open(&source, None, None, &Limits::default(), None, Arc::new(Engines::new(engines))).unwrap();
    let convert = |_: &str, _: &Shard, _: &[Lengths]| Err(NotConverted::Unable("nothing converts here".to_owned()));
    bench.examine(settings, &convert).unwrap().unwrap()
}

fn verdict<'a>(report: &'a AdapterReport, name: &str) -> &'a Verdict {
    let check = report.checks.iter().find(|check| check.name == name);
    &check.unwrap_or_else(|| panic!("no check {name}: {report:?}")).verdict
}

/// Which verdicts the checks of a subject have.
fn words(report: &AdapterReport, subject: Subject) -> BTreeSet<&'static str> {
    report.checks.iter().filter(|check| check.subject == subject).map(|check| check.verdict.word()).collect()
}

/// Shares what the broken engines have in common: they are tract but for one thing.
fn info(name: &str) -> EngineInfo {
    EngineInfo { name: name.to_owned(), ..TractEngine.info() }
}

#[test]
fn the_cpu_adapter_holds_all_of_it_on_tract() {
    let report = examined("cpu-adapter", vec![Arc::new(TractEngine)], &few());
    assert_eq!((report.failed(), report.accelerator.as_str()), (0, "cpu"), "{report:?}");
    let subjects = [Subject::Operators, Subject::ElementType, Subject::Length, Subject::Memory, Subject::Cycles, Subject::Parallel];
    for subject in subjects {
        assert_eq!(words(&report, subject), BTreeSet::from(["ok"]), "{subject:?}: {report:?}");
    }
}

#[test]
fn what_rten_does_not_take_is_refused_and_the_rest_is_right() {
    let report = examined("cpu-adapter", vec![Arc::new(RtenEngine)], &few());
    assert_eq!(report.failed(), 0, "{report:?}");
    assert!(matches!(verdict(&report, "type-FP64"), Verdict::Refused(reason) if reason.contains("FP64")), "{report:?}");
    let required = AdapterSettings { required: BTreeSet::from(["type-FP64".to_owned(), "type-FP128".to_owned()]), ..few() };
    let report = examined("cpu-adapter", vec![Arc::new(RtenEngine)], &required);
    assert_eq!(report.failed(), 2, "one is refused, and there is no such type as the other: {report:?}");
    assert!(matches!(verdict(&report, "type-FP128"), Verdict::Missing(_)));
}

/// Answers golden inputs, which it is held against when it loads, and gives zeros to everybody else.
#[derive(Debug)]
struct Lying;

#[derive(Debug)]
struct LyingGraph {
    inner: Box<dyn Graph>,
    lies: bool,
}

impl Engine for Lying {
    fn info(&self) -> EngineInfo {
        info("lying")
    }

    fn load(&self, shard: &Shard, options: &LoadOptions) -> Result<Box<dyn Graph>, Error> {
        Ok(Box::new(LyingGraph { inner: TractEngine.load(shard, options)?, lies: false }))
    }
}

impl Graph for LyingGraph {
    fn inputs(&self) -> &[TensorSpec] {
        self.inner.inputs()
    }

    fn outputs(&self) -> &[TensorSpec] {
        self.inner.outputs()
    }

    fn memory(&self) -> Bytes {
        self.inner.memory()
    }

    fn run(&mut self, inputs: Vec<Tensor>) -> Result<Vec<Tensor>, Error> {
        let outputs = self.inner.run(inputs)?;
        if !self.lies {
            return Ok(outputs);
        }
        outputs.iter().map(|tensor| Tensor::zeros(tensor.element_type(), tensor.shape())).collect()
    }

    fn share(&self) -> Result<Box<dyn Graph>, Error> {
        Ok(Box::new(Self { inner: self.inner.share()?, lies: true }))
    }
}

#[test]
fn an_engine_that_is_right_for_golden_answers_alone_is_found_out_with_the_difference() {
    let report = examined("cpu-adapter", vec![Arc::new(Lying)], &few());
    for name in ["product", "softmax", "attention", "sequence 5"] {
        let Verdict::Wrong(says) = verdict(&report, name) else { panic!("{name}: {report:?}") };
        assert!(says.contains("differs"), "{says}");
    }
    for subject in [Subject::Memory, Subject::Cycles, Subject::Parallel] {
        assert_eq!(words(&report, subject), BTreeSet::from(["wrong"]), "{subject:?}: {report:?}");
    }
}

/// Takes no convolutions, and so many bytes of weights.
#[derive(Debug)]
struct Small {
    bytes_max: u64,
    used: Arc<AtomicU64>,
}

#[derive(Debug)]
struct SmallGraph {
    inner: Box<dyn Graph>,
    bytes: u64,
    used: Arc<AtomicU64>,
}

impl Engine for Small {
    fn info(&self) -> EngineInfo {
        info("small")
    }

    fn load(&self, shard: &Shard, options: &LoadOptions) -> Result<Box<dyn Graph>, Error> {
        if shard.operators.iter().any(|operator| operator == "Conv") {
            return Err(Error::unsupported("operator Conv is not known"));
        }
        let bytes = shard.weight_bytes.0;
        // Loads of one engine follow one another here.
        if self.used.load(Ordering::SeqCst) + bytes > self.bytes_max {
            let reason = format!("{bytes} bytes are needed");
            return Err(Fault::Exhausted { engine: "small".to_owned(), doing: "load a model", reason }.into());
        }
        let inner = TractEngine.load(shard, options)?;
        self.used.fetch_add(bytes, Ordering::SeqCst);
        Ok(Box::new(SmallGraph { inner, bytes, used: Arc::clone(&self.used) }))
    }
}

impl Drop for SmallGraph {
    fn drop(&mut self) {
        self.used.fetch_sub(self.bytes, Ordering::SeqCst);
    }
}

impl Graph for SmallGraph {
    fn inputs(&self) -> &[TensorSpec] {
        self.inner.inputs()
    }

    fn outputs(&self) -> &[TensorSpec] {
        self.inner.outputs()
    }

    fn memory(&self) -> Bytes {
        self.inner.memory()
    }

    fn run(&mut self, inputs: Vec<Tensor>) -> Result<Vec<Tensor>, Error> {
        self.inner.run(inputs)
    }

    fn share(&self) -> Result<Box<dyn Graph>, Error> {
        Ok(Box::new(Self { inner: self.inner.share()?, bytes: 0, used: Arc::clone(&self.used) }))
    }
}

#[test]
fn an_operator_that_is_refused_fails_where_it_is_required_alone() {
    let report = examined("cpu-adapter", vec![Arc::new(Small { bytes_max: u64::MAX, used: Arc::default() })], &few());
    for name in ["convolution", "depthwise-convolution"] {
        assert!(matches!(verdict(&report, name), Verdict::Refused(reason) if reason.contains("operator Conv is not known")), "{report:?}");
    }
    let failed: Vec<&str> = report.checks.iter().filter(|check| !check.passed()).map(|check| check.name.as_str()).collect();
    assert_eq!(failed, ["convolution"], "only that one is basic");
}

#[test]
fn memory_that_is_full_is_refused_and_there_is_room_again_once_it_is_unloaded() {
    let used = Arc::<AtomicU64>::default();
    // The filling is divided into eighths.
    let small = Small { bytes_max: 600 << 10, used: Arc::clone(&used) };
    let report = examined("cpu-adapter", vec![Arc::new(small)], &few());
    let full = report.checks.iter().find(|check| check.subject == Subject::Memory).unwrap();
    assert!(matches!(&full.verdict, Verdict::Holds(says) if says.contains("full after") && says.contains("has no room to load a model")), "{full:?}");
    assert_eq!(used.load(Ordering::SeqCst), 0, "nothing stays loaded");
}

/// The engine of an NPU that takes nothing but what was converted.
#[derive(Debug)]
struct Npu;

impl Engine for Npu {
    fn info(&self) -> EngineInfo {
        EngineInfo { accelerator: "rknn".to_owned(), attributes: vec![("target".to_owned(), "rk3588".to_owned())], ..info("rknn") }
    }

    fn load(&self, _shard: &Shard, _options: &LoadOptions) -> Result<Box<dyn Graph>, Error> {
        Err(Error::unsupported("there is no artefact"))
    }
}

#[test]
fn an_adapter_that_needs_artefacts_passes_nothing_where_nobody_makes_them_and_the_target_is_named() {
    let report = examined("rknn-adapter", vec![Arc::new(TractEngine), Arc::new(Npu)], &few());
    assert_eq!(report.failed(), report.checks.len());
    let expected = Verdict::Missing("it takes only what was converted for rknn:rk3588: nothing converts here".to_owned());
    assert_eq!(verdict(&report, "convolution"), &expected);
}

#[test]
fn an_accelerator_that_is_not_there_is_one_failed_check_and_a_policy_is_no_adapter() {
    let report = examined("rknn-adapter", vec![Arc::new(TractEngine)], &few());
    let verdicts: Vec<&str> = report.checks.iter().map(|check| check.verdict.word()).collect();
    assert_eq!((verdicts, report.failed()), (vec!["missing"], 1), "{report:?}");
    let policy = PluginSource::builtin("round-robin-routing").unwrap();
    let bench = Workbench::open(&policy, None, None, &Limits::default(), None, Arc::default()).unwrap();
    let convert = |_: &str, _: &Shard, _: &[Lengths]| Ok(Vec::new());
    assert_eq!(bench.examine(&few(), &convert).unwrap(), None);
}
