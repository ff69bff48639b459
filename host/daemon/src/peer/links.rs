//! Links: how this host reaches each of the others. Two connections each, one for what is small and one for what is large.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use host_core::{error::ErrorKind, ids::DeviceId};
use host_wire::peer::{Activation, Conclusion, pb, refused};
use tonic::{Code, Status, transport::Channel};

use super::{
    dial::{Dialer, Lane},
    door::Connection,
    rpc::{central_client::CentralClient, peer_client::PeerClient},
};
use crate::{clock, pki::Subject};

/// How long the central passes on what is for a host that could not be reached.
const RELAYED_FOR: Duration = Duration::from_secs(5);

/// What goes over a link.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LinkLimits {
    /// Messages up to this size go over the connection for small ones.
    pub small_bytes_max: usize,
    /// Largest message.
    pub message_bytes_max: usize,
}

/// Why something did not go over a link.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LinkFault {
    /// The other host said no, and why.
    Refused(ErrorKind, String),
    /// It could not be reached, or was cut off.
    Unreachable(String),
}

/// Every link of this host.
#[derive(Debug)]
pub struct Links {
    dialer: Dialer,
    limits: LinkLimits,
    known: Mutex<HashMap<Subject, Link>>,
}

/// How one host is reached.
#[derive(Debug, Default)]
struct Link {
    /// Where it can be dialled; none for one that opens its connections itself.
    address: Option<String>,
    latency: Option<Channel>,
    bulk: Option<Channel>,
    /// Until then the central passes on what is for it, because it could not be reached.
    relayed_until: Option<Instant>,
    /// Whether it could not be reached when the way to it was measured; then the central passes on until it can.
    unreachable: bool,
}

impl Links {
    /// None is known yet.
    pub fn new(dialer: Dialer, limits: LinkLimits) -> Self {
        Self { dialer, limits, known: Mutex::default() }
    }

    /// Says where a host is. Connections to where it was before are dropped once nothing uses them.
    pub fn set(&self, subject: Subject, address: &str) {
        let mut known = self.lock();
        let link = known.entry(subject.clone()).or_default();
        link.relayed_until = None;
        if link.address.as_deref() != Some(address) {
            let open = |lane| Some(self.dialer.channel(address, &subject, lane));
            (link.latency, link.bulk) = (open(Lane::Latency), open(Lane::Bulk));
            link.address = Some(address.to_owned());
            link.unreachable = false;
        }
    }

    /// Takes a connection that a device has opened to be asked over. The one before it is dropped once nothing uses it.
    pub fn turned(&self, subject: Subject, lane: Lane, connection: Connection) {
        let channel = Some(self.dialer.turned_channel(connection, lane));
        let mut known = self.lock();
        let link = known.entry(subject).or_default();
        match lane {
            Lane::Latency => link.latency = channel,
            Lane::Bulk => link.bulk = channel,
        }
    }

    /// A connection to a host that is used for nothing else, and closed when nothing uses it any more.
    pub fn apart(&self, subject: &Subject, lane: Lane) -> Result<Channel, LinkFault> {
        let known = self.lock();
        let address = known.get(subject).and_then(|link| link.address.as_deref());
        let address = address.ok_or_else(|| LinkFault::Unreachable(format!("nobody has said where {subject} is")))?;
        Ok(self.dialer.channel(address, subject, lane))
    }

    /// Notes whether a host was reached when the way to it was measured.
    pub fn reached(&self, subject: &Subject, reached: bool) {
        if let Some(link) = self.lock().get_mut(subject) {
            link.unreachable = !reached;
            link.relayed_until = link.relayed_until.filter(|_| !reached);
        }
    }

    /// Cuts the connections to a host that is gone. What is on its way fails.
    pub fn cut(&self, subject: &Subject) {
        self.lock().remove(subject);
    }

    /// The hosts that are known.
    pub fn subjects(&self) -> Vec<Subject> {
        self.lock().keys().cloned().collect()
    }

    /// Hands an activation to the host of its next stage; returns when that has computed it, or says why not. What is for a host
    /// that this one cannot reach goes over the central.
    pub async fn push(&self, device: &DeviceId, activation: Activation) -> Result<(), LinkFault> {
        let (subject, size) = (Subject::Device(device.clone()), activation.bytes());
        let fault = match self.direct(&subject, size) {
            Ok(channel) => match self.push_over(channel, activation.clone()).await {
                Err(fault @ LinkFault::Unreachable(_)) => fault,
                done => return done,
            },
            Err(fault @ LinkFault::Refused(..)) => return Err(fault),
            Err(fault) => fault,
        };
        // A central has no other central to ask.
        let central = self.channel(&Subject::Central, size).map_err(|_| fault)?;
        self.relay(&subject);
        self.push_over(central, activation).await
    }

