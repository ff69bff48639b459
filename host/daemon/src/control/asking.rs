//! Puts the cluster's questions to the allocation slot, on threads of their own: for plans, and whether they are still good.

use std::{fmt, sync::Arc};

use host_core::{
    cluster::{Cause, Event},
    ids::Ticket,
    policy::{Observation, Refusal, Verdict},
    problem::{Problem, Proposal},
    units::Bytes,
};
use host_plugin::Decision;

use super::Control;

impl Control {
    /// Has a model placed.
    pub(super) async fn solve(&self, ticket: Ticket, problem: Arc<Problem>) -> Event {
        let plugins = self.plugins.clone();
        let span = self.traces.own("allocate", problem.model.id());
        self.note_asked();
        let solving = tokio::task::spawn_blocking(move || {
            let decided = plugins.allocation().allocate(&problem);
            span.decided(&decided);
            decided
        });
        let refused = |reason: String| Err(Refusal { reason, nearest: None, short: Bytes::ZERO });
        let outcome: Result<Proposal, Refusal> = match solving.await {
            Ok(Ok(decision)) => {
                self.count_call("allocate", &decision);
                decision.answer.map(|allocated| allocated.proposal)
            }
            Ok(Err(error)) => refused(error.to_string()),
            Err(error) => refused(format!("the allocation could not be asked: {error}")),
        };
        Event::Solved { ticket, outcome }
    }

    /// Has a plan reviewed. Where nobody answers it stays: what serves is not moved for a fault of a plugin.
    pub(super) async fn review(&self, ticket: Ticket, cause: Cause, observation: Arc<Observation>) -> Event {
        let plugins = self.plugins.clone();
        let model = observation.problem.model.id().clone();
        let span = self.traces.own("review", &model);
        let reviewing = tokio::task::spawn_blocking(move || {
            let decided = plugins.allocation().review(&observation);
            span.decided(&decided);
            decided
        });
        let stays = |error: &dyn fmt::Display| {
            tracing::warn!(%model, %error, "the plan could not be reviewed, it stays");
            Verdict::Keep
        };
        let verdict = match reviewing.await {
            Ok(Ok(decision)) => {
                self.count_call("review", &decision);
                // A review has no way to refuse.
                decision.answer.unwrap_or(Verdict::Keep)
            }
            Ok(Err(error)) => stays(&error),
            Err(error) => stays(&error),
        };
        match &verdict {
            Verdict::Keep => tracing::debug!(%model, %cause, "a review found the plan good enough"),
            Verdict::Replan(why) => tracing::info!(%model, %cause, why, "a review wants another plan"),
        }
        Event::Reviewed { ticket, verdict }
    }

    fn count_call<T>(&self, function: &'static str, decision: &Decision<T>) {
        self.metrics.plugin_call(&decision.by.plugin, function, decision.outcome(), decision.took);
    }
}
