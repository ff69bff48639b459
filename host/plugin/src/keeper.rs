//! The thread that cleans up behind plugins: it drops old stores, which takes too long to do between two requests, and tries
//! rolled back plugins again when their time has come.

use std::{
    any::Any,
    sync::{
        Weak,
        mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    },
    thread,
    time::Duration,
};

use host_core::units::Millis;

use crate::{
    clock::Clock,
    error::{Error, Fault},
};

/// Things that wait to be dropped; beyond it they are dropped where they are.
const QUEUE_MAX: usize = 256;
/// How often slots are asked whether a retry is due, at least; more often where retries come sooner.
const ROUND_MAX: Duration = Duration::from_millis(250);
const ROUND_MIN: Duration = Duration::from_millis(10);

/// Something that wants to be asked now and then.
pub(crate) trait Kept: Send + Sync {
    fn look_after(&self);
}

/// The way to the thread. It ends when the last of these is dropped.
#[derive(Clone)]
pub(crate) struct Keeper {
    queue: SyncSender<Job>,
}

enum Job {
    Drop(Box<dyn Any + Send>),
    Keep(Weak<dyn Kept>),
}

impl Keeper {
    /// `retry_first` is the shortest wait before a retry.
    pub(crate) fn start(retry_first: Millis) -> Result<Self, Error> {
        let round = Duration::from_secs_f64(retry_first.0.clamp(0.0, ROUND_MAX.as_secs_f64() * 1e3) / 1e3).max(ROUND_MIN);
        let (queue, jobs) = sync_channel(QUEUE_MAX);
        let failed = |error: std::io::Error| Error::from(Fault::Host { what: "the thread that cleans up behind plugins does not start" }).because(error);
        thread::Builder::new().name("plugin-keeper".into()).spawn(move || work(&jobs, round)).map_err(failed)?;
        Ok(Self { queue })
    }

    /// Drops it elsewhere, or here if too much waits.
    pub(crate) fn drop_later(&self, thing: impl Any + Send) {
        drop(self.queue.try_send(Job::Drop(Box::new(thing))));
    }

    /// Asks it from now on, as long as it lives.
    pub(crate) fn keep(&self, kept: Weak<dyn Kept>) {
        // The thread lives as long as this sender, so only a queue that is full can refuse; then waiting is right.
        drop(self.queue.send(Job::Keep(kept)));
    }
}

fn work(jobs: &Receiver<Job>, round: Duration) {
    let mut kept: Vec<Weak<dyn Kept>> = Vec::new();
    let mut since = Clock::start();
    loop {
        match jobs.recv_timeout(round) {
            Ok(Job::Drop(thing)) => drop(thing),
            Ok(Job::Keep(one)) => kept.push(one),
            Err(RecvTimeoutError::Disconnected) => return,
            Err(RecvTimeoutError::Timeout) => {}
        }
        if since.elapsed() >= round {
            kept.retain(|one| one.strong_count() > 0);
            kept.iter().filter_map(Weak::upgrade).for_each(|one| one.look_after());
            since = Clock::start();
        }
    }
}
