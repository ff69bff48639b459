//! Between jobs and the activations that hosts send each other. Tensors share their bytes on both sides.

use std::sync::Arc;

use host_core::{ids::OfferId, shard::ShardId, units::Millis};
use host_engine::{ElementType, Tensor};
use host_plugin::{Phase, RunCall};
use host_wire::{
    oip::Datatype,
    peer::{self, Activation},
};

use crate::{
    error::Error,
    passage::{Answer, Hop, Job, Passage, PassageId, Seat},
    stage_fault::StageFault,
    telemetry::traces::Traces,
    wiring::Progress,
};

/// What is sent to the host of a job's next stage. Inputs that no stage reads any more stay here.
pub(super) fn activation(job: &Job, now: Millis) -> Activation {
    let passage = &job.passage;
    let ahead = &passage.hops[job.position.min(passage.hops.len())..];
    let is_read = |position: usize| ahead.iter().any(|hop| hop.reads.contains(&position));
    let inputs = passage.inputs.iter().enumerate().filter(|(position, _)| is_read(*position));
    Activation {
        central: passage.id.central,
        passage: passage.id.number,
        plan: passage.plan,
        model: passage.model.clone(),
        call: call(passage.call),
        hops: passage.hops.iter().map(hop).collect(),
        next: job.position,
        left: Millis((passage.deadline - now).0.max(0.0)),
        border: job.progress.border.as_ref().map(to_wire),
        inputs: inputs.filter_map(|(position, tensor)| Some((position, to_wire(tensor.as_ref()?)))).collect(),
        outputs: to_numbered(&job.progress.outputs),
        traceparent: passage.trace.parent(),
    }
}

/// The job that an activation is, with a seat for each of its stages.
pub(super) fn job(activation: Activation, now: Millis, answer: Answer, traces: &Traces, seat: impl Fn(&OfferId) -> Seat) -> Result<Job, Error> {
    let model = &activation.model;
    let hops = activation.hops.iter().map(|hop| Hop {
        shard: ShardId { model: model.clone(), range: hop.range },
        position: hop.position,
        reads: hop.reads.as_slice().into(),
        seat: seat(&hop.offer),
    });
    let count = activation.inputs.iter().map(|(position, _)| position + 1).max().unwrap_or(0);
    if count > peer::POSITIONS_MAX {
        return Err(StageFault::NothingSent { what: "a sound position of an input" }.into());
    }
    let mut inputs = vec![None; count];
    for (position, tensor) in activation.inputs {
        inputs[position] = Some(from_wire(tensor)?);
    }
    let outputs = numbered(activation.outputs)?;
    let passage = Passage {
        id: PassageId { central: activation.central, number: activation.passage },
        plan: activation.plan,
        hops: hops.collect(),
        model: activation.model,
        call: run_call(activation.call),
        deadline: now + activation.left,
        inputs,
        trace: traces.continued(&activation.traceparent),
    };
    let progress = Progress { border: activation.border.map(from_wire).transpose()?, outputs };
    Ok(Job { passage: Arc::new(passage), position: activation.next, progress, answer, holder: None })
}

/// Outputs of a model, for the wire.
pub(super) fn to_numbered(tensors: &[(usize, Tensor)]) -> Vec<(usize, peer::Tensor)> {
    tensors.iter().map(|(position, tensor)| (*position, to_wire(tensor))).collect()
}

/// Outputs of a model, from the wire.
pub(super) fn numbered(tensors: Vec<(usize, peer::Tensor)>) -> Result<Vec<(usize, Tensor)>, Error> {
    tensors.into_iter().map(|(position, tensor)| Ok((position, from_wire(tensor)?))).collect()
}

/// A tensor for the wire.
pub(super) fn to_wire(tensor: &Tensor) -> peer::Tensor {
    let name = tensor.element_type().protocol_name();
    let datatype = Datatype::ALL.into_iter().find(|datatype| datatype.name() == name).unwrap_or(Datatype::Bytes);
    peer::Tensor { datatype, shape: tensor.shape().to_vec(), data: tensor.data().clone() }
}

/// A tensor from the wire.
pub fn from_wire(tensor: peer::Tensor) -> Result<Tensor, Error> {
    let unknown = || Error::from(StageFault::UnknownDatatype { datatype: tensor.datatype.to_string() });
    let element_type = ElementType::from_protocol_name(tensor.datatype.name()).ok_or_else(unknown)?;
    Ok(Tensor::new(element_type, tensor.shape, tensor.data)?)
}

