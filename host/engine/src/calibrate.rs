//! How fast a device is: a few tiny models, each heavy in one way, are timed on an engine, and the four coefficients of the cost
//! model are fitted to the times.

mod fit;
mod micro;

use std::sync::{Arc, Barrier};

use host_core::{cost::CostModel, units::Millis};

use crate::{
    clock::Stopwatch,
    engine::{Engine, Graph, LoadOptions},
    error::{Error, Fault},
    golden::{self, Golden},
    passes,
    tensor::Tensor,
};
use fit::Sample;

/// Time for all runs of one calibration; building and loading the models takes about as long again.
pub const BUDGET_MS: f64 = 60.0;
/// How often the models take turns. The speed of a machine changes while it is measured; models that are measured one after another
/// would meet different moments, and the coefficients would say that of arithmetic or of memory which was the moment's.
const PASSES: usize = 5;
/// Passes that are made even if they take longer than the budget.
const PASSES_MIN: usize = 2;
/// Fewest runs at a time, the first of which is thrown away: it touches the weights for the first time, or after others were there.
pub(crate) const RUNS_MIN: usize = 4;
/// Most runs at a time.
pub(crate) const RUNS_MAX: usize = 200;
/// Shortest time that is believed; shorter ones would weigh without bound.
pub(crate) const TIME_MIN_MS: f64 = 1e-4;
/// Most devices that are measured at once.
const DEVICES_MAX: usize = 64;

/// Measures one device that has the machine to itself.
pub fn calibrate(engine: &dyn Engine) -> Result<CostModel, Error> {
    calibrate_together(engine, 1, Millis(BUDGET_MS))
}

/// Measures devices of one process while all of them compute, as they share its cores and memory, and gives the one model that
/// holds for each of them: they are the same cores, so what differs between them is noise. The budget is for the runs, in wall
/// time, of all devices together.
pub fn calibrate_together(engine: &dyn Engine, devices: usize, budget: Millis) -> Result<CostModel, Error> {
    let devices = devices.clamp(1, DEVICES_MAX);
    let models = micro::models()?;
    let graphs = models.iter().map(|model| engine.load(&model.shard, &LoadOptions::default())).collect::<Result<Vec<_>, _>>()?;
    let share = Millis(budget.0 / (models.len() * PASSES) as f64);
    let all = Stopwatch::start();
    let mut measured: Vec<Vec<f64>> = Vec::new();
    while measured.len() < PASSES_MIN || (measured.len() < PASSES && all.elapsed().0 < budget.0) {
        let times = models.iter().zip(&graphs).map(|(model, graph)| {
            let mut times = measure_together(graph.as_ref(), &model.inputs, devices, share)?;
            times.sort_by(|a, b| a.0.total_cmp(&b.0));
            Ok::<f64, Error>(times[times.len() / 2].0.max(TIME_MIN_MS))
        });
        measured.push(times.collect::<Result<_, _>>()?);
    }
    let times = passes::together(&measured);
    let samples: Vec<Sample> = models.iter().zip(times).map(|(model, time)| Sample { work: model.work, time: Millis(time) }).collect();
    fit::fit(&samples)
}

/// The engine that computes the calibration's models in the least time together, of those that answer what the first answers. The
/// budget is for the runs of all of them. The error is the first one's, where none computes.
pub(crate) fn fastest(engines: &[Arc<dyn Engine>], budget: Millis) -> Result<Arc<dyn Engine>, Error> {
    let models = micro::models()?;
    let share = Millis(budget.0 / (models.len() * engines.len().max(1)) as f64);
    let mut expected: Vec<Option<Golden>> = vec![None; models.len()];
    let mut best: Option<(f64, &Arc<dyn Engine>)> = None;
    let mut refused: Option<Error> = None;
    for engine in engines {
        let total = models.iter().zip(&mut expected).try_fold(0.0, |total, (model, answers)| {
            let mut graph = engine.load(&model.shard, &LoadOptions::default())?;
            match answers {
                Some(answers) => golden::check(graph.as_mut(), answers)?,
                None => {
                    let outputs = graph.run(model.inputs.clone())?;
                    *answers = Some(Golden { inputs: model.inputs.clone(), outputs, tolerance: golden::TOLERANCE });
                }
            }
            Ok::<f64, Error>(total + measure(graph, &model.inputs, Runs::within(share), &Barrier::new(1), Take::Fastest)?.0)
        });
        match total {
            Ok(total) if best.is_none_or(|(least, _)| total < least) => best = Some((total, engine)),
            Ok(_) => {}
            Err(error) => drop(refused.get_or_insert(error)),
        }
    }
    best.map(|(_, engine)| Arc::clone(engine)).ok_or_else(|| refused.unwrap_or_else(|| Error::from(Fault::NoEngine { refusals: Vec::new() })))
}

/// Times one graph on as many threads as there are devices; all start together and run for as long.
fn measure_together(graph: &dyn Graph, inputs: &[Tensor], devices: usize, share: Millis) -> Result<Vec<Millis>, Error> {
    let graphs = (0..devices).map(|_| graph.share()).collect::<Result<Vec<_>, _>>()?;
    let start = Barrier::new(devices);
    let take = if devices == 1 { Take::Fastest } else { Take::Median };
    std::thread::scope(|scope| {
        let start = &start;
        let threads: Vec<_> = graphs.into_iter().map(|graph| scope.spawn(move || measure(graph, inputs, Runs::within(share), start, take))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap_or_else(|_| Err(Error::unsupported("a measuring thread panicked")))).collect()
    })
}

/// Which of several times of the same run stands for all.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Take {
    /// For a device alone: whatever made the other runs slower is not the device's.
    Fastest,
    /// For devices together: the fastest would not show what the others take away.
    Median,
}

/// How often a graph is run to be timed.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Runs {
    /// Time for all of them.
    pub(crate) time: Millis,
    /// Fewest, even if they take longer. The first one is thrown away, so at least two are made.
    pub(crate) count_min: usize,
    /// Most, even if there is time left.
    pub(crate) count_max: usize,
}

impl Runs {
    /// Those of a calibration that take so long.
    pub(crate) fn within(time: Millis) -> Self {
        Self { time, count_min: RUNS_MIN, count_max: RUNS_MAX }
    }
}

/// The time of one run. It begins when as many threads as the barrier is for are there.
pub(crate) fn measure(mut graph: Box<dyn Graph>, inputs: &[Tensor], runs: Runs, start: &Barrier, take: Take) -> Result<Millis, Error> {
    let fewest = runs.count_min.max(2);
    start.wait();
    let all = Stopwatch::start();
    let mut times = Vec::new();
    while times.len() < fewest || (all.elapsed().0 < runs.time.0 && times.len() < runs.count_max) {
        let given = inputs.to_vec();
        let run = Stopwatch::start();
        graph.run(given)?;
        times.push(run.elapsed().0);
    }
    times.remove(0);
    times.sort_by(f64::total_cmp);
    Ok(Millis(match take {
        Take::Fastest => times[0],
        Take::Median => times[times.len() / 2],
    }))
}
