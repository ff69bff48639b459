//! A folder of files that are named by the SHA-256 of their bytes. A file gets its name when it is whole, and is never
//! written again after that. Shared by the blobs that must be kept and by those that can be fetched again.

use std::{
    ffi::OsStr,
    fs::{self, File, Metadata},
    io,
    path::{Path, PathBuf},
};

use host_engine::Digest;

use crate::error::{Error, Fault};

/// What the names of files end with that are not whole yet.
const PART: &str = "part";

#[derive(Clone, Debug)]
pub(super) struct DigestFolder(PathBuf);

/// A file of the folder, by its name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Named {
    /// Whole when it got its name.
    Whole(Digest),
    /// The beginning of these bytes.
    Part(Digest),
    /// Not whole, and not of a digest either.
    Scrap,
    /// Nothing that is ever written here.
    Foreign,
}

impl DigestFolder {
    /// Opens or makes it.
    pub(super) fn open(folder: &Path) -> Result<Self, Error> {
        fs::create_dir_all(folder).map_err(|error| file_error("make the folder", folder, error))?;
        Ok(Self(folder.to_owned()))
    }

    /// Every file in it.
    pub(super) fn entries(&self) -> Result<Vec<(Named, PathBuf, Metadata)>, Error> {
        let fault = |error: io::Error| file_error("look into", &self.0, error);
        let entry = |entry: io::Result<fs::DirEntry>| {
            let (path, metadata) = entry.and_then(|entry| Ok((entry.path(), entry.metadata()?))).map_err(fault)?;
            Ok((named(&path), path, metadata))
        };
        fs::read_dir(&self.0).map_err(fault)?.map(entry).collect()
    }

    /// Where the bytes of a digest are.
    pub(super) fn path(&self, digest: Digest) -> PathBuf {
        self.0.join(digest.to_string())
    }

    /// Where they are until they are whole.
    pub(super) fn part(&self, digest: Digest) -> PathBuf {
        self.0.join(format!("{digest}.{PART}"))
    }

    /// The same for one of several that write it at once.
    pub(super) fn part_of(&self, digest: Digest, writer: u64) -> PathBuf {
        self.0.join(format!("{digest}.{writer}.{PART}"))
    }

    /// Gives whole, flushed bytes their name, durably.
    pub(super) fn adopt(&self, part: &Path, digest: Digest) -> Result<(), Error> {
        let path = self.path(digest);
        let adopted = fs::rename(part, &path).and_then(|()| File::open(&self.0)?.sync_all());
        adopted.map_err(|error| file_error("write", &path, error))
    }

    /// Removes a file, if it is there.
    pub(super) fn remove(&self, path: &Path) -> Result<(), Error> {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(file_error("remove", path, error)),
            _ => Ok(()),
        }
    }
}

/// What was to be done with which file.
pub(super) fn file_error(doing: &'static str, path: &Path, error: io::Error) -> Error {
    Error::from(Fault::File { doing, path: path.display().to_string() }).because(error)
}

fn named(path: &Path) -> Named {
    let digest = |text: Option<&OsStr>| text.and_then(OsStr::to_str).and_then(Digest::parse);
    match path.extension().and_then(OsStr::to_str) {
        None => digest(path.file_name()).map_or(Named::Foreign, Named::Whole),
        Some(PART) => digest(path.file_stem()).map_or(Named::Scrap, Named::Part),
        Some(_) => Named::Foreign,
    }
}
