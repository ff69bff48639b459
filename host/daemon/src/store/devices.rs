//! Devices that enrolled, and the certificates that they were given. What a device offers and whether it is there is the
//! cluster's to know; here is what must hold after a restart: its key, what people said of it, and which certificates no longer
//! count. Times come from the caller, because certificates are judged by them.

use std::collections::BTreeMap;

use host_core::{cluster::Duty, device::Roles, ids::DeviceId};
use host_engine::Digest;
use host_wire::{join::TokenId, roles};
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{
    JoinRefusal, Store,
    records::{signed, unsigned},
    tokens::{read_roles, unread},
};
use crate::{error::Error, pki::Serial};

/// A certificate's row goes when the certificate has ended: from then on every host refuses it by its dates.
pub(super) const TABLES: &str = "
CREATE TABLE device (
    id TEXT PRIMARY KEY,
    key_digest TEXT NOT NULL,
    token TEXT NOT NULL,
    roles TEXT NOT NULL,
    labels TEXT NOT NULL DEFAULT '{}',
    restraint TEXT NOT NULL DEFAULT 'none',
    enrolled_at_ms INTEGER NOT NULL,
    removed_at_ms INTEGER
) STRICT;
CREATE TABLE certificate (
    serial TEXT PRIMARY KEY,
    device TEXT NOT NULL,
    expires_at_ms INTEGER NOT NULL,
    revoked_at_ms INTEGER
) STRICT;
CREATE INDEX certificate_of_device ON certificate (device);
";

/// A device that enrolled. Times are milliseconds since 1970.
#[derive(Clone, PartialEq, Debug)]
pub struct DeviceRecord {
    /// Who it is.
    pub id: DeviceId,
    /// SHA-256 of its public key. It keeps its key for as long as it is enrolled.
    pub key: Digest,
    /// The token that it enrolled with last.
    pub token: TokenId,
    /// What that token lets it take.
    pub roles: Roles,
    /// What people call it by, beside the labels that it has itself.
    pub labels: BTreeMap<String, String>,
    /// What people let it do.
    pub restraint: Restraint,
    /// When it enrolled last.
    pub enrolled_at_ms: u64,
    /// When somebody removed it; it may enrol again.
    pub removed_at_ms: Option<u64>,
}

/// What people hold a device to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Restraint {
    /// Nothing.
    #[default]
    None,
    /// It keeps what it has and gets nothing new.
    Cordoned,
    /// It gets nothing new, and what it has goes elsewhere.
    Draining,
    /// The same, and then it is removed.
    Leaving,
}

impl Restraint {
    const ALL: [Self; 4] = [Self::None, Self::Cordoned, Self::Draining, Self::Leaving];

    /// As people read it; nothing where there is none.
    pub fn shown(self) -> Option<String> {
        (self != Self::None).then(|| self.word().to_owned())
    }

    /// As it is kept.
    pub fn word(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Cordoned => "cordoned",
            Self::Draining => "draining",
            Self::Leaving => "leaving",
        }
    }
}

impl From<Duty> for Restraint {
    fn from(duty: Duty) -> Self {
        match duty {
            Duty::Full => Self::None,
            Duty::Cordoned => Self::Cordoned,
            Duty::Draining => Self::Draining,
            Duty::Leaving => Self::Leaving,
        }
    }
}

impl From<Restraint> for Duty {
    fn from(restraint: Restraint) -> Self {
        match restraint {
            Restraint::None => Self::Full,
            Restraint::Cordoned => Self::Cordoned,
            Restraint::Draining => Self::Draining,
            Restraint::Leaving => Self::Leaving,
        }
    }
}

impl Store {
    /// Every device that ever enrolled, the removed ones too, by id.
    pub fn enrolled_devices(&self) -> Result<Vec<DeviceRecord>, Error> {
        self.inner.writer.write("read devices", all)
    }

    /// The device that has this id at present, if one has enrolled with it and was not removed.
    pub fn enrolled_device(&self, id: &DeviceId) -> Result<Option<DeviceRecord>, Error> {
        let id = id.clone();
        self.inner.writer.write("read the device", move |connection| present(connection, &id))
    }

    /// Keeps what people call a device by, in the place of what they called it by before.
    pub fn label_device(&self, id: &DeviceId, labels: &BTreeMap<String, String>) -> Result<(), Error> {
        let labels = serde_json::to_string(labels).expect("texts are written to memory, which cannot fail");
        self.change(id, "keep the labels", "UPDATE device SET labels = ?2 WHERE id = ?1 AND removed_at_ms IS NULL", labels)
    }

    /// Keeps what people let a device do.
    pub fn restrain_device(&self, id: &DeviceId, restraint: Restraint) -> Result<(), Error> {
        let sql = "UPDATE device SET restraint = ?2 WHERE id = ?1 AND removed_at_ms IS NULL";
        self.change(id, "keep the device's state", sql, restraint.word().to_owned())
    }

    /// Removes a device and revokes every certificate that it has: these. Whoever serves must refuse them from now on.
    pub fn remove_device(&self, id: &DeviceId, now_ms: u64) -> Result<Vec<Serial>, Error> {
        let device = id.clone();
        let removed = self.inner.writer.write("remove the device", move |connection| remove(connection, &device, now_ms))?;
        removed.ok_or_else(|| JoinRefusal::NotEnrolled { device: id.clone() }.into())
    }

