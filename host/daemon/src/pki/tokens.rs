//! Issues join tokens, lists them and takes them back: what people do about them over the admin socket.

use std::{net::SocketAddr, path::Path, sync::Arc};

use host_core::device::Roles;
use host_wire::{
    admin::{NewToken, Token, TokenQuery},
    join::{JoinToken, TokenId, TokenSecret},
    roles,
};

use super::{Authority, PkiFault, random};
use crate::{
    clock,
    config::{Join, TOKEN_TTL_MS},
    error::{Error, Fault},
    machine,
    store::{Store, TokenRecord},
};

/// Most devices for one token.
const USES_MAX: u32 = 100_000;

/// Where devices join this host.
#[derive(Clone, Debug)]
pub struct JoinDoor {
    /// Who signs their certificates.
    pub authority: Arc<Authority>,
    /// How they reach it: a name or address, and a port.
    pub address: String,
}

impl JoinDoor {
    /// Opens the authority of a data directory, for a host that listens there.
    pub fn open(data: &Path, settings: &Join, listens: SocketAddr) -> Result<Self, Error> {
        let advertised = settings.advertise.as_ref().map(ToString::to_string);
        let address = advertised.unwrap_or_else(|| reached_at(listens, machine::name()));
        Ok(Self { authority: Arc::new(Authority::open(data, clock::unix_ms())?), address })
    }
}

/// Issues tokens and knows what became of them.
#[derive(Clone, Debug)]
pub struct Tokens {
    store: Store,
    ttl_ms: u64,
    door: Option<JoinDoor>,
}

impl Tokens {
    /// Without a door no token is created: it would lead nowhere.
    pub fn new(store: Store, settings: &Join, door: Option<JoinDoor>) -> Self {
        Self { store, ttl_ms: settings.token_ttl_ms, door }
    }

    /// Creates a token. Only its answer holds the secret.
    pub fn create(&self, who: &str, query: &TokenQuery) -> Result<NewToken, Error> {
        let door = self.door.as_ref().ok_or(PkiFault::NoJoinPort)?;
        let now_ms = clock::unix_ms();
        let ttl_ms = within("ttl_ms", query.ttl_ms.unwrap_or(self.ttl_ms), *TOKEN_TTL_MS.start(), *TOKEN_TTL_MS.end())?;
        let uses = within("uses", query.uses.unwrap_or(1), 1, USES_MAX)?;
        let roles = query.roles.as_deref().map_or(Ok(Roles::ALL), roles::read)?;
        let token = JoinToken { id: TokenId(random::bytes()?), secret: TokenSecret(random::bytes()?), fingerprint: door.authority.fingerprint() };
        let record = TokenRecord {
            id: token.id,
            secret_digest: token.secret.digest(),
            roles,
            uses,
            uses_left: uses,
            created_at_ms: now_ms,
            expires_at_ms: now_ms.saturating_add(ttl_ms),
            revoked_at_ms: None,
        };
        self.store.create_token(record.clone())?;
        tracing::info!(token = %token.id, %who, uses, ttl_ms, "a join token was created");
        let (text, central) = (token.text(), door.address.clone());
        Ok(NewToken { token: describe(&record, now_ms), command: format!("host run --join {central} --token {text}"), text, central })
    }

    /// Every token that did not end long ago, newest first.
    pub fn list(&self) -> Result<Vec<Token>, Error> {
        let now_ms = clock::unix_ms();
        Ok(self.store.tokens()?.iter().map(|record| describe(record, now_ms)).collect())
    }

    /// Takes a token back. Devices that have enrolled with it stay.
    pub fn revoke(&self, who: &str, id: &str) -> Result<Token, Error> {
        let (id, now_ms) = (TokenId::parse(id)?, clock::unix_ms());
        let Some(record) = self.store.revoke_token(id, now_ms)? else {
            let known: Vec<String> = self.store.tokens()?.iter().map(|record| record.id.to_string()).collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            return Err(Fault::Unknown { what: "token", name: id.to_string(), known }.into());
        };
        tracing::info!(token = %id, %who, "a join token was revoked");
        Ok(describe(&record, now_ms))
    }
}

