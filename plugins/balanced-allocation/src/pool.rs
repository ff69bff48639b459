//! A problem as the searches see it: which offers can hold anything, how much memory each may count on, which of them are
//! alike, and what a hop costs. Offers that share memory are told apart here, so that no search has to know of it.

use std::{cell::OnceCell, collections::BTreeMap};

use shardhost_sdk::{
    allocation::{Placement, Roles},
    problem::Ranges,
};

use crate::{even::Even, sorting};

/// Most ways to choose one offer of each shared memory that are tried; beyond it only the fastest of each counts.
const CHOICES_MAX: usize = 8;

/// Most entries of a table by kind and block; beyond it entries are computed when they are asked for.
const ENTRIES_MAX: usize = 1_500_000;

/// The memory of an offer that is left out: not even a shard that needs none fits.
const LEFT_OUT: f64 = f64::NEG_INFINITY;

/// Offers that no search needs to tell apart: the same memory, times, roles and place. Members ascend.
#[derive(Clone, Debug)]
pub struct Kind {
    /// Their indexes.
    pub members: Vec<u32>,
}

/// The problem with the memory that each offer may use.
#[derive(Clone, Debug)]
pub struct Pool<'r, 'a> {
    ranges: &'r Ranges<'a>,
    memory: Vec<f64>,
    kinds: Vec<Kind>,
    kind_of: Vec<u32>,
    relaxed: bool,
    /// By device: whether it makes several offers or has a link that was measured.
    crowded: Vec<bool>,
    even: Option<Even>,
    /// By kind: milliseconds for the whole model.
    whole_ms: Vec<f64>,
    /// By kind: the order of what it holds, in bytes of weights.
    size_keys: Vec<u64>,
    /// By kind and start: the largest end that fits in memory.
    ends: OnceCell<Vec<u32>>,
    /// By kind and border: milliseconds of the blocks before it; none where blocks share weights, or there are too many.
    times: OnceCell<Option<Vec<f64>>>,
}

impl<'r, 'a> Pool<'r, 'a> {
    /// Every way to share memory out that is worth a search. The first gives each offer all of its pool: if what is found
    /// there fits, nothing better exists. The others always fit.
    pub fn variants(ranges: &'r Ranges<'a>) -> Vec<Self> {
        let full: Vec<f64> = ranges.problem().offers.iter().map(|offer| offer.memory_bytes).collect();
        let shared = shared(ranges);
        if shared.is_empty() {
            return vec![Self::new(ranges, full, false)];
        }
        let mut memories = vec![];
        for choice in choices(ranges, &shared) {
            let mut memory = full.clone();
            shared.iter().flatten().filter(|offer| !choice.contains(offer)).for_each(|&offer| memory[offer as usize] = LEFT_OUT);
            memories.push(memory);
        }
        memories.push(split(&full, &shared, |_| 1.0));
        memories.push(split(&full, &shared, |offer| 1.0 / ranges.run_ms(offer, 0, ranges.blocks()).max(f64::MIN_POSITIVE)));
        let mut all = vec![Self::new(ranges, full, true)];
        all.extend(memories.into_iter().map(|memory| Self::new(ranges, memory, false)));
        all
    }

    fn new(ranges: &'r Ranges<'a>, memory: Vec<f64>, relaxed: bool) -> Self {
        let mut pool = Self {
            ranges,
            memory,
            kinds: Vec::new(),
            kind_of: vec![u32::MAX; ranges.offers() as usize],
            relaxed,
            crowded: crowded(ranges),
            even: None,
            whole_ms: Vec::new(),
            size_keys: Vec::new(),
            ends: OnceCell::new(),
            times: OnceCell::new(),
        };
        let mut found: BTreeMap<[u64; 12], u32> = BTreeMap::new();
        let mut refused = vec![false; ranges.offers() as usize];
        for exclusion in &ranges.problem().exclusions {
            if let Some(refused) = refused.get_mut(exclusion.offer as usize) {
                *refused = true;
            }
        }
        let usable: Vec<u32> = (0..ranges.offers()).filter(|&offer| pool.holds_anything(offer)).collect();
        for offer in usable {
            let key = pool.key(offer, &refused);
            let kind = *found.entry(key).or_insert_with(|| {
                pool.kinds.push(Kind { members: Vec::new() });
                index(pool.kinds.len() - 1)
            });
            pool.kinds[kind as usize].members.push(offer);
            pool.kind_of[offer as usize] = kind;
        }
        pool.whole_ms = pool.kinds.iter().map(|kind| ranges.run_ms(kind.members[0], 0, ranges.blocks())).collect();
        pool.size_keys = pool.kinds.iter().map(|kind| sorting::rising(pool.memory(kind.members[0]) / ranges.offer(kind.members[0]).weight_factor)).collect();
        pool.even = Even::of(&pool);
        pool
    }

