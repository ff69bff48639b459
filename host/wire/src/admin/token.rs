//! Join tokens: creating, listing, revoking.

use serde::{Deserialize, Serialize};

/// The query of `POST /tokens`. What is left out has the host's default.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct TokenQuery {
    /// How long the token can be used, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl_ms: Option<u64>,
    /// Devices that may enrol with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uses: Option<u32>,
    /// Roles that those devices may take, with commas between them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub roles: Option<String>,
}

/// The query of `POST /tokens/revoke`.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct RevokeQuery {
    /// The token's id.
    pub id: String,
}

/// A token that was just created. Its text is known only now: the host keeps no more than a digest of the secret.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct NewToken {
    /// What the host knows of it.
    #[serde(flatten)]
    pub token: Token,
    /// What the device needs.
    pub text: String,
    /// Where devices reach this host.
    pub central: String,
    /// What to run on the device.
    pub command: String,
}

/// What a host knows of a token.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Token {
    /// Its id.
    pub id: String,
    /// `valid`, `expired`, `used_up` or `revoked`.
    pub state: String,
    /// Roles that devices who enrol with it may take.
    pub roles: Vec<String>,
    /// Devices that may enrol with it, in all.
    pub uses: u32,
    /// Devices that still may.
    pub uses_left: u32,
    /// When it was created, in milliseconds since 1970.
    pub created_at_ms: u64,
    /// When it ends, likewise.
    pub expires_at_ms: u64,
}
