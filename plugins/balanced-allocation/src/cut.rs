//! Cuts a model over offers whose order is given, by a dynamic program over (stage, blocks placed): the least bottleneck, or
//! the least latency within a bottleneck. The bottleneck is exact for the order.

use shardhost_sdk::allocation::{Replica, Stage};

use crate::pool::Pool;

/// What a chain should have least of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Goal {
    /// The slowest stage or hop.
    Bottleneck,
    /// Stages and hops together.
    Latency,
}

/// What a chain, or the part of one, takes.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Cost {
    /// The slowest stage or hop in milliseconds.
    pub period_ms: f64,
    /// Milliseconds of stages and hops together.
    pub latency_ms: f64,
}

impl Cost {
    /// Of nothing.
    pub const NONE: Self = Self { period_ms: 0.0, latency_ms: 0.0 };
    /// Of what is impossible.
    pub const ENDLESS: Self = Self { period_ms: f64::INFINITY, latency_ms: f64::INFINITY };

    /// With another stage and the hop to it.
    #[must_use]
    pub fn then(self, hop_ms: f64, run_ms: f64) -> Self {
        Self { period_ms: self.period_ms.max(hop_ms).max(run_ms), latency_ms: self.latency_ms + hop_ms + run_ms }
    }

    /// Whether it is possible.
    pub fn is_finite(self) -> bool {
        self.latency_ms.is_finite()
    }

    /// Requests per millisecond.
    pub fn rate(self) -> f64 {
        if self.period_ms > 0.0 && self.period_ms.is_finite() { 1.0 / self.period_ms } else { 0.0 }
    }

    /// Whether it is better by a goal; the other value decides between equals.
    pub fn beats(self, other: Self, goal: Goal) -> bool {
        match goal {
            Goal::Bottleneck => (self.period_ms, self.latency_ms) < (other.period_ms, other.latency_ms),
            Goal::Latency => (self.latency_ms, self.period_ms) < (other.latency_ms, other.period_ms),
        }
    }
}

/// The best cut over all offers of the order, each with a block at least, no stage or hop above `limit_ms`.
pub fn cut(pool: &Pool<'_, '_>, order: &[u32], limit_ms: f64, goal: Goal) -> Option<(Cost, Replica)> {
    let blocks = pool.blocks() as usize;
    let mut rows: Vec<Vec<(Cost, u32)>> = Vec::new();
    for (position, &offer) in order.iter().enumerate() {
        let later = order.len() - position - 1;
        let mut row = vec![(Cost::ENDLESS, 0); blocks + 1];
        let starts = if position == 0 { 0..1 } else { position..blocks };
        for start in starts {
            let (before, hop_ms) = match position.checked_sub(1) {
                Some(previous) => (rows[previous][start].0, pool.ranges().hop_ms(order[previous], offer, start as u32)),
                None => (Cost::NONE, 0.0),
            };
            if before.is_finite() && hop_ms <= limit_ms {
                let ends = if later == 0 { blocks..blocks + 1 } else { start + 1..(blocks + 1).saturating_sub(later) };
                extend(pool, &mut row, (offer, start as u32, limit_ms), ends, |run_ms| before.then(hop_ms, run_ms), goal);
            }
        }
        rows.push(row);
    }
    unwind(order, &rows, blocks)
}

/// Notes the stage on an offer from a start to each end.
fn extend(
    pool: &Pool<'_, '_>,
    row: &mut [(Cost, u32)],
    (offer, start, limit_ms): (u32, u32, f64),
    ends: std::ops::Range<usize>,
    after: impl Fn(f64) -> Cost,
    goal: Goal,
) {
    let kind = pool.kind_of(offer);
    let last = pool.end(kind, start) as usize;
    for end in ends.take_while(|&end| end <= last) {
        let run_ms = pool.run_ms(kind, start, end as u32);
        if run_ms > limit_ms {
            return;
        }
        let cost = after(run_ms);
        if cost.beats(row[end].0, goal) && pool.is_allowed(offer, start, end as u32) {
            row[end] = (cost, start);
        }
    }
}

fn unwind(order: &[u32], rows: &[Vec<(Cost, u32)>], blocks: usize) -> Option<(Cost, Replica)> {
    let cost = rows.last()?.get(blocks)?.0;
    if !cost.is_finite() {
        return None;
    }
    let mut end = blocks as u32;
    let mut stages = Vec::new();
    for (row, &offer) in rows.iter().zip(order).rev() {
        let start = row[end as usize].1;
        stages.push(Stage { offer, start, end });
        end = start;
    }
    stages.reverse();
    Some((cost, Replica { stages }))
}

/// What a chain takes.
pub fn cost_of(pool: &Pool<'_, '_>, stages: &[Stage]) -> Cost {
    let ranges = pool.ranges();
    let mut cost = Cost::NONE;
    for (position, stage) in stages.iter().enumerate() {
        let hop_ms = position.checked_sub(1).map_or(0.0, |previous| ranges.hop_ms(stages[previous].offer, stage.offer, stage.start));
        cost = cost.then(hop_ms, ranges.run_ms(stage.offer, stage.start, stage.end));
    }
    cost
}
