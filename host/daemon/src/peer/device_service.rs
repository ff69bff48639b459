//! What a device answers other hosts.

use std::{pin::Pin, sync::Arc};

use host_core::error::ErrorKind;
use host_wire::peer::{Activation, pb, refusal};
use tokio_stream::Stream;
use tonic::{Request, Response, Status};

use super::{central_service::echo, desk::Desk, door::Caller, files::Files, rpc::peer_server};
use crate::pki::Revoked;

/// What a device hears that the central has removed, over a connection of before.
const REMOVED: &str = "the certificate was revoked, as it is when somebody removes the device";

/// Answers peers. A cheap handle.
#[derive(Clone, Debug)]
pub struct DeviceService {
    /// Where activations arrive.
    pub desk: Arc<Desk>,
    /// Files that peers may fetch.
    pub files: Arc<Files>,
    /// Certificates that count no more, as the central says.
    pub revoked: Revoked,
}

type Answered<T> = Result<Response<T>, Status>;

impl DeviceService {
    /// Whoever shows a certificate of the authority is a host of the pool, until it is removed. Its connection may be older than that.
    fn known<T>(&self, request: &Request<T>) -> Result<(), Status> {
        match request.extensions().get::<Caller>().and_then(|caller| caller.certificate.as_ref()) {
            Some(certificate) if self.revoked.contains(certificate.serial()) => Err(Status::permission_denied(REMOVED)),
            Some(_) => Ok(()),
            None => Err(Status::unauthenticated("the connection has shown no certificate")),
        }
    }
}

#[tonic::async_trait]
impl peer_server::Peer for DeviceService {
    type FetchStream = Pin<Box<dyn Stream<Item = Result<pb::Chunk, Status>> + Send>>;

    async fn push(&self, request: Request<pb::Activation>) -> Answered<pb::Taken> {
        self.known(&request)?;
        let taken = match Activation::try_from(request.into_inner()) {
            Ok(activation) => self.desk.take(activation).await,
            Err(error) => Err((ErrorKind::Invalid, error.to_string())),
        };
        Ok(Response::new(pb::Taken { refusal: taken.err().map(|(kind, reason)| refusal(kind, reason)) }))
    }

    async fn fetch(&self, request: Request<pb::FetchRequest>) -> Answered<Self::FetchStream> {
        self.known(&request)?;
        Ok(Response::new(Box::pin(self.files.chunks(request.into_inner()).await?)))
    }

    async fn echo(&self, request: Request<pb::EchoRequest>) -> Answered<pb::EchoReply> {
        self.known(&request)?;
        echo(request.get_ref())
    }
}
