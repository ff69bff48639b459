//! Optimised plans of one graph: one for all lengths where tract can keep them open, else one for each set of lengths that comes.

use std::{
    collections::{HashMap, VecDeque},
    fmt,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
};

use tract_onnx::{
    prelude::{InferenceModelExt as _, IntoTValue as _, RunOptions, TVec, TypedSimplePlan, multithread::Executor},
    tract_hir::internal::IntoArcTensor as _,
};

use super::{
    guard::guarded,
    parse::{Axes, Parsed, parse},
    tensors,
};
use crate::{
    binding::{Binding, batch_symbol, is_past},
    engine::{LoadOptions, OpenDimensions},
    error::Error,
    linear::Linear,
    onnx::OnnxFile,
    spec::TensorSpec,
    tensor::Tensor,
};

/// Plans kept per graph where each set of lengths needs its own. Each holds its own packed weights, so few are kept.
const PLANS_MAX: usize = 4;
/// Most threads that one run may use.
const THREADS_MAX: usize = 64;

/// Plans and the lengths that each is for.
type Made = VecDeque<(Vec<Axes>, Arc<TypedSimplePlan>)>;

/// The plans of one graph.
pub(super) struct Plans {
    inputs: Vec<TensorSpec>,
    outputs: Vec<TensorSpec>,
    open: OpenDimensions,
    threads: usize,
    parsed: Parsed,
    /// Most recently used first.
    made: Mutex<Made>,
}

impl fmt::Debug for Plans {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plans").field("inputs", &self.inputs).field("outputs", &self.outputs).field("open", &self.open).finish_non_exhaustive()
    }
}

impl Plans {
    /// Reads the graph; where no length is left to wait for, makes its plan at once, so that loading fails instead of running.
    pub(super) fn prepare(file: &OnnxFile, inputs: &[TensorSpec], outputs: &[TensorSpec], options: &LoadOptions) -> Result<Self, Error> {
        let batch = batch_symbol(inputs).map_or_else(Binding::default, |symbol| Binding::default().with(&symbol, 1));
        let specify = |specs: &[TensorSpec]| specs.iter().map(|spec| batch.specify(spec)).collect::<Vec<_>>();
        let plans = Self {
            inputs: specify(inputs),
            outputs: specify(outputs),
            open: options.open,
            threads: options.threads.clamp(1, THREADS_MAX),
            parsed: parse(file)?,
            made: Mutex::default(),
        };
        let axes = plans.declared();
        let waits = axes.iter().flatten().any(|axis| axis.terms.keys().any(|symbol| !plans.stays_open(symbol)));
        if !waits {
            plans.plan(axes)?;
        }
        Ok(plans)
    }

    pub(super) fn inputs(&self) -> &[TensorSpec] {
        &self.inputs
    }

    pub(super) fn outputs(&self) -> &[TensorSpec] {
        &self.outputs
    }

    /// Runs inputs that fit the specs.
    pub(super) fn run(&self, inputs: Vec<Tensor>) -> Result<Vec<Tensor>, Error> {
        let binding = Binding::solve(self.inputs.iter().zip(inputs.iter().map(Tensor::shape)))?;
        let axes = match self.open {
            OpenDimensions::None => inputs.iter().map(|tensor| tensor.shape().iter().map(|&length| Linear::fixed(length)).collect()).collect(),
            _ => {
                let closed = binding.without(|symbol| self.stays_open(symbol));
                self.declared().into_iter().map(|axes| axes.iter().map(|axis| closed.apply(axis)).collect()).collect()
            }
        };
        let plan = self.plan(axes)?;
        let values = inputs.iter().map(|tensor| tensors::to_tract(tensor).map(|tensor| tensor.into_tvalue())).collect::<Result<TVec<_>, _>>()?;
        drop(inputs);
        let outputs = guarded("run", || plan.run(values))?;
        outputs.into_iter().map(|value| tensors::from_tract(value.into_arc_tensor())).collect()
    }

    fn declared(&self) -> Vec<Axes> {
        self.inputs.iter().map(|spec| spec.shape.iter().map(Linear::from).collect()).collect()
    }

    fn stays_open(&self, symbol: &str) -> bool {
        match self.open {
            OpenDimensions::All => true,
            OpenDimensions::Past => is_past(symbol),
            OpenDimensions::None => false,
        }
    }

    /// The plan for these lengths, made when it is not there. Making one takes long and holds nobody up: at worst two threads
    /// make the same one, and the second is dropped.
    fn plan(&self, axes: Vec<Axes>) -> Result<Arc<TypedSimplePlan>, Error> {
        if let Some(plan) = self.known(&axes) {
            return Ok(plan);
        }
        let plan = self.optimise(&axes)?;
        let mut made = self.lock();
        made.retain(|(other, _)| *other != axes);
        made.push_front((axes, Arc::clone(&plan)));
        made.truncate(PLANS_MAX);
        Ok(plan)
    }

    fn known(&self, axes: &[Axes]) -> Option<Arc<TypedSimplePlan>> {
        let mut made = self.lock();
        let place = made.iter().position(|(known, _)| known == axes)?;
        let entry = made.remove(place)?;
        let plan = Arc::clone(&entry.1);
        made.push_front(entry);
        Some(plan)
    }

    fn lock(&self) -> MutexGuard<'_, Made> {
        // The list is whole between any two statements, so a panic elsewhere leaves it sound.
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn optimise(&self, axes: &[Axes]) -> Result<Arc<TypedSimplePlan>, Error> {
        let mut parsed = self.parsed.clone();
        parsed.declare(&self.inputs, axes)?;
        let options = RunOptions { executor: executor(self.threads), ..RunOptions::default() };
        guarded("optimise the graph", || TypedSimplePlan::new_with_options(parsed.model.into_optimized()?, &options))
    }
}

/// One pool for each number of threads, shared by all graphs; none for a single thread, which is tract's own.
fn executor(threads: usize) -> Option<Executor> {
    static POOLS: OnceLock<Mutex<HashMap<usize, Executor>>> = OnceLock::new();
    if threads <= 1 {
        return Some(Executor::SingleThread);
    }
    let mut pools = POOLS.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner);
    Some(pools.entry(threads).or_insert_with(|| Executor::multithread_with_name(threads, "engine")).clone())
}
