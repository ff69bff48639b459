//! Guests of this version as the policies that the host knows. What they answer is translated here and proved by the caller.

use host_core::{
    policy::{self, Answer, Arrival, Observation, PolicyFault, Verdict},
    problem::{Problem, Proposal},
    topology::{RouteRequest, RoutingSnapshot},
};

use super::{
    Instance,
    bindings::{
        allocation::AllocationPolicy,
        queueing::{QueueingPolicy, exports::shardhost::plugin::queueing},
        routing::RoutingPolicy,
    },
    convert,
};

impl policy::AllocationPolicy for Instance<AllocationPolicy> {
    fn allocate(&mut self, problem: &Problem) -> Answer<Proposal> {
        let problem = problem.into();
        let answer = self.cage.call("allocate", |store| self.world.shardhost_plugin_allocation().call_allocate(store, &problem))?;
        Ok(answer.map(Into::into).map_err(Into::into))
    }

    fn review(&mut self, observation: &Observation) -> Result<Verdict, PolicyFault> {
        let observation = observation.into();
        self.cage.call("review", |store| self.world.shardhost_plugin_allocation().call_review(store, &observation)).map(Into::into)
    }
}

/// The topology and the pressures that a routing instance has, by number.
#[derive(Clone, Copy, Default)]
pub(super) struct Told {
    topology: Option<u32>,
    pressures: Option<u64>,
}

impl Instance<RoutingPolicy, Told> {
    /// Tells the instance what it does not know yet.
    fn catch_up(&mut self, snapshot: &RoutingSnapshot) -> Result<(), PolicyFault> {
        let topology = &snapshot.topology;
        if self.told.topology != Some(topology.number) {
            let told = topology.as_ref().into();
            self.cage.call("set-topology", |store| self.world.shardhost_plugin_routing().call_set_topology(store, &told))?;
            self.told = Told { topology: Some(topology.number), pressures: None };
        }
        let pressures = &snapshot.pressures;
        if self.told.pressures != Some(pressures.number) {
            let told: Vec<_> = pressures.devices.iter().map(convert::pressure).collect();
            if !told.is_empty() {
                self.cage.call("set-pressure", |store| self.world.shardhost_plugin_routing().call_set_pressure(store, &told))?;
            }
            self.told.pressures = Some(pressures.number);
        }
        Ok(())
    }
}

impl policy::RoutingPolicy for Instance<RoutingPolicy, Told> {
    fn route(&mut self, snapshot: &RoutingSnapshot, request: &RouteRequest) -> Answer<Vec<u32>> {
        self.catch_up(snapshot)?;
        let request = convert::route_request(request);
        let answer = self.cage.call("route", |store| self.world.shardhost_plugin_routing().call_route(store, &request))?;
        Ok(answer.map_err(Into::into))
    }
}

impl policy::QueueingPolicy for Instance<QueueingPolicy> {
    fn admit(&mut self, arrival: &Arrival) -> Answer<f64> {
        let arrival = arrival.into();
        let decision = self.cage.call("admit", |store| self.world.shardhost_plugin_queueing().call_admit(store, &arrival))?;
        Ok(match decision {
            queueing::Decision::Admit(rank) => Ok(rank),
            queueing::Decision::Refuse(refusal) => Err(refusal.into()),
        })
    }
}
