use proptest::prelude::*;

use super::*;

const LIMITS: TurnLimits = TurnLimits { running_max: 2, waiting_max: 5, classes: 3 };

fn turns() -> Turns<u64> {
    Turns::new(LIMITS)
}

#[test]
fn a_policy_is_told_who_waits_and_which_rank_had_its_turn_last() {
    let mut turns = turns();
    assert!(turns.begin(0, 1.5) && turns.begin(1, 2.5) && !turns.begin(1, 3.5), "two may run");
    turns.wait(1, 3.5, Millis(100.0), 1).expect("there is room");
    turns.wait(2, 9.0, Millis(100.0), 2).expect("there is room");
    let first = turns.arrival(1, Millis(10.0), Millis(70.0), Millis(4.0));
    let classes = [(0, 1.5), (1, 3.5), (1, 9.0)].map(|(depth, last_rank)| ClassState { depth, last_rank });
    assert_eq!((first.ordinal, first.classes.as_slice(), first.line), (0, &classes[..], LineState { served_rank: 2.5, turn: None }));
    assert_eq!((first.deadline, first.depth_max), (Some(Millis(60.0)), 5));
    assert_eq!((turns.pass_on(Millis(20.0)), turns.pass_on(Millis(26.0))), (Some(1), Some(2)));
    let second = turns.arrival(1, Millis(30.0), Millis(20.0), Millis(4.0));
    assert_eq!((second.ordinal, second.line), (1, LineState { served_rank: 9.0, turn: Some(Millis(6.0)) }));
    assert_eq!((second.deadline, second.classes.iter().map(|class| class.depth).sum::<u32>()), (Some(Millis(0.0)), 0));
}

#[test]
fn it_is_known_when_the_line_will_be_empty_once_turns_have_followed_one_another() {
    let mut turns = turns();
    assert!(turns.begin(0, 0.0) && turns.begin(0, 0.0));
    for item in 0..5 {
        turns.wait(0, 0.0, Millis(1e3), item).expect("there is room");
    }
    assert_eq!(turns.drained_in(), None);
    turns.pass_on(Millis(10.0));
    turns.pass_on(Millis(14.0));
    assert_eq!(turns.drained_in(), Some(Millis(12.0)), "three wait, one turn in 4 ms");
}

#[test]
fn a_class_beyond_the_last_counts_as_the_last() {
    let mut turns = turns();
    assert!(turns.begin(99, 4.0));
    assert_eq!(turns.arrival(0, Millis(0.0), Millis(1.0), Millis(1.0)).classes[2].last_rank, 4.0);
}

#[derive(Clone, Debug)]
enum Step {
    Arrive { class: u32, rank: i8, patience: u8 },
    Finish,
    Expire,
    Cancel(u8),
    Advance(u8),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0_u32..3, any::<i8>(), any::<u8>()).prop_map(|(class, rank, patience)| Step::Arrive { class, rank, patience }),
        3 => Just(Step::Finish),
        1 => Just(Step::Expire),
        1 => any::<u8>().prop_map(Step::Cancel),
        2 => any::<u8>().prop_map(Step::Advance),
    ]
}

/// What became of a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fate {
    Waits,
    Runs,
    Ran,
    TimedOut,
    Cancelled,
    Shed,
}

#[derive(Clone, Debug)]
struct Known {
    class: u32,
    rank: i8,
    deadline: u64,
    place: Option<Place>,
    fate: Fate,
}

/// Turns as nobody could get them wrong: a list of all requests that ever were, looked through each time.
#[derive(Default)]
struct Model {
    known: Vec<Known>,
    now: u64,
}

impl Model {
    fn count(&self, fate: Fate) -> usize {
        self.known.iter().filter(|known| known.fate == fate).count()
    }

    /// Those who wait, in the order in which they are due.
    fn waiting(&self) -> Vec<usize> {
        let mut waiting: Vec<usize> = (0..self.known.len()).filter(|&index| self.known[index].fate == Fate::Waits).collect();
        waiting.sort_by_key(|&index| (self.known[index].rank, index));
        waiting
    }

