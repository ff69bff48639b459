//! Who is on which devices, and who waits for them: requests that share devices, and requests that have theirs to themselves.
//! Pure; the daemon keeps requests waiting for as long as this says.
//!
//! A request gets all devices of its way at once or none of them, and waits only for requests that came before it. So no two ever
//! wait for each other, and each gets its turn as long as those before it end.

use std::{collections::BTreeMap, sync::Arc};

use crate::ids::DeviceId;

/// How a request uses its devices.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub enum Access {
    /// Beside others.
    #[default]
    Shared,
    /// Alone.
    Exclusive,
}

impl Access {
    /// A word for labels.
    pub fn word(self) -> &'static str {
        match self {
            Self::Shared => "shared",
            Self::Exclusive => "exclusive",
        }
    }
}

/// Names a request among those that came. Earlier ones are smaller.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Ticket(u64);

/// What became of a request that has just come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Arrival {
    /// Names it until it leaves.
    pub ticket: Ticket,
    /// Whether it waits: `leave` says when it need not any more.
    pub waits: bool,
}

/// What a request wants.
#[derive(Debug)]
struct Claim {
    access: Access,
    devices: Arc<[DeviceId]>,
}

/// Every request that is on devices or waits for some. There are no more of them than requests may run at once.
#[derive(Debug, Default)]
pub struct Reservations {
    arrivals: u64,
    inside: BTreeMap<Ticket, Claim>,
    waiting: BTreeMap<Ticket, Claim>,
    /// Exclusive ones of both. While there are none, nobody is compared with anybody.
    exclusive: usize,
}

impl Reservations {
    /// Takes in a request with the devices of its way.
    pub fn arrive(&mut self, access: Access, devices: Arc<[DeviceId]>) -> Arrival {
        let ticket = Ticket(self.arrivals);
        self.arrivals += 1;
        let claim = Claim { access, devices };
        self.exclusive += usize::from(access == Access::Exclusive);
        let waits = self.exclusive > 0 && !Ahead::of(self.inside.values().chain(self.waiting.values())).admits(&claim);
        let place = if waits { &mut self.waiting } else { &mut self.inside };
        place.insert(ticket, claim);
        Arrival { ticket, waits }
    }

    /// Lets a request go, from its devices or from waiting for them. Gives those who need not wait any more, in the order in which
    /// they came; each is on its devices from now on.
    pub fn leave(&mut self, ticket: Ticket) -> Vec<Ticket> {
        let Some(left) = self.inside.remove(&ticket).or_else(|| self.waiting.remove(&ticket)) else { return Vec::new() };
        self.exclusive -= usize::from(left.access == Access::Exclusive);
        if self.waiting.is_empty() {
            return Vec::new();
        }
        let admitted = self.admitted();
        for ticket in &admitted {
            self.inside.extend(self.waiting.remove_entry(ticket));
        }
        admitted
    }

    /// Whether a request has one of these devices to itself, or waits to have it.
    pub fn is_reserved(&self, devices: &[DeviceId]) -> bool {
        let reserves = |claim: &Claim| claim.access == Access::Exclusive && claim.devices.iter().any(|device| devices.contains(device));
        self.exclusive > 0 && self.inside.values().chain(self.waiting.values()).any(reserves)
    }

    /// Requests that have their devices to themselves.
    pub fn active(&self) -> usize {
        if self.exclusive == 0 { 0 } else { self.inside.values().filter(|claim| claim.access == Access::Exclusive).count() }
    }

    /// Requests that wait for devices.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Those of the waiting whom nobody ahead of them keeps out.
    fn admitted(&self) -> Vec<Ticket> {
        let mut ahead = Ahead::of(self.inside.values());
        let mut admitted = Vec::new();
        for (ticket, claim) in &self.waiting {
            if ahead.admits(claim) {
                admitted.push(*ticket);
            }
            // Whoever goes on waiting is still ahead of those who came later.
            ahead.add(claim);
        }
        admitted
    }
}

/// What those ahead of a request want: of each device, the most that anybody does.
#[derive(Default)]
struct Ahead<'a>(BTreeMap<&'a DeviceId, Access>);

impl<'a> Ahead<'a> {
    fn of(claims: impl Iterator<Item = &'a Claim>) -> Self {
        let mut ahead = Self::default();
        claims.for_each(|claim| ahead.add(claim));
        ahead
    }

    fn add(&mut self, claim: &'a Claim) {
        for device in claim.devices.iter() {
            let most = self.0.entry(device).or_default();
            *most = (*most).max(claim.access);
        }
    }

    fn admits(&self, claim: &Claim) -> bool {
        let is_open = |device: &DeviceId| match self.0.get(device) {
            None => true,
            Some(most) => *most == Access::Shared && claim.access == Access::Shared,
        };
        claim.devices.iter().all(is_open)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Access::*, *};
    use crate::testing::device_id;

    fn devices(names: &[&str]) -> Arc<[DeviceId]> {
        names.iter().map(|name| device_id(name)).collect()
    }

