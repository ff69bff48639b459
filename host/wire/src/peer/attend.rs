//! What a device and its central say to each other while the device attends.

use std::collections::BTreeMap;

use host_core::{
    cost::CostModel,
    device::{Device, Offer, Pressures, Roles},
    ids::{AcceleratorName, DeviceId, PlanNumber, SiteName},
    shard::ShardId,
    units::{Bytes, Millis},
};

use super::{
    pb,
    read::{accelerator, at_most, device, finite, named, needed, shard},
};
use crate::error::{Error, Fault};

/// Most offers, labels or held shards of one device.
const THINGS_MAX: usize = 4096;
/// Most certificates that are revoked and have not ended.
pub const REVOKED_MAX: usize = 65_536;
/// Longest label, word or reason, in bytes.
const TEXT_BYTES_MAX: usize = 4096;
/// Most artefacts of one shard.
const ARTEFACTS_MAX: usize = 256;
/// Longest description of an artefact, in bytes: a kilobyte for each of a thousand inputs and outputs.
const DESCRIPTION_BYTES_MAX: usize = 1 << 20;

/// How a device presents itself.
#[derive(Clone, PartialEq, Debug)]
pub struct Hello {
    /// What it is and has.
    pub device: Device,
    /// Shards that are loaded and ready.
    pub held: Vec<HeldShard>,
    /// Where peers reach it, if they do.
    pub address: Option<String>,
    /// Drawn when its process started.
    pub process: u64,
    /// Its release.
    pub release: String,
}

/// A shard on one of a device's accelerators.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ShardAt {
    /// Which accelerator.
    pub accelerator: AcceleratorName,
    /// Which shard.
    pub shard: ShardId,
}

/// A shard that a device kept.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HeldShard {
    /// Which one, where.
    pub at: ShardAt,
    /// SHA-256 of its file.
    pub digest: [u8; 32],
}

/// A sign of life.
#[derive(Clone, PartialEq, Debug)]
pub struct Heartbeat {
    /// Counts those of a stream from 1.
    pub number: u64,
    /// How hard the device works.
    pub pressures: Pressures,
    /// What its shards took since the last one.
    pub runs: Vec<Run>,
}

/// A shard's runs.
#[derive(Clone, PartialEq, Debug)]
pub struct Run {
    /// Which shard.
    pub at: ShardAt,
    /// How long one took: the median.
    pub run: Millis,
    /// How many there were.
    pub runs: u32,
}

/// An order to load a shard.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Load {
    /// Which shard, where.
    pub at: ShardAt,
    /// SHA-256 and size of its file.
    pub file: File,
    /// The same of its golden answers, if there are any.
    pub golden: Option<File>,
    /// For each input of the shard: none for the border, else the position of the model's input.
    pub feeds: Vec<Option<usize>>,
    /// For each output of the shard: none for the border, else the position of the model's output.
    pub yields: Vec<Option<usize>>,
    /// Peers that hold its file, nearest first. The central has it too.
    pub sources: Vec<Source>,
    /// The plan in force.
    pub plan: PlanNumber,
    /// What the shard was converted to, if the accelerator runs nothing else.
    pub artefacts: Vec<ArtefactFile>,
}

/// A shard in a vendor's own form.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ArtefactFile {
    /// What it was made for.
    pub target: String,
    /// SHA-256 and size.
    pub file: File,
    /// Its inputs and outputs with fixed shapes, as an ONNX file without nodes.
    pub description: Vec<u8>,
}

/// A device that a file can be fetched from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Source {
    /// Who it is.
    pub device: DeviceId,
    /// Where it is reached: HOST:PORT.
    pub address: String,
}

/// The numbers of all certificates that count no more although they have not ended.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Revocations(pub Vec<[u8; 16]>);

/// A file by what is in it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct File {
    /// SHA-256.
    pub digest: [u8; 32],
    /// Its size.
    pub bytes: u64,
}

