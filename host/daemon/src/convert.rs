//! Converting shards for accelerators that do not take ONNX: by the vendor's tool, as a child process, on this host. One conversion
//! runs at a time; what it makes is kept by digest in the store, and the model is planned again. Devices get the results with their
//! shards. Engines and adapters are not asked: what they need is in the shapes and the target.

mod alone;
mod child;
mod fault;
mod job;
mod npy;
mod target;
mod tool;
mod words;
mod work;

use std::{
    collections::{BTreeSet, VecDeque},
    fs,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use host_core::{
    cluster::{Converted, Event},
    shard::BlockRange,
};
use host_plugin::PluginHost;
use host_wire::admin::{self, ConvertQuery};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

pub use alone::Alone;
pub use fault::ConversionFault;
pub use target::target_name;
pub use work::artefacts;

use crate::{
    config::Config,
    control::{Asked, Control},
    error::{Error, Fault},
    models::Model,
    store::Store,
};
use job::Job;
use target::Target;
use tool::Tool;
use work::{Order, blocking};

/// The folder that tools work in, in the data directory.
const FOLDER: &str = "conversion";
/// What is said where there is nothing to convert.
const OWN_CACHE: &str = "TensorRT makes its engine on the device, when a shard is first loaded there, and keeps it in a cache of its own: \
    loading is the warm-up, and there is nothing to convert here; conversion.tensorrt.command names a program that does it ahead";

/// The conversions of a host. A cheap handle.
#[derive(Clone, Debug)]
pub struct Conversions(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    config: Arc<Config>,
    control: Arc<Control>,
    plugins: Arc<PluginHost>,
    store: Store,
    asks: mpsc::Sender<Asked>,
    folder: PathBuf,
    /// Cancelled when the host stops.
    closing: CancellationToken,
    jobs: Mutex<Jobs>,
    tasks: Mutex<JoinSet<()>>,
}

#[derive(Debug, Default)]
struct Jobs {
    begun: u64,
    /// The newest last.
    known: VecDeque<Arc<Job>>,
}

impl Conversions {
    /// Nothing is converted yet. What a killed host has left half done is removed: nobody else uses its data directory.
    pub fn new(config: Arc<Config>, control: Arc<Control>, plugins: Arc<PluginHost>, store: Store, asks: mpsc::Sender<Asked>) -> Self {
        let folder = config.data.join(FOLDER);
        // Not there, as a rule.
        let _ = fs::remove_dir_all(&folder);
        let (closing, jobs, tasks) = (CancellationToken::new(), Mutex::default(), Mutex::default());
        Self(Arc::new(Inner { config, control, plugins, store, asks, folder, closing, jobs, tasks }))
    }

    /// Begins a conversion, and says what it is called. What cannot work is refused at once.
    pub fn begin(&self, model: Arc<Model>, query: &ConvertQuery) -> Result<admin::Conversion, Error> {
        let settings = &self.0.config.conversion;
        let target = Target::parse(query.target.trim())?;
        let blocks = model.profile().whole().end();
        let ranges: Option<BTreeSet<BlockRange>> = query.ranges.as_deref().map(|text| words::ranges(text, blocks)).transpose()?;
        let buckets = words::buckets(query.buckets.as_deref(), &model.open_lengths(), settings.buckets_max)?;
        let tool = Tool::of(&target, settings)?;
        if query.check && !tool.as_ref().is_some_and(Tool::simulates) {
            return Err(ConversionFault::NoSimulator { target: target.to_string() }.into());
        }
        let job = self.register(&model, target)?;
        let (own, running) = (self.clone(), job.clone());
        match tool {
            None => {
                job.say(OWN_CACHE.to_owned());
                job.end(Ok(()));
            }
            Some(tool) => {
                let order = Order { model, tool, ranges, buckets, check: query.check };
                let mut tasks = self.0.tasks.lock().unwrap_or_else(PoisonError::into_inner);
                // Those that have ended.
                while tasks.try_join_next().is_some() {}
                tasks.spawn(async move {
                    let outcome = own.convert(&running, order).await;
                    if let Err(error) = &outcome {
                        tracing::warn!(model = %running.model, target = %running.target, %error, "a conversion has failed");
                    }
                    running.end(outcome);
                });
            }
        }
        Ok(job.shown(u64::MAX))
    }

    fn register(&self, model: &Model, target: Target) -> Result<Arc<Job>, Error> {
        let settings = &self.0.config.conversion;
        if self.0.closing.is_cancelled() {
            return Err(Fault::Draining.into());
        }
        let mut jobs = self.lock();
        if let Some(running) = jobs.known.iter().find(|job| !job.has_ended()) {
            let (model, target) = (running.model.to_string(), running.target.to_string());
            return Err(ConversionFault::Busy { number: running.number, model, target }.into());
        }
        jobs.begun += 1;
        let job = Arc::new(Job::new(jobs.begun, model.id.clone(), target, self.0.closing.child_token(), settings.lines_max));
        while jobs.known.len() >= settings.kept_max {
            jobs.known.pop_front();
        }
        jobs.known.push_back(job.clone());
        Ok(job)
    }

    /// How far a conversion is, with what was said from a line on.
    pub fn show(&self, number: u64, from: u64) -> Result<admin::Conversion, Error> {
        Ok(self.find(number)?.shown(from))
    }

    /// Ends a conversion; what it has made is kept.
    pub fn cancel(&self, number: u64) -> Result<admin::Conversion, Error> {
        let job = self.find(number)?;
        job.cancel.cancel();
        Ok(job.shown(u64::MAX))
    }

    /// What there is, of one model or of all. Waits for a disk.
    pub fn list(&self, model: Option<&str>) -> Result<Vec<admin::Artefact>, Error> {
        let named =
            |record: &crate::store::ArtefactRecord| model.is_none_or(|name| record.id.model.name.as_str() == name || record.id.model.to_string() == name);
        Ok(self.0.store.artefacts()?.into_iter().filter(named).map(Into::into).collect())
    }

    /// Ends what runs and waits for that.
    pub async fn close(&self) {
        self.0.closing.cancel();
        let mut tasks = std::mem::take(&mut *self.0.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        while tasks.join_next().await.is_some() {}
    }

    /// Says something to the cluster, and waits until it was taken.
    async fn ask(&self, event: Event) -> Result<(), Error> {
        let (answer, answered) = oneshot::channel();
        self.0.asks.send(Asked { event, answer }).await.map_err(|_| Error::from(Fault::Draining))?;
        answered.await.map_err(|_| Error::from(Fault::Draining))?.map_err(Error::from)
    }

    fn find(&self, number: u64) -> Result<Arc<Job>, Error> {
        let found = self.lock().known.iter().find(|job| job.number == number).cloned();
        found.ok_or_else(|| ConversionFault::Unknown { number }.into())
    }

    fn lock(&self) -> MutexGuard<'_, Jobs> {
        // Whole between any two statements.
        self.0.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What was converted of models, for a cluster that starts. Those of which nothing was are left out.
pub async fn known(store: &Store, models: &[Arc<Model>]) -> Result<Vec<Event>, Error> {
    let (store, models) = (store.clone(), models.to_vec());
    blocking(move || {
        let of = |model: &Arc<Model>| Ok((model.id.clone(), work::converted(&store, model)?));
        let all: Vec<(_, Converted)> = models.iter().map(of).collect::<Result<_, Error>>()?;
        Ok(all.into_iter().filter(|(_, converted)| !converted.is_empty()).map(|(model, converted)| Event::Converted { model, converted }).collect())
    })
    .await
}
