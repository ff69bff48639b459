//! The one sort of this plugin: lists of indexes by keys that are numbers. Every search calls it.
//!
//! A sort of the standard library is compiled anew for each type and each comparison, 5 to 20 kB each time, and the host
//! compiles all of it before the first plan. Here keys are worked out once for each index, and packed into integers that
//! are sorted in one place.

/// Lists as short as this are sorted without an allocation: most are the stages of a chain.
const FEW: usize = 16;

/// What decides between equals.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Ties {
    Index,
    Place,
}

/// Sorts indexes by a key, the least first; equals by index.
pub fn sort_by(list: &mut [u32], key: &dyn Fn(u32) -> u64) {
    sort(list, Ties::Index, key);
}

/// Sorts indexes by a key, the least first; equals stay in the order that they have. The least important of several keys
/// comes first.
pub fn sort_stable_by(list: &mut [u32], key: &dyn Fn(u32) -> u64) {
    sort(list, Ties::Place, key);
}

fn sort(list: &mut [u32], ties: Ties, key: &dyn Fn(u32) -> u64) {
    if list.len() < 2 {
        return;
    }
    let (mut few, mut many) = ([0; FEW], Vec::new());
    let packed = if list.len() <= FEW {
        &mut few[..list.len()]
    } else {
        many.resize(list.len(), 0);
        &mut many[..]
    };
    for ((place, &index), packed) in (0..).zip(&*list).zip(&mut *packed) {
        *packed = pack(key(index), if ties == Ties::Place { place } else { 0 }, index);
    }
    unpack(packed, list);
}

/// Keeps at most so many of the indexes, those with the least keys, in the order of `sort_by`.
pub fn keep_least_by(list: &mut Vec<u32>, count: usize, key: &dyn Fn(u32) -> u64) {
    if count >= list.len() {
        return sort_by(list, key);
    }
    let mut packed: Vec<u128> = list.iter().map(|&index| pack(key(index), 0, index)).collect();
    packed.select_nth_unstable(count);
    list.truncate(count);
    unpack(&mut packed[..count], list);
}

/// A key for numbers, the least first, in the order of `f64::total_cmp`.
pub fn rising(value: f64) -> u64 {
    let bits = value.to_bits();
    // Of negative numbers all bits turn, so that those further from 0 come first; of others the sign alone.
    let negative = 0_u64.wrapping_sub(bits >> 63);
    bits ^ (negative | 1 << 63)
}

/// A key for numbers, the largest first.
pub fn falling(value: f64) -> u64 {
    !rising(value)
}

/// A key of two, the first of which counts more.
pub fn pair(first: u32, second: u32) -> u64 {
    u64::from(first) << 32 | u64::from(second)
}

/// The index below its key, so that one comparison of integers sees both.
fn pack(key: u64, place: u32, index: u32) -> u128 {
    u128::from(key) << 64 | u128::from(pair(place, index))
}

/// Sorts what is packed, and takes the indexes out of it. No two are the same, so this sort need not be stable.
fn unpack(packed: &mut [u128], list: &mut [u32]) {
    packed.sort_unstable();
    for (index, packed) in list.iter_mut().zip(packed) {
        *index = *packed as u32;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALUES: [f64; 9] = [2.0, -1.0, f64::INFINITY, 0.0, -0.0, 2.0, f64::NEG_INFINITY, 1e-300, -1.0];

    #[test]
    fn keys_of_numbers_are_in_the_order_of_the_numbers() {
        for a in VALUES {
            for b in VALUES {
                assert_eq!(rising(a).cmp(&rising(b)), a.total_cmp(&b), "{a} and {b}");
                assert_eq!(falling(a).cmp(&falling(b)), b.total_cmp(&a), "{a} and {b}, largest first");
            }
        }
    }

    #[test]
    fn equals_come_by_index_or_stay_in_their_order() {
        let key = |index: u32| rising(VALUES[index as usize]);
        let mut list = [5, 0, 8, 1, 3, 2];
        sort_by(&mut list, &key);
        assert_eq!(list, [1, 8, 3, 0, 5, 2]);
        let mut list = [5, 0, 8, 1, 3, 2];
        sort_stable_by(&mut list, &key);
        assert_eq!(list, [8, 1, 3, 5, 0, 2]);
    }

    #[test]
    fn the_least_come_in_order_and_are_no_more_than_there_are() {
        let key = |index: u32| falling(VALUES[index as usize]);
        for (mut list, count, least) in [(vec![8, 5, 4, 3, 2, 1, 0], 3, vec![2, 0, 5]), (vec![8, 5], 3, vec![5, 8]), (vec![8, 5], 0, vec![])] {
            keep_least_by(&mut list, count, &key);
            assert_eq!(list, least);
        }
    }
}
