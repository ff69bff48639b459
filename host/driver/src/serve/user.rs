//! One user of a graph, in the child: loads it or joins those who use it already, and computes what is asked.

use std::{fs::File, os::unix::net::UnixStream, sync::Arc, time::Duration};

use bytes::Bytes;
use host_engine::{Artefact, Engine, Error, Fault, Graph, Shard};

use super::{Graphs, ServeOrder, lock};
use crate::{
    carriage::{Receiver, Sender},
    codec::Garbage,
    frames::Frames,
    message::{Message, Order, Parcel, Refusal},
    region::{Region, map_fixed},
    system,
};

/// The child's end of a connection.
pub(super) struct User {
    number: u64,
    frames: Frames,
    receiver: Receiver,
    sender: Sender,
    shard: Option<File>,
    graphs: Graphs,
    engine: Arc<dyn Engine>,
    graph: Option<Box<dyn Graph>>,
}

impl User {
    pub(super) fn new(
        order: &ServeOrder,
        number: u64,
        stream: UnixStream,
        (inputs, outputs): (File, File),
        shard: Option<File>,
        graphs: Graphs,
        engine: Arc<dyn Engine>,
    ) -> Self {
        Self {
            number,
            frames: Frames::new(stream, Duration::from_micros(order.spin_us)),
            receiver: Receiver::sharing(Region::new(inputs, order.shared_bytes_max)),
            sender: Sender::new(Region::new(outputs, order.shared_bytes_max), order.inline_bytes_max),
            shard,
            graphs,
            engine,
            graph: None,
        }
    }

    /// Answers until the parent closes the connection, or breaks the rules, after which nothing that it says can be trusted.
    pub(super) fn serve(mut self) {
        while let Ok(message) = self.frames.receive(None) {
            let answer = match message {
                Message::Load(order) => self.load(*order),
                Message::Run(parcels) => self.run(parcels),
                _ => return,
            };
            let answer = answer.unwrap_or_else(|error| Message::Failed(Refusal::from(&error)));
            if self.frames.send(&answer).is_err() {
                return;
            }
        }
    }

    fn load(&mut self, order: Order) -> Result<Message, Error> {
        let failed = |reason: String| Error::from(Fault::Engine { engine: String::new(), doing: "load a shard", reason });
        let file = self.shard.take().ok_or_else(|| failed("its bytes did not come along".to_owned()))?;
        let options = order.options.clone();
        let shard = shard(order, map_fixed(&file).map_err(|error| failed(error.to_string()))?).map_err(|garbage| failed(garbage.0))?;
        let graph = self.engine.load(&shard, &options)?;
        let (inputs, outputs) = (graph.inputs().to_vec(), graph.outputs().to_vec());
        let loaded = Message::Loaded { inputs, outputs, buckets: graph.buckets(), memory: graph.memory() };
        self.graph = Some(graph.share()?);
        lock(&self.graphs).insert(self.number, graph);
        system::give_back_memory();
        Ok(loaded)
    }

    fn run(&mut self, parcels: Vec<Parcel>) -> Result<Message, Error> {
        let failed = |reason: String| Error::from(Fault::Engine { engine: String::new(), doing: "compute", reason });
        let inputs = self.receiver.open(parcels).map_err(|garbage| failed(garbage.0))?;
        let graph = match &mut self.graph {
            Some(graph) => graph,
            none => {
                let shared = lock(&self.graphs).get(&self.number).map(|graph| graph.share());
                none.insert(shared.ok_or_else(|| failed(format!("graph {} is not loaded", self.number)))??)
            }
        };
        let outputs = graph.run(inputs)?;
        Ok(Message::Ran(self.sender.pack(&outputs).map_err(failed)?))
    }
}

/// The shard whose bytes lie one behind the other.
fn shard(order: Order, mut data: Bytes) -> Result<Shard, Garbage> {
    let mut next = |bytes: u64| {
        let count = usize::try_from(bytes).ok().filter(|count| *count <= data.len());
        count.map(|count| data.split_to(count)).ok_or_else(|| Garbage(format!("{bytes} bytes of a shard should follow")))
    };
    let file = next(order.file_bytes)?;
    let artefacts = order.artefacts.into_iter().map(|artefact| {
        let data = next(artefact.bytes)?;
        Ok(Artefact { target: artefact.target, digest: artefact.digest, data, inputs: artefact.inputs, outputs: artefact.outputs })
    });
    Ok(Shard {
        artefacts: artefacts.collect::<Result<_, Garbage>>()?,
        id: order.id,
        digest: order.digest,
        inputs: order.inputs,
        outputs: order.outputs,
        border_in: order.border_in,
        border_out: order.border_out,
        operators: order.operators,
        weight_bytes: order.weight_bytes,
        file,
        golden: None,
    })
}