fn describe(record: &TokenRecord, now_ms: u64) -> Token {
    Token {
        id: record.id.to_string(),
        state: record.state(now_ms).word().to_owned(),
        roles: roles::words(record.roles),
        uses: record.uses,
        uses_left: record.uses_left,
        created_at_ms: record.created_at_ms,
        expires_at_ms: record.expires_at_ms,
    }
}

fn within<T: PartialOrd + std::fmt::Display>(what: &'static str, value: T, min: T, max: T) -> Result<T, Error> {
    if value < min || value > max {
        return Err(Fault::Query { what, reason: format!("it is {value}, it must be {min} to {max}") }.into());
    }
    Ok(value)
}

/// A host that listens on every address is known by its machine's name; one that has none is not to be helped.
fn reached_at(listens: SocketAddr, machine: Option<String>) -> String {
    match machine {
        Some(name) if listens.ip().is_unspecified() => format!("{name}:{}", listens.port()),
        _ => listens.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, StoreLimits};

    fn tokens(data: &Path, listens: Option<&str>) -> Tokens {
        let store = Store::open(data, StoreLimits::default()).expect("opens");
        let settings = Config::with_data(data.into()).join;
        let door = listens.map(|address| JoinDoor::open(data, &settings, address.parse().expect("an address")).expect("opens"));
        Tokens::new(store, &settings, door)
    }

    #[test]
    fn a_token_names_the_authority_and_the_store_knows_its_secret_by_digest_only() {
        let data = tempfile::tempdir().expect("a folder");
        let tokens = tokens(data.path(), Some("10.1.2.3:23457"));
        let made = tokens.create("user 1", &TokenQuery::default()).expect("created");
        let token = JoinToken::parse(&made.text).expect("a token");
        assert_eq!(token.fingerprint, tokens.door.as_ref().expect("open").authority.fingerprint());
        assert_eq!(made.command, format!("host run --join 10.1.2.3:23457 --token {}", made.text));
        assert_eq!((made.token.uses, made.token.expires_at_ms - made.token.created_at_ms), (1, 24 * 60 * 60 * 1_000));
        let kept = tokens.store.tokens().expect("read");
        assert_eq!(kept[0].secret_digest, token.secret.digest());
        assert_ne!(made.text, tokens.create("user 1", &TokenQuery::default()).expect("created").text);
    }

    #[test]
    fn terms_that_make_no_sense_are_refused_with_what_is_possible() {
        let data = tempfile::tempdir().expect("a folder");
        let tokens = tokens(data.path(), Some("127.0.0.1:23457"));
        let query = |ttl_ms, uses, roles: Option<&str>| TokenQuery { ttl_ms, uses, roles: roles.map(str::to_owned) };
        let cases = [
            (query(Some(10), None, None), "ttl_ms is not understood: it is 10, it must be 1000 to 31536000000"),
            (query(None, Some(0), None), "uses is not understood: it is 0, it must be 1 to 100000"),
            (query(None, None, Some("arm")), "role `arm` is not known, it must be one of head, body, tail"),
        ];
        for (query, expected) in cases {
            assert_eq!(tokens.create("user 1", &query).expect_err("refused").to_string(), expected);
        }
        assert_eq!(tokens.list().expect("read"), []);
    }

    #[test]
    fn a_host_without_a_join_port_creates_no_token_and_no_authority() {
        let data = tempfile::tempdir().expect("a folder");
        let error = tokens(data.path(), None).create("user 1", &TokenQuery::default()).expect_err("closed").to_string();
        assert_eq!(error, "this host lets no devices join; start it with --join-listen");
        assert!(!data.path().join("ca").exists());
    }

    #[test]
    fn a_host_on_every_address_is_reached_by_its_name() {
        let name = Some("shed".to_owned());
        let cases =
            [("0.0.0.0:1", name.clone(), "shed:1"), ("[::]:1", name.clone(), "shed:1"), ("10.0.0.1:1", name, "10.0.0.1:1"), ("0.0.0.0:1", None, "0.0.0.0:1")];
        for (listens, machine, expected) in cases {
            assert_eq!(reached_at(listens.parse().expect("an address"), machine), expected);
        }
    }
}
