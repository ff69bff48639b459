//! Arithmetic over an allocation problem: what a range of blocks needs, how long it takes, and whether a plan would be
//! accepted. The host computes the same numbers, so a plan that passes [`Ranges::check`] passes the host's proof.

use std::collections::{BTreeMap, BTreeSet};

use crate::allocation::{Block, Offer, Problem, Refusal, Replica, Roles, Speed, Stage, Verdict};

/// A problem with sums prepared, so that a question about a range costs the same however long the range is.
#[derive(Debug)]
pub struct Ranges<'a> {
    problem: &'a Problem,
    flops: Vec<f64>,
    weights: Vec<f64>,
    activations: Vec<f64>,
    cache: Vec<f64>,
    /// `workspace[k][i]` is the largest workspace of the 2^k blocks from i on.
    workspace: Vec<Vec<f64>>,
    links: BTreeMap<(u32, u32), Speed>,
    excluded: BTreeSet<(u32, u32, u32)>,
    /// By offer: the first one with the same memory, which stands for all of them.
    memories: Vec<u32>,
}

fn sums(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut sums = vec![0.0];
    let mut sum = 0.0;
    sums.extend(values.map(|value| {
        sum += value;
        sum
    }));
    sums
}

impl<'a> Ranges<'a> {
    /// Prepares the sums.
    pub fn new(problem: &'a Problem) -> Self {
        let planned = f64::from(problem.sequences) * f64::from(problem.tokens);
        let blocks = &problem.blocks;
        let mut first: BTreeMap<(u32, u32), u32> = BTreeMap::new();
        let memory = |(index, offer): (u32, &Offer)| *first.entry((offer.device, offer.memory_pool)).or_insert(index);
        let memories = (0..).zip(&problem.offers).map(memory).collect();
        let mut workspace = vec![blocks.iter().map(|block| block.workspace_bytes).collect::<Vec<_>>()];
        let mut width = 1;
        while width * 2 <= blocks.len() {
            let level = &workspace[workspace.len() - 1];
            workspace.push((0..=blocks.len() - width * 2).map(|index| level[index].max(level[index + width])).collect());
            width *= 2;
        }
        Self {
            problem,
            flops: sums(blocks.iter().map(|block| block.flops)),
            weights: sums(blocks.iter().map(|block| block.weight_bytes)),
            activations: sums(blocks.iter().map(|block| block.activation_bytes)),
            cache: sums(blocks.iter().map(|block| block.kv_bytes_per_token * planned)),
            workspace,
            // The first of two entries for one pair counts, as it does in the host.
            links: problem.links.iter().rev().map(|link| ((link.source, link.target), link.speed)).collect(),
            excluded: problem.exclusions.iter().map(|exclusion| (exclusion.offer, exclusion.start, exclusion.end)).collect(),
            memories,
        }
    }

