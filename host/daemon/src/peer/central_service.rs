//! What a central answers other hosts: enrolling, attending, outcomes, and passing on what a device cannot send itself.

use std::{collections::HashMap, pin::Pin, sync::Arc, time::Duration};

use host_core::{
    cluster::Event,
    error::ErrorKind,
    ids::{AcceleratorName, DeviceId, OfferId},
    shard::ShardId,
};
use host_wire::peer::{
    Activation, Heartbeat, HeldShard, Hello, LinkMeasured, LoadProgress, Run, ShardAt, Stuck, pb, pb::central_message::Says, pb::device_message, refusal,
};
use tokio_stream::{Stream, StreamExt as _, wrappers::ReceiverStream};
use tonic::{Request, Response, Status, Streaming};

use super::{
    attending::{Admitted, Attendance, Attending, Events, Shards},
    awaited::Awaited,
    concluded,
    dismissal::{REMOVED, revoked_says},
    door::Caller,
    enrolling::Enrolling,
    files::Files,
    greeting::{GreetingLimits, hello},
    known::no_certificate,
    links::{LinkFault, Links},
    parcel,
    post::Post,
    refusals::Refusals,
    resumes::Resumes,
    rpc::{central_server, enrolment_server, peer_server},
    surveyor::Surveyor,
    unwelcome::Unwelcome,
};
use crate::{
    clock::Clock,
    device::ComputeHandle,
    metrics::Metrics,
    passage::{Answer, PassageId, Seat},
    pki::{Revoked, Subject},
    store::{Restraint, Store},
    telemetry::traces::Traces,
};

/// Most bytes that an echo gives back.
pub const ECHO_BYTES_MAX: u64 = 16 << 20;

/// What the services of a central work with. A cheap handle.
#[derive(Clone, Debug)]
pub struct CentralService(pub Arc<CentralParts>);

/// What the services of a central are made of.
#[derive(Debug)]
pub struct CentralParts {
    /// This run of the central.
    pub run: u64,
    /// Signs certificates.
    pub enrolling: Enrolling,
    /// Certificates that count no more.
    pub revoked: Revoked,
    /// Devices that attend.
    pub attending: Arc<Attending>,
    /// Passages that are on their way.
    pub awaited: Arc<Awaited>,
    /// Other ways for those that are stuck.
    pub resumes: Resumes,
    /// Where what happens is counted.
    pub metrics: Arc<Metrics>,
    /// Has links measured.
    pub surveyor: Arc<Surveyor>,
    /// What devices fetch.
    pub files: Arc<Files>,
    /// The way to devices.
    pub links: Arc<Links>,
    /// The same, for jobs.
    pub post: Arc<Post>,
    /// Compute threads of this process.
    pub computes: HashMap<OfferId, ComputeHandle>,
    /// The cluster.
    pub events: Events,
    /// Knows the shards that a device may have kept.
    pub shards: Arc<dyn Shards>,
    /// Knows what people asked of a device.
    pub store: Store,
    /// This host's clock.
    pub clock: Clock,
    /// Where the spans of stages of this process are made.
    pub traces: Traces,
    /// Between two heartbeats of a device, and until one that is silent is lost.
    pub heartbeat: Duration,
    /// The lease of a device.
    pub lease: Duration,
    /// What a hello may take and say.
    pub greeting: GreetingLimits,
    /// Where those are noted who are not let in.
    pub refusals: Arc<Refusals>,
}

type Answered<T> = Result<Response<T>, Status>;
type Streamed<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// The device at the other end; a stranger, or another central, is refused.
pub(super) fn device_of<T>(request: &Request<T>) -> Result<DeviceId, Status> {
    match request.extensions().get::<Caller>().and_then(Caller::subject) {
        Some(Subject::Device(id)) => Ok(id.clone()),
        Some(Subject::Central) => Err(Status::permission_denied("a central is no device of this one")),
        None => Err(no_certificate()),
    }
}

