//! Classes share the turns by weight, so that urgent requests hardly wait and the others go on. Ranks are virtual times
//! (self-clocked fair queueing, S. J. Golestani, 1994): the rank that had its turn last is the present, and each request of a class lies
//! one part of its weight behind the one before it, or behind the present. A class that is alone has every turn; one that has nobody
//! waiting saves nothing up.
//!
//! - *Ageing* bounds what weights alone would let happen: who would wait longer than a set time goes as fast as the most urgent then.
//! - *Among equals*, requests of one class with as many before them, the nearer deadline goes first.
//! - *Turned away at once* is whoever finds the places of its class taken, and whoever would be answered after its deadline.
//!
//! A rank depends on the arrival alone, so every instance of this plugin agrees on it.

mod settings;

use shardhost_sdk::{
    export_queueing,
    queueing::{Arrival, Decision, QueueingPolicy, Refusal},
};

pub use settings::Priority;

/// Virtual times beyond this have lost the precision that tells ranks apart; only another policy can have given them.
const RANK_MAX: f64 = 1e12;

impl QueueingPolicy for Priority {
    fn configure(config: &str) -> Result<Self, String> {
        Self::read(config)
    }

    fn admit(&mut self, arrival: &Arrival) -> Decision {
        let (waiting, places) = (arrival.waiting(), self.places(arrival));
        if waiting >= places {
            let reason = format!("{waiting} requests are waiting, priority {} may be one of {places}", u64::from(arrival.class) + 1);
            return Decision::Refuse(Refusal::because(reason));
        }
        let (present, backlog) = (present(arrival), self.backlog(arrival));
        let behind = self.behind(arrival, backlog);
        // Before it go those of its class, and of the others what their weights give them until then.
        let ahead = f64::from(arrival.waiting_alike()) + behind * (backlog - self.weight(arrival.class));
        match arrival.too_late_behind(ahead * self.wait_ratio) {
            Some(refusal) => Decision::Refuse(refusal),
            None => Decision::Admit(present + behind * (1.0 - self.deadline_ratio * self.haste(arrival))),
        }
    }
}

impl Priority {
    /// How far behind the present a request goes, in virtual time.
    fn behind(&self, arrival: &Arrival, backlog: f64) -> f64 {
        let weight = self.weight(arrival.class);
        // Those before it in its class are counted: their ranks may be another policy's.
        let shared = f64::from(arrival.waiting_alike() + 1) / weight;
        // Beyond that it would age; from there on its class goes as fast as the most urgent, and no faster.
        let aged = self.ageing_turns(arrival) / backlog;
        shared.min(aged) + (shared - aged).max(0.0) * weight / self.weight_max()
    }

    /// The weights of this class and of all others in which somebody waits: as many turns take virtual time on by one.
    fn backlog(&self, arrival: &Arrival) -> f64 {
        let others = (0..).zip(&arrival.classes).filter(|(class, state)| *class != arrival.class && state.depth > 0);
        self.weight(arrival.class) + others.map(|(class, _)| self.weight(class)).sum::<f64>()
    }

    /// How many turns are given while a request ages. A host that does not know its pace yet is taken to serve one at a time.
    fn ageing_turns(&self, arrival: &Arrival) -> f64 {
        let turns = self.ageing_ms / arrival.turn_ms().unwrap_or(arrival.expected_ms);
        if turns.is_finite() { turns } else { f64::MAX }
    }

    /// How near the deadline is: 0 without one, 1 at its end.
    fn haste(&self, arrival: &Arrival) -> f64 {
        if arrival.deadline_ms > 0.0 { self.deadline_ms / (self.deadline_ms + arrival.deadline_ms) } else { 0.0 }
    }

    /// How long the line may be for this class to join it. Each class has some places of its own; the others are for whoever comes.
    fn places(&self, arrival: &Arrival) -> u64 {
        let own = self.own_places(arrival);
        let kept = |(class, state): (u32, &shardhost_sdk::queueing::ClassState)| if class == arrival.class { 0 } else { own.saturating_sub(state.depth) };
        let kept: u64 = (0..).zip(&arrival.classes).map(|line| u64::from(kept(line))).sum();
        u64::from(arrival.depth_max).saturating_sub(kept)
    }

    /// Places that only this class may take, and every other class as many.
    fn own_places(&self, arrival: &Arrival) -> u32 {
        let share = self.reserved_ratio.min(1.0 / arrival.classes.len().max(1) as f64);
        (f64::from(arrival.depth_max) * share).floor() as u32
    }
}

/// The rank that had its turn last. A host that does not say it has requests wait behind all others.
fn present(arrival: &Arrival) -> f64 {
    let last = || arrival.classes.iter().map(|class| class.last_rank).fold(0.0, f64::max);
    let present = arrival.served_rank().unwrap_or_else(last);
    if present.abs() <= RANK_MAX { present } else { 0.0 }
}

export_queueing!(Priority);

#[cfg(test)]
mod tests;
