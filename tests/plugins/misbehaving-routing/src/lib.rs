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
    routes: u32,
}

impl Misbehaving {
    fn turned(&self, request: &RouteRequest, turn: usize) -> Result<Vec<u32>, Refusal> {
        let replicas = self.topology.model(request)?.replicas();
        let index = turn.checked_rem(replicas.len()).ok_or_else(|| Refusal::because("no replica is complete"))?;
        Ok(replicas[index].segments.clone())
    }

    fn sound(&self, request: &RouteRequest) -> Result<Vec<u32>, Refusal> {
        let model = self.topology.model(request)?;
        let replicas = model.replicas();
        let index = (request.ordinal as usize).checked_rem(replicas.len()).ok_or_else(|| Refusal::because("no replica is complete"))?;
        Ok(replicas[index].segments.clone())
    }

    fn misbehave(&self, request: &RouteRequest) -> Result<Vec<u32>, Refusal> {
        match self.how.as_str() {
            "trap" => trap(request.ordinal),
            "trap-fifth" if request.ordinal % 5 == 4 => trap(request.ordinal),
            "loop" => loop_for_ever(),
            "memory" => loop {
                black_box(vec![1_u8; 1 << 20].leak());
            },
            "memory-growth" => loop {
                black_box(Vec::<u8>::with_capacity(1 << 20).leak());
            },
            // Each time all of it is written with one instruction, which nothing interrupts.
            "bulk" => {
                let mut bytes = vec![1_u8; 4 << 20];
                for value in 0_u8.. {
                    black_box(&mut bytes).fill(value);
                }
                loop_for_ever()
            }
            "recursion" => Ok(vec![deeper(request.ordinal)]),
            "recursion-of-large-frames" => Ok(vec![deeper_and_larger([request.ordinal; 4096])]),
            "wrong-index" => Ok(vec![4_000_000_000]),
            "gap" => Ok(vec![1]),
            "backwards" => self.sound(request).map(|path| path.into_iter().rev().collect()),
            "twice" => self.sound(request).map(|path| path.iter().flat_map(|&segment| [segment, segment]).collect()),
            "nowhere" => Ok(Vec::new()),
            "first-right-then-wrong" if self.routes > 1 => Ok(vec![7_777]),
            "huge" => Ok(vec![0; 300_000]),
            "long-reason" => Err(Refusal::because("no ".repeat(400_000))),
            "refuse" => Err(Refusal::because("this plugin never finds a path")),
            "chatty" => {
                (0..1000).for_each(|line| log(Level::Info, &format!("line {line}")));
                self.sound(request)
            }
            "long-lines" => {
                (0..10).for_each(|_| log(Level::Info, &"ä".repeat(10_000)));
                self.sound(request)
            }
            "giant-line" => {
                log(Level::Info, &"a".repeat(2 << 20));
                self.sound(request)
            }
            // Sound, but it takes long enough to be over budget and short enough to be in time.
            "slow" => {
                spin(1_500_000);
                self.sound(request)
            }
            // Answers by what it was told, so that an instance that was told less answers otherwise.
            "told" => {
                let model = self.topology.model(request)?;
                let replicas = model.replicas();
                let turn = (self.topology.number as usize + (self.pressure * 10.0) as usize) % replicas.len();
                Ok(replicas[turn].segments.clone())
            }
            // Counts its calls, which another instance does not know.
            "counts" => self.turned(request, self.routes as usize),
            // Does not forget pressures with the topology that they belong to.
            "keeps-pressure" => self.turned(request, (self.pressure_max * 10.0) as usize),
            how => match how.strip_prefix("spin ").and_then(|steps| steps.parse().ok()) {
                Some(steps) => {
                    spin(steps);
                    self.sound(request)
                }
                None => self.sound(request),
            },
        }
    }
}

fn trap(ordinal: u32) -> Result<Vec<u32>, Refusal> {
    let nothing: Vec<u32> = Vec::new();
    Ok(vec![nothing[ordinal as usize]])
}

fn loop_for_ever() -> ! {
    loop {
        black_box(0);
    }
}

fn spin(steps: u64) {
    let mut sum = 0_u64;
    for step in 0..steps {
        sum = black_box(sum.wrapping_mul(31).wrapping_add(step));
    }
}

/// Never comes back, which the compiler must not see.
#[inline(never)]
fn deeper(depth: u32) -> u32 {
    if black_box(true) { black_box(deeper(black_box(depth.wrapping_add(1)))).wrapping_add(1) } else { depth }
}

/// The same, with 16 KiB in each frame: the guest's own stack in its memory ends before the host's does.
#[inline(never)]
fn deeper_and_larger(mut frame: [u32; 4096]) -> u32 {
    let index = (frame[0] % 4096) as usize;
    frame[index] = frame[index].wrapping_add(1);
    if black_box(true) { black_box(deeper_and_larger(black_box(frame))).wrapping_add(frame[index]) } else { frame[0] }
}

impl RoutingPolicy for Misbehaving {
    fn configure(config: &str) -> Result<Self, String> {
        let how = config.trim_matches(['"', '{', '}']).to_owned();
        match how.as_str() {
            "refuse-configuration" => return Err("this configuration is refused".to_owned()),
            "loop-in-configure" => loop_for_ever(),
            "trap-in-configure" => drop(trap(0)),
            "memory-in-configure" => loop {
                black_box(Vec::<u8>::with_capacity(1 << 20).leak());
            },
            "long-reason-in-configure" => return Err("no ".repeat(1 << 20)),
            _ => {}
        }
        Ok(Self { how, topology: Topology::empty(), pressure: 0.0, pressure_max: 0.0, routes: 0 })
    }

    fn set_topology(&mut self, topology: Topology) {
        (self.topology, self.pressure) = (topology, 0.0);
        match self.how.as_str() {
            _ if self.rehearses() => {}
            "loop-in-set-topology" => loop_for_ever(),
            "trap-in-set-topology" => drop(trap(0)),
            _ => {}
        }
    }

    fn set_pressure(&mut self, pressures: Vec<Pressure>) {
        self.pressure_max = pressures.iter().map(|pressure| pressure.cpu).fold(self.pressure_max, f64::max);
        self.pressure = pressures.first().map_or(0.0, |pressure| pressure.cpu);
        if self.how == "loop-in-set-pressure" {
            loop_for_ever()
        }
    }

    fn route(&mut self, request: &RouteRequest) -> Result<Vec<u32>, Refusal> {
        if self.rehearses() && !self.how.ends_with("unrehearsed") {
            return self.sound(request);
        }
        self.routes += 1;
        match self.how.as_str() {
            "trap-unrehearsed" => trap(request.ordinal),
            "wrong-index-unrehearsed" => Ok(vec![4_000_000_000]),
            "refuse-unrehearsed" => Err(Refusal::because("this plugin never finds a path")),
            _ => self.misbehave(request),
        }
    }
}

impl Misbehaving {
    fn rehearses(&self) -> bool {
        self.topology.models.iter().any(|model| model.id.starts_with("rehearsal"))
    }
}

export_routing!(Misbehaving);
