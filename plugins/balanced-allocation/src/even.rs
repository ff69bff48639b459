//! Models whose inner blocks are alike, as transformers are. What an offer takes within a time is then a count of blocks,
//! wherever they lie, and the least bottleneck of a set of offers is found without a dynamic program.
//!
//! The first and the last block may differ (an embedding, an output head): whoever holds them has a line of its own, and
//! the pair of offers that loses least by them is chosen.

use shardhost_sdk::{
    allocation::{Block, Roles},
    problem::Ranges,
};

use crate::pool::{Pool, index};

/// Counts this close below the next whole one are that one, so that rounding takes no block away.
const COUNT_SLACK: f64 = 1e-9;

/// What an offer takes at one place of a chain: `count` blocks in `base_ms + count * block_ms`, at most `most` of them.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Line {
    /// Milliseconds for no block.
    pub base_ms: f64,
    /// Milliseconds for each block; above 0.
    pub block_ms: f64,
    /// Blocks that fit in memory.
    pub most: u32,
    /// Blocks in a millisecond: what `block_ms` divides by.
    pub speed: f64,
}

impl Line {
    /// Milliseconds for so many blocks.
    pub fn ms(&self, count: u32) -> f64 {
        self.base_ms + self.block_ms * f64::from(count)
    }

    /// Milliseconds for one block more; infinite if there is no room for it.
    pub fn next_ms(&self, count: u32) -> f64 {
        if count < self.most { self.ms(count + 1) } else { f64::INFINITY }
    }

    /// Blocks within a time, if they could be divided and memory did not end; below 0 where not even the start is made.
    pub fn ideal(&self, limit_ms: f64) -> f64 {
        (limit_ms - self.base_ms) * self.speed
    }

    /// Blocks within a time.
    pub fn count(&self, limit_ms: f64) -> u32 {
        // The cast saturates, and takes what is not a number for 0. Processors have one for numbers with a sign alone.
        ((self.ideal(limit_ms) + COUNT_SLACK) as i32).max(0).unsigned_abs().min(self.most)
    }
}

/// The lines of one kind of offers.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Lines {
    /// Between first and last.
    pub inner: Line,
    /// With the first block, not the last.
    pub head: Line,
    /// With the last block, not the first.
    pub tail: Line,
    /// Milliseconds for the whole model; infinite if it does not fit.
    pub whole_ms: f64,
}

impl Lines {
    /// The most blocks that it takes within a time at any place.
    pub fn count(&self, limit_ms: f64, blocks: u32) -> u32 {
        if self.whole_ms <= limit_ms {
            return blocks;
        }
        self.inner.count(limit_ms).max(self.head.count(limit_ms)).max(self.tail.count(limit_ms))
    }
}

/// Time on the way between offers of one device, one site, or two, at any border of an even model.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Hops {
    /// Between two devices of one site.
    pub within_ms: f64,
    /// Between two sites.
    pub between_ms: f64,
}

/// An even model on the offers of a pool.
#[derive(Clone, Debug)]
pub struct Even {
    lines: Vec<Lines>,
    hops: Hops,
    /// Whether first and last block are like the others and all offers take every place.
    plain: bool,
    blocks: u32,
    stages_min: u32,
    stages_max: u32,
    /// By offer: its kind, device and site.
    places: Vec<Place>,
}

/// Where an offer is.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Place {
    /// Index of its kind.
    pub kind: u32,
    /// Index of its device.
    pub device: u32,
    /// Index of its site.
    pub site: u32,
}

impl Even {
    /// The lines of each kind; none if the model is not even.
    pub fn of(pool: &Pool<'_, '_>) -> Option<Self> {
        let ranges = pool.ranges();
        if !is_even(ranges) {
            return None;
        }
        let lines: Vec<Lines> = pool.kinds().iter().map(|kind| lines(pool, kind.members[0])).collect();
        let problem = ranges.problem();
        let border = problem.blocks[0].border_bytes;
        let time = |speed: shardhost_sdk::allocation::Speed| speed.latency_ms + border / speed.bytes_per_ms;
        let hops = Hops { within_ms: time(problem.within_site), between_ms: time(problem.between_sites) };
        let ample = ranges.blocks() - 2;
        let same = |a: &Line, b: &Line| (a.base_ms - b.base_ms).abs() <= COUNT_SLACK * b.ms(1) && a.most.min(ample) == b.most.min(ample);
        let plain = lines.iter().all(|lines| same(&lines.head, &lines.inner) && same(&lines.tail, &lines.inner));
        let place = |offer| Place { kind: pool.kind_of(offer), device: pool.device(offer), site: pool.site(offer) };
        Some(Self {
            lines,
            hops,
            plain,
            blocks: ranges.blocks(),
            stages_min: pool.limits().stages_min,
            stages_max: pool.limits().stages_max,
            places: (0..ranges.offers()).map(place).collect(),
        })
    }

    /// The lines of an offer.
    pub fn lines(&self, offer: u32) -> &Lines {
        &self.lines[self.places[offer as usize].kind as usize]
    }

