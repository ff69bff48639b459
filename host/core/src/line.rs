//! The waiting line: bounded, with exact deadlines on a clock that is handed in. Policies rank; this only keeps order.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    error::{Error, Fault},
    units::Millis,
};

/// Names a place in a line, to leave it early.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Place(u64);

#[derive(Debug)]
struct Waiting<T> {
    rank: u64,
    deadline: u64,
    item: T,
}

/// Those who wait, smallest rank first, equal ranks in order of arrival.
#[derive(Debug)]
pub struct Line<T> {
    depth_max: u32,
    arrivals: u64,
    waiting: BTreeMap<Place, Waiting<T>>,
    by_rank: BTreeSet<(u64, Place)>,
    by_deadline: BTreeSet<(u64, Place)>,
}

impl<T> Line<T> {
    /// An empty line that holds at most `depth_max`.
    pub fn new(depth_max: u32) -> Self {
        Self { depth_max, arrivals: 0, waiting: BTreeMap::new(), by_rank: BTreeSet::new(), by_deadline: BTreeSet::new() }
    }

    /// How many wait.
    pub fn depth(&self) -> u32 {
        u32::try_from(self.waiting.len()).unwrap_or(u32::MAX)
    }

    /// Lets one wait until `deadline`, or gives it back with the reason if the line is full or the rank is no number.
    pub fn push(&mut self, rank: f64, deadline: Millis, item: T) -> Result<Place, (Error, T)> {
        if !rank.is_finite() {
            return Err((Fault::Number { what: "the rank", value: rank }.into(), item));
        }
        if self.depth() >= self.depth_max {
            return Err((Fault::QueueFull { depth_max: self.depth_max }.into(), item));
        }
        let place = Place(self.arrivals);
        self.arrivals += 1;
        let (rank, deadline) = (ordered(rank), ordered(deadline.0));
        self.by_rank.insert((rank, place));
        self.by_deadline.insert((deadline, place));
        self.waiting.insert(place, Waiting { rank, deadline, item });
        Ok(place)
    }

    /// Takes the next one whose deadline has not passed.
    pub fn pop(&mut self, now: Millis) -> Option<T> {
        let late = ordered(now.0);
        let next = self.by_rank.iter().find(|(_, place)| self.waiting.get(place).is_some_and(|waiting| waiting.deadline > late))?.1;
        self.leave(next)
    }

    /// Takes out everyone whose deadline has passed, earliest deadline first.
    pub fn expire(&mut self, now: Millis) -> Vec<T> {
        let late = ordered(now.0);
        let places: Vec<Place> = self.by_deadline.iter().take_while(|(deadline, _)| *deadline <= late).map(|(_, place)| *place).collect();
        places.into_iter().filter_map(|place| self.leave(place)).collect()
    }

    /// Takes one out before its turn.
    pub fn leave(&mut self, place: Place) -> Option<T> {
        let waiting = self.waiting.remove(&place)?;
        self.by_rank.remove(&(waiting.rank, place));
        self.by_deadline.remove(&(waiting.deadline, place));
        Some(waiting.item)
    }
}

/// Bits that sort as the numbers do (IEEE 754 total order).
fn ordered(value: f64) -> u64 {
    let bits = value.to_bits();
    if bits >> 63 == 1 { !bits } else { bits | 1 << 63 }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn smaller_ranks_go_first_and_equal_ranks_in_order_of_arrival() {
        let mut line = Line::new(10);
        for (rank, item) in [(2.0, "c"), (-1.0, "a"), (2.0, "d"), (0.5, "b")] {
            line.push(rank, Millis(100.0), item).expect("there is room");
        }
        let order: Vec<_> = std::iter::from_fn(|| line.pop(Millis(1.0))).collect();
        assert_eq!(order, ["a", "b", "c", "d"]);
    }

    #[test]
    fn one_more_than_the_maximum_is_given_back() {
        let mut line = Line::new(1);
        line.push(0.0, Millis(1.0), 'a').expect("there is room");
        let (error, item) = line.push(0.0, Millis(1.0), 'b').expect_err("it is full");
        assert_eq!((error.to_string().as_str(), item), ("the queue is full: 1 requests are waiting", 'b'));
    }

    #[test]
    fn a_rank_that_is_no_number_is_given_back() {
        assert!(Line::new(1).push(f64::NAN, Millis(1.0), ()).is_err());
    }

    #[derive(Clone, Debug)]
    enum Step {
        Push { rank: i8, wait: u8 },
        Pop,
        Expire,
        Leave(u8),
        Wait(u8),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            3 => (any::<i8>(), any::<u8>()).prop_map(|(rank, wait)| Step::Push { rank, wait }),
            2 => Just(Step::Pop),
            1 => Just(Step::Expire),
            1 => any::<u8>().prop_map(Step::Leave),
            1 => any::<u8>().prop_map(Step::Wait),
        ]
    }

    proptest! {
        #[test]
        fn any_steps_keep_to_the_model_of_a_sorted_list(steps in proptest::collection::vec(step(), 1..200)) {
            let mut line = Line::new(8);
            let mut model: Vec<(i8, u64, u64)> = Vec::new();
            let (mut now, mut arrivals) = (0_u64, 0_u64);
            for step in steps {
                match step {
                    Step::Push { rank, wait } => {
                        let deadline = now + u64::from(wait);
                        let pushed = line.push(f64::from(rank), Millis(deadline as f64), arrivals);
                        prop_assert_eq!(pushed.is_ok(), model.len() < 8);
                        if pushed.is_ok() {
                            model.push((rank, arrivals, deadline));
                            model.sort();
                            arrivals += 1;
                        }
                    }
                    Step::Pop => {
                        let expected = model.iter().position(|entry| entry.2 > now).map(|index| model.remove(index).1);
                        prop_assert_eq!(line.pop(Millis(now as f64)), expected);
                    }
                    Step::Expire => {
                        let mut late: Vec<_> = model.iter().filter(|entry| entry.2 <= now).map(|entry| (entry.2, entry.1)).collect();
                        late.sort();
                        model.retain(|entry| entry.2 > now);
                        prop_assert_eq!(line.expire(Millis(now as f64)), late.into_iter().map(|entry| entry.1).collect::<Vec<_>>());
                    }
                    Step::Leave(which) => {
                        let place = Place(u64::from(which));
                        let expected = model.iter().position(|entry| entry.1 == u64::from(which)).map(|index| model.remove(index).1);
                        prop_assert_eq!(line.leave(place), expected);
                    }
                    Step::Wait(time) => now += u64::from(time),
                }
                prop_assert_eq!(line.depth() as usize, model.len());
            }
        }
    }
}
