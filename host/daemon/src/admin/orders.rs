//! What people ask of devices: whether it can be is the cluster's to decide, and what was decided is kept in the store, for the
//! devices that have enrolled there. One that is not here hears of it when it comes back. The central hands it what comes over the
//! admin socket.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
};

use host_core::{
    cluster::{Duty, Event},
    device::DeviceState,
    ids::DeviceId,
};
use host_wire::{
    admin::{DeviceOrder, Ordered},
    labels::{self, Edits},
};
use tokio::sync::{mpsc, oneshot};

use crate::{
    admin::OrderFault,
    control::{Asked, Control},
    error::{Error, Fault},
    peer::Remotes,
    store::{DeviceRecord, Restraint, Store},
};

/// Most labels that people give one device.
const LABELS_MAX: usize = 64;

type Labels = BTreeMap<String, String>;

/// Takes orders for devices, one after another: what is kept is what was asked last.
#[derive(Debug)]
pub struct DeviceOrders {
    /// What is known of devices.
    control: Arc<Control>,
    /// Where the cluster is asked.
    asks: mpsc::Sender<Asked>,
    store: Store,
    remotes: Remotes,
    /// Devices of this process. The store does not know them.
    own: BTreeSet<DeviceId>,
    turn: Mutex<()>,
}

/// A device that something is asked of.
#[derive(Debug)]
struct Target {
    id: DeviceId,
    /// What the store keeps of it, if it has enrolled.
    record: Option<DeviceRecord>,
    /// Whether the cluster knows it. One that has enrolled and was not here since the host started it does not.
    is_known: bool,
}

/// A way to hold a device to less, or to more again.
#[derive(Debug)]
struct Change {
    event: fn(DeviceId) -> Event,
    duty: fn(Duty) -> Option<Duty>,
    undone: &'static str,
}

const CORDON: Change = Change { event: |device| Event::CordonAsked { device }, duty: |duty| Some(duty.cordoned()), undone: "cordoned" };
const UNCORDON: Change = Change { event: |device| Event::UncordonAsked { device }, duty: Duty::uncordoned, undone: "uncordoned" };
const DRAIN: Change = Change { event: |device| Event::DrainAsked { device }, duty: |duty| Some(duty.drained()), undone: "drained" };
const UNDRAIN: Change = Change { event: |device| Event::UndrainAsked { device }, duty: Duty::undrained, undone: "undrained" };

impl DeviceOrders {
    /// For the devices of a control loop that hears what is asked through `asks`.
    pub fn new(control: Arc<Control>, asks: mpsc::Sender<Asked>, store: Store, remotes: Remotes, own: BTreeSet<DeviceId>) -> Self {
        Self { control, asks, store, remotes, own, turn: Mutex::default() }
    }

    /// Does what a person asks, or says why not. Work that has to move does so afterwards. Takes a disk: not for an async thread.
    pub fn carry_out(&self, who: &str, device: &str, order: &DeviceOrder) -> Result<Ordered, Error> {
        // Nothing is kept in the lock that could be left half done.
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let target = self.target(DeviceId::parse(device)?)?;
        match order {
            DeviceOrder::Cordon => self.restrain(&target, &CORDON)?,
            DeviceOrder::Uncordon => self.restrain(&target, &UNCORDON)?,
            DeviceOrder::Drain => self.restrain(&target, &DRAIN)?,
            DeviceOrder::Undrain => self.restrain(&target, &UNDRAIN)?,
            DeviceOrder::Remove => self.remove(&target)?,
            DeviceOrder::Label(edits) => self.label(&target, edits)?,
        }
        tracing::info!(device = %target.id, %who, ?order, "an order for a device was carried out");
        self.outcome(&target.id, order)
    }

    fn target(&self, id: DeviceId) -> Result<Target, Error> {
        let record = if self.own.contains(&id) { None } else { self.store.enrolled_device(&id)? };
        let is_known = self.duty(&id).is_some();
        if is_known || record.is_some() {
            return Ok(Target { id, record, is_known });
        }
        let mut names: BTreeSet<String> = self.control.look(|cluster| cluster.devices().keys().map(ToString::to_string).collect());
        let enrolled = self.store.enrolled_devices()?;
        names.extend(enrolled.iter().filter(|record| record.removed_at_ms.is_none()).map(|record| record.id.to_string()));
        Err(unknown(id.as_str(), &names))
    }

