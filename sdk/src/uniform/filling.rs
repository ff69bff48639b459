//! Water-filling: splits a model over a chain of offers in proportion to their speed, each within its room. The method
//! of Parallax' layer allocation (arXiv 2509.26182 and GradientHQ/parallax, `adjust_pipeline_layers`), step by step.

use super::Member;

/// Halvings of the interval in which the level is sought.
const BISECTIONS: u32 = 40;

/// Why a chain cannot be filled.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Unfilled {
    /// The member that comes nearest to having the room, as an index into the members.
    pub member: usize,
    /// Blocks that find no room; 0 where only the rounding of very unlike speeds is in the way.
    pub missing: i64,
}

/// The members of a chain in the order in which they take blocks, and how many: in descending order of plain room, equals
/// as they stand. The first counts with what the first block has more, the last of several with what the last one has;
/// room is not looked at again when a member gets nothing, so the answer is to be proved on the real blocks.
///
/// The level λ at which min(room, λ·rate) sums to the model is found by bisection; then whole blocks are dealt out,
/// those that are left by largest fraction.
pub fn water_fill(members: &[Member], chain: &[usize], blocks: i64) -> Result<Vec<(usize, i64)>, Unfilled> {
    let mut order = chain.to_vec();
    order.sort_by_key(|&member| std::cmp::Reverse(members[member].room.plain));
    let rooms: Vec<i64> = (0..order.len()).map(|place| room(members, &order, place)).collect();
    if let Some(place) = rooms.iter().position(|&room| room <= 0) {
        return Err(Unfilled { member: order[place], missing: 1 - rooms[place] });
    }
    let total: i64 = rooms.iter().sum();
    let roomiest = order.first().copied().unwrap_or(0);
    if total < blocks {
        return Err(Unfilled { member: roomiest, missing: blocks - total });
    }
    let rates: Vec<f64> = order.iter().map(|&member| members[member].rate).collect();
    let counts = dealt(&shares(&rooms, &rates, blocks), &rooms, blocks);
    if counts.iter().sum::<i64>() != blocks {
        return Err(Unfilled { member: roomiest, missing: 0 });
    }
    Ok(order.into_iter().zip(counts).collect())
}

fn room(members: &[Member], order: &[usize], place: usize) -> i64 {
    let room = &members[order[place]].room;
    match place {
        0 => room.first,
        _ if place + 1 == order.len() => room.last,
        _ => room.plain,
    }
}

/// What each takes at the least level, within the bisection's precision, that holds the model.
fn shares(rooms: &[i64], rates: &[f64], blocks: i64) -> Vec<f64> {
    let shares = |level: f64| rooms.iter().zip(rates).map(move |(&room, rate)| (room as f64).min(level * rate));
    let (mut low, mut high) = (0.0, rooms.iter().zip(rates).map(|(&room, rate)| room as f64 / rate).fold(0.0, f64::max));
    for _ in 0..BISECTIONS {
        let middle = 0.5 * (low + high);
        if shares(middle).sum::<f64>() >= blocks as f64 {
            high = middle;
        } else {
            low = middle;
        }
    }
    shares(high).collect()
}

/// Whole blocks: each share rounded down, then one more each by largest fraction, where there is room.
fn dealt(shares: &[f64], rooms: &[i64], blocks: i64) -> Vec<i64> {
    let mut counts: Vec<i64> = shares.iter().zip(rooms).map(|(share, &room)| room.min(share.floor() as i64)).collect();
    let fraction = |place: usize, counts: &[i64]| shares[place] - counts[place] as f64;
    let mut order: Vec<usize> = (0..counts.len()).collect();
    order.sort_by(|&a, &b| fraction(b, &counts).total_cmp(&fraction(a, &counts)).then(a.cmp(&b)));
    let mut left = blocks - counts.iter().sum::<i64>();
    for place in order {
        if left > 0 && counts[place] < rooms[place] {
            counts[place] += 1;
            left -= 1;
        }
    }
    counts
}
