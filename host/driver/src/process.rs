//! One driver process, from the parent's side: started, greeted, watched until it ends, and waited for. A thread of its own does that,
//! which also starts it: the system ends a child together with the thread that started it, so that thread must live as long.

use std::{
    io::{self, PipeReader},
    os::{
        fd::{BorrowedFd, OwnedFd},
        unix::{net::UnixStream, process::CommandExt as _, process::ExitStatusExt as _},
    },
    process::{Child, Command, ExitStatus},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use host_engine::EngineInfo;

use crate::{
    PROGRAM, PROTOCOL,
    clock::Moment,
    events::{Death, DriverEvent},
    frames::Trouble,
    lines::{self, LastLine},
    message::Message,
    settings::{DriverLimits, DriverSettings},
    system,
};

/// Largest message on the control connection; what an engine says of itself is the longest.
pub(crate) const PACKET_BYTES_MAX: usize = 64 << 10;
/// How often somebody looks whether a process has ended that is about to.
const LOOK_AGAIN: Duration = Duration::from_millis(1);
/// How long the last lines of a process that has ended are waited for.
const LAST_LINES_WAIT: Duration = Duration::from_millis(200);
/// How long it is waited for why a process has closed a connection, before it is taken for alive.
const CLOSED_WAIT: Duration = Duration::from_millis(900);
/// Variables that every driver process gets, if they are there: where libraries are found, and where they may write.
const ENVIRONMENT: [&str; 18] = [
    "ASCEND_*",
    "CUDA_*",
    "HOME",
    "LANG",
    "LD_LIBRARY_PATH",
    "NVIDIA_*",
    "OMP_*",
    "ORT_*",
    "PATH",
    "PYTHONPATH",
    "RKNN_*",
    "RUST_BACKTRACE",
    "TMPDIR",
    "TZ",
    "TOOLCHAIN_HOME",
    "USER",
    "XDG_CACHE_HOME",
    "XDG_RUNTIME_DIR",
];

/// A process that has opened its engine. It is asked to end when this is dropped.
#[derive(Debug)]
pub(crate) struct Process(pub(crate) Arc<Core>);

impl Drop for Process {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// How a process has ended.
#[derive(Debug)]
pub(crate) struct End {
    /// From its start.
    pub(crate) lived: Duration,
    /// None if it was asked to.
    pub(crate) death: Option<Death>,
}

/// What has been started.
#[derive(Debug)]
pub(crate) struct Started {
    pub(crate) process: Process,
    pub(crate) info: EngineInfo,
}

/// What a connection needs of the process behind it.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) pid: u32,
    control: UnixStream,
    life: Mutex<Life>,
    has_ended: Condvar,
    private_bytes: AtomicU64,
}

#[derive(Debug, Default)]
struct Life {
    is_asked_to_end: bool,
    is_waited_for: bool,
    death: Option<Death>,
}

type Ready = SyncSender<Result<(Arc<Core>, EngineInfo), Death>>;

/// Starts a process. The thread that is given back ends once the process is gone, with how that came.
pub(crate) fn start(settings: &Arc<DriverSettings>) -> (Result<Started, Death>, Option<JoinHandle<End>>) {
    let (ready, started) = sync_channel(1);
    let thread = thread::Builder::new().name(format!("driver {}", settings.engine)).spawn({
        let settings = Arc::clone(settings);
        move || live(&settings, &ready)
    });
    match thread {
        Ok(thread) => {
            let gone = || Err(Death::NotStarted { reason: "the thread that starts it has panicked".to_owned() });
            let started = started.recv().unwrap_or_else(|_| gone());
            (started.map(|(core, info)| Started { process: Process(core), info }), Some(thread))
        }
        Err(error) => (Err(Death::NotStarted { reason: error.to_string() }), None),
    }
}

/// The life of a process, on its own thread.
fn live(settings: &DriverSettings, ready: &Ready) -> End {
    let began = Moment::now();
    let (core, child, output) = match spawn(settings) {
        Ok(spawned) => spawned,
        Err(error) => {
            let death = Death::NotStarted { reason: format!("{}: {error}", settings.program.display()) };
            // Whoever waits is there, or has panicked.
            let _ = ready.send(Err(death.clone()));
            return End { lived: Duration::ZERO, death: Some(death) };
        }
    };
    let last = LastLine::default();
    let printed = follow_lines(settings, output, &last);
    match greet(&core, settings) {
        Ok(info) => {
            let ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
            settings.log.tell(DriverEvent::Started { engine: settings.engine.clone(), pid: core.pid, ms });
            let _ = ready.send(Ok((Arc::clone(&core), info)));
            watch(&core, &settings.limits);
            wait_for(&core, child, &settings.limits, (&printed, &last));
        }
        Err(trouble) => {
            core.kill_for(trouble);
            wait_for(&core, child, &settings.limits, (&printed, &last));
            let _ = ready.send(Err(core.death().unwrap_or_else(|| Death::NotStarted { reason: "it was asked to end".to_owned() })));
            return End { lived: Duration::ZERO, death: core.death() };
        }
    }
    let (engine, pid) = (settings.engine.clone(), core.pid);
    settings.log.tell(match core.death() {
        Some(death) => DriverEvent::Died { engine, pid, death },
        None => DriverEvent::Ended { engine, pid },
    });
    End { lived: began.elapsed(), death: core.death() }
}

fn spawn(settings: &DriverSettings) -> io::Result<(Arc<Core>, Child, PipeReader)> {
    let (ours, theirs) = system::packet_pair()?;
    let (output, print) = io::pipe()?;
    let limits = &settings.limits;
    ours.set_write_timeout(Some(Duration::from_millis(limits.call_ms_max)))?;
    let mut command = Command::new(&settings.program);
    command.args(&settings.arguments).arg("--engine").arg(&settings.engine);
    if let Some(library) = &settings.library {
        command.arg("--library").arg(library);
    }
    command.args(settings.settings.iter().flat_map(|(name, value)| ["--set".to_owned(), format!("{name}={value}")]));
    for (flag, number) in [
        ("--heartbeat-ms", limits.heartbeat_ms),
        ("--inline-bytes", limits.inline_bytes_max as u64),
        ("--shared-bytes", limits.shared_bytes_max),
        ("--spin-us", limits.spin_us),
        ("--data-bytes", if limits.memory_is_hard { limits.memory_bytes_max } else { 0 }),
    ] {
        command.arg(flag).arg(number.to_string());
    }
    command.env_clear().envs(environment(&limits.environment));
    command.stdin(OwnedFd::from(theirs)).stdout(print.try_clone()?).stderr(print).process_group(0);
    let child = command.spawn()?;
    let core = Core { pid: child.id(), control: ours, life: Mutex::default(), has_ended: Condvar::new(), private_bytes: AtomicU64::new(0) };
    Ok((Arc::new(core), child, output))
}

/// What of this process's environment the child gets.
fn environment(more: &[String]) -> Vec<(std::ffi::OsString, std::ffi::OsString)> {
    let matches = |name: &str, pattern: &str| pattern.strip_suffix('*').map_or(name == pattern, |start| name.starts_with(start));
    let wanted = |name: &str| ENVIRONMENT.into_iter().chain(more.iter().map(String::as_str)).any(|pattern| matches(name, pattern));
    std::env::vars_os().filter(|(name, _)| name.to_str().is_some_and(wanted)).collect()
}

/// Passes on what the process prints; what is given back is closed when it prints no more.
fn follow_lines(settings: &DriverSettings, output: PipeReader, last: &LastLine) -> Receiver<()> {
    let (done, printed) = sync_channel::<()>(1);
    let (engine, limits, log, last) = (settings.engine.clone(), settings.limits.clone(), settings.log.clone(), last.clone());
    let followed = thread::Builder::new().name(format!("lines of {engine}")).spawn(move || {
        lines::follow(output, &engine, &limits, &log, &last);
        drop(done);
    });
    // Without the thread nobody reads, the pipe is closed, and the process runs all the same.
    drop(followed);
    printed
}

/// What went wrong with a process that has just started.
enum Greeting {
    Trouble(Trouble),
    Death(Death),
}

/// Hears who the process is, and that its engine is open.
fn greet(core: &Core, settings: &DriverSettings) -> Result<EngineInfo, (Greeting, u64)> {
    let ms = settings.limits.start_ms_max;
    let until = Moment::now().after(Duration::from_millis(ms));
    let next = || core.receive(until.left().max(LOOK_AGAIN)).map_err(|trouble| (Greeting::Trouble(trouble), ms));
    let garbage = |said: &Message| (Greeting::Death(Death::Garbage { reason: format!("out of turn: {said:?}") }), ms);
    match next()? {
        Message::Hello { protocol: PROTOCOL, program } if program == PROGRAM => {}
        Message::Hello { protocol, program } => {
            let text = |program: &str, protocol: u32| format!("release {program} with protocol {protocol}");
            let death = Death::Version { program: settings.program.display().to_string(), expected: text(PROGRAM, PROTOCOL), found: text(&program, protocol) };
            return Err((Greeting::Death(death), ms));
        }
        other => return Err(garbage(&other)),
    }
    match next()? {
        Message::Opened(info) if info.name == settings.engine => Ok(info),
        Message::Failed(refusal) => Err((Greeting::Death(Death::Refused { reason: refusal.text().to_owned() }), ms)),
        other => Err(garbage(&other)),
    }
}

/// Listens for signs of life until there are no more.
fn watch(core: &Core, limits: &DriverLimits) {
    loop {
        match core.receive(Duration::from_millis(limits.silent_ms_max)) {
            Ok(Message::Beat) => {
                let found_bytes = system::private_bytes(core.pid).unwrap_or(0);
                core.private_bytes.store(found_bytes, Ordering::Relaxed);
                if limits.memory_bytes_max > 0 && found_bytes > limits.memory_bytes_max {
                    core.kill(Death::Memory { found_bytes, bytes_max: limits.memory_bytes_max });
                    return;
                }
            }
            Ok(other) => {
                core.kill(Death::Garbage { reason: format!("out of turn: {other:?}") });
                return;
            }
            Err(Trouble::Closed) => return,
            Err(Trouble::Late) => {
                core.kill(Death::Silent { ms: limits.silent_ms_max });
                return;
            }
            Err(Trouble::Garbage(garbage)) => {
                core.kill(Death::Garbage { reason: garbage.0 });
                return;
            }
        }
    }
}

/// Waits until the process is gone; one that does not go by itself is killed.
fn wait_for(core: &Core, mut child: Child, limits: &DriverLimits, (printed, last): (&Receiver<()>, &LastLine)) {
    let until = Moment::now().after(Duration::from_millis(limits.end_ms_max));
    let status = loop {
        // Under the lock, so that nobody kills a number that is another process's already.
        let mut life = core.life();
        match child.try_wait() {
            Ok(None) if until.left().is_zero() => system::kill_with_group(core.pid),
            Ok(None) => {}
            Ok(Some(status)) => {
                life.is_waited_for = true;
                break Some(status);
            }
            Err(_) => {
                life.is_waited_for = true;
                break None;
            }
        }
        drop(life);
        thread::sleep(LOOK_AGAIN);
    };
    // Its last lines say more than its status. The thread closes the channel without a word.
    let _ = printed.recv_timeout(LAST_LINES_WAIT);
    let mut life = core.life();
    if life.death.is_none() && !life.is_asked_to_end {
        life.death = Some(ended(status, last.get()));
    }
    drop(life);
    core.has_ended.notify_all();
}

fn ended(status: Option<ExitStatus>, last_line: Option<String>) -> Death {
    let by_signal = status.is_some_and(|status| status.signal().is_some());
    Death::Ended { status: status.map_or_else(|| "an unknown status".to_owned(), |status| status.to_string()), by_signal, last_line }
}

impl Core {
    fn life(&self) -> MutexGuard<'_, Life> {
        // Each statement leaves it whole, so a panic elsewhere leaves it sound.
        self.life.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether nothing more comes from it.
    pub(crate) fn is_dead(&self) -> bool {
        let life = self.life();
        life.death.is_some() || life.is_waited_for || life.is_asked_to_end
    }

    fn death(&self) -> Option<Death> {
        self.life().death.clone()
    }

    /// Memory at its last sign of life.
    pub(crate) fn private_bytes(&self) -> u64 {
        self.private_bytes.load(Ordering::Relaxed)
    }

    /// Ends it for a cause, of which the first stands, and says which that is.
    pub(crate) fn kill(&self, death: Death) -> Death {
        let mut life = self.life();
        let death = life.death.get_or_insert(death).clone();
        if !life.is_waited_for {
            system::kill_with_group(self.pid);
        }
        death
    }

    fn kill_for(&self, (greeting, ms): (Greeting, u64)) {
        match greeting {
            Greeting::Death(death) => self.kill(death),
            Greeting::Trouble(Trouble::Late) => self.kill(Death::Late { doing: "open its engine", ms }),
            Greeting::Trouble(Trouble::Garbage(garbage)) => self.kill(Death::Garbage { reason: garbage.0 }),
            // It is about to end, and its status says why.
            Greeting::Trouble(Trouble::Closed) => return,
        };
    }

    /// A connection has been closed by the process: why it died, or that it is ended for it.
    pub(crate) fn closed(&self) -> Death {
        let waiting = |life: &mut Life| life.death.is_none() && !life.is_asked_to_end;
        let (mut life, _) = self.has_ended.wait_timeout_while(self.life(), CLOSED_WAIT, waiting).unwrap_or_else(PoisonError::into_inner);
        // It is gone, and its last lines are being read: soon it is known what it died of.
        if life.is_waited_for {
            life = self.has_ended.wait_while(life, waiting).unwrap_or_else(PoisonError::into_inner);
        }
        let known = life.death.clone();
        drop(life);
        known.unwrap_or_else(|| self.kill(Death::Garbage { reason: "nothing: it closed the connection of a graph".to_owned() }))
    }

    /// Asks it to end: it reads that nobody is there any more.
    fn end(&self) {
        self.life().is_asked_to_end = true;
        // It may be closed already.
        let _ = self.control.shutdown(std::net::Shutdown::Both);
    }

    /// Says something that needs no answer.
    pub(crate) fn say(&self, message: &Message, descriptors: &[BorrowedFd<'_>]) -> Result<(), Trouble> {
        Ok(system::send_packet(&self.control, &message.encode(), descriptors)?)
    }

    fn receive(&self, wait: Duration) -> Result<Message, Trouble> {
        let mut buffer = vec![0; PACKET_BYTES_MAX];
        self.control.set_read_timeout(Some(wait))?;
        match system::receive_packet(&self.control, &mut buffer)? {
            (0, _) => Err(Trouble::Closed),
            (length, _) => {
                buffer.truncate(length);
                Ok(Message::decode(buffer.into())?)
            }
        }
    }
}
