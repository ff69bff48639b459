//! Where log lines go: to standard error, as text for people or as JSON for programs. Called once, by the command line.

use std::io::{self, IsTerminal};

use tracing_subscriber::{EnvFilter, fmt, layer::SubscriberExt, util::SubscriberInitExt};

use crate::{
    config::{Log, LogFormat},
    error::{Error, Fault},
};

/// Starts logging for the process.
pub fn start(log: &Log) -> Result<(), Error> {
    let fault = |reason: String| Error::from(Fault::Config { faults: vec![format!("log.filter is `{}`: {reason}", log.filter)] });
    let filter = EnvFilter::try_new(&log.filter).map_err(|error| fault(error.to_string()))?;
    let base = tracing_subscriber::registry().with(filter);
    let started = match log.format {
        LogFormat::Text => base.with(fmt::layer().with_writer(io::stderr).with_ansi(io::stderr().is_terminal()).with_target(false)).try_init(),
        LogFormat::Json => base.with(fmt::layer().with_writer(io::stderr).json().flatten_event(true)).try_init(),
    };
    started.map_err(|error| fault(error.to_string()))
}
