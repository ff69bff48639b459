//! How hosts reach each other: gRPC over TLS, in which both sides prove who they are. A central has one door, where devices
//! come to enrol, to attend and to fetch; each device has one where the host of the stage before hands over what it has
//! computed. Messages are those of `host_wire::peer`.

mod attending;
mod awaited;
mod central_service;
mod concluded;
mod desk;
mod device_service;
mod dial;
pub mod discovery;
mod dismissal;
mod door;
pub mod enrol;
mod enrolling;
mod fetching;
mod files;
mod golden;
mod greeting;
mod holdings;
mod intake;
mod known;
mod links;
mod lobby;
mod measure;
mod parcel;
mod pool;
mod porter;
mod post;
mod refusals;
mod renewing;
mod resumes;
mod round_trips;
mod simulated;
mod socket;
mod standing;
mod stay;
mod surveyor;
mod turned;
mod unwelcome;
mod whereabouts;

pub use attending::{Attending, Remotes, Shards};
pub use awaited::Awaited;
pub use central_service::{CentralParts, CentralService, ECHO_BYTES_MAX};
pub use desk::{Desk, DeskParts};
pub use device_service::DeviceService;
pub use dial::{Dialer, Lane};
pub use dismissal::Ties;
pub use door::{Door, DoorLimits, among_hosts};
pub use enrolling::Enrolling;
pub use fetching::{FROM_CENTRAL, FROM_PEERS, Fetcher, Patience};
pub use files::Files;
pub use golden::golden_from_file;
pub use greeting::GreetingLimits;
pub use known::known_only;
pub use links::{LinkLimits, Links};
pub use measure::{EchoLimits, measure};
pub use pool::{Pool, PoolParts};
pub use post::Post;
pub use refusals::Refusals;
pub use renewing::renew_central;
pub use resumes::{CentralResumes, Resumes};
pub use round_trips::RoundTrips;
pub use simulated::Network;
pub use standing::Standing;
pub use surveyor::Surveyor;
pub use turned::{Reachable, link, nowhere};
pub use whereabouts::Whereabouts;

/// The services of `peer.proto`. Generated.
#[allow(clippy::all, clippy::pedantic, clippy::allow_attributes_without_reason, missing_debug_implementations, rustdoc::all, reason = "generated code")]
pub mod rpc {
    include!(concat!(env!("OUT_DIR"), "/shardhost.peer.v1.rs"));
}
