//! The dynamic program: sum[j][i], the least time of the first i blocks on the first j offers, is the least over k of
//! sum[j-1][k] and the time of blocks k..i on offer j. Every offer takes a block at least.

use shardhost_sdk::{allocation::Stage, problem::Ranges};

/// The least sum for the first blocks on some offers, and where the last of these starts; infinite if there is none.
type Row = Vec<(f64, u32)>;

/// The stages with the least sum of times, over the first so many offers as the placement allows; of equal sums that with
/// the fewest stages. The error is the block up to which any chain comes.
pub fn least_sum(ranges: &Ranges<'_>, order: &[u32]) -> Result<Vec<Stage>, u32> {
    let rows = rows(ranges, order);
    let blocks = ranges.blocks() as usize;
    let stages_min = ranges.problem().placement.stages_min as usize;
    let sum = |count: &usize| rows[*count][blocks].0;
    let allowed = (stages_min.max(1)..rows.len()).filter(|count| sum(count).is_finite());
    let best = allowed.min_by(|a, b| sum(a).total_cmp(&sum(b))).ok_or_else(|| reached(&rows))?;
    let mut stages = Vec::new();
    let mut end = ranges.blocks();
    for count in (1..=best).rev() {
        let start = rows[count][end as usize].1;
        stages.push(Stage { offer: order[count - 1], start, end });
        end = start;
    }
    stages.reverse();
    Ok(stages)
}

/// A row for no offer, and one for each further offer.
fn rows(ranges: &Ranges<'_>, order: &[u32]) -> Vec<Row> {
    let unreached: Row = vec![(f64::INFINITY, 0); ranges.blocks() as usize + 1];
    let mut none = unreached.clone();
    none[0].0 = 0.0;
    let mut rows = vec![none];
    for (index, &offer) in order.iter().enumerate() {
        let mut row = unreached.clone();
        for start in 0..ranges.blocks() {
            let sum = rows[index][start as usize].0;
            if sum.is_finite() {
                let hop = if index == 0 { 0.0 } else { ranges.hop_ms(order[index - 1], offer, start) };
                extend(ranges, &mut row, offer, start, sum + hop);
            }
        }
        rows.push(row);
    }
    rows
}

/// Tries every range from `start` on that fits on an offer.
fn extend(ranges: &Ranges<'_>, row: &mut Row, offer: u32, start: u32, before: f64) {
    for end in start + 1..=ranges.blocks() {
        // A longer range needs no less.
        if ranges.need(offer, start, end) > ranges.offer(offer).memory_bytes {
            break;
        }
        let sum = before + ranges.run_ms(offer, start, end);
        if sum < row[end as usize].0 && ranges.fits(offer, start, end) {
            row[end as usize] = (sum, start);
        }
    }
}

/// The last block before which some chain ends; the whole model where only the number of stages is in the way.
fn reached(rows: &[Row]) -> u32 {
    let last = |row: &Row| row.iter().rposition(|(sum, _)| sum.is_finite()).unwrap_or(0);
    u32::try_from(rows.iter().map(last).max().unwrap_or(0)).unwrap_or(u32::MAX)
}
