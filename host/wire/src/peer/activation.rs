//! Passages: one row of one attempt of a request, on its way from stage to stage, and how it ends.

use bytes::Bytes;
use host_core::{
    error::ErrorKind,
    ids::{ModelId, OfferId, PlanNumber},
    shard::{BlockRange, ShardId},
    units::Millis,
};

use super::{
    pb,
    read::{accelerator, at_most, device, finite, model, needed, range},
};
use crate::{
    error::{Error, Fault},
    oip::Datatype,
};

/// Most stages of a passage.
const HOPS_MAX: usize = 4096;
/// Most inputs or outputs of a model.
pub const POSITIONS_MAX: usize = 4096;
/// Most tensors that travel beside the border.
const TENSORS_MAX: usize = POSITIONS_MAX;
/// Most axes of a tensor.
const AXES_MAX: usize = 16;

/// A passage on its way to one of its stages. Its stages follow one another, and what is done ends where the next begins.
#[derive(Clone, PartialEq, Debug)]
pub struct Activation {
    /// Which run of the central.
    pub central: u64,
    /// Which passage of it.
    pub passage: u64,
    /// The plan that it goes by.
    pub plan: PlanNumber,
    /// Which model.
    pub model: ModelId,
    /// The request, as adapters see it.
    pub call: Call,
    /// All stages, in order.
    pub hops: Vec<Hop>,
    /// The stage that it is for; always one of `hops`.
    pub next: usize,
    /// Until the answer is worthless.
    pub left: Millis,
    /// What the stage before sent on; none for the first.
    pub border: Option<Tensor>,
    /// Inputs of the request that this stage or a later one reads, by position.
    pub inputs: Vec<(usize, Tensor)>,
    /// Outputs of the model that are known, by position.
    pub outputs: Vec<(usize, Tensor)>,
    /// The span that the stage's own belongs to, as W3C's `traceparent`; empty where nobody traces.
    pub traceparent: String,
    /// Whether the request has the devices of these stages to itself.
    pub is_alone: bool,
}

/// One stage of a passage.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Hop {
    /// Where it is.
    pub offer: OfferId,
    /// Its blocks.
    pub range: BlockRange,
    /// Position in its replica.
    pub position: u32,
    /// Inputs of the model that it reads, by position.
    pub reads: Vec<usize>,
}

/// What a request is to adapters.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Call {
    /// Counts requests.
    pub request: u32,
    /// 0 for none.
    pub sequence: u32,
    /// Which part of a sequence.
    pub phase: Phase,
    /// Tokens in the cache.
    pub past_tokens: u32,
    /// Tokens in this run.
    pub new_tokens: u32,
    /// Rows.
    pub batch: u32,
}

/// Which part of a sequence a run computes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    /// A request that stands for itself.
    Whole,
    /// The prompt.
    Prefill,
    /// One further token.
    Decode,
}

/// A tensor whose bytes fit its shape. A clone shares them.
#[derive(Clone, PartialEq, Debug)]
pub struct Tensor {
    /// What its elements are.
    pub datatype: Datatype,
    /// Its axes; empty for a scalar.
    pub shape: Vec<usize>,
    /// Little endian, row major.
    pub data: Bytes,
}

/// A passage that does not get on, because a stage cannot be reached.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Stuck {
    /// Which run of the central.
    pub central: u64,
    /// Which passage of it.
    pub passage: u64,
    /// The stage that cannot be reached.
    pub at: usize,
    /// Why, for a person.
    pub reason: String,
}

/// Where a passage that is stuck goes on.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Way {
    /// The stages, in place of the one that cannot be reached and those behind it; none if there is no way.
    pub hops: Vec<Hop>,
    /// The plan that they are of.
    pub plan: PlanNumber,
}

/// How a passage ended.
#[derive(Clone, PartialEq, Debug)]
pub struct Conclusion {
    /// Which run of the central.
    pub central: u64,
    /// Which passage of it.
    pub passage: u64,
    /// How.
    pub outcome: Outcome,
}

