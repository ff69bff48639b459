//! What the cache holds, what may go, and in which order. Pure: it counts bytes and says what to remove; files are removed
//! by its owner. What is counted never exceeds the limit, and what is held never goes.

use std::collections::HashMap;

use host_engine::Digest;

/// What is counted of one digest.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Entry {
    /// Its size; for a download all that it will take, so that it never runs out of room half way.
    bytes: u64,
    state: State,
    /// Those that use it now.
    holders: u32,
    /// When it was last used, in steps of the ledger.
    used_at: u64,
    /// Tells it from an earlier entry for the same digest.
    born_at: u64,
}

/// How much of it is there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum State {
    /// The beginning.
    Part,
    /// All of it, as its name says; whether that is true was not looked at since the process started.
    Unproved,
    /// All of it, and its digest is right.
    Proved,
}

/// Says that somebody uses an entry. Must be given back.
#[derive(PartialEq, Eq, Debug)]
pub(super) struct Hold {
    pub(super) digest: Digest,
    born_at: u64,
}

/// What has to make room: its file must be removed.
pub(super) type Gone = (Digest, State);

/// There is no room, because of what is held.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Full {
    /// What others use.
    pub(super) held: u64,
}

/// Counts everything in the cache.
#[derive(Debug)]
pub(super) struct Ledger {
    bytes_max: u64,
    bytes: u64,
    steps: u64,
    entries: HashMap<Digest, Entry>,
}

impl Ledger {
    pub(super) fn new(bytes_max: u64) -> Self {
        Self { bytes_max, bytes: 0, steps: 0, entries: HashMap::new() }
    }

    pub(super) fn bytes_max(&self) -> u64 {
        self.bytes_max
    }

    /// All that is counted; at most the limit once `trim` was obeyed.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// What is in use.
    pub(super) fn held(&self) -> u64 {
        self.entries.values().filter(|entry| entry.holders > 0).map(|entry| entry.bytes).sum()
    }

    /// How many digests are there whole.
    pub(super) fn whole(&self) -> usize {
        self.entries.values().filter(|entry| entry.state != State::Part).count()
    }

    /// Counts what was found on disk; call it for the one used longest ago first.
    pub(super) fn found(&mut self, digest: Digest, bytes: u64, state: State) {
        self.forget(digest);
        let step = self.step();
        self.entries.insert(digest, Entry { bytes, state, holders: 0, used_at: step, born_at: step });
        self.bytes += bytes;
    }

    /// Says what must go to come within the limit, and counts it no more.
    pub(super) fn trim(&mut self) -> Vec<Gone> {
        self.make_room(0, None).unwrap_or_default()
    }

    pub(super) fn state(&self, digest: Digest) -> Option<State> {
        self.entries.get(&digest).map(|entry| entry.state)
    }

    /// Uses what is there whole.
    pub(super) fn hold(&mut self, digest: Digest) -> Option<(Hold, State, u64)> {
        let step = self.step();
        let entry = self.entries.get_mut(&digest).filter(|entry| entry.state != State::Part)?;
        (entry.holders, entry.used_at) = (entry.holders + 1, step);
        Some((Hold { digest, born_at: entry.born_at }, entry.state, entry.bytes))
    }

    /// Makes room for a download and holds it. Says what must go for it, and counts that no more; on an error nothing has
    /// changed.
    pub(super) fn reserve(&mut self, digest: Digest, bytes: u64) -> Result<(Hold, Vec<Gone>), Full> {
        let known = self.entries.get(&digest).map_or(0, |entry| entry.bytes);
        let gone = self.make_room(bytes.saturating_sub(known), Some(digest))?;
        let step = self.step();
        let entry = self.entries.entry(digest).or_insert(Entry { bytes: 0, state: State::Part, holders: 0, used_at: step, born_at: step });
        self.bytes = self.bytes - entry.bytes + bytes;
        (entry.bytes, entry.holders, entry.used_at) = (bytes, entry.holders + 1, step);
        Ok((Hold { digest, born_at: entry.born_at }, gone))
    }

    /// Everything that was reserved is there, and right.
    pub(super) fn prove(&mut self, hold: &Hold) {
        if let Some(entry) = self.of(hold) {
            entry.state = State::Proved;
        }
    }