impl Hello {
    /// Reads it. The id is the one that the device has proved by its certificate.
    pub fn read(wire: pb::Hello, id: DeviceId) -> Result<Self, Error> {
        at_most(&wire.offers, THINGS_MAX, "offers")?;
        at_most(&wire.held, THINGS_MAX, "held shards")?;
        if wire.labels.len() > THINGS_MAX {
            return Err(Fault::TooMany { what: "labels", count: wire.labels.len(), max: THINGS_MAX }.into());
        }
        for (name, value) in &wire.labels {
            short(name, "label")?;
            short(value, "label")?;
        }
        let offers = wire.offers.iter().map(offer).collect::<Result<Vec<_>, _>>()?;
        let site = SiteName::parse(&wire.site).map_err(named)?;
        let device = Device { id, site, labels: wire.labels, offers };
        device.check().map_err(named)?;
        let held = wire.held.into_iter().map(HeldShard::try_from).collect::<Result<Vec<_>, _>>()?;
        short(&wire.address, "address")?;
        short(&wire.release, "release")?;
        let address = Some(wire.address).filter(|address| !address.is_empty());
        Ok(Self { device, held, address, process: wire.process, release: wire.release })
    }
}

impl From<Hello> for pb::Hello {
    fn from(hello: Hello) -> Self {
        Self {
            release: hello.release,
            site: hello.device.site.to_string(),
            labels: BTreeMap::from_iter(hello.device.labels),
            offers: hello.device.offers.into_iter().map(Into::into).collect(),
            held: hello.held.into_iter().map(Into::into).collect(),
            address: hello.address.unwrap_or_default(),
            process: hello.process,
        }
    }
}

fn short(text: &str, what: &'static str) -> Result<(), Error> {
    if text.len() <= TEXT_BYTES_MAX { Ok(()) } else { Err(Fault::TooMany { what, count: text.len(), max: TEXT_BYTES_MAX }.into()) }
}

fn offer(wire: &pb::Offer) -> Result<Offer, Error> {
    let cost = needed(wire.cost, "cost")?;
    short(&wire.adapter, "adapter")?;
    short(&wire.needs_artefacts, "target")?;
    at_most(&wire.element_types, THINGS_MAX, "element types")?;
    at_most(&wire.shares_cores_with, THINGS_MAX, "devices that share cores")?;
    Ok(Offer {
        accelerator: accelerator(&wire.accelerator)?,
        adapter: wire.adapter.clone(),
        memory_pool: wire.memory_pool,
        memory: Bytes::from_f64(finite(wire.memory_bytes, "memory_bytes")?),
        weight_factor: finite(wire.weight_factor, "weight_factor")?,
        fixed: Bytes::from_f64(finite(wire.fixed_bytes, "fixed_bytes")?),
        roles: Roles { head: wire.head, body: wire.body, tail: wire.tail },
        cost: CostModel {
            gflop_ms: finite(cost.gflop_ms, "gflop_ms")?,
            weight_mb_ms: finite(cost.weight_mb_ms, "weight_mb_ms")?,
            activation_mb_ms: finite(cost.activation_mb_ms, "activation_mb_ms")?,
            fixed_ms: finite(cost.fixed_ms, "fixed_ms")?,
        },
        shares_cores_with: wire.shares_cores_with.iter().map(|id| device(id)).collect::<Result<_, _>>()?,
        element_types: wire.element_types.clone(),
        needs_artefacts: Some(wire.needs_artefacts.clone()).filter(|target| !target.is_empty()),
    })
}

impl From<Offer> for pb::Offer {
    fn from(offer: Offer) -> Self {
        let CostModel { gflop_ms, weight_mb_ms, activation_mb_ms, fixed_ms } = offer.cost;
        Self {
            accelerator: offer.accelerator.to_string(),
            adapter: offer.adapter,
            memory_pool: offer.memory_pool,
            memory_bytes: offer.memory.as_f64(),
            weight_factor: offer.weight_factor,
            fixed_bytes: offer.fixed.as_f64(),
            head: offer.roles.head,
            body: offer.roles.body,
            tail: offer.roles.tail,
            cost: Some(pb::Cost { gflop_ms, weight_mb_ms, activation_mb_ms, fixed_ms }),
            shares_cores_with: offer.shares_cores_with.iter().map(ToString::to_string).collect(),
            element_types: offer.element_types,
            needs_artefacts: offer.needs_artefacts.unwrap_or_default(),
        }
    }
}