/// Outputs, or why there are none.
#[derive(Clone, PartialEq, Debug)]
pub enum Outcome {
    /// Outputs of the model, by position.
    Done(Vec<(usize, Tensor)>),
    /// It stopped.
    Stopped(Stopped),
}

/// Why a passage stopped.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Stopped {
    /// The stage that did not take it or failed at it.
    pub at: usize,
    /// What the caller should do about it.
    pub kind: ErrorKind,
    /// For a person.
    pub reason: String,
    /// Whether the stage could not be reached at all.
    pub unreachable: bool,
}

impl Activation {
    /// The stage that it is for.
    pub fn hop(&self) -> &Hop {
        &self.hops[self.next]
    }

    /// The shard that it is for.
    pub fn shard(&self) -> ShardId {
        ShardId { model: self.model.clone(), range: self.hop().range }
    }

    /// Bytes of its tensors.
    pub fn bytes(&self) -> usize {
        let numbered = self.inputs.iter().chain(&self.outputs).map(|(_, tensor)| tensor.data.len()).sum::<usize>();
        numbered + self.border.as_ref().map_or(0, |tensor| tensor.data.len())
    }

    fn check(self) -> Result<Self, Error> {
        follow(&self.model, &self.hops, self.hops.first().map_or(0, |hop| hop.range.start()))?;
        if self.border.is_some() != (self.next > 0) {
            let what = if self.next > 0 { "the activation of the stage before" } else { "a first stage without one" };
            return Err(Fault::Missing { what }.into());
        }
        Ok(self)
    }
}

impl TryFrom<pb::Activation> for Activation {
    type Error = Error;

    fn try_from(wire: pb::Activation) -> Result<Self, Error> {
        at_most(&wire.hops, HOPS_MAX, "stages")?;
        let hops = wire.hops.iter().map(hop).collect::<Result<Vec<_>, _>>()?;
        let next = wire.next as usize;
        let missing = || host_core::error::Fault::Index { what: "stage", index: wire.next, count: hops.len() };
        let start = hops.get(next).ok_or_else(|| super::read::named(missing().into()))?.range.start();
        if start != wire.blocks_done {
            return Err(Fault::Order { done: wire.blocks_done, start }.into());
        }
        let activation = Self {
            central: wire.central,
            passage: wire.passage,
            plan: PlanNumber(wire.plan),
            model: model(&wire.model, wire.version)?,
            call: call(&needed(wire.call, "call")?)?,
            next,
            left: Millis(finite(wire.left_ms, "left_ms")?),
            border: wire.border.map(tensor).transpose()?,
            inputs: numbered(wire.inputs, "inputs")?,
            outputs: numbered(wire.outputs, "outputs")?,
            traceparent: wire.traceparent,
            is_alone: wire.alone,
            hops,
        };
        activation.check()
    }
}

impl From<Activation> for pb::Activation {
    fn from(activation: Activation) -> Self {
        let blocks_done = activation.hop().range.start();
        let call = activation.call;
        Self {
            central: activation.central,
            passage: activation.passage,
            plan: activation.plan.0,
            model: activation.model.name.to_string(),
            version: activation.model.version,
            call: Some(pb::Call {
                request: call.request,
                sequence: call.sequence,
                phase: call.phase as u32,
                past_tokens: call.past_tokens,
                new_tokens: call.new_tokens,
                batch: call.batch,
            }),
            hops: activation.hops.into_iter().map(Into::into).collect(),
            next: to_u32(activation.next),
            blocks_done,
            left_ms: activation.left.0.max(0.0),
            border: activation.border.map(Into::into),
            inputs: to_numbered(activation.inputs),
            outputs: to_numbered(activation.outputs),
            traceparent: activation.traceparent,
            alone: activation.is_alone,
        }
    }
}

impl From<pb::Stuck> for Stuck {
    fn from(wire: pb::Stuck) -> Self {
        Self { central: wire.central, passage: wire.passage, at: wire.at as usize, reason: wire.reason }
    }
}