    /// A download ends early, with this much of it on disk.
    pub(super) fn abandon(&mut self, hold: Hold, bytes: u64) {
        if bytes == 0 {
            self.strike(hold);
            return;
        }
        if let Some(entry) = self.of(&hold) {
            let before = std::mem::replace(&mut entry.bytes, bytes);
            self.bytes = self.bytes - before + bytes;
        }
        self.release(hold);
    }

    /// Takes an entry out, whoever holds it: its file is not what it should be. Says whether it was still there.
    pub(super) fn strike(&mut self, hold: Hold) -> bool {
        let there = self.of(&hold).is_some();
        if there {
            self.forget(hold.digest);
        }
        there
    }

    /// Takes out what nobody holds, and says how much of it was there.
    pub(super) fn evict(&mut self, digest: Digest) -> Option<Gone> {
        let state = self.entries.get(&digest).filter(|entry| entry.holders == 0)?.state;
        self.forget(digest);
        Some((digest, state))
    }

    /// One user less.
    pub(super) fn release(&mut self, hold: Hold) {
        if let Some(entry) = self.of(&hold) {
            entry.holders = entry.holders.saturating_sub(1);
        }
    }

    /// Finds what was used longest ago until so many bytes more fit, or finds that they cannot.
    fn make_room(&mut self, more: u64, keep: Option<Digest>) -> Result<Vec<Gone>, Full> {
        let mut idle: Vec<(u64, Digest)> = self
            .entries
            .iter()
            .filter(|(digest, entry)| entry.holders == 0 && Some(**digest) != keep)
            .map(|(digest, entry)| (entry.used_at, *digest))
            .collect();
        idle.sort_unstable();
        let (mut going, mut left) = (Vec::new(), self.bytes);
        for (_, digest) in idle {
            if left.saturating_add(more) <= self.bytes_max {
                break;
            }
            if let Some(entry) = self.entries.get(&digest) {
                left -= entry.bytes;
                going.push((digest, entry.state));
            }
        }
        if left.saturating_add(more) > self.bytes_max {
            return Err(Full { held: self.held() });
        }
        going.iter().for_each(|(digest, _)| self.forget(*digest));
        Ok(going)
    }

    fn forget(&mut self, digest: Digest) {
        if let Some(entry) = self.entries.remove(&digest) {
            self.bytes -= entry.bytes;
        }
    }

    fn of(&mut self, hold: &Hold) -> Option<&mut Entry> {
        self.entries.get_mut(&hold.digest).filter(|entry| entry.born_at == hold.born_at)
    }

