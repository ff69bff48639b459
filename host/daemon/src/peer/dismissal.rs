//! The end of a device that is removed: it is told, its stream ends, the links to it are cut, and its certificates count no more.

use std::sync::Arc;

use host_core::ids::DeviceId;
use host_wire::peer::{REVOKED_MAX, Revocations, pb::central_message::Says};

use super::{attending::Remotes, links::Links};
use crate::{
    clock,
    error::{Error, Fault},
    pki::{Revoked, Serial, Subject},
    store::{JoinRefusal, Store},
};

/// What a device hears that is not to come back.
pub const REMOVED: &str = "somebody removed it; to join again it needs a new token";

/// What ties devices in other processes to this host, beside their streams.
#[derive(Clone, Debug)]
pub struct Ties {
    /// The way to devices.
    pub links: Arc<Links>,
    /// Certificates that count no more.
    pub revoked: Revoked,
}

/// What devices are told of certificates that count no more: where all refuse them, a device that was removed reaches nobody.
pub(super) fn revoked_says(revoked: &Revoked) -> Says {
    let mut serials: Vec<[u8; 16]> = revoked.all().into_iter().map(Serial::bytes).collect();
    if serials.len() > REVOKED_MAX {
        tracing::error!(count = serials.len(), REVOKED_MAX, "more certificates are revoked than devices can be told of");
        serials.truncate(REVOKED_MAX);
    }
    Says::Revoked(Revocations(serials).into())
}

impl Remotes {
    /// Sends a device away that the cluster has forgotten. It is not taken in again before `revoke`.
    pub fn send_away(&self, device: &DeviceId) {
        self.attending.dismiss(device, REMOVED);
        if let Some(ties) = &self.ties {
            // One with the central's id could not have enrolled.
            if let Ok(subject) = Subject::device(device) {
                ties.links.cut(&subject);
            }
        }
        self.attending.introduce();
    }

    /// Takes back every certificate of a device that was sent away; from then on it may enrol anew. A second call finds that done.
    /// Takes a disk: not for an async thread.
    pub fn revoke(&self, device: &DeviceId, store: &Store) -> Result<(), Error> {
        let now_ms = clock::unix_ms();
        match store.remove_device(device, now_ms) {
            Err(error) if !matches!(error.fault(), Fault::Join(JoinRefusal::NotEnrolled { .. })) => return Err(error),
            _ => {}
        }
        if let Some(ties) = &self.ties {
            // All of them: those of this device may have been written down by a call that has not come so far yet.
            ties.revoked.add(&store.revoked_certificates(now_ms)?);
            self.attending.tell_all(&revoked_says(&ties.revoked));
        }
        self.attending.readmit(device);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, time::Duration};

    use host_core::{device::Device, ids::SiteName};
    use host_wire::peer::{Hello, pb};
    use tokio::sync::mpsc::error::TryRecvError;

    use super::{
        super::{
            attending::{Admitted, Attending},
            awaited::Awaited,
        },
        *,
    };

    fn hello(id: &DeviceId) -> Hello {
        let device = Device { id: id.clone(), site: SiteName::parse("here").expect("a name"), labels: BTreeMap::new(), offers: Vec::new() };
        Hello { device, held: Vec::new(), address: None, process: 1, release: "0.1.0".into() }
    }

    #[test]
    fn a_device_that_is_sent_away_hears_why_and_is_taken_in_again_only_once_it_is_readmitted() {
        let (attending, device) = (Attending::new(Arc::new(Awaited::new(Duration::ZERO))), DeviceId::parse("a").expect("a name"));
        let Admitted { attendance, mut told, .. } = attending.admit(&hello(&device)).expect("taken in");
        attending.dismiss(&device, REMOVED);
        let said = told.try_recv().expect("it hears something").expect("no error").says;
        assert_eq!(said, Some(Says::Goodbye(pb::Goodbye { reason: REMOVED.to_owned(), for_good: true })));
        assert!(attendance.is_dismissed() && attending.get(&device).is_none() && !attending.leave(&attendance));
        drop(attendance);
        assert_eq!(told.try_recv().err(), Some(TryRecvError::Disconnected), "its stream has ended");
        assert_eq!(attending.admit(&hello(&device)).map(drop), Err("device a is being removed".to_owned()));
        attending.readmit(&device);
        assert!(attending.admit(&hello(&device)).is_ok());
    }
}
