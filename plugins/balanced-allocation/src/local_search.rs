//! Improves sets of offers step by step: an offer moves from one replica to another or out of idleness, two are exchanged,
//! what a replica does not need is freed, and idle offers open replicas of their own. Each step gains, so it ends; it ends at
//! the latest after a given amount of work, counted and not timed, so that every machine comes to the same plan.

use crate::{
    period::Gauge,
    pool::{index, keep_unused},
    score::TIE_RATIO,
    sorting,
    sweep::{Grouping, fill_up},
};

/// An exchange that gains so much is taken without a look at the others.
const GAIN_RATIO_TAKEN: f64 = 1e-3;
/// Idle offers that each replica is offered, fastest first.
const IDLE_TRIED: usize = 12;
/// Bottlenecks at which idle offers open replicas.
const OPENING_TARGETS: u32 = 12;
/// Replicas that are filled anew together with idle offers, and the bottlenecks that are tried.
const REFILLED: [usize; 5] = [1, 2, 3, 5, 8];
const REFILL_TARGETS: u32 = 16;
/// Replicas that each replica is paired with in a round, those of about its own rate.
const NEIGHBOURS: usize = 24;
/// Largest two replicas together whose members are shared out anew in every way.
const SHARED_OUT_MAX: usize = 10;

/// The grouping after improvement, with at most so many offers looked at.
pub fn improve(gauge: &mut Gauge<'_, '_, '_>, grouping: Grouping, steps_max: u64) -> Grouping {
    search(gauge, grouping, steps_max, |search| search.run())
}

fn search(gauge: &mut Gauge<'_, '_, '_>, grouping: Grouping, steps_max: u64, run: impl FnOnce(&mut Search<'_, '_, '_, '_>)) -> Grouping {
    let idle = gauge.pool().unused(&grouping.groups);
    let rates: Vec<f64> = grouping.groups.iter().map(|group| gauge.rate(group)).collect();
    let changed = vec![1; rates.len()];
    let ends = gauge.steps.saturating_add(steps_max);
    let mut search = Search { gauge, groups: grouping.groups, rates, idle, ends, changed, round: 1, scratch: (Vec::new(), Vec::new()) };
    run(&mut search);
    let throughput = search.throughput();
    let Search { groups, .. } = search;
    Grouping { groups: groups.into_iter().filter(|group| !group.is_empty()).collect(), throughput }
}

struct Search<'g, 'p, 'r, 'a> {
    gauge: &'g mut Gauge<'p, 'r, 'a>,
    groups: Vec<Vec<u32>>,
    rates: Vec<f64>,
    idle: Vec<u32>,
    ends: u64,
    /// The round in which each group changed last; pairs that did not change since the round before are not tried again.
    changed: Vec<u32>,
    round: u32,
    scratch: (Vec<u32>, Vec<u32>),
}

/// Idle offers join replicas or open some; nothing else changes. What a plan in force gains from devices that came.
pub fn employ_idle(gauge: &mut Gauge<'_, '_, '_>, grouping: Grouping) -> Grouping {
    search(gauge, grouping, u64::MAX, |search| {
        search.open();
        search.revive();
        search.refill();
        search.employ();
    })
}

/// What one step does to a pair of replicas: positions of the members that leave each.
type Exchange = (Option<usize>, Option<usize>);

impl Search<'_, '_, '_, '_> {
    fn run(&mut self) {
        loop {
            let before = self.throughput();
            self.free_needless();
            self.open();
            self.revive();
            self.employ();
            self.pair_up();
            self.round += 1;
            if self.is_over() || self.throughput() <= before * (1.0 + TIE_RATIO) {
                break;
            }
        }
        self.free_needless();
        self.open();
    }

    /// Indexes of the groups that have members, ascending.
    fn filled(&self) -> Vec<u32> {
        (0..index(self.groups.len())).filter(|&group| !self.groups[group as usize].is_empty()).collect()
    }

    fn throughput(&self) -> f64 {
        self.rates.iter().sum()
    }

    fn set_rate(&mut self, group: usize, rate: f64) {
        (self.rates[group], self.changed[group]) = (rate, self.round);
    }

