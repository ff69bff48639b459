//! The search for chains: members are looked at in the order of joining, and each is skipped, given to a replica that is
//! open, or opens one. A state is what is open and how many replicas are finished; the least number of stages from each
//! state on is computed from the last member back, over the states that can be reached.

use std::collections::BTreeMap;

use shardhost_sdk::uniform::Member;

/// Why there are no chains.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stopped {
    /// There is not room for one replica; at least so many blocks are missing.
    Short { missing: i64 },
    /// The search for this many replicas took too many steps.
    Long { replicas: i64 },
}

/// What counts of the members before one.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct State {
    /// Blocks that each open replica still lacks, ascending.
    open: Vec<i64>,
    finished: i64,
}

/// What is done with a member.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Move {
    Skip,
    /// To the open replica of this index.
    Give(usize),
    Start,
}

/// The best way on from a state: stages that it takes and the next move. None if the goal cannot be reached.
type Best = Option<(u64, Option<Move>)>;

/// Chains with the fewest stages for their number.
struct Found {
    stages: u64,
    chains: Vec<Vec<usize>>,
}

impl Found {
    /// Whether k²/s is larger, compared without division.
    fn beats(&self, other: &Self) -> bool {
        let square = |found: &Self| (found.chains.len() as u64).pow(2);
        square(self) * other.stages > square(other) * self.stages
    }
}

/// Chains of members, by index, at most `replicas_max`: those of the number of replicas k with the largest k²/s, the
/// smallest such k.
pub fn chains(members: &[Member], blocks: i64, replicas_max: i64, steps_max: u64) -> Result<Vec<Vec<usize>>, Stopped> {
    let plain: i64 = members.iter().map(|member| member.room.plain).sum();
    if members.is_empty() || plain < blocks {
        return Err(Stopped::Short { missing: blocks - plain });
    }
    let most = i64::try_from(members.len()).unwrap_or(i64::MAX).min(plain / blocks).min(replicas_max);
    let mut search = Search { members, blocks, room_from: room_from(members), steps_left: steps_max };
    let mut best: Option<Found> = None;
    for replicas in 1..=most {
        if let Some(found) = search.least(replicas)? {
            best = best.filter(|best| !found.beats(best)).or(Some(found));
        }
    }
    best.map(|best| best.chains).ok_or(Stopped::Short { missing: 1 })
}

/// The plain room of each member and those after it; 0 after the last.
fn room_from(members: &[Member]) -> Vec<i64> {
    let mut sums = vec![0; members.len() + 1];
    for index in (0..members.len()).rev() {
        sums[index] = sums[index + 1] + members[index].room.plain;
    }
    sums
}

struct Search<'m> {
    members: &'m [Member],
    blocks: i64,
    room_from: Vec<i64>,
    steps_left: u64,
}

