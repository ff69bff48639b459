//! Requests through a queueing policy and the host's own turns, on a virtual clock: hours take seconds, and the same seed gives the
//! same run. Tests of queueing policies include this file. Each turn takes as long as its request is served; nothing else takes time.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
};

use host_core::{
    line::Place,
    noise, policy,
    turns::{TurnLimits, Turns},
    units::Millis,
};
use shardhost_sdk::queueing::{Arrival, ClassState, Decision, QueueingPolicy, SERVED_RANK, TURN_MS};

/// Requests of one class that come at random, independently of one another.
#[derive(Clone, Copy, Debug)]
pub struct Flow {
    /// Their class.
    pub class: u32,
    /// How many come in a millisecond, on average.
    pub per_ms: f64,
    /// What their clients wait, at least and at most.
    pub deadline_ms: [f64; 2],
    /// The share of clients that go away before, at any time.
    pub leaving: f64,
}

/// A host and its clients.
#[derive(Clone, Debug)]
pub struct Scene {
    /// Requests that run at once.
    pub running_max: u32,
    /// Requests that may wait.
    pub waiting_max: u32,
    /// What serving takes, at least and at most.
    pub service_ms: [f64; 2],
    /// Requests come for so long; then the line empties.
    pub length_ms: f64,
    /// Who comes.
    pub flows: Vec<Flow>,
    /// Chooses all that is random.
    pub seed: u64,
}

/// What became of the requests of one class. Each is counted once.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// From arrival to answer, shortest first.
    pub answered_ms: Vec<f64>,
    /// From arrival to its turn, shortest first.
    pub waited_ms: Vec<f64>,
    /// How many were turned away at once.
    pub shed: usize,
    /// How many waited until their deadline in vain.
    pub late: usize,
    /// How many went away before their turn.
    pub left: usize,
    /// The longest time in which none had its turn although some waited.
    pub still_ms_max: f64,
}

impl Seen {
    /// The time to an answer that one in a hundred exceeds.
    pub fn p99_ms(&self) -> f64 {
        let index = (self.answered_ms.len() as f64 * 0.99).ceil() as usize;
        self.answered_ms.get(index.saturating_sub(1)).copied().unwrap_or(f64::NAN)
    }
}

/// Numbers at random, always the same for the same seed.
struct Random {
    seed: u64,
    drawn: u64,
}

impl Random {
    /// From 0 to below 1.
    fn unit(&mut self) -> f64 {
        self.drawn += 1;
        noise::uniform(self.seed, self.drawn)
    }

    fn between(&mut self, [least, most]: [f64; 2]) -> f64 {
        least + self.unit() * (most - least)
    }

    /// The time to the next of events that come so often.
    fn pause(&mut self, per_ms: f64) -> f64 {
        -(1.0 - self.unit()).ln() / per_ms
    }
}

/// A moment in microseconds, which sorts.
type Moment = u64;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Event {
    Finish,
    Leave(usize),
    Deadline,
    Arrive { flow: usize },
}

#[derive(Clone, Copy, Debug)]
struct Request {
    class: u32,
    came: f64,
    takes: f64,
    place: Option<Place>,
}

struct Run<'a, P> {
    policy: &'a mut P,
    scene: &'a Scene,
    random: Random,
    turns: Turns<usize>,
    events: BinaryHeap<Reverse<(Moment, Event)>>,
    requests: Vec<Request>,
    seen: BTreeMap<u32, Seen>,
    /// Since when a class waits for a turn.
    still: BTreeMap<u32, f64>,
}

/// Plays the scene; what became of the requests, by class.
pub fn play<P: QueueingPolicy>(policy: &mut P, scene: &Scene) -> BTreeMap<u32, Seen> {
    let classes = scene.flows.iter().map(|flow| flow.class + 1).max().unwrap_or(1);
    let limits = TurnLimits { running_max: scene.running_max, waiting_max: scene.waiting_max, classes };
    let mut run = Run {
        policy,
        scene,
        random: Random { seed: scene.seed, drawn: 0 },
        turns: Turns::new(limits),
        events: BinaryHeap::new(),
        requests: Vec::new(),
        seen: scene.flows.iter().map(|flow| (flow.class, Seen::default())).collect(),
        still: BTreeMap::new(),
    };
    (0..scene.flows.len()).for_each(|flow| run.next_of(flow, 0.0));
    while let Some(Reverse((moment, event))) = run.events.pop() {
        run.happen(moment as f64 / 1e3, event);
        assert!(run.turns.running() <= scene.running_max && run.turns.depth() <= scene.waiting_max);
    }
    assert_eq!((run.turns.running(), run.turns.depth()), (0, 0), "somebody was lost");
    for seen in run.seen.values_mut() {
        seen.answered_ms.sort_by(f64::total_cmp);
        seen.waited_ms.sort_by(f64::total_cmp);
    }
    run.seen
}

