//! One host for one data directory. The lock is the system's, so it is gone with the process, however that ends.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{Read, Seek, Write},
    path::Path,
};

use crate::error::{Error, Fault};

/// Held as long as the store is open.
#[derive(Debug)]
pub(super) struct Lock(#[expect(dead_code, reason = "the lock lives as long as the file is open")] File);

impl Lock {
    /// Takes the lock, or names the process that has it.
    pub(super) fn take(data: &Path) -> Result<Self, Error> {
        let path = data.join("host.lock");
        let fault = |error: std::io::Error| Error::from(Fault::File { doing: "lock", path: path.display().to_string() }).because(error);
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path).map_err(fault)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut pid = String::new();
                // Whoever holds the lock may not have written its number yet; then it is not named.
                let _ = (&file).take(16).read_to_string(&mut pid);
                let pid = if pid.trim().is_empty() { "unknown".to_owned() } else { pid.trim().to_owned() };
                return Err(Fault::DataLocked { data: data.display().to_string(), pid }.into());
            }
            Err(TryLockError::Error(error)) => return Err(fault(error)),
        }
        file.set_len(0).and_then(|()| file.rewind()).and_then(|()| writeln!(file, "{}", std::process::id())).map_err(fault)?;
        Ok(Self(file))
    }
}
