//! The child's side: opens one engine, and computes for its parent until that is gone. One thread listens to the parent, one gives
//! signs of life, and each user of a graph has one that computes.

mod user;

use std::{
    collections::{BTreeMap, HashMap},
    fs::File,
    os::{fd::OwnedFd, unix::net::UnixStream},
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use host_engine::{Engine, Error, Fault, RtenEngine, TractEngine};

use crate::{
    PROGRAM, PROTOCOL,
    message::{Message, Refusal},
    process::PACKET_BYTES_MAX,
    system,
};
use user::User;

/// What the parent tells a driver process on its command line.
#[derive(Clone, PartialEq, Debug)]
pub struct ServeOrder {
    /// The engine to open.
    pub engine: String,
    /// The vendor's library behind it.
    pub library: Option<PathBuf>,
    /// What the engine is opened with.
    pub settings: BTreeMap<String, String>,
    /// From one sign of life to the next.
    pub heartbeat_ms: u64,
    /// Tensors of one call that take no more than this together go in the message.
    pub inline_bytes_max: usize,
    /// Shared memory for inputs and outputs each.
    pub shared_bytes_max: u64,
    /// How long to look for the next call before sleeping.
    pub spin_us: u64,
    /// Private memory that this process may have; 0 for no limit.
    pub data_bytes_max: u64,
}

/// Graphs that are loaded, by the parent's numbers. They are only shared, never run.
type Graphs = Arc<Mutex<HashMap<u64, Box<dyn host_engine::Graph>>>>;

/// Serves the parent, which is at the other end of the standard input. Returns when the parent is gone or wants no more.
pub fn serve(order: &ServeOrder) -> Result<(), Error> {
    let failed = |doing| move |error: std::io::Error| Error::from(Fault::Engine { engine: order.engine.clone(), doing, reason: error.to_string() });
    system::die_with_parent().map_err(failed("follow its parent"))?;
    let control = system::take_stdin().map_err(failed("take its socket"))?;
    let data_bytes_max = Some(order.data_bytes_max).filter(|bytes| *bytes > 0);
    system::limit_memory(data_bytes_max).map_err(failed("limit its memory"))?;
    let say = |message: &Message| system::send_packet(&control, &message.encode(), &[]).map_err(failed("speak to its parent"));
    say(&Message::Hello { protocol: PROTOCOL, program: PROGRAM.to_owned() })?;
    let engine: Arc<dyn Engine> = match open(order) {
        Ok(engine) => engine.into(),
        Err(error) => {
            // The parent says it; this process has nothing to add.
            return say(&Message::Failed(Refusal::failed(error.to_string())));
        }
    };
    say(&Message::Opened(engine.info()))?;
    let beats = control.try_clone().map_err(failed("beat"))?;
    let every = Duration::from_millis(order.heartbeat_ms.max(1));
    thread::Builder::new().name("beat".to_owned()).spawn(move || beat(&beats, every)).map_err(failed("beat"))?;
    listen(order, &control, &engine).map_err(failed("listen to its parent"))
}

/// Engines that are part of the program, and those behind vendors' libraries.
fn open(order: &ServeOrder) -> Result<Box<dyn Engine>, Error> {
    match (order.engine.as_str(), &order.library) {
        ("tract", None) => Ok(Box::new(TractEngine)),
        ("rten", None) => Ok(Box::new(RtenEngine)),
        (name, library) => host_vendor::open(name, library.as_deref().unwrap_or(std::path::Path::new("")), &order.settings),
    }
}

/// Gives signs of life until nobody hears them.
fn beat(control: &UnixStream, every: Duration) {
    let beat = Message::Beat.encode();
    while system::send_packet(control, &beat, &[]).is_ok() {
        thread::sleep(every);
    }
}

fn listen(order: &ServeOrder, control: &UnixStream, engine: &Arc<dyn Engine>) -> std::io::Result<()> {
    let graphs = Graphs::default();
    let mut users: Vec<thread::JoinHandle<()>> = Vec::new();
    let mut buffer = vec![0; PACKET_BYTES_MAX];
    loop {
        let (length, descriptors) = system::receive_packet(control, &mut buffer)?;
        if length == 0 {
            break;
        }
        match Message::decode(bytes::Bytes::copy_from_slice(&buffer[..length])).map_err(std::io::Error::other)? {
            Message::Attach { graph, is_loaded } => {
                users.retain(|user| !user.is_finished());
                let user = attached(order, graph, is_loaded, descriptors, &graphs, engine)?;
                users.push(thread::Builder::new().name(format!("graph {graph}")).spawn(move || user.serve())?);
            }
            Message::Forget { graph } => {
                drop(lock(&graphs).remove(&graph));
                system::give_back_memory();
            }
            other => return Err(std::io::Error::other(format!("the parent said {other:?}"))),
        }
    }
    // Their connections are closed. One that still computes has as long as the parent waits.
    for user in users {
        // A panic has closed its connection, and was printed.
        drop(user.join());
    }
    Ok(())
}

/// The user at the other end of a connection that came with its memory.
fn attached(order: &ServeOrder, graph: u64, is_loaded: bool, descriptors: Vec<OwnedFd>, graphs: &Graphs, engine: &Arc<dyn Engine>) -> std::io::Result<User> {
    let found = descriptors.len();
    let mut descriptors = descriptors.into_iter();
    let (Some(stream), Some(inputs), Some(outputs)) = (descriptors.next(), descriptors.next(), descriptors.next()) else {
        return Err(std::io::Error::other(format!("a connection came with {found} descriptors")));
    };
    let shard = descriptors.next().map(File::from);
    if shard.is_some() == is_loaded {
        return Err(std::io::Error::other(format!("a connection came with {found} descriptors, is_loaded is {is_loaded}")));
    }
    Ok(User::new(order, graph, stream.into(), (inputs.into(), outputs.into()), shard, Arc::clone(graphs), Arc::clone(engine)))
}

fn lock(graphs: &Graphs) -> std::sync::MutexGuard<'_, HashMap<u64, Box<dyn host_engine::Graph>>> {
    // The map is whole between any two statements, so a panic elsewhere leaves it sound.
    graphs.lock().unwrap_or_else(PoisonError::into_inner)
}
