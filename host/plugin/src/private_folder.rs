//! Folders that only this user can write to: what lies there was written by this program.

use std::{fs, io, path::Path};

use crate::error::{Error, Fault};

/// Makes the folder if need be, and refuses one that others can write to; `unusable` says which one that is.
pub(crate) fn open(folder: &Path, unusable: &'static str) -> Result<(), Error> {
    make(folder).map_err(|error| Error::from(Fault::Host { what: unusable }).because(format!("{}: {error}", folder.display())))
}

/// Whether this user alone can write to the folder, which is made if need be. The error says why not.
pub fn try_private_folder(folder: &Path) -> Result<(), String> {
    make(folder).map_err(|error| error.to_string())
}

#[cfg(unix)]
fn make(folder: &Path) -> io::Result<()> {
    use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};

    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    fs::set_permissions(folder, fs::Permissions::from_mode(0o700))?;
    // A new file belongs to whoever this process runs as; the folder must belong to the same.
    let own = tempfile::NamedTempFile::new_in(folder)?.as_file().metadata()?.uid();
    let metadata = fs::symlink_metadata(folder)?;
    if metadata.is_dir() && metadata.uid() == own && metadata.mode() & 0o022 == 0 {
        return Ok(());
    }
    Err(io::Error::other(format!(
        "it belongs to user {} with mode {:o}, it must be a folder of user {own} with mode 700",
        metadata.uid(),
        metadata.mode() & 0o777
    )))
}

#[cfg(not(unix))]
fn make(folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)
}