    /// The problem behind it.
    pub fn problem(&self) -> &'a Problem {
        self.problem
    }

    /// How many blocks the model has.
    pub fn blocks(&self) -> u32 {
        u32::try_from(self.problem.blocks.len()).unwrap_or(u32::MAX)
    }

    /// How many offers there are.
    pub fn offers(&self) -> u32 {
        u32::try_from(self.problem.offers.len()).unwrap_or(u32::MAX)
    }

    /// An offer by index. Indexes come from this problem, so it exists.
    pub fn offer(&self, offer: u32) -> &'a Offer {
        &self.problem.offers[offer as usize]
    }

    /// Bytes of weights in blocks start..end, shared ones counted once.
    pub fn weight_bytes(&self, start: u32, end: u32) -> f64 {
        let touches = |blocks: &[u32]| blocks.get(blocks.partition_point(|&block| block < start)).is_some_and(|&block| block < end);
        let shared: f64 = self.problem.shared_weights.iter().filter(|weight| touches(&weight.blocks)).map(|weight| weight.bytes).sum();
        self.weights[end as usize] - self.weights[start as usize] + shared
    }

    /// Bytes that blocks start..end take on an offer: weights, attention cache of all planned sequences, the largest
    /// workspace, and the fixed part.
    pub fn need(&self, offer: u32, start: u32, end: u32) -> f64 {
        let offer = self.offer(offer);
        let cache = self.cache[end as usize] - self.cache[start as usize];
        (self.weight_bytes(start, end) * offer.weight_factor).ceil() + cache + self.workspace_bytes(start, end) + offer.fixed_bytes
    }

    /// The largest workspace in blocks start..end.
    pub fn workspace_bytes(&self, start: u32, end: u32) -> f64 {
        let count = (end - start) as usize;
        if count == 0 {
            return 0.0;
        }
        let level = count.ilog2() as usize;
        let row = &self.workspace[level];
        row[start as usize].max(row[end as usize - (1 << level)])
    }

    /// Milliseconds that one request takes in blocks start..end on an offer, with what other models leave of its time.
    pub fn run_ms(&self, offer: u32, start: u32, end: u32) -> f64 {
        let offer = self.offer(offer);
        let (from, to) = (start as usize, end as usize);
        let cost = &offer.cost;
        let variable = cost.gflop_ms * (self.flops[to] - self.flops[from]) / 1e9
            + cost.weight_mb_ms * self.weight_bytes(start, end) / 1e6
            + cost.activation_mb_ms * (self.activations[to] - self.activations[from]) / 1e6;
        (variable + cost.fixed_ms) / free_share(offer)
    }

    /// Milliseconds from one offer to another for what leaves the block before `border`.
    pub fn hop_ms(&self, source: u32, target: u32, border: u32) -> f64 {
        let (from, to) = (self.offer(source).device, self.offer(target).device);
        if from == to || border == 0 {
            return 0.0;
        }
        let site = |device: u32| self.problem.devices.get(device as usize).map(|device| device.site);
        let default = if site(from) == site(to) { self.problem.within_site } else { self.problem.between_sites };
        let speed = self.links.get(&(from, to)).copied().unwrap_or(default);
        speed.latency_ms + self.problem.blocks[border as usize - 1].border_bytes / speed.bytes_per_ms
    }

    /// Whether this was refused on loading before.
    pub fn excluded(&self, offer: u32, start: u32, end: u32) -> bool {
        !self.excluded.is_empty() && self.excluded.contains(&(offer, start, end))
    }

    /// Whether an offer takes the place in a chain that blocks start..end have.
    pub fn takes_place(&self, offer: u32, start: u32, end: u32) -> bool {
        let roles = self.offer(offer).roles;
        let (first, last) = (start == 0, end == self.blocks());
        (!first || roles.contains(Roles::HEAD)) && (!last || roles.contains(Roles::TAIL)) && (first || last || roles.contains(Roles::BODY))
    }

    /// Whether blocks start..end may be put on an offer that holds nothing of this model yet.
    pub fn fits(&self, offer: u32, start: u32, end: u32) -> bool {
        self.need(offer, start, end) <= self.offer(offer).memory_bytes && self.takes_place(offer, start, end) && !self.excluded(offer, start, end)
    }

    /// The memory pool of an offer: offers with the same one share memory.
    pub fn pool(&self, offer: u32) -> (u32, u32) {
        (self.offer(offer).device, self.offer(offer).memory_pool)
    }

    /// Milliseconds of one request through an idle replica.
    pub fn latency_ms(&self, replica: &Replica) -> f64 {
        let runs: f64 = replica.stages.iter().map(|stage| self.run_ms(stage.offer, stage.start, stage.end)).sum();
        runs + self.hops(replica).sum::<f64>()
    }

    /// Requests per millisecond over all replicas. Stages on the same offer take turns.
    pub fn throughput(&self, replicas: &[Replica]) -> f64 {
        let mut busy: BTreeMap<u32, f64> = BTreeMap::new();
        for stage in replicas.iter().flat_map(|replica| &replica.stages) {
            *busy.entry(stage.offer).or_default() += self.run_ms(stage.offer, stage.start, stage.end);
        }
        let rate = |replica: &Replica| {
            let slowest_hop = self.hops(replica).fold(0.0, f64::max);
            let slowest = replica.stages.iter().map(|stage| busy[&stage.offer]).fold(slowest_hop, f64::max);
            if slowest > 0.0 { 1.0 / slowest } else { 0.0 }
        };
        replicas.iter().map(rate).sum()
    }

    /// Requests per millisecond that no plan can exceed: every offer computes all the time and nothing is sent.
    pub fn throughput_bound(&self) -> f64 {
        let rate = |index: u32| {
            let fixed = self.offer(index).cost.fixed_ms / free_share(self.offer(index));
            let time = self.run_ms(index, 0, self.blocks()) - fixed;
            // An offer whose time does not depend on the work still takes its fixed time for each request.
            1.0 / if time > 0.0 { time } else { fixed }
        };
        let bound: f64 = (0..self.offers()).map(rate).sum();
        if bound.is_finite() { bound } else { 0.0 }
    }

    /// Milliseconds that no chain can go below: each block on the offer that is fastest for it, and nothing is sent.
    pub fn latency_bound(&self) -> f64 {
        let fixed = |offer: u32| self.offer(offer).cost.fixed_ms / free_share(self.offer(offer));
        let own = |offer: u32, block: &Block| {
            let cost = &self.offer(offer).cost;
            (cost.gflop_ms * block.flops / 1e9 + cost.weight_mb_ms * block.weight_bytes / 1e6 + cost.activation_mb_ms * block.activation_bytes / 1e6)
                / free_share(self.offer(offer))
        };
        let least = |of: &dyn Fn(u32) -> f64| (0..self.offers()).map(of).fold(f64::INFINITY, f64::min);
        // Most blocks are like the one before, and then the least is the same.
        let work = |block: &Block| (block.flops, block.weight_bytes, block.activation_bytes);
        let mut known: Option<(&Block, f64)> = None;
        let blocks = self.problem.blocks.iter().map(|block| {
            let same = known.filter(|(before, _)| work(before) == work(block)).map(|(_, least_ms)| least_ms);
            let least_ms = same.unwrap_or_else(|| least(&|offer| own(offer, block)));
            known = Some((block, least_ms));
            least_ms
        });
        let blocks: f64 = blocks.sum();
        let bound = blocks + least(&fixed);
        if bound.is_finite() { bound } else { 0.0 }
    }

    /// A refusal for a model whose blocks from `start` on found no place: names the offer that lacks least, and how much.
    pub fn shortfall(&self, start: u32) -> Refusal {
        let lacks = |offer: u32| (self.need(offer, start, self.blocks()) - self.offer(offer).memory_bytes).max(0.0);
        let nearest = (0..self.offers()).min_by(|&a, &b| lacks(a).total_cmp(&lacks(b)));
        let model = &self.problem.model;
        let Some(nearest) = nearest else {
            return Refusal::because(format!("model {model} has {} blocks, but there is no offer to place them on", self.blocks()));
        };
        let (short_bytes, offer) = (lacks(nearest), self.offer(nearest));
        let need = self.need(nearest, start, self.blocks());
        let blocks = format!("blocks [{start}..{}) of {model}", self.blocks());
        let reason = if short_bytes > 0.0 {
            format!("{blocks} found no place: they need {need:.0} bytes on {}, it has {:.0}", offer.id, offer.memory_bytes)
        } else {
            let limits = &self.problem.placement;
            format!(
                "{blocks} found no place: roles, refused shards or {} to {} stages leave none on {} offers",
                limits.stages_min,
                limits.stages_max,
                self.offers()
            )
        };
        Refusal { reason, nearest: Some(nearest), short_bytes }
    }

    /// Offers from the one that would run the whole model fastest to the slowest; equals in order of their ids.
    pub fn fastest_first(&self) -> Vec<u32> {
        let mut order: Vec<u32> = (0..self.offers()).collect();
        order.sort_by(|&a, &b| self.run_ms(a, 0, self.blocks()).total_cmp(&self.run_ms(b, 0, self.blocks())).then(a.cmp(&b)));
        order
    }

    /// Whether the host would accept these replicas; if not, the first rule that they break.
    pub fn check(&self, replicas: &[Replica]) -> Result<(), String> {
        let limits = &self.problem.placement;
        if replicas.is_empty() || replicas.len() > limits.replicas_max as usize {
            return Err(format!("{} replicas, allowed are 1 to {}", replicas.len(), limits.replicas_max));
        }
        let mut ledger = Ledger::new(self);
        for replica in replicas {
            if !(limits.stages_min as usize..=limits.stages_max as usize).contains(&replica.stages.len()) {
                return Err(format!("{} stages, allowed are {} to {}", replica.stages.len(), limits.stages_min, limits.stages_max));
            }
            self.check_chain(&replica.stages, &mut ledger)?;
        }
        Ok(())
    }

    /// A chain as a replica, if the host would accept it by itself; else a refusal that names the stage which does not fit.
    pub fn prove(&self, stages: Vec<Stage>) -> Result<Replica, Refusal> {
        let replica = Replica { stages };
        let Err(broken) = self.check(std::slice::from_ref(&replica)) else {
            return Ok(replica);
        };
        let model = &self.problem.model;
        let lacks = |stage: &Stage| self.need(stage.offer, stage.start, stage.end) - self.offer(stage.offer).memory_bytes;
        let Some(stage) = replica.stages.iter().find(|stage| lacks(stage) > 0.0) else {
            return Err(Refusal {
                reason: format!("a replica of {model} breaks a rule: {broken}"),
                nearest: replica.stages.first().map(|stage| stage.offer),
                short_bytes: 0.0,
            });
        };
        let Stage { offer, start, end } = *stage;
        let (need, has) = (self.need(offer, start, end), self.offer(offer).memory_bytes);
        let reason = format!("blocks [{start}..{end}) of {model} need {need:.0} bytes on {}, it has {has:.0}", self.offer(offer).id);
        Err(Refusal { reason, nearest: Some(offer), short_bytes: need - has })
    }

    /// For policies that plan again only if they must: the plan in force is kept as long as the host would accept it.
    pub fn verdict(&self) -> Verdict {
        match self.check(&self.problem.current) {
            Ok(()) => Verdict::Keep,
            Err(broken) => Verdict::Replan(format!("the plan in force of {} no longer holds: {broken}", self.problem.model)),
        }
    }

    fn check_chain(&self, stages: &[Stage], ledger: &mut Ledger<'_, 'a>) -> Result<(), String> {
        let mut next = 0;
        for stage in stages {
            let Stage { offer, start, end } = *stage;
            if offer >= self.offers() || start != next || end <= start || end > self.blocks() {
                return Err(format!("stage {offer} [{start}..{end}) does not go on at block {next}"));
            }
            if !self.takes_place(offer, start, end) || self.excluded(offer, start, end) {
                return Err(format!("offer {} does not take [{start}..{end})", self.offer(offer).id));
            }
            if !ledger.place(stage) {
                return Err(format!("[{start}..{end}) does not fit on {}", self.offer(offer).id));
            }
            next = end;
        }
        if next == self.blocks() { Ok(()) } else { Err(format!("the chain ends at block {next} of {}", self.blocks())) }
    }

    fn hops<'r>(&'r self, replica: &'r Replica) -> impl Iterator<Item = f64> + 'r {
        replica.stages.windows(2).map(|pair| self.hop_ms(pair[0].offer, pair[1].offer, pair[0].end))
    }
}