    /// The cluster decides, and what it makes of it is kept: a device that does even less goes on so.
    fn restrain(&self, target: &Target, change: &Change) -> Result<(), Error> {
        let duty = if target.is_known {
            self.ask((change.event)(target.id.clone()))?;
            self.duty(&target.id)
        } else {
            target.record.as_ref().map(|record| change.of_absent(record)).transpose()?
        };
        match duty {
            Some(duty) if target.record.is_some() => self.store.restrain_device(&target.id, duty.into()),
            _ => Ok(()),
        }
    }

    fn label(&self, target: &Target, edits: &Edits) -> Result<(), Error> {
        labels::check(edits)?;
        let id = &target.id;
        let known = self.control.look(|cluster| cluster.devices().get(id).map(|device| (device.device.labels.clone(), device.given_labels.clone())));
        let (own, given) = known.unwrap_or_default();
        // What is kept counts: a device that has just come back may not have been called by it yet.
        let given = target.record.as_ref().map_or(given, |record| record.labels.clone());
        let labels = relabelled(id, &own, given, edits)?;
        if target.is_known {
            self.ask(Event::Labelled { device: id.clone(), labels: labels.clone() })?;
        }
        if target.record.is_some() { self.store.label_device(id, &labels) } else { Ok(()) }
    }

    fn remove(&self, target: &Target) -> Result<(), Error> {
        let id = &target.id;
        if self.own.contains(id) {
            return Err(OrderFault::OwnDevice { device: id.clone() }.into());
        }
        if target.record.is_some() {
            // First, so that a central that starts anew while work moves goes on with it.
            self.store.restrain_device(id, Restraint::Leaving)?;
        }
        if target.is_known {
            self.ask(Event::RemoveAsked { device: id.clone() })?;
        }
        if self.duty(id).is_some() {
            return Ok(());
        }
        if !target.is_known {
            self.remotes.send_away(id);
        }
        // The control loop does it for those that the cluster knew; whoever asked shall hear that it is done, not that it will be.
        self.remotes.revoke(id, &self.store)
    }

    /// What has become of the device.
    fn outcome(&self, id: &DeviceId, order: &DeviceOrder) -> Result<Ordered, Error> {
        let known =
            self.control.look(|cluster| cluster.devices().get(id).map(|device| (device.state().to_string(), Restraint::from(device.duty()), device.labels())));
        let absent = if known.is_none() && *order != DeviceOrder::Remove { self.store.enrolled_device(id)? } else { None };
        let absent = absent.map(|record| (DeviceState::Lost.to_string(), record.restraint, record.labels));
        let (state, restraint, labels) = known.or(absent).unwrap_or_else(|| ("removed".to_owned(), Restraint::None, Labels::new()));
        Ok(Ordered { device: id.to_string(), state, restraint: restraint.shown(), labels, kept: !self.own.contains(id) })
    }

    fn ask(&self, event: Event) -> Result<(), Error> {
        let stopping = || Error::from(Fault::Draining);
        let (answer, answered) = oneshot::channel();
        self.asks.blocking_send(Asked { event, answer }).map_err(|_| stopping())?;
        Ok(answered.blocking_recv().map_err(|_| stopping())??)
    }

    /// None if the cluster does not know the device.
    fn duty(&self, id: &DeviceId) -> Option<Duty> {
        self.control.look(|cluster| cluster.devices().get(id).map(host_core::cluster::DeviceRecord::duty))
    }
}

impl Change {
    /// What a device that is not here is held to from now on.
    fn of_absent(&self, record: &DeviceRecord) -> Result<Duty, Error> {
        let not_asked = || host_core::error::Fault::NotAsked { device: record.id.clone(), state: DeviceState::Lost, undone: self.undone };
        (self.duty)(record.restraint.into()).ok_or_else(|| host_core::error::Error::from(not_asked()).into())
    }
}

/// Says that there is no such device, and which ones there are.
pub(super) fn unknown(name: &str, known: &BTreeSet<String>) -> Error {
    let known = if known.is_empty() { "none".to_owned() } else { known.iter().map(String::as_str).collect::<Vec<_>>().join(", ") };
    Fault::Unknown { what: "device", name: name.to_owned(), known }.into()
}

