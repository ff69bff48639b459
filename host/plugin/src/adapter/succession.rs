//! Loads a shard with the next generation of an adapter beside the one that serves, on a thread of its own, so that no request waits
//! for it. The one that serves goes on until the next is ready.

use std::{
    sync::{
        Arc,
        mpsc::{Receiver, TryRecvError, sync_channel},
    },
    thread,
};

use host_core::ids::Generation;
use host_engine::Shard;

use super::{AdapterSlot, Fit, Open};
use crate::{
    error::{Error, Fault},
    priority::step_back,
};

/// Which generation takes over, and how far that is.
#[derive(Default)]
pub(super) enum Succession {
    /// Nothing is on its way.
    #[default]
    Settled,
    /// This generation is being loaded.
    Loading { generation: Generation, ready: Receiver<Result<(Open, Fit), Error>> },
    /// This generation does not take the shard, and is not asked again.
    Refused(Generation),
}

impl Succession {
    /// Begins to load this generation, unless one is being loaded or this one refused. A thread that does not start is tried again with
    /// the next run.
    pub(super) fn begin(&mut self, slot: &AdapterSlot, shard: &Arc<Shard>, offer: u32, generation: Generation) {
        match self {
            Self::Loading { .. } => return,
            Self::Refused(refused) if *refused == generation => return,
            Self::Refused(_) | Self::Settled => {}
        }
        let (done, ready) = sync_channel(1);
        let (slot, shard) = (AdapterSlot(Arc::clone(&slot.0)), Arc::clone(shard));
        let load = move || {
            step_back();
            // Nobody hears of it if the instance is gone; what was loaded is dropped here then.
            drop(done.send(slot.load(&shard, offer)));
        };
        if thread::Builder::new().name("adapter-follow".into()).spawn(load).is_ok() {
            *self = Self::Loading { generation, ready };
        }
    }

    /// What has been loaded since the last call, once. A failure is a strike of its generation already, and is tried again as long as that
    /// generation is in service.
    pub(super) fn ready(&mut self) -> Option<(Open, Fit)> {
        let Self::Loading { generation, ready } = self else { return None };
        let loaded = match ready.try_recv() {
            Err(TryRecvError::Empty) => return None,
            Ok(Ok(loaded)) => Some(loaded),
            Ok(Err(error)) if matches!(error.fault(), Fault::Refused { .. }) => {
                *self = Self::Refused(*generation);
                return None;
            }
            Ok(Err(_)) | Err(TryRecvError::Disconnected) => None,
        };
        *self = Self::Settled;
        loaded
    }
}
