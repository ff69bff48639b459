//! A library that writes where it should not: to the sockets of the process that has loaded it.

use std::{
    fs,
    io::Write as _,
    os::{
        fd::{BorrowedFd, RawFd},
        unix::net::UnixStream,
    },
};

/// What it writes. As the length of a message, its first four bytes are more than any message has.
const WORDS: &[u8] = b"no message of anybody";

/// Writes words that mean nothing to every socket of this process.
pub fn babble() {
    let entries = fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
    let sockets = entries.filter(|entry| fs::read_link(entry.path()).is_ok_and(|target| target.to_string_lossy().starts_with("socket:")));
    let numbers: Vec<RawFd> = sockets.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    for number in numbers {
        // SAFETY: the number was that of an open socket a moment ago. If another thread has closed it since, this fails or finds
        // another descriptor, which is duplicated and written to: no memory is touched, and the process is about to be ended for it.
        let Ok(socket) = unsafe { BorrowedFd::borrow_raw(number) }.try_clone_to_owned() else { continue };
        // There may be nobody at the other end.
        let _ = UnixStream::from(socket).write_all(WORDS);
    }
}
