//! Compiling in a child process: a component that takes endless time or memory to compile, or that brings the compiler down,
//! takes a child with it and not the host. The child is this same program, asked to do nothing else.

use std::{
    io::{self, Read, Write},
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc::{RecvTimeoutError, sync_channel},
    thread,
    time::Duration,
};

use crate::{
    error::{Error, Fault},
    limits::Limits,
    sandbox,
};

/// Bytes kept of what a child says when it fails.
const REASON_BYTES_MAX: u64 = 4096;
/// Compiling waits for requests, not the other way round.
const NICE: i32 = 10;

/// How a child process is started, and what it may take.
#[derive(Clone, PartialEq, Debug)]
pub struct Compiler {
    /// The program; it must lead to [`compile_here`].
    pub program: PathBuf,
    /// Its arguments; those of the limits are added.
    pub arguments: Vec<String>,
    /// Time of one compilation.
    pub compile_ms_max: u64,
    /// Memory of one compilation.
    pub memory_bytes_max: u64,
}

/// What a child is told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CompileOrder {
    /// Stack of a guest call: it is part of what native code is compatible with.
    pub stack_bytes_max: usize,
    /// Address space of each linear memory: code for more of it checks fewer addresses.
    pub reserved_bytes: u64,
    /// Processor time, all threads together, in seconds.
    pub processor_s_max: u64,
    /// Memory that it may write to.
    pub memory_bytes_max: u64,
}

impl Compiler {
    /// Native code of a component. The error says why there is none, in words.
    pub(crate) fn compile(&self, component: &[u8], limits: &Limits, reserved_bytes: u64) -> Result<Vec<u8>, String> {
        let threads = thread::available_parallelism().map_or(1, usize::from) as u64;
        let seconds = self.compile_ms_max.div_ceil(1000).max(1) * threads;
        let failed = |error: io::Error| format!("the compiler does not start: {error}");
        let mut child = Command::new(&self.program)
            .args(&self.arguments)
            .arg("--stack-bytes")
            .arg(limits.stack_bytes_max.to_string())
            .arg("--reserved-bytes")
            .arg(reserved_bytes.to_string())
            .arg("--processor-seconds")
            .arg(seconds.to_string())
            .arg("--memory-bytes")
            .arg(self.memory_bytes_max.to_string())
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(failed)?;
        let answer = self.converse(&mut child, component);
        if answer.is_err() {
            // It may be gone already.
            drop(child.kill());
        }
        let status = child.wait().map_err(|error| format!("the compiler was lost: {error}"))?;
        let (code, reason) = answer?;
        if status.success() { Ok(code) } else { Err(self.why(status, &reason)) }
    }

    /// Hands the component over and reads code and reason, all at the same time, so that no pipe fills up and blocks.
    fn converse(&self, child: &mut Child, component: &[u8]) -> Result<(Vec<u8>, String), String> {
        let (Some(mut stdin), Some(mut stdout), Some(stderr)) = (child.stdin.take(), child.stdout.take(), child.stderr.take()) else {
            return Err("the compiler has no pipes".to_owned());
        };
        thread::scope(|scope| {
            let (done, finished) = sync_channel(1);
            // A child that ends early closes the pipe; why it did is in its status.
            scope.spawn(move || drop(stdin.write_all(component)));
            let reason = scope.spawn(move || {
                let mut text = String::new();
                drop(stderr.take(REASON_BYTES_MAX).read_to_string(&mut text));
                text
            });
            let code = scope.spawn(move || {
                let mut code = Vec::new();
                let read = stdout.read_to_end(&mut code);
                // Nobody waits any more where this came too late.
                let _ = done.send(());
                read.map(|_| code)
            });
            let late = finished.recv_timeout(Duration::from_millis(self.compile_ms_max)) == Err(RecvTimeoutError::Timeout);
            if late {
                // Ends the pipes, so that the threads above end too.
                drop(child.kill());
            }
            let code = code.join().map_err(|_| "reading the compiler's answer panicked".to_owned())?;
            let reason = reason.join().unwrap_or_default();
            if late {
                return Err(format!("it takes longer than {} ms to compile", self.compile_ms_max));
            }
            Ok((code.map_err(|error| format!("the compiler's answer cannot be read: {error}"))?, reason))
        })
    }

    fn why(&self, status: ExitStatus, reason: &str) -> String {
        let reason = reason.trim();
        #[cfg(unix)]
        {
            use std::os::unix::process::ExitStatusExt;
            match status.signal() {
                Some(libc::SIGXCPU) => return format!("it takes more processor time to compile than {} ms allow", self.compile_ms_max),
                Some(libc::SIGABRT | libc::SIGKILL | libc::SIGSEGV) => {
                    return format!("the compiler ended with {status}, it may take {} bytes of memory; {reason}", self.memory_bytes_max);
                }
                _ => {}
            }
        }
        if reason.is_empty() { format!("the compiler ended with {status}") } else { reason.to_owned() }
    }
}

/// The child's side: reads a component from stdin and writes its native code to stdout, within the limits of its order.
pub fn compile_here(order: &CompileOrder) -> Result<(), Error> {
    let failed = |error: io::Error| Error::from(Fault::Host { what: "a component could not be compiled" }).because(error);
    confine(order).map_err(failed)?;
    let mut component = Vec::new();
    io::stdin().read_to_end(&mut component).map_err(failed)?;
    let limits = Limits { stack_bytes_max: order.stack_bytes_max, ..Limits::default() };
    let code = sandbox::precompile(&component, &limits, order.reserved_bytes)?;
    let mut stdout = io::stdout();
    stdout.write_all(&code).and_then(|()| stdout.flush()).map_err(failed)
}

/// Limits this process.
#[cfg(unix)]
fn confine(order: &CompileOrder) -> io::Result<()> {
    let limit = |resource, max: u64| {
        let limits = libc::rlimit { rlim_cur: max as libc::rlim_t, rlim_max: max as libc::rlim_t };
        // SAFETY: `limits` is a valid structure that lives through the call, and the call keeps no pointer to it.
        if unsafe { libc::setrlimit(resource, &raw const limits) } == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    };
    // Memory that was only reserved does not count: allocators reserve far more than they use.
    limit(libc::RLIMIT_DATA, order.memory_bytes_max)?;
    limit(libc::RLIMIT_CPU, order.processor_s_max)?;
    limit(libc::RLIMIT_CORE, 0)?;
    // SAFETY: changes nothing but the priority of this process; where that is not allowed it compiles as it is.
    let _ = unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, NICE) };
    Ok(())
}

#[cfg(not(unix))]
fn confine(_order: &CompileOrder) -> io::Result<()> {
    Ok(())
}
