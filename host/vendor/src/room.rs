//! What is said where a device has no memory left: how much was needed, and how much there is. Libraries answer with a code only.

use host_engine::{Error, Fault};

/// Where Linux says how much memory there is.
const MEMORY_FILE: &str = "/proc/meminfo";

/// The error with both numbers if it is that something is used up, else the error as it is. `free_bytes` is asked only then.
pub(crate) fn told(error: Error, needed_bytes: u64, free_bytes: impl FnOnce() -> Option<u64>) -> Error {
    let Fault::Exhausted { engine, doing, reason } = error.fault() else { return error };
    let there = free_bytes().map_or_else(|| "nothing says how many are free".to_owned(), |bytes| format!("{bytes} are free"));
    let reason = format!("{reason}: {needed_bytes} bytes are needed, {there}");
    Fault::Exhausted { engine: engine.clone(), doing, reason }.into()
}

/// Memory that programs on this machine can still get, in bytes; none where the system does not say it.
pub(crate) fn of_machine() -> Option<u64> {
    available(&std::fs::read_to_string(MEMORY_FILE).ok()?)
}

fn available(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exhausted() -> Error {
        Fault::Exhausted { engine: "acl".into(), doing: "load a model", reason: "out of memory".into() }.into()
    }

    #[test]
    fn only_an_error_of_memory_is_told_with_both_numbers() {
        let error = told(exhausted(), 700, || Some(592));
        assert_eq!(error.to_string(), "engine acl has no room to load a model: out of memory: 700 bytes are needed, 592 are free");
        let unknown = told(exhausted(), 700, || None).to_string();
        assert!(unknown.ends_with("700 bytes are needed, nothing says how many are free"), "{unknown}");
        let other = told(Error::unsupported("no such thing"), 700, || unreachable!("nothing is used up"));
        assert_eq!(other.to_string(), "no such thing");
    }

    #[test]
    fn what_the_system_says_is_read_in_bytes() {
        assert_eq!(available("MemTotal:  100 kB\nMemFree:  2 kB\nMemAvailable:    64 kB\n"), Some(65_536));
        for text in ["", "MemAvailable: many kB", "MemAvailable: 64", "MemAvailable: 18446744073709551615 kB"] {
            assert_eq!(available(text), None, "{text}");
        }
        assert!(!cfg!(target_os = "linux") || of_machine().is_some_and(|bytes| bytes > 0));
    }
}
