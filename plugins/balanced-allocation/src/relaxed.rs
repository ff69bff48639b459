//! The fastest way from any block on to the end if an offer may have any number of stages: a lower bound for every chain.
//! Links that were measured as slower than the default of their devices' sites count as the default, which only lowers it.

use crate::{
    pool::{Pool, index},
    sorting,
};

/// Lower bounds by kind and border.
#[derive(Clone, Debug)]
pub struct Relaxed {
    borders: usize,
    /// From the border before a stage on the kind: that stage and all after it.
    from: Vec<f64>,
    /// From the border after a stage on the kind: the hop and all after it.
    after: Vec<f64>,
}

/// The two least values of a group, of two kinds.
#[derive(Clone, Copy)]
struct Least {
    first: (f64, u32),
    second: f64,
}

impl Least {
    const NONE: Self = Self { first: (f64::INFINITY, u32::MAX), second: f64::INFINITY };

    fn note(&mut self, value: f64, kind: u32) {
        if value < self.first.0 {
            (self.second, self.first) = (self.first.0, (value, kind));
        } else {
            self.second = self.second.min(value);
        }
    }

    fn but(&self, kind: u32) -> f64 {
        if self.first.1 == kind { self.second } else { self.first.0 }
    }
}

impl Relaxed {
    /// For some kinds of a pool; others count as absent.
    pub fn of(pool: &Pool<'_, '_>, kinds: &[u32]) -> Self {
        let borders = pool.blocks() as usize + 1;
        let endless = vec![f64::INFINITY; pool.kinds().len() * borders];
        let mut relaxed = Self { borders, from: endless.clone(), after: endless };
        for &kind in kinds {
            relaxed.after[kind as usize * borders + borders - 1] = 0.0;
        }
        let near = near(pool, kinds);
        let mut by_site = kinds.to_vec();
        sorting::sort_by(&mut by_site, &|kind| u64::from(site(pool, kind)));
        for border in (0..pool.blocks()).rev() {
            for &kind in kinds {
                let value = relaxed.stage(pool, kind, border);
                relaxed.from[kind as usize * borders + border as usize] = value;
            }
            if border > 0 {
                relaxed.hops(pool, &by_site, &near, border);
            }
        }
        relaxed
    }

    /// Milliseconds from a border on, if the next stage is on a kind.
    pub fn from(&self, kind: u32, border: u32) -> f64 {
        self.from[kind as usize * self.borders + border as usize]
    }

    /// Milliseconds after a stage on a kind that ends at a border, hop included.
    pub fn after(&self, kind: u32, border: u32) -> f64 {
        self.after[kind as usize * self.borders + border as usize]
    }

    /// Milliseconds of the whole model.
    pub fn least_ms(&self) -> f64 {
        self.from.chunks_exact(self.borders).map(|row| row[0]).fold(f64::INFINITY, f64::min)
    }

    fn stage(&self, pool: &Pool<'_, '_>, kind: u32, border: u32) -> f64 {
        let offer = pool.kinds()[kind as usize].members[0];
        let takes = (border + 1..=pool.end(kind, border)).filter(|&end| pool.is_allowed(offer, border, end));
        takes.map(|end| pool.run_ms(kind, border, end) + self.after(kind, end)).fold(f64::INFINITY, f64::min)
    }

    /// The kinds must be in the order of their sites.
    fn hops(&mut self, pool: &Pool<'_, '_>, kinds: &[u32], near: &[Vec<u32>], border: u32) {
        let problem = pool.ranges().problem();
        let size = problem.blocks[border as usize - 1].border_bytes;
        let time = |speed: shardhost_sdk::allocation::Speed| speed.latency_ms + size / speed.bytes_per_ms;
        let (within_ms, between_ms) = (time(problem.within_site), time(problem.between_sites));
        let all = self.least(pool, kinds, border);
        for cell in kinds.chunk_by(|&a, &b| site(pool, a) == site(pool, b)) {
            let here = self.least(pool, cell, border);
            for &kind in cell {
                let offer = pool.kinds()[kind as usize].members[0];
                let mut value = (here.but(kind) + within_ms).min(all.but(kind) + between_ms);
                for &next in &near[kind as usize] {
                    let other = pool.kinds()[next as usize].members[0];
                    value = value.min(self.from(next, border) + pool.ranges().hop_ms(offer, other, border));
                }
                self.after[kind as usize * self.borders + border as usize] = value;
            }
        }
    }

    /// The least from a border on, if the next stage is on one of some kinds.
    fn least(&self, pool: &Pool<'_, '_>, kinds: &[u32], border: u32) -> Least {
        let mut least = Least::NONE;
        for &kind in kinds {
            // A kind of several offers may follow itself.
            let owner = if pool.kinds()[kind as usize].members.len() > 1 { u32::MAX } else { kind };
            least.note(self.from(kind, border), owner);
        }
        least
    }
}

/// The site of the offers of a kind.
fn site(pool: &Pool<'_, '_>, kind: u32) -> u32 {
    pool.site(pool.kinds()[kind as usize].members[0])
}

/// By kind: kinds that are reached over a link that was measured, or on the same device.
fn near(pool: &Pool<'_, '_>, kinds: &[u32]) -> Vec<Vec<u32>> {
    let mut by_device: Vec<Vec<u32>> = Vec::new();
    for &kind in kinds {
        // Devices with links or several offers share no kind with others.
        let device = pool.device(pool.kinds()[kind as usize].members[0]) as usize;
        by_device.resize_with(by_device.len().max(device + 1), Vec::new);
        by_device[device].push(kind);
    }
    let on = |device: u32| by_device.get(device as usize).map_or(&[][..], Vec::as_slice);
    let mut near: Vec<Vec<u32>> = vec![Vec::new(); pool.kinds().len()];
    let pairs = pool.ranges().problem().links.iter().map(|link| (link.source, link.target));
    for (source, target) in pairs.chain((0..index(by_device.len())).map(|device| (device, device))) {
        for &from in on(source) {
            near[from as usize].extend(on(target).iter().filter(|&&to| to != from || pool.kinds()[to as usize].members.len() > 1));
        }
    }
    near
}
