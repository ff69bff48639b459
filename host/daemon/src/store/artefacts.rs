//! What vendors' tools made of shards, by the digest of the shard, what it was made for, and the shapes. The bytes are blobs; the
//! table is the index. An artefact is in the table once its bytes are on disk, so that a crash leaves none that is not whole. All
//! together are bounded: those that were used longest ago make room.

use bytes::Bytes;
use host_core::{
    ids::{ModelId, ModelName},
    shard::{BlockRange, ShardId},
    units,
};
use host_engine::{Artefact, Digest};
use host_wire::admin;
use rusqlite::{Connection, Row, params, types::Type};

use super::{
    Store,
    records::{signed, unsigned},
};
use crate::{convert::ConversionFault, error::Error};

/// Made where it is missing: an earlier host does not know it and leaves it alone. `used` counts the uses of all artefacts.
pub(super) const TABLE: &str = "
CREATE TABLE IF NOT EXISTS artefact (
    shard TEXT NOT NULL,
    target TEXT NOT NULL,
    bucket TEXT NOT NULL,
    model TEXT NOT NULL,
    version INTEGER NOT NULL,
    first_block INTEGER NOT NULL,
    end_block INTEGER NOT NULL,
    digest TEXT NOT NULL,
    bytes INTEGER NOT NULL,
    description BLOB NOT NULL,
    made_at_ms INTEGER NOT NULL DEFAULT (CAST(unixepoch('subsec') * 1000 AS INTEGER)),
    used INTEGER NOT NULL,
    PRIMARY KEY (shard, target, bucket)
) STRICT, WITHOUT ROWID;
";

const COLUMNS: &str = "shard, target, bucket, model, version, first_block, end_block, digest, bytes, description, made_at_ms";
const NEXT_USE: &str = "(SELECT COALESCE(MAX(used), 0) + 1 FROM artefact)";

/// An artefact in the index.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ArtefactRecord {
    /// Which shard it was made of.
    pub id: ShardId,
    /// SHA-256 of that shard's file.
    pub shard: Digest,
    /// What it was made for.
    pub target: String,
    /// The shapes of its inputs, as people read them.
    pub bucket: String,
    /// SHA-256 of its bytes, which are a blob.
    pub digest: Digest,
    /// Its size.
    pub bytes: units::Bytes,
    /// Its inputs and outputs, as `Artefact::description` writes them.
    pub description: Bytes,
    /// When, in milliseconds since 1970; the store sets it.
    pub made_at_ms: u64,
}

impl Store {
    /// Keeps an artefact in place of an earlier one for the same shard, target and shapes. Others make room. The record's digest must
    /// be that of the bytes.
    pub fn put_artefact(&self, record: ArtefactRecord, bytes: &[u8]) -> Result<(), Error> {
        let bytes_max = self.inner.limits.artefact_bytes_max;
        if record.bytes.0 > bytes_max {
            return Err(ConversionFault::StoreTooSmall { bytes: record.bytes, bytes_max: units::Bytes(bytes_max) }.into());
        }
        self.inner.blobs.put(record.digest, bytes)?;
        let gone = self.inner.writer.write("keep the artefact", move |connection| {
            let mut gone = replaced(connection, &record)?;
            put(connection, &record)?;
            gone.extend(make_room(connection, bytes_max)?);
            orphans(connection, gone)
        });
        self.remove_blobs(&gone?)
    }

    /// Every artefact: by model, range, target and shapes.
    pub fn artefacts(&self) -> Result<Vec<ArtefactRecord>, Error> {
        self.inner.writer.write("read artefacts", |connection| {
            let sql = format!("SELECT {COLUMNS} FROM artefact ORDER BY model, version, first_block, end_block, target, bucket");
            connection.prepare_cached(&sql)?.query_map([], read)?.collect()
        })
    }

    /// What was made of a shard for a target, which counts as a use.
    pub fn artefacts_of(&self, shard: Digest, target: &str) -> Result<Vec<ArtefactRecord>, Error> {
        let (shard, target) = (shard.to_string(), target.to_owned());
        self.inner.writer.write("read artefacts", move |connection| {
            let used = format!("UPDATE artefact SET used = {NEXT_USE} WHERE shard = ?1 AND target = ?2");
            connection.prepare_cached(&used)?.execute(params![shard, target])?;
            let sql = format!("SELECT {COLUMNS} FROM artefact WHERE shard = ?1 AND target = ?2 ORDER BY bucket");
            connection.prepare_cached(&sql)?.query_map(params![shard, target], read)?.collect()
        })
    }

