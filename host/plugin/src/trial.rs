//! A plugin that is tried beside the one in service, on the same questions. A canary answers a share of the requests, a
//! shadow answers none, and on probation the plugin in service is held against the one before it. What is found worse goes.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicU64, Ordering},
};

use host_core::comparison::{Comparison, ComparisonPolicy};

use crate::{
    events::Bearer,
    slot::{Version, lock},
    world::World,
};

/// On probation one question in this many goes to both plugins, so that few requests wait for two answers.
const PROBATION_EVERY: u64 = 8;

/// How long a trial is, and what it takes to fail it.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct TrialPolicy {
    /// When a plugin counts as worse than the one that it is held against.
    pub comparison: ComparisonPolicy,
    /// Questions that a newly installed plugin is compared on; 0 for no probation.
    pub probation_questions: u32,
}

impl Default for TrialPolicy {
    fn default() -> Self {
        Self { comparison: ComparisonPolicy::default(), probation_questions: 100 }
    }
}

/// How a prepared plugin enters its slot.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub enum Entry {
    /// It serves at once and stays, whatever it costs: somebody chose it.
    #[default]
    Settled,
    /// It serves at once, and goes again by itself if it decides worse than the one before.
    Probation,
    /// It answers this share of the requests, 0 to 1, and goes by itself if it decides worse.
    Canary {
        /// Of all requests.
        share: f64,
    },
    /// It answers no request; its answers are compared.
    Shadow,
}

/// What a trial is.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum TrialKind {
    /// A share of the requests is answered by the plugin on trial.
    Canary {
        /// Of all requests.
        share: f64,
    },
    /// No request is.
    Shadow,
    /// The plugin in service is compared with the one before it.
    Probation,
}

impl TrialKind {
    /// A word for people and labels.
    pub fn word(self) -> &'static str {
        match self {
            Self::Canary { .. } => "canary",
            Self::Shadow => "shadow",
            Self::Probation => "probation",
        }
    }
}

/// How a trial stands.
#[derive(Clone, PartialEq, Debug)]
pub struct TrialStatus {
    /// What it is.
    pub kind: TrialKind,
    /// The plugin beside the one in service: on probation, the one before it.
    pub beside: Arc<Bearer>,
    /// What both answered so far; its own side is the plugin that is judged.
    pub comparison: Comparison,
}

/// Why a trial ended.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum TrialEnd {
    /// It was compared on all questions of its probation.
    Passed,
    /// It failed too often.
    Strikes,
    /// Its answers cost this many times what the other's do.
    Worse {
        /// Own cost by the other's.
        cost_ratio: f64,
    },
    /// Somebody ended it, or put something else in the slot.
    Stopped,
}

impl TrialEnd {
    /// A word for labels.
    pub fn word(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Strikes => "strikes",
            Self::Worse { .. } => "worse",
            Self::Stopped => "stopped",
        }
    }
}

/// What the trial has to do with one question.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Turn {
    /// Nothing.
    None,
    /// The plugin beside answers, the one in service is compared.
    Decides,
    /// The one in service answers, the plugin beside is compared.
    Watches,
}

/// A trial under way.
pub(crate) struct Trial<W: World> {
    pub kind: TrialKind,
    pub beside: Arc<Version<W>>,
    questions: AtomicU64,
    comparison: Mutex<Comparison>,
}

impl<W: World> Trial<W> {
    pub(crate) fn new(kind: TrialKind, beside: Arc<Version<W>>) -> Self {
        Self { kind, beside, questions: AtomicU64::new(0), comparison: Mutex::default() }
    }

    /// Counts a question. Shares are spread evenly: question n is the canary's if n·share passes a whole number there.
    pub(crate) fn turn(&self) -> Turn {
        let question = self.questions.fetch_add(1, Ordering::Relaxed);
        match self.kind {
            TrialKind::Shadow => Turn::Watches,
            TrialKind::Probation if question.is_multiple_of(PROBATION_EVERY) => Turn::Watches,
            TrialKind::Probation => Turn::None,
            TrialKind::Canary { share } => {
                let passed = |count: u64| (count as f64 * share).floor();
                if passed(question + 1) > passed(question) { Turn::Decides } else { Turn::None }
            }
        }
    }

    /// Notes what both answered, the judged one first, and says whether that ends the trial.
    pub(crate) fn note(&self, agreed: bool, costs: Option<(f64, f64)>, policy: &TrialPolicy) -> Option<TrialEnd> {
        let mut comparison = lock(&self.comparison);
        comparison.note(agreed, costs);
        match comparison.worse(&policy.comparison) {
            Some(cost_ratio) => Some(TrialEnd::Worse { cost_ratio }),
            None if self.kind == TrialKind::Probation && comparison.questions >= policy.probation_questions => Some(TrialEnd::Passed),
            None => None,
        }
    }

    pub(crate) fn status(&self) -> TrialStatus {
        TrialStatus { kind: self.kind, beside: Arc::clone(&self.beside.bearer), comparison: *lock(&self.comparison) }
    }
}
