//! `host plugin new`.

use std::{fs, path::PathBuf};

use clap::{Args, builder::PossibleValuesParser};
use serde_json::json;

use super::{super::screen::Screen, templates};
use crate::error::{Error, Fault};

#[derive(Debug, Args)]
pub(in crate::cli) struct NewArgs {
    /// What it shall be, and in which language
    #[arg(short, long, value_name = "KIND-LANGUAGE", value_parser = PossibleValuesParser::new(templates::names()))]
    template: String,
    /// Its folder, which must not exist yet; the last part becomes the plugin's name
    #[arg(value_name = "NAME")]
    folder: PathBuf,
}

pub(super) fn new(screen: &mut Screen, args: &NewArgs) -> Result<(), Error> {
    let template = templates::find(&args.template).expect("the command line takes names of templates only");
    let name = args.folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let usage = |reason| Error::from(Fault::Usage { reason });
    if !templates::is_plugin_name(&name) {
        return Err(usage(format!("`{name}` cannot name a plugin: lowercase letters, digits and hyphens make a name, a letter begins it, 64 are the most")));
    }
    if args.folder.exists() {
        return Err(usage(format!("`{}` exists already, a new plugin gets a folder of its own", args.folder.display())));
    }
    let files = template.files(&name);
    for (path, text) in &files {
        let path = args.folder.join(path);
        let failed = |error| Error::from(Fault::File { doing: "write", path: path.display().to_string() }).because(error);
        path.parent().map_or(Ok(()), fs::create_dir_all).map_err(failed)?;
        fs::write(&path, text).map_err(failed)?;
    }
    let folder = args.folder.display();
    if screen.is_json() {
        let paths: Vec<&String> = files.iter().map(|(path, _)| path).collect();
        return screen.json(&json!({ "plugin": name, "folder": folder.to_string(), "files": paths }));
    }
    screen.line(&format!("wrote {} files to {folder}; its README.md says more", files.len()))?;
    screen.line(&format!("host plugin build {folder}"))?;
    screen.line(&format!("host plugin install {folder}/{name}.wasm"))
}