fn free_share(offer: &Offer) -> f64 {
    1.0 - offer.busy_ratio.clamp(0.0, 0.99)
}

/// What is placed so far, and the memory that is left in each pool.
#[derive(Clone, Debug)]
pub struct Ledger<'r, 'a> {
    ranges: &'r Ranges<'a>,
    /// By offer that stands for a memory: the bytes used of it.
    used: Vec<f64>,
    /// By offer: the blocks of the shard that was placed on it first. Few offers have another.
    first: Vec<Option<(u32, u32)>>,
    more: BTreeSet<(u32, u32, u32)>,
}

impl<'r, 'a> Ledger<'r, 'a> {
    /// With nothing placed.
    pub fn new(ranges: &'r Ranges<'a>) -> Self {
        let offers = ranges.memories.len();
        Self { ranges, used: vec![0.0; offers], first: vec![None; offers], more: BTreeSet::new() }
    }

    /// Bytes left in the pool of an offer.
    pub fn remaining(&self, offer: u32) -> f64 {
        self.ranges.offer(offer).memory_bytes - self.used[self.ranges.memories[offer as usize] as usize]
    }

    /// Notes a stage if its pool has room; one that is there already takes no more.
    pub fn place(&mut self, stage: &Stage) -> bool {
        let Stage { offer, start, end } = *stage;
        let first = self.first[offer as usize];
        if first == Some((start, end)) || self.more.contains(&(offer, start, end)) {
            return true;
        }
        let need = self.ranges.need(offer, start, end);
        if need > self.remaining(offer) {
            return false;
        }
        if first.is_none() {
            self.first[offer as usize] = Some((start, end));
        } else {
            self.more.insert((offer, start, end));
        }
        self.used[self.ranges.memories[offer as usize] as usize] += need;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{MIB, even_problem};

    #[test]
    fn offers_of_one_memory_share_it_and_what_is_there_already_takes_no_more() {
        let mut problem = even_problem(4, &[(3.0, 1.0), (3.0, 1.0), (3.0, 1.0)]);
        problem.offers[2].device = 0;
        let ranges = Ranges::new(&problem);
        let mut ledger = Ledger::new(&ranges);
        let mut place = |offer, start, end| ledger.place(&Stage { offer, start, end });
        assert!(place(0, 0, 1) && place(0, 2, 3), "there is room for both");
        assert!(place(0, 0, 1) && place(0, 2, 3), "they are there");
        assert!(!place(2, 0, 2), "one of three blocks is left");
        assert!(place(2, 3, 4) && place(1, 0, 3), "the other device has a memory of its own");
        assert_eq!([0, 1, 2].map(|offer| ledger.remaining(offer) / MIB), [0.0, 0.0, 0.0]);
    }
}
