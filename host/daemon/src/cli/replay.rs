//! `host replay`: puts every recorded question to a plugin again and compares the answers to the last bit. Without a host.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
};

use clap::Args;
use host_core::{
    decision::{Question, Record, Reply, is_same_answer},
    policy::Answer,
};
use host_plugin::{Replayer, told_answer};
use host_wire::recording::{Decoder, Event, Line, Plugin};
use serde_json::{Value, json};

use super::{Global, plugin::How, screen::Screen};
use crate::error::{Error, Fault};

#[derive(Debug, Args)]
pub(super) struct ReplayArgs {
    /// What `host run --record` wrote
    #[arg(value_name = "RECORDING")]
    recording: PathBuf,
    /// Who decides: a WebAssembly component, or the name of a built-in plugin
    #[arg(long, value_name = "FILE|NAME")]
    plugin: PathBuf,
    /// Decide so many of the recorded questions at most
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
    /// Print so many differences at most
    #[arg(long, value_name = "N", default_value_t = 5)]
    differences: usize,
    #[command(flatten)]
    how: How,
}

/// One decision that came out otherwise.
struct Difference {
    record: Record,
    replayed: Answer<Reply>,
}

/// What came of a replay.
#[derive(Default)]
struct Tally {
    decided: u64,
    agree: u64,
    differ: u64,
    refused: u64,
    failed: u64,
    /// Of other kinds, or other slots than the one that is meant.
    skipped: u64,
    missing: u64,
    /// Runs that end in a line that was cut short.
    cut_short: u64,
    /// Sums of what plans were worth, recorded and replayed, over problems that both place.
    worth: (f64, f64),
    placed: u64,
    by: BTreeMap<(String, String, u64, String), u64>,
    differences: Vec<Difference>,
}

pub(super) fn replay(global: &Global, screen: &mut Screen, args: ReplayArgs) -> Result<(), Error> {
    let known = args.how.digest(&args.plugin)?;
    let config = configured(&args.recording, &known)?;
    let bench = args.how.open(global, &args.plugin, config)?;
    let none = || Error::from(Fault::Usage { reason: format!("`{}` drives accelerators and decides nothing that could be replayed", bench.plugin()) });
    let mut replayer = bench.replayer().ok_or_else(none)?;
    let mut tally = Tally::default();
    events(&args.recording, |event| take(&mut replayer, &mut tally, &args, event))?;
    let head = format!("{} as {}, sha256:{}, configured with {}", bench.plugin(), bench.kind(), bench.digest(), bench.config());
    if screen.is_json() { screen.json(&as_json(&head, &tally)) } else { print(screen, &head, &tally) }
}

/// Reads a recording event by event until somebody has seen enough.
fn events(path: &Path, mut take: impl FnMut(Result<Event, ()>) -> Result<bool, Error>) -> Result<(), Error> {
    let fault = |error: std::io::Error| Error::from(Fault::File { doing: "read", path: path.display().to_string() }).because(error);
    let mut decoder = Decoder::default();
    // A line that cannot be read is one that was cut short, if nothing but another run follows it.
    let mut unread: Option<(u64, serde_json::Error)> = None;
    let bad = |(number, error): (u64, serde_json::Error)| {
        let what = format!("line {number} of `{}` is not the JSON that is expected: {error}", path.display());
        Error::from(host_wire::error::Error::from(host_wire::error::Fault::Recording { what }))
    };
    for (number, line) in (1_u64..).zip(BufReader::new(File::open(path).map_err(fault)?).lines()) {
        let line = line.map_err(fault)?;
        let parsed = match serde_json::from_str::<Line>(&line) {
            Ok(parsed) => parsed,
            Err(error) if unread.is_none() => {
                unread = Some((number, error));
                continue;
            }
            Err(error) => return Err(bad((number, error))),
        };
        if let Some(unread) = unread.take() {
            if !matches!(parsed, Line::Header(_)) || unread.0 == 1 {
                return Err(bad(unread));
            }
            take(Err(()))?;
        }
        if let Some(event) = decoder.decode(parsed)?
            && !take(Ok(event))?
        {
            return Ok(());
        }
    }
    match unread {
        Some(unread) if unread.0 == 1 => Err(bad(unread)),
        Some(_) => take(Err(())).map(|_| ()),
        None => Ok(()),
    }
}

