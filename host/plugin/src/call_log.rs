//! What a guest writes: lines through the contract's log, and what it prints to standard output and standard error, which is
//! kept as lines of the same log. Bounded in lines for each call and in bytes for each line. Nothing here shows them to
//! anyone: whoever owns the guest takes them after a call. Called by `guest`, `imports` and `system`.

use std::mem;

use host_core::units::Millis;

use crate::events::LogLevel;

/// Bytes of a guest's last words in the reason of a fault; a person reads it.
const LAST_WORDS_BYTES_MAX: usize = 1_000;

/// Where a guest prints.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Output {
    Stdout,
    Stderr,
}

impl Output {
    const ALL: [Self; 2] = [Self::Stdout, Self::Stderr];

    /// The level of a line that is printed there.
    fn level(self) -> LogLevel {
        match self {
            Self::Stdout => LogLevel::Info,
            Self::Stderr => LogLevel::Warn,
        }
    }
}

/// Lines that nobody has taken yet.
pub(crate) struct CallLog {
    lines: Vec<(LogLevel, String)>,
    /// How many of them are of calls before this one.
    earlier: usize,
    dropped: u64,
    /// What was printed to each output since its last line ended. A guest that never prints never allocates it.
    unended: [Vec<u8>; Output::ALL.len()],
    lines_max: usize,
    line_bytes_max: usize,
}

impl CallLog {
    pub(crate) fn new(lines_max: usize, line_bytes_max: usize) -> Self {
        Self { lines: Vec::new(), earlier: 0, dropped: 0, unended: Default::default(), lines_max, line_bytes_max }
    }

    /// A call begins: from here on its own lines count. Of those before, which nobody may ever take, as many are kept as one
    /// call may write.
    pub(crate) fn begin(&mut self) {
        let forgotten = self.lines.len().saturating_sub(self.lines_max);
        self.lines.drain(..forgotten);
        self.dropped += forgotten as u64;
        self.earlier = self.lines.len();
    }

    /// The call is over, however it ended: what was printed last is a line though nothing ended it.
    pub(crate) fn end(&mut self) {
        for output in Output::ALL {
            if !self.unended[output as usize].is_empty() {
                self.end_line(output);
            }
        }
    }

    /// Takes a line.
    pub(crate) fn write(&mut self, level: LogLevel, mut line: String) {
        if self.lines.len() - self.earlier >= self.lines_max {
            self.dropped += 1;
            return;
        }
        // A person reads it on a terminal, which is the guest's neither to colour nor to clear.
        if line.contains(is_for_terminals) {
            line = line.replace(is_for_terminals, "\u{fffd}");
        }
        if line.len() > self.line_bytes_max {
            line.truncate(line.floor_char_boundary(self.line_bytes_max));
            // Else each line that is kept would hold the memory of the whole one.
            line.shrink_to_fit();
        }
        self.lines.push((level, line));
    }

    /// Takes bytes that a guest prints. They become lines where they end one.
    pub(crate) fn print(&mut self, output: Output, bytes: &[u8]) {
        for part in bytes.split_inclusive(|&byte| byte == b'\n') {
            let text = part.strip_suffix(b"\n").unwrap_or(part);
            let unended = &mut self.unended[output as usize];
            let room = self.line_bytes_max.saturating_sub(unended.len());
            unended.extend_from_slice(&text[..text.len().min(room)]);
            if text.len() < part.len() {
                self.end_line(output);
            }
        }
    }

    fn end_line(&mut self, output: Output) {
        let bytes = mem::take(&mut self.unended[output as usize]);
        let text = bytes.strip_suffix(b"\r").unwrap_or(&bytes);
        self.write(output.level(), String::from_utf8_lossy(text).into_owned());
    }

    /// Hands over all lines, oldest first, as many as `allowed` makes of their number, and how many were dropped, there and before.
    pub(crate) fn take(&mut self, allowed: impl FnOnce(usize) -> usize) -> (Vec<(LogLevel, String)>, u64) {
        let dropped = mem::take(&mut self.dropped);
        if self.lines.is_empty() {
            return (Vec::new(), dropped);
        }
        self.earlier = 0;
        let mut lines = mem::take(&mut self.lines);
        let wrote = lines.len();
        lines.truncate(allowed(wrote));
        let dropped = dropped + (wrote - lines.len()) as u64;
        (lines, dropped)
    }

    /// What a guest that fails said last in this call: its last error, which of a panic is its text, or else the end of what it
    /// printed to standard error.
    pub(crate) fn last_words(&self) -> Option<String> {
        let lines = self.lines.get(self.earlier..).unwrap_or_default();
        let last_error = lines.iter().rev().find(|(level, _)| *level == LogLevel::Error);
        if let Some((_, line)) = last_error {
            return Some(line.clone());
        }
        let printed = lines.iter().rev().filter(|(level, _)| *level == Output::Stderr.level()).map(|(_, line)| line.trim());
        let mut bytes_left = LAST_WORDS_BYTES_MAX;
        let fits = |line: &&str| {
            let fits = line.len() <= bytes_left;
            bytes_left = bytes_left.saturating_sub(line.len());
            fits
        };
        let mut last: Vec<&str> = printed.filter(|line| !line.is_empty()).take_while(fits).collect();
        last.reverse();
        (!last.is_empty()).then(|| last.join(" | "))
    }
}

