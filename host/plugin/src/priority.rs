//! Work that requests must not wait for runs on a thread that yields to theirs.

use std::thread;

use crate::error::{Error, Fault};

/// How far it steps back: an ordinary thread gets nine times as much of a processor that both want.
#[cfg(target_os = "linux")]
const NICE: libc::c_int = 10;

/// Runs this on a thread of its own that yields to others, and waits for it.
pub(crate) fn aside<T: Send>(work: impl FnOnce() -> Result<T, Error> + Send) -> Result<T, Error> {
    let failed = |error: std::io::Error| Error::from(Fault::Host { what: "the thread that prepares a plugin does not start" }).because(error);
    let yielding = || {
        step_back();
        work()
    };
    thread::scope(|scope| {
        let thread = thread::Builder::new().name("plugin-prepare".into()).spawn_scoped(scope, yielding).map_err(failed)?;
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Lowers the calling thread's priority, for good. Threads that it starts from then on take after it. A system that does not know
/// such a thing leaves it as it is.
#[cfg(target_os = "linux")]
pub fn step_back() {
    // SAFETY: changes nothing but the priority of the calling thread, which is what 0 names on Linux.
    let _ = unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, NICE) };
}

/// Leaves the calling thread as it is: only Linux knows priorities of threads.
#[cfg(not(target_os = "linux"))]
pub fn step_back() {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn only_the_work_steps_back() {
        let nice = || {
            let stat = std::fs::read_to_string("/proc/thread-self/stat").expect("Linux has it");
            // The name of a thread may hold spaces, so fields are counted behind it.
            stat.rsplit(") ").next().and_then(|rest| rest.split(' ').nth(16)?.parse::<i32>().ok()).expect("the nineteenth field")
        };
        let before = nice();
        let inside = aside(|| Ok(nice())).expect("it runs");
        assert_eq!((inside, nice()), (NICE.max(before), before));
    }
}