    /// The problem's arithmetic.
    pub fn ranges(&self) -> &'r Ranges<'a> {
        self.ranges
    }

    /// How many blocks the model has.
    pub fn blocks(&self) -> u32 {
        self.ranges.blocks()
    }

    /// What the configuration allows.
    pub fn limits(&self) -> Placement {
        self.ranges.problem().placement
    }

    /// Whether offers count on memory that they share, so that what is found may not fit.
    pub fn is_relaxed(&self) -> bool {
        self.relaxed
    }

    /// Groups of offers that are alike; offers that hold nothing are in none.
    pub fn kinds(&self) -> &[Kind] {
        &self.kinds
    }

    /// The group of an offer that holds something.
    pub fn kind_of(&self, offer: u32) -> u32 {
        self.kind_of[offer as usize]
    }

    /// Offers that hold something, ascending.
    pub fn usable(&self) -> Vec<u32> {
        (0..self.ranges.offers()).filter(|&offer| self.kind_of[offer as usize] != u32::MAX).collect()
    }

    /// Offers that hold something and are in none of some groups, ascending.
    pub fn unused(&self, groups: &[Vec<u32>]) -> Vec<u32> {
        let mut unused = self.usable();
        keep_unused(&mut unused, groups);
        unused
    }

    /// The pool by counts of blocks, if the model is even.
    pub fn even(&self) -> Option<&Even> {
        self.even.as_ref()
    }

    /// Milliseconds for the whole model on an offer that holds something, whether or not it fits.
    pub fn whole_ms(&self, offer: u32) -> f64 {
        self.whole_ms[self.kind_of(offer) as usize]
    }

    /// A key for the bytes of weights that an offer holds, of those that hold something; offers that hold less have a lesser one.
    pub fn size_key(&self, offer: u32) -> u64 {
        self.size_keys[self.kind_of(offer) as usize]
    }

    /// Milliseconds for blocks start..end on any offer of a kind.
    pub fn run_ms(&self, kind: u32, start: u32, end: u32) -> f64 {
        self.run_in_row_ms(self.row(kind), kind, start, end)
    }

    /// The row of a kind in the table of times, if there is one. Searches that ask for many times look it up once.
    fn row(&self, kind: u32) -> Option<&[f64]> {
        let width = self.blocks() as usize + 2;
        let times = self.times.get_or_init(|| self.times()).as_ref()?;
        Some(&times[kind as usize * width..(kind as usize + 1) * width])
    }

    #[inline]
    fn run_in_row_ms(&self, row: Option<&[f64]>, kind: u32, start: u32, end: u32) -> f64 {
        match row {
            Some(row) => row[end as usize] - row[start as usize] + row[row.len() - 1],
            None => self.ranges.run_ms(self.kinds[kind as usize].members[0], start, end),
        }
    }

    /// The times before each border, and at the end of each row the fixed time.
    fn times(&self) -> Option<Vec<f64>> {
        let problem = self.ranges.problem();
        if !problem.shared_weights.is_empty() || self.kinds.len() * self.blocks() as usize > ENTRIES_MAX {
            return None;
        }
        let row = |kind: &Kind| {
            let offer = kind.members[0];
            let fixed_ms = self.ranges.run_ms(offer, 0, 0);
            (0..=self.blocks()).map(move |end| self.ranges.run_ms(offer, 0, end) - fixed_ms).chain([fixed_ms])
        };
        Some(self.kinds.iter().flat_map(row).collect())
    }

