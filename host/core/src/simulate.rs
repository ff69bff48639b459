//! A pool on a virtual clock: policies decide over a described fleet and its requests, and what comes of it is measured. The plan
//! is the real cluster's, requests wait in the real line and before the real reservations, and detours and replays are those of the
//! host, so that a simulation and a host cannot drift apart. Devices and lines behave as their profiles say.
//!
//! One thing happens after another, earliest first. The same scenario and policies that are functions of what they are given make
//! the same outcome, bit for bit. It asks the policies inline and reads no clock; called by `host simulate`, benches and tests.

mod agenda;
mod availability;
mod changes;
mod control;
mod devices;
mod draws;
mod given;
mod network;
mod outcome;
mod pool;
mod requests;
mod runs;
mod scenario;
mod serving;
mod tally;
#[cfg(test)]
mod tests;
mod traffic;
mod world;

pub use given::GivenPlan;
pub use outcome::{DeviceOutcome, Failed, Latencies, ModelOutcome, Outcome, PlanChange, PolicyCalls, Requests, Shed, Stretch};
pub use scenario::{
    Change, DEVICES_MAX, DURATION_MAX, Ending, Failures, FleetDevice, FleetEvent, FleetLinks, FleetModel, REQUESTS_MAX, RunTimes, Scenario, SimulationSettings,
};
pub use traffic::{Arrivals, RecordedRequest, Traffic};

use crate::policy::{AllocationPolicy, QueueingPolicy, RoutingPolicy};

/// Who decides.
pub struct Policies<'a> {
    /// Where models go.
    pub allocation: &'a mut dyn AllocationPolicy,
    /// Which way requests take.
    pub routing: &'a mut dyn RoutingPolicy,
    /// Who waits; without one, requests wait in the order in which they came.
    pub queueing: Option<&'a mut dyn QueueingPolicy>,
}

impl std::fmt::Debug for Policies<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Policies").field("queueing", &self.queueing.is_some()).finish_non_exhaustive()
    }
}

/// Runs a scenario until all of its requests have ended.
pub fn simulate(scenario: &Scenario, policies: Policies<'_>) -> Outcome {
    world::World::new(scenario, policies).run()
}
