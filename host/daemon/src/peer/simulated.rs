//! The network of this host: as it is, or that of the device that it simulates. Then everything that goes to other hosts and
//! comes from them passes one line for each direction, which all connections share, and while the device is out there are no
//! connections. How long what takes is decided in `host_core::profile`; here it is waited for.
//!
//! A connection is carried by a task of its own, which sits between TLS and TCP. What is under way in it is bounded, so a sender
//! that is faster than the line has to wait for it, as it would for a real one.

use std::{
    future, io,
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use host_core::{
    link::Speed,
    profile::{DeviceProfile, Outages, Outlet, Throttle},
    units::{self, Millis},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, duplex, split},
    net::TcpStream,
    sync::mpsc,
};

use super::socket::Socket;
use crate::clock::Clock;

/// Bytes between TLS and the line, in each direction of a connection.
const BEFORE_LINE_BYTES_MAX: usize = 64 << 10;
/// Portions that are under way in one direction of a connection, as the window of TCP bounds what is: 8 MiB of the largest ones.
const UNDER_WAY_MAX: usize = 512;
/// A wait shorter than this is not begun, and others are shorter by as much: timers round up to whole milliseconds, so that on
/// average they are right.
const TIMER_HALF_STEP: Duration = Duration::from_micros(500);
/// The longest that is slept in one go.
const SLEEP_MAX: Duration = Duration::from_secs(60 * 60);
/// When one direction of a connection has ended, how long the other one may still take.
const LINGER_MAX: Duration = Duration::from_secs(5);

/// The way of this host to all others. A cheap handle.
#[derive(Clone, Debug, Default)]
pub struct Network(Option<Arc<Simulated>>);

/// The network of a simulated device.
#[derive(Debug)]
struct Simulated {
    /// The moments of the profile count from its start.
    clock: Clock,
    outages: Outages,
    up: Mutex<Throttle>,
    down: Mutex<Throttle>,
}

impl Network {
    /// As a profile says, from now on. Without one, or where it says nothing of a network, as it is.
    pub fn of(profile: Option<&DeviceProfile>) -> Self {
        let differs = |profile: &&DeviceProfile| profile.network != Speed::FREE || profile.outages != Outages::NONE;
        Self(profile.filter(differs).map(|profile| {
            let [up, down] = profile.lines().map(Mutex::new);
            Arc::new(Simulated { clock: Clock::start(), outages: profile.outages.clone(), up, down })
        }))
    }

    /// Opens a connection to another host.
    pub async fn connect(&self, address: &str) -> io::Result<Socket> {
        self.check()?;
        self.take(TcpStream::connect(address).await?)
    }

    /// Takes a connection that another host has opened.
    pub fn take(&self, stream: TcpStream) -> io::Result<Socket> {
        self.check()?;
        stream.set_nodelay(true)?;
        match &self.0 {
            None => Ok(Socket::Real(stream)),
            Some(simulated) => simulated.carry(stream),
        }
    }

    fn check(&self) -> io::Result<()> {
        match &self.0 {
            Some(simulated) if !simulated.is_connected() => Err(io::Error::new(io::ErrorKind::NetworkDown, "the simulated device has an outage")),
            _ => Ok(()),
        }
    }
}

impl Simulated {
    fn is_connected(&self) -> bool {
        self.outages.connected(self.clock.millis())
    }

    /// Sits between a connection and this host from now on.
    fn carry(self: &Arc<Self>, stream: TcpStream) -> io::Result<Socket> {
        let peer = stream.peer_addr()?;
        let (end, inner) = duplex(BEFORE_LINE_BYTES_MAX);
        let simulated = self.clone();
        tokio::spawn(async move {
            let (from_network, to_network) = stream.into_split();
            let (from_host, to_host) = split(inner);
            let up = simulated.pass(&simulated.up, from_host, to_network);
            let down = simulated.pass(&simulated.down, from_network, to_host);
            tokio::select! {
                () = both(up, down) => {}
                () = simulated.outage() => tracing::debug!(%peer, "an outage of the simulated device cuts a connection"),
            }
        });
        Ok(Socket::Simulated { end, peer })
    }

    /// Passes everything on over a line until there is no more, then closes what it passes it to.
    async fn pass(&self, line: &Mutex<Throttle>, mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin) -> io::Result<()> {
        let (hand_over, mut under_way) = mpsc::channel::<(Millis, Bytes)>(UNDER_WAY_MAX);
        let portion = usize::try_from(lock(line).portion().0).unwrap_or(usize::MAX);
        let take = async {
            // Dropped at the end, so that whoever gives knows that nothing more comes.
            let hand_over = hand_over;
            let mut outlet = Outlet::default();
            let mut buffer = vec![0; portion];
            loop {
                self.wait_until(outlet.ready_at()).await;
                let count = from.read(&mut buffer).await?;
                if count == 0 {
                    return Ok::<(), io::Error>(());
                }
                // The moment is read while the line is held: on a line it never runs backwards.
                let arrives = outlet.hand_over(&mut lock(line), units::Bytes(count as u64), self.clock.millis());
                if hand_over.send((arrives, Bytes::copy_from_slice(&buffer[..count]))).await.is_err() {
                    return Ok(());
                }
            }
        };
        let give = async {
            while let Some((arrives, bytes)) = under_way.recv().await {
                self.wait_until(arrives).await;
                to.write_all(&bytes).await?;
            }
            to.shutdown().await
        };
        tokio::try_join!(take, give).map(|_| ())
    }

