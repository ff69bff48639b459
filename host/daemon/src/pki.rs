//! Who is who among hosts. The central has an authority that signs the certificate of each device; with it hosts prove themselves
//! to each other in every TLS handshake. Everything that is decided about keys and certificates is here, and no network: the
//! caller makes connections with the TLS settings that it gets. Keys are ECDSA on P-256, TLS is 1.3 only, and all of it is done
//! by `ring`.
//!
//! A device keeps its key for life, and makes it before it asks for a certificate. So a request whose answer was lost can be
//! repeated, and a renewed certificate replaces the one before it in a single rename.

mod authority;
mod badge;
mod certificate;
mod fault;
mod files;
mod handshake;
mod identity;
mod random;
mod request;
mod revoked;
mod subject;
mod tokens;
mod verdict;

pub use authority::Authority;
pub use badge::Badge;
pub use certificate::{Certificate, Serial, Validity};
pub use fault::PkiFault;
pub use handshake::{Callers, TURNED_PROTOCOLS, enrolment_client_config, explain_handshake, tls_error, turned};
pub use identity::{Identity, IdentityFolder};
pub use request::SigningRequest;
pub use revoked::Revoked;
pub use subject::Subject;
pub use tokens::{JoinDoor, Tokens};
pub use verdict::Verdict;

#[cfg(test)]
mod tests;
