//! Finds the central of a device on the local network, and lets devices find this one, by mDNS and DNS-SD. What is heard proves
//! nothing: whoever is there proves itself in the handshake like any other.

mod heard;

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use host_wire::join::Fingerprint;
use mdns_sd::{IfKind, ServiceDaemon, ServiceEvent};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use self::heard::Heard;
use crate::{
    config::{CentralAddress, Join},
    error::{Error, Fault},
    pki::IdentityFolder,
};

/// The type of service that centrals announce.
const SERVICE: &str = "_shardhost._tcp.local.";
/// How long an address that a central announces may take to answer.
const ANSWER_MAX: Duration = Duration::from_secs(1);

/// Where the central is that this host joins.
pub async fn central(join: &Join, folder: &IdentityFolder) -> Result<String, Error> {
    match &join.central {
        Some(CentralAddress::At(address)) => Ok(address.to_string()),
        Some(CentralAddress::Auto) | None => find(join, wanted(join, folder)?).await,
    }
}

/// Lets devices find this host, which listens there, until the token is cancelled.
pub fn announce(join: &Join, authority: Fingerprint, listens: SocketAddr, closing: CancellationToken) -> Result<(), Error> {
    let own = Some(listens.ip()).filter(|ip| !ip.is_unspecified());
    let mdns = Mdns::start(interface(join, own))?;
    let cannot = |error: mdns_sd::Error| Error::from(Fault::Mdns { doing: "announce this host", reason: error.to_string() });
    let record = heard::record(join, authority, listens).map_err(cannot)?;
    let name = record.get_fullname().to_owned();
    mdns.0.register(record).map_err(cannot)?;
    tracing::info!(service = name, %authority, "this host announces itself to devices on the local network");
    tokio::spawn(async move {
        closing.cancelled().await;
        drop(mdns);
    });
    Ok(())
}

/// The authority of the central that is meant: that of the token, or else that of the certificate that was kept.
fn wanted(join: &Join, folder: &IdentityFolder) -> Result<Fingerprint, Error> {
    if let Some(token) = &join.token {
        return Ok(token.fingerprint);
    }
    let kept = folder.load()?;
    let nothing = || Fault::NoCentral {
        reason: "neither a token nor a certificate that was kept says which one is meant; `host token create` on the central makes a token, for --token here"
            .to_owned(),
    };
    kept.map(|identity| Fingerprint::of(identity.authority())).ok_or_else(|| nothing().into())
}

async fn find(join: &Join, wanted: Fingerprint) -> Result<String, Error> {
    let mdns = Mdns::start(interface(join, None))?;
    let cannot = |error: mdns_sd::Error| Error::from(Fault::Mdns { doing: "look for a central", reason: error.to_string() });
    let events = mdns.0.browse(SERVICE).map_err(cannot)?;
    let mut heard = Heard::default();
    let search = async {
        // Ends only if the thread that looks ends.
        while let Ok(event) = events.recv_async().await {
            let ServiceEvent::ServiceResolved(service) = event else { continue };
            for address in heard.take(&service, wanted) {
                if answers(&address).await {
                    return Some(address);
                }
            }
        }
        None
    };
    let found = tokio::time::timeout(Duration::from_millis(join.discover_ms_max), search).await.ok().flatten();
    if let Some(address) = &found {
        tracing::info!(address, authority = %wanted, "the central was found");
    }
    found.ok_or_else(|| Fault::NoCentral { reason: heard.missed(wanted, join.discover_ms_max) }.into())
}

async fn answers(address: &str) -> bool {
    matches!(tokio::time::timeout(ANSWER_MAX, TcpStream::connect(address)).await, Ok(Ok(_)))
}

/// The only interface to speak on; none for all of them.
fn interface(join: &Join, own: Option<IpAddr>) -> Option<IfKind> {
    match &join.discover_interface {
        Some(name) => Some(name.parse::<IpAddr>().map_or_else(|_| IfKind::Name(name.clone()), IfKind::Addr)),
        None => own.map(IfKind::Addr),
    }
}

/// A thread that speaks mDNS, for as long as this is there.
struct Mdns(ServiceDaemon);

impl Mdns {
    fn start(only: Option<IfKind>) -> Result<Self, Error> {
        let cannot = |error: mdns_sd::Error| Error::from(Fault::Mdns { doing: "be spoken", reason: error.to_string() });
        let mdns = Self(ServiceDaemon::new().map_err(cannot)?);
        if let Some(only) = only {
            mdns.0.disable_interface(IfKind::All).map_err(cannot)?;
            mdns.0.enable_interface(only).map_err(cannot)?;
        }
        Ok(mdns)
    }
}

impl Drop for Mdns {
    fn drop(&mut self) {
        // Says goodbye; a thread that has ended has nothing to say.
        let _ = self.0.shutdown();
    }
}