impl<P: QueueingPolicy> Run<'_, P> {
    fn at(&mut self, ms: f64, event: Event) {
        self.events.push(Reverse(((ms * 1e3) as Moment, event)));
    }

    fn next_of(&mut self, flow: usize, now: f64) {
        let next = now + self.random.pause(self.scene.flows[flow].per_ms);
        if next < self.scene.length_ms {
            self.at(next, Event::Arrive { flow });
        }
    }

    fn happen(&mut self, now: f64, event: Event) {
        for late in self.turns.expire(Millis(now)) {
            let class = self.requests[late].class;
            self.of(class).late += 1;
        }
        match event {
            // Nothing but the look at who is late.
            Event::Deadline => {}
            Event::Arrive { flow } => {
                self.next_of(flow, now);
                self.arrive(flow, now);
            }
            Event::Finish => {
                if let Some(next) = self.turns.pass_on(Millis(now)) {
                    self.serve(next, now);
                }
            }
            Event::Leave(request) => {
                let Request { class, place, .. } = self.requests[request];
                if place.is_some_and(|place| self.turns.leave(place).is_some()) {
                    self.of(class).left += 1;
                }
            }
        }
    }

    fn arrive(&mut self, flow: usize, now: f64) {
        let (scene, Flow { class, deadline_ms, leaving, .. }) = (self.scene, self.scene.flows[flow]);
        let [patience, takes] = [deadline_ms, scene.service_ms].map(|range| self.random.between(range));
        let leaves = (self.random.unit() < leaving).then(|| now + self.random.unit() * patience);
        let deadline = Millis(now + patience);
        let asked = self.turns.arrival(class, Millis(now), deadline, Millis(f64::midpoint(scene.service_ms[0], scene.service_ms[1])));
        let Decision::Admit(rank) = self.policy.admit(&as_told(&asked)) else {
            self.of(class).shed += 1;
            return;
        };
        let request = self.requests.len();
        self.requests.push(Request { class, came: now, takes, place: None });
        if self.turns.begin(class, rank) {
            self.serve(request, now);
            return;
        }
        match self.turns.wait(class, rank, deadline, request) {
            Err(_) => self.of(class).shed += 1,
            Ok(place) => {
                self.requests[request].place = Some(place);
                self.still.entry(class).or_insert(now);
                self.at(deadline.0 + 2e-3, Event::Deadline);
                if let Some(leaves) = leaves {
                    self.at(leaves, Event::Leave(request));
                }
            }
        }
    }

    fn serve(&mut self, request: usize, now: f64) {
        let Request { class, came, takes, .. } = self.requests[request];
        self.at(now + takes, Event::Finish);
        let still = self.still.remove(&class).map_or(0.0, |since| now - since);
        let depth = self.turns.arrival(class, Millis(now), Millis(now), Millis(0.0)).classes[class as usize].depth;
        if depth > 0 {
            self.still.insert(class, now);
        }
        let seen = self.of(class);
        seen.still_ms_max = seen.still_ms_max.max(still);
        seen.waited_ms.push(now - came);
        seen.answered_ms.push(now - came + takes);
    }

    fn of(&mut self, class: u32) -> &mut Seen {
        self.seen.entry(class).or_default()
    }
}

/// The arrival as the host tells a guest of it.
fn as_told(arrival: &policy::Arrival) -> Arrival {
    let mut attributes = vec![(SERVED_RANK.to_owned(), arrival.line.served_rank.to_string())];
    attributes.extend(arrival.line.turn.map(|turn| (TURN_MS.to_owned(), turn.0.to_string())));
    Arrival {
        ordinal: arrival.ordinal,
        class: arrival.class,
        now_ms: arrival.now.0,
        deadline_ms: arrival.deadline.unwrap_or(Millis::ZERO).0,
        expected_ms: arrival.expected.0,
        classes: arrival.classes.iter().map(|class| ClassState { depth: class.depth, last_rank: class.last_rank }).collect(),
        depth_max: arrival.depth_max,
        attributes,
    }
}