    /// An artefact with its bytes, proved to be those. The error names it.
    pub fn artefact(&self, record: &ArtefactRecord) -> Result<Artefact, Error> {
        let damaged = |error: Error| {
            let fault = ConversionFault::Damaged { shard: record.id.clone(), target: record.target.clone(), digest: record.digest };
            Error::from(fault).because(error.to_string())
        };
        let data = self.blob(record.digest).map_err(damaged)?;
        Ok(Artefact::described(record.target.clone(), record.description.clone(), record.digest, data)?)
    }
}

impl From<ArtefactRecord> for admin::Artefact {
    fn from(record: ArtefactRecord) -> Self {
        Self {
            model: record.id.model.name.to_string(),
            version: record.id.model.version,
            start: record.id.range.start(),
            end: record.id.range.end(),
            target: record.target,
            bucket: record.bucket,
            bytes: record.bytes.0,
            digest: record.digest.to_string(),
            shard: record.shard.to_string(),
            made_at_ms: record.made_at_ms,
        }
    }
}

/// The digest that a record takes the place of, if it is another one.
fn replaced(connection: &Connection, record: &ArtefactRecord) -> rusqlite::Result<Vec<String>> {
    let sql = "SELECT digest FROM artefact WHERE shard = ?1 AND target = ?2 AND bucket = ?3 AND digest <> ?4";
    let values = params![record.shard.to_string(), record.target, record.bucket, record.digest.to_string()];
    connection.prepare_cached(sql)?.query_map(values, |row| row.get(0))?.collect()
}

fn put(connection: &Connection, record: &ArtefactRecord) -> rusqlite::Result<()> {
    let sql = format!(
        "INSERT OR REPLACE INTO artefact (shard, target, bucket, model, version, first_block, end_block, digest, bytes, description, used)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, {NEXT_USE})"
    );
    let (id, range) = (&record.id.model, record.id.range);
    let values = params![
        record.shard.to_string(),
        record.target,
        record.bucket,
        id.name.as_str(),
        id.version,
        range.start(),
        range.end(),
        record.digest.to_string(),
        signed(record.bytes.0),
        &record.description[..],
    ];
    connection.prepare_cached(&sql)?.execute(values)?;
    Ok(())
}

/// Forgets what was used longest ago until the rest is within the limit; the newest stays. Gives the digests.
fn make_room(connection: &Connection, bytes_max: u64) -> rusqlite::Result<Vec<String>> {
    // The sum over those used later says whether there is room for one more.
    let sql = "
        DELETE FROM artefact WHERE (shard, target, bucket) IN (
            SELECT shard, target, bucket FROM (
                SELECT shard, target, bucket, SUM(bytes) OVER (ORDER BY used DESC, shard, target, bucket) AS with_later FROM artefact
            ) WHERE with_later > ?1
        ) RETURNING digest";
    connection.prepare_cached(sql)?.query_map(params![signed(bytes_max)], |row| row.get(0))?.collect()
}

/// Those of these digests that neither an artefact nor a plugin has any more.
fn orphans(connection: &Connection, digests: Vec<String>) -> rusqlite::Result<Vec<String>> {
    let mut is_known = connection.prepare_cached("SELECT EXISTS (SELECT 1 FROM artefact WHERE digest = ?1)")?;
    let mut orphans = Vec::new();
    for digest in digests {
        if !is_known.query_row(params![digest], |row| row.get::<_, bool>(0))? {
            orphans.push(digest);
        }
    }
    super::earlier::orphans(connection, orphans)
}

