//! The tables, and what is read from and written to them. All SQL of the host is here.

use std::path::Path;

use host_wire::admin;
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{artefacts, devices, earlier, plans, tokens};
use crate::error::{Error, Fault};

/// The version of the tables that this host writes.
const SCHEMA_VERSION: i64 = 4;

/// The tables of version 2. Times are SQLite's own, in milliseconds since 1970: the store is not asked to believe a caller's clock.
const VERSION_2: &str = "
CREATE TABLE plan (
    number INTEGER PRIMARY KEY,
    made_at_ms INTEGER NOT NULL DEFAULT (CAST(unixepoch('subsec') * 1000 AS INTEGER)),
    reason TEXT NOT NULL,
    json TEXT NOT NULL
) STRICT;
CREATE TABLE plugin (
    name TEXT PRIMARY KEY,
    version TEXT NOT NULL,
    digest TEXT NOT NULL,
    source TEXT NOT NULL,
    manifest TEXT,
    enabled INTEGER NOT NULL DEFAULT 1,
    signer TEXT,
    installed_at_ms INTEGER NOT NULL DEFAULT (CAST(unixepoch('subsec') * 1000 AS INTEGER))
) STRICT;
CREATE TABLE generation (
    slot TEXT NOT NULL,
    generation INTEGER NOT NULL,
    plugin TEXT NOT NULL,
    digest TEXT NOT NULL,
    config TEXT,
    reason TEXT NOT NULL,
    at_ms INTEGER NOT NULL DEFAULT (CAST(unixepoch('subsec') * 1000 AS INTEGER)),
    PRIMARY KEY (slot, generation)
) STRICT, WITHOUT ROWID;
";

/// What makes tables of version 1 those of version 2.
const FROM_VERSION_1: &str = "
ALTER TABLE plugin ADD COLUMN enabled INTEGER NOT NULL DEFAULT 1;
ALTER TABLE plugin ADD COLUMN signer TEXT;
";

/// An installed plugin. Its bytes are the blob of its digest.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PluginRecord {
    /// Its name.
    pub name: String,
    /// The version that it says it has.
    pub version: String,
    /// SHA-256 of its file, as hexadecimal digits.
    pub digest: String,
    /// Where it came from.
    pub source: String,
    /// The text of the `plugin.toml` that lay beside it.
    pub manifest: Option<String>,
    /// Whether it may serve.
    pub enabled: bool,
    /// The trusted key that signed it.
    pub signer: Option<String>,
}

/// What a slot held at a time.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct GenerationRecord {
    /// The slot.
    pub slot: String,
    /// Its number.
    pub generation: u64,
    /// The plugin's name.
    pub plugin: String,
    /// SHA-256 of the plugin's file, as hexadecimal digits.
    pub digest: String,
    /// What the plugin was configured with, as JSON.
    pub config: Option<String>,
    /// `installed`, `rolled_back`, `strikes`, `retried`.
    pub reason: String,
    /// When, in milliseconds since 1970; the store sets it.
    pub at_ms: u64,
}

impl From<GenerationRecord> for admin::Generation {
    fn from(record: GenerationRecord) -> Self {
        Self { slot: record.slot, generation: record.generation, plugin: record.plugin, digest: record.digest, reason: record.reason, at_ms: record.at_ms }
    }
}

