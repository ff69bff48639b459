//! Keeps plans where they survive a restart, with what is expected of them and which allocation policy wants them so.

use host_core::{
    cluster::{Cluster, Reason},
    plan::CheckedPlan,
};
use host_wire::admin::PlanPolicy;

use super::{Control, lock, shards_in_use};
use crate::status;

/// Which allocation policies were asked, and which of them the store knows of.
#[derive(Debug, Default)]
pub(super) struct Policies {
    /// The one in service when a plan was asked for last.
    asked: Option<PlanPolicy>,
    /// What the store has of the newest plan.
    noted: Option<(u64, PlanPolicy)>,
}

impl Control {
    /// Keeps a plan, and lets go of what no plan needs any more.
    pub(super) fn record(&self, plan: &CheckedPlan, reason: &Reason) {
        tracing::info!(plan = plan.plan().number.0, %reason, "a plan is in force");
        let expected: Vec<_> = self.look(|cluster| cluster.models().keys().filter_map(|model| status::expected(cluster, model)).collect());
        if let Err(error) = self.store.record_plan(plan, &reason.to_string(), expected) {
            tracing::error!(%error, "the plan could not be kept; it is lost if the host restarts");
        }
        let shards = plan.plan().shards();
        for model in self.loaded_models() {
            if let Some(explanation) = self.look(|cluster| status::explain(cluster, &model.id)) {
                self.metrics.plan_bound_ratio(&model.id, 1.0 - explanation.gap_ratio());
            }
            model.keep_shards(|range| shards.iter().any(|(_, shard)| shard.model == model.id && shard.range == range));
        }
        let in_use = self.look(shards_in_use);
        self.remotes.files.retain(|shard| in_use.contains(shard));
    }

    /// Whether another allocation policy serves, or the same with another configuration, than the one that wanted the plan that the
    /// store has.
    pub fn serves_other_policy(&self) -> bool {
        let noted = self.store.plan_policy().unwrap_or_else(|error| {
            tracing::warn!(%error, "it is not known which allocation policy made the plan of before, which stays");
            None
        });
        noted.is_some_and(|noted| self.policy().is_some_and(|policy| (noted.digest, noted.config) != (policy.digest, policy.config)))
    }

    /// Somebody is about to be asked for a plan.
    pub(super) fn note_asked(&self) {
        lock(&self.policies).asked = self.policy();
    }

    /// Notes which policy wants the plan as it is, once it has answered for every model. One whose plan was there already did not
    /// make it, and wants it all the same.
    pub(super) fn endorse(&self) {
        let number = self.look(|cluster: &Cluster| cluster.plan().plan().number.0);
        let mut policies = lock(&self.policies);
        let Some(policy) = policies.asked.clone() else { return };
        let now = Some((number, policy.clone()));
        if policies.noted == now {
            return;
        }
        match self.store.endorse_plan(policy) {
            Ok(()) => policies.noted = now,
            Err(error) => tracing::warn!(%error, "it could not be noted which allocation policy wants the plan; it is asked again if the host restarts"),
        }
    }

    fn policy(&self) -> Option<PlanPolicy> {
        let (bearer, config) = self.plugins.allocation().configured()?;
        Some(PlanPolicy { plugin: bearer.plugin.to_string(), digest: bearer.digest.to_string(), config })
    }
}
