//! The command line: words to settings, settings to a running host or to a call of one. Exit code 2 for a usage or config
//! fault, 1 for a failure.

mod client;
mod config;
mod conformance;
mod convert;
mod device;
mod driver;
mod infer;
mod metrics;
mod model;
mod plan;
mod plugin;
mod replay;
mod run;
mod screen;
mod simulate;
mod status;
mod token;

use std::{path::PathBuf, process::ExitCode};

use clap::{Args, Parser, Subcommand, ValueEnum};
use serde_json::Value;

use host_plugin::CompileOrder;

use crate::{
    config::Flag,
    error::{Error, Fault},
    shelf,
    start::engines,
};
use screen::Screen;

/// Pools devices into one inference service, with plugins that decide where models go.
#[derive(Debug, Parser)]
#[command(name = "host", version, max_term_width = 120)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// Flags of every command.
#[derive(Clone, Debug, Args)]
struct Global {
    /// How results are printed
    #[arg(short = 'o', long = "output", global = true, value_enum, default_value_t = Format::Text)]
    output: Format,
    /// Data directory of the host [default: `shardhost` in the user's data directory]
    #[arg(long, global = true, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Address of a host's HTTP door, such as http://127.0.0.1:8000, for commands that need no more than that
    #[arg(long, global = true, value_name = "URL")]
    url: Option<String>,
}

/// How results are printed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Format {
    /// For people
    Text,
    /// For programs
    Json,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start a host
    Run(run::RunArgs),
    /// Send pictures or JSON requests to a model
    Infer(infer::InferArgs),
    /// Say what the running host does
    Status,
    /// Print what the running host counted, as Prometheus reads it; also of a device that has joined
    Metrics,
    /// Look at models, cut them, make new ones
    #[command(subcommand)]
    Model(model::ModelCommand),
    /// Look at devices, call them by labels, give them less to do, remove them
    #[command(subcommand)]
    Device(device::DeviceCommand),
    /// Let devices join
    #[command(subcommand)]
    Token(token::TokenCommand),
    /// Look at plans and why they are as they are
    #[command(subcommand)]
    Plan(plan::PlanCommand),
    /// Install plugins and go back to earlier ones
    #[command(subcommand)]
    Plugin(plugin::PluginCommand),
    /// Compile a component from standard input; a running host calls this itself
    #[command(name = shelf::COMPILE_COMMAND, hide = true)]
    Compile(CompileArgs),
    /// Hold an engine in a process of its own; a running host calls this itself
    #[command(name = engines::DRIVER_COMMAND, hide = true)]
    Driver(driver::DriverArgs),
    /// Decide a recorded history again and print the differences; needs no running host
    Replay(replay::ReplayArgs),
    /// Examine an adapter on this machine: operators, element types, lengths, memory, loads in a row, threads; needs no running host
    Conformance(conformance::ConformanceArgs),
    /// Run policies over a described fleet and its requests on a virtual clock; needs no running host
    Simulate(simulate::SimulateArgs),
    /// Check and show settings
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// Print a completion script for a shell
    Completion {
        /// bash, elvish, fish, powershell or zsh
        shell: clap_complete::Shell,
    },
}

/// What a host tells the child that compiles for it.
#[derive(Clone, Copy, Debug, Args)]
struct CompileArgs {
    #[arg(long = "stack-bytes")]
    stack_bytes_max: usize,
    #[arg(long = "reserved-bytes")]
    reserved_bytes: u64,
    #[arg(long = "processor-seconds")]
    processor_s_max: u64,
    #[arg(long = "memory-bytes")]
    memory_bytes_max: u64,
}

impl From<CompileArgs> for CompileOrder {
    fn from(args: CompileArgs) -> Self {
        Self {
            stack_bytes_max: args.stack_bytes_max,
            reserved_bytes: args.reserved_bytes,
            processor_s_max: args.processor_s_max,
            memory_bytes_max: args.memory_bytes_max,
        }
    }
}

/// Reads the words and does what they say.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    // Whoever opens a TLS connection uses this; a second call of it would find it there already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let done = match cli.command {
        Command::Compile(args) => return compile(args),
        Command::Driver(args) => return driver::driver(args),
        Command::Run(args) => run::run(&cli.global, args),
        command => match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime.block_on(dispatch(&cli.global, command)),
            Err(error) => Err(Error::from(Fault::File { doing: "start", path: "the runtime".into() }).because(error)),
        },
    };
    let Err(error) = done else { return ExitCode::SUCCESS };
    for line in error.to_string().lines() {
        eprintln!("error: {line}");
    }
    match error.fault() {
        Fault::Config { .. } | Fault::Usage { .. } => ExitCode::from(2),
        _ => ExitCode::FAILURE,
    }
}

