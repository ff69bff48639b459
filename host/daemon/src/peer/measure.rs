//! Measures the way to another host with echoes: small ones for its latency, a few larger ones for its bandwidth. It takes
//! connections of its own, which are closed afterwards: each device measures the ways to all others, and in a large pool most of
//! them have nothing else to say to each other.

use std::time::Duration;

use host_core::{
    link::{EchoSizes, Endpoint, Reach, Speed, bytes_per_ms},
    units::{Bytes, Millis},
};
use host_wire::peer::{LinkMeasured, pb};
use tonic::transport::Channel;

use super::{
    dial::Lane,
    links::{LinkFault, Links},
    rpc::peer_client::PeerClient,
};
use crate::{clock, pki::Subject};

/// Small echoes, of which the median counts.
const ROUNDS: usize = 7;
/// Bytes of a small echo, there and back.
const SMALL: Bytes = Bytes(64);
/// What a message has beside the bytes of an echo, and more.
const MESSAGE_EXTRA: usize = 1024;
/// The longest time of a whole measurement, in times of one echo.
const ECHOES_MAX: u32 = 3;

/// How much a measurement may take.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct EchoLimits {
    /// How large echoes are.
    pub sizes: EchoSizes,
    /// How long one may take.
    pub answer_max: Duration,
}

impl EchoLimits {
    /// How long a measurement takes at most.
    pub fn all_max(&self) -> Duration {
        self.answer_max * ECHOES_MAX
    }
}

/// Which way the bytes of an echo go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Way {
    There,
    Back,
}

/// Measures the way to another end, and of the central also the way back. Notes in the links whether it was reached.
pub async fn measure(links: &Links, target: Endpoint, limits: &EchoLimits) -> LinkMeasured {
    let subject = match &target {
        Endpoint::Central => Subject::Central,
        Endpoint::Device(id) => Subject::Device(id.clone()),
    };
    let found = tokio::time::timeout(limits.all_max(), figures(links, &subject, limits)).await;
    let found = found.unwrap_or_else(|_| Err(LinkFault::Unreachable("its echoes took too long".to_owned())));
    links.reached(&subject, found.is_ok());
    match found {
        Ok((speed, back)) => LinkMeasured { target, reach: Reach::Direct(speed), bytes_per_ms_back: back },
        Err(LinkFault::Unreachable(reason) | LinkFault::Refused(_, reason)) => {
            tracing::debug!(%subject, reason, "the way to a host could not be measured");
            LinkMeasured { target, reach: Reach::Unreachable, bytes_per_ms_back: None }
        }
    }
}

async fn figures(links: &Links, subject: &Subject, limits: &EchoLimits) -> Result<(Speed, Option<f64>), LinkFault> {
    let mut small = Echoes::open(links, subject, Lane::Latency, limits).await?;
    let round_trip = small.round_trip().await?;
    let mut large = Echoes::open(links, subject, Lane::Bulk, limits).await?;
    let there = large.bandwidth(Way::There, round_trip).await?;
    let back = match subject {
        Subject::Central => Some(large.bandwidth(Way::Back, round_trip).await?),
        // It measures that itself.
        Subject::Device(_) => None,
    };
    Ok((Speed { latency: Millis(round_trip.0 / 2.0), bytes_per_ms: there }, back))
}

/// Echoes over one connection.
struct Echoes<'a> {
    client: PeerClient<Channel>,
    limits: &'a EchoLimits,
}

impl<'a> Echoes<'a> {
    async fn open(links: &Links, subject: &Subject, lane: Lane, limits: &'a EchoLimits) -> Result<Self, LinkFault> {
        let bytes_max = usize::try_from(limits.sizes.bytes_max.0).unwrap_or(usize::MAX);
        let client = PeerClient::new(links.apart(subject, lane)?).max_decoding_message_size(bytes_max.saturating_add(MESSAGE_EXTRA));
        let mut echoes = Self { client, limits };
        // The first one opens the connection, and its time says nothing of the way.
        echoes.answered(Bytes::ZERO, Bytes::ZERO).await?;
        Ok(echoes)
    }

    async fn round_trip(&mut self) -> Result<Millis, LinkFault> {
        let mut times = Vec::with_capacity(ROUNDS);
        for _ in 0..ROUNDS {
            times.push(self.answered(SMALL, SMALL).await?);
        }
        times.sort_by(|a, b| a.0.total_cmp(&b.0));
        Ok(times[ROUNDS / 2])
    }

    /// Bytes per millisecond of one direction.
    async fn bandwidth(&mut self, way: Way, round_trip: Millis) -> Result<f64, LinkFault> {
        let mut size = self.limits.sizes.first();
        loop {
            let Some(took) = self.one_way(way, size).await? else { return Ok(self.at_most(size, round_trip)) };
            if let Some(larger) = self.limits.sizes.next(size, took, round_trip) {
                size = larger;
                continue;
            }
            // What else happens can only make an echo slower: of two, the faster one is right.
            let again = self.one_way(way, size).await?.unwrap_or(took);
            return Ok(bytes_per_ms(size, if again < took { again } else { took }, round_trip));
        }
    }

    async fn one_way(&mut self, way: Way, size: Bytes) -> Result<Option<Millis>, LinkFault> {
        match way {
            Way::There => self.echo(size, Bytes::ZERO).await,
            Way::Back => self.echo(Bytes::ZERO, size).await,
        }
    }

    /// The bandwidth of a line that does not carry so much in the time of one echo.
    fn at_most(&self, size: Bytes, round_trip: Millis) -> f64 {
        bytes_per_ms(size, Millis(self.limits.answer_max.as_secs_f64() * 1e3), round_trip)
    }

    async fn answered(&mut self, there: Bytes, back: Bytes) -> Result<Millis, LinkFault> {
        let took = self.echo(there, back).await?;
        took.ok_or_else(|| LinkFault::Unreachable(format!("it did not answer within {} ms", self.limits.answer_max.as_millis())))
    }

    /// How long so many bytes took there and so many back; none if they took too long.
    async fn echo(&mut self, there: Bytes, back: Bytes) -> Result<Option<Millis>, LinkFault> {
        let data = vec![0_u8; usize::try_from(there.0).unwrap_or(usize::MAX)];
        let request = pb::EchoRequest { data: data.into(), bytes_back: back.0 };
        let began = clock::now();
        let Ok(answered) = tokio::time::timeout(self.limits.answer_max, self.client.echo(request)).await else { return Ok(None) };
        let took = Millis(began.elapsed().as_secs_f64() * 1e3);
        let came = answered.map_err(|status| LinkFault::of(&status))?.into_inner().data.len();
        if came as u64 != back.0 {
            let reason = format!("an echo has {came} bytes, {} were asked for", back.0);
            return Err(LinkFault::Refused(host_core::error::ErrorKind::Invalid, reason));
        }
        Ok(Some(took))
    }
}
