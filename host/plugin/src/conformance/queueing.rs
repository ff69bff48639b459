//! Arrivals for queueing policies: empty and full lines, one class and many, with deadlines and without.

use std::fmt::Write as _;

use host_core::{
    decision::Reply,
    error::Error as Broken,
    policy::{Answer, Arrival, ClassState, LineState},
    units::Millis,
};

use super::{Examination, PolicySuite, Source, Suite, Way, examine_policy};
use crate::{
    error::Error,
    policies,
    program::Program,
    world::{QueueingPolicy, Warm},
};

impl Suite for QueueingPolicy {
    type Context = ();
    type Input = Arrival;

    fn context() -> Result<(), Error> {
        Ok(())
    }

    fn generate(source: &mut Source, _context: &(), _number: u32) -> Result<Arrival, Broken> {
        Ok(arrival(source, 8))
    }

    fn examine(program: &Program<Self>, _context: &(), input: &Arrival, elder: Option<(&mut Warm<Self>, u32)>) -> Examination {
        examine_policy(program, input, &["admit"], elder)
    }

    fn smaller(input: &Arrival) -> Vec<Arrival> {
        let classes = input.classes.len();
        let mut found: Vec<Arrival> = (0..classes).filter_map(|gone| without(input, gone)).collect();
        let simpler: [fn(&mut Arrival); 7] = [
            |arrival| arrival.ordinal = 0,
            |arrival| arrival.deadline = None,
            |arrival| arrival.now = Millis(0.0),
            |arrival| arrival.expected = Millis(1.0),
            |arrival| arrival.classes.iter_mut().for_each(|class| class.last_rank = 0.0),
            |arrival| arrival.classes.iter_mut().for_each(|class| class.depth /= 2),
            |arrival| arrival.line = LineState::default(),
        ];
        for simplify in simpler {
            let mut simple = input.clone();
            simplify(&mut simple);
            found.push(simple);
        }
        found.retain(|smaller| smaller != input);
        found
    }

    fn render(input: &Arrival) -> String {
        let mut text = format!("arrival {} of class {} at {}, expected to take {}", input.ordinal, input.class, input.now, input.expected);
        let deadline = input.deadline.map_or_else(|| ", without a deadline".to_owned(), |deadline| format!(", worthless in {deadline}"));
        // Writing to a text cannot fail.
        let _ = write!(text, "{deadline}; {} may wait, rank {} had its turn last", input.depth_max, input.line.served_rank);
        if let Some(turn) = input.line.turn {
            let _ = write!(text, ", one turn in {turn}");
        }
        for (index, class) in input.classes.iter().enumerate() {
            let _ = write!(text, "\nclass {index}: {} wait, last rank {}", class.depth, class.last_rank);
        }
        text
    }
}

impl PolicySuite for QueueingPolicy {
    fn answers(warm: &mut Warm<Self>, input: &Arrival, _way: Way) -> Vec<Answer<Reply>> {
        vec![policies::admit(warm, input).map(|answer| answer.map(Reply::Rank))]
    }

    fn decoy() -> Result<Arrival, Broken> {
        Ok(arrival(&mut Source::of(u64::MAX, 7), 4))
    }

    fn judge(_program: &Program<Self>, input: &Arrival, answers: &[Answer<Reply>], seen: &mut Examination) {
        let waiting: u64 = input.classes.iter().map(|class| u64::from(class.depth)).sum();
        let full = waiting >= u64::from(input.depth_max);
        seen.possible = (!full).then_some(true);
        for answer in answers.iter().flatten() {
            if let Err(refusal) = answer {
                seen.refusal(refusal, input.classes.len());
            }
            if full {
                seen.note("it admits where the line is full, and the host refuses in its place", answer.is_ok());
            }
        }
    }
}

/// An arrival with at most so many classes.
pub(crate) fn arrival(source: &mut Source, classes_max: u32) -> Arrival {
    let count = source.between(1, classes_max);
    let depth_max = source.pick(&[0, 1, 16, 1024, 1024, 1024]);
    let now = source.pick(&[0.0, 1.0, 86_400_000.0]) + source.unit() * 1e6;
    let class = |source: &mut Source| {
        let depth = source.pick(&[0, 0, 1, 5, 200, 1024]);
        ClassState { depth, last_rank: source.pick(&[0.0, 0.0, now, -now, 1e300, 1.0]) }
    };
    Arrival {
        ordinal: source.pick(&[0, 1, 77, 0x7fff_ffff]),
        class: source.between(0, count - 1),
        now: Millis(now),
        deadline: source.pick(&[None, Some(Millis(1.0)), Some(Millis(100.0)), Some(Millis(30_000.0))]),
        expected: Millis(source.pick(&[0.0, 0.01, 5.0, 60_000.0])),
        classes: (0..count).map(|_| class(source)).collect(),
        depth_max,
        line: LineState {
            served_rank: source.pick(&[0.0, now, -now, 1e300]),
            turn: source.pick(&[None, Some(Millis(0.0)), Some(Millis(2.5)), Some(Millis(1e4))]),
        },
    }
}

/// The arrival with one class less, if that is not its own.
fn without(input: &Arrival, gone: usize) -> Option<Arrival> {
    let own = input.class as usize;
    if own == gone {
        return None;
    }
    let mut smaller = input.clone();
    smaller.classes.remove(gone);
    smaller.class -= u32::from(gone < own);
    Some(smaller)
}
