//! How offers that are left over join a pool that serves already: each takes the blocks that have the least memory for
//! attention caches. The method of Parallax' dynamic joining (GradientHQ/parallax, `dynamic_join`), step by step.

use super::Member;

/// Blocks start..end on a member, an index into the members.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Held {
    /// Index into the members.
    pub member: usize,
    /// First block.
    pub start: i64,
    /// One past the last block.
    pub end: i64,
}

/// What the members take that hold nothing yet, one after another: from the block on whose holders have the least memory
/// for it together (the first of equals), as many as there is room for. A member's memory is shared out evenly over the
/// blocks that it holds. One without room for the end that it meets takes nothing.
pub fn join(members: &[Member], blocks: i64, held: &[Held]) -> Vec<Held> {
    let mut memory = vec![0.0; usize::try_from(blocks).unwrap_or(0)];
    held.iter().for_each(|held| add(&mut memory, held, members));
    let mut idle = vec![true; members.len()];
    held.iter().for_each(|held| idle[held.member] = false);
    let mut joined = Vec::new();
    for member in (0..members.len()).filter(|&member| idle[member]) {
        let Some(start) = lightest(&memory) else { break };
        let end = end(&members[member], start, blocks);
        if end > start {
            let held = Held { member, start, end };
            add(&mut memory, &held, members);
            joined.push(held);
        }
    }
    joined
}

/// The first block with the least memory.
fn lightest(memory: &[f64]) -> Option<i64> {
    let block = (0..memory.len()).min_by(|&a, &b| memory[a].total_cmp(&memory[b]))?;
    i64::try_from(block).ok()
}

/// One past the last block that fits, counted anew with the output head where that is among them.
fn end(member: &Member, start: i64, blocks: i64) -> i64 {
    let room = &member.room;
    let (inner, to_the_end) = if start == 0 { (room.first, room.whole) } else { (room.plain, room.last) };
    let end = (start + inner).min(blocks);
    if end == blocks { (start + to_the_end).min(blocks) } else { end }
}

fn add(memory: &mut [f64], held: &Held, members: &[Member]) {
    let each = (members[held.member].memory_bytes / (held.end - held.start) as f64).floor();
    let blocks = held.start..held.end;
    memory.iter_mut().zip(0_i64..).filter(|(_, block)| blocks.contains(block)).for_each(|(sum, _)| *sum += each);
}