/// The labels that people give a device after these edits. What it calls itself is its own to say.
fn relabelled(id: &DeviceId, own: &Labels, mut given: Labels, edits: &Edits) -> Result<Labels, Error> {
    let fault = |label: &str, reason: String| Error::from(OrderFault::Label { device: id.clone(), label: label.to_owned(), reason });
    for (name, value) in edits {
        if let Some(value) = value {
            given.insert(name.clone(), value.clone());
        } else if given.remove(name).is_none() {
            let its_own = "it calls itself so; give it another value, or change it where the device runs";
            return Err(fault(name, if own.contains_key(name) { its_own } else { "it does not have it" }.to_owned()));
        }
    }
    match given.keys().next_back() {
        Some(last) if given.len() > LABELS_MAX => Err(fault(last, format!("people would give it {} labels, at most {LABELS_MAX} are kept", given.len()))),
        _ => Ok(given),
    }
}

#[cfg(test)]
mod tests {
    use host_engine::Digest;
    use host_wire::join::TokenId;

    use super::*;

    fn id() -> DeviceId {
        DeviceId::parse("a").expect("a name")
    }

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        pairs.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    fn edits(pairs: &[(&str, Option<&str>)]) -> Edits {
        pairs.iter().map(|&(name, value)| (name.to_owned(), value.map(str::to_owned))).collect()
    }

    #[test]
    fn labels_that_people_gave_are_changed_and_taken_away() {
        let (own, given) = (labels(&[("profile", "rk3588")]), labels(&[("room", "attic"), ("rack", "b")]));
        let after = |pairs: &[(&str, Option<&str>)]| relabelled(&id(), &own, given.clone(), &edits(pairs)).map_err(|error| error.to_string());
        assert_eq!(after(&[("room", Some("shed")), ("rack", None), ("profile", Some("mine"))]), Ok(labels(&[("room", "shed"), ("profile", "mine")])));
        assert_eq!(after(&[]), Ok(given.clone()));
        let its_own = "label `profile` of device a cannot be changed: it calls itself so; give it another value, or change it where the device runs";
        for (name, expected) in [("profile", its_own), ("floor", "label `floor` of device a cannot be changed: it does not have it")] {
            assert_eq!(after(&[(name, None)]), Err(expected.to_owned()));
        }
    }

    #[test]
    fn a_device_has_a_limited_number_of_labels() {
        let many = |count: usize| -> Edits { (0..count).map(|number| (format!("label-{number:03}"), Some(String::new()))).collect() };
        let count = |count| relabelled(&id(), &Labels::new(), Labels::new(), &many(count)).map(|labels| labels.len()).map_err(|error| error.to_string());
        assert_eq!(count(64), Ok(64));
        assert_eq!(count(65), Err("label `label-064` of device a cannot be changed: people would give it 65 labels, at most 64 are kept".to_owned()));
    }

    #[test]
    fn a_device_that_is_not_here_is_held_to_what_is_asked_unless_it_does_even_less() {
        let record = |restraint| DeviceRecord {
            id: id(),
            key: Digest::of(b"k"),
            token: TokenId([1; 8]),
            roles: host_core::device::Roles::ALL,
            labels: Labels::new(),
            restraint,
            enrolled_at_ms: 0,
            removed_at_ms: None,
        };
        let cases = [
            (Restraint::None, CORDON, Ok(Duty::Cordoned)),
            (Restraint::Leaving, CORDON, Ok(Duty::Leaving)),
            (Restraint::Cordoned, DRAIN, Ok(Duty::Draining)),
            (Restraint::Cordoned, UNCORDON, Ok(Duty::Full)),
            (Restraint::Leaving, UNDRAIN, Ok(Duty::Full)),
            (Restraint::None, UNDRAIN, Err("device a is lost, it cannot be undrained")),
            (Restraint::Draining, UNCORDON, Err("device a is lost, it cannot be uncordoned")),
        ];
        for (before, change, expected) in cases {
            let after = change.of_absent(&record(before)).map_err(|error| error.to_string());
            assert_eq!(after, expected.map_err(str::to_owned), "{} while {before:?}", change.undone);
        }
    }
}