    fn step(&mut self) -> u64 {
        self.steps += 1;
        self.steps
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    fn digest(name: u8) -> Digest {
        Digest([name; 32])
    }

    #[test]
    fn what_was_used_longest_ago_goes_first_and_no_more_than_needed() {
        let mut ledger = Ledger::new(30);
        for name in 1..=3 {
            ledger.found(digest(name), 10, State::Proved);
        }
        let (hold, ..) = ledger.hold(digest(1)).expect("there");
        ledger.release(hold);
        let (_, gone) = ledger.reserve(digest(9), 5).expect("fits");
        assert_eq!(gone, [(digest(2), State::Proved)]);
        assert_eq!(ledger.bytes(), 25);
    }

    #[test]
    fn what_is_held_stays_and_a_refusal_changes_nothing() {
        let mut ledger = Ledger::new(30);
        ledger.found(digest(1), 10, State::Proved);
        ledger.found(digest(2), 20, State::Proved);
        let (hold, ..) = ledger.hold(digest(2)).expect("there");
        assert_eq!(ledger.reserve(digest(9), 15), Err(Full { held: 20 }));
        assert_eq!((ledger.bytes(), ledger.whole()), (30, 2));
        ledger.release(hold);
        let (_, gone) = ledger.reserve(digest(9), 15).expect("fits now");
        assert_eq!(gone.len(), 2);
    }

    #[test]
    fn a_hold_on_an_entry_that_is_gone_touches_none_that_came_after() {
        let mut ledger = Ledger::new(30);
        ledger.found(digest(1), 10, State::Unproved);
        let (one, ..) = ledger.hold(digest(1)).expect("there");
        let (two, ..) = ledger.hold(digest(1)).expect("there");
        assert!(ledger.strike(one));
        let (download, _) = ledger.reserve(digest(1), 20).expect("fits");
        assert!(!ledger.strike(two));
        assert_eq!(ledger.held(), 20);
        ledger.abandon(download, 7);
        assert_eq!((ledger.bytes(), ledger.held()), (7, 0));
    }

    /// What a user of the cache may do.
    #[derive(Clone, Copy, Debug)]
    enum Act {
        Hold(u8),
        Reserve(u8, u64),
        Prove(usize),
        Abandon(usize, u64),
        Release(usize),
        Strike(usize),
        Evict(u8),
    }

    fn acts() -> impl Strategy<Value = Act> {
        prop_oneof![
            (0_u8..8).prop_map(Act::Hold),
            (0_u8..8, 0_u64..60).prop_map(|(name, bytes)| Act::Reserve(name, bytes)),
            any::<usize>().prop_map(Act::Prove),
            (any::<usize>(), 0_u64..60).prop_map(|(index, bytes)| Act::Abandon(index, bytes)),
            any::<usize>().prop_map(Act::Release),
            any::<usize>().prop_map(Act::Strike),
            (0_u8..8).prop_map(Act::Evict),
        ]
    }

    proptest! {
        #[test]
        fn the_limit_is_kept_and_what_is_held_never_goes(
            found in proptest::collection::vec((0_u8..8, 0_u64..60), 0..8),
            acts in proptest::collection::vec(acts(), 0..120),
        ) {
            let mut ledger = Ledger::new(100);
            found.into_iter().for_each(|(name, bytes)| ledger.found(digest(name), bytes, State::Unproved));
            ledger.trim();
            let mut holds: Vec<(Hold, Option<u64>)> = Vec::new();
            for act in acts {
                let pick = |index: usize| (!holds.is_empty()).then(|| index % holds.len());
                let mut gone = Vec::new();
                match act {
                    Act::Hold(name) => holds.extend(ledger.hold(digest(name)).map(|(hold, ..)| (hold, None))),
                    // The cache reserves only what is not there, and not twice.
                    Act::Reserve(name, bytes) if !holds.iter().any(|(hold, _)| hold.digest == digest(name)) && ledger.state(digest(name)).is_none_or(|state| state == State::Part) => {
                        if let Ok((hold, evicted)) = ledger.reserve(digest(name), bytes) {
                            holds.push((hold, Some(bytes)));
                            gone = evicted;
                        }
                    }
                    Act::Reserve(..) => {}
                    Act::Prove(index) => {
                        if let Some(index) = pick(index) {
                            ledger.prove(&holds[index].0);
                            holds[index].1 = None;
                        }
                    }
                    Act::Abandon(index, bytes) => {
                        if let Some(index) = pick(index).filter(|index| holds[*index].1.is_some()) {
                            let (hold, reserved) = holds.swap_remove(index);
                            ledger.abandon(hold, bytes.min(reserved.unwrap_or(0)));
                        }
                    }
                    Act::Release(index) => {
                        if let Some(index) = pick(index).filter(|index| holds[*index].1.is_none()) {
                            ledger.release(holds.swap_remove(index).0);
                        }
                    }
                    Act::Strike(index) => {
                        if let Some(index) = pick(index) {
                            ledger.strike(holds.swap_remove(index).0);
                        }
                    }
                    Act::Evict(name) => gone.extend(ledger.evict(digest(name))),
                }
                let held: HashSet<Digest> = holds.iter().filter(|(hold, _)| ledger.entries.get(&hold.digest).is_some_and(|entry| entry.born_at == hold.born_at)).map(|(hold, _)| hold.digest).collect();
                prop_assert!(gone.iter().all(|(digest, _)| !held.contains(digest)), "{act:?} took {gone:?}");
                prop_assert!(ledger.bytes() <= 100, "{} after {act:?}", ledger.bytes());
                prop_assert_eq!(ledger.bytes(), ledger.entries.values().map(|entry| entry.bytes).sum::<u64>());
                prop_assert_eq!(ledger.held(), ledger.entries.iter().filter(|(digest, _)| held.contains(*digest)).map(|(_, entry)| entry.bytes).sum::<u64>());
            }
        }
    }
}