    /// The largest end up to which offers of a kind hold the blocks from `start` on.
    pub fn end(&self, kind: u32, start: u32) -> u32 {
        if self.kinds.len() * self.blocks() as usize > ENTRIES_MAX {
            return self.reach(self.kinds[kind as usize].members[0], start);
        }
        self.ends.get_or_init(|| self.ends())[(kind * self.blocks() + start) as usize]
    }

    fn ends(&self) -> Vec<u32> {
        self.kinds.iter().flat_map(|kind| self.ends_of(kind.members[0])).collect()
    }

    /// By start: the largest end up to which an offer holds the blocks from there on.
    pub fn ends_of(&self, offer: u32) -> Vec<u32> {
        let mut end = 0;
        let reach = |start| {
            end = end.max(start);
            // A later start never reaches less far.
            while end < self.blocks() && self.holds(offer, start, end + 1) {
                end += 1;
            }
            end
        };
        (0..self.blocks()).map(reach).collect()
    }

    /// Whether blocks start..end may be put on an offer that holds them in memory.
    pub fn is_allowed(&self, offer: u32, start: u32, end: u32) -> bool {
        self.ranges.takes_place(offer, start, end) && !self.ranges.excluded(offer, start, end)
    }

    /// Bytes that an offer may use.
    pub fn memory(&self, offer: u32) -> f64 {
        self.memory[offer as usize]
    }

    /// Whether an offer holds blocks start..end in memory, whatever their place in the chain.
    pub fn holds(&self, offer: u32, start: u32, end: u32) -> bool {
        self.ranges.need(offer, start, end) <= self.memory[offer as usize]
    }

    /// Whether blocks start..end may be put on an offer.
    pub fn fits(&self, offer: u32, start: u32, end: u32) -> bool {
        self.holds(offer, start, end) && self.is_allowed(offer, start, end)
    }

    /// The largest end up to which an offer holds the blocks from `start` on; `start` if it holds none. The need grows with
    /// the range, so halving finds it.
    fn reach(&self, offer: u32, start: u32) -> u32 {
        let (mut low, mut high) = (start, self.blocks());
        while low < high {
            let middle = low + (high - low).div_ceil(2);
            if self.holds(offer, start, middle) { low = middle } else { high = middle - 1 }
        }
        low
    }

    /// The largest end up to which offers of a kind hold the blocks from `start` on and run them within `limit_ms`.
    pub fn end_within(&self, kind: u32, start: u32, limit_ms: f64) -> u32 {
        if start >= self.blocks() {
            return start;
        }
        let row = self.row(kind);
        let (mut low, mut high) = (start, self.end(kind, start));
        while low < high {
            let middle = low + (high - low).div_ceil(2);
            if self.run_in_row_ms(row, kind, start, middle) <= limit_ms { low = middle } else { high = middle - 1 }
        }
        low
    }

    /// The device of an offer.
    pub fn device(&self, offer: u32) -> u32 {
        self.ranges.offer(offer).device
    }

    /// The site of an offer.
    pub fn site(&self, offer: u32) -> u32 {
        let device = self.device(offer) as usize;
        self.ranges.problem().devices.get(device).map_or(u32::MAX, |device| device.site)
    }

    /// Whether the device of an offer makes others too, or has a link that was measured: it is a place of its own.
    pub fn is_crowded(&self, offer: u32) -> bool {
        self.crowded[self.device(offer) as usize]
    }

    /// Whether links were measured between devices that can be used.
    pub fn is_measured(&self) -> bool {
        !self.ranges.problem().links.is_empty()
    }

    fn holds_anything(&self, offer: u32) -> bool {
        (0..self.blocks()).any(|block| self.holds(offer, block, block + 1)) && {
            let roles = self.ranges.offer(offer).roles;
            roles.contains(Roles::HEAD) || roles.contains(Roles::BODY) || roles.contains(Roles::TAIL)
        }
    }