/// The child's end is its answer: the host that waits for it puts the words into its own.
fn compile(args: CompileArgs) -> ExitCode {
    match shelf::compile_here(&args.into()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn dispatch(global: &Global, command: Command) -> Result<(), Error> {
    let mut screen = Screen::new(global.output);
    match command {
        Command::Run(args) => run::run(global, args),
        // Answered above, without a runtime.
        Command::Compile(_) | Command::Driver(_) => Ok(()),
        Command::Infer(args) => infer::infer(global, &mut screen, args).await,
        Command::Status => status::status(global, &mut screen).await,
        Command::Metrics => metrics::metrics(global, &mut screen).await,
        Command::Model(command) => model::model(global, &mut screen, command).await,
        Command::Device(command) => device::device(global, &mut screen, command).await,
        Command::Token(command) => token::token(global, &mut screen, command).await,
        Command::Plan(command) => plan::plan(global, &mut screen, command).await,
        Command::Plugin(command) => plugin::plugin(global, &mut screen, command).await,
        Command::Replay(args) => replay::replay(global, &mut screen, args),
        Command::Conformance(args) => conformance::conformance(global, &mut screen, args).await,
        Command::Simulate(args) => simulate::simulate(global, &mut screen, args),
        Command::Config(command) => config::config(global, &mut screen, command),
        Command::Completion { shell } => {
            // Into memory first: the generator panics when whoever reads its output goes away.
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut <Cli as clap::CommandFactory>::command(), "host", &mut script);
            screen.line(String::from_utf8_lossy(&script).trim_end())
        }
    }
}

impl Global {
    /// What the flags of every command say about settings.
    fn flags(&self) -> Vec<Flag> {
        self.data.iter().map(|data| path_flag("--data", "data", data)).collect()
    }
}

/// A flag whose value is a path.
fn path_flag(flag: &str, key: &str, path: &std::path::Path) -> Flag {
    text_flag(flag, key, &path.display().to_string())
}

/// A flag whose value is a text.
fn text_flag(flag: &str, key: &str, text: &str) -> Flag {
    Flag { flag: flag.to_owned(), key: key.to_owned(), value: Value::String(text.to_owned()) }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_words_fit_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_commands_of_the_readme_are_understood() {
        for line in [
            "host run --plugins plugins/ --local-devices 3",
            "host run --models m --config host.yaml --data d --http 127.0.0.1:0 --set requests.timeout_ms=5",
            "host infer digits a.png b.png -o json",
            "host -o json status",
            "host metrics --data /tmp/pi",
            "host model split digits --cuts 2,5 --folder out",
            "host model convert digits --for rknn:rk3588 --ranges 0..3,3..7 --check",
            "host model convert encoder --for ascend:Ascend310P3 --buckets batch=1,sequence=64,128",
            "host model artefacts digits",
            "host plan explain digits",
            "host plan history --count 3",
            "host run --join-listen",
            "host run --join-listen 0.0.0.0:23457 --advertise shed.local:23457",
            "host run --join-listen 0.0.0.0:23457 --join-announce",
            "host run --join auto --token shj1.x",
            "host run --join shed.local:23457 --token shj1.x --device-id pi-4 --advertise pi-4.local:23458",
            "host token create --ttl 24h --uses 3 --roles head,body,tail",
            "host token list -o json",
            "host token revoke 0123456789abcdef",
            "host device drain pi-4 --wait",
            "host device drain --wait=90s pi-4",
            "host device undrain pi-4",
            "host device cordon pi-4",
            "host device uncordon pi-4",
            "host device remove pi-4 -o json",
            "host device label pi-4 room=attic rack-",
            "host plugin install x.wasm --slot routing",
            "host plugin rollback routing --to 2",
            "host plugin new -t routing-rust my-policy",
            "host plugin build my-policy",
            "host plugin dev my-policy --slot routing",
            "host plugin pack core.wasm --world routing-policy",
            "host plugin swap routing round-robin-routing",
            "host run --record decisions.jsonl",
            "host replay --plugin round-robin-routing decisions.jsonl --limit 1000",
            "host plugin test x.wasm --inputs 1000 --seed 7",
            "host conformance --adapter cpu-adapter --engine rten --cycles 20 -o json",
            "host conformance --adapter rknn --config host.yaml --for rknn:rk3588 --require convolution,pooling --tolerance 0.02",
            "host simulate fleets/drawer.toml",
            "host simulate fleets/lab.toml --compare balanced-allocation,greedy-allocation --seed 7 --duration 10m --html lab.html",
            "host simulate fleets/sites.toml --routing round-robin-routing --queueing priority-queueing --requests trace.jsonl -o json",
            "host plugin bench x.wasm -o json",
            "host config check --config host.yaml",
            "host completion bash",
        ] {
            assert!(Cli::try_parse_from(line.split(' ')).is_ok(), "{line}");
        }
        for line in ["host infer digits", "host device label pi-4", "host device label pi-4 attic", "host device drain pi-4 --wait=soon"] {
            assert!(Cli::try_parse_from(line.split(' ')).is_err(), "{line}");
        }
    }
}
