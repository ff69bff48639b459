//! Shares of blocks in proportion to speed.

/// Deals blocks out to workers in their order, the fastest first: all of them together get their share beside the
/// central's, rounded, and each its share of what the workers still get, rounded, one at least; the last all of it. `take`
/// is asked with a worker and its share and answers what that worker takes of it.
pub fn deal(rates: &[f64], central: f64, blocks: u32, mut take: impl FnMut(usize, u32) -> u32) {
    let mut rate_left: f64 = rates.iter().sum();
    let mut left = rounded(rate_left / (rate_left + central) * f64::from(blocks)).min(blocks);
    for (worker, rate) in rates.iter().enumerate() {
        if left == 0 {
            break;
        }
        let last = worker + 1 == rates.len();
        let share = if last { left } else { rounded(rate / rate_left * f64::from(left)).clamp(1, left) };
        left -= take(worker, share).min(share);
        rate_left -= rate;
    }
}

fn rounded(value: f64) -> u32 {
    value.round() as u32
}
