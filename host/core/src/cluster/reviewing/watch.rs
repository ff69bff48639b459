//! When one model's plan is due for a review. Causes are collected, and rest after each review, each plan, and longer after each
//! plan that a review led to: so a policy that always wants another plan gets a bounded number of them. A stage that drifts need not
//! wait until a plan has had its pause: what the plan was made with is refuted, and each request pays for it.

use super::{Cause, ReviewSettings};
use crate::units::Millis;

/// What causes are told apart by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// A stage does not take what was reckoned with.
    Drift,
    /// All else.
    Other,
}

/// What is known of the reviews of one model.
#[derive(Clone, PartialEq, Debug, Default)]
pub(super) struct Watch {
    /// What happened since the last review, if anything did; the first of several.
    cause: Option<Cause>,
    /// There is no review before, whatever its cause.
    from: Millis,
    /// Nor one for another cause than drift.
    settled: Millis,
    /// When it was reviewed last, or its plan came in force.
    looked: Millis,
    /// Reviews for a cause that found the plan good enough, one after another.
    in_vain: u32,
    /// Reviews that wanted another plan since the doubling began, and when the last of them did.
    replans: u32,
    replanned: Option<Millis>,
}

impl Watch {
    /// Something happened. A stage that drifts stands for whatever would have to wait longer.
    pub(super) fn note(&mut self, cause: Cause) {
        match &self.cause {
            Some(known) if known.is_drift() || !cause.is_drift() => {}
            _ => self.cause = Some(cause),
        }
    }

    /// Whether a review for causes of this kind may be asked for, and none is known yet.
    pub(super) fn is_curious(&self, kind: Kind, now: Millis) -> bool {
        match kind {
            Kind::Drift => now >= self.from && !self.cause.as_ref().is_some_and(Cause::is_drift),
            Kind::Other => self.is_rested(now) && self.cause.is_none(),
        }
    }

    /// Why a review is due, if it is.
    pub(super) fn due(&self, now: Millis, settings: &ReviewSettings) -> Option<Cause> {
        let is_rested = self.is_rested(now);
        let told = self.cause.as_ref().filter(|cause| is_rested || (cause.is_drift() && now >= self.from));
        let is_time = is_rested && now - self.looked >= settings.interval;
        told.cloned().or_else(|| is_time.then_some(Cause::Interval))
    }

    fn is_rested(&self, now: Millis) -> bool {
        now >= self.from && now >= self.settled
    }

    /// When it was reviewed last, or its plan came in force: whoever waited longest is asked first.
    pub(super) fn looked(&self) -> Millis {
        self.looked
    }

    /// A plan came in force. It was made with all that had happened before.
    pub(super) fn planned(&mut self, now: Millis, settings: &ReviewSettings) {
        (self.cause, self.in_vain, self.looked) = (None, 0, now);
        self.settled = now + settings.pause_min;
        self.rest(now + settings.cause_min);
    }

    /// A review for this cause found the plan good enough.
    pub(super) fn kept(&mut self, cause: &Cause, now: Millis, settings: &ReviewSettings) {
        let wait = if *cause == Cause::Interval { settings.cause_min } else { doubled(settings.cause_min, self.in_vain, settings.interval) };
        self.in_vain = if *cause == Cause::Interval { 0 } else { self.in_vain.saturating_add(1) };
        self.looked = now;
        self.rest(now + wait);
    }

    /// A review wanted another plan.
    pub(super) fn replans(&mut self, now: Millis, settings: &ReviewSettings) {
        if self.replanned.is_some_and(|last| (now - last).0 > 2.0 * settings.pause_max.0) {
            self.replans = 0;
        }
        let wait = doubled(settings.pause_min, self.replans, settings.pause_max);
        self.replans = self.replans.saturating_add(1);
        (self.replanned, self.looked, self.in_vain) = (Some(now), now, 0);
        self.rest(now + wait);
    }

    /// The question is put: what happened up to now is answered with it.
    pub(super) fn asked(&mut self) {
        self.cause = None;
    }

    fn rest(&mut self, until: Millis) {
        self.from = Millis(self.from.0.max(until.0));
    }
}

