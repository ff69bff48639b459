//! What a double notes of its callers: faults that it is to show, what was done wrong, and how much memory is in use.

use std::{
    ffi::{CStr, c_char},
    fs::OpenOptions,
    io::Write as _,
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use crate::{
    babble::babble,
    compute::Model,
    faults::{Action, Faults},
};

/// A hang lasts longer than anybody waits.
const HANG: Duration = Duration::from_secs(3600);
/// What a process ends with that a double ends.
const EXIT_CODE: i32 = 3;

/// One in each loaded double.
#[derive(Debug)]
pub struct Watch {
    /// The environment variable with faults; the one with the file for violations has `_VIOLATIONS` behind it.
    variable: &'static str,
    state: Mutex<Option<State>>,
}

#[derive(Debug, Default)]
struct State {
    faults: Faults,
    violations: Vec<String>,
    memory_bytes: u64,
}

impl Watch {
    /// One whose faults an environment variable names.
    pub const fn new(variable: &'static str) -> Self {
        Self { variable, state: Mutex::new(None) }
    }

    fn with<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        // What is in it is whole between any two statements.
        let mut state: MutexGuard<'_, _> = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let start = || {
            let text = std::env::var(self.variable).unwrap_or_default();
            let (faults, violations) = Faults::parse(&text).map_or_else(|error| (Faults::default(), vec![error]), |faults| (faults, Vec::new()));
            State { faults, violations, memory_bytes: 0 }
        };
        work(state.get_or_insert_with(start))
    }

    /// To be called first in each function; a code is what it answers at once.
    pub fn enter(&self, function: &str) -> Option<i32> {
        match self.with(|state| state.faults.call(function))? {
            Action::Fail(code) => return Some(code),
            Action::Crash => std::process::abort(),
            Action::Exit => std::process::exit(EXIT_CODE),
            Action::Babble => babble(),
            Action::Hang => thread::sleep(HANG),
            Action::Slow(time) => thread::sleep(time),
        }
        None
    }

    /// Notes what a caller did wrong.
    pub fn violation(&self, text: String) {
        if let Some(path) = std::env::var_os(format!("{}_VIOLATIONS", self.variable)) {
            let line = OpenOptions::new().create(true).append(true).open(&path).and_then(|mut file| writeln!(file, "{text}"));
            if let Err(error) = line {
                self.with(|state| state.violations.push(format!("cannot write {}: {error}", path.display())));
            }
        }
        self.with(|state| state.violations.push(text));
    }

    /// Whether outputs are to mean nothing.
    pub fn garbage(&self) -> bool {
        self.with(|state| state.faults.garbage)
    }

    /// The chip that it is; none takes every model.
    pub fn chip(&self) -> Option<String> {
        self.with(|state| state.faults.chip.clone())
    }

    /// The version that it says; none is its own.
    pub fn version(&self) -> Option<String> {
        self.with(|state| state.faults.version.clone())
    }

    /// The first operator of a model that the device does not compute; none if it computes all of them.
    pub fn lacked(&self, model: &Model) -> Option<String> {
        self.with(|state| model.operators().iter().find(|operator| state.faults.operators_lacked.contains(operator)).cloned())
    }

    /// Memory of the device in bytes; none is no limit.
    pub fn memory_bytes_max(&self) -> Option<u64> {
        self.with(|state| state.faults.memory_bytes_max)
    }

    /// How much of that others hold, in bytes.
    pub fn memory_bytes_taken(&self) -> u64 {
        self.with(|state| state.faults.memory_bytes_taken)
    }

    /// Memory in use, in bytes.
    pub fn memory_bytes(&self) -> u64 {
        self.with(|state| state.memory_bytes)
    }

    /// Takes device memory; false if there is not so much left.
    #[must_use]
    pub fn take(&self, bytes: usize) -> bool {
        self.with(|state| {
            let wanted = state.memory_bytes + bytes as u64;
            let fits = state.faults.memory_bytes_max.is_none_or(|max| wanted.saturating_add(state.faults.memory_bytes_taken) <= max);
            if fits {
                state.memory_bytes = wanted;
            }
            fits
        })
    }

    /// Gives device memory back.
    pub fn give(&self, bytes: usize) {
        self.with(|state| state.memory_bytes = state.memory_bytes.saturating_sub(bytes as u64));
    }

    /// Sets other faults, with calls counted anew; false if the words are not known.
    ///
    /// # Safety
    /// `text` points to bytes that end with a zero.
    pub unsafe fn set(&self, text: *const c_char) -> bool {
        // SAFETY: the caller's promise.
        let text = unsafe { CStr::from_ptr(text) }.to_string_lossy();
        Faults::parse(&text).map(|faults| self.with(|state| state.faults = faults)).is_ok()
    }

    /// Writes what was done wrong, a line each, and a zero byte, as far as there is room; gives the length of all of it without the zero.
    ///
    /// # Safety
    /// `buffer` points to `size` bytes that may be written, or `size` is 0.
    pub unsafe fn violations(&self, buffer: *mut c_char, size: usize) -> usize {
        let text = self.with(|state| state.violations.join("\n"));
        if size > 0 {
            let count = text.len().min(size - 1);
            // SAFETY: `count` and one more bytes fit into what the caller promises.
            unsafe {
                text.as_ptr().copy_to_nonoverlapping(buffer.cast(), count);
                buffer.add(count).write(0);
            }
        }
        text.len()
    }
}
