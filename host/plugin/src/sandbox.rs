//! The sandbox: one wasmtime engine for all guests, its clock of one tick per millisecond, and the way from a component to
//! code that can be instantiated. It knows nothing of slots.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
};

use host_engine::Engines;
use wasmtime::{
    Config, Engine, OptLevel, Store,
    component::{Component, InstancePre, Linker},
};

use crate::{
    address_space, builtin,
    cache::{self, Cache, CodeFolder},
    canonical_nan,
    compiler::Compiler,
    error::{Error, Fault},
    guest::Guest,
    limits::{CallLimits, Limits},
    meter::EPOCH,
    package::Package,
    passes::PassBook,
    system,
};

/// Components above this size are compiled without optimisation. They hold an interpreter, whose compilation would take three
/// times as long for a few percent of its speed.
const OPTIMISED_BYTES_MAX: usize = 8 << 20;

/// Compiles and instantiates. Cheap to share.
pub(crate) struct Sandbox {
    engine: Engine,
    /// Address space of each linear memory.
    reserved_bytes: u64,
    cache: Option<Cache>,
    passes: Option<PassBook>,
    compiler: Option<Compiler>,
    limits: Limits,
    engines: Arc<Engines>,
    _ticker: Ticker,
}

/// What a sandbox keeps on disk.
#[derive(Clone, Copy, Default)]
pub(crate) struct Kept<'a> {
    /// Native code.
    pub code: Option<&'a CodeFolder>,
    /// Which plugins have passed their rehearsal.
    pub passes: Option<&'a Path>,
}

impl Sandbox {
    pub(crate) fn new(limits: &Limits, kept: Kept<'_>, compiler: Option<Compiler>, engines: Arc<Engines>) -> Result<Self, Error> {
        let reserved_bytes = address_space::for_each_memory();
        let engine = engine(limits, reserved_bytes, OptLevel::Speed)?;
        let mut hasher = DefaultHasher::new();
        (engine.precompile_compatibility_hash(), canonical_nan::REVISION).hash(&mut hasher);
        let compatibility = hasher.finish();
        let cache = kept.code.map(|folder| Cache::open(folder, compatibility)).transpose()?;
        let passes = kept.passes.map(|folder| PassBook::open(folder, compatibility)).transpose()?;
        let ticker = Ticker::start(engine.clone())?;
        Ok(Self { engine, reserved_bytes, cache, passes, compiler, limits: limits.clone(), engines, _ticker: ticker })
    }

    /// Which plugins have passed their rehearsal on this host; none where nothing is kept on disk.
    pub(crate) fn passes(&self) -> Option<&PassBook> {
        self.passes.as_ref()
    }

    /// Native code of a component: from the cache, or compiled and then cached. What is part of the host is compiled in this
    /// process, which is faster; anything else in a child, if there is a program for it.
    fn component(&self, package: &Package) -> Result<Component, Error> {
        let cached = self.cache.as_ref().and_then(|cache| cache.load(&self.engine, package.digest));
        if let Some(component) = cached {
            return Ok(component);
        }
        let fault = |reason: String| Fault::Compile { plugin: package.name.to_string(), reason };
        let (component, code) = match self.compiler.as_ref().filter(|_| !builtin::contains(package.digest)) {
            Some(compiler) => {
                let code = compiler.compile(&package.bytes, &self.limits, self.reserved_bytes).map_err(fault)?;
                let component = cache::revive(&self.engine, &code).ok_or_else(|| fault("the compiler's code does not fit this host".to_owned()))?;
                (component, Some(code))
            }
            None => {
                let rewritten = canonical_nan::rewrite(&package.bytes).map_err(fault)?;
                let component = Component::new(&self.engine, &rewritten).map_err(|error| fault(format!("{error:#}")))?;
                let code = self.cache.as_ref().and_then(|_| component.serialize().ok());
                (component, code)
            }
        };
        if let Some((cache, code)) = self.cache.as_ref().zip(code) {
            cache.keep(package.digest, &code);
        }
        Ok(component)
    }

    /// Code with its imports bound. What is neither of the contract nor in [`system`] traps when it is called: a guest runs as
    /// long as it needs none of it.
    pub(crate) fn link(&self, package: &Package) -> Result<InstancePre<Guest>, Error> {
        let component = self.component(package)?;
        let mut linker = Linker::<Guest>::new(&self.engine);
        let linked = (package.contract.link)(&mut linker)
            .and_then(|()| system::bind(&mut linker, &self.engine, &component))
            .and_then(|()| linker.instantiate_pre(&component));
        linked.map_err(|error| Fault::Start { plugin: package.name.to_string(), reason: format!("{error:#}") }.into())
    }

    /// A store for one guest, without anything in it yet.
    pub(crate) fn store(&self, limits: &Limits) -> Store<Guest> {
        let mut store = Store::new(&self.engine, Guest::new(limits, Arc::clone(&self.engines)));
        store.limiter(|guest| &mut guest.memory);
        store.epoch_deadline_callback(|mut context| Ok(context.data_mut().call.judge()));
        store
    }
}

/// What all guests share. Whoever compiles for this host must do so with the same settings.
fn engine(limits: &Limits, reserved_bytes: u64, level: OptLevel) -> Result<Engine, Error> {
    let mut config = Config::new();
    config.cranelift_opt_level(level);
    config.concurrency_support(false);
    config.epoch_interruption(true);
    config.max_wasm_stack(limits.stack_bytes_max);
    config.memory_reservation(reserved_bytes);
    // Every machine must give the same bits, so that a decision can be taken again later; see also `canonical_nan`.
    config.relaxed_simd_deterministic(true);
    // Nobody looks where in a guest a trap was: without the maps code compiles faster and is smaller.
    config.generate_address_map(false);
    config.native_unwind_info(false);
    config.wasm_backtrace_max_frames(None);
    let failed = |error: wasmtime::Error| Error::from(Fault::Host { what: "the sandbox does not start" }).because(error.to_string());
    Engine::new(&config).map_err(failed)
}

/// Native code of a component, for a host with these limits that sets aside so much address space for each linear memory.
pub(crate) fn precompile(component: &[u8], limits: &Limits, reserved_bytes: u64) -> Result<Vec<u8>, Error> {
    let fault = |error: wasmtime::Error| Fault::NotCompiled { reason: format!("{error:#}") }.into();
    let level = if component.len() > OPTIMISED_BYTES_MAX { OptLevel::None } else { OptLevel::Speed };
    let rewritten = canonical_nan::rewrite(component).map_err(|reason| Fault::NotCompiled { reason })?;
    engine(limits, reserved_bytes, level)?.precompile_component(&rewritten).map_err(fault)
}

/// Readies a store for one call.
pub(crate) fn arm(store: &mut Store<Guest>, limits: &CallLimits) {
    // The meter is asked at each epoch: it stops the guest, this only lets it look.
    store.set_epoch_deadline(1);
    store.set_hostcall_fuel(limits.returned_bytes_max);
    store.data_mut().begin(limits);
}

/// The thread behind deadlines. Stops when it is dropped.
struct Ticker {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Ticker {
    fn start(engine: Engine) -> Result<Self, Error> {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let tick = move || {
            while !stopped.load(Ordering::Relaxed) {
                thread::sleep(EPOCH);
                engine.increment_epoch();
            }
        };
        let failed = |error: std::io::Error| Error::from(Fault::Host { what: "the clock of the sandbox does not start" }).because(error);
        let thread = thread::Builder::new().name("plugin-clock".into()).spawn(tick).map_err(failed)?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // It only sleeps and counts; a panic in it would have nothing to tell.
            let _ = thread.join();
        }
    }
}
