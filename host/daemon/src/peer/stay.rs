//! How long a connection may stay whose other end has no certificate. It comes to enrol, which is soon done; one that goes on
//! sitting there takes the place of somebody else.

use std::{
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::Sleep;
use tokio_util::sync::WaitForCancellationFutureOwned;

use super::{lobby::Place, refusals::Refusals, unwelcome::Unwelcome};

/// A stranger's stay. Ends with the connection, or before that.
#[derive(Debug)]
pub(super) struct Stay {
    longest: Pin<Box<Sleep>>,
    ousted: Pin<Box<WaitForCancellationFutureOwned>>,
    is_over: bool,
    address: SocketAddr,
    refusals: Arc<Refusals>,
    _place: Place,
}

impl Stay {
    /// For this long at most, and no longer than it keeps its place.
    pub(super) fn new(place: Place, longest: Duration, address: SocketAddr, refusals: Arc<Refusals>) -> Self {
        let (longest, ousted) = (Box::pin(tokio::time::sleep(longest)), Box::pin(place.ousted().cancelled_owned()));
        Self { longest, ousted, is_over: false, address, refusals, _place: place }
    }

    /// Whether it is over; whoever asks is woken when it is.
    pub(super) fn poll_over(&mut self, context: &mut Context<'_>) -> bool {
        if !self.is_over && self.poll_end(context).is_ready() {
            self.is_over = true;
            self.refusals.note(Unwelcome::Slow, &self.address, "it has no certificate and went on staying; whoever comes to enrol goes again");
        }
        self.is_over
    }

    fn poll_end(&mut self, context: &mut Context<'_>) -> Poll<()> {
        match self.longest.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(()),
            Poll::Pending => self.ousted.as_mut().poll(context),
        }
    }
}
