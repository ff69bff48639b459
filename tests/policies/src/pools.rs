//! Pools of unlike devices for a model of equal blocks, made from a seed.

use shardhost_sdk::allocation::{Block, Cost, Device, Link, Objective, Offer, Placement, Problem, Roles, Speed};

/// Bytes of weights of a block.
const BLOCK_BYTES: f64 = 1_048_576.0;
/// Bytes between two blocks.
const BORDER_BYTES: f64 = 1_000.0;

/// Random numbers from a seed (splitmix64): the same on every machine.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// From a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// From `least` to `most`, both included.
    pub fn between(&mut self, least: u32, most: u32) -> u32 {
        least + (self.number() % u64::from(most - least + 1)) as u32
    }

    /// From 0 up to, not including, 1.
    pub fn share(&mut self) -> f64 {
        (self.number() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Between two positive numbers, each ratio as likely as any other.
    pub fn scale(&mut self, least: f64, most: f64) -> f64 {
        least * (most / least).powf(self.share())
    }
}

/// A device that takes `block_ms` for each block and holds `most` of them.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Machine {
    /// Milliseconds for a block.
    pub block_ms: f64,
    /// Blocks that fit in its memory.
    pub most: u32,
}

/// A model of equal blocks, and the devices for it.
#[derive(Clone, PartialEq, Debug)]
pub struct Pool {
    /// Blocks of the model.
    pub blocks: u32,
    /// The devices.
    pub machines: Vec<Machine>,
    /// Milliseconds from each device to each other one.
    pub links_ms: Vec<Vec<f64>>,
}

/// Kinds of devices as pools have them, in blocks of a large model: the relations of A100 80 GB, A100 40 GB, RTX 5090 and RTX 4090.
const KINDS: [Machine; 4] =
    [Machine { block_ms: 0.62, most: 13 }, Machine { block_ms: 0.66, most: 6 }, Machine { block_ms: 0.57, most: 5 }, Machine { block_ms: 1.0, most: 4 }];

impl Pool {
    /// So many devices. Every other pool has devices of a few kinds, the others have no two that are alike.
    pub fn random(random: &mut Random, devices: u32) -> Self {
        if random.between(0, 1) == 0 {
            let machines: Vec<Machine> = (0..devices).map(|_| KINDS[random.between(0, 3) as usize]).collect();
            return Self::free(random.between(12, 36), machines);
        }
        let blocks = random.between(10, 40);
        let machine = |random: &mut Random| Machine { block_ms: random.scale(0.3, 4.0), most: random.between(1.max(blocks / 8), blocks) };
        Self::free(blocks, (0..devices).map(|_| machine(random)).collect())
    }

    /// Many devices, of a few kinds or all unlike, so that a replica takes some of them.
    pub fn large(random: &mut Random, devices: u32, blocks: u32, unlike: bool) -> Self {
        let kinds: Vec<Machine> = (0..12).map(|_| Machine { block_ms: random.scale(0.3, 4.0), most: random.between(blocks / 12, blocks / 2) }).collect();
        let machine = |random: &mut Random| {
            if unlike {
                return Machine { block_ms: random.scale(0.3, 4.0), most: random.between(blocks / 12, blocks / 2) };
            }
            kinds[random.between(0, 11) as usize]
        };
        Self::free(blocks, (0..devices).map(|_| machine(random)).collect())
    }

    /// With links that cost nothing.
    pub fn free(blocks: u32, machines: Vec<Machine>) -> Self {
        let links_ms = vec![vec![0.0; machines.len()]; if machines.len() > 64 { 0 } else { machines.len() }];
        Self { blocks, machines, links_ms }
    }

    /// The same with a random link for each pair, in each direction.
    #[must_use]
    pub fn with_links(mut self, random: &mut Random) -> Self {
        for (source, row) in self.links_ms.iter_mut().enumerate() {
            for (target, ms) in row.iter_mut().enumerate() {
                *ms = if source == target { 0.0 } else { random.scale(0.2, 20.0) };
            }
        }
        self
    }

    /// Milliseconds from a device to another.
    pub fn link_ms(&self, source: u32, target: u32) -> f64 {
        self.links_ms.get(source as usize).map_or(0.0, |row| row[target as usize])
    }

    /// The problem that a policy is given. Devices join in the order of the list.
    pub fn problem(&self, objective: Objective) -> Problem {
        let count = self.machines.len() as u32;
        let block =
            Block { flops: 1e9, weight_bytes: BLOCK_BYTES, activation_bytes: 0.0, border_bytes: BORDER_BYTES, kv_bytes_per_token: 0.0, workspace_bytes: 0.0 };
        let pairs = (0..self.links_ms.len() as u32).flat_map(|source| (0..count).map(move |target| (source, target)));
        let measured = pairs.filter(|&(source, target)| self.link_ms(source, target) > 0.0);
        let link = |(source, target)| Link { source, target, speed: Speed { latency_ms: self.link_ms(source, target), bytes_per_ms: f64::INFINITY } };
        Problem {
            model: "even@1".into(),
            blocks: vec![block; self.blocks as usize],
            shared_weights: Vec::new(),
            input_bytes: 0.0,
            sequences: 1,
            tokens: 0,
            devices: (0..count).map(device).collect(),
            offers: (0..count).zip(&self.machines).map(|(index, machine)| offer(index, machine)).collect(),
            links: measured.map(link).collect(),
            within_site: Speed { latency_ms: 0.0, bytes_per_ms: f64::INFINITY },
            between_sites: Speed { latency_ms: 0.0, bytes_per_ms: f64::INFINITY },
            placement: Placement { objective, stages_min: 1, stages_max: count.min(self.blocks), replicas_max: count },
            current: Vec::new(),
            horizon_ms: 600_000.0,
            exclusions: Vec::new(),
            attributes: Vec::new(),
        }
    }
}

/// A device as a problem names it; names sort like numbers.
pub fn device(index: u32) -> Device {
    Device { id: format!("d{index:05}"), site: 0, attributes: Vec::new() }
}

/// The only offer of a device.
pub fn offer(index: u32, machine: &Machine) -> Offer {
    Offer {
        id: format!("d{index:05}/cpu"),
        device: index,
        memory_pool: 0,
        memory_bytes: BLOCK_BYTES * (f64::from(machine.most) + 0.5),
        weight_factor: 1.0,
        fixed_bytes: 0.0,
        roles: Roles::HEAD | Roles::BODY | Roles::TAIL,
        cost: Cost { gflop_ms: machine.block_ms, weight_mb_ms: 0.0, activation_mb_ms: 0.0, fixed_ms: 0.0 },
        busy_ratio: 0.0,
        joined: index,
        attributes: Vec::new(),
    }
}
