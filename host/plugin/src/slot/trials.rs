//! Trials in a slot: how one begins, what two answers to one question lead to, and how it ends.

use std::sync::Arc;

use host_core::policy::Refusal;

use super::{Book, Slot, Tenant, Version, lock};
use crate::{
    clock::Clock,
    error::{Error, Fault},
    events::{Bearer, PluginEvent, SwapReason},
    trial::{Trial, TrialEnd, TrialKind},
    world::{Warm, World},
};

/// Where a plugin refuses and the other one of a comparison answers, its refusal counts this many times the answer's cost.
const REFUSAL_COST: f64 = 2.0;

impl<W: World> Slot<W> {
    /// Notes two answers to one question, that of the judged plugin first, and acts on what they show.
    pub(super) fn compare<T: PartialEq>(
        &self,
        trial: &Arc<Trial<W>>,
        (own, other): (&Result<T, Refusal>, &Result<T, Refusal>),
        cost: impl Fn(&T) -> Option<f64>,
    ) {
        let costs = match (own, other) {
            (Ok(own), Ok(other)) => cost(own).zip(cost(other)),
            (Err(_), Ok(other)) => cost(other).map(|other| (other * REFUSAL_COST, other)),
            (Ok(own), Err(_)) => cost(own).map(|own| (own, own * REFUSAL_COST)),
            (Err(_), Err(_)) => None,
        };
        let agreed = match (own, other) {
            (Ok(own), Ok(other)) => own == other,
            (own, other) => own.is_err() && other.is_err(),
        };
        match trial.note(agreed, costs, &self.around.trials) {
            Some(TrialEnd::Worse { cost_ratio }) if trial.kind == TrialKind::Probation => self.roll_back_worse(trial, cost_ratio),
            Some(end) => self.end_trial(&mut lock(&self.book), Some(trial), end),
            None => {}
        }
    }

    /// Tries a plugin beside the one in service.
    pub(crate) fn try_beside(&self, kind: TrialKind, tenant: Arc<Tenant<W>>, idle: Vec<Warm<W>>) -> Result<Arc<Bearer>, Error> {
        if !W::DECIDES || self.current().is_none() {
            return Err(Fault::NoTrial { slot: self.name.clone(), kind: kind.word() }.into());
        }
        let mut book = lock(&self.book);
        self.end_trial(&mut book, None, TrialEnd::Stopped);
        book.last = book.last.next();
        let version = Version::new(&self.name, book.last, tenant, idle);
        let bearer = Arc::clone(&version.bearer);
        self.trial.store(Some(Arc::new(Trial::new(kind, version))));
        self.around.events.send(PluginEvent::TrialStarted { kind, bearer: Bearer::clone(&bearer) });
        Ok(bearer)
    }

    /// Puts the plugin on trial in service.
    pub(crate) fn promote(&self) -> Result<Arc<Bearer>, Error> {
        let clock = Clock::start();
        let on_trial = || self.trial.load_full().filter(|trial| trial.kind != TrialKind::Probation);
        let nothing = || Error::from(Fault::NothingOnTrial { slot: self.name.clone() });
        let trial = on_trial().ok_or_else(nothing)?;
        // Starting takes milliseconds, and nobody waits for the book so long.
        let warm = trial.beside.tenant.program.start()?;
        let mut book = lock(&self.book);
        if !on_trial().is_some_and(|under_way| Arc::ptr_eq(&under_way, &trial)) {
            return Err(nothing());
        }
        Ok(self.swap(&mut book, Arc::clone(&trial.beside.tenant), vec![warm], SwapReason::Promoted, clock))
    }

    /// Ends a canary or a shadow.
    pub(crate) fn stop_trial(&self) -> Result<Arc<Bearer>, Error> {
        let trial = self.trial.load_full().filter(|trial| trial.kind != TrialKind::Probation);
        let trial = trial.ok_or_else(|| Fault::NothingOnTrial { slot: self.name.clone() })?;
        self.end_trial(&mut lock(&self.book), Some(&trial), TrialEnd::Stopped);
        Ok(Arc::clone(&trial.beside.bearer))
    }

    /// Ends the trial that is under way, or only this one. Whoever calls holds the book, so that no two end it.
    pub(super) fn end_trial(&self, book: &mut Book<W>, only: Option<&Arc<Trial<W>>>, end: TrialEnd) {
        let under_way = self.trial.load_full();
        let Some(trial) = under_way.filter(|trial| only.is_none_or(|only| Arc::ptr_eq(only, trial))) else { return };
        self.trial.store(None);
        // On probation the one beside is the one before, whatever is found out of the other.
        let is_sound = trial.kind == TrialKind::Probation || matches!(end, TrialEnd::Passed | TrialEnd::Stopped);
        self.set_aside(book, &trial.beside, is_sound);
        let bearer = Bearer::clone(&trial.beside.bearer);
        self.around.events.send(PluginEvent::TrialEnded { kind: trial.kind, bearer, end, comparison: trial.status().comparison });
        self.around.keeper.drop_later(trial);
    }

    /// The plugin in service decides worse than the one before it, which serves again.
    fn roll_back_worse(&self, trial: &Arc<Trial<W>>, cost_ratio: f64) {
        let clock = Clock::start();
        let mut book = lock(&self.book);
        let under_way = self.trial.load_full().is_some_and(|under_way| Arc::ptr_eq(&under_way, trial));
        if !under_way {
            return;
        }
        self.end_trial(&mut book, Some(trial), TrialEnd::Worse { cost_ratio });
        book.history.pop_back();
        self.swap(&mut book, Arc::clone(&trial.beside.tenant), Vec::new(), SwapReason::Worse, clock);
    }
}