impl Search<'_> {
    /// The fewest stages that make so many replicas, and the chains.
    fn least(&mut self, replicas: i64) -> Result<Option<Found>, Stopped> {
        let mut layers = self.reachable(replicas)?;
        for index in (0..layers.len()).rev() {
            let (here, after) = layers.split_at_mut(index + 1);
            for (state, best) in &mut here[index] {
                *best = if done(state, replicas) { Some((0, None)) } else { after.first().and_then(|after| self.best(index, state, replicas, after)) };
            }
        }
        let start = State { open: Vec::new(), finished: 0 };
        let stages = layers[0].get(&start).copied().flatten().map(|(stages, _)| stages);
        Ok(stages.map(|stages| Found { stages, chains: self.follow(&layers) }))
    }

    /// The states before each member, and those after the last.
    fn reachable(&mut self, replicas: i64) -> Result<Vec<BTreeMap<State, Best>>, Stopped> {
        let mut layers = vec![BTreeMap::from([(State { open: Vec::new(), finished: 0 }, None)])];
        for index in 0..self.members.len() {
            let mut after = BTreeMap::new();
            for state in layers[index].keys().filter(|state| !done(state, replicas)) {
                let moves = self.moves(index, state, replicas);
                let steps = moves.len().max(1) * (state.open.len() + 4);
                self.steps_left = self.steps_left.checked_sub(steps as u64).ok_or(Stopped::Long { replicas })?;
                after.extend(moves.into_iter().map(|(_, state)| (state, None)));
            }
            layers.push(after);
        }
        Ok(layers)
    }

    /// The first move of those with the fewest stages.
    fn best(&self, index: usize, state: &State, replicas: i64, after: &BTreeMap<State, Best>) -> Best {
        let mut best: Best = None;
        for (taken, next) in self.moves(index, state, replicas) {
            let Some((stages, _)) = after.get(&next).copied().flatten() else { continue };
            let stages = stages + u64::from(taken != Move::Skip);
            if best.is_none_or(|(least, _)| stages < least) {
                best = Some((stages, Some(taken)));
            }
        }
        best
    }

    /// What can be done with a member in a state, in the order in which equals are preferred; nothing where the goal is
    /// out of reach.
    fn moves(&self, index: usize, state: &State, replicas: i64) -> Vec<(Move, State)> {
        let open = i64::try_from(state.open.len()).unwrap_or(i64::MAX);
        let missing = replicas - state.finished - open;
        let lacking = state.open.iter().sum::<i64>() + missing.max(0) * self.blocks;
        let members_left = i64::try_from(self.members.len() - index).unwrap_or(i64::MAX);
        if missing < 0 || self.room_from[index] < lacking || state.finished + open + members_left < replicas {
            return Vec::new();
        }
        let room = &self.members[index].room;
        let mut moves = vec![(Move::Skip, state.clone())];
        for (place, &lacks) in state.open.iter().enumerate() {
            // Of replicas that lack the same the first stands for all.
            if place == 0 || state.open[place - 1] != lacks {
                moves.push((Move::Give(place), state.given(place, rest(lacks, room.plain, room.last))));
            }
        }
        if missing > 0 {
            moves.push((Move::Start, state.started(self.blocks - room.first)));
        }
        moves
    }

    /// Goes the best way from the start and notes who is given to whom.
    fn follow(&self, layers: &[BTreeMap<State, Best>]) -> Vec<Vec<usize>> {
        let mut finished: Vec<Vec<usize>> = Vec::new();
        let mut open: Vec<(i64, Vec<usize>)> = Vec::new();
        for (member, layer) in layers.iter().enumerate() {
            open.sort_by_key(|(lacks, _)| *lacks);
            let state = State { open: open.iter().map(|(lacks, _)| *lacks).collect(), finished: i64::try_from(finished.len()).unwrap_or(i64::MAX) };
            let Some((_, Some(taken))) = layer.get(&state).copied().flatten() else { break };
            let room = &self.members[member].room;
            let place = match taken {
                Move::Skip => continue,
                Move::Give(place) => {
                    open[place].0 = rest(open[place].0, room.plain, room.last);
                    place
                }
                Move::Start => {
                    open.push((self.blocks - room.first, Vec::new()));
                    open.len() - 1
                }
            };
            open[place].1.push(member);
            if open[place].0 <= 0 {
                finished.push(open.remove(place).1);
            }
        }
        finished
    }
}

/// What a replica still lacks after a member is given to it, counted with the output head where that would close it.
fn rest(lacks: i64, plain: i64, last: i64) -> i64 {
    if lacks > plain { lacks - plain } else { lacks - last }
}

fn done(state: &State, replicas: i64) -> bool {
    state.open.is_empty() && state.finished == replicas
}

impl State {
    fn given(&self, place: usize, rest: i64) -> Self {
        let mut open = self.open.clone();
        open.remove(place);
        Self { open, finished: self.finished }.with(rest)
    }

    /// A replica needs no head beside the embedding to be closed by its first member; the reference has it so.
    fn started(&self, rest: i64) -> Self {
        self.clone().with(rest)
    }

    fn with(mut self, rest: i64) -> Self {
        if rest > 0 {
            self.open.insert(self.open.partition_point(|&lacks| lacks <= rest), rest);
        } else {
            self.finished += 1;
        }
        self
    }
}