fn is_for_terminals(character: char) -> bool {
    character.is_control() && !matches!(character, '\n' | '\t')
}

/// How many lines of a plugin are passed on within a second.
pub(crate) struct LogVolume {
    lines_per_second_max: u32,
    second: f64,
    left: usize,
}

impl LogVolume {
    pub(crate) fn new(lines_per_second_max: u32) -> Self {
        Self { lines_per_second_max, second: f64::NEG_INFINITY, left: 0 }
    }

    /// How many of so many lines may be passed on now.
    pub(crate) fn take(&mut self, now: Millis, lines: usize) -> usize {
        let second = (now.0 / 1e3).floor();
        if second > self.second {
            (self.second, self.left) = (second, self.lines_per_second_max as usize);
        }
        let taken = lines.min(self.left);
        self.left -= taken;
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(log: &mut CallLog) -> (Vec<(LogLevel, String)>, u64) {
        log.take(|lines| lines)
    }

    fn line(level: LogLevel, text: &str) -> (LogLevel, String) {
        (level, text.to_owned())
    }

    #[test]
    fn a_plugin_has_so_many_lines_in_each_second() {
        let mut volume = LogVolume::new(5);
        assert_eq!([volume.take(Millis(0.0), 3), volume.take(Millis(900.0), 3), volume.take(Millis(999.0), 1)], [3, 2, 0]);
        assert_eq!([volume.take(Millis(1000.0), 2), volume.take(Millis(1001.0), 9)], [2, 3]);
    }

    #[test]
    fn what_is_printed_in_pieces_becomes_whole_lines_and_the_end_of_a_call_ends_the_last_one() {
        let mut log = CallLog::new(8, 64);
        log.begin();
        for piece in ["one", " line\r\n\ntwo ", "lines\nand a ha"] {
            log.print(Output::Stdout, piece.as_bytes());
        }
        log.print(Output::Stderr, b"f\xffdd");
        log.end();
        let info = |text| line(LogLevel::Info, text);
        assert_eq!(taken(&mut log), (vec![info("one line"), info(""), info("two lines"), info("and a ha"), line(LogLevel::Warn, "f\u{fffd}dd")], 0));
        log.end();
        assert_eq!(taken(&mut log), (Vec::new(), 0));
    }

    #[test]
    fn lines_beyond_those_of_a_call_and_bytes_beyond_those_of_a_line_are_dropped() {
        let mut log = CallLog::new(2, 4);
        log.begin();
        log.print(Output::Stdout, "äää\n".as_bytes());
        log.write(LogLevel::Debug, "äbää".to_owned());
        log.print(Output::Stdout, b"three\nfour\nfi");
        log.end();
        assert_eq!(taken(&mut log), (vec![line(LogLevel::Info, "ää"), line(LogLevel::Debug, "äb")], 3));
    }

    #[test]
    fn nothing_that_a_guest_writes_changes_the_terminal_of_who_reads_it() {
        let mut log = CallLog::new(4, 64);
        log.begin();
        log.write(LogLevel::Info, "\u{1b}[2Jgone\ttab\nline".to_owned());
        log.print(Output::Stderr, b"\x07bell\rback\r\n");
        let expected = vec![line(LogLevel::Info, "\u{fffd}[2Jgone\ttab\nline"), line(LogLevel::Warn, "\u{fffd}bell\u{fffd}back")];
        assert_eq!(taken(&mut log), (expected, 0));
    }

    #[test]
    fn lines_of_earlier_calls_wait_until_they_are_taken_but_not_for_ever() {
        let mut log = CallLog::new(2, 64);
        for call in 0..3 {
            log.begin();
            log.write(LogLevel::Info, format!("call {call}"));
            log.write(LogLevel::Info, format!("call {call} again"));
        }
        let (lines, dropped) = taken(&mut log);
        assert_eq!((lines.iter().map(|(_, line)| line.as_str()).collect::<Vec<_>>(), dropped), (vec!["call 1", "call 1 again", "call 2", "call 2 again"], 2));
    }

    #[test]
    fn the_last_words_are_the_last_error_of_this_call_or_the_end_of_what_it_printed() {
        let mut log = CallLog::new(100, 600);
        log.begin();
        log.write(LogLevel::Error, "of the call before".to_owned());
        log.begin();
        assert_eq!(log.last_words(), None);
        log.print(Output::Stdout, b"progress\n");
        log.print(Output::Stderr, format!("{}\n{}\n\n  File \"policy.py\"\nValueError: 7", "x".repeat(600), "y".repeat(600)).as_bytes());
        log.end();
        assert_eq!(log.last_words(), Some(format!("{} | File \"policy.py\" | ValueError: 7", "y".repeat(600))));
        log.write(LogLevel::Error, "this one".to_owned());
        log.print(Output::Stderr, b"and more\n");
        assert_eq!(log.last_words().as_deref(), Some("this one"));
    }
}