impl From<Stuck> for pb::Stuck {
    fn from(stuck: Stuck) -> Self {
        Self { central: stuck.central, passage: stuck.passage, at: to_u32(stuck.at), reason: stuck.reason }
    }
}

impl Way {
    /// Reads it. Each stage must continue the one before, beginning at a block.
    pub fn read(wire: pb::Way, model: &ModelId, from: u32) -> Result<Self, Error> {
        at_most(&wire.hops, HOPS_MAX, "stages")?;
        let hops = wire.hops.iter().map(hop).collect::<Result<Vec<_>, _>>()?;
        follow(model, &hops, from)?;
        Ok(Self { hops, plan: PlanNumber(wire.plan) })
    }
}

impl From<Way> for pb::Way {
    fn from(way: Way) -> Self {
        Self { hops: way.hops.into_iter().map(Into::into).collect(), plan: way.plan.0 }
    }
}

/// Proves that each stage begins where the one before ends.
fn follow(model: &ModelId, hops: &[Hop], from: u32) -> Result<(), Error> {
    let mut done = from;
    for hop in hops {
        if hop.range.start() != done {
            let gap = host_core::error::Fault::Gap { model: model.clone(), expected: done, found: hop.range.start() };
            return Err(super::read::named(gap.into()));
        }
        done = hop.range.end();
    }
    Ok(())
}

impl TryFrom<pb::Conclusion> for Conclusion {
    type Error = Error;

    fn try_from(wire: pb::Conclusion) -> Result<Self, Error> {
        let outcome = match needed(wire.how, "how it ended")? {
            pb::conclusion::How::Outputs(outputs) => Outcome::Done(numbered(outputs.outputs, "outputs")?),
            pb::conclusion::How::Stopped(stopped) => {
                let refusal = needed(stopped.refusal, "refusal")?;
                let (kind, reason) = refused(refusal)?;
                Outcome::Stopped(Stopped { at: stopped.at as usize, kind, reason, unreachable: stopped.unreachable })
            }
        };
        Ok(Self { central: wire.central, passage: wire.passage, outcome })
    }
}

impl From<Conclusion> for pb::Conclusion {
    fn from(conclusion: Conclusion) -> Self {
        let how = match conclusion.outcome {
            Outcome::Done(outputs) => pb::conclusion::How::Outputs(pb::Outputs { outputs: to_numbered(outputs) }),
            Outcome::Stopped(stopped) => pb::conclusion::How::Stopped(pb::Stopped {
                at: to_u32(stopped.at),
                refusal: Some(refusal(stopped.kind, stopped.reason)),
                unreachable: stopped.unreachable,
            }),
        };
        Self { central: conclusion.central, passage: conclusion.passage, how: Some(how) }
    }
}

/// A refusal for the wire.
pub fn refusal(kind: ErrorKind, reason: String) -> pb::Refusal {
    use pb::refusal::Kind;

    let kind = match kind {
        ErrorKind::Invalid => Kind::Invalid,
        ErrorKind::Busy => Kind::Busy,
        ErrorKind::Unavailable => Kind::Unavailable,
        ErrorKind::Internal => Kind::Failed,
        ErrorKind::Plugin => Kind::Plugin,
    };
    pb::Refusal { kind: kind.into(), reason }
}

/// What a refusal says.
pub fn refused(refusal: pb::Refusal) -> Result<(ErrorKind, String), Error> {
    use pb::refusal::Kind;

    let unknown = || Fault::UnknownWord { what: "kind of refusal", word: refusal.kind.to_string(), known: "0 to 4" };
    let kind = match Kind::try_from(refusal.kind).map_err(|_| Error::from(unknown()))? {
        Kind::Invalid => ErrorKind::Invalid,
        Kind::Busy => ErrorKind::Busy,
        Kind::Unavailable => ErrorKind::Unavailable,
        Kind::Failed => ErrorKind::Internal,
        Kind::Plugin => ErrorKind::Plugin,
    };
    Ok((kind, refusal.reason))
}

