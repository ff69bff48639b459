//! Join tokens: who may enrol, how often and until when. Of a secret only its digest is kept. Times come from the caller, because
//! a token is judged by them.

use host_core::device::Roles;
use host_wire::{
    join::{TokenId, TokenSecret},
    roles,
};
use rusqlite::{Connection, OptionalExtension, Row, params, types::Type};
use subtle::ConstantTimeEq;

use super::{
    JoinRefusal, Store,
    records::{signed, unsigned},
};
use crate::error::Error;

/// Tokens that ended longer ago are forgotten when a new one is created: nobody asks about them any more.
const KEPT_MS: u64 = 30 * 24 * 60 * 60 * 1_000;

pub(super) const TABLES: &str = "
CREATE TABLE token (
    id TEXT PRIMARY KEY,
    secret_digest BLOB NOT NULL,
    roles TEXT NOT NULL,
    uses INTEGER NOT NULL,
    uses_left INTEGER NOT NULL CHECK (uses_left >= 0),
    created_at_ms INTEGER NOT NULL,
    expires_at_ms INTEGER NOT NULL,
    revoked_at_ms INTEGER
) STRICT;
";

/// A token without its secret. Times are milliseconds since 1970.
#[derive(Clone, PartialEq, Debug)]
pub struct TokenRecord {
    /// Which one.
    pub id: TokenId,
    /// SHA-256 of its secret.
    pub secret_digest: [u8; 32],
    /// What devices who enrol with it may take.
    pub roles: Roles,
    /// Devices that may enrol with it, in all.
    pub uses: u32,
    /// Devices that still may.
    pub uses_left: u32,
    /// When it was created.
    pub created_at_ms: u64,
    /// From then on it is no good.
    pub expires_at_ms: u64,
    /// When somebody revoked it.
    pub revoked_at_ms: Option<u64>,
}

/// What a token is good for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TokenState {
    /// A device can enrol with it.
    Valid,
    /// Its time is over.
    Expired,
    /// As many devices have enrolled with it as may.
    UsedUp,
    /// Somebody took it back.
    Revoked,
}

impl TokenState {
    /// As people read it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Valid => "valid",
            Self::Expired => "expired",
            Self::UsedUp => "used_up",
            Self::Revoked => "revoked",
        }
    }
}

impl TokenRecord {
    /// What it is good for at this time.
    pub fn state(&self, now_ms: u64) -> TokenState {
        match self {
            Self { revoked_at_ms: Some(_), .. } => TokenState::Revoked,
            Self { expires_at_ms, .. } if *expires_at_ms <= now_ms => TokenState::Expired,
            Self { uses_left: 0, .. } => TokenState::UsedUp,
            _ => TokenState::Valid,
        }
    }

    /// Whether whoever knows `secret` holds this token. Takes the same time whatever differs.
    pub(super) fn is_held_by(&self, secret: &TokenSecret) -> bool {
        self.secret_digest.ct_eq(&secret.digest()).into()
    }

    /// Why it is no good at this time, its uses aside.
    pub(super) fn check(&self, now_ms: u64) -> Result<(), JoinRefusal> {
        match self {
            Self { id, revoked_at_ms: Some(at_ms), .. } => Err(JoinRefusal::TokenRevoked { token: *id, at_ms: *at_ms }),
            Self { id, expires_at_ms, .. } if *expires_at_ms <= now_ms => Err(JoinRefusal::TokenExpired { token: *id, at_ms: *expires_at_ms, now_ms }),
            _ => Ok(()),
        }
    }
}

impl Store {
    /// Keeps a new token.
    pub fn create_token(&self, token: TokenRecord) -> Result<(), Error> {
        self.inner.writer.write("keep the token", move |connection| put(connection, &token))
    }

    /// Every token that did not end long ago, newest first.
    pub fn tokens(&self) -> Result<Vec<TokenRecord>, Error> {
        self.inner.writer.write("read tokens", all)
    }

    /// Takes a token back; the first time counts. None if there is no such token.
    pub fn revoke_token(&self, id: TokenId, now_ms: u64) -> Result<Option<TokenRecord>, Error> {
        self.inner.writer.write("revoke the token", move |connection| {
            let sql = "UPDATE token SET revoked_at_ms = coalesce(revoked_at_ms, ?2) WHERE id = ?1";
            connection.prepare_cached(sql)?.execute(params![id.to_string(), signed(now_ms)])?;
            one(connection, id)
        })
    }
}

const COLUMNS: &str = "id, secret_digest, roles, uses, uses_left, created_at_ms, expires_at_ms, revoked_at_ms";

fn put(connection: &Connection, token: &TokenRecord) -> rusqlite::Result<()> {
    let forgotten = signed(token.created_at_ms.saturating_sub(KEPT_MS));
    connection.prepare_cached("DELETE FROM token WHERE expires_at_ms < ?1")?.execute(params![forgotten])?;
    let sql = format!("INSERT INTO token ({COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)");
    connection.prepare_cached(&sql)?.execute(params![
        token.id.to_string(),
        token.secret_digest,
        roles::words(token.roles).join(","),
        token.uses,
        token.uses_left,
        signed(token.created_at_ms),
        signed(token.expires_at_ms),
        token.revoked_at_ms.map(signed),
    ])?;
    Ok(())
}

fn all(connection: &Connection) -> rusqlite::Result<Vec<TokenRecord>> {
    let sql = format!("SELECT {COLUMNS} FROM token ORDER BY created_at_ms DESC, id");
    connection.prepare_cached(&sql)?.query_map([], read)?.collect()
}

pub(super) fn one(connection: &Connection, id: TokenId) -> rusqlite::Result<Option<TokenRecord>> {
    let sql = format!("SELECT {COLUMNS} FROM token WHERE id = ?1");
    connection.prepare_cached(&sql)?.query_row(params![id.to_string()], read).optional()
}

pub(super) fn take_one_use(connection: &Connection, id: TokenId) -> rusqlite::Result<()> {
    connection.prepare_cached("UPDATE token SET uses_left = uses_left - 1 WHERE id = ?1")?.execute(params![id.to_string()])?;
    Ok(())
}

fn read(row: &Row<'_>) -> rusqlite::Result<TokenRecord> {
    let id: String = row.get(0)?;
    Ok(TokenRecord {
        id: TokenId::parse(&id).map_err(|error| unread(0, error))?,
        secret_digest: row.get(1)?,
        roles: read_roles(row, 2)?,
        uses: row.get(3)?,
        uses_left: row.get(4)?,
        created_at_ms: unsigned(row.get(5)?),
        expires_at_ms: unsigned(row.get(6)?),
        revoked_at_ms: row.get::<_, Option<i64>>(7)?.map(unsigned),
    })
}

pub(super) fn read_roles(row: &Row<'_>, column: usize) -> rusqlite::Result<Roles> {
    let text: String = row.get(column)?;
    roles::read(&text).map_err(|error| unread(column, error))
}

/// A text that this host would not have written.
pub(super) fn unread(column: usize, error: impl std::error::Error + Send + Sync + 'static) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, Type::Text, error.into())
}
