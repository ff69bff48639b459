//! What a driver process prints, line by line: bounded in length and in number for each second. The last lines are kept, because they
//! often say why the process died.

use std::{
    io::{self, BufRead as _, BufReader, Read},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use crate::{
    clock::Moment,
    events::{DriverEvent, EventSink},
    settings::DriverLimits,
};

/// The last line of a process.
#[derive(Clone, Debug, Default)]
pub(crate) struct LastLine(Arc<Mutex<Option<String>>>);

impl LastLine {
    pub(crate) fn get(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, line: &str) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(line.to_owned());
    }
}

/// Tells lines until the process, and whatever it has started, prints no more.
pub(crate) fn follow(output: impl Read, engine: &str, limits: &DriverLimits, log: &EventSink, last: &LastLine) {
    let mut output = BufReader::new(output);
    let mut second = Second { began: Moment::now(), told: 0, dropped: 0 };
    while let Ok(Some(line)) = next_line(&mut output, limits.log_line_bytes_max) {
        let text = line.trim_end();
        if text.is_empty() {
            continue;
        }
        last.set(text);
        second.count(engine, log);
        if second.told < limits.log_lines_per_s_max {
            second.told += 1;
            log.tell(DriverEvent::Line { engine: engine.to_owned(), text: text.to_owned() });
        } else {
            second.dropped += 1;
        }
    }
    second.end(engine, log);
}

/// Lines of one second.
struct Second {
    began: Moment,
    told: u32,
    dropped: u64,
}

impl Second {
    fn count(&mut self, engine: &str, log: &EventSink) {
        if self.began.elapsed() >= Duration::from_secs(1) {
            self.end(engine, log);
            *self = Self { began: Moment::now(), told: 0, dropped: 0 };
        }
    }

    fn end(&self, engine: &str, log: &EventSink) {
        if self.dropped > 0 {
            log.tell(DriverEvent::LinesDropped { engine: engine.to_owned(), count: self.dropped });
        }
    }
}

/// The next line, of which no more is kept than may be; none at the end.
fn next_line(output: &mut impl io::BufRead, bytes_max: usize) -> io::Result<Option<String>> {
    let mut line = Vec::new();
    if output.by_ref().take(bytes_max as u64).read_until(b'\n', &mut line)? == 0 {
        return Ok(None);
    }
    if !line.ends_with(b"\n") && line.len() >= bytes_max {
        output.skip_until(b'\n')?;
    }
    Ok(Some(String::from_utf8_lossy(&line).into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lines_are_cut_and_too_many_are_counted() {
        let told: Arc<Mutex<Vec<DriverEvent>>> = Arc::default();
        let sink = EventSink::new({
            let told = told.clone();
            move |event| told.lock().expect("no panic").push(event.clone())
        });
        let limits = DriverLimits { log_lines_per_s_max: 2, log_line_bytes_max: 5, ..DriverLimits::default() };
        let last = LastLine::default();
        follow(&b"one\n\nlonger than five\n\xffx\nfour\nfive"[..], "ort", &limits, &sink, &last);
        let line = |text: &str| DriverEvent::Line { engine: "ort".into(), text: text.into() };
        let expected = [line("one"), line("longe"), DriverEvent::LinesDropped { engine: "ort".into(), count: 3 }];
        assert_eq!(*told.lock().expect("no panic"), expected);
        assert_eq!(last.get().as_deref(), Some("five"));
    }
}
