//! The one thread with the connection. Whatever waits when it comes by shares one commit, so that many writers cost about
//! as many flushes as one; each is answered only when the commit is on disk.

use std::{
    sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    thread::JoinHandle,
};

use rusqlite::{Connection, Savepoint, TransactionBehavior};

use crate::{
    config::StoreLimits,
    error::{Error, Fault},
};

/// Does its work inside the batch, and gives what shall be called once the batch is on disk, or is not.
type Job = Box<dyn FnOnce(&mut Savepoint<'_>) -> Reply + Send>;
type Reply = Box<dyn FnOnce(bool) + Send>;

#[derive(Debug)]
pub(super) struct Writer {
    jobs: Option<SyncSender<Job>>,
    thread: Option<JoinHandle<()>>,
    waiting_max: usize,
}

impl Writer {
    pub(super) fn start(connection: Connection, limits: &StoreLimits) -> Result<Self, Error> {
        let (jobs, inbox) = sync_channel(limits.waiting_writes_max);
        let batch_max = limits.batch_writes_max;
        let body = move || run(connection, &inbox, batch_max);
        let thread = std::thread::Builder::new()
            .name("store".into())
            .spawn(body)
            .map_err(|error| Error::from(Fault::Store { doing: "start its thread" }).because(error))?;
        Ok(Self { jobs: Some(jobs), thread: Some(thread), waiting_max: limits.waiting_writes_max })
    }

    /// Runs `work` on the store's thread and waits until what it wrote is on disk.
    pub(super) fn write<T: Send + 'static>(
        &self,
        doing: &'static str,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, Error> {
        let gone = || Error::from(Fault::Store { doing });
        let (answer, answered) = sync_channel::<Result<T, Error>>(1);
        let job: Job = Box::new(move |savepoint| {
            let outcome = work(savepoint).map_err(|error| Error::from(Fault::Store { doing }).because(error));
            if outcome.is_err() {
                // What this one wrote before it failed goes; the others of the batch stay.
                let _ = savepoint.rollback();
            }
            Box::new(move |committed| {
                let outcome = if committed { outcome } else { outcome.and(Err(Fault::Store { doing }.into())) };
                // Whoever asked may have gone.
                let _ = answer.send(outcome);
            })
        });
        match self.jobs.as_ref().ok_or_else(gone)?.try_send(job) {
            Ok(()) => answered.recv().map_err(|error| gone().because(error))?,
            Err(TrySendError::Full(_)) => Err(Fault::StoreBusy { waiting_max: self.waiting_max }.into()),
            Err(TrySendError::Disconnected(_)) => Err(gone()),
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // A panic of the thread was reported by the panic itself.
            let _ = thread.join();
        }
    }
}

fn run(mut connection: Connection, inbox: &Receiver<Job>, batch_max: usize) {
    while let Ok(first) = inbox.recv() {
        let batch = std::iter::once(first).chain(inbox.try_iter().take(batch_max.saturating_sub(1)));
        let mut replies = Vec::new();
        let committed = commit(&mut connection, batch, &mut replies);
        if let Err(error) = &committed {
            tracing::error!(%error, writes = replies.len(), "a batch of writes could not be committed");
        }
        replies.into_iter().for_each(|reply| reply(committed.is_ok()));
    }
}

fn commit(connection: &mut Connection, batch: impl Iterator<Item = Job>, replies: &mut Vec<Reply>) -> rusqlite::Result<()> {
    let mut transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for job in batch {
        let mut savepoint = transaction.savepoint()?;
        replies.push(job(&mut savepoint));
        savepoint.commit()?;
    }
    transaction.commit()
}