/// What a plugin of this digest was configured with when it was recorded last.
fn configured(path: &Path, digest: &str) -> Result<Option<String>, Error> {
    let mut config = None;
    events(path, |event| {
        if let Ok(Event::Plugin(Plugin { digest: of, config: Some(found), .. })) = event
            && of == digest
        {
            config = Some(found);
        }
        Ok(true)
    })?;
    Ok(config)
}

fn take(replayer: &mut Replayer<'_>, tally: &mut Tally, args: &ReplayArgs, event: Result<Event, ()>) -> Result<bool, Error> {
    match event {
        Ok(Event::Started(_)) => replayer.restart(),
        Ok(Event::Plugin(_)) => {}
        Ok(Event::Gap(gap)) => tally.missing += gap.decisions,
        Err(()) => tally.cut_short += 1,
        Ok(Event::Decided(record)) => {
            let meant = args.how.slot().is_none_or(|slot| slot == record.slot);
            if !meant || !replayer.takes(&record.question) {
                tally.skipped += 1;
                return Ok(true);
            }
            if args.limit.is_some_and(|limit| tally.decided >= limit) {
                return Ok(false);
            }
            let replayed = replayer.answer(&record.question)?;
            tally.note(*record, replayed, args.differences);
        }
    }
    Ok(true)
}

impl Tally {
    fn note(&mut self, record: Record, replayed: Answer<Reply>, differences_max: usize) {
        self.decided += 1;
        *self.by.entry((record.slot.clone(), record.plugin.clone(), record.generation.0, record.digest.clone())).or_default() += 1;
        if let Some((recorded, again)) = worth(&record.question, &record.answer).zip(worth(&record.question, &replayed)) {
            self.placed += 1;
            (self.worth.0, self.worth.1) = (self.worth.0 + recorded, self.worth.1 + again);
        }
        if is_same_answer(&record.answer, &replayed) {
            self.agree += 1;
            return;
        }
        match &replayed {
            Err(_) => self.failed += 1,
            Ok(Err(_)) => self.refused += 1,
            Ok(Ok(_)) => self.differ += 1,
        }
        if self.differences.len() < differences_max {
            self.differences.push(Difference { record, replayed });
        }
    }
}

/// The value of a plan under its problem's objective: requests per millisecond, or for latency its inverse.
fn worth(question: &Question, answer: &Answer<Reply>) -> Option<f64> {
    match (question, answer) {
        (Question::Allocate(problem), Ok(Ok(Reply::Proposal(proposal)))) => Some(problem.worth(&proposal.replicas).value(problem.placement.objective)),
        _ => None,
    }
}

fn print(screen: &mut Screen, head: &str, tally: &Tally) -> Result<(), Error> {
    screen.line(head)?;
    for ((slot, plugin, generation, digest), count) in &tally.by {
        let digest: String = digest.chars().take(12).collect();
        screen.line(&format!("recorded  {count} decisions of {plugin} in slot {slot}, generation {generation}, sha256:{digest}"))?;
    }
    let counts = [
        ("decided", tally.decided),
        ("agree", tally.agree),
        ("differ", tally.differ),
        ("refused", tally.refused),
        ("failed", tally.failed),
        ("skipped", tally.skipped),
        ("missing", tally.missing),
    ];
    counts.iter().try_for_each(|(name, count)| screen.line(&format!("{name:8}  {count}")))?;
    if tally.cut_short > 0 {
        screen.line(&format!("{} runs end in a line that was cut short", tally.cut_short))?;
    }
    if tally.placed > 0 {
        let mean = |sum: f64| sum / tally.placed as f64;
        screen.line(&format!(
            "plans     worth {:.6} as recorded, {:.6} replayed: the mean over {} problems",
            mean(tally.worth.0),
            mean(tally.worth.1),
            tally.placed
        ))?;
    }
    for difference in &tally.differences {
        let record = &difference.record;
        screen.line(&format!("\ndecision {}: {}", record.ordinal, asked(&record.question)))?;
        for (word, answer) in [("recorded", &record.answer), ("replayed", &difference.replayed)] {
            let value = worth(&record.question, answer).map_or_else(String::new, |value| format!(", worth {value:.6}"));
            screen.line(&format!("  {word}  {}{value}", told_answer(answer)))?;
        }
    }
    Ok(())
}

