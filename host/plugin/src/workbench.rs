//! One plugin outside of any slot, under the limits that it would serve with: what authors test, measure and replay. It
//! compiles and starts the plugin as an installation does; it touches nothing in service.

use std::{sync::Arc, time::Duration};

use host_core::{
    decision::{Question, Reply},
    policy::{self, Answer, PolicyFault, StrikeKind},
};
use host_engine::{Digest, Engines};

use crate::{
    adapter_conformance::{self, AdapterReport, AdapterSettings, Convert},
    cache::CodeFolder,
    conformance::{self, TestReport, TestSettings},
    error::{Error, Fault},
    identified::Identified,
    limits::Limits,
    measure::{self, Measured},
    names::{PluginKind, SlotName},
    package::Package,
    plugins::PluginSource,
    policies,
    program::{Caged, Program},
    sandbox::{Kept, Sandbox},
    world::{AllocationPolicy, QueueingPolicy, RoutingPolicy, ShardAdapter, Warm, World},
};

/// A plugin that compiled and started.
pub struct Workbench {
    kind: PluginKind,
    package: Arc<Package>,
    config: String,
    open: Open,
}

enum Open {
    Allocation(Program<AllocationPolicy>),
    Routing(Program<RoutingPolicy>),
    Queueing(Program<QueueingPolicy>),
    Adapter(Program<ShardAdapter>),
}

impl std::fmt::Debug for Workbench {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Workbench").field("plugin", &self.package.name).field("kind", &self.kind).finish_non_exhaustive()
    }
}

impl Workbench {
    /// Reads, compiles and starts a plugin. One that is of several kinds needs a slot that says which is meant; `config` wins
    /// over what its manifest says. `code` is where native code is kept, so that what was tested is not compiled anew when it is
    /// installed.
    pub fn open(
        source: &PluginSource,
        slot: Option<SlotName>,
        config: Option<String>,
        limits: &Limits,
        code: Option<&CodeFolder>,
        engines: Arc<Engines>,
    ) -> Result<Self, Error> {
        let package = Arc::new(Package::read(&Identified::of(source.clone()), limits)?);
        let kind = match (&slot, package.kinds.as_slice()) {
            (None, [only]) => *only,
            _ => package.slot(slot)?.kind(),
        };
        let sandbox = Arc::new(Sandbox::new(limits, Kept { code, passes: None }, None, engines)?);
        let (open, config) = match kind {
            PluginKind::Allocation => started(sandbox, &package, limits, config).map(|(program, config)| (Open::Allocation(program), config))?,
            PluginKind::Routing => started(sandbox, &package, limits, config).map(|(program, config)| (Open::Routing(program), config))?,
            PluginKind::Queueing => started(sandbox, &package, limits, config).map(|(program, config)| (Open::Queueing(program), config))?,
            PluginKind::Adapter => started(sandbox, &package, limits, config).map(|(program, config)| (Open::Adapter(program), config))?,
        };
        Ok(Self { kind, package, config, open })
    }

    /// What it is tested as.
    pub fn kind(&self) -> PluginKind {
        self.kind
    }

    /// Its name.
    pub fn plugin(&self) -> &Arc<str> {
        &self.package.name
    }

    /// Its digest.
    pub fn digest(&self) -> Digest {
        self.package.digest
    }

    /// The JSON that it was configured with.
    pub fn config(&self) -> &str {
        &self.config
    }

    /// Runs the conformance suite of its world.
    pub fn test(&self, settings: &TestSettings) -> Result<TestReport, Error> {
        match &self.open {
            Open::Allocation(program) => conformance::test(program, self.kind, settings),
            Open::Routing(program) => conformance::test(program, self.kind, settings),
            Open::Queueing(program) => conformance::test(program, self.kind, settings),
            Open::Adapter(program) => conformance::test(program, self.kind, settings),
        }
    }

    /// Runs the conformance suite of adapters: what its accelerator takes, and whether it computes that as the reference does. `convert`
    /// is asked where it takes nothing but artefacts. None for a plugin that is no adapter.
    pub fn examine(&self, settings: &AdapterSettings, convert: &Convert<'_>) -> Result<Option<AdapterReport>, Error> {
        match &self.open {
            Open::Adapter(program) => adapter_conformance::examine(program, settings, convert).map(Some),
            _ => Ok(None),
        }
    }