    fn measure(&mut self, group: usize) {
        let rate = self.gauge.rate(&self.groups[group]);
        self.set_rate(group, rate);
    }

    fn is_over(&self) -> bool {
        self.gauge.steps >= self.ends
    }

    /// Frees members without which a replica is as fast.
    fn free_needless(&mut self) {
        for group in 0..self.groups.len() {
            let mut position = 0;
            while position < self.groups[group].len() && !self.is_over() {
                let rate = self.rate_without(group, Some(position), None);
                if rate >= self.rates[group] * (1.0 - TIE_RATIO) && self.groups[group].len() > 1 {
                    self.idle.push(self.groups[group].remove(position));
                    self.set_rate(group, rate);
                } else {
                    position += 1;
                }
            }
        }
    }

    /// Replicas of idle offers alone.
    fn open(&mut self) {
        let room = (self.gauge.pool().limits().replicas_max as usize).saturating_sub(self.groups.iter().filter(|group| !group.is_empty()).count());
        if self.idle.is_empty() || room == 0 {
            return;
        }
        let mut opened = fill_up(self.gauge, &self.idle, OPENING_TARGETS).groups;
        opened.truncate(room);
        keep_unused(&mut self.idle, &opened);
        for group in opened {
            self.rates.push(self.gauge.rate(&group));
            self.changed.push(self.round);
            self.groups.push(group);
        }
    }

    /// Idle offers join a replica, or take the place of a member.
    fn employ(&mut self) {
        let pool = self.gauge.pool();
        let mut tried = self.idle.clone();
        sorting::sort_by(&mut tried, &|offer| sorting::rising(pool.whole_ms(offer)));
        tried.dedup_by_key(|offer| pool.kind_of(*offer));
        tried.truncate(IDLE_TRIED);
        for offer in tried {
            let mut best: Option<(f64, usize, Option<usize>)> = None;
            for group in 0..self.groups.len() {
                if self.groups[group].is_empty() {
                    continue;
                }
                if self.is_over() {
                    return;
                }
                for leaving in self.choices(group) {
                    let gain = self.rate_without(group, leaving, Some(offer)) - self.rates[group];
                    if gain > self.rates[group] * TIE_RATIO && best.is_none_or(|best| gain > best.0) {
                        best = Some((gain, group, leaving));
                    }
                }
            }
            if let Some((gain, group, leaving)) = best {
                self.idle.retain(|&idle| idle != offer);
                if let Some(leaving) = leaving {
                    self.idle.push(self.groups[group].swap_remove(leaving));
                }
                self.groups[group].push(offer);
                self.set_rate(group, self.rates[group] + gain);
            }
        }
    }

    /// Nobody, or one member of each kind.
    fn choices(&self, group: usize) -> Vec<Option<usize>> {
        let (members, pool) = (&self.groups[group], self.gauge.pool());
        let first = |position: &usize| (0..*position).all(|before| pool.kind_of(members[before]) != pool.kind_of(members[*position]));
        std::iter::once(None).chain((0..members.len()).filter(first).map(Some)).collect()
    }

    /// Improves pairs of replicas of about the same rate.
    fn pair_up(&mut self) {
        let mut order = self.filled();
        sorting::sort_by(&mut order, &|group| sorting::falling(self.rates[group as usize]));
        for apart in 1..=NEIGHBOURS.min(order.len().saturating_sub(1)) {
            for first in 0..order.len() - apart {
                if self.is_over() {
                    return;
                }
                let (one, two) = (order[first] as usize, order[first + apart] as usize);
                let both = !self.groups[one].is_empty() && !self.groups[two].is_empty();
                if both && self.changed[one].max(self.changed[two]) + 1 >= self.round {
                    self.improve_pair(one, two);
                }
            }
        }
    }

    fn improve_pair(&mut self, one: usize, two: usize) {
        if self.groups[one].len() + self.groups[two].len() <= SHARED_OUT_MAX {
            self.share_out(one, two);
            return;
        }
        while let Some((_, exchange)) = self.best_exchange(one, two) {
            self.exchange(one, two, exchange);
        }
    }

