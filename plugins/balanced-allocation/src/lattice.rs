//! Sets of offers of which many are alike, numbered: how many there are of each kind. A pool of 24 offers of three kinds has
//! 729 such sets where it has sixteen million of single offers, and twelve unlike offers have the usual 4,096.

use crate::pool::{Pool, index};

/// Every choice of so many of each kind. The number of a larger set is larger than those of its parts.
#[derive(Clone, Debug)]
pub struct Lattice {
    /// Offers of each kind.
    most: Vec<u32>,
    /// What one more of each kind adds to the number of a set.
    strides: Vec<u32>,
    size: u32,
}

impl Lattice {
    /// Of a pool's kinds; none if there are more than `sets_max` sets.
    pub fn of(pool: &Pool<'_, '_>, sets_max: u32) -> Option<Self> {
        let most: Vec<u32> = pool.kinds().iter().map(|kind| index(kind.members.len())).collect();
        let (mut strides, mut size) = (Vec::new(), 1_u32);
        for count in &most {
            strides.push(size);
            size = size.checked_mul(count + 1).filter(|&size| size <= sets_max)?;
        }
        Some(Self { most, strides, size })
    }

    /// Number of sets, the empty one included.
    pub fn size(&self) -> u32 {
        self.size
    }

    /// The set of all offers.
    pub fn all(&self) -> u32 {
        self.size - 1
    }

    /// Number of kinds.
    pub fn kinds(&self) -> u32 {
        index(self.most.len())
    }

    /// Offers of a kind in a set.
    pub fn count(&self, set: u32, kind: u32) -> u32 {
        set / self.strides[kind as usize] % (self.most[kind as usize] + 1)
    }

    /// Offers in a set.
    pub fn members(&self, set: u32) -> u32 {
        (0..self.kinds()).map(|kind| self.count(set, kind)).sum()
    }

    /// The set with one more of a kind; none if it has all.
    pub fn with(&self, set: u32, kind: u32) -> Option<u32> {
        (self.count(set, kind) < self.most[kind as usize]).then(|| set + self.strides[kind as usize])
    }

    /// The set without one of the first kind that it has, which kind that is, or nothing for the empty set.
    pub fn without_first(&self, set: u32) -> Option<(u32, u32)> {
        let first = (0..self.kinds()).find(|&kind| self.count(set, kind) > 0)?;
        Some((set - self.strides[first as usize], first))
    }

    /// Calls for each part of a set that has one of the first kind of the set at least, until told to stop. So that
    /// partitions come once, the part with the first offer is always chosen first.
    pub fn first_parts(&self, set: u32, mut visit: impl FnMut(u32) -> bool) {
        let Some((_, first)) = self.without_first(set) else { return };
        let limits: Vec<u32> = (0..self.kinds()).map(|kind| self.count(set, kind)).collect();
        let mut counts = vec![0; limits.len()];
        counts[first as usize] = 1;
        let mut part = self.strides[first as usize];
        while visit(part) {
            let Some(next) = (0..limits.len()).find(|&kind| counts[kind] < limits[kind]) else { return };
            for (below, (count, stride)) in counts.iter_mut().zip(&self.strides).enumerate().take(next) {
                let least = u32::from(below == first as usize);
                part -= (*count - least) * stride;
                *count = least;
            }
            counts[next] += 1;
            part += self.strides[next];
            // Kinds before the first have no offers in the set, so the next one is the first or comes after it.
        }
    }

    /// How often `first_parts` calls over all sets together.
    pub fn pairs(&self) -> f64 {
        self.most.iter().map(|&most| f64::from(most + 1) * f64::from(most + 2) / 2.0).product()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_a_set_come_once_each_and_hold_one_of_its_first_kind() {
        let lattice = Lattice { most: vec![2, 1, 3], strides: vec![1, 3, 6], size: 24 };
        for set in 1..lattice.size() {
            let (_, first) = lattice.without_first(set).expect("not empty");
            let mut parts = Vec::new();
            lattice.first_parts(set, |part| {
                parts.push(part);
                true
            });
            let part_of = |part: u32| (0..3).all(|kind| lattice.count(part, kind) <= lattice.count(set, kind));
            let expected: Vec<u32> = (1..lattice.size()).filter(|&part| part_of(part) && lattice.count(part, first) > 0).collect();
            parts.sort_unstable();
            assert_eq!(parts, expected, "set {set}");
        }
    }
}
