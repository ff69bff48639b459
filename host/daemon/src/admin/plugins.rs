//! What the command line asks about plugins.

use axum::{
    Json, Router,
    body::Body,
    extract::{ConnectInfo, RawQuery, State},
    routing::{get, post},
};
use host_wire::admin::{self, Component, HistoryQuery, Install, InstallQuery, PluginQuery, RollbackQuery, SlotQuery};
use serde::de::DeserializeOwned;

use super::{AdminDoor, Caller, HISTORY_DEFAULT, blocking};
use crate::{
    api::{read_body, read_query},
    error::{Error, Fault},
    shelf::Shelf,
};

/// Lines of a log that are given when nobody says how many.
const LINES_DEFAULT: u32 = 100;

type Answered<T> = Result<Json<T>, Error>;

/// Every route about plugins.
pub(super) fn routes() -> Router<AdminDoor> {
    Router::new()
        .route("/plugins", get(plugins).post(install))
        .route("/plugins/generations", get(generations))
        .route("/plugins/stats", get(stats))
        .route("/plugins/logs", get(logs))
        .route("/plugins/audit", get(audit))
        .route("/plugins/rollback", post(rollback))
        .route("/plugins/promote", post(promote))
        .route("/plugins/stop-trial", post(stop_trial))
        .route("/plugins/uninstall", post(uninstall))
        .route("/plugins/enable", post(enable))
        .route("/plugins/disable", post(disable))
}

async fn plugins(State(door): State<AdminDoor>) -> Answered<Vec<admin::Plugin>> {
    blocking(move || Ok(door.shelf.list())).await
}

async fn install(
    State(door): State<AdminDoor>,
    ConnectInfo(Caller(who)): ConnectInfo<Caller>,
    RawQuery(query): RawQuery,
    body: Body,
) -> Answered<admin::Installed> {
    let query: InstallQuery = read_query(query.as_deref())?;
    let contradiction =
        || Fault::Query { what: "the query", reason: "a canary has a share above 0 and up to 1, and only one of canary, shadow and accept_worse goes".into() };
    let entry = query.entry().ok_or_else(contradiction)?;
    let component = match (query.name, query.remote) {
        (Some(name), _) => Component::Named(name),
        (None, Some(remote)) => Component::Remote(remote),
        (None, None) => Component::Bytes(read_body(body, door.component_bytes_max).await?),
    };
    let install = Install {
        component,
        source: query.source,
        slot: query.slot,
        config: query.config,
        manifest: query.manifest,
        signature: query.signature,
        digest: query.digest,
        entry,
    };
    blocking(move || door.shelf.install(&who, install)).await
}

async fn rollback(State(door): State<AdminDoor>, ConnectInfo(Caller(who)): ConnectInfo<Caller>, RawQuery(query): RawQuery) -> Answered<admin::Installed> {
    let query: RollbackQuery = read_query(query.as_deref())?;
    blocking(move || door.shelf.roll_back(&who, &query.slot, query.to)).await
}

async fn promote(State(door): State<AdminDoor>, ConnectInfo(caller): ConnectInfo<Caller>, RawQuery(query): RawQuery) -> Answered<admin::Installed> {
    done(door, caller, query, |shelf, who, query: SlotQuery| shelf.promote(who, &query.slot)).await
}

async fn stop_trial(State(door): State<AdminDoor>, ConnectInfo(caller): ConnectInfo<Caller>, RawQuery(query): RawQuery) -> Answered<admin::Installed> {
    done(door, caller, query, |shelf, who, query: SlotQuery| shelf.stop_trial(who, &query.slot)).await
}

async fn uninstall(State(door): State<AdminDoor>, ConnectInfo(caller): ConnectInfo<Caller>, RawQuery(query): RawQuery) -> Answered<admin::Changed> {
    done(door, caller, query, |shelf, who, query: PluginQuery| shelf.uninstall(who, &query.plugin)).await
}

async fn enable(State(door): State<AdminDoor>, ConnectInfo(caller): ConnectInfo<Caller>, RawQuery(query): RawQuery) -> Answered<admin::Changed> {
    done(door, caller, query, |shelf, who, query: PluginQuery| shelf.enable(who, &query.plugin)).await
}

async fn disable(State(door): State<AdminDoor>, ConnectInfo(caller): ConnectInfo<Caller>, RawQuery(query): RawQuery) -> Answered<admin::Changed> {
    done(door, caller, query, |shelf, who, query: PluginQuery| shelf.disable(who, &query.plugin)).await
}

async fn stats(State(door): State<AdminDoor>) -> Json<Vec<admin::SlotStats>> {
    Json(door.shelf.stats())
}

async fn logs(State(door): State<AdminDoor>, RawQuery(query): RawQuery) -> Answered<Vec<admin::LogLine>> {
    let query: PluginQuery = read_query(query.as_deref())?;
    Ok(Json(door.shelf.logs(&query.plugin, query.count.unwrap_or(LINES_DEFAULT) as usize)))
}

async fn audit(State(door): State<AdminDoor>, RawQuery(query): RawQuery) -> Answered<Vec<admin::AuditLine>> {
    let query: HistoryQuery = read_query(query.as_deref())?;
    blocking(move || door.shelf.audit(query.count.unwrap_or(LINES_DEFAULT) as usize)).await
}

async fn generations(State(door): State<AdminDoor>, RawQuery(query): RawQuery) -> Answered<Vec<admin::Generation>> {
    let query: HistoryQuery = read_query(query.as_deref())?;
    let missing = || Error::from(Fault::Query { what: "the query", reason: "it names no slot".into() });
    let slot = query.slot.ok_or_else(missing)?;
    blocking(move || Ok(door.store.generations(&slot, query.count.unwrap_or(HISTORY_DEFAULT))?.into_iter().map(Into::into).collect())).await
}

/// Has something done that takes a disk or a compiler.
async fn done<Q, T>(
    door: AdminDoor,
    Caller(who): Caller,
    query: Option<String>,
    work: impl FnOnce(&Shelf, &str, Q) -> Result<T, Error> + Send + 'static,
) -> Answered<T>
where
    Q: DeserializeOwned + Send + 'static,
    T: Send + 'static,
{
    let query: Q = read_query(query.as_deref())?;
    blocking(move || work(&door.shelf, &who, query)).await
}
