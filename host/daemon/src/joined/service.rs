//! What a device in its own process says to those who ask it over its admin socket. Requests and plans are its central's.

use std::{path::PathBuf, sync::Arc};

use host_core::units::Millis;
use host_wire::{
    admin,
    schedule::{self, Strategy},
};

use super::Joined;
use crate::{
    error::{Error, Fault},
    models::Model,
    request::{Answer, Request},
    service::{Pending, Service},
};

/// Why a device does not answer something.
fn asked_elsewhere(what: &'static str) -> Error {
    Fault::NotOffered { what, instead: "this host is a device; ask its central" }.into()
}

impl Service for Joined {
    fn ready(&self) -> bool {
        self.attends()
    }

    fn models(&self) -> Vec<Arc<Model>> {
        Vec::new()
    }

    fn model(&self, name: &str, _version: Option<u32>) -> Result<Arc<Model>, Error> {
        Err(Fault::UnknownModel { name: name.to_owned() }.into())
    }

    fn model_ready(&self, _model: &Model) -> bool {
        false
    }

    fn shard_engines(&self, _model: &Model, _query: &admin::ModelQuery) -> Result<Vec<admin::ShardEngine>, Error> {
        Ok(Vec::new())
    }

    fn deadline(&self, timeout: Option<Millis>) -> Millis {
        timeout.unwrap_or(Millis::ZERO)
    }

    fn class(&self, _priority: Option<i64>) -> Result<u32, Error> {
        Err(asked_elsewhere("a priority"))
    }

    fn routing(&self, _model: &Model, _asked: Option<&str>) -> Result<Option<String>, Error> {
        Err(asked_elsewhere("a routing policy"))
    }

    fn infer(&self, _request: Request) -> Pending<'_, Answer> {
        Box::pin(async { Err(asked_elsewhere("inference")) })
    }

    fn schedule(&self, _strategy: &Strategy, _model: Option<&str>, _sequence_key: u32) -> Result<schedule::Answer, Error> {
        Err(asked_elsewhere("a schedule"))
    }

    fn status(&self) -> admin::Status {
        admin::Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            state: if self.attends() { "attending" } else { "looking for its central" }.to_owned(),
            uptime_ms: self.uptime().0 as u64,
            data: self.data().display().to_string(),
            devices: vec![self.id().to_string()],
            central: Some(self.central()),
            peers: Some(self.address().to_owned()),
            slots: self.shelf().slots(),
            blobs: Some(self.blobs()),
            ..admin::Status::default()
        }
    }

    fn devices(&self) -> Vec<admin::Device> {
        Vec::new()
    }

    fn order(&self, _who: &str, _device: &str, _order: &admin::DeviceOrder) -> Result<admin::Ordered, Error> {
        Err(asked_elsewhere("an order for a device"))
    }

    fn census(&self) -> Option<admin::Census> {
        None
    }

    fn plan(&self) -> admin::Plan {
        admin::Plan::default()
    }

    fn explain(&self, _name: &str) -> Result<admin::Explanation, Error> {
        Err(asked_elsewhere("a plan"))
    }

    fn advise(&self, name: &str) -> Result<admin::Explanation, Error> {
        Service::explain(self, name)
    }

    fn split(&self, _name: &str, _cuts: Vec<u32>, _folder: PathBuf) -> Pending<'_, Vec<String>> {
        Box::pin(async { Err(asked_elsewhere("splitting")) })
    }
}
