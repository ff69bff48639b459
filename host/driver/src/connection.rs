//! The parent's end of the connection of one user of a graph. Each user has its own, with a thread of its own behind it in the child: a
//! call that hangs keeps no other one waiting, nothing has to be told apart on the way, and a call costs one message there and one back.

use std::{fs::File, os::fd::AsFd as _, os::unix::net::UnixStream, sync::Arc, time::Duration};

use host_core::units::Bytes;
use host_engine::{Tensor, TensorSpec};

use crate::{
    carriage::{Receiver, Sender},
    events::Death,
    frames::{Frames, Trouble},
    message::{Message, Order, Refusal},
    process::Core,
    region::Region,
    settings::DriverLimits,
    system,
};

/// Why something could not be done.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The process has died over it. Another one may do it.
    Lost(Death),
    /// There is no process, and the next one is not started yet.
    NotNow { death: Death, wait: Duration },
    /// The engine said no.
    Refused(Refusal),
    /// This side could not ask.
    Unasked(String),
}

/// What a loaded graph says of itself.
#[derive(Clone, Debug)]
pub(crate) struct Loaded {
    pub(crate) inputs: Vec<TensorSpec>,
    pub(crate) outputs: Vec<TensorSpec>,
    pub(crate) buckets: Vec<Vec<TensorSpec>>,
    pub(crate) memory: Bytes,
}

/// One user's way to a graph.
#[derive(Debug)]
pub(crate) struct Connection {
    core: Arc<Core>,
    frames: Frames,
    sender: Sender,
    receiver: Receiver,
    load: Duration,
    call: Duration,
}

impl Connection {
    /// Hands the process the other end, for one more user of a graph, or for the first one with the bytes of its shard.
    pub(crate) fn open(core: Arc<Core>, graph: u64, shard: Option<&File>, limits: &DriverLimits) -> Result<Self, Failure> {
        let unasked = |error: std::io::Error| Failure::Unasked(error.to_string());
        let (ours, theirs) = UnixStream::pair().map_err(unasked)?;
        let (inputs, outputs) = (system::growing_memory().map_err(unasked)?, system::growing_memory().map_err(unasked)?);
        let mut descriptors = vec![theirs.as_fd(), inputs.as_fd(), outputs.as_fd()];
        descriptors.extend(shard.map(|shard| shard.as_fd()));
        let call = Duration::from_millis(limits.call_ms_max);
        let attached = core.say(&Message::Attach { graph, is_loaded: shard.is_none() }, &descriptors);
        attached.map_err(|trouble| Failure::Lost(lost(&core, trouble, "take a connection", call)))?;
        let frames = Frames::new(ours, Duration::from_micros(limits.spin_us));
        frames.send_within(call).map_err(unasked)?;
        Ok(Self {
            core,
            frames,
            sender: Sender::new(Region::new(inputs, limits.shared_bytes_max), limits.inline_bytes_max),
            receiver: Receiver::copying(Region::new(outputs, limits.shared_bytes_max)),
            load: Duration::from_millis(limits.load_ms_max),
            call,
        })
    }

    /// Whether the process behind it is gone.
    pub(crate) fn is_dead(&self) -> bool {
        self.core.is_dead()
    }

    /// Has the graph loaded; the first thing that is asked over the first connection of a graph.
    pub(crate) fn load(&mut self, order: Order) -> Result<Loaded, Failure> {
        match self.ask(&Message::Load(Box::new(order)), "load a shard", self.load)? {
            Message::Loaded { inputs, outputs, buckets, memory } => Ok(Loaded { inputs, outputs, buckets, memory }),
            other => Err(self.out_of_turn(&other)),
        }
    }

    /// Computes.
    pub(crate) fn run(&mut self, inputs: &[Tensor]) -> Result<Vec<Tensor>, Failure> {
        let parcels = self.sender.pack(inputs).map_err(Failure::Unasked)?;
        match self.ask(&Message::Run(parcels), "compute", self.call)? {
            Message::Ran(parcels) => {
                let opened = self.receiver.open(parcels);
                opened.map_err(|garbage| Failure::Lost(self.core.kill(Death::Garbage { reason: garbage.0 })))
            }
            other => Err(self.out_of_turn(&other)),
        }
    }

    fn ask(&mut self, question: &Message, doing: &'static str, wait: Duration) -> Result<Message, Failure> {
        let answer = self.frames.send(question).and_then(|()| self.frames.receive(Some(wait)));
        match answer {
            Ok(Message::Failed(refusal)) => Err(Failure::Refused(refusal)),
            Ok(answer) => Ok(answer),
            Err(trouble) => Err(Failure::Lost(lost(&self.core, trouble, doing, wait))),
        }
    }

    fn out_of_turn(&self, said: &Message) -> Failure {
        Failure::Lost(self.core.kill(Death::Garbage { reason: format!("out of turn: {said:?}") }))
    }
}

/// Ends a process that did not answer as it should, and says what it died of.
fn lost(core: &Core, trouble: Trouble, doing: &'static str, wait: Duration) -> Death {
    match trouble {
        Trouble::Closed => core.closed(),
        Trouble::Late => core.kill(Death::Late { doing, ms: u64::try_from(wait.as_millis()).unwrap_or(u64::MAX) }),
        Trouble::Garbage(garbage) => core.kill(Death::Garbage { reason: garbage.0 }),
    }
}
