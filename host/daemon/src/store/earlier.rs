//! Plugins that another one has replaced under their name. They may still serve a slot, and a slot may go back to them, with the
//! manifest that came with them; of each name only so many are kept, but all that serve.

use rusqlite::{Connection, Row, params};

use super::PluginRecord;

/// Made where it is missing: an earlier host does not know it and leaves it alone.
pub(super) const TABLE: &str = "
CREATE TABLE IF NOT EXISTS earlier_plugin (
    name TEXT NOT NULL,
    digest TEXT NOT NULL,
    version TEXT NOT NULL,
    source TEXT NOT NULL,
    manifest TEXT,
    signer TEXT,
    replaced INTEGER NOT NULL,
    PRIMARY KEY (name, digest)
) STRICT, WITHOUT ROWID;
";

/// What the name stood for, if that is something else.
const SET_ASIDE: &str = "
INSERT OR REPLACE INTO earlier_plugin (name, digest, version, source, manifest, signer, replaced)
SELECT name, digest, version, source, manifest, signer, (SELECT COALESCE(MAX(replaced), 0) + 1 FROM earlier_plugin)
FROM plugin WHERE name = ?1 AND digest <> ?2
";

/// All of a name but the newest and those that a slot holds.
const FORGET_OLD: &str = "
DELETE FROM earlier_plugin WHERE name = ?1
AND digest NOT IN (SELECT digest FROM earlier_plugin WHERE name = ?1 ORDER BY replaced DESC LIMIT ?2)
AND digest NOT IN (SELECT digest FROM generation AS held WHERE generation = (SELECT MAX(generation) FROM generation WHERE slot = held.slot))
RETURNING digest
";

/// Sets aside what a plugin replaces, before it is kept itself. Gives the digests that were forgotten.
pub(super) fn replace(connection: &Connection, plugin: &PluginRecord, kept_max: u32) -> rusqlite::Result<Vec<String>> {
    connection.prepare_cached(SET_ASIDE)?.execute(params![plugin.name, plugin.digest])?;
    connection.prepare_cached("DELETE FROM earlier_plugin WHERE name = ?1 AND digest = ?2")?.execute(params![plugin.name, plugin.digest])?;
    connection.prepare_cached(FORGET_OLD)?.query_map(params![plugin.name, kept_max], |row| row.get(0))?.collect()
}

/// Forgets a name, whatever it stood for. Gives the digests.
pub(super) fn forget(connection: &Connection, name: &str) -> rusqlite::Result<Vec<String>> {
    let mut digests = Vec::new();
    for sql in ["DELETE FROM plugin WHERE name = ?1 RETURNING digest", "DELETE FROM earlier_plugin WHERE name = ?1 RETURNING digest"] {
        let forgotten: Vec<String> = connection.prepare_cached(sql)?.query_map(params![name], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
        digests.extend(forgotten);
    }
    Ok(digests)
}

/// Those of these digests that no plugin has any more.
pub(super) fn orphans(connection: &Connection, digests: Vec<String>) -> rusqlite::Result<Vec<String>> {
    let sql = "SELECT EXISTS (SELECT 1 FROM plugin WHERE digest = ?1) OR EXISTS (SELECT 1 FROM earlier_plugin WHERE digest = ?1)";
    let mut is_known = connection.prepare_cached(sql)?;
    let mut orphans = Vec::new();
    for digest in digests {
        if !is_known.query_row(params![digest], |row| row.get::<_, bool>(0))? {
            orphans.push(digest);
        }
    }
    Ok(orphans)
}

/// All of them, those replaced last first. One may serve if what has its name now may.
pub(super) fn all(connection: &Connection) -> rusqlite::Result<Vec<PluginRecord>> {
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
    let sql = "SELECT earlier.name, earlier.version, earlier.digest, earlier.source, earlier.manifest, newest.enabled, earlier.signer
        FROM earlier_plugin AS earlier JOIN plugin AS newest ON newest.name = earlier.name ORDER BY earlier.replaced DESC";
    connection.prepare_cached(sql)?.query_map([], read)?.collect()
}
