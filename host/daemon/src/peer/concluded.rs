//! How passages ended, as the devices say that they ended them. What makes no sense ends a passage too, as long as it says which
//! one: whoever waits sends it another way at once, instead of waiting for what will never come.

use host_core::ids::DeviceId;
use host_wire::peer::{Conclusion, Outcome, pb};

use super::{awaited::Awaited, parcel, post::elsewhere};
use crate::{error::Error, passage::PassageId, stage_fault::StageFault, wiring::Progress};

/// Answers whoever waits for a passage with what a device says of its end. False if nobody does any more; an error for the device
/// if what it says cannot be read.
pub(super) fn hear(awaited: &Awaited, device: &DeviceId, said: pb::Conclusion) -> Result<bool, host_wire::error::Error> {
    let id = PassageId { central: said.central, number: said.passage };
    match Conclusion::try_from(said) {
        Ok(conclusion) => Ok(awaited.conclude(id, outcome(awaited, device, id, conclusion.outcome))),
        Err(error) => {
            awaited.conclude(id, Err(unreadable(device, error.to_string())));
            Err(error)
        }
    }
}

fn outcome(awaited: &Awaited, device: &DeviceId, id: PassageId, outcome: Outcome) -> Result<Progress, Error> {
    match outcome {
        Outcome::Done(outputs) => {
            let outputs = parcel::numbered(outputs).map_err(|error| unreadable(device, error.to_string()))?;
            Ok(Progress { border: None, outputs })
        }
        Outcome::Stopped(stopped) => Err(match awaited.offer(id, stopped.at) {
            Some(offer) => elsewhere(offer, stopped.kind, stopped.reason, stopped.unreachable),
            None => unreadable(device, format!("it stopped at stage {}, which it does not have", stopped.at)),
        }),
    }
}

fn unreadable(device: &DeviceId, reason: String) -> Error {
    StageFault::Unreadable { device: device.clone(), reason }.into()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use host_core::{
        error::ErrorKind,
        ids::{AcceleratorName, ModelId, ModelName, OfferId, PlanNumber},
        shard::{BlockRange, ShardId},
        units::Millis,
    };
    use host_plugin::{Phase, RunCall};
    use host_wire::peer::refusal;
    use tokio::sync::oneshot;

    use super::*;
    use crate::{
        passage::{Carrier, Hop, Job, Passage, Seat},
        telemetry::traces::Trace,
    };

    #[derive(Debug)]
    struct Nowhere;

    impl Carrier for Nowhere {
        fn carry(&self, _job: Job) {}
    }

    const ID: PassageId = PassageId { central: 7, number: 8 };

    fn device() -> DeviceId {
        DeviceId::parse("b").expect("a name")
    }

    /// A passage of one stage, on device `b`.
    fn passage() -> Passage {
        let model = ModelId { name: ModelName::parse("m").expect("a name"), version: 1 };
        let offer = OfferId { device: device(), accelerator: AcceleratorName::parse("cpu").expect("a name") };
        let shard = ShardId { model: model.clone(), range: BlockRange::new(0, 1).expect("not empty") };
        let hop = Hop { shard, position: 0, reads: Arc::from([0_usize]), seat: Seat::There(offer, Arc::new(Nowhere)) };
        let call = RunCall { request: 1, sequence: 0, phase: Phase::Whole, past_tokens: 0, new_tokens: 0, batch: 1 };
        Passage {
            id: ID,
            plan: PlanNumber(1),
            model,
            call,
            deadline: Millis(1.0),
            inputs: Vec::new(),
            hops: vec![hop],
            is_alone: false,
            trace: Trace::default(),
        }
    }

    /// What the device is told, and what became of the passage.
    fn heard(how: Option<pb::conclusion::How>) -> (Result<bool, String>, Result<usize, (ErrorKind, String)>) {
        let awaited = Awaited::new(std::time::Duration::ZERO);
        let (answer, mut answered) = oneshot::channel();
        awaited.wait(&passage(), answer);
        let told = hear(&awaited, &device(), pb::Conclusion { central: ID.central, passage: ID.number, how }).map_err(|error| error.to_string());
        assert_eq!(awaited.offer(ID, 0), None, "nobody waits any more");
        let outcome = answered.try_recv().expect("the passage has ended");
        (told, outcome.map(|progress| progress.outputs.len()).map_err(|error| (error.kind(), error.to_string())))
    }

    fn done(data: &'static [u8]) -> Option<pb::conclusion::How> {
        let tensor = pb::Tensor { datatype: "UINT8".to_owned(), shape: vec![1, 2], data: data.into() };
        Some(pb::conclusion::How::Outputs(pb::Outputs { outputs: vec![pb::NumberedTensor { position: 0, tensor: Some(tensor) }] }))
    }

    fn stopped(at: u32) -> Option<pb::conclusion::How> {
        let refusal = Some(refusal(ErrorKind::Plugin, "the adapter failed".to_owned()));
        Some(pb::conclusion::How::Stopped(pb::Stopped { at, refusal, unreachable: false }))
    }

    #[test]
    fn outputs_and_failures_come_to_whoever_waits() {
        assert_eq!(heard(done(&[1, 2])), (Ok(true), Ok(1)));
        assert_eq!(heard(stopped(0)), (Ok(true), Err((ErrorKind::Plugin, "b/cpu: the adapter failed".to_owned()))));
    }

    #[test]
    fn what_makes_no_sense_ends_the_passage_at_once() {
        let unreadable = |reason: &str| Err((ErrorKind::Internal, format!("what device b says of a passage cannot be read: {reason}")));
        let short = "`UINT8`: UINT8 of shape [1, 2] takes 2 bytes, it has 1";
        assert_eq!(heard(done(&[1])), (Err(short.to_owned()), unreadable(short)));
        let nothing = "the message lacks how it ended";
        assert_eq!(heard(None), (Err(nothing.to_owned()), unreadable(nothing)));
        assert_eq!(heard(stopped(1)), (Ok(true), unreadable("it stopped at stage 1, which it does not have")));
    }

    #[test]
    fn a_passage_that_nobody_waits_for_is_not_taken() {
        let said = pb::Conclusion { central: 7, passage: 9, how: done(&[1, 2]) };
        assert_eq!(hear(&Awaited::new(std::time::Duration::ZERO), &device(), said), Ok(false));
    }
}
