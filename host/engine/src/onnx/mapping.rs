//! Files mapped into memory. The one place where that unsafe call is made.

use std::{fs::File, path::Path};

use bytes::Bytes;
use memmap2::Mmap;

use crate::error::{Error, Fault};

/// Maps a file for reading; an empty file gives no bytes. It must be one that is written once, under another name, and renamed.
pub fn map(path: &Path) -> Result<Bytes, Error> {
    let fault = |doing| Error::from(Fault::File { path: path.display().to_string(), doing });
    let file = File::open(path).map_err(|error| fault("open").because(error))?;
    let size = file.metadata().map_err(|error| fault("read").because(error))?.len();
    if size == 0 {
        return Ok(Bytes::new());
    }
    // SAFETY: the mapping is private and read only. Another process that shortens or rewrites the file under it could make
    // reads fault or change; model files and blobs are written once, under another name, and renamed (see `split::write`).
    let mapping = unsafe { Mmap::map(&file) }.map_err(|error| fault("map").because(error))?;
    Ok(Bytes::from_owner(mapping))
}
