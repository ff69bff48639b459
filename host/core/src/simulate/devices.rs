//! What happens to devices: they join, leave, crash, fall silent, are cut off and come back.

use super::{
    agenda::Happening,
    scenario::{Change, Ending},
    world::World,
};
use crate::{cluster::Event, units::Millis};

impl World<'_, '_> {
    pub(super) fn change(&mut self, device: usize, change: Change) {
        match change {
            Change::Joins => self.switch_on(device),
            Change::Ends(ending) => self.switch_off(device, ending),
            Change::Cut => self.cut(device),
            Change::Restored => self.restore(device),
        }
    }

    pub(super) fn switch_on(&mut self, index: usize) {
        let device = &mut self.pool.devices[index];
        if device.powered {
            return;
        }
        device.powered = true;
        device.on_since = self.now;
        if std::mem::take(&mut device.unheard) {
            // Whoever comes back proves that the connection of before is dead.
            self.unheard.remove(&index);
            self.inbox.push(Event::Away { device: self.pool.devices[index].offer.device.clone() });
            self.lose_requests(index);
        }
        if self.pool.devices[index].linked {
            self.join(index);
        }
    }

    fn switch_off(&mut self, index: usize, ending: Ending) {
        let now = self.now;
        let device = &mut self.pool.devices[index];
        if !device.powered {
            return;
        }
        let was_connected = device.is_connected();
        device.deeds.busy_ms += device.at_work(now);
        device.deeds.on_ms += (now - device.on_since).0;
        device.powered = false;
        device.process += 1;
        self.pool.forget(index);
        if !was_connected {
            return;
        }
        self.part(index);
        let id = self.pool.devices[index].offer.device.clone();
        match ending {
            Ending::Leaves => self.inbox.push(Event::Left { device: id }),
            Ending::Crashes => self.inbox.push(Event::Away { device: id }),
            Ending::Falls => {
                self.pool.devices[index].unheard = true;
                self.unheard.insert(index);
                return;
            }
        }
        self.lose_requests(index);
    }

    fn cut(&mut self, index: usize) {
        let device = &mut self.pool.devices[index];
        if !device.linked {
            return;
        }
        let was_connected = device.is_connected();
        device.linked = false;
        if was_connected {
            self.part(index);
            self.inbox.push(Event::Away { device: self.pool.devices[index].offer.device.clone() });
            self.lose_requests(index);
        }
    }

    fn restore(&mut self, index: usize) {
        let device = &mut self.pool.devices[index];
        if !device.linked {
            device.linked = true;
            if device.powered {
                self.join(index);
            }
        }
    }

    /// A device is connected from now on.
    fn join(&mut self, index: usize) {
        let fleet = &self.scenario.devices[index].device;
        let device = &mut self.pool.devices[index];
        device.session += 1;
        device.since = self.now;
        let held = device.held.iter().map(|shard| (device.offer.accelerator.clone(), shard.clone())).collect();
        self.inbox.push(Event::Joined { device: fleet.clone(), held, now: self.now });
        self.changes.cause();
    }

    /// A device is connected no more: what it loads comes to nothing.
    fn part(&mut self, index: usize) {
        let device = &mut self.pool.devices[index];
        device.session += 1;
        device.loader_free = Millis::ZERO;
        device.deeds.present_ms += (self.now - device.since).0;
        device.deeds.endings += 1;
        self.changes.cause();
    }

    /// Puts down when a device fails next, or is back.
    pub(super) fn await_failure(&mut self, device: usize) {
        let Some(failures) = self.scenario.devices[device].failures else { return };
        let mean = if self.pool.devices[device].powered { failures.mean_between } else { failures.mean_repair };
        let wait = Millis(self.failure_draws[device].exponential(mean.0));
        self.agenda.push(self.now + wait, Happening::Failure { device });
    }

    pub(super) fn fail_or_repair(&mut self, device: usize) {
        let Some(failures) = self.scenario.devices[device].failures else { return };
        if self.pool.devices[device].powered {
            self.switch_off(device, failures.manner)
        } else {
            self.switch_on(device)
        }
        self.await_failure(device);
    }

    /// Puts down when a device's profile cuts it off next, or lets it back.
    pub(super) fn await_outage(&mut self, device: usize) {
        let opened = self.opened.unwrap_or_default();
        if let Some(next) = self.scenario.devices[device].outages.next_change(self.now - opened) {
            self.agenda.push(opened + next, Happening::Outage { device });
        }
    }

    pub(super) fn cut_or_restore(&mut self, device: usize) {
        // Where moments are added up, rounding may lead to just before the change.
        let moment = self.now - self.opened.unwrap_or_default() + Millis(1e-6);
        if self.scenario.devices[device].outages.connected(moment) {
            self.restore(device)
        } else {
            self.cut(device)
        }
        let opened = self.opened.unwrap_or_default();
        if let Some(next) = self.scenario.devices[device].outages.next_change(moment) {
            self.agenda.push(opened + next, Happening::Outage { device });
        }
    }
}