    /// Measures how long it takes and, for an allocation policy, how good its plans are.
    pub fn measure(&self, time_max: Duration) -> Result<Measured, Error> {
        match &self.open {
            Open::Allocation(program) => measure::allocation(program, time_max),
            Open::Routing(program) => measure::routing(program, time_max),
            Open::Queueing(program) => measure::queueing(program, time_max),
            Open::Adapter(program) => measure::adapter(program, time_max),
        }
    }

    /// A way to ask it recorded questions. None for an adapter, which decides nothing.
    pub fn replayer(&self) -> Option<Replayer<'_>> {
        match &self.open {
            Open::Adapter(_) => None,
            _ => Some(Replayer { bench: self, allocation: None, routing: None, queueing: None }),
        }
    }
}

fn started<W: World>(sandbox: Arc<Sandbox>, package: &Arc<Package>, limits: &Limits, config: Option<String>) -> Result<(Program<W>, String), Error> {
    let program = Program::<W>::new(sandbox, Arc::clone(package), limits, config)?;
    // Whatever keeps it from starting is said at once.
    drop(program.start()?);
    let config = program.config.clone();
    Ok((program, config))
}

/// Asks one instance question after question, and a fresh one after each failure.
pub struct Replayer<'a> {
    bench: &'a Workbench,
    allocation: Option<Warm<AllocationPolicy>>,
    routing: Option<Warm<RoutingPolicy>>,
    queueing: Option<Warm<QueueingPolicy>>,
}

impl std::fmt::Debug for Replayer<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Replayer").field("plugin", self.bench.plugin()).finish_non_exhaustive()
    }
}

impl Replayer<'_> {
    /// Whether the plugin decides questions of this kind.
    pub fn takes(&self, question: &Question) -> bool {
        matches!(
            (question, self.bench.kind),
            (Question::Allocate(_) | Question::Review(_), PluginKind::Allocation)
                | (Question::Route { .. }, PluginKind::Routing)
                | (Question::Admit(_), PluginKind::Queueing)
        )
    }

    /// Forgets what instances were told: numbers of topologies mean something else from here on.
    pub fn restart(&mut self) {
        (self.allocation, self.routing, self.queueing) = (None, None, None);
    }

    /// Decides again. An answer that breaks a rule is a failure, as it is in service.
    pub fn answer(&mut self, question: &Question) -> Result<Answer<Reply>, Error> {
        let other = || Error::from(Fault::Host { what: "a plugin was asked a question of another kind" });
        match (question, &self.bench.open) {
            (Question::Allocate(problem), Open::Allocation(program)) => {
                ask(&mut self.allocation, program, |warm| policies::allocate(warm, problem).map(|answer| answer.map(|found| Reply::Proposal(found.proposal))))
            }
            (Question::Review(observation), Open::Allocation(program)) => {
                ask(&mut self.allocation, program, |warm| policy::AllocationPolicy::review(warm, observation).map(|verdict| Ok(Reply::Verdict(verdict))))
            }
            (Question::Route { snapshot, request }, Open::Routing(program)) => ask(&mut self.routing, program, |warm| {
                policies::route(warm, snapshot, request).map(|answer| answer.map(|path| Reply::Path(path.segments().to_vec())))
            }),
            (Question::Admit(arrival), Open::Queueing(program)) => {
                ask(&mut self.queueing, program, |warm| policies::admit(warm, arrival).map(|answer| answer.map(Reply::Rank)))
            }
            _ => Err(other()),
        }
    }
}

fn ask<W: World>(kept: &mut Option<Warm<W>>, program: &Program<W>, call: impl FnOnce(&mut Warm<W>) -> Answer<Reply>) -> Result<Answer<Reply>, Error> {
    let mut warm = match kept.take() {
        Some(warm) => warm,
        None => program.start()?,
    };
    let answer = call(&mut warm);
    *kept = Some(warm).filter(|warm| !warm.failed());
    Ok(answer)
}

/// What keeps an instance from starting is a failure of the plugin.
pub(crate) fn fresh<W: World>(program: &Program<W>) -> Result<Warm<W>, PolicyFault> {
    program.start().map_err(|error| PolicyFault { kind: StrikeKind::Trap, message: error.to_string() })
}