    #[test]
    fn an_exclusive_request_waits_for_all_on_its_devices_and_keeps_later_ones_out() {
        let mut reservations = Reservations::default();
        let (one, two) = (reservations.arrive(Shared, devices(&["a"])), reservations.arrive(Shared, devices(&["b"])));
        let alone = reservations.arrive(Exclusive, devices(&["a", "b"]));
        let later = reservations.arrive(Shared, devices(&["b"]));
        assert_eq!([one, two, alone, later].map(|arrival| arrival.waits), [false, false, true, true]);
        assert_eq!((reservations.active(), reservations.waiting()), (0, 2));
        assert!(reservations.leave(one.ticket).is_empty(), "somebody is still on b");
        assert_eq!(reservations.leave(two.ticket), [alone.ticket]);
        assert_eq!((reservations.active(), reservations.waiting()), (1, 1));
        assert_eq!(reservations.leave(alone.ticket), [later.ticket]);
        assert_eq!((reservations.active(), reservations.waiting()), (0, 0));
    }

    #[test]
    fn reservations_of_other_devices_do_not_disturb_each_other() {
        let mut reservations = Reservations::default();
        for way in [&["a", "b"][..], &["c"], &["d"]] {
            assert!(!reservations.arrive(Exclusive, devices(way)).waits, "{way:?}");
        }
        assert!(!reservations.arrive(Shared, devices(&["e"])).waits);
        assert_eq!(reservations.active(), 3);
    }

    #[test]
    fn who_stops_waiting_holds_nobody_back_any_more() {
        let mut reservations = Reservations::default();
        reservations.arrive(Shared, devices(&["a"]));
        let alone = reservations.arrive(Exclusive, devices(&["a"]));
        let later = reservations.arrive(Shared, devices(&["a"]));
        assert_eq!(reservations.leave(alone.ticket), [later.ticket]);
        assert!(reservations.leave(alone.ticket).is_empty(), "it has left already");
    }

    #[test]
    fn a_device_is_reserved_from_the_moment_that_a_request_waits_to_have_it_alone() {
        let mut reservations = Reservations::default();
        let before = reservations.arrive(Shared, devices(&["a"]));
        assert!(!reservations.is_reserved(&devices(&["a"])));
        let alone = reservations.arrive(Exclusive, devices(&["a"]));
        assert!(reservations.is_reserved(&devices(&["b", "a"])) && !reservations.is_reserved(&devices(&["b"])));
        reservations.leave(before.ticket);
        assert!(reservations.is_reserved(&devices(&["a"])));
        reservations.leave(alone.ticket);
        assert!(!reservations.is_reserved(&devices(&["a"])));
    }

    /// A request as the model of the property keeps it.
    #[derive(Clone, Debug)]
    struct Known {
        ticket: Ticket,
        access: Access,
        devices: Vec<usize>,
        waits: bool,
    }

    impl Known {
        fn conflicts(&self, other: &Self) -> bool {
            (self.access == Exclusive || other.access == Exclusive) && self.devices.iter().any(|device| other.devices.contains(device))
        }
    }

    #[derive(Clone, Debug)]
    enum Step {
        Arrive {
            exclusive: bool,
            devices: Vec<usize>,
        },
        /// The one at this place, of those that are there.
        Leave(usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        let way = proptest::collection::btree_set(0_usize..5, 1..4).prop_map(|devices| devices.into_iter().collect::<Vec<_>>());
        prop_oneof![
            3 => (proptest::bool::weighted(0.4), way).prop_map(|(exclusive, devices)| Step::Arrive { exclusive, devices }),
            2 => any::<usize>().prop_map(Step::Leave),
        ]
    }

    /// Leaves, and notes who got in.
    fn leave(reservations: &mut Reservations, known: &mut Vec<Known>, index: usize) {
        let left = known.remove(index);
        for ticket in reservations.leave(left.ticket) {
            let admitted = known.iter_mut().find(|entry| entry.ticket == ticket).expect("only who is there gets in");
            assert!(std::mem::take(&mut admitted.waits), "{admitted:?} was in already");
        }
    }

    /// Who waits does so for somebody who came before, and who is in goes before nobody who came earlier and still waits.
    fn check(reservations: &Reservations, known: &[Known]) {
        for (index, entry) in known.iter().enumerate() {
            let earlier = &known[..index];
            assert_eq!(entry.waits, earlier.iter().any(|other| other.conflicts(entry)), "{entry:?} after {earlier:?}");
        }
        let count = |wanted: fn(&&Known) -> bool| known.iter().filter(wanted).count();
        assert_eq!(reservations.waiting(), count(|entry| entry.waits));
        assert_eq!(reservations.active(), count(|entry| !entry.waits && entry.access == Exclusive));
    }

    proptest! {
        #[test]
        fn everybody_waits_for_those_who_came_before_and_for_nobody_else(steps in proptest::collection::vec(step(), 1..120)) {
            let names: Vec<DeviceId> = ["a", "b", "c", "d", "e"].into_iter().map(device_id).collect();
            let mut reservations = Reservations::default();
            let mut known: Vec<Known> = Vec::new();
            for step in steps {
                match step {
                    Step::Arrive { exclusive, devices } => {
                        let access = if exclusive { Exclusive } else { Shared };
                        let Arrival { ticket, waits } = reservations.arrive(access, devices.iter().map(|&index| names[index].clone()).collect());
                        known.push(Known { ticket, access, devices, waits });
                    }
                    Step::Leave(which) if !known.is_empty() => {
                        let index = which % known.len();
                        leave(&mut reservations, &mut known, index);
                    }
                    Step::Leave(_) => {}
                }
                check(&reservations, &known);
            }
            // Nobody waits for ever: whenever those who are in leave, somebody else gets in.
            while let Some(index) = known.iter().position(|entry| !entry.waits) {
                leave(&mut reservations, &mut known, index);
                check(&reservations, &known);
            }
            prop_assert!(known.is_empty(), "{known:?} wait for nobody");
        }
    }
}