#[tonic::async_trait]
impl enrolment_server::Enrolment for CentralService {
    async fn enrol(&self, request: Request<pb::EnrolRequest>) -> Answered<pb::Certificate> {
        let service = self.clone();
        let enrolled = tokio::task::spawn_blocking(move || service.0.enrolling.enrol(&request.into_inner())).await;
        enrolled.map_err(|error| Status::internal(error.to_string()))?.map(Response::new)
    }
}

#[tonic::async_trait]
impl central_server::Central for CentralService {
    type AttendStream = Streamed<pb::CentralMessage>;

    async fn attend(&self, request: Request<Streaming<pb::DeviceMessage>>) -> Answered<Self::AttendStream> {
        let device = self.device_of(&request)?;
        let mut says = request.into_inner();
        let refuse = |(why, status): (Unwelcome, Status)| {
            self.0.refusals.note(why, &device, status.message());
            status
        };
        let hello = hello(&mut says, &device, self.0.greeting).await.map_err(refuse)?;
        let taken = |reason| refuse((Unwelcome::IdTaken, Status::already_exists(reason)));
        let Admitted { attendance, told, before } = self.0.attending.admit(&hello).map_err(taken)?;
        if let Some(before) = before {
            self.cut(&before).await;
        }
        self.welcome(&attendance, hello).await;
        let service = self.clone();
        tokio::spawn(async move { service.listen(&attendance, says).await });
        Ok(Response::new(Box::pin(ReceiverStream::new(told))))
    }

    async fn renew(&self, request: Request<pb::RenewRequest>) -> Answered<pb::Certificate> {
        let device = self.device_of(&request)?;
        let service = self.clone();
        let renewed = tokio::task::spawn_blocking(move || service.0.enrolling.renew(&device, &request.into_inner())).await;
        renewed.map_err(|error| Status::internal(error.to_string()))?.map(Response::new)
    }

    async fn resume(&self, request: Request<pb::Stuck>) -> Answered<pb::Way> {
        self.device_of(&request)?;
        let stuck = Stuck::from(request.into_inner());
        let way = self.0.resumes.find(&stuck).await;
        self.0.metrics.resume(!way.hops.is_empty());
        Ok(Response::new(way.into()))
    }

    async fn conclude(&self, request: Request<pb::Conclusion>) -> Answered<pb::Taken> {
        let device = self.device_of(&request)?;
        let heard = concluded::hear(&self.0.awaited, &device, request.into_inner());
        let known = heard.map_err(|error| Status::invalid_argument(error.to_string()))?;
        let nobody = || refusal(ErrorKind::Unavailable, "nobody waits for the passage".to_owned());
        Ok(Response::new(pb::Taken { refusal: (!known).then(nobody) }))
    }
}

impl CentralService {
    /// The device at the other end. Its connection may be older than its removal, and is good for nothing then.
    fn device_of<T>(&self, request: &Request<T>) -> Result<DeviceId, Status> {
        let device = device_of(request)?;
        let certificate = request.extensions().get::<Caller>().and_then(|caller| caller.certificate.as_ref());
        if certificate.is_some_and(|certificate| self.0.revoked.contains(certificate.serial())) {
            return Err(Status::permission_denied(REMOVED));
        }
        Ok(device)
    }

    async fn welcome(&self, attendance: &Attendance, hello: Hello) {
        let parts = &self.0;
        let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        attendance.tell(Says::Welcome(pb::Welcome { heartbeat_ms: ms(parts.heartbeat), lease_ms: ms(parts.lease), central: parts.run }));
        attendance.tell(revoked_says(&parts.revoked));
        parts.attending.introduce();
        tracing::info!(device = %attendance.id, release = hello.release, address = hello.address.as_deref().unwrap_or("none"), "a device attends");
        let held = self.recognise(attendance, hello.held).await;
        if attendance.is_dismissed() {
            return;
        }
        self.send(Event::Joined { device: hello.device, held, now: parts.clock.millis() }).await;
        self.remind(&attendance.id).await;
        self.0.surveyor.joined(&attendance.id);
    }