impl TryFrom<pb::ShardAt> for ShardAt {
    type Error = Error;

    fn try_from(wire: pb::ShardAt) -> Result<Self, Error> {
        Ok(Self { accelerator: accelerator(&wire.accelerator)?, shard: shard(&needed(wire.shard, "shard")?)? })
    }
}

impl From<ShardAt> for pb::ShardAt {
    fn from(at: ShardAt) -> Self {
        let shard =
            pb::Shard { model: at.shard.model.name.to_string(), version: at.shard.model.version, start: at.shard.range.start(), end: at.shard.range.end() };
        Self { accelerator: at.accelerator.to_string(), shard: Some(shard) }
    }
}

impl TryFrom<pb::HeldShard> for HeldShard {
    type Error = Error;

    fn try_from(wire: pb::HeldShard) -> Result<Self, Error> {
        Ok(Self { digest: digest(&wire.digest)?, at: needed(wire.at, "shard")?.try_into()? })
    }
}

impl From<HeldShard> for pb::HeldShard {
    fn from(held: HeldShard) -> Self {
        Self { at: Some(held.at.into()), digest: held.digest.to_vec() }
    }
}

impl TryFrom<pb::Heartbeat> for Heartbeat {
    type Error = Error;

    fn try_from(wire: pb::Heartbeat) -> Result<Self, Error> {
        at_most(&wire.runs, THINGS_MAX, "runs")?;
        let ratio = |value: f64, what| finite(value, what).map(|value| value.min(1.0));
        let pressures = Pressures {
            cpu: ratio(wire.cpu, "cpu")?,
            memory: ratio(wire.memory, "memory")?,
            accelerator: ratio(wire.accelerator, "accelerator")?,
            bandwidth: ratio(wire.bandwidth, "bandwidth")?,
            latency: Millis(finite(wire.latency_ms, "latency_ms")?),
        };
        let run = |run: pb::Run| Ok(Run { at: needed(run.shard, "shard")?.try_into()?, run: Millis(finite(run.run_ms, "run_ms")?), runs: run.runs.max(1) });
        Ok(Self { number: wire.number, pressures, runs: wire.runs.into_iter().map(run).collect::<Result<_, Error>>()? })
    }
}

impl From<Heartbeat> for pb::Heartbeat {
    fn from(beat: Heartbeat) -> Self {
        let Pressures { cpu, memory, accelerator, bandwidth, latency } = beat.pressures;
        let runs = beat.runs.into_iter().map(|run| pb::Run { shard: Some(run.at.into()), run_ms: run.run.0, runs: run.runs }).collect();
        Self { number: beat.number, cpu, memory, accelerator, bandwidth, latency_ms: latency.0, runs }
    }
}

impl TryFrom<pb::Load> for Load {
    type Error = Error;

    fn try_from(wire: pb::Load) -> Result<Self, Error> {
        at_most(&wire.feeds, THINGS_MAX, "inputs")?;
        at_most(&wire.yields, THINGS_MAX, "outputs")?;
        at_most(&wire.sources, THINGS_MAX, "sources")?;
        at_most(&wire.artefacts, ARTEFACTS_MAX, "artefacts")?;
        let position = |wire: u32| wire.checked_sub(1).map(|position| position as usize);
        Ok(Self {
            at: needed(wire.shard, "shard")?.try_into()?,
            file: file(&needed(wire.file, "file")?)?,
            golden: wire.golden.as_ref().map(file).transpose()?,
            feeds: wire.feeds.into_iter().map(position).collect(),
            yields: wire.yields.into_iter().map(position).collect(),
            sources: wire.sources.into_iter().map(Source::try_from).collect::<Result<_, _>>()?,
            plan: PlanNumber(wire.plan),
            artefacts: wire.artefacts.into_iter().map(ArtefactFile::try_from).collect::<Result<_, _>>()?,
        })
    }
}

