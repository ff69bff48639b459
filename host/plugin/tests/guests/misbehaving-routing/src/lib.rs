//! Routes like a sound plugin in rehearsal, and then breaks the rule that its configuration names. For tests only.

use std::hint::black_box;

use shardhost_sdk::{
    export_routing,
    routing::{Level, Pressure, Refusal, RouteRequest, RoutingPolicy, Topology, log},
};

/// What its configuration names.
#[derive(Debug)]
pub struct Misbehaving {
    how: String,
    topology: Topology,
    pressure: f64,
    /// Of all that it was ever told.
    pressure_max: f64,
    asked: usize,
}

impl Misbehaving {
    fn sound(&self, request: &RouteRequest) -> Result<Vec<u32>, Refusal> {
        let model = self.topology.model(request)?;
        let replicas = model.replicas();
        let index = (request.ordinal as usize).checked_rem(replicas.len()).ok_or_else(|| Refusal::because("no replica is complete"))?;
        Ok(replicas[index].segments.clone())
    }

    fn turned(&self, request: &RouteRequest, turn: usize) -> Result<Vec<u32>, Refusal> {
        let replicas = self.topology.model(request)?.replicas();
        let index = turn.checked_rem(replicas.len()).ok_or_else(|| Refusal::because("no replica is complete"))?;
        Ok(replicas[index].segments.clone())
    }

    fn misbehave(&mut self, request: &RouteRequest) -> Result<Vec<u32>, Refusal> {
        match self.how.as_str() {
            "trap" => {
                let nothing: Vec<u32> = Vec::new();
                Ok(vec![nothing[request.ordinal as usize]])
            }
            "loop" => loop {
                black_box(request);
            },
            "memory" => {
                let mut hoard = Vec::new();
                loop {
                    hoard.push(vec![1_u8; 1 << 20]);
                    black_box(&hoard);
                }
            }
            "wrong-index" => Ok(vec![4_000_000_000]),
            "gap" => Ok(vec![1]),
            "huge" => Ok(vec![0; 1 << 20]),
            "refuse" => Err(Refusal::because("this plugin never finds a path")),
            // Counts its calls, which another instance does not know.
            "counts" => {
                self.asked += 1;
                self.turned(request, self.asked)
            }
            // Does not forget pressures with the topology that they belong to.
            "keeps-pressure" => self.turned(request, (self.pressure_max * 10.0) as usize),
            "chatty" => {
                (0..1000).for_each(|line| log(Level::Info, &format!("line {line}")));
                self.sound(request)
            }
            // Sound, but it takes long enough to be over budget and short enough to be in time.
            "slow" => {
                let mut sum = 0_u64;
                for step in 0..1_500_000_u64 {
                    sum = black_box(sum.wrapping_mul(31).wrapping_add(step));
                }
                self.sound(request)
            }
            // Answers by what it was told, so that an instance that was told less answers otherwise.
            "told" => {
                let model = self.topology.model(request)?;
                let replicas = model.replicas();
                let turn = (self.topology.number as usize + (self.pressure * 10.0) as usize) % replicas.len();
                Ok(replicas[turn].segments.clone())
            }
            _ => self.sound(request),
        }
    }
}

impl RoutingPolicy for Misbehaving {
    fn configure(config: &str) -> Result<Self, String> {
        let how = config.trim_matches(['"', '{', '}']).to_owned();
        if how == "refuse-configuration" {
            return Err("this configuration is refused".to_owned());
        }
        Ok(Self { how, topology: Topology::empty(), pressure: 0.0, pressure_max: 0.0, asked: 0 })
    }

    fn set_topology(&mut self, topology: Topology) {
        (self.topology, self.pressure) = (topology, 0.0);
    }

    fn set_pressure(&mut self, pressures: Vec<Pressure>) {
        self.pressure_max = pressures.iter().map(|pressure| pressure.cpu).fold(self.pressure_max, f64::max);
        self.pressure = pressures.first().map_or(0.0, |pressure| pressure.cpu);
    }

    fn route(&mut self, request: &RouteRequest) -> Result<Vec<u32>, Refusal> {
        let rehearsal = self.topology.models.iter().any(|model| model.id.starts_with("rehearsal"));
        if rehearsal && self.how != "unrehearsed" { self.sound(request) } else { self.misbehave(request) }
    }
}

export_routing!(Misbehaving);
