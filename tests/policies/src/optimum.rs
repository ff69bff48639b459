//! The exact optimum of a small pool: the least bottleneck of every set of devices, by trying chains in a dynamic program
//! over (set, last device, blocks placed), then the best partition of the devices into such sets. Plain and slow on purpose.

use crate::pools::Pool;

/// Most devices: the tables grow with 3 to the power of it.
pub const DEVICES_MAX: usize = 10;

/// The most requests per millisecond of any plan in which each device has one stage at most; none if the model fits nowhere.
pub fn throughput(pool: &Pool) -> Option<f64> {
    let periods = if pool.links_ms.iter().flatten().all(|&ms| ms == 0.0) { periods_without_links(pool) } else { periods(pool) };
    let mut best = vec![0.0_f64; periods.len()];
    for set in 1..periods.len() {
        let mut part = set;
        while part > 0 {
            if periods[part].is_finite() {
                best[set] = best[set].max(1.0 / periods[part] + best[set & !part]);
            }
            part = (part - 1) & set;
        }
    }
    best.last().copied().filter(|&best| best > 0.0)
}

/// The least milliseconds of one request through a chain; none if the model fits nowhere.
pub fn latency_ms(pool: &Pool) -> Option<f64> {
    let table = chains(pool, |so_far, hop, run| so_far + hop + run);
    let last = table.chunks_exact(pool.blocks as usize + 1).map(|row| row[pool.blocks as usize]);
    last.min_by(f64::total_cmp).filter(|ms| ms.is_finite())
}

/// For each set: the smallest of all times that some device takes for some blocks, in which the set takes all blocks.
fn periods_without_links(pool: &Pool) -> Vec<f64> {
    let count = pool.machines.len();
    assert!(count <= DEVICES_MAX, "{count} devices are too many");
    let mut times: Vec<f64> =
        pool.machines.iter().flat_map(|machine| (1..=machine.most.min(pool.blocks)).map(|blocks| machine.block_ms * f64::from(blocks))).collect();
    times.sort_by(f64::total_cmp);
    let takes = |device: usize, limit_ms: f64| {
        let machine = &pool.machines[device];
        (1..=machine.most.min(pool.blocks)).take_while(|&blocks| machine.block_ms * f64::from(blocks) <= limit_ms).count() as u32
    };
    let taken: Vec<Vec<u32>> = times.iter().map(|&time| (0..count).map(|device| takes(device, time)).collect()).collect();
    let holds = |set: usize, time: usize| (0..count).filter(|device| set >> device & 1 == 1).map(|device| taken[time][device]).sum::<u32>() >= pool.blocks;
    let period = |set: usize| {
        let (mut low, mut high) = (0, times.len());
        while low < high {
            let middle = usize::midpoint(low, high);
            if holds(set, middle) { high = middle } else { low = middle + 1 }
        }
        times.get(low).copied().unwrap_or(f64::INFINITY)
    };
    (0..1 << count).map(period).collect()
}

/// For each set: the least bottleneck of a chain over all of its devices.
fn periods(pool: &Pool) -> Vec<f64> {
    let (count, width) = (pool.machines.len(), pool.blocks as usize + 1);
    let table = chains(pool, |so_far, hop, run| so_far.max(hop).max(run));
    let last = |set: usize| (0..count).map(|device| table[(set * count + device) * width + width - 1]).fold(f64::INFINITY, f64::min);
    (0..1 << count).map(last).collect()
}

/// By set, last device and blocks: the least of what a chain takes.
fn chains(pool: &Pool, then: impl Fn(f64, f64, f64) -> f64) -> Vec<f64> {
    let (count, width) = (pool.machines.len(), pool.blocks as usize + 1);
    assert!(count <= DEVICES_MAX, "{count} devices are too many");
    let mut table = vec![f64::INFINITY; (1 << count) * count * width];
    for set in 0_usize..1 << count {
        for next in (0..count).filter(|next| set >> next & 1 == 0) {
            let starts: Vec<(usize, f64, f64)> = if set == 0 {
                vec![(0, 0.0, 0.0)]
            } else {
                let lasts = (0..count).filter(|last| set >> last & 1 == 1);
                lasts
                    .flat_map(|last| (1..width - 1).map(move |start| (last, start)))
                    .map(|(last, start)| (start, table[(set * count + last) * width + start], pool.link_ms(last as u32, next as u32)))
                    .collect()
            };
            let machine = &pool.machines[next];
            for (start, so_far, hop) in starts.into_iter().filter(|start| start.1.is_finite()) {
                for end in start + 1..=(start + machine.most as usize).min(width - 1) {
                    let entry = &mut table[((set | 1 << next) * count + next) * width + end];
                    *entry = entry.min(then(so_far, hop, machine.block_ms * (end - start) as f64));
                }
            }
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pools::{Machine, Random};

    fn pool(blocks: u32, machines: &[(f64, u32)]) -> Pool {
        Pool::free(blocks, machines.iter().map(|&(block_ms, most)| Machine { block_ms, most }).collect())
    }

    #[test]
    fn a_slow_device_with_much_memory_is_better_alone_than_in_the_way() {
        // 1/20 + 1/10 + 1/8: computed by hand.
        let best = throughput(&pool(10, &[(1.0, 10), (1.0, 10), (2.0, 10), (4.0, 10)])).expect("it fits");
        assert!((best - 0.275).abs() < 1e-12, "{best}");
        assert_eq!(throughput(&pool(10, &[(1.0, 4), (1.0, 5)])), None);
    }

    #[test]
    fn both_ways_to_find_the_bottleneck_agree_where_links_cost_nothing() {
        let mut random = Random::new(1);
        for _ in 0..20 {
            let pool = Pool::random(&mut random, 5);
            for (set, (one, two)) in periods_without_links(&pool).into_iter().zip(periods(&pool)).enumerate() {
                // Devices without a block count in the first only, so it may be less.
                assert!(one <= two * (1.0 + 1e-12), "set {set}: {one} > {two}");
            }
            let best = throughput(&pool);
            let linked = {
                let mut pool = pool;
                pool.links_ms[0][1] = 1e-12;
                throughput(&pool)
            };
            assert!(best.zip(linked).is_none_or(|(one, two)| (one / two - 1.0).abs() < 1e-9) && best.is_some() == linked.is_some());
        }
    }
}