fn hop(wire: &pb::Hop) -> Result<Hop, Error> {
    Ok(Hop {
        offer: OfferId { device: device(&wire.device)?, accelerator: accelerator(&wire.accelerator)? },
        range: range(wire.start, wire.end)?,
        position: wire.position,
        reads: wire.reads.iter().map(|&position| position as usize).collect(),
    })
}

impl From<Hop> for pb::Hop {
    fn from(hop: Hop) -> Self {
        Self {
            device: hop.offer.device.to_string(),
            accelerator: hop.offer.accelerator.to_string(),
            start: hop.range.start(),
            end: hop.range.end(),
            position: hop.position,
            reads: hop.reads.into_iter().map(to_u32).collect(),
        }
    }
}

fn call(wire: &pb::Call) -> Result<Call, Error> {
    let phase = match wire.phase {
        0 => Phase::Whole,
        1 => Phase::Prefill,
        2 => Phase::Decode,
        other => return Err(Fault::UnknownWord { what: "phase", word: other.to_string(), known: "0, 1 and 2" }.into()),
    };
    Ok(Call { request: wire.request, sequence: wire.sequence, phase, past_tokens: wire.past_tokens, new_tokens: wire.new_tokens, batch: wire.batch })
}

/// Reads a tensor; its bytes are shared.
pub fn tensor(wire: pb::Tensor) -> Result<Tensor, Error> {
    at_most(&wire.shape, AXES_MAX, "axes")?;
    let datatype = Datatype::parse(&wire.datatype)?;
    let name = || wire.datatype.clone();
    let shape = wire.shape.iter().map(|&length| usize::try_from(length).ok()).collect::<Option<Vec<_>>>().unwrap_or_default();
    let size = datatype.size_bytes().unwrap_or(0);
    let counted = shape.iter().try_fold(size, |bytes, &length| bytes.checked_mul(length)).filter(|_| shape.len() == wire.shape.len());
    let need = counted.ok_or_else(|| Error::from(Fault::ShapeTooLarge { tensor: name(), shape: shape.clone() }))?;
    if size == 0 || need != wire.data.len() {
        return Err(Fault::ByteCount { tensor: name(), shape, datatype, need, have: wire.data.len() }.into());
    }
    Ok(Tensor { datatype, shape, data: wire.data })
}

impl From<Tensor> for pb::Tensor {
    fn from(tensor: Tensor) -> Self {
        let shape = tensor.shape.into_iter().map(|length| length as u64).collect();
        Self { datatype: tensor.datatype.name().to_owned(), shape, data: tensor.data }
    }
}

fn numbered(wire: Vec<pb::NumberedTensor>, what: &'static str) -> Result<Vec<(usize, Tensor)>, Error> {
    at_most(&wire, TENSORS_MAX, what)?;
    let mut read: Vec<(usize, Tensor)> = Vec::with_capacity(wire.len());
    for entry in wire {
        let position = entry.position as usize;
        if position >= POSITIONS_MAX {
            return Err(Fault::TooMany { what, count: position, max: POSITIONS_MAX }.into());
        }
        if read.iter().any(|(known, _)| *known == position) {
            return Err(Fault::Twice { what, name: position.to_string() }.into());
        }
        read.push((position, tensor(needed(entry.tensor, "tensor")?)?));
    }
    Ok(read)
}

fn to_numbered(tensors: Vec<(usize, Tensor)>) -> Vec<pb::NumberedTensor> {
    tensors.into_iter().map(|(position, tensor)| pb::NumberedTensor { position: to_u32(position), tensor: Some(tensor.into()) }).collect()
}

