//! The one sort of this plugin: lists of indexes by keys that are numbers. Every search calls it.
//!
//! A sort of the standard library is compiled anew for each type and each comparison, 5 to 20 kB each time, and the host
//! compiles all of it before the first plan. Here keys are worked out once for each index, and packed into integers that
//! are sorted in one place.

/// Sorts indexes by a key, the least first; equals by index.
pub fn sort_by(list: &mut [u32], key: &dyn Fn(u32) -> u64) {
    let packed = list.iter().map(|&index| pack(key(index), 0, index)).collect();
    unpack(&sorted(packed), list);
}

/// Sorts indexes by a key, the least first; equals stay in the order that they have. The least important of several keys
/// comes first.
pub fn sort_stable_by(list: &mut [u32], key: &dyn Fn(u32) -> u64) {
    let packed = (0..).zip(&*list).map(|(place, &index)| pack(key(index), place, index)).collect();
    unpack(&sorted(packed), list);
}

/// At most so many of the indexes, those with the least keys, in the order of `sort_by`.
pub fn least_by(list: &[u32], count: usize, key: &dyn Fn(u32) -> u64) -> Vec<u32> {
    let mut packed: Vec<u128> = list.iter().map(|&index| pack(key(index), 0, index)).collect();
    if count < packed.len() {
        packed.select_nth_unstable(count);
        packed.truncate(count);
    }
    let mut least = vec![0; packed.len()];
    unpack(&sorted(packed), &mut least);
    least
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

/// No two are the same, so it does not matter that this sort is not stable.
fn sorted(mut packed: Vec<u128>) -> Vec<u128> {
    packed.sort_unstable();
    packed
}

fn unpack(packed: &[u128], list: &mut [u32]) {
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
        assert_eq!(least_by(&[8, 5, 4, 3, 2, 1, 0], 3, &key), [2, 0, 5]);
        assert_eq!(least_by(&[8, 5], 3, &key), [5, 8]);
        assert_eq!(least_by(&[8, 5], 0, &key), [0; 0]);
    }
}
