//! A vendor's tool as a child process: limited in time and memory, in a group of its own so that what it starts ends with it, and
//! heard line by line. A tool that hangs, dies or fills the memory takes itself down and nothing else.

use std::{
    io,
    path::Path,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _},
    process::{Child, Command},
    sync::mpsc,
};
use tokio_util::sync::CancellationToken;

/// Bytes that are read at once of what a tool says.
const READ_BYTES: usize = 4096;
/// Lines that wait to be heard.
const LINES_WAITING_MAX: usize = 64;
/// What a tool has said is waited for this long after it has ended: something that it started may hold its output open.
const LAST_WORDS_MAX: Duration = Duration::from_secs(2);
/// Sets the limit on memory that may be written, in KiB, waits for requests rather than have them wait, and becomes the tool.
const LIMITED: &str = r#"ulimit -d "$1" || exit 126; shift; exec nice -n 10 "$@""#;

/// What a tool may take.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct ChildLimits {
    pub(super) run: Duration,
    pub(super) memory_bytes_max: u64,
    pub(super) line_bytes_max: usize,
}

/// How a tool ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Ended {
    /// By itself.
    Exited(ExitStatus),
    /// It took too long, and was killed.
    Late,
    /// Nobody wants it any more, and it was killed.
    Cancelled,
}

/// Runs a program with its arguments in a folder; `say` gets each line that it prints.
pub(super) async fn run(
    words: &[String],
    folder: &Path,
    limits: ChildLimits,
    cancel: &CancellationToken,
    mut say: impl FnMut(String) + Send,
) -> io::Result<Ended> {
    let mut child = start(words, folder, limits)?;
    let group = child.id();
    let (lines, mut heard) = mpsc::channel(LINES_WAITING_MAX);
    let readers = [child.stdout.take().map(|stream| listen(stream, limits, lines.clone())), child.stderr.take().map(|stream| listen(stream, limits, lines))];
    let late = tokio::time::sleep(limits.run);
    tokio::pin!(late);
    let ended = loop {
        tokio::select! {
            Some(line) = heard.recv() => say(line),
            status = child.wait() => break Ended::Exited(status?),
            () = &mut late => break Ended::Late,
            () = cancel.cancelled() => break Ended::Cancelled,
        }
    };
    end_group(&mut child, group).await;
    let rest = async {
        while let Some(line) = heard.recv().await {
            say(line);
        }
    };
    // Whatever still holds the output open is not listened to.
    let _ = tokio::time::timeout(LAST_WORDS_MAX, rest).await;
    readers.into_iter().flatten().for_each(|reader| reader.abort());
    Ok(ended)
}

fn start(words: &[String], folder: &Path, limits: ChildLimits) -> io::Result<Child> {
    let mut command = Command::new("/bin/sh");
    command.arg("-c").arg(LIMITED).arg("sh").arg((limits.memory_bytes_max >> 10).to_string()).args(words);
    // This host's own settings, join tokens among them, are none of a tool's business.
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("HOST_")) {
        command.env_remove(name);
    }
    command.current_dir(folder).process_group(0).kill_on_drop(true);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()
}

/// Kills what is left of the tool and of what it has started.
async fn end_group(child: &mut Child, group: Option<u32>) {
    group.into_iter().for_each(host_driver::kill_group);
    // Both fail only if it is gone already.
    let _ = child.start_kill();
    let _ = child.wait().await;
}

fn listen(mut stream: impl AsyncRead + Unpin + Send + 'static, limits: ChildLimits, lines: mpsc::Sender<String>) -> tokio::task::JoinHandle<()> {
    tokio::spawn(async move {
        let mut splitter = Lines { pending: Vec::new(), line_bytes_max: limits.line_bytes_max };
        let mut buffer = vec![0; READ_BYTES];
        loop {
            let read = stream.read(&mut buffer).await.unwrap_or(0);
            let ready = if read == 0 { splitter.rest().into_iter().collect() } else { splitter.take(&buffer[..read]) };
            for line in ready {
                if lines.send(line).await.is_err() {
                    return;
                }
            }
            if read == 0 {
                return;
            }
        }
    })
}

/// Cuts what comes into lines. Progress bars go back to the beginning of theirs, which ends a line too; empty ones are left out, and
/// what is longer than a line may be is dropped.
struct Lines {
    pending: Vec<u8>,
    line_bytes_max: usize,
}

impl Lines {
    fn take(&mut self, bytes: &[u8]) -> Vec<String> {
        let mut lines = Vec::new();
        for &byte in bytes {
            if matches!(byte, b'\n' | b'\r') {
                lines.extend(self.rest());
            } else if self.pending.len() < self.line_bytes_max {
                self.pending.push(byte);
            }
        }
        lines
    }

    fn rest(&mut self) -> Option<String> {
        let line = String::from_utf8_lossy(&std::mem::take(&mut self.pending)).trim_end().to_owned();
        (!line.is_empty()).then_some(line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run_script(script: &str, limits: ChildLimits, cancel: &CancellationToken) -> (Ended, Vec<String>) {
        let words = ["/bin/sh", "-c", script].map(str::to_owned);
        let (mut said, folder) = (Vec::new(), std::env::temp_dir());
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
        let ended = runtime.block_on(run(&words, &folder, limits, cancel, |line| said.push(line))).expect("it starts");
        (ended, said)
    }

    const LIMITS: ChildLimits = ChildLimits { run: Duration::from_secs(60), memory_bytes_max: 1 << 30, line_bytes_max: 20 };

    #[test]
    fn what_a_tool_says_is_heard_and_how_it_ends_is_known() {
        let (ended, mut said) = run_script("echo out; printf 'one\\rtwo\\n'; echo err >&2; exit 3", LIMITS, &CancellationToken::new());
        said.sort();
        assert_eq!(said, ["err", "one", "out", "two"]);
        assert!(matches!(ended, Ended::Exited(status) if status.code() == Some(3)), "{ended:?}");
        let (_, said) = run_script("printf '%0100d' 7", LIMITS, &CancellationToken::new());
        assert_eq!(said, ["0".repeat(20)]);
    }

    #[test]
    fn one_that_takes_too_long_is_ended_with_all_that_it_started() {
        let limits = ChildLimits { run: Duration::from_millis(300), ..LIMITS };
        let (ended, said) = run_script("sleep 600 & echo $!; wait", limits, &CancellationToken::new());
        assert_eq!(ended, Ended::Late);
        let path = format!("/proc/{}/stat", said[0]);
        let is_gone = || std::fs::read_to_string(&path).is_ok_and(|stat| stat.contains(") Z ")) || !Path::new(&path).exists();
        for _ in 0..1_000 {
            if is_gone() {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("what it started lives on");
    }

    #[test]
    fn one_that_nobody_wants_is_ended_and_one_that_takes_too_much_memory_fails() {
        let cancel = CancellationToken::new();
        cancel.cancel();
        assert_eq!(run_script("sleep 600", LIMITS, &cancel).0, Ended::Cancelled);
        let limits = ChildLimits { memory_bytes_max: 16 << 20, ..LIMITS };
        let (ended, _) = run_script(
            "x=0123456789abcdef; for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22; do x=$x$x; done",
            limits,
            &CancellationToken::new(),
        );
        assert!(matches!(ended, Ended::Exited(status) if !status.success()), "{ended:?}");
    }
}