    async fn push_over(&self, channel: Channel, activation: Activation) -> Result<(), LinkFault> {
        let left = Duration::from_secs_f64((activation.left.0 / 1e3).clamp(0.0, 1e9));
        let mut client =
            PeerClient::new(channel).max_encoding_message_size(self.limits.message_bytes_max).max_decoding_message_size(self.limits.message_bytes_max);
        let pushed = tokio::time::timeout(left, client.push(pb::Activation::from(activation))).await;
        let pushed = pushed.map_err(|_| LinkFault::Refused(ErrorKind::Busy, "it ran out of time".to_owned()))?;
        taken(pushed.map(tonic::Response::into_inner))
    }

    /// The connection to a host, unless the central passes on for a while.
    fn direct(&self, subject: &Subject, size: usize) -> Result<Channel, LinkFault> {
        let is_relayed = |link: &Link| link.unreachable || link.relayed_until.is_some_and(|until| clock::now() < until);
        let relayed = self.lock().get(subject).is_some_and(is_relayed);
        if relayed { Err(LinkFault::Unreachable(format!("{subject} could not be reached just now"))) } else { self.channel(subject, size) }
    }

    fn relay(&self, subject: &Subject) {
        if let Some(link) = self.lock().get_mut(subject) {
            link.relayed_until = Some(clock::now() + RELAYED_FOR);
        }
    }

    /// Tells the central how a passage ended.
    pub async fn conclude(&self, conclusion: Conclusion, size: usize, within: Duration) -> Result<(), LinkFault> {
        let mut client = CentralClient::new(self.channel(&Subject::Central, size)?)
            .max_encoding_message_size(self.limits.message_bytes_max)
            .max_decoding_message_size(self.limits.message_bytes_max);
        let told = tokio::time::timeout(within, client.conclude(pb::Conclusion::from(conclusion))).await;
        let told = told.map_err(|_| LinkFault::Unreachable("the central did not answer in time".to_owned()))?;
        taken(told.map(tonic::Response::into_inner))
    }

    /// The connection to a host for messages of this size.
    pub fn channel(&self, subject: &Subject, size: usize) -> Result<Channel, LinkFault> {
        if size > self.limits.message_bytes_max {
            let reason = format!("{size} bytes are to be sent, a message has at most {}", self.limits.message_bytes_max);
            return Err(LinkFault::Refused(ErrorKind::Invalid, reason));
        }
        self.lane(subject, if size <= self.limits.small_bytes_max { Lane::Latency } else { Lane::Bulk })
    }

    /// A connection to a host.
    pub fn lane(&self, subject: &Subject, lane: Lane) -> Result<Channel, LinkFault> {
        let known = self.lock();
        let link = known.get(subject).ok_or_else(|| LinkFault::Unreachable(format!("nobody has said where {subject} is")))?;
        let channel = if lane == Lane::Latency { &link.latency } else { &link.bulk };
        channel.clone().ok_or_else(|| LinkFault::Unreachable(format!("{subject} has not opened its connections")))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Subject, Link>> {
        // The map is whole between any two statements.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What an answer to something that was handed over means.
fn taken(answer: Result<pb::Taken, Status>) -> Result<(), LinkFault> {
    match answer {
        Ok(pb::Taken { refusal: None }) => Ok(()),
        Ok(pb::Taken { refusal: Some(refusal) }) => {
            let (kind, reason) = refused(refusal).map_err(|error| LinkFault::Refused(ErrorKind::Internal, error.to_string()))?;
            Err(LinkFault::Refused(kind, reason))
        }
        Err(status) => Err(LinkFault::of(&status)),
    }
}

impl LinkFault {
    /// What the other host said, or why it was not reached.
    pub fn reason(&self) -> &str {
        match self {
            Self::Refused(_, reason) | Self::Unreachable(reason) => reason,
        }
    }

    /// What a call's status means.
    pub fn of(status: &Status) -> Self {
        let reason = status.message().to_owned();
        match status.code() {
            Code::InvalidArgument | Code::OutOfRange | Code::Unauthenticated | Code::PermissionDenied => Self::Refused(ErrorKind::Invalid, reason),
            Code::ResourceExhausted => Self::Refused(ErrorKind::Busy, reason),
            _ => Self::Unreachable(if reason.is_empty() { status.code().to_string() } else { reason }),
        }
    }
}