    /// The shards that a device kept and that are still what is meant by their names. It is told to drop the others.
    async fn recognise(&self, attendance: &Attendance, held: Vec<HeldShard>) -> Vec<(AcceleratorName, ShardId)> {
        let shards = self.0.shards.clone();
        let known = tokio::task::spawn_blocking(move || {
            held.into_iter().partition::<Vec<_>, _>(|held| shards.digest(&held.at.shard).is_some_and(|digest| digest.0 == held.digest))
        });
        let (known, strange) = known.await.unwrap_or_default();
        for held in strange {
            attendance.tell(Says::Unload(held.at.into()));
        }
        attendance.holds(&known);
        known.into_iter().map(|held| (held.at.accelerator, held.at.shard)).collect()
    }

    /// Says what people asked of a device before it came back, which the cluster may not remember.
    async fn remind(&self, device: &DeviceId) {
        let store = self.0.store.clone();
        let id = device.clone();
        let kept = tokio::task::spawn_blocking(move || store.enrolled_device(&id)).await;
        let Some(record) = kept.ok().and_then(Result::ok).flatten() else { return };
        let device = device.clone();
        if !record.labels.is_empty() {
            self.send(Event::Labelled { device: device.clone(), labels: record.labels }).await;
        }
        match record.restraint {
            Restraint::None => {}
            Restraint::Cordoned => self.send(Event::CordonAsked { device }).await,
            Restraint::Draining => self.send(Event::DrainAsked { device }).await,
            Restraint::Leaving => self.send(Event::RemoveAsked { device }).await,
        }
    }

    /// A device's stream is over and its lease runs. Whoever waits for it waits no longer.
    async fn cut(&self, attendance: &Attendance) {
        self.0.attending.gone(attendance);
        self.0.surveyor.left(&attendance.id);
        self.send(Event::Away { device: attendance.id.clone() }).await;
    }

    /// Hears what a device says until its stream ends.
    async fn listen(&self, attendance: &Attendance, mut says: Streaming<pb::DeviceMessage>) {
        let ended = loop {
            let said = tokio::select! {
                said = says.next() => said,
                () = attendance.dismissed() => break "it was sent away".to_owned(),
            };
            match said {
                Some(Ok(pb::DeviceMessage { says: Some(said) })) => match self.hear(attendance, said).await {
                    Ok(true) => {}
                    Ok(false) => break "it left".to_owned(),
                    Err(reason) => break reason,
                },
                Some(Ok(_)) => break "it sent a message that this release does not know".to_owned(),
                Some(Err(status)) => break status.message().to_owned(),
                None => break "its stream ended".to_owned(),
            }
        };
        if self.0.attending.leave(attendance) {
            tracing::info!(device = %attendance.id, reason = ended, "a device attends no more");
            self.cut(attendance).await;
        }
    }

    /// False once the device has left.
    async fn hear(&self, attendance: &Attendance, said: device_message::Says) -> Result<bool, String> {
        let shard_at = |at: pb::ShardAt| ShardAt::try_from(at).map_err(|error| error.to_string());
        match said {
            device_message::Says::Hello(_) => return Err("it said hello twice".to_owned()),
            device_message::Says::Heartbeat(beat) => {
                self.heartbeat(attendance, beat.try_into().map_err(|error: host_wire::error::Error| error.to_string())?).await
            }
            device_message::Says::Loaded(at) => attendance.loaded(&shard_at(at)?, Ok(())),
            device_message::Says::LoadFailed(failed) => {
                let at = failed.shard.ok_or("a load that failed names no shard")?;
                attendance.loaded(&shard_at(at)?, Err(failed.reason));
            }
            device_message::Says::Unloaded(at) => attendance.unloaded(&shard_at(at)?),
            device_message::Says::LoadProgress(progress) => {
                attendance.progress(LoadProgress::try_from(progress).map_err(|error| error.to_string())?);
            }
            device_message::Says::LinkMeasured(measured) => {
                let measured = LinkMeasured::try_from(measured).map_err(|error| error.to_string())?;
                for event in self.0.surveyor.heard(attendance.id.clone(), measured) {
                    self.send(event).await;
                }
            }
            device_message::Says::Leaving(leaving) => {
                tracing::info!(device = %attendance.id, reason = leaving.reason, "a device leaves");
                self.send(Event::Left { device: attendance.id.clone() }).await;
                return Ok(false);
            }
        }
        Ok(true)
    }