    /// The exchange between two replicas that gains most, or the first that gains much, and what they answer after it.
    fn best_exchange(&mut self, one: usize, two: usize) -> Option<(f64, Exchange)> {
        let now = self.rates[one] + self.rates[two];
        let mut best: Option<(f64, Exchange)> = None;
        let choices = (self.choices(one), self.choices(two));
        for &leaves_one in &choices.0 {
            for &leaves_two in &choices.1 {
                if self.is_over() {
                    return None;
                }
                if (leaves_one, leaves_two) == (None, None) || self.are_alike((one, leaves_one), (two, leaves_two)) {
                    continue;
                }
                let least = best.map_or(now * (1.0 + TIE_RATIO), |best| best.0);
                let rate = self.rate_after(one, two, (leaves_one, leaves_two), least);
                if rate > least {
                    best = Some((rate, (leaves_one, leaves_two)));
                    if rate > now * (1.0 + GAIN_RATIO_TAKEN) {
                        return best;
                    }
                }
            }
        }
        best
    }

    fn exchange(&mut self, one: usize, two: usize, (leaves_one, leaves_two): Exchange) {
        let from_one = leaves_one.map(|position| self.groups[one].swap_remove(position));
        let from_two = leaves_two.map(|position| self.groups[two].swap_remove(position));
        self.groups[one].extend(from_two);
        self.groups[two].extend(from_one);
        self.measure(one);
        self.measure(two);
    }

    /// Idle offers that hold the model together with one more, or with another instead, become a replica, if the one that
    /// gives it loses less than is gained.
    fn revive(&mut self) {
        let limits = self.gauge.pool().limits();
        let replicas = self.groups.iter().filter(|group| !group.is_empty()).count();
        if self.idle.is_empty() || replicas >= limits.replicas_max as usize {
            return;
        }
        let pool = self.gauge.pool();
        sorting::sort_by(&mut self.idle, &|offer| sorting::rising(pool.whole_ms(offer)));
        let members = self.idle.iter().copied().take(IDLE_TRIED.min(limits.stages_max as usize)).collect();
        let revived = self.groups.len();
        self.groups.push(members);
        self.rates.push(0.0);
        self.changed.push(self.round);
        let mut best: Option<(f64, usize, Exchange)> = None;
        for group in (0..revived).filter(|&group| !self.groups[group].is_empty()).collect::<Vec<_>>() {
            if let Some((rate, exchange)) = self.best_exchange(revived, group) {
                let gain = rate - self.rates[group];
                best = if best.is_none_or(|best| gain > best.0) { Some((gain, group, exchange)) } else { best };
            }
        }
        if let Some((_, group, exchange)) = best {
            self.exchange(revived, group, exchange);
        }
        if self.rates[revived] <= 0.0 {
            self.groups.pop();
            self.rates.pop();
            self.changed.pop();
        }
        self.find_idle();
    }

    /// Idle offers are filled together with those of a few replicas that make least of theirs.
    fn refill(&mut self) {
        let pool = self.gauge.pool();
        let used = |group: &[u32], rate: f64| rate / group.iter().map(|&offer| 1.0 / pool.whole_ms(offer).max(f64::MIN_POSITIVE)).sum::<f64>();
        let mut order = self.filled();
        sorting::sort_by(&mut order, &|group| sorting::rising(used(&self.groups[group as usize], self.rates[group as usize])));
        let mut best: Option<(f64, usize, Vec<Vec<u32>>)> = None;
        for count in REFILLED.into_iter().filter(|&count| count <= order.len() && !self.idle.is_empty()) {
            let opened = &order[..count];
            let before: f64 = opened.iter().map(|&group| self.rates[group as usize]).sum();
            let members: Vec<u32> = opened.iter().flat_map(|&group| &self.groups[group as usize]).chain(&self.idle).copied().collect();
            let filled = fill_up(self.gauge, &members, REFILL_TARGETS);
            let gain = filled.throughput - before;
            let room = self.groups.len() - count + filled.groups.len() <= self.gauge.pool().limits().replicas_max as usize;
            if room && gain > before * TIE_RATIO && best.as_ref().is_none_or(|best| gain > best.0) {
                best = Some((gain, count, filled.groups));
            }
        }
        let Some((_, count, filled)) = best else { return };
        for &group in &order[..count] {
            self.groups[group as usize].clear();
            self.set_rate(group as usize, 0.0);
        }
        for group in filled {
            self.rates.push(self.gauge.rate(&group));
            self.changed.push(self.round);
            self.groups.push(group);
        }
        self.find_idle();
    }