/// Opens the database, durable at every commit, and makes or checks its tables.
pub(super) fn open(path: &Path) -> Result<Connection, Error> {
    let fault = |error: rusqlite::Error| Error::from(Fault::Store { doing: "be opened" }).because(error);
    let connection = Connection::open(path).map_err(fault)?;
    connection.pragma_update(None, "journal_mode", "WAL").map_err(fault)?;
    connection.pragma_update(None, "synchronous", "FULL").map_err(fault)?;
    let found: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(fault)?;
    match found {
        SCHEMA_VERSION => {}
        0..SCHEMA_VERSION => {
            let to_version_2 = match found {
                0 => VERSION_2,
                1 => FROM_VERSION_1,
                _ => "",
            };
            // Version 3 added tables and changed none; version 4 added columns to the plans.
            let (tokens, devices) = if found < 3 { (tokens::TABLES, devices::TABLES) } else { ("", "") };
            let plans = plans::FROM_VERSION_3;
            let script = format!("BEGIN IMMEDIATE; {to_version_2} {tokens} {devices} {plans} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;");
            connection.execute_batch(&script).map_err(fault)?;
        }
        _ => return Err(Fault::StoreVersion { path: path.display().to_string(), found, known: SCHEMA_VERSION }.into()),
    }
    connection.execute_batch(earlier::TABLE).and_then(|()| connection.execute_batch(artefacts::TABLE)).map_err(fault)?;
    Ok(connection)
}

pub(super) fn put_plugin(connection: &Connection, plugin: &PluginRecord) -> rusqlite::Result<()> {
    let sql = "INSERT OR REPLACE INTO plugin (name, version, digest, source, manifest, enabled, signer) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
    let values = params![plugin.name, plugin.version, plugin.digest, plugin.source, plugin.manifest, plugin.enabled, plugin.signer];
    connection.prepare_cached(sql)?.execute(values)?;
    Ok(())
}

pub(super) fn plugins(connection: &Connection) -> rusqlite::Result<Vec<PluginRecord>> {
    let read = |row: &Row<'_>| {
        Ok(PluginRecord {
            name: row.get(0)?,
            version: row.get(1)?,
            digest: row.get(2)?,
            source: row.get(3)?,
            manifest: row.get(4)?,
            enabled: row.get(5)?,
            signer: row.get(6)?,
        })
    };
    let sql = "SELECT name, version, digest, source, manifest, enabled, signer FROM plugin ORDER BY name";
    connection.prepare_cached(sql)?.query_map([], read)?.collect()
}

pub(super) fn put_generation(connection: &Connection, record: &GenerationRecord) -> rusqlite::Result<()> {
    let sql = "INSERT INTO generation (slot, generation, plugin, digest, config, reason) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
    let generation = signed(record.generation);
    connection.prepare_cached(sql)?.execute(params![record.slot, generation, record.plugin, record.digest, record.config, record.reason])?;
    Ok(())
}

const GENERATION_COLUMNS: &str = "slot, generation, plugin, digest, config, reason, at_ms";

pub(super) fn generations(connection: &Connection, slot: &str, count_max: u32) -> rusqlite::Result<Vec<GenerationRecord>> {
    let sql = format!("SELECT {GENERATION_COLUMNS} FROM generation WHERE slot = ?1 ORDER BY generation DESC LIMIT ?2");
    connection.prepare_cached(&sql)?.query_map(params![slot, count_max], read_generation)?.collect()
}

pub(super) fn bindings(connection: &Connection) -> rusqlite::Result<Vec<GenerationRecord>> {
    let mut slots = connection.prepare_cached("SELECT DISTINCT slot FROM generation ORDER BY slot")?;
    let slots: Vec<String> = slots.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
    let sql = format!("SELECT {GENERATION_COLUMNS} FROM generation WHERE slot = ?1 ORDER BY generation DESC LIMIT 1");
    let mut newest = connection.prepare_cached(&sql)?;
    slots.iter().filter_map(|slot| newest.query_row(params![slot], read_generation).optional().transpose()).collect()
}

fn read_generation(row: &Row<'_>) -> rusqlite::Result<GenerationRecord> {
    Ok(GenerationRecord {
        slot: row.get(0)?,
        generation: unsigned(row.get(1)?),
        plugin: row.get(2)?,
        digest: row.get(3)?,
        config: row.get(4)?,
        reason: row.get(5)?,
        at_ms: unsigned(row.get(6)?),
    })
}

/// SQLite counts to 2^63; nothing that is counted here comes near.
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(super) fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or_default()
}