/// A time, doubled so often, up to a maximum.
fn doubled(first: Millis, times: u32, max: Millis) -> Millis {
    // 2^30 times any time is above every maximum.
    Millis((first.0 * f64::from(1_u32 << times.min(30))).min(max.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        shard::ShardId,
        testing::{device_id, model_id, offer_id, range},
    };

    const SETTINGS: ReviewSettings =
        ReviewSettings { interval: Millis(60.0), cause_min: Millis(10.0), pause_min: Millis(20.0), pause_max: Millis(100.0), ..ReviewSettings::DEFAULT };

    fn cause() -> Cause {
        Cause::Returned(device_id("a"))
    }

    /// The first of these moments at which a review is due.
    fn due_at(watch: &Watch, moments: impl Iterator<Item = u32>) -> Option<u32> {
        moments.into_iter().find(|&now| watch.due(Millis(f64::from(now)), &SETTINGS).is_some())
    }

    #[test]
    fn without_a_cause_a_review_is_due_after_the_interval_and_with_one_after_the_pause() {
        let mut watch = Watch::default();
        watch.planned(Millis(100.0), &SETTINGS);
        assert_eq!(due_at(&watch, 100..1_000), Some(160));
        watch.note(cause());
        assert_eq!((due_at(&watch, 100..1_000), watch.due(Millis(130.0), &SETTINGS)), (Some(120), Some(cause())));
        assert_eq!(watch.due(Millis(119.0), &SETTINGS), None);
    }

    #[test]
    fn causes_that_find_nothing_wait_longer_each_time_until_time_alone_is_cause() {
        let mut watch = Watch::default();
        let mut now = 1_000.0;
        let mut waits = Vec::new();
        for _ in 0..6 {
            watch.note(cause());
            watch.asked();
            watch.kept(&cause(), Millis(now), &SETTINGS);
            watch.note(cause());
            let next = f64::from(due_at(&watch, now as u32..10_000).expect("some time"));
            waits.push(next - now);
            now = next;
        }
        assert_eq!(waits, [10.0, 20.0, 40.0, 60.0, 60.0, 60.0]);
        watch.kept(&Cause::Interval, Millis(now), &SETTINGS);
        assert_eq!(due_at(&watch, now as u32..10_000), Some(now as u32 + 10), "the waits begin anew");
    }

    #[test]
    fn each_plan_that_a_review_wants_doubles_the_pause_and_a_long_calm_ends_that() {
        let mut watch = Watch::default();
        let mut now = 0.0;
        let mut pauses = Vec::new();
        for _ in 0..6 {
            watch.replans(Millis(now), &SETTINGS);
            watch.planned(Millis(now), &SETTINGS);
            watch.note(cause());
            let next = f64::from(due_at(&watch, now as u32..10_000).expect("some time"));
            pauses.push(next - now);
            now = next;
        }
        assert_eq!(pauses, [20.0, 40.0, 80.0, 100.0, 100.0, 100.0]);
        watch.replans(Millis(now + 201.0), &SETTINGS);
        watch.note(cause());
        assert_eq!(due_at(&watch, now as u32..10_000), Some(now as u32 + 201 + 20));
    }

    fn drift() -> Cause {
        let shard = ShardId { model: model_id("m"), range: range(0, 2) };
        Cause::Drifted { offer: offer_id("a"), shard, reckoned: Millis(1.0), measured: Millis(3.0) }
    }

    #[test]
    fn a_stage_that_drifts_does_not_wait_for_a_plan_to_settle_and_comes_before_what_does() {
        let mut watch = Watch::default();
        watch.planned(Millis(100.0), &SETTINGS);
        watch.note(cause());
        assert!(watch.is_curious(Kind::Drift, Millis(110.0)) && !watch.is_curious(Kind::Drift, Millis(109.0)));
        assert!(!watch.is_curious(Kind::Other, Millis(110.0)));
        watch.note(drift());
        watch.note(cause());
        assert_eq!((due_at(&watch, 100..1_000), watch.due(Millis(110.0), &SETTINGS)), (Some(110), Some(drift())));
    }

    #[test]
    fn a_plan_that_a_review_led_to_has_its_pause_whatever_drifts() {
        let mut watch = Watch::default();
        for pause in [20, 40, 80, 100] {
            watch.replans(Millis(1_000.0), &SETTINGS);
            watch.planned(Millis(1_000.0), &SETTINGS);
            watch.note(drift());
            assert_eq!(due_at(&watch, 1_000..2_000), Some(1_000 + pause));
        }
    }

    #[test]
    fn the_first_cause_is_told_and_a_plan_settles_all_of_them() {
        let mut watch = Watch::default();
        watch.note(cause());
        watch.note(Cause::Returned(device_id("b")));
        assert_eq!(watch.due(Millis(0.0), &SETTINGS), Some(cause()));
        watch.planned(Millis(0.0), &SETTINGS);
        assert_eq!(watch.due(Millis(30.0), &SETTINGS), None);
    }
}
