//! The fastest way from any block on to the end if an offer may have any number of stages: a lower bound for every chain.
//! Links that were measured as slower than the default of their devices' sites count as the default, which only lowers it.

use std::collections::BTreeMap;

use crate::pool::Pool;

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
        for border in (0..pool.blocks()).rev() {
            for &kind in kinds {
                let value = relaxed.stage(pool, kind, border);
                relaxed.from[kind as usize * borders + border as usize] = value;
            }
            if border > 0 {
                relaxed.hops(pool, kinds, &near, border);
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

    fn hops(&mut self, pool: &Pool<'_, '_>, kinds: &[u32], near: &[Vec<u32>], border: u32) {
        let problem = pool.ranges().problem();
        let size = problem.blocks[border as usize - 1].border_bytes;
        let time = |speed: shardhost_sdk::allocation::Speed| speed.latency_ms + size / speed.bytes_per_ms;
        let (within_ms, between_ms) = (time(problem.within_site), time(problem.between_sites));
        let mut sites: BTreeMap<u32, Least> = BTreeMap::new();
        let mut all = Least::NONE;
        for &kind in kinds {
            let members = &pool.kinds()[kind as usize].members;
            let value = self.from(kind, border);
            // A kind of several offers may follow itself.
            let owner = if members.len() > 1 { u32::MAX } else { kind };
            sites.entry(pool.site(members[0])).or_insert(Least::NONE).note(value, owner);
            all.note(value, owner);
        }
        for &kind in kinds {
            let offer = pool.kinds()[kind as usize].members[0];
            let here = sites.get(&pool.site(offer)).map_or(f64::INFINITY, |least| least.but(kind));
            let mut value = (here + within_ms).min(all.but(kind) + between_ms);
            for &next in &near[kind as usize] {
                let other = pool.kinds()[next as usize].members[0];
                value = value.min(self.from(next, border) + pool.ranges().hop_ms(offer, other, border));
            }
            self.after[kind as usize * self.borders + border as usize] = value;
        }
    }
}

/// By kind: kinds that are reached over a link that was measured, or on the same device.
fn near(pool: &Pool<'_, '_>, kinds: &[u32]) -> Vec<Vec<u32>> {
    let mut by_device: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for &kind in kinds {
        // Devices with links or several offers share no kind with others.
        by_device.entry(pool.device(pool.kinds()[kind as usize].members[0])).or_default().push(kind);
    }
    let mut near = vec![Vec::new(); pool.kinds().len()];
    let pairs = pool.ranges().problem().links.iter().map(|link| (link.source, link.target));
    for (source, target) in pairs.chain(by_device.keys().map(|&device| (device, device))) {
        for &from in by_device.get(&source).into_iter().flatten() {
            near[from as usize]
                .extend(by_device.get(&target).into_iter().flatten().copied().filter(|&to| to != from || pool.kinds()[to as usize].members.len() > 1));
        }
    }
    near
}
