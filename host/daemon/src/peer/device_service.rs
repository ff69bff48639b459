//! What a device answers other hosts.

use std::{pin::Pin, sync::Arc};

use host_core::error::ErrorKind;
use host_wire::peer::{Activation, pb, refusal};
use tokio_stream::Stream;
use tonic::{Request, Response, Status};

use super::{central_service::echo, desk::Desk, door::Caller, files::Files, rpc::peer_server};

/// Answers peers. A cheap handle.
#[derive(Clone, Debug)]
pub struct DeviceService {
    /// Where activations arrive.
    pub desk: Arc<Desk>,
    /// Files that peers may fetch.
    pub files: Arc<Files>,
}

type Answered<T> = Result<Response<T>, Status>;

/// Whoever shows a certificate of the authority is a host of the pool.
fn known<T>(request: &Request<T>) -> Result<(), Status> {
    match request.extensions().get::<Caller>().and_then(Caller::subject) {
        Some(_) => Ok(()),
        None => Err(Status::unauthenticated("the connection has shown no certificate")),
    }
}

#[tonic::async_trait]
impl peer_server::Peer for DeviceService {
    type FetchStream = Pin<Box<dyn Stream<Item = Result<pb::Chunk, Status>> + Send>>;

    async fn push(&self, request: Request<pb::Activation>) -> Answered<pb::Taken> {
        known(&request)?;
        let taken = match Activation::try_from(request.into_inner()) {
            Ok(activation) => self.desk.take(activation).await,
            Err(error) => Err((ErrorKind::Invalid, error.to_string())),
        };
        Ok(Response::new(pb::Taken { refusal: taken.err().map(|(kind, reason)| refusal(kind, reason)) }))
    }

    async fn fetch(&self, request: Request<pb::FetchRequest>) -> Answered<Self::FetchStream> {
        known(&request)?;
        Ok(Response::new(Box::pin(self.files.chunks(request.into_inner()).await?)))
    }

    async fn echo(&self, request: Request<pb::EchoRequest>) -> Answered<pb::EchoReply> {
        known(&request)?;
        echo(request.get_ref())
    }
}