impl From<Load> for pb::Load {
    fn from(load: Load) -> Self {
        let position = |position: Option<usize>| position.map_or(0, |position| super::activation::to_u32(position.saturating_add(1)));
        Self {
            shard: Some(load.at.into()),
            file: Some(load.file.into()),
            golden: load.golden.map(Into::into),
            feeds: load.feeds.into_iter().map(position).collect(),
            yields: load.yields.into_iter().map(position).collect(),
            sources: load.sources.into_iter().map(Into::into).collect(),
            plan: load.plan.0,
            artefacts: load.artefacts.into_iter().map(Into::into).collect(),
        }
    }
}

impl TryFrom<pb::Artefact> for ArtefactFile {
    type Error = Error;

    fn try_from(wire: pb::Artefact) -> Result<Self, Error> {
        short(&wire.target, "target")?;
        at_most(&wire.description, DESCRIPTION_BYTES_MAX, "bytes of a description")?;
        Ok(Self { target: wire.target, file: file(&needed(wire.file, "file")?)?, description: wire.description })
    }
}

impl From<ArtefactFile> for pb::Artefact {
    fn from(artefact: ArtefactFile) -> Self {
        Self { target: artefact.target, file: Some(artefact.file.into()), description: artefact.description }
    }
}

impl TryFrom<pb::PeerAddress> for Source {
    type Error = Error;

    fn try_from(wire: pb::PeerAddress) -> Result<Self, Error> {
        short(&wire.address, "address")?;
        Ok(Self { device: device(&wire.device)?, address: wire.address })
    }
}

impl From<Source> for pb::PeerAddress {
    fn from(source: Source) -> Self {
        Self { device: source.device.to_string(), address: source.address }
    }
}

impl TryFrom<pb::Revoked> for Revocations {
    type Error = Error;

    fn try_from(wire: pb::Revoked) -> Result<Self, Error> {
        at_most(&wire.serials, REVOKED_MAX, "revoked certificates")?;
        let serial = |wire: &Vec<u8>| <[u8; 16]>::try_from(wire.as_slice());
        let wrong = |wire: &Vec<u8>| Error::from(Fault::Length { what: "the number of a certificate", need: 16, have: wire.len() });
        Ok(Self(wire.serials.iter().map(|wire| serial(wire).map_err(|_| wrong(wire))).collect::<Result<_, _>>()?))
    }
}

impl From<Revocations> for pb::Revoked {
    fn from(revocations: Revocations) -> Self {
        Self { serials: revocations.0.into_iter().map(|serial| serial.to_vec()).collect() }
    }
}

fn file(wire: &pb::File) -> Result<File, Error> {
    Ok(File { digest: digest(&wire.digest)?, bytes: wire.bytes })
}

fn digest(wire: &[u8]) -> Result<[u8; 32], Error> {
    wire.try_into().map_err(|_| Fault::Length { what: "a SHA-256 digest", need: 32, have: wire.len() }.into())
}

impl From<File> for pb::File {
    fn from(file: File) -> Self {
        Self { digest: file.digest.to_vec(), bytes: file.bytes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_certificates_have_sixteen_bytes_and_are_not_too_many() {
        let sent = Revocations(vec![[0x4a; 16], [7; 16]]);
        assert_eq!(Revocations::try_from(pb::Revoked::from(sent.clone())), Ok(sent));
        let refused = |serials| Revocations::try_from(pb::Revoked { serials }).expect_err("it breaks a rule").to_string();
        assert!(refused(vec![vec![7; 15]]).contains("15"), "{}", refused(vec![vec![7; 15]]));
        assert!(refused(vec![vec![7; 16]; REVOKED_MAX + 1]).contains(&(REVOKED_MAX + 1).to_string()));
    }
}
