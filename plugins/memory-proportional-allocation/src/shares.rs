//! Shares of a whole number of blocks.

/// Splits the blocks in proportion to `free`, by largest remainder (the first of equals), one to each at least: what a
/// share of none needs is taken from the largest. There are no more shares than blocks, and some are above 0.
pub fn shares(free: &[f64], blocks: i64) -> Vec<i64> {
    let total: f64 = free.iter().sum();
    let exact: Vec<f64> = free.iter().map(|free| free / total * blocks as f64).collect();
    let mut shares: Vec<i64> = exact.iter().map(|share| share.floor() as i64).collect();
    let mut order: Vec<usize> = (0..shares.len()).collect();
    order.sort_by(|&a, &b| exact[b].fract().total_cmp(&exact[a].fract()).then(a.cmp(&b)));
    let left = blocks - shares.iter().sum::<i64>();
    for &share in order.iter().take(usize::try_from(left).unwrap_or(0)) {
        shares[share] += 1;
    }
    for share in 0..shares.len() {
        if shares[share] == 0 {
            let largest = (0..shares.len()).rev().max_by_key(|&other| shares[other]).unwrap_or(share);
            shares[largest] -= 1;
            shares[share] = 1;
        }
    }
    shares
}