/// A stage for the wire.
pub(super) fn hop(hop: &Hop) -> peer::Hop {
    peer::Hop { offer: hop.seat.offer().clone(), range: hop.shard.range, position: hop.position, reads: hop.reads.to_vec() }
}

fn call(call: RunCall) -> peer::Call {
    let phase = match call.phase {
        Phase::Whole => peer::Phase::Whole,
        Phase::Prefill => peer::Phase::Prefill,
        Phase::Decode => peer::Phase::Decode,
    };
    let RunCall { request, sequence, past_tokens, new_tokens, batch, .. } = call;
    peer::Call { request, sequence, phase, past_tokens, new_tokens, batch }
}

fn run_call(call: peer::Call) -> RunCall {
    let phase = match call.phase {
        peer::Phase::Whole => Phase::Whole,
        peer::Phase::Prefill => Phase::Prefill,
        peer::Phase::Decode => Phase::Decode,
    };
    let peer::Call { request, sequence, past_tokens, new_tokens, batch, .. } = call;
    RunCall { request, sequence, phase, past_tokens, new_tokens, batch }
}

#[cfg(test)]
mod tests {
    use host_core::{
        ids::{AcceleratorName, DeviceId, ModelId, ModelName, PlanNumber},
        shard::BlockRange,
    };
    use tokio::sync::oneshot;

    use super::*;
    use crate::{passage::Carrier, telemetry::traces::Trace};

    #[derive(Debug)]
    struct Nowhere;

    impl Carrier for Nowhere {
        fn carry(&self, _job: Job) {}
    }

    fn seat(offer: &OfferId) -> Seat {
        Seat::There(offer.clone(), Arc::new(Nowhere))
    }

    fn answer() -> Answer {
        Answer::Here(oneshot::channel().0)
    }

    fn before_the_second_stage() -> Job {
        let model = ModelId { name: ModelName::parse("m").expect("a name"), version: 2 };
        let offer = |device: &str| OfferId { device: DeviceId::parse(device).expect("a name"), accelerator: AcceleratorName::parse("cpu").expect("a name") };
        let hop = |device: &str, start, end, reads: &[usize]| Hop {
            shard: ShardId { model: model.clone(), range: BlockRange::new(start, end).expect("not empty") },
            position: 0,
            reads: reads.into(),
            seat: seat(&offer(device)),
        };
        let tensor = |value: f32| Tensor::from_f32(&[1, 2], &[value, value]).expect("sound");
        let hops = vec![hop("a", 0, 3, &[0, 1]), hop("b", 3, 4, &[]), hop("c", 4, 9, &[2])];
        let call = RunCall { request: 4, sequence: 7, phase: Phase::Decode, past_tokens: 3, new_tokens: 1, batch: 1 };
        let id = PassageId { central: 11, number: 12 };
        let inputs = vec![Some(tensor(0.5)), Some(tensor(1.5)), Some(tensor(2.5))];
        let passage = Passage { id, plan: PlanNumber(6), model, call, deadline: Millis(500.0), inputs, hops, trace: Trace::default() };
        let progress = Progress { border: Some(tensor(9.0)), outputs: vec![(1, tensor(8.0))] };
        Job { passage: Arc::new(passage), position: 1, progress, answer: answer(), holder: None }
    }

    #[test]
    fn a_job_arrives_as_it_was_sent_but_for_inputs_that_nobody_reads_any_more() {
        let sent = before_the_second_stage();
        let arrived = job(activation(&sent, Millis(100.0)), Millis(1_000.0), answer(), &Traces::none(), seat).expect("sound");
        let (one, two) = (&sent.passage, &arrived.passage);
        assert_eq!((two.id, two.plan, &two.model), (one.id, one.plan, &one.model));
        assert_eq!(format!("{:?}", two.call), format!("{:?}", one.call));
        assert_eq!(two.deadline, Millis(1_400.0), "as much time is left on another clock");
        assert_eq!(two.inputs, [None, None, one.inputs[2].clone()]);
        assert_eq!(format!("{:?}", two.hops), format!("{:?}", one.hops));
        assert_eq!((arrived.position, &arrived.progress.border, &arrived.progress.outputs), (1, &sent.progress.border, &sent.progress.outputs));
    }

    #[test]
    fn a_tensor_shares_its_bytes_with_the_message() {
        let sent = before_the_second_stage().progress.border.expect("there");
        assert_eq!(to_wire(&sent).data.as_ptr(), sent.data().as_ptr());
        assert_eq!(from_wire(to_wire(&sent)).expect("sound").data().as_ptr(), sent.data().as_ptr());
    }
}