    async fn heartbeat(&self, attendance: &Attendance, beat: Heartbeat) {
        attendance.tell(Says::HeartbeatSeen(pb::HeartbeatSeen { number: beat.number }));
        let device = attendance.id.clone();
        self.send(Event::Heartbeat { device: device.clone(), pressures: beat.pressures, now: self.0.clock.millis() }).await;
        for Run { at, run, runs } in beat.runs {
            let offer = OfferId { device: device.clone(), accelerator: at.accelerator };
            self.send(Event::Measured { offer, shard: at.shard, run, runs }).await;
        }
    }

    async fn send(&self, event: Event) {
        if let Some(events) = self.0.events.upgrade() {
            // The loop only ends once every sender is gone, so it is still there.
            let _ = events.send(event).await;
        }
    }

    /// Has a stage of this process computed.
    async fn compute(&self, activation: Activation, handle: ComputeHandle) -> Result<(), (ErrorKind, String)> {
        let parts = &self.0;
        let id = PassageId { central: activation.central, number: activation.passage };
        let answer = parts.awaited.take(id).ok_or_else(|| (ErrorKind::Unavailable, "nobody waits for the passage".to_owned()))?;
        let seat = |offer: &OfferId| match parts.computes.get(offer) {
            Some(handle) => Seat::Here(handle.clone()),
            None => Seat::There(offer.clone(), parts.post.clone()),
        };
        let job = parcel::job(activation, parts.clock.millis(), Answer::Here(answer), &parts.traces, seat);
        job.map_err(|error| (error.kind(), error.to_string()))?.compute(&handle).await;
        Ok(())
    }
}

#[tonic::async_trait]
impl peer_server::Peer for CentralService {
    type FetchStream = Streamed<pb::Chunk>;

    async fn push(&self, request: Request<pb::Activation>) -> Answered<pb::Taken> {
        self.device_of(&request)?;
        let activation = match Activation::try_from(request.into_inner()) {
            Ok(activation) => activation,
            Err(error) => return Ok(Response::new(pb::Taken { refusal: Some(refusal(ErrorKind::Invalid, error.to_string())) })),
        };
        let offer = activation.hop().offer.clone();
        let taken = match self.0.computes.get(&offer).cloned() {
            Some(handle) => self.compute(activation, handle).await,
            None => match self.0.links.push(&offer.device, activation).await {
                Ok(()) => Ok(()),
                Err(LinkFault::Refused(kind, reason)) => Err((kind, reason)),
                Err(LinkFault::Unreachable(reason)) => return Err(Status::unavailable(format!("the central does not reach {offer}: {reason}"))),
            },
        };
        Ok(Response::new(pb::Taken { refusal: taken.err().map(|(kind, reason)| refusal(kind, reason)) }))
    }

    async fn fetch(&self, request: Request<pb::FetchRequest>) -> Answered<Self::FetchStream> {
        self.device_of(&request)?;
        Ok(Response::new(Box::pin(self.0.files.chunks(request.into_inner()).await?)))
    }

    async fn echo(&self, request: Request<pb::EchoRequest>) -> Answered<pb::EchoReply> {
        self.device_of(&request)?;
        echo(request.get_ref())
    }
}

/// As many bytes as were asked for.
pub(super) fn echo(request: &pb::EchoRequest) -> Answered<pb::EchoReply> {
    if request.bytes_back > ECHO_BYTES_MAX {
        return Err(Status::invalid_argument(format!("{} bytes were asked back, at most {ECHO_BYTES_MAX} are given", request.bytes_back)));
    }
    let length = usize::try_from(request.bytes_back).unwrap_or(0);
    Ok(Response::new(pb::EchoReply { data: vec![0; length].into() }))
}
