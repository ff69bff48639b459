//! Sees every decision on its way out: hands it to whoever records, and keeps a few of the last questions, so that a plugin
//! can rehearse on what this host really asks. Costs a look at two numbers where nothing is recorded or kept.

use std::{
    collections::VecDeque,
    fmt,
    ops::Range,
    sync::{Arc, Mutex, TryLockError},
};

use host_core::{
    decision::{Question, Reply},
    policy::{Answer, PolicyFault},
};

use crate::{
    error::{Error, Fault},
    events::Bearer,
    names::PluginKind,
    slot::{Decision, Slot, lock},
    world::World,
};

/// Of the requests that are routed, one in so many is kept.
const KEPT_ONE_IN: u32 = 64;

/// A decision with everything that it depended on.
#[derive(Clone, Debug)]
pub struct Decided {
    /// Who answered; where nobody did, who failed last.
    pub by: Arc<Bearer>,
    /// What that plugin was configured with, if it still serves.
    pub config: Option<String>,
    /// What was asked.
    pub question: Question,
    /// What was answered.
    pub answer: Answer<Reply>,
    /// Why the plugin in service did not answer.
    pub fallback: Option<PolicyFault>,
}

/// Where decisions go. It is called inline, between a decision and its use: it must not block.
#[derive(Clone, Default)]
pub struct DecisionSink(Option<Arc<dyn Fn(Decided) + Send + Sync>>);

impl DecisionSink {
    /// Calls this with each decision.
    pub fn new(sink: impl Fn(Decided) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(sink)))
    }

    /// Hands a decision on.
    pub fn send(&self, decided: Decided) {
        if let Some(sink) = &self.0 {
            sink(decided);
        }
    }
}

impl fmt::Debug for DecisionSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("DecisionSink").field(&self.0.is_some()).finish()
    }
}

/// What all slots of a host share.
pub(crate) struct Witness {
    sink: DecisionSink,
    kept_max: usize,
    /// By the function that is asked: allocate, review, route, admit.
    kept: [Mutex<VecDeque<Question>>; 4],
}

impl Witness {
    pub(crate) fn new(sink: DecisionSink, kept_max: usize) -> Self {
        Self { sink, kept_max, kept: Default::default() }
    }

    /// The last questions that were asked of slots of a kind.
    pub(crate) fn recent(&self, kind: PluginKind) -> Vec<Question> {
        self.kept[places(kind)].iter().flat_map(|kept| lock(kept).iter().cloned().collect::<Vec<_>>()).collect()
    }

    fn keep(&self, question: Question) {
        // Whoever finds the lock taken is not kept: a request does not wait for it.
        let mut kept = match self.kept[place(&question)].try_lock() {
            Ok(kept) => kept,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return,
        };
        kept.push_back(question);
        while kept.len() > self.kept_max {
            kept.pop_front();
        }
    }
}

fn place(question: &Question) -> usize {
    match question {
        Question::Allocate(_) => 0,
        Question::Review(_) => 1,
        Question::Route { .. } => 2,
        Question::Admit(_) => 3,
    }
}

/// The places of what slots of a kind are asked. Adapters decide nothing.
fn places(kind: PluginKind) -> Range<usize> {
    match kind {
        PluginKind::Allocation => 0..2,
        PluginKind::Routing => 2..3,
        PluginKind::Queueing => 3..4,
        PluginKind::Adapter => 0..0,
    }
}

/// Whether a request with this ordinal is kept: one in so many, but none in step with taking turns.
pub(crate) fn is_kept(ordinal: u32) -> bool {
    ordinal.wrapping_mul(0x9e37_79b9) < u32::MAX / KEPT_ONE_IN
}

/// Notes a decision of a slot.
pub(crate) fn witness<W: World, T>(
    slot: &Slot<W>,
    decided: &Result<Decision<T>, Error>,
    is_kept: bool,
    question: impl FnOnce() -> Question,
    reply: impl FnOnce(&T) -> Reply,
) {
    let witness = &slot.around().witness;
    let keeps = is_kept && witness.kept_max > 0;
    if !keeps && witness.sink.0.is_none() {
        return;
    }
    let question = question();
    if keeps {
        witness.keep(question.clone());
    }
    if witness.sink.0.is_none() {
        return;
    }
    let noted = match decided {
        Ok(decision) => Some((Arc::clone(&decision.by), Ok(decision.answer.as_ref().map(reply).map_err(Clone::clone)), decision.fallback.clone())),
        Err(error) => match error.fault() {
            Fault::InService { fault, .. } => slot.current().map(|version| (Arc::clone(&version.bearer), Err(fault.clone()), None)),
            _ => None,
        },
    };
    if let Some((by, answer, fallback)) = noted {
        witness.sink.send(Decided { config: slot.config_of(&by), by, question, answer, fallback });
    }
}

#[cfg(test)]
mod tests {
    use host_core::{
        policy::{Arrival, LineState},
        units::Millis,
    };

    use super::*;

    #[test]
    fn one_request_in_sixty_four_is_kept_and_the_first_one() {
        let kept = (0..64_000).filter(|&ordinal| is_kept(ordinal)).count();
        assert!((900..=1100).contains(&kept), "{kept}");
        assert!(is_kept(0));
        // Not always the same turn of two.
        assert!((1..10_000).any(|turn| is_kept(turn * 2)) && (1..10_000).any(|turn| is_kept(turn * 2 + 1)));
    }

    #[test]
    fn only_the_last_questions_are_kept() {
        let arrival = |ordinal| Arrival {
            ordinal,
            class: 0,
            now: Millis(0.0),
            deadline: None,
            expected: Millis(0.0),
            classes: Vec::new(),
            depth_max: 1,
            line: LineState::default(),
        };
        let witness = Witness::new(DecisionSink::default(), 3);
        (0..10).for_each(|ordinal| witness.keep(Question::Admit(arrival(ordinal))));
        let ordinals = |question: &Question| if let Question::Admit(arrival) = question { arrival.ordinal } else { u32::MAX };
        assert_eq!(witness.recent(PluginKind::Queueing).iter().map(ordinals).collect::<Vec<_>>(), [7, 8, 9]);
        assert!(witness.recent(PluginKind::Routing).is_empty() && witness.recent(PluginKind::Adapter).is_empty());
    }
}
