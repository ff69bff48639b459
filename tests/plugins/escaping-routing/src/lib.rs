//! Routes like a sound plugin in rehearsal, and then asks the system for what its configuration names and no guest is granted.
//! For tests only.

use std::hint::black_box;

use shardhost_sdk::{
    export_routing,
    routing::{Refusal, RouteRequest, RoutingPolicy, Topology},
};

/// What its configuration names.
#[derive(Debug)]
pub struct Escaping {
    how: String,
    topology: Topology,
}

impl RoutingPolicy for Escaping {
    fn configure(config: &str) -> Result<Self, String> {
        Ok(Self { how: config.trim_matches(['"', '{', '}']).to_owned(), topology: Topology::empty() })
    }

    fn set_topology(&mut self, topology: Topology) {
        self.topology = topology;
    }

    fn route(&mut self, request: &RouteRequest) -> Result<Vec<u32>, Refusal> {
        if !self.topology.models.iter().any(|model| model.id.starts_with("rehearsal")) {
            self.reach_out();
        }
        let replicas = self.topology.model(request)?.replicas();
        replicas.first().map(|replica| replica.segments.clone()).ok_or_else(|| Refusal::because("no replica is complete"))
    }
}

impl Escaping {
    fn reach_out(&self) {
        match self.how.as_str() {
            "socket" => drop(black_box(std::net::TcpStream::connect("127.0.0.1:1"))),
            "resolve" => drop(black_box(std::net::ToSocketAddrs::to_socket_addrs("localhost:1").map(Iterator::count))),
            "clock" => drop(black_box(std::time::Instant::now())),
            "wall-clock" => drop(black_box(std::time::SystemTime::now())),
            "sleep" => std::thread::sleep(std::time::Duration::from_secs(3600)),
            "hash-seed" => drop(black_box(std::collections::HashMap::<u32, u32>::new())),
            "exit" => std::process::exit(0),
            _ => {}
        }
    }
}

export_routing!(Escaping);