fn read(row: &Row<'_>) -> rusqlite::Result<ArtefactRecord> {
    let wrong = |column, text: String| rusqlite::Error::FromSqlConversionFailure(column, Type::Text, text.into());
    let digest = |column: usize| {
        let text: String = row.get(column)?;
        Digest::parse(&text).ok_or_else(|| wrong(column, format!("`{text}` is no digest")))
    };
    let name = ModelName::parse(&row.get::<_, String>(3)?).map_err(|error| wrong(3, error.to_string()))?;
    let range = BlockRange::new(row.get(5)?, row.get(6)?).map_err(|error| wrong(5, error.to_string()))?;
    Ok(ArtefactRecord {
        id: ShardId { model: ModelId { name, version: row.get(4)? }, range },
        shard: digest(0)?,
        target: row.get(1)?,
        bucket: row.get(2)?,
        digest: digest(7)?,
        bytes: units::Bytes(unsigned(row.get(8)?)),
        description: row.get::<_, Vec<u8>>(9)?.into(),
        made_at_ms: unsigned(row.get(10)?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::StoreLimits;

    fn record(start: u32, target: &str, data: &[u8]) -> ArtefactRecord {
        let model = ModelId { name: ModelName::parse("tiny").expect("a name"), version: 1 };
        ArtefactRecord {
            id: ShardId { model, range: BlockRange::new(start, start + 1).expect("a range") },
            shard: Digest::of(&start.to_le_bytes()),
            target: target.into(),
            bucket: "x:1x2".into(),
            digest: Digest::of(data),
            bytes: units::Bytes(data.len() as u64),
            description: Artefact::description(&[], &[]).expect("small"),
            made_at_ms: 0,
        }
    }

    fn store(folder: &std::path::Path, artefact_bytes_max: u64) -> Store {
        Store::open(folder, StoreLimits { artefact_bytes_max, ..StoreLimits::default() }).expect("opens")
    }

    #[test]
    fn an_artefact_is_there_again_after_a_restart_and_takes_the_place_of_the_one_before() {
        let folder = tempfile::tempdir().expect("a folder");
        let (first, second) = (record(0, "t", b"first"), record(0, "t", b"second"));
        {
            let store = store(folder.path(), 1_000);
            store.put_artefact(first.clone(), b"first").expect("room");
            store.put_artefact(record(1, "t", b"other"), b"other").expect("room");
            store.put_artefact(second.clone(), b"second").expect("room");
        }
        let store = store(folder.path(), 1_000);
        let found = store.artefacts_of(second.shard, "t").expect("readable");
        assert_eq!((found.len(), found[0].digest), (1, second.digest));
        assert_eq!(store.artefact(&found[0]).expect("sound").data, Bytes::from_static(b"second"));
        assert!(store.blob(first.digest).is_err(), "nobody needs the first one any more");
        assert_eq!((store.artefacts().expect("readable").len(), store.artefacts_of(second.shard, "u").expect("readable").len()), (2, 0));
    }

    #[test]
    fn what_was_used_longest_ago_makes_room_and_what_can_never_fit_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = store(folder.path(), 25);
        for start in 0..2 {
            store.put_artefact(record(start, "t", &[start as u8; 10]), &[start as u8; 10]).expect("room");
        }
        store.artefacts_of(record(0, "t", b"").shard, "t").expect("a use");
        store.put_artefact(record(2, "t", &[2; 10]), &[2; 10]).expect("room");
        let left: Vec<u32> = store.artefacts().expect("readable").iter().map(|record| record.id.range.start()).collect();
        assert_eq!(left, [0, 2], "1 was used longest ago");
        assert!(store.blob(Digest::of(&[1; 10])).is_err());
        let error = store.put_artefact(record(3, "t", &[3; 26]), &[3; 26]).expect_err("too large");
        assert!(error.to_string().contains("store.artefact_bytes_max"), "{error}");
    }

    #[test]
    fn a_damaged_artefact_is_refused_and_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = store(folder.path(), 1_000);
        let kept = record(0, "rknn:rk3588", b"bytes");
        store.put_artefact(kept.clone(), b"bytes").expect("room");
        std::fs::write(folder.path().join("blobs").join(kept.digest.to_string()), b"other").expect("written");
        let error = store.artefact(&kept).expect_err("damaged").to_string();
        assert!(error.contains("tiny@1[0..1)") && error.contains("rknn:rk3588") && error.contains(&kept.digest.to_string()), "{error}");
    }
}
