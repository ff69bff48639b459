//! `host config`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::json;

use super::{Global, screen::Screen};
use crate::{config, error::Error};

#[derive(Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// Say whether the settings are sound, and everything that is wrong with them
    Check(ConfigArgs),
    /// Print every setting with where its value came from
    Show(ConfigArgs),
}

#[derive(Debug, Args)]
pub(super) struct ConfigArgs {
    /// Config file [default: what HOST_CONFIG names]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

pub(super) fn config(global: &Global, screen: &mut Screen, command: ConfigCommand) -> Result<(), Error> {
    let (ConfigCommand::Check(args) | ConfigCommand::Show(args)) = &command;
    let resolved = config::load(args.config.clone(), global.flags())?;
    for warning in &resolved.warnings {
        eprintln!("warning: {warning}");
    }
    if matches!(command, ConfigCommand::Check(_)) {
        return if screen.is_json() { screen.json(&json!({ "sound": true, "warnings": resolved.warnings })) } else { screen.line("the config is sound") };
    }
    let rows = config::show(&resolved);
    if screen.is_json() {
        let rows: Vec<_> = rows.into_iter().map(|(key, value, origin)| json!({ "key": key, "value": value, "origin": origin.to_string() })).collect();
        return screen.json(&rows);
    }
    let rows: Vec<[String; 3]> = rows.into_iter().map(|(key, value, origin)| [key.to_owned(), origin.to_string(), value.to_string()]).collect();
    screen.table(["setting", "from", "value"], &rows)
}
