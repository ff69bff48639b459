//! Problems for the tests of allocation policies: plain ones to write down, and generated ones in which everything
//! occurs that a host may ask. Called by tests only; nothing here is exported to the sandbox.

use crate::allocation::{Block, Cost, Device, Exclusion, Link, Objective, Offer, Placement, Problem, Replica, Roles, SharedWeight, Speed, Stage};

/// A mebibyte.
pub const MIB: f64 = 1_048_576.0;

/// A block of 1 GFLOP with these weights, in bytes, and nothing else but 1 KiB that leaves it.
pub fn block(weight_bytes: f64) -> Block {
    Block { flops: 1e9, weight_bytes, activation_bytes: 0.0, border_bytes: 1024.0, kv_bytes_per_token: 0.0, workspace_bytes: 0.0 }
}

/// An offer of a device of its own, which joined as the index says, with this memory in bytes and time in ms per GFLOP.
pub fn offer(index: u32, memory_bytes: f64, gflop_ms: f64) -> Offer {
    Offer {
        id: format!("d{index:04}/cpu"),
        device: index,
        memory_pool: 0,
        memory_bytes,
        weight_factor: 1.0,
        fixed_bytes: 0.0,
        roles: Roles::HEAD | Roles::BODY | Roles::TAIL,
        cost: Cost { gflop_ms, weight_mb_ms: 0.0, activation_mb_ms: 0.0, fixed_ms: 0.0 },
        busy_ratio: 0.0,
        joined: index,
        attributes: Vec::new(),
    }
}

/// A problem with a device for each device that an offer names, equal links, and no limit but the number of blocks and
/// offers.
pub fn problem(blocks: Vec<Block>, offers: Vec<Offer>) -> Problem {
    let devices = offers.iter().map(|offer| offer.device + 1).max().unwrap_or(0);
    let speed = Speed { latency_ms: 0.1, bytes_per_ms: 100_000.0 };
    let count = u32::try_from(offers.len()).unwrap_or(u32::MAX).max(1);
    let stages_max = u32::try_from(blocks.len()).unwrap_or(u32::MAX).clamp(1, count);
    Problem {
        model: "m@1".into(),
        blocks,
        shared_weights: Vec::new(),
        input_bytes: 0.0,
        sequences: 1,
        tokens: 0,
        devices: (0..devices).map(|index| Device { id: format!("d{index:04}"), site: 0, attributes: Vec::new() }).collect(),
        offers,
        links: Vec::new(),
        within_site: speed,
        between_sites: speed,
        placement: Placement { objective: Objective::Balanced, stages_min: 1, stages_max, replicas_max: count },
        current: Vec::new(),
        horizon_ms: 60_000.0,
        exclusions: Vec::new(),
        attributes: Vec::new(),
    }
}

/// Equal blocks of 1 MiB and 1 GFLOP, and offers by `(memory in MiB, ms per GFLOP)` in the order of joining.
pub fn even_problem(blocks: usize, offers: &[(f64, f64)]) -> Problem {
    let offers = (0..).zip(offers).map(|(index, &(memory, gflop_ms))| offer(index, memory * MIB, gflop_ms)).collect();
    problem(vec![block(MIB); blocks], offers)
}

