//! A TCP proxy between two hosts that can be told to misbehave: it cuts what is open, lets nothing through, is slow, or turns
//! away whoever comes. It does not look at what it forwards. For tests and measurements.

use std::{
    collections::HashMap,
    io::{self, Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

/// Most bytes that are forwarded at once.
const CHUNK_BYTES: usize = 64 << 10;

/// What a proxy does with what comes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Manner {
    /// It goes on at once.
    Forward,
    /// Each chunk, of at most 64 KiB, waits for so long before it goes on.
    Delay(Duration),
    /// It stays here, and nobody is told: from both ends the connection looks open.
    Freeze,
    /// New connections are closed at once; those that are open go on.
    Refuse,
}

/// A proxy that runs until it is dropped.
#[derive(Debug)]
pub struct FaultProxy {
    /// Where it is, `127.0.0.1:PORT`.
    pub address: String,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    target: String,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    manner: Manner,
    is_over: bool,
    /// Counts connections; each is named by its number.
    opened: u64,
    /// Both ends of each connection that is open.
    open: HashMap<u64, [TcpStream; 2]>,
}

impl FaultProxy {
    /// Forwards to this address, from a port that the system chooses.
    pub fn start(target: &str) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let address = listener.local_addr()?.to_string();
        let state = State { manner: Manner::Forward, is_over: false, opened: 0, open: HashMap::new() };
        let shared = Arc::new(Shared { target: target.to_owned(), state: Mutex::new(state), changed: Condvar::new() });
        thread::spawn({
            let shared = shared.clone();
            move || accept(&shared, &listener)
        });
        Ok(Self { address, shared })
    }

    /// Behaves like this from now on, also on connections that are open.
    pub fn set(&self, manner: Manner) {
        self.shared.lock().manner = manner;
        self.shared.changed.notify_all();
    }

    /// Closes every connection that is open. Whoever comes anew is let in.
    pub fn cut(&self) {
        self.shared.cut();
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.shared.lock().is_over = true;
        self.shared.cut();
        // Wakes the thread that accepts, so that it ends.
        let _ = TcpStream::connect(&self.address);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Whole between any two statements.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn cut(&self) {
        let cut: Vec<[TcpStream; 2]> = self.lock().open.drain().map(|(_, ends)| ends).collect();
        shut(cut.iter().flatten());
        self.changed.notify_all();
    }

    fn close(&self, connection: u64) {
        let closed = self.lock().open.remove(&connection);
        shut(closed.iter().flatten());
    }

    /// Waits until what has come over a connection may go on. False if the connection was cut meanwhile.
    fn lets_through(&self, connection: u64) -> bool {
        let mut state = self.lock();
        while state.manner == Manner::Freeze && state.open.contains_key(&connection) {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let (manner, is_open) = (state.manner, state.open.contains_key(&connection));
        drop(state);
        if let Manner::Delay(time) = manner {
            thread::sleep(time);
        }
        is_open
    }
}

/// Lets both ends know that a connection is over. One that is gone already needs no telling.
fn shut<'a>(ends: impl Iterator<Item = &'a TcpStream>) {
    for end in ends {
        let _ = end.shutdown(Shutdown::Both);
    }
}

fn accept(shared: &Arc<Shared>, listener: &TcpListener) {
    for near in listener.incoming() {
        let (manner, is_over) = {
            let state = shared.lock();
            (state.manner, state.is_over)
        };
        if is_over {
            return;
        }
        let Ok(near) = near else { continue };
        // Dropped where the target is not there or the proxy turns it away: then it is closed.
        if manner != Manner::Refuse
            && let Ok(far) = TcpStream::connect(&shared.target)
        {
            let _ = forward(shared, near, far);
        }
    }
}

/// Starts the two directions of a connection.
fn forward(shared: &Arc<Shared>, near: TcpStream, far: TcpStream) -> io::Result<()> {
    near.set_nodelay(true)?;
    far.set_nodelay(true)?;
    let there = (near.try_clone()?, far.try_clone()?);
    let ends = [near.try_clone()?, far.try_clone()?];
    let connection = {
        let mut state = shared.lock();
        state.opened += 1;
        let connection = state.opened;
        state.open.insert(connection, ends);
        connection
    };
    for (from, to) in [there, (far, near)] {
        let shared = shared.clone();
        thread::spawn(move || pump(&shared, connection, from, to));
    }
    Ok(())
}

/// Forwards one direction until either end closes; then the whole connection is over.
fn pump(shared: &Shared, connection: u64, mut from: TcpStream, mut to: TcpStream) {
    let mut chunk = vec![0; CHUNK_BYTES];
    while let Ok(count) = from.read(&mut chunk) {
        if count == 0 || !shared.lets_through(connection) || to.write_all(&chunk[..count]).is_err() {
            break;
        }
    }
    shared.close(connection);
}
