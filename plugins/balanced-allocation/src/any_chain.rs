//! Some chain, if everything else found none: a depth-first search with bounds, longest stages first. For pools where roles,
//! refused shards and unlike blocks leave few ways.

use shardhost_sdk::allocation::{Replica, Stage};

use crate::{
    pool::{Pool, index},
    sorting,
};

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
        let free = |kind: &u32| self.used[*kind as usize] < self.pool.kinds()[*kind as usize].members.len();
        let mut kinds: Vec<u32> = (0..index(self.used.len())).filter(free).collect();
        sorting::sort_by(&mut kinds, &|kind| u64::from(u32::MAX - self.pool.end(kind, start)));
        for kind in kinds {
            let (last, kind) = (self.pool.end(kind, start), kind as usize);
            let offer = self.pool.kinds()[kind].members[self.used[kind]];
            for end in (start + 1..=last).rev() {
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