    async fn wait_until(&self, moment: Millis) {
        let wait = self.clock.until(moment).saturating_sub(TIMER_HALF_STEP);
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
    }

    /// Returns when the device drops out.
    async fn outage(&self) {
        loop {
            let now = self.clock.millis();
            if !self.outages.connected(now) {
                return;
            }
            match self.outages.next_change(now) {
                Some(change) => tokio::time::sleep(self.clock.until(change).min(SLEEP_MAX)).await,
                None => future::pending().await,
            }
        }
    }
}

/// Both directions of a connection. What either ends with, the host at that end sees.
async fn both(up: impl Future<Output = io::Result<()>>, down: impl Future<Output = io::Result<()>>) {
    let mut up = pin!(up);
    let mut down = pin!(down);
    let _ = tokio::select! {
        _ = &mut up => tokio::time::timeout(LINGER_MAX, down).await,
        _ = &mut down => tokio::time::timeout(LINGER_MAX, up).await,
    };
}

fn lock(line: &Mutex<Throttle>) -> MutexGuard<'_, Throttle> {
    // A line is whole between any two statements.
    line.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use host_core::{
        device::Roles,
        profile::{ComputeSpeed, Fluctuation, Outage},
    };
    use tokio::net::TcpListener;

    use super::*;

    fn network(network: Speed, outages: Outages) -> Network {
        Network::of(Some(&DeviceProfile {
            name: "board".into(),
            compute: ComputeSpeed::Slowdown(1.0),
            fluctuation: Fluctuation::NONE,
            memory: None,
            accelerator: None,
            roles: Roles::ALL,
            network,
            outages,
        }))
    }

    /// A connection of a host in this network to a host in the real one.
    async fn connected(network: &Network) -> (Socket, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound").to_string();
        let (near, far) = tokio::join!(network.connect(&address), listener.accept());
        (near.expect("connected"), far.expect("accepted").0)
    }

    #[tokio::test]
    async fn a_network_without_numbers_is_the_real_one() {
        assert!(Network::of(None).0.is_none() && network(Speed::FREE, Outages::NONE).0.is_none());
        let (near, _far) = connected(&Network::default()).await;
        assert!(matches!(near, Socket::Real(_)));
    }

    #[tokio::test]
    async fn all_bytes_come_through_in_order_both_ways_and_an_end_is_an_end() {
        let slow = network(Speed { latency: Millis(2.0), bytes_per_ms: 20_000.0 }, Outages::NONE);
        let (near, far) = connected(&slow).await;
        assert_eq!(near.peer_addr().expect("known"), far.local_addr().expect("known"));
        let sent: Vec<u8> = (0..300_000_u32).map(|index| (index % 251) as u8).collect();
        let (near_reads, mut near_writes) = split(near);
        let (far_reads, mut far_writes) = far.into_split();
        let read_all = |mut from: Box<dyn AsyncRead + Unpin>| async move {
            let mut got = Vec::new();
            from.read_to_end(&mut got).await.expect("it ends well");
            got
        };
        let write_near = async {
            near_writes.write_all(&sent).await.expect("taken");
            near_writes.shutdown().await.expect("closed");
        };
        let write_far = async {
            far_writes.write_all(&sent).await.expect("taken");
            far_writes.shutdown().await.expect("closed");
        };
        let ((), (), at_far, at_near) = tokio::join!(write_near, write_far, read_all(Box::new(far_reads)), read_all(Box::new(near_reads)));
        assert!(at_far == sent && at_near == sent, "{} and {} bytes came", at_far.len(), at_near.len());
    }

    #[tokio::test]
    async fn whoever_sends_faster_than_the_line_has_to_wait_for_it() {
        // A byte is under way for ever, as far as this test goes.
        let far_away = network(Speed { latency: Millis(1e9), bytes_per_ms: f64::INFINITY }, Outages::NONE);
        let (mut near, _far) = connected(&far_away).await;
        let portion = vec![0; 16 << 10];
        let mut taken = 0;
        // Nothing but a full line makes a write wait for so long.
        while let Ok(written) = tokio::time::timeout(Duration::from_secs(1), near.write(&portion)).await {
            taken += written.expect("it is open");
            assert!(taken < 64 << 20, "the line takes everything");
        }
        // One portion more is about to be handed over, and one waits for its moment.
        let most = (UNDER_WAY_MAX + 2) * portion.len() + BEFORE_LINE_BYTES_MAX;
        assert!(taken > 0 && taken <= most, "{taken} bytes of at most {most} are under way");
    }

    #[tokio::test]
    async fn an_outage_cuts_connections_and_lets_none_be_opened_until_it_is_over() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound").to_string();
        let fickle = network(Speed::FREE, Outages::Listed(vec![Outage { at: Millis(1_000.0), lasting: Millis(1_000.0) }]));
        let mut cut = fickle.connect(&address).await.expect("the outage has not begun");
        let mut nothing = Vec::new();
        assert_eq!(cut.read_to_end(&mut nothing).await.expect("the end comes"), 0);
        if let Err(error) = fickle.connect(&address).await {
            assert_eq!(error.to_string(), "the simulated device has an outage");
        }
        let patience = Clock::start();
        while fickle.connect(&address).await.is_err() {
            assert!(patience.millis() < Millis(60_000.0), "it never comes back");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert!(fickle.0.as_ref().is_some_and(|simulated| simulated.clock.millis() >= Millis(2_000.0)), "it is back too early");
    }
}