    /// Whoever is in no replica is idle.
    fn find_idle(&mut self) {
        self.idle = self.gauge.pool().unused(&self.groups);
    }

    /// The best of all ways to make two replicas, or one, of the members of two small ones.
    fn share_out(&mut self, one: usize, two: usize) {
        let members = [self.groups[one].as_slice(), self.groups[two].as_slice()].concat();
        let mut best = (self.rates[one] + self.rates[two]) * (1.0 + TIE_RATIO);
        let mut found = None;
        let (mut here, mut there) = std::mem::take(&mut self.scratch);
        // The first member is always in the first set, so that no way comes twice.
        for sides in 0_u32..1 << (members.len() - 1) {
            here.clear();
            there.clear();
            here.push(members[0]);
            for (position, &member) in members[1..].iter().enumerate() {
                if sides >> position & 1 == 0 { here.push(member) } else { there.push(member) }
            }
            let rate = self.both(&here, &there, best);
            if rate > best {
                (best, found) = (rate, Some(sides));
            }
        }
        self.scratch = (here, there);
        if let Some(sides) = found {
            let side =
                |wanted: u32| members.iter().enumerate().filter(move |&(position, _)| (position > 0 && sides >> (position - 1) & 1 == 1) == (wanted == 1));
            self.groups[one] = side(0).map(|(_, &member)| member).collect();
            self.groups[two] = side(1).map(|(_, &member)| member).collect();
            self.measure(one);
            self.measure(two);
        }
    }

    fn are_alike(&self, one: (usize, Option<usize>), two: (usize, Option<usize>)) -> bool {
        let kind = |(group, position): (usize, Option<usize>)| position.map(|position| self.gauge.pool().kind_of(self.groups[group][position]));
        kind(one).is_some() && kind(one) == kind(two)
    }

    fn rate_after(&mut self, one: usize, two: usize, (leaves_one, leaves_two): Exchange, least: f64) -> f64 {
        let from_one = leaves_one.map(|position| self.groups[one][position]);
        let from_two = leaves_two.map(|position| self.groups[two][position]);
        let (mut here, mut there) = std::mem::take(&mut self.scratch);
        put(&mut here, &self.groups[one], leaves_one, from_two);
        put(&mut there, &self.groups[two], leaves_two, from_one);
        let rate = self.both(&here, &there, least);
        self.scratch = (here, there);
        rate
    }

    /// The rate of two replicas together; 0 if a quick look shows that it is not above `least`.
    fn both(&mut self, one: &[u32], two: &[u32], least: f64) -> f64 {
        let rate = self.gauge.rate(one);
        let missing = least - rate;
        if missing > 0.0 && (two.is_empty() || !self.gauge.may_stay_below(two, 1.0 / missing)) {
            return 0.0;
        }
        rate + self.gauge.rate(two)
    }

    /// The rate of a replica when a member leaves and an offer joins.
    fn rate_without(&mut self, group: usize, leaves: Option<usize>, joins: Option<u32>) -> f64 {
        let mut members = std::mem::take(&mut self.scratch.0);
        put(&mut members, &self.groups[group], leaves, joins);
        let rate = self.gauge.rate(&members);
        self.scratch.0 = members;
        rate
    }
}

/// Makes a list of a replica's members when one leaves and an offer joins.
fn put(list: &mut Vec<u32>, members: &[u32], leaves: Option<usize>, joins: Option<u32>) {
    list.clear();
    list.extend_from_slice(members);
    if let Some(leaves) = leaves {
        list.swap_remove(leaves);
    }
    list.extend(joins);
}
