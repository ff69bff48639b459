//! How a device comes by a certificate: by a token at first, by the one that it has from then on. Each is decided and kept in one
//! transaction, so that the last use of a token is taken once, however many ask at the same time.

use std::{collections::BTreeMap, fmt};

use host_core::{device::Roles, ids::DeviceId};
use host_engine::Digest;
use host_wire::join::{TokenId, TokenSecret};
use rusqlite::Connection;

use super::{
    Store, TokenRecord,
    devices::{self, DeviceRecord, Restraint, put_certificate},
    tokens,
};
use crate::{error::Error, pki::Serial};

/// A device that asks for its first certificate, and the certificate that it shall get.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Enrolment {
    /// The token that it names.
    pub token: TokenId,
    /// The secret that it knows.
    pub secret: TokenSecret,
    /// Who it wants to be.
    pub device: DeviceId,
    /// SHA-256 of its public key.
    pub key: Digest,
    /// The certificate's number.
    pub serial: Serial,
    /// When the certificate ends, in milliseconds since 1970.
    pub expires_at_ms: u64,
}

/// A device that asks for its next certificate over a connection that its present one has proved.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Renewal {
    /// Who it is.
    pub device: DeviceId,
    /// SHA-256 of its public key.
    pub key: Digest,
    /// The new certificate's number.
    pub serial: Serial,
    /// When the new certificate ends, in milliseconds since 1970.
    pub expires_at_ms: u64,
}

/// Why a device gets no certificate. This is for the log and for people who may know; a stranger is told no more of a token than
/// that it cannot be used, whatever is wrong with it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum JoinRefusal {
    /// No such token.
    UnknownToken { token: TokenId },
    /// A token with another secret.
    WrongSecret { token: TokenId },
    /// A token whose time is over.
    TokenExpired { token: TokenId, at_ms: u64, now_ms: u64 },
    /// A token that as many devices have used as may.
    TokenUsedUp { token: TokenId, uses: u32 },
    /// A token that somebody took back.
    TokenRevoked { token: TokenId, at_ms: u64 },
    /// An id that a device with another key has.
    DeviceTaken { device: DeviceId, has: Digest, asks: Digest },
    /// A device that never enrolled, or that somebody removed.
    NotEnrolled { device: DeviceId },
    /// A device that comes with another key than it enrolled with.
    OtherKey { device: DeviceId, has: Digest, asks: Digest },
}

impl JoinRefusal {
    /// Whether it is about the token, and so nothing that a stranger should hear.
    pub fn is_about_token(&self) -> bool {
        matches!(self, Self::UnknownToken { .. } | Self::WrongSecret { .. } | Self::TokenExpired { .. } | Self::TokenUsedUp { .. } | Self::TokenRevoked { .. })
    }
}

impl Store {
    /// Proves the token, takes one use of it, and keeps the device with the certificate that it is about to get; gives the roles
    /// that it may take. A device that asks again with the same token and key, because the answer did not reach it, gets another
    /// certificate and takes no use. An id that somebody else has is refused, and no use is taken then.
    pub fn enrol(&self, enrolment: Enrolment, now_ms: u64) -> Result<Roles, Error> {
        let outcome = self.inner.writer.write("enrol the device", move |connection| enrol(connection, &enrolment, now_ms))?;
        Ok(outcome?)
    }

    /// Keeps that a device gets its next certificate; gives the roles that it may take. The ones before it stay good until they
    /// end.
    pub fn renew(&self, renewal: Renewal, now_ms: u64) -> Result<Roles, Error> {
        let outcome = self.inner.writer.write("renew the certificate", move |connection| renew(connection, &renewal, now_ms))?;
        Ok(outcome?)
    }
}

/// What an enrolment takes of its token.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Takes {
    OneUse,
    /// The use was taken before.
    Nothing,
}

fn enrol(connection: &Connection, enrolment: &Enrolment, now_ms: u64) -> rusqlite::Result<Result<Roles, JoinRefusal>> {
    let token = tokens::one(connection, enrolment.token)?;
    let device = devices::present(connection, &enrolment.device)?;
    let (token, takes) = match judge(token, device.as_ref(), enrolment, now_ms) {
        Ok(granted) => granted,
        Err(refusal) => return Ok(Err(refusal)),
    };
    if takes == Takes::OneUse {
        tokens::take_one_use(connection, token.id)?;
    }
    let device = DeviceRecord {
        id: enrolment.device.clone(),
        key: enrolment.key,
        token: token.id,
        roles: token.roles,
        labels: BTreeMap::new(),
        restraint: Restraint::None,
        enrolled_at_ms: now_ms,
        removed_at_ms: None,
    };
    devices::put(connection, &device)?;
    put_certificate(connection, &enrolment.device, enrolment.serial, enrolment.expires_at_ms, now_ms)?;
    Ok(Ok(token.roles))
}

/// The secret comes first: whoever does not know it learns nothing else.
fn judge(token: Option<TokenRecord>, device: Option<&DeviceRecord>, enrolment: &Enrolment, now_ms: u64) -> Result<(TokenRecord, Takes), JoinRefusal> {
    let token = token.ok_or(JoinRefusal::UnknownToken { token: enrolment.token })?;
    if !token.is_held_by(&enrolment.secret) {
        return Err(JoinRefusal::WrongSecret { token: token.id });
    }
    token.check(now_ms)?;
    if let Some(device) = device.filter(|device| device.key != enrolment.key) {
        return Err(JoinRefusal::DeviceTaken { device: device.id.clone(), has: device.key, asks: enrolment.key });
    }
    match device {
        Some(device) if device.token == token.id => Ok((token, Takes::Nothing)),
        _ if token.uses_left == 0 => Err(JoinRefusal::TokenUsedUp { token: token.id, uses: token.uses }),
        _ => Ok((token, Takes::OneUse)),
    }
}

fn renew(connection: &Connection, renewal: &Renewal, now_ms: u64) -> rusqlite::Result<Result<Roles, JoinRefusal>> {
    let device = match devices::present(connection, &renewal.device)? {
        None => return Ok(Err(JoinRefusal::NotEnrolled { device: renewal.device.clone() })),
        Some(device) if device.key != renewal.key => {
            return Ok(Err(JoinRefusal::OtherKey { device: device.id, has: device.key, asks: renewal.key }));
        }
        Some(device) => device,
    };
    put_certificate(connection, &renewal.device, renewal.serial, renewal.expires_at_ms, now_ms)?;
    Ok(Ok(device.roles))
}

impl fmt::Display for JoinRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownToken { token } => write!(f, "token {token} does not exist; `host token create` makes one"),
            Self::WrongSecret { token } => write!(f, "token {token} has another secret"),
            Self::TokenExpired { token, at_ms, now_ms } => {
                write!(f, "token {token} ended {} s ago; `host token create` makes another", now_ms.saturating_sub(*at_ms) / 1_000)
            }
            Self::TokenUsedUp { token, uses } => write!(f, "all {uses} uses of token {token} are taken; `host token create` makes another"),
            Self::TokenRevoked { token, .. } => write!(f, "token {token} was revoked; `host token create` makes another"),
            Self::DeviceTaken { device, has, asks } => {
                write!(f, "device `{device}` has enrolled with key {has}, this one has key {asks}; choose another id, or have the first one removed")
            }
            Self::NotEnrolled { device } => write!(f, "device `{device}` is not enrolled"),
            Self::OtherKey { device, has, asks } => write!(f, "device `{device}` has enrolled with key {has}, it asks with key {asks}"),
        }
    }
}

#[cfg(test)]
mod tests;
