//! Improves sets of offers step by step: an offer moves from one replica to another or out of idleness, two are exchanged,
//! what a replica does not need is freed, and idle offers open replicas of their own. Each step gains, so it ends; it ends at
//! the latest after a given amount of work, counted and not timed, so that every machine comes to the same plan.

use std::collections::BTreeSet;

use crate::{
    period::Gauge,
    score::TIE_RATIO,
    sweep::{Grouping, fill_up},
};

/// Idle offers that each replica is offered, fastest first.
const IDLE_TRIED: usize = 12;
/// Bottlenecks at which idle offers open replicas.
const OPENING_TARGETS: u32 = 12;
/// Replicas that each replica is paired with in a round, those of about its own rate.
const NEIGHBOURS: usize = 24;
/// Largest two replicas together whose members are shared out anew in every way.
const SHARED_OUT_MAX: usize = 10;

/// The grouping after improvement, with at most so many offers looked at.
pub fn improve(gauge: &mut Gauge<'_, '_, '_>, grouping: Grouping, steps_max: u64) -> Grouping {
    search(gauge, grouping, steps_max, |search| search.run())
}

fn search(gauge: &mut Gauge<'_, '_, '_>, grouping: Grouping, steps_max: u64, run: impl FnOnce(&mut Search<'_, '_, '_, '_>)) -> Grouping {
    let used: BTreeSet<u32> = grouping.groups.iter().flatten().copied().collect();
    let idle = gauge.pool().usable().into_iter().filter(|offer| !used.contains(offer)).collect();
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
        let taken: BTreeSet<u32> = opened.iter().flatten().copied().collect();
        self.idle.retain(|offer| !taken.contains(offer));
        for group in opened {
            self.rates.push(self.gauge.rate(&group));
            self.changed.push(self.round);
            self.groups.push(group);
        }
    }

    /// Idle offers join a replica, or take the place of a member.
    fn employ(&mut self) {
        let ranges = self.gauge.pool().ranges();
        let time = |offer: u32| ranges.run_ms(offer, 0, ranges.blocks());
        let mut idle: Vec<(f64, u32)> = self.idle.iter().map(|&offer| (time(offer), offer)).collect();
        idle.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        let pool = self.gauge.pool();
        idle.dedup_by_key(|(_, offer)| pool.kind_of(*offer));
        let tried: Vec<u32> = idle.into_iter().take(IDLE_TRIED).map(|(_, offer)| offer).collect();
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
        let mut order: Vec<usize> = (0..self.groups.len()).filter(|&group| !self.groups[group].is_empty()).collect();
        order.sort_by(|&a, &b| self.rates[b].total_cmp(&self.rates[a]).then(a.cmp(&b)));
        for apart in 1..=NEIGHBOURS.min(order.len().saturating_sub(1)) {
            for first in 0..order.len() - apart {
                if self.is_over() {
                    return;
                }
                let (one, two) = (order[first], order[first + apart]);
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
        while !self.is_over() {
            let now = self.rates[one] + self.rates[two];
            let mut best: Option<(f64, Exchange)> = None;
            for leaves_one in self.choices(one) {
                for leaves_two in self.choices(two) {
                    if (leaves_one, leaves_two) == (None, None) || self.are_alike((one, leaves_one), (two, leaves_two)) {
                        continue;
                    }
                    let rate = self.rate_after(one, two, (leaves_one, leaves_two));
                    if rate > best.map_or(now * (1.0 + TIE_RATIO), |best| best.0) {
                        best = Some((rate, (leaves_one, leaves_two)));
                    }
                }
            }
            let Some((_, (leaves_one, leaves_two))) = best else { return };
            let from_one = leaves_one.map(|position| self.groups[one].swap_remove(position));
            let from_two = leaves_two.map(|position| self.groups[two].swap_remove(position));
            self.groups[one].extend(from_two);
            self.groups[two].extend(from_one);
            self.measure(one);
            self.measure(two);
        }
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
            let rate = self.gauge.rate(&here) + self.gauge.rate(&there);
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

    fn rate_after(&mut self, one: usize, two: usize, (leaves_one, leaves_two): Exchange) -> f64 {
        let from_one = leaves_one.map(|position| self.groups[one][position]);
        let from_two = leaves_two.map(|position| self.groups[two][position]);
        self.rate_without(one, leaves_one, from_two) + self.rate_without(two, leaves_two, from_one)
    }

    /// The rate of a replica when a member leaves and an offer joins.
    fn rate_without(&mut self, group: usize, leaves: Option<usize>, joins: Option<u32>) -> f64 {
        let scratch = &mut self.scratch.0;
        scratch.clear();
        scratch.extend_from_slice(&self.groups[group]);
        if let Some(leaves) = leaves {
            scratch.swap_remove(leaves);
        }
        scratch.extend(joins);
        self.gauge.rate(scratch)
    }
}
