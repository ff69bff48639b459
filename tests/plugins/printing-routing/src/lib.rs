//! Routes like a sound plugin, and prints what its configuration names the way that its language does it. For tests only.

use std::io::{self, Write};

use shardhost_sdk::{
    export_routing,
    routing::{Refusal, RouteRequest, RoutingPolicy, Topology},
};

/// What its configuration names.
#[derive(Debug)]
pub struct Printing {
    how: String,
    topology: Topology,
}

/// Runs before anything else of the guest does.
#[used]
#[cfg_attr(target_arch = "wasm32", unsafe(link_section = ".init_array"))]
static BEFORE_EVERYTHING: extern "C" fn() = started;

extern "C" fn started() {
    eprintln!("it is started");
}

impl RoutingPolicy for Printing {
    fn configure(config: &str) -> Result<Self, String> {
        let how = config.trim_matches(['"', '{', '}']).to_owned();
        print!("it is configured");
        flush();
        match how.as_str() {
            "panic-in-configure" => panic_unaided(),
            _ => Ok(Self { how, topology: Topology::empty() }),
        }
    }

    fn set_topology(&mut self, topology: Topology) {
        self.topology = topology;
        if !self.rehearses() {
            println!("it is told topology {}", self.topology.number);
        }
    }

    fn route(&mut self, request: &RouteRequest) -> Result<Vec<u32>, Refusal> {
        if !self.rehearses() {
            self.print(request);
        }
        let replicas = self.topology.model(request)?.replicas();
        replicas.first().map(|replica| replica.segments.clone()).ok_or_else(|| Refusal::because("no replica is complete"))
    }
}

impl Printing {
    fn print(&self, request: &RouteRequest) {
        match self.how.as_str() {
            "lines" => {
                println!("out {}", request.ordinal);
                eprint!("err ");
                eprint!("{}", request.ordinal);
            }
            "flood" => (0..1000).for_each(|line| println!("line {line}")),
            "long-line" => println!("{}", "ä".repeat(10_000)),
            "look-around" => {
                let arguments = std::env::args().count();
                let variables = std::env::vars().count();
                let file = std::fs::read("/etc/passwd").map(|bytes| bytes.len());
                println!("{arguments} arguments, {variables} variables, a file: {}", file.is_ok());
            }
            "panic" => panic_unaided(),
            "exit" => {
                eprintln!("it gives up");
                std::process::exit(3)
            }
            _ => {}
        }
    }

    fn rehearses(&self) -> bool {
        self.topology.models.iter().any(|model| model.id.starts_with("rehearsal"))
    }
}

/// Panics as a plugin without the SDK does: the standard library prints why.
#[allow(clippy::panic, reason = "it is what this guest is for")]
fn panic_unaided() -> ! {
    drop(std::panic::take_hook());
    panic!("it was told to")
}

fn flush() {
    // Nothing is lost if it fails: the test sees that the line is missing.
    let _ = io::stdout().flush();
}

export_routing!(Printing);