    /// What makes offers alike. Devices with links, refusals or offers of their own are like no other.
    fn key(&self, offer: u32, refused: &[bool]) -> [u64; 12] {
        let known = self.ranges.offer(offer);
        let cost = &known.cost;
        let place = if self.is_crowded(offer) { u64::from(known.device) + 1 } else { 0 };
        [
            self.memory[offer as usize].to_bits(),
            known.weight_factor.to_bits(),
            known.fixed_bytes.to_bits(),
            roles(known.roles),
            cost.gflop_ms.to_bits(),
            cost.weight_mb_ms.to_bits(),
            cost.activation_mb_ms.to_bits(),
            cost.fixed_ms.to_bits(),
            known.busy_ratio.to_bits(),
            u64::from(self.site(offer)),
            place,
            if refused[offer as usize] { u64::from(offer) + 1 } else { 0 },
        ]
    }
}

/// Offers that share memory with others, by what they share.
fn shared(ranges: &Ranges<'_>) -> Vec<Vec<u32>> {
    let mut offers: Vec<u32> = (0..ranges.offers()).collect();
    sorting::sort_by(&mut offers, &|offer| {
        let (device, pool) = ranges.pool(offer);
        sorting::pair(device, pool)
    });
    offers.chunk_by(|&a, &b| ranges.pool(a) == ranges.pool(b)).filter(|members| members.len() > 1).map(<[u32]>::to_vec).collect()
}

/// By device: whether it makes several offers or has a link that was measured.
fn crowded(ranges: &Ranges<'_>) -> Vec<bool> {
    let problem = ranges.problem();
    let devices = problem.offers.iter().map(|offer| offer.device as usize + 1).chain([problem.devices.len()]).max().unwrap_or(0);
    let mut offers = vec![0_u32; devices];
    problem.offers.iter().for_each(|offer| offers[offer.device as usize] += 1);
    let mut crowded: Vec<bool> = offers.into_iter().map(|offers| offers > 1).collect();
    for device in problem.links.iter().flat_map(|link| [link.source, link.target]) {
        if let Some(crowded) = crowded.get_mut(device as usize) {
            *crowded = true;
        }
    }
    crowded
}

fn roles(roles: Roles) -> u64 {
    u64::from(roles.contains(Roles::HEAD)) | u64::from(roles.contains(Roles::BODY)) << 1 | u64::from(roles.contains(Roles::TAIL)) << 2
}

/// Ways to choose one offer of each shared memory.
fn choices(ranges: &Ranges<'_>, shared: &[Vec<u32>]) -> Vec<Vec<u32>> {
    let count = shared.iter().try_fold(1_usize, |count, members| count.checked_mul(members.len())).unwrap_or(usize::MAX);
    if count > CHOICES_MAX {
        let time = |offer: u32| ranges.run_ms(offer, 0, ranges.blocks());
        return vec![shared.iter().filter_map(|members| members.iter().copied().min_by(|&a, &b| time(a).total_cmp(&time(b)))).collect()];
    }
    let extended = |chosen: Vec<Vec<u32>>, members: &Vec<u32>| -> Vec<Vec<u32>> {
        chosen.iter().flat_map(|chosen| members.iter().map(move |&member| [chosen.as_slice(), &[member]].concat())).collect()
    };
    shared.iter().fold(vec![Vec::new()], extended)
}

/// Each shared memory split among its offers by weight.
fn split(full: &[f64], shared: &[Vec<u32>], weight: impl Fn(u32) -> f64) -> Vec<f64> {
    let mut memory = full.to_vec();
    for members in shared {
        let sum: f64 = members.iter().map(|&member| weight(member)).sum();
        for &member in members {
            memory[member as usize] = (full[member as usize] * weight(member) / sum).floor();
        }
    }
    memory
}

/// Keeps those offers of a list that are in none of some groups.
pub fn keep_unused(offers: &mut Vec<u32>, groups: &[Vec<u32>]) {
    let most = groups.iter().flatten().max().map_or(0, |most| most + 1);
    let mut used = vec![false; most as usize];
    groups.iter().flatten().for_each(|&offer| used[offer as usize] = true);
    offers.retain(|&offer| offer >= most || !used[offer as usize]);
}

/// A length as an index. Lists of a problem stay below 2^31.
pub fn index(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}