/// A question in a line.
fn asked(question: &Question) -> String {
    match question {
        Question::Allocate(problem) => format!("allocate {}, {} blocks, {} offers", problem.model.id(), problem.model.blocks().len(), problem.offers.len()),
        Question::Review(observation) => format!("review {}", observation.problem.model.id()),
        Question::Admit(arrival) => format!("admit arrival {} of class {}", arrival.ordinal, arrival.class),
        Question::Route { snapshot, request } => {
            let model = snapshot.topology.models.get(request.model as usize).map(|model| model.id.to_string()).unwrap_or_default();
            let (topology, pressures) = (snapshot.topology.number, snapshot.pressures.number);
            format!("route {model}, ordinal {}, outstanding {:?}, topology {topology}, pressures {pressures}", request.ordinal, request.outstanding)
        }
    }
}

fn as_json(head: &str, tally: &Tally) -> Value {
    let by = |((slot, plugin, generation, digest), count): (&(String, String, u64, String), &u64)| json!({ "slot": slot, "plugin": plugin, "generation": generation, "digest": digest, "decisions": count });
    let difference = |difference: &Difference| {
        let Difference { record, replayed } = difference;
        json!({
            "ordinal": record.ordinal,
            "question": asked(&record.question),
            "recorded": told_answer(&record.answer),
            "replayed": told_answer(replayed),
            "recorded_value": worth(&record.question, &record.answer),
            "replayed_value": worth(&record.question, replayed),
        })
    };
    json!({
        "replayed": head,
        "recorded": tally.by.iter().map(by).collect::<Vec<_>>(),
        "decided": tally.decided,
        "agree": tally.agree,
        "differ": tally.differ,
        "refused": tally.refused,
        "failed": tally.failed,
        "skipped": tally.skipped,
        "missing": tally.missing,
        "cut_short": tally.cut_short,
        "placed": tally.placed,
        "recorded_value_sum": tally.worth.0,
        "replayed_value_sum": tally.worth.1,
        "differences": tally.differences.iter().map(difference).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = "{\"line\":\"header\",\"format\":1,\"host\":\"0.1.0\"}";
    const GAP: &str = "{\"line\":\"gap\",\"decisions\":3}";

    /// Gaps, and runs that end in a line that was cut short.
    fn read(lines: &[&str]) -> Result<(u64, u32), String> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("decisions.jsonl");
        std::fs::write(&path, lines.join("\n")).expect("written");
        let (mut gaps, mut cut_short) = (0, 0);
        let done = events(&path, |event| {
            match event {
                Ok(Event::Gap(gap)) => gaps += gap.decisions,
                Ok(_) => {}
                Err(()) => cut_short += 1,
            }
            Ok(true)
        });
        done.map(|()| (gaps, cut_short)).map_err(|error| error.to_string())
    }

    #[test]
    fn a_line_that_a_crash_cut_short_is_counted_and_what_follows_is_read() {
        assert_eq!(read(&[HEADER, GAP, ""]), Ok((3, 0)));
        assert_eq!(read(&[HEADER, GAP, "{\"line\":\"deci"]), Ok((3, 1)));
        assert_eq!(read(&[HEADER, "{\"line\":\"deci", HEADER, GAP]), Ok((3, 1)));
    }

    #[test]
    fn a_file_that_is_no_recording_is_named_with_its_line() {
        for lines in [&["no recording"][..], &[HEADER, "{\"line\":\"deci", GAP], &[HEADER, "damaged", "twice"]] {
            let error = read(lines).expect_err("it cannot be read");
            assert!(error.contains("line ") && error.contains("decisions.jsonl"), "{error}");
        }
    }
}
