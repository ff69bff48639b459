//! The audit log: one line for each step that anybody had done to a plugin, appended to a file and on disk before the next
//! step begins. Nothing is ever changed in it; when it is full it is set aside whole.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufRead, BufReader, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use host_wire::admin::AuditLine;

use crate::{
    clock,
    error::{Error, Fault},
};

/// The file in the data directory.
const FILE: &str = "audit.jsonl";
/// Where a full file goes; the one that was there before is given up.
const SET_ASIDE: &str = "audit.1.jsonl";

/// The log of one data directory.
#[derive(Debug)]
pub(super) struct Audit {
    path: PathBuf,
    bytes_max: u64,
    open: Mutex<File>,
}

impl Audit {
    pub(super) fn open(data: &Path, bytes_max: u64) -> Result<Self, Error> {
        let path = data.join(FILE);
        let open = append_to(&path).map_err(|error| fault(&path, error))?;
        Ok(Self { path, bytes_max, open: Mutex::new(open) })
    }

    /// Keeps a line. What cannot be kept is an error: what nobody could look up later must not be done.
    pub(super) fn keep(&self, line: AuditLine) -> Result<(), Error> {
        let line = AuditLine { at_ms: clock::unix_ms(), ..line };
        let mut text = serde_json::to_vec(&line).map_err(|error| fault(&self.path, error.into()))?;
        text.push(b'\n');
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        self.write(&mut open, &text).map_err(|error| fault(&self.path, error))
    }

    fn write(&self, open: &mut File, text: &[u8]) -> io::Result<()> {
        if open.metadata()?.len() + text.len() as u64 > self.bytes_max {
            fs::rename(&self.path, self.path.with_file_name(SET_ASIDE))?;
            *open = append_to(&self.path)?;
        }
        open.write_all(text)?;
        open.sync_data()
    }

    /// The newest lines, newest last. A line that was cut off by a crash is left out.
    pub(super) fn newest(&self, count: usize) -> Result<Vec<AuditLine>, Error> {
        let file = File::open(&self.path).map_err(|error| fault(&self.path, error))?;
        let mut lines = std::collections::VecDeque::with_capacity(count.min(1024));
        for line in BufReader::new(file).lines() {
            let line = line.map_err(|error| fault(&self.path, error))?;
            let Ok(line) = serde_json::from_str(&line) else { continue };
            if lines.len() == count {
                lines.pop_front();
            }
            lines.push_back(line);
        }
        Ok(lines.into_iter().take(count).collect())
    }
}

fn append_to(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).mode(0o600).open(path)
}

fn fault(path: &Path, error: io::Error) -> Error {
    Error::from(Fault::File { doing: "keep the audit log in", path: path.display().to_string() }).because(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(detail: &str) -> AuditLine {
        AuditLine { who: "user 1".into(), action: "install".into(), step: "asked".into(), detail: detail.into(), ..AuditLine::default() }
    }

    #[test]
    fn lines_stay_in_order_and_a_full_file_is_set_aside_whole() {
        let data = tempfile::tempdir().expect("a folder");
        let audit = Audit::open(data.path(), 700).expect("opens");
        for number in 0..8 {
            audit.keep(line(&format!("line {number}"))).expect("kept");
        }
        let details: Vec<String> = audit.newest(2).expect("read").into_iter().map(|line| line.detail).collect();
        assert_eq!(details, ["line 6", "line 7"]);
        let aside = fs::read_to_string(data.path().join(SET_ASIDE)).expect("set aside");
        let now = fs::read_to_string(data.path().join(FILE)).expect("there");
        assert_eq!(aside.lines().count() + now.lines().count(), 8, "nothing is lost");
        assert!(aside.len() <= 700 && now.len() <= 700);
    }

    #[test]
    fn a_line_that_a_crash_cut_off_is_left_out() {
        let data = tempfile::tempdir().expect("a folder");
        let audit = Audit::open(data.path(), 10_000).expect("opens");
        audit.keep(line("whole")).expect("kept");
        fs::write(data.path().join(FILE), [fs::read(data.path().join(FILE)).expect("there"), b"{\"at_ms\":1,\"wh".to_vec()].concat()).expect("cut off");
        assert_eq!(audit.newest(10).expect("read").len(), 1);
    }
}
