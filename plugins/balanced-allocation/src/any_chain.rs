//! Some chain, if everything else found none: a depth-first search with bounds, longest stages first. For pools where roles,
//! refused shards and unlike blocks leave few ways.

use shardhost_sdk::allocation::{Replica, Stage};

use crate::pool::Pool;

/// Most partial chains that are looked at.
const VISITS_MAX: u32 = 200_000;

/// A chain that fits, whatever it takes.
pub fn find(pool: &Pool<'_, '_>) -> Option<Replica> {
    let mut search = Search { pool, visits: 0, used: vec![0; pool.kinds().len()], stages: Vec::new() };
    if search.from(0) { Some(Replica { stages: search.stages }) } else { None }
}

struct Search<'s, 'r, 'a> {
    pool: &'s Pool<'r, 'a>,
    visits: u32,
    used: Vec<usize>,
    stages: Vec<Stage>,
}

impl Search<'_, '_, '_> {
    fn from(&mut self, start: u32) -> bool {
        let (limits, blocks) = (self.pool.limits(), self.pool.blocks());
        let count = self.stages.len() as u32;
        if start == blocks {
            return count >= limits.stages_min;
        }
        self.visits += 1;
        if count >= limits.stages_max || self.visits > VISITS_MAX {
            return false;
        }
        let free = |kind: &usize| self.used[*kind] < self.pool.kinds()[*kind].members.len();
        let reach = |kind: usize| self.pool.end(kind as u32, start);
        let mut kinds: Vec<(u32, usize)> = (0..self.used.len()).filter(free).map(|kind| (reach(kind), kind)).collect();
        kinds.sort_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(&b.1)));
        for (end, kind) in kinds {
            let offer = self.pool.kinds()[kind].members[self.used[kind]];
            for end in (start + 1..=end).rev() {
                if self.pool.is_allowed(offer, start, end) {
                    self.used[kind] += 1;
                    self.stages.push(Stage { offer, start, end });
                    if self.from(end) {
                        return true;
                    }
                    self.stages.pop();
                    self.used[kind] -= 1;
                }
            }
        }
        false
    }
}
