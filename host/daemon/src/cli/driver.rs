//! The child's side of a driver process, started by a running host and by nobody else.

use std::{path::PathBuf, process::ExitCode};

use clap::Args;
use host_driver::ServeOrder;

/// What a host tells the process that holds an engine for it.
#[derive(Clone, Debug, Args)]
pub struct DriverArgs {
    #[arg(long)]
    engine: String,
    #[arg(long)]
    library: Option<PathBuf>,
    #[arg(long = "set", value_parser = setting)]
    settings: Vec<(String, String)>,
    #[arg(long)]
    heartbeat_ms: u64,
    #[arg(long = "inline-bytes")]
    inline_bytes_max: usize,
    #[arg(long = "shared-bytes")]
    shared_bytes_max: u64,
    #[arg(long)]
    spin_us: u64,
    #[arg(long = "data-bytes")]
    data_bytes_max: u64,
}

fn setting(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or_else(|| format!("`{text}` is not NAME=VALUE"))?;
    Ok((name.to_owned(), value.to_owned()))
}

/// Serves until the host is gone or wants no more. What goes wrong is printed: the host has its lines, and its last one.
pub fn driver(args: DriverArgs) -> ExitCode {
    let order = ServeOrder {
        engine: args.engine,
        library: args.library,
        settings: args.settings.into_iter().collect(),
        heartbeat_ms: args.heartbeat_ms,
        inline_bytes_max: args.inline_bytes_max,
        shared_bytes_max: args.shared_bytes_max,
        spin_us: args.spin_us,
        data_bytes_max: args.data_bytes_max,
    };
    match host_driver::serve(&order) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
