//! What is in a slot: a tenant is one plugin with what it did there, a version is a tenant in service under one number, with the
//! instances that its calls take.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use host_core::{
    ids::Generation,
    policy::{PolicyFault, StrikeKind},
    strikes::{CallBudget, StrikePolicy, Strikes},
};

use super::{CallCounts, lock};
use crate::{
    call_log::LogVolume,
    events::Bearer,
    keeper::Keeper,
    names::SlotName,
    passes::Pass,
    program::{Caged, Program},
    world::{Warm, World},
};

/// One plugin in one slot, over all generations that it serves as.
pub(crate) struct Tenant<W: World> {
    pub program: Arc<Program<W>>,
    pub builtin: bool,
    /// Of its rehearsal; none for what is part of the host and serves from its start.
    pub pass: Option<Pass>,
    pub(super) strikes: Mutex<Strikes>,
    pub(super) budget: Option<Mutex<CallBudget>>,
    pub(super) counts: Mutex<CallCounts>,
    pub(super) log_volume: Mutex<LogVolume>,
}

impl<W: World> Tenant<W> {
    /// Without a rehearsed time nothing is over budget.
    pub(crate) fn new(program: Arc<Program<W>>, builtin: bool, policy: StrikePolicy, pass: Option<Pass>) -> Self {
        let strikes_max = program.package.manifest.strikes_max.unwrap_or(policy.strikes_max).max(1);
        let budget = pass.and_then(|pass| pass.p99).map(|p99| Mutex::new(CallBudget::new(p99.as_secs_f64() * 1e6)));
        let log_volume = Mutex::new(LogVolume::new(program.limits.log_lines_per_second_max));
        let strikes = Mutex::new(Strikes::new(StrikePolicy { strikes_max, ..policy }));
        // What it had in rehearsal is known before its first call.
        let counts = CallCounts { memory_bytes: pass.map_or(0, |pass| pass.memory_bytes), ..CallCounts::default() };
        Self { program, builtin, pass, strikes, budget, counts: Mutex::new(counts), log_volume }
    }

    pub(crate) fn counts(&self) -> CallCounts {
        *lock(&self.counts)
    }

    pub(crate) fn note_copied(&self, bytes: u64) {
        lock(&self.counts).copied_bytes += bytes;
    }

    /// Notes what a call computed. Whether that was one too many beyond what was rehearsed.
    pub(super) fn is_over_budget(&self, computed: Duration) -> bool {
        // A call that finds the lock taken is not counted: the sample is large enough without it.
        let budget = self.budget.as_ref().and_then(|budget| budget.try_lock().ok());
        budget.is_some_and(|mut budget| budget.observe(computed.as_secs_f64() * 1e6))
    }
}

/// A tenant in service under one number.
pub(crate) struct Version<W: World> {
    pub bearer: Arc<Bearer>,
    pub tenant: Arc<Tenant<W>>,
    instances: Mutex<Instances<W>>,
    retired: AtomicBool,
}

struct Instances<W: World> {
    idle: Vec<Warm<W>>,
    in_use: usize,
}

/// Why a call got no answer.
pub(crate) enum NoAnswer {
    /// The plugin failed: a strike.
    Failed(PolicyFault),
    /// As many instances as may be are in use, which is nobody's fault.
    Full(PolicyFault),
}

impl<W: World> Version<W> {
    pub(crate) fn new(slot: &SlotName, generation: Generation, tenant: Arc<Tenant<W>>, idle: Vec<Warm<W>>) -> Arc<Self> {
        let package = &tenant.program.package;
        let bearer = Bearer { slot: slot.clone(), plugin: Arc::clone(&package.name), digest: package.digest, generation };
        let instances = Mutex::new(Instances { idle, in_use: 0 });
        Arc::new(Self { bearer: Arc::new(bearer), tenant, instances, retired: AtomicBool::new(false) })
    }

    /// A warm instance, or a new one if all are in use and there may be more. A built-in plugin may always have more: it
    /// answers when nobody else does, and the threads that call bound it.
    pub(super) fn take(&self) -> Result<Warm<W>, NoAnswer> {
        let instances_max = self.tenant.program.limits.instances_max;
        let mut instances = lock(&self.instances);
        if instances.in_use >= instances_max && !self.tenant.builtin {
            let message = format!("{} of its instances are in use, at most {instances_max} may be", instances.in_use);
            return Err(NoAnswer::Full(PolicyFault { kind: StrikeKind::OverBudget, message }));
        }
        instances.in_use += 1;
        if let Some(warm) = instances.idle.pop() {
            return Ok(warm);
        }
        drop(instances);
        self.tenant.program.start().map_err(|error| {
            lock(&self.instances).in_use -= 1;
            NoAnswer::Failed(PolicyFault { kind: StrikeKind::Trap, message: error.to_string() })
        })
    }

    /// Keeps an instance for the next call, unless it failed, there are enough, or this version serves no more.
    pub(super) fn give_back(&self, warm: Warm<W>, keeper: &Keeper) {
        let mut instances = lock(&self.instances);
        instances.in_use -= 1;
        let useful = !warm.failed() && !self.retired.load(Ordering::Acquire) && instances.idle.len() < self.tenant.program.limits.warm_instances;
        if useful {
            instances.idle.push(warm);
        } else {
            drop(instances);
            keeper.drop_later(warm);
        }
    }

    /// Ends its service: instances that come back from now on are dropped, the others are handed out.
    pub(super) fn retire(&self) -> Vec<Warm<W>> {
        self.retired.store(true, Ordering::Release);
        std::mem::take(&mut lock(&self.instances).idle)
    }
}
