//! What TLS runs over: a TCP connection, or this host's end of one that is held back as the network of the device that it
//! simulates would.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf},
    net::TcpStream,
};

/// A connection before TLS.
#[derive(Debug)]
pub enum Socket {
    /// As the system has it.
    Real(TcpStream),
    /// What is written here is sent later, and what comes is given later.
    Simulated {
        /// This host's end.
        end: DuplexStream,
        /// Where the other host is.
        peer: SocketAddr,
    },
}

impl Socket {
    /// Where the other host is.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        match self {
            Self::Real(stream) => stream.peer_addr(),
            Self::Simulated { peer, .. } => Ok(*peer),
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Real(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Simulated { end, .. } => Pin::new(end).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Real(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Simulated { end, .. } => Pin::new(end).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(self: Pin<&mut Self>, context: &mut Context<'_>, parts: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Real(stream) => Pin::new(stream).poll_write_vectored(context, parts),
            Self::Simulated { end, .. } => Pin::new(end).poll_write_vectored(context, parts),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Real(stream) => stream.is_write_vectored(),
            Self::Simulated { end, .. } => end.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Real(stream) => Pin::new(stream).poll_flush(context),
            Self::Simulated { end, .. } => Pin::new(end).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Real(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Simulated { end, .. } => Pin::new(end).poll_shutdown(context),
        }
    }
}