    /// The line of an offer by its place in a chain. Where all places are alike it is that of the head, which may take all
    /// blocks but one.
    pub fn line(&self, offer: u32, is_head: bool, is_tail: bool) -> &Line {
        let lines = self.lines(offer);
        match (is_head || self.plain, is_tail) {
            (true, _) => &lines.head,
            (_, true) => &lines.tail,
            _ => &lines.inner,
        }
    }

    /// How many kinds there are.
    pub fn kinds(&self) -> u32 {
        index(self.lines.len())
    }

    /// The lines of a kind.
    pub fn lines_of_kind(&self, kind: u32) -> &Lines {
        &self.lines[kind as usize]
    }

    /// Times between offers.
    pub fn hops(&self) -> Hops {
        self.hops
    }

    /// Whether every place in a chain is like any other.
    pub fn is_plain(&self) -> bool {
        self.plain
    }

    /// Blocks of the model.
    pub fn blocks(&self) -> u32 {
        self.blocks
    }

    /// Fewest and most stages of a chain.
    pub fn stages(&self) -> (u32, u32) {
        (self.stages_min, self.stages_max)
    }

    /// Where an offer is.
    pub fn place(&self, offer: u32) -> Place {
        self.places[offer as usize]
    }

    /// The slowest hop that a chain over these offers cannot do without: sites must be left, and devices of a site.
    pub fn slowest_hop_ms(&self, members: &[u32]) -> f64 {
        let first = self.place(members[0]);
        let (mut sites, mut devices) = (false, false);
        for &member in &members[1..] {
            let place = self.place(member);
            sites |= place.site != first.site;
            devices |= place.device != first.device;
        }
        match (sites, devices) {
            (true, _) => self.hops.between_ms,
            (false, true) => self.hops.within_ms,
            (false, false) => 0.0,
        }
    }
}

/// Whether the blocks between the first and the last are alike, and so is what they send and share.
fn is_even(ranges: &Ranges<'_>) -> bool {
    let problem = ranges.problem();
    let blocks = &problem.blocks;
    let Some(inner) = blocks.get(1..blocks.len().saturating_sub(1)).filter(|inner| inner.len() >= 2) else {
        return false;
    };
    let sends_alike = blocks[..blocks.len() - 1].iter().all(|block| block.border_bytes == blocks[0].border_bytes);
    let last = index(blocks.len() - 1);
    let shared_alike = problem.shared_weights.iter().all(|weight| {
        let inside = weight.blocks.iter().filter(|&&block| block > 0 && block < last).count();
        inside == 0 || inside == inner.len()
    });
    let alike = |block: &Block| {
        let first = &inner[0];
        (block.flops, block.weight_bytes, block.activation_bytes) == (first.flops, first.weight_bytes, first.activation_bytes)
            && (block.kv_bytes_per_token, block.workspace_bytes) == (first.kv_bytes_per_token, first.workspace_bytes)
    };
    sends_alike && shared_alike && inner.iter().all(alike)
}

fn lines(pool: &Pool<'_, '_>, offer: u32) -> Lines {
    let (ranges, blocks) = (pool.ranges(), pool.blocks());
    let roles = ranges.offer(offer).roles;
    let one = ranges.run_ms(offer, 1, 2);
    let wide = ranges.run_ms(offer, 1, blocks - 1);
    // A time that does not grow with the work would make counts infinite.
    let block_ms = ((wide - one) / f64::from(blocks - 3)).max(1e-12 * (one + f64::MIN_POSITIVE));
    let about = (pool.memory(offer) / ranges.need(offer, 1, 2)) as u32;
    let line = |from: u32, to: u32, role: Roles, ranges_of: &dyn Fn(u32) -> (u32, u32)| {
        let all = if role == Roles::BODY { blocks - 2 } else { blocks - 1 };
        let most = if roles.contains(role) { most(pool, offer, (about, all), ranges_of) } else { 0 };
        Line { base_ms: ranges.run_ms(offer, from, to) - block_ms, block_ms, most, speed: 1.0 / block_ms }
    };
    let takes_whole = roles.contains(Roles::HEAD) && roles.contains(Roles::TAIL) && pool.holds(offer, 0, blocks);
    Lines {
        inner: line(1, 2, Roles::BODY, &|count| (1, 1 + count)),
        head: line(0, 1, Roles::HEAD, &|count| (0, count)),
        tail: line(blocks - 1, blocks, Roles::TAIL, &|count| (blocks - count, blocks)),
        whole_ms: if takes_whole { ranges.run_ms(offer, 0, blocks) } else { f64::INFINITY },
    }
}

/// How many of so many blocks an offer holds at one place. It is found by halving, unless it is as many as it looks like.
fn most(pool: &Pool<'_, '_>, offer: u32, (about, all): (u32, u32), range: &dyn Fn(u32) -> (u32, u32)) -> u32 {
    let holds = |count: u32| {
        let (start, end) = range(count);
        pool.holds(offer, start, end)
    };
    let about = about.min(all);
    if about > 0 && holds(about) && (about == all || !holds(about + 1)) {
        return about;
    }
    let (mut low, mut high) = (0, all);
    while low < high {
        let middle = low + (high - low).div_ceil(2);
        if holds(middle) { low = middle } else { high = middle - 1 }
    }
    low
}
