//! Which members form a replica together: they are taken in the order of joining until the model has room, again and
//! again until what is left is too little.

use shardhost_sdk::uniform::Member;

/// Chains of members, by index, at most `replicas_max`. The error says how many blocks the first one lacks.
pub fn chains(members: &[Member], blocks: i64, replicas_max: usize) -> Result<Vec<Vec<usize>>, i64> {
    let mut free: Vec<usize> = (0..members.len()).collect();
    let mut plain: i64 = members.iter().map(|member| member.room.plain).sum();
    let mut found = Vec::new();
    while plain >= blocks && !free.is_empty() && found.len() < replicas_max {
        match chain(members, &mut free, blocks, plain) {
            Ok(chain) => {
                plain -= chain.iter().map(|&member| members[member].room.plain).sum::<i64>();
                found.push(chain);
            }
            // What is left does not hold another replica.
            Err(_) if !found.is_empty() => break,
            Err(missing) => return Err(missing),
        }
    }
    if found.is_empty() { Err((blocks - plain).max(1)) } else { Ok(found) }
}

/// Takes members out of `free` until they hold the model. The error says how many blocks are still without room.
fn chain(members: &[Member], free: &mut Vec<usize>, blocks: i64, plain: i64) -> Result<Vec<usize>, i64> {
    let mut chain = Vec::new();
    let mut remaining = blocks;
    while remaining > 0 && !free.is_empty() {
        let first = chain.is_empty();
        // Room for another replica and one block beside this one: a single member that just holds the model is looked for.
        let ahead = if first && plain - blocks > blocks { smallest_whole(members, free, blocks, plain) } else { None };
        let member = free.remove(ahead.unwrap_or(0));
        remaining -= taken(&members[member], first, remaining);
        chain.push(member);
    }
    if remaining > 0 { Err(remaining) } else { Ok(chain) }
}

/// The place in `free` of the last member that holds the whole model, its head counted, and leaves room for another
/// replica. The reference takes the last for the smallest, which it is only where the free ones are sorted.
fn smallest_whole(members: &[Member], free: &[usize], blocks: i64, plain: i64) -> Option<usize> {
    let leaves_room = |room: i64| room >= blocks && plain - room >= blocks;
    free.iter().rposition(|&member| leaves_room(members[member].room.last))
}

/// The blocks that a member takes of those that remain: all of its room, counted with the output head if that would be
/// the last of them.
fn taken(member: &Member, first: bool, remaining: i64) -> i64 {
    let (inner, closing) = if first { (member.room.first, member.room.whole) } else { (member.room.plain, member.room.last) };
    if inner >= remaining { closing } else { inner }
}
