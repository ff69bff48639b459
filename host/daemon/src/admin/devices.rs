//! What the command line asks about devices, and of them.

use std::collections::BTreeSet;

use axum::{
    Json, Router,
    body::Body,
    extract::{ConnectInfo, Path as Segment, State},
    routing::get,
};
use host_core::device::DeviceState;
use host_wire::admin::{self, DeviceOrder};

use super::{AdminDoor, Caller, blocking, orders};
use crate::{
    api::{WORDS_BYTES_MAX, read_body},
    error::{Error, Fault},
    store::DeviceRecord,
};

type Answered<T> = Result<Json<T>, Error>;

/// Every route about devices.
pub(super) fn routes() -> Router<AdminDoor> {
    Router::new().route("/devices", get(list)).route("/devices/{device}", get(show).post(order))
}

async fn list(State(door): State<AdminDoor>) -> Answered<Vec<admin::Device>> {
    blocking(move || all(&door)).await
}

async fn show(State(door): State<AdminDoor>, Segment(name): Segment<String>) -> Answered<admin::Device> {
    blocking(move || {
        let devices = all(&door)?;
        let names: BTreeSet<String> = devices.iter().map(|device| device.id.clone()).collect();
        devices.into_iter().find(|device| device.id == name).ok_or_else(|| orders::unknown(&name, &names))
    })
    .await
}

async fn order(
    State(door): State<AdminDoor>,
    ConnectInfo(Caller(who)): ConnectInfo<Caller>,
    Segment(device): Segment<String>,
    body: Body,
) -> Answered<admin::Ordered> {
    let body = read_body(body, WORDS_BYTES_MAX).await?;
    let order: DeviceOrder = serde_json::from_slice(&body).map_err(|error| Error::from(Fault::Query { what: "the order", reason: error.to_string() }))?;
    blocking(move || door.service.order(&who, &device, &order)).await
}

/// The devices of the pool, and those that have enrolled and were not here since the host started.
fn all(door: &AdminDoor) -> Result<Vec<admin::Device>, Error> {
    let mut devices = door.service.devices();
    let known: BTreeSet<String> = devices.iter().map(|device| device.id.clone()).collect();
    let enrolled = door.store.enrolled_devices()?.into_iter().filter(|record| record.removed_at_ms.is_none() && !known.contains(record.id.as_str()));
    devices.extend(enrolled.map(absent));
    devices.sort_by(|one, other| one.id.cmp(&other.id));
    Ok(devices)
}

fn absent(record: DeviceRecord) -> admin::Device {
    admin::Device {
        id: record.id.to_string(),
        site: String::new(),
        state: DeviceState::Lost.to_string(),
        restraint: record.restraint.shown(),
        drained: false,
        lease_age_ms: None,
        address: None,
        release: None,
        labels: record.labels,
        offers: Vec::new(),
        pressures: admin::Pressures::default(),
        shards: Vec::new(),
        loads: Vec::new(),
        links: Vec::new(),
    }
}