    fn arrive(&mut self, turns: &mut Turns<u64>, class: u32, rank: i8, patience: u8) -> Result<(), TestCaseError> {
        let (index, deadline) = (self.known.len(), self.now + u64::from(patience));
        let (runs, waits) = (self.count(Fate::Runs), self.count(Fate::Waits));
        let expected = if runs < LIMITS.running_max as usize {
            Fate::Runs
        } else if waits < LIMITS.waiting_max as usize {
            Fate::Waits
        } else {
            Fate::Shed
        };
        let mut place = None;
        let fate = if turns.begin(class, f64::from(rank)) {
            Fate::Runs
        } else {
            match turns.wait(class, f64::from(rank), Millis(deadline as f64), index as u64) {
                Ok(given) => {
                    place = Some(given);
                    Fate::Waits
                }
                Err((_, item)) => {
                    prop_assert_eq!(item, index as u64, "another one was given back");
                    Fate::Shed
                }
            }
        };
        prop_assert_eq!(fate, expected);
        self.known.push(Known { class, rank, deadline, place, fate });
        Ok(())
    }

    fn finish(&mut self, turns: &mut Turns<u64>) -> Result<(), TestCaseError> {
        let Some(done) = self.known.iter().position(|known| known.fate == Fate::Runs) else { return Ok(()) };
        self.known[done].fate = Fate::Ran;
        let next = self.waiting().into_iter().find(|&index| self.known[index].deadline > self.now);
        prop_assert_eq!(turns.pass_on(Millis(self.now as f64)), next.map(|index| index as u64));
        if let Some(next) = next {
            self.known[next].fate = Fate::Runs;
        }
        Ok(())
    }

    fn expire(&mut self, turns: &mut Turns<u64>) -> Result<(), TestCaseError> {
        let mut late = self.waiting();
        late.retain(|&index| self.known[index].deadline <= self.now);
        late.sort_by_key(|&index| (self.known[index].deadline, index));
        prop_assert_eq!(turns.expire(Millis(self.now as f64)), late.iter().map(|&index| index as u64).collect::<Vec<_>>());
        late.into_iter().for_each(|index| self.known[index].fate = Fate::TimedOut);
        Ok(())
    }

    /// Somebody stops waiting, or wants to after its wait is over.
    fn cancel(&mut self, turns: &mut Turns<u64>, which: u8) -> Result<(), TestCaseError> {
        let count = self.known.len();
        let Some(known) = self.known.get_mut(usize::from(which) % count.max(1)) else { return Ok(()) };
        let Some(place) = known.place else { return Ok(()) };
        let waits = known.fate == Fate::Waits;
        prop_assert_eq!(turns.leave(place).is_some(), waits);
        if waits {
            known.fate = Fate::Cancelled;
        }
        Ok(())
    }

    fn agrees(&self, turns: &mut Turns<u64>) -> Result<(), TestCaseError> {
        prop_assert!(turns.running() <= LIMITS.running_max && turns.depth() <= LIMITS.waiting_max);
        prop_assert_eq!((turns.running() as usize, turns.depth() as usize), (self.count(Fate::Runs), self.count(Fate::Waits)));
        let now = Millis(self.now as f64);
        for (class, state) in (0_u32..).zip(turns.arrival(0, now, now, now).classes) {
            let waiting = self.known.iter().filter(|known| known.fate == Fate::Waits && known.class == class).count();
            let last = self.known.iter().rfind(|known| known.fate != Fate::Shed && known.class == class).map_or(0, |known| known.rank);
            prop_assert_eq!((state.depth as usize, state.last_rank), (waiting, f64::from(last)));
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3_000))]

    /// Each request of the model has one fate at a time, so nobody is lost or served twice; a timeout is neither early nor late,
    /// and nobody whose deadline has passed gets a turn.
    #[test]
    fn any_order_of_events_keeps_to_the_model(steps in proptest::collection::vec(step(), 1..120)) {
        let (mut turns, mut model) = (turns(), Model::default());
        for step in steps {
            match step {
                Step::Arrive { class, rank, patience } => model.arrive(&mut turns, class, rank, patience)?,
                Step::Finish => model.finish(&mut turns)?,
                Step::Expire => model.expire(&mut turns)?,
                Step::Cancel(which) => model.cancel(&mut turns, which)?,
                Step::Advance(time) => model.now += u64::from(time),
            }
            model.agrees(&mut turns)?;
        }
        // In the end everyone has left: whoever waits is served or times out.
        model.now += 1 << 10;
        model.expire(&mut turns)?;
        while model.count(Fate::Runs) > 0 {
            model.finish(&mut turns)?;
        }
        model.agrees(&mut turns)?;
        prop_assert_eq!(turns.running() + turns.depth(), 0);
    }
}
