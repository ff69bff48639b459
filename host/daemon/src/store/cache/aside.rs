//! Work on blobs that requests must not wait for: hashing, packing, unpacking, reading. One thread of low priority does one
//! piece after another, so it takes one core at most, and that only where nobody else wants it. Pieces are short, and none
//! waits for a network or for another piece.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    thread,
};

use tokio::sync::{mpsc, oneshot};

use crate::{error::Error, stage_fault::StageFault};

/// Pieces that may wait; whoever brings more waits.
const WAITING_MAX: usize = 256;

type Piece = Box<dyn FnOnce() + Send>;

/// The way to the thread, which ends with the last clone of it.
#[derive(Clone, Debug)]
pub struct Aside {
    name: &'static str,
    pieces: mpsc::Sender<Piece>,
}

impl Aside {
    /// Starts the thread. Linux shows the first 15 bytes of its name.
    pub fn start(name: &'static str) -> Result<Self, Error> {
        let (pieces, mut received) = mpsc::channel::<Piece>(WAITING_MAX);
        let work = move || {
            host_plugin::step_back();
            while let Some(piece) = received.blocking_recv() {
                if catch_unwind(AssertUnwindSafe(piece)).is_err() {
                    // Whoever waits for it is told; what it owned is gone with it.
                    tracing::error!(thread = name, "a piece of work has panicked");
                }
            }
        };
        let failed = |error: std::io::Error| Error::from(StageFault::Thread { reason: error.to_string() });
        thread::Builder::new().name(name.to_owned()).spawn(work).map_err(failed)?;
        Ok(Self { name, pieces })
    }

    /// Has a piece of work done. If the caller goes away meanwhile, the piece is done all the same.
    pub async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> Result<T, Error> + Send + 'static) -> Result<T, Error> {
        let (done, outcome) = oneshot::channel();
        let piece: Piece = Box::new(move || {
            // An outcome that nobody waits for any more is dropped here.
            drop(done.send(work()));
        });
        let ended = || Error::from(StageFault::Thread { reason: format!("`{}` did not come to the end of its work", self.name) });
        self.pieces.send(piece).await.map_err(|_| ended())?;
        outcome.await.map_err(|_| ended())?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run<T: Send + 'static>(aside: &Aside, work: impl FnOnce() -> Result<T, Error> + Send + 'static) -> Result<T, Error> {
        tokio::runtime::Builder::new_current_thread().build().expect("a runtime").block_on(aside.run(work))
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn the_work_yields_to_that_of_others() {
        let nice = || {
            let stat = std::fs::read_to_string("/proc/thread-self/stat").expect("Linux has it");
            // The name of a thread may hold spaces, so fields are counted behind it.
            stat.rsplit(") ").next().and_then(|rest| rest.split(' ').nth(16)?.parse::<i32>().ok()).expect("the nineteenth field")
        };
        let aside = Aside::start("aside").expect("starts");
        let inside = run(&aside, move || Ok(nice())).expect("done");
        assert!(inside >= 10, "{inside}");
    }

    #[test]
    fn a_piece_that_panics_fails_alone() {
        let aside = Aside::start("aside").expect("starts");
        let error = run(&aside, || -> Result<(), Error> { panic!("broken") }).expect_err("no outcome");
        assert_eq!(error.to_string(), "a thread failed: `aside` did not come to the end of its work");
        assert_eq!(run(&aside, || Ok(7)).expect("done"), 7);
    }
}