    /// The certificates that are revoked and have not ended, for the start of a host.
    pub fn revoked_certificates(&self, now_ms: u64) -> Result<Vec<Serial>, Error> {
        self.inner.writer.write("read revoked certificates", move |connection| {
            let sql = "SELECT serial FROM certificate WHERE revoked_at_ms IS NOT NULL AND expires_at_ms > ?1 ORDER BY serial";
            connection.prepare_cached(sql)?.query_map(params![signed(now_ms)], read_serial)?.collect()
        })
    }

    fn change(&self, id: &DeviceId, doing: &'static str, sql: &'static str, value: String) -> Result<(), Error> {
        let name = id.to_string();
        let changed = self.inner.writer.write(doing, move |connection| connection.prepare_cached(sql)?.execute(params![name, value]))?;
        if changed == 1 { Ok(()) } else { Err(JoinRefusal::NotEnrolled { device: id.clone() }.into()) }
    }
}

/// None if there is no such device, or it was removed before.
fn remove(connection: &Connection, id: &DeviceId, now_ms: u64) -> rusqlite::Result<Option<Vec<Serial>>> {
    let (name, now) = (id.as_str(), signed(now_ms));
    let sql = "UPDATE device SET removed_at_ms = ?2 WHERE id = ?1 AND removed_at_ms IS NULL";
    if connection.prepare_cached(sql)?.execute(params![name, now])? == 0 {
        return Ok(None);
    }
    let sql = "UPDATE certificate SET revoked_at_ms = ?2 WHERE device = ?1 AND revoked_at_ms IS NULL RETURNING serial";
    connection.prepare_cached(sql)?.query_map(params![name, now], read_serial)?.collect::<rusqlite::Result<_>>().map(Some)
}

/// Keeps that a device has a certificate, and forgets those that have ended.
pub(super) fn put_certificate(connection: &Connection, device: &DeviceId, serial: Serial, expires_at_ms: u64, now_ms: u64) -> rusqlite::Result<()> {
    connection.prepare_cached("DELETE FROM certificate WHERE expires_at_ms <= ?1")?.execute(params![signed(now_ms)])?;
    let sql = "INSERT INTO certificate (serial, device, expires_at_ms) VALUES (?1, ?2, ?3)";
    connection.prepare_cached(sql)?.execute(params![serial.to_string(), device.as_str(), signed(expires_at_ms)])?;
    Ok(())
}

/// Keeps a device that enrols. One that comes back after it was removed starts afresh; any other keeps what people said of it.
pub(super) fn put(connection: &Connection, device: &DeviceRecord) -> rusqlite::Result<()> {
    let sql = "INSERT INTO device (id, key_digest, token, roles, enrolled_at_ms) VALUES (?1, ?2, ?3, ?4, ?5)
        ON CONFLICT (id) DO UPDATE SET
            labels = iif(removed_at_ms IS NULL, labels, '{}'),
            restraint = iif(removed_at_ms IS NULL, restraint, 'none'),
            key_digest = excluded.key_digest, token = excluded.token, roles = excluded.roles,
            enrolled_at_ms = excluded.enrolled_at_ms, removed_at_ms = NULL";
    let roles = roles::words(device.roles).join(",");
    let values = params![device.id.as_str(), device.key.to_string(), device.token.to_string(), roles, signed(device.enrolled_at_ms)];
    connection.prepare_cached(sql)?.execute(values)?;
    Ok(())
}

const COLUMNS: &str = "id, key_digest, token, roles, labels, restraint, enrolled_at_ms, removed_at_ms";

/// The device that has this id at present.
pub(super) fn present(connection: &Connection, id: &DeviceId) -> rusqlite::Result<Option<DeviceRecord>> {
    let sql = format!("SELECT {COLUMNS} FROM device WHERE id = ?1 AND removed_at_ms IS NULL");
    connection.prepare_cached(&sql)?.query_row(params![id.as_str()], read).optional()
}

fn all(connection: &Connection) -> rusqlite::Result<Vec<DeviceRecord>> {
    let sql = format!("SELECT {COLUMNS} FROM device ORDER BY id");
    connection.prepare_cached(&sql)?.query_map([], read)?.collect()
}

fn read(row: &Row<'_>) -> rusqlite::Result<DeviceRecord> {
    let (id, key, token, labels): (String, String, String, String) = (row.get(0)?, row.get(1)?, row.get(2)?, row.get(4)?);
    let restraint: String = row.get(5)?;
    let unknown = || unread(5, std::io::Error::other(format!("`{restraint}` is no state of a device")));
    Ok(DeviceRecord {
        id: DeviceId::parse(&id).map_err(|error| unread(0, error))?,
        key: Digest::parse(&key).ok_or_else(|| unread(1, std::io::Error::other(format!("`{key}` is no digest"))))?,
        token: TokenId::parse(&token).map_err(|error| unread(2, error))?,
        roles: read_roles(row, 3)?,
        labels: serde_json::from_str(&labels).map_err(|error| unread(4, error))?,
        restraint: Restraint::ALL.into_iter().find(|known| known.word() == restraint).ok_or_else(unknown)?,
        enrolled_at_ms: unsigned(row.get(6)?),
        removed_at_ms: row.get::<_, Option<i64>>(7)?.map(unsigned),
    })
}

fn read_serial(row: &Row<'_>) -> rusqlite::Result<Serial> {
    let text: String = row.get(0)?;
    Serial::parse(&text).ok_or_else(|| unread(0, std::io::Error::other(format!("`{text}` is no serial number"))))
}