pub(super) fn to_u32(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use host_core::ids::{AcceleratorName, DeviceId, ModelName};
    use proptest::prelude::*;
    use prost::Message as _;

    use super::*;

    fn tensor_of(values: usize) -> Tensor {
        Tensor { datatype: Datatype::Fp32, shape: vec![1, values], data: vec![7; values * 4].into() }
    }

    fn activation(next: usize) -> Activation {
        let offer = |device: &str| OfferId { device: DeviceId::parse(device).expect("a name"), accelerator: AcceleratorName::parse("cpu").expect("a name") };
        let hop = |device, start, end, position| Hop { offer: offer(device), range: BlockRange::new(start, end).expect("not empty"), position, reads: vec![0] };
        Activation {
            central: 9,
            passage: 77,
            plan: PlanNumber(3),
            model: ModelId { name: ModelName::parse("digits").expect("a name"), version: 1 },
            call: Call { request: 5, sequence: 0, phase: Phase::Whole, past_tokens: 0, new_tokens: 0, batch: 1 },
            hops: vec![hop("a", 0, 2, 0), hop("b", 2, 5, 1)],
            next,
            left: Millis(1_000.0),
            border: (next > 0).then(|| tensor_of(3)),
            inputs: vec![(0, tensor_of(4))],
            outputs: Vec::new(),
            traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into(),
            is_alone: true,
        }
    }

    fn refused_with(change: impl FnOnce(&mut pb::Activation)) -> String {
        let mut wire = pb::Activation::from(activation(1));
        change(&mut wire);
        Activation::try_from(wire).expect_err("it breaks a rule").to_string()
    }

    #[test]
    fn what_is_sent_is_what_arrives() {
        for next in [0, 1] {
            let sent = activation(next);
            let bytes = pb::Activation::from(sent.clone()).encode_to_vec();
            let wire = pb::Activation::decode(Bytes::from(bytes)).expect("just encoded");
            assert_eq!(Activation::try_from(wire), Ok(sent));
        }
        let stopped = Stopped { at: 1, kind: ErrorKind::Busy, reason: "full".into(), unreachable: true };
        for outcome in [Outcome::Done(vec![(0, tensor_of(2))]), Outcome::Stopped(stopped)] {
            let sent = Conclusion { central: 1, passage: 2, outcome };
            assert_eq!(Conclusion::try_from(pb::Conclusion::from(sent.clone())), Ok(sent));
        }
    }

    #[test]
    fn each_broken_rule_is_named_with_what_was_found() {
        assert_eq!(refused_with(|wire| wire.blocks_done = 3), "3 blocks are computed, but the next stage begins at block 2");
        assert_eq!(refused_with(|wire| wire.next = 2), "stage 2 does not exist, there are 2");
        assert_eq!(refused_with(|wire| wire.border = None), "the message lacks the activation of the stage before");
        assert_eq!(refused_with(|wire| wire.hops[1].device = "../b".into()).split(" may").next(), Some("device name `../b`"));
        assert_eq!(refused_with(|wire| wire.hops[0].start = 2), "range [2..2) holds no block");
        assert_eq!(refused_with(|wire| wire.hops[0].end = 1), "digits@1: block 1 should come next, but the stage starts at block 2");
        assert_eq!(refused_with(|wire| wire.left_ms = f64::NAN), "left_ms is NaN, it must be a finite number, 0 or more");
        assert_eq!(refused_with(|wire| wire.inputs.push(wire.inputs[0].clone())), "inputs `0` is there twice");
        let short = |wire: &mut pb::Activation| wire.inputs[0].tensor.as_mut().expect("there").data = Bytes::from_static(&[0; 15]);
        assert_eq!(refused_with(short), "`FP32`: FP32 of shape [1, 4] takes 16 bytes, it has 15");
        let huge = |wire: &mut pb::Activation| wire.inputs[0].tensor.as_mut().expect("there").shape = vec![u64::MAX, 2];
        assert!(refused_with(huge).contains("more elements than can be counted"));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400), cut in 0_usize..200, flip in any::<(usize, u8)>()) {
            let read = |bytes: Vec<u8>| pb::Activation::decode(Bytes::from(bytes)).ok().map(Activation::try_from);
            read(bytes);
            let mut sound = pb::Activation::from(activation(1)).encode_to_vec();
            sound.truncate(sound.len().saturating_sub(cut));
            let length = sound.len();
            if length > 0 {
                sound[flip.0 % length] ^= flip.1;
            }
            if let Some(Ok(read)) = read(sound) {
                prop_assert!(read.next < read.hops.len());
            }
        }
    }
}
