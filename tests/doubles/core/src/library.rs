//! Where cargo has put a double: beside the program that asks, or in the folder of dependencies below it.

use std::path::PathBuf;

/// The library of a double by its package's name with underscores: `rknn_double`. Cargo builds it together with every test that names the
/// package among its dependencies.
///
/// # Errors
/// Says where it was looked for.
pub fn library(name: &str) -> Result<PathBuf, String> {
    let file = format!("{}{name}{}", std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX);
    let program = std::env::current_exe().map_err(|error| format!("this program's path is not known: {error}"))?;
    let folders: Vec<PathBuf> = program.ancestors().skip(1).take(2).flat_map(|folder| [folder.join("deps"), folder.to_owned()]).collect();
    let place = folders.iter().map(|folder| folder.join(&file)).find(|path| path.is_file());
    place.ok_or_else(|| format!("{file} is in none of {folders:?}"))
}
