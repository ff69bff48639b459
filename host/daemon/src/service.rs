//! What the HTTP door and the admin socket need of a host. The central is one; tests have a smaller one.

use std::{fmt::Debug, path::PathBuf, pin::Pin, sync::Arc};

use host_core::units::Millis;
use host_wire::{
    admin,
    schedule::{self, Strategy},
};

use crate::{
    central::Central,
    convert::Conversions,
    error::Error,
    models::Model,
    request::{Answer, Request},
};

/// Something that is still being worked on. Dropping it cancels.
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = Result<T, Error>> + Send + 'a>>;

/// A host, as those see it who talk to clients and people.
pub trait Service: Debug + Send + Sync {
    /// Whether requests are answered.
    fn ready(&self) -> bool;
    /// Every loaded model, sorted by name and version.
    fn models(&self) -> Vec<Arc<Model>>;
    /// A model by name; without a version, its highest.
    fn model(&self, name: &str, version: Option<u32>) -> Result<Arc<Model>, Error>;
    /// Whether a replica of the model is ready.
    fn model_ready(&self, model: &Model) -> bool;
    /// What engines do with the shards of a model that this host holds. Takes a disk, and measures where asked to: not for an
    /// async thread.
    fn shard_engines(&self, model: &Model, query: &admin::ModelQuery) -> Result<Vec<admin::ShardEngine>, Error>;
    /// When a request that arrives now must be answered.
    fn deadline(&self, timeout: Option<Millis>) -> Millis;
    /// The class of priority that a request waits in, from what its client named.
    fn class(&self, priority: Option<i64>) -> Result<u32, Error>;
    /// The slot beside `routing` that chooses the way of a request, from what its client named; none for `routing` itself.
    fn routing(&self, model: &Model, asked: Option<&str>) -> Result<Option<String>, Error>;
    /// Answers one request.
    fn infer(&self, request: Request) -> Pending<'_, Answer>;
    /// Which device a task would go to, of a sequence or, with key 0, of none.
    fn schedule(&self, strategy: &Strategy, model: Option<&str>, sequence_key: u32) -> Result<schedule::Answer, Error>;
    /// What `host status` prints, but for the addresses.
    fn status(&self) -> admin::Status;
    /// Every device.
    fn devices(&self) -> Vec<admin::Device>;
    /// Does what a person asks of a device. Takes a disk: not for an async thread.
    fn order(&self, who: &str, device: &str, order: &admin::DeviceOrder) -> Result<admin::Ordered, Error>;
    /// The pool in figures; none of a host that has no pool.
    fn census(&self) -> Option<admin::Census>;
    /// The plan in force.
    fn plan(&self) -> admin::Plan;
    /// Why a model is where it is.
    fn explain(&self, name: &str) -> Result<admin::Explanation, Error>;
    /// The same, and what would help: asks the allocation policy, so it is not for an async thread.
    fn advise(&self, name: &str) -> Result<admin::Explanation, Error>;
    /// Cuts a model and writes its shards to a folder; gives the files.
    fn split(&self, name: &str, cuts: Vec<u32>, folder: PathBuf) -> Pending<'_, Vec<String>>;
    /// What converts shards; none of a host without models.
    fn conversions(&self) -> Option<&Conversions> {
        None
    }
}

impl Service for Central {
    fn ready(&self) -> bool {
        self.ready()
    }

    fn models(&self) -> Vec<Arc<Model>> {
        self.models()
    }

    fn model(&self, name: &str, version: Option<u32>) -> Result<Arc<Model>, Error> {
        self.model(name, version)
    }

    fn model_ready(&self, model: &Model) -> bool {
        self.model_ready(model)
    }

    fn shard_engines(&self, model: &Model, query: &admin::ModelQuery) -> Result<Vec<admin::ShardEngine>, Error> {
        self.shard_engines(model, query)
    }

    fn deadline(&self, timeout: Option<Millis>) -> Millis {
        self.deadline(timeout)
    }

    fn class(&self, priority: Option<i64>) -> Result<u32, Error> {
        self.class(priority)
    }

    fn routing(&self, model: &Model, asked: Option<&str>) -> Result<Option<String>, Error> {
        self.routing(model, asked)
    }

    fn infer(&self, request: Request) -> Pending<'_, Answer> {
        Box::pin(self.infer(request))
    }

    fn schedule(&self, strategy: &Strategy, model: Option<&str>, sequence_key: u32) -> Result<schedule::Answer, Error> {
        self.schedule(strategy, model, sequence_key)
    }

    fn status(&self) -> admin::Status {
        self.status()
    }

    fn devices(&self) -> Vec<admin::Device> {
        self.devices()
    }

    fn order(&self, who: &str, device: &str, order: &admin::DeviceOrder) -> Result<admin::Ordered, Error> {
        self.order(who, device, order)
    }

    fn census(&self) -> Option<admin::Census> {
        Some(self.census())
    }

    fn plan(&self) -> admin::Plan {
        self.plan()
    }

    fn explain(&self, name: &str) -> Result<admin::Explanation, Error> {
        self.explain(name)
    }

    fn advise(&self, name: &str) -> Result<admin::Explanation, Error> {
        self.advise(name)
    }

    fn split(&self, name: &str, cuts: Vec<u32>, folder: PathBuf) -> Pending<'_, Vec<String>> {
        let name = name.to_owned();
        Box::pin(async move { self.split(&name, cuts, folder).await })
    }

    fn conversions(&self) -> Option<&Conversions> {
        Some(self.conversions())
    }
}
