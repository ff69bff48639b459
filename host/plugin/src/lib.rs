//! Sandboxes. The only crate that knows wasmtime: it reads plugins, compiles them, limits them, puts them into slots, calls
//! them, checks what they answer, and answers with the built-in plugin when one fails.
//!
//! Everything is synchronous. `route` and `admit` are fast enough to be called inline; everything else takes
//! milliseconds to seconds and belongs on a thread of its own.
//!
//! ```ignore
//! let plugins = PluginHost::start(PluginConfig::default(), Arc::new(Engines::default()), EventSink::none())?;
//!
//! // install: read, compile, configure, rehearse (slow) and swap (fast)
//! let source = PluginSource { name, bytes, manifest };          // or PluginSource::builtin("greedy-allocation")?
//! let prepared = plugins.prepare(&source, Some(SlotName::parse("routing")?), None)?;
//! let installed = plugins.commit(prepared)?;                  // Installed { plugin, slot, generation, digest, … }
//! plugins.rollback(&installed.slot, None)?;                   // to the generation before, or a named one
//! plugins.list();                                             // Vec<SlotStatus>
//! PluginHost::inspect(&source)?;                              // Package, nothing is compiled
//! PluginHost::describe(&Identified::of(source), &limits)?;    // Description, also of what cannot run here
//!
//! // call: each answers Result<Decision<T>, Error>; Decision { answer: Result<T, Refusal>, by: Bearer, took, fallback }
//! plugins.routing(None)?.route(&snapshot, &request)?;         // Decision<Path>
//! plugins.allocation().allocate(&problem)?;                  // Decision<Allocated { proposal, replicas }>
//! plugins.allocation().review(&observation)?;                // Decision<Verdict>
//! plugins.queueing().admit(&arrival)?;                        // Decision<f64>
//!
//! // adapters: one AdapterInstance per shard in use, owned by one thread
//! let adapter = plugins.adapter("cpu")?;                      // Arc<AdapterSlot>
//! let offers = adapter.probe()?;                              // Vec<AdapterOffer>
//! let mut instance = adapter.open(Arc::new(shard), 0)?;       // AdapterInstance; .fit() says what it took
//! instance.run(&call, tensors)?;                              // Vec<Tensor>; moves to a newer generation by itself
//!
//! // one plugin alone, for its author
//! let bench = Workbench::open(&source, None, None, &Limits::default(), None, engines)?;
//! bench.test(&TestSettings::default())?;                      // TestReport: rules, broken ones with their smallest input
//! bench.measure(Duration::from_secs(60))?;                    // Measured: times, and the quality of plans
//! bench.examine(&AdapterSettings::default(), &convert)?;      // Option<AdapterReport>: an adapter's conformance, check by check
//! bench.replayer();                                           // decides recorded questions again
//! ```

mod adapter;
mod adapter_conformance;
mod adapter_slots;
mod address_space;
mod builtin;
mod cache;
mod call_log;
mod canonical_nan;
mod clock;
mod compiler;
mod conformance;
mod contract;
mod description;
mod error;
mod events;
mod guest;
mod identified;
mod keeper;
mod limits;
mod manifest;
mod measure;
mod meter;
mod names;
mod pack;
mod package;
mod passes;
mod plugins;
mod policies;
mod priority;
mod private_folder;
mod program;
mod rehearse;
mod routing_slots;
mod sandbox;
mod slot;
mod system;
mod trial;
mod witness;
mod workbench;
mod world;

pub use adapter::{AdapterInstance, AdapterOffer, AdapterSlot, Fit, Phase, RunCall};
pub use adapter_conformance::{AdapterReport, AdapterSettings, Check, Convert, NotConverted, Subject, Verdict};
pub use builtin::BUILTIN_PLUGINS;
pub use cache::CodeFolder;
pub use compiler::{CompileOrder, Compiler, compile_here};
pub use conformance::{Failure, Rule, RuleReport, TestReport, TestSettings, told as told_answer};
pub use contract::{CONTRACT, EXTENSIONS};
pub use description::Description;
pub use error::{EngineErrorKind, Error, Fault};
pub use events::{Bearer, EventSink, LogLevel, PluginEvent, SwapReason};
pub use host_engine::Digest;
pub use identified::Identified;
pub use limits::{Deadlines, Limits};
pub use manifest::{Build, FailurePolicy, Language, Manifest, RustTarget};
pub use measure::{AdapterTimes, CallTimes, Measured, Measurements, PlanQuality};
pub use names::{PluginKind, SlotName};
pub use pack::{Parts, pack};
pub use package::Package;
pub use plugins::{Installed, PluginConfig, PluginHost, PluginSource, PrepareStep, Prepared};
pub use policies::{Allocated, AllocationSlot, Decision, QueueingSlot, RoutingSlot};
pub use priority::step_back;
pub use private_folder::try_private_folder;
pub use rehearse::{BriefRehearsal, Compared, Rehearsal};
pub use slot::{CallCounts, SlotStatus, SparePolicy};
pub use trial::{Entry, TrialEnd, TrialKind, TrialPolicy, TrialStatus};
pub use witness::{Decided, DecisionSink};
pub use workbench::{Replayer, Workbench};