/// A problem of 1 to 24 blocks and 1 to 12 offers: unequal and weightless blocks, weights that the ends share, caches,
/// workspaces, offers that share a pool, lack roles, are busy or hold nothing, slow links, limits, refused shards and a
/// plan in force. The same seed always gives the same problem.
pub fn generated(seed: u64) -> Problem {
    let mut source = Source(seed);
    let count = source.between(1, 24);
    let even = source.one_in(2).then(|| generated_block(&mut source));
    let blocks: Vec<Block> = (0..count).map(|_| even.unwrap_or_else(|| generated_block(&mut source))).collect();
    let offers = generated_offers(&mut source, blocks.iter().map(|block| block.weight_bytes).sum());
    let mut problem = problem(blocks, offers);
    if source.one_in(4) {
        problem.shared_weights = vec![SharedWeight { bytes: 1.5 * MIB, blocks: if count > 1 { vec![0, count - 1] } else { vec![0] } }];
    }
    if source.one_in(4) {
        problem.blocks.iter_mut().for_each(|block| block.kv_bytes_per_token = 512.0);
        (problem.sequences, problem.tokens) = (source.between(1, 4), source.between(0, 512));
    }
    let limits = &mut problem.placement;
    limits.stages_min = source.pick(&[1, 1, 1, 2, 3]).min(limits.stages_max);
    limits.stages_max = source.pick(&[u32::MAX, u32::MAX, 1, 2, 4]).clamp(limits.stages_min, limits.stages_max);
    limits.replicas_max = source.pick(&[u32::MAX, u32::MAX, 1, 2]).min(limits.replicas_max);
    limits.objective = source.pick(&[Objective::Latency, Objective::Throughput, Objective::Balanced]);
    if source.one_in(3) && problem.devices.len() > 1 {
        problem.links = vec![Link { source: 0, target: 1, speed: Speed { latency_ms: 50.0, bytes_per_ms: 10.0 } }];
    }
    let whole = Stage { offer: 0, start: 0, end: count };
    if source.one_in(5) {
        problem.exclusions = vec![Exclusion { offer: 0, start: 0, end: count, reason: "the engine cannot compute it".into() }];
    }
    if source.one_in(3) {
        problem.current = vec![Replica { stages: vec![whole] }];
    }
    problem
}

fn generated_block(source: &mut Source) -> Block {
    let mut block = block(if source.one_in(12) { 0.0 } else { source.pick(&[0.3, 0.5, 1.0, 1.7, 4.0]) * MIB });
    block.flops = if source.one_in(12) { 0.0 } else { 1e9 * f64::from(source.between(1, 9)) };
    block.workspace_bytes = if source.one_in(4) { 0.25 * MIB } else { 0.0 };
    block
}

/// Offers in which the whole model, about half of it, or next to nothing fits.
fn generated_offers(source: &mut Source, weight_bytes: f64) -> Vec<Offer> {
    let count = source.between(1, 12);
    let scale = source.pick(&[2.0, 1.0, 0.5, 0.3]);
    let mut offers: Vec<Offer> = Vec::new();
    for index in 0..count {
        let memory = weight_bytes * scale * source.pick(&[1.0, 1.0, 0.7, 0.4, 0.0]);
        let mut made = offer(index, memory.floor(), source.pick(&[0.5, 1.0, 1.3, 4.0, 0.0]));
        made.joined = source.between(0, count);
        made.cost.fixed_ms = source.pick(&[0.0, 0.0, 0.5]);
        made.weight_factor = source.pick(&[1.0, 1.0, 1.2, 0.6]);
        made.fixed_bytes = source.pick(&[0.0, 4096.0]);
        made.busy_ratio = source.pick(&[0.0, 0.0, 0.5, 1.0]);
        if source.one_in(8) {
            made.roles = source.pick(&[Roles::HEAD, Roles::BODY, Roles::HEAD | Roles::TAIL, Roles::empty()]);
        }
        // A second offer of the device before it, in its pool: what shares a pool has the same memory.
        if let Some(before) = offers.last().filter(|_| source.one_in(6)) {
            (made.device, made.joined, made.memory_bytes) = (before.device, before.joined, before.memory_bytes);
        }
        offers.push(made);
    }
    offers
}

/// Numbers that look random and follow from a seed alone (SplitMix64, Steele and others, 2014).
struct Source(u64);

impl Source {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Both ends included.
    fn between(&mut self, least: u32, most: u32) -> u32 {
        let span = u64::from(most - least) + 1;
        least + u32::try_from(self.next() % span).unwrap_or(0)
    }

    fn one_in(&mut self, count: u32) -> bool {
        self.between(1, count) == 1
    }

    fn pick<T: Copy>(&mut self, values: &[T]) -> T {
        let last = u32::try_from(values.len() - 1).unwrap_or(u32::MAX);
        values[self.between(0, last) as usize]
    }
}
