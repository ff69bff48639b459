//! Who waits at a door and has not proved yet who it is: how many may, and who makes room for one more. Whoever has said nothing
//! goes first, then whoever has been at it for long; so thousands that come and say nothing keep nobody out. Who goes is decided
//! by a `Queue`, which is pure; a `Place` is told.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use tokio_util::sync::CancellationToken;

use crate::clock;

/// A handle; clones share the places.
#[derive(Clone, Debug)]
pub(super) struct Lobby(Arc<Mutex<Waiting>>);

/// One who waits. Gives its place back when it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    number: u64,
    has_spoken: AtomicBool,
    ousted: CancellationToken,
    lobby: Lobby,
}

#[derive(Debug)]
struct Waiting {
    queue: Queue,
    ousted: HashMap<u64, CancellationToken>,
}

impl Lobby {
    /// With so many places. Whoever has said something keeps its place for `grace` at least.
    pub(super) fn new(max: usize, grace: Duration) -> Self {
        Self(Arc::new(Mutex::new(Waiting { queue: Queue::new(max, grace), ousted: HashMap::new() })))
    }

    /// A place for one more, if there is one or somebody makes room.
    pub(super) fn enter(&self) -> Option<Place> {
        let mut waiting = self.lock();
        let (number, instead_of) = waiting.queue.enter(clock::now())?;
        if let Some(other) = instead_of.and_then(|other| waiting.ousted.remove(&other)) {
            other.cancel();
        }
        let ousted = CancellationToken::new();
        waiting.ousted.insert(number, ousted.clone());
        Some(Place { number, has_spoken: AtomicBool::new(false), ousted, lobby: self.clone() })
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // Whole between any two statements.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Whoever has this place has said something.
    pub(super) fn speak(&self) {
        self.has_spoken.store(true, Ordering::Release);
        self.lobby.lock().queue.speak(self.number);
    }

    /// Whether it has.
    pub(super) fn has_spoken(&self) -> bool {
        self.has_spoken.load(Ordering::Acquire)
    }

    /// Cancelled when the place is somebody else's.
    pub(super) fn ousted(&self) -> CancellationToken {
        self.ousted.clone()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut waiting = self.lobby.lock();
        waiting.queue.leave(self.number);
        waiting.ousted.remove(&self.number);
    }
}

/// Those who wait, by number, the oldest first, and since when.
#[derive(Debug)]
struct Queue {
    max: usize,
    grace: Duration,
    next: u64,
    silent: BTreeMap<u64, Instant>,
    speaking: BTreeMap<u64, Instant>,
}

impl Queue {
    fn new(max: usize, grace: Duration) -> Self {
        Self { max, grace, next: 0, silent: BTreeMap::new(), speaking: BTreeMap::new() }
    }

    /// The number of one more, and of the one who goes for it; none if nobody goes.
    fn enter(&mut self, now: Instant) -> Option<(u64, Option<u64>)> {
        let is_full = self.silent.len() + self.speaking.len() >= self.max;
        let instead_of = if is_full { Some(self.oust(now)?) } else { None };
        let number = self.next;
        self.next += 1;
        self.silent.insert(number, now);
        Some((number, instead_of))
    }

    fn oust(&mut self, now: Instant) -> Option<u64> {
        if let Some((number, _)) = self.silent.pop_first() {
            return Some(number);
        }
        let (_, since) = self.speaking.first_key_value()?;
        if now.saturating_duration_since(*since) < self.grace {
            return None;
        }
        self.speaking.pop_first().map(|(number, _)| number)
    }

    fn speak(&mut self, number: u64) {
        if let Some(since) = self.silent.remove(&number) {
            self.speaking.insert(number, since);
        }
    }

    fn leave(&mut self, number: u64) {
        self.silent.remove(&number);
        self.speaking.remove(&number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRACE: Duration = Duration::from_secs(1);

    #[test]
    fn thousands_that_say_nothing_make_room_for_each_other_and_for_those_who_speak() {
        let (mut queue, now) = (Queue::new(3, GRACE), clock::now());
        let (speaker, _) = queue.enter(now).expect("empty");
        queue.speak(speaker);
        for newcomer in 1..10_000 {
            let ousted = if newcomer < 3 { None } else { Some(newcomer - 2) };
            assert_eq!(queue.enter(now), Some((newcomer, ousted)));
        }
    }

    #[test]
    fn whoever_speaks_has_its_time_and_makes_room_then() {
        let (mut queue, now) = (Queue::new(2, GRACE), clock::now());
        for number in 0..2 {
            assert_eq!(queue.enter(now), Some((number, None)));
            queue.speak(number);
        }
        assert_eq!(queue.enter(now + GRACE / 2), None);
        assert_eq!(queue.enter(now + GRACE), Some((2, Some(0))));
        // The newest is the only one that has said nothing.
        assert_eq!(queue.enter(now + GRACE), Some((3, Some(2))));
        queue.leave(1);
        assert_eq!(queue.enter(now + GRACE), Some((4, None)));
    }

    #[test]
    fn one_that_lost_its_place_is_told_and_one_that_leaves_gives_it_back() {
        let lobby = Lobby::new(1, Duration::from_secs(3_600));
        let first = lobby.enter().expect("a place");
        let told = first.ousted();
        let second = lobby.enter().expect("the other makes room");
        assert!(told.is_cancelled() && !second.ousted().is_cancelled());
        // It speaks too late, and what it gives back is not its own any more.
        first.speak();
        drop(first);
        second.speak();
        assert!(second.has_spoken() && lobby.enter().is_none());
        drop(second);
        assert!(lobby.enter().is_some());
    }
}
