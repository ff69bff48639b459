//! The requests of a fleet: drawn, or read from a trace. A trace is JSON lines, `{"at_ms": 12.5}` with `model`, `priority` and
//! `input_bytes` where they matter, or what `host run --record` wrote with a plugin in its `queueing` slot: then each `admit` is a
//! request.

use std::{
    fs::File,
    io::{BufRead, BufReader},
    ops::RangeInclusive,
    path::{Path, PathBuf},
};

use host_core::{
    ids::ModelName,
    simulate::{Arrivals, FleetModel, RecordedRequest, Traffic},
    units::{Bytes, Millis},
};
use host_wire::recording::{Line, Question};
use serde_json::Value;

use super::fleet::{TIME_MS, beside, model_name};
use crate::{
    config::Section,
    error::{Error, Fault},
};

const PER_S: RangeInclusive<f64> = 1e-6..=1e7;
const MEAN_MS: RangeInclusive<f64> = 1.0..=31_536_000_000.0;
const RATIO: RangeInclusive<f64> = 0.0..=1.0;
/// Most priorities that a host tells apart.
const PRIORITIES: RangeInclusive<u64> = 1..=1_000;
/// As `requests.timeout_ms` and `requests.priority_default` of a host.
const DEADLINE: Millis = Millis(30_000.0);
const PRIORITY: u64 = 2;
/// Longest line of a trace.
const LINES_MAX: usize = 100_000_000;

/// When requests come.
#[derive(Clone, PartialEq, Debug)]
enum Kind {
    Drawn(Arrivals),
    Trace(PathBuf),
}

/// A stream of requests as a fleet names it.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct TrafficSource {
    model: Option<ModelName>,
    class: u32,
    kind: Kind,
    deadline: Millis,
    exclusive_ratio: f64,
    sequences: u32,
}

/// Reads one entry of `traffic`.
pub(super) fn described(section: &mut Section<'_>) -> TrafficSource {
    let kind = kind(section);
    TrafficSource {
        kind,
        model: model_name(section, "model"),
        class: section.whole("priority", PRIORITIES).map_or(class_of(PRIORITY), class_of),
        deadline: section.number("deadline_ms", MEAN_MS).map_or(DEADLINE, Millis),
        exclusive_ratio: section.number("exclusive_ratio", RATIO).unwrap_or(0.0),
        sequences: section.whole("sequences", 0..=1 << 30).map_or(0, |count| u32::try_from(count).unwrap_or(0)),
    }
}

fn kind(section: &mut Section<'_>) -> Kind {
    let words = ["poisson", "regular", "bursts", "closed", "trace"].map(|word| (word, word));
    let word = section.choice("arrivals", &words).unwrap_or("poisson");
    Kind::Drawn(match word {
        "regular" => Arrivals::Regular { per_s: section.needed("per_s", PER_S) },
        "bursts" => Arrivals::Bursts {
            per_s: section.needed("per_s", PER_S),
            burst_per_s: section.needed("burst_per_s", PER_S),
            calm: Millis(section.needed("calm_ms", MEAN_MS)),
            burst: Millis(section.needed("burst_ms", MEAN_MS)),
        },
        "closed" => Arrivals::Closed {
            clients: section.whole("clients", 1..=1_000_000).map_or(1, |clients| u32::try_from(clients).unwrap_or(1)),
            think: Millis(section.number("think_ms", TIME_MS).unwrap_or(0.0)),
        },
        "trace" => match section.text("file") {
            Some(file) => return Kind::Trace(PathBuf::from(file)),
            None => {
                section.fault("file", &"missing", "it must name the trace");
                Arrivals::Recorded(Vec::new().into())
            }
        },
        _ => Arrivals::Poisson { per_s: section.needed("per_s", PER_S) },
    })
}

fn class_of(priority: u64) -> u32 {
    u32::try_from(priority - 1).unwrap_or(u32::MAX)
}

impl TrafficSource {
    /// Requests of a trace in place of what a fleet says.
    pub(super) fn of_trace(file: PathBuf) -> Self {
        Self { model: None, class: class_of(PRIORITY), kind: Kind::Trace(file), deadline: DEADLINE, exclusive_ratio: 0.0, sequences: 0 }
    }

    /// The stream, with its model found and its trace read. Paths are relative to the folder of `fleet`.
    pub(super) fn load(&self, fleet: &Path, models: &[FleetModel]) -> Result<Traffic, Error> {
        let model = self.model.as_ref().map_or(Ok(0), |name| index_of(name.as_str(), models))?;
        let arrivals = match &self.kind {
            Kind::Drawn(arrivals) => arrivals.clone(),
            Kind::Trace(file) => Arrivals::Recorded(read(&beside(fleet, file), model, self.class, models)?.into()),
        };
        let Self { class, deadline, exclusive_ratio, sequences, .. } = *self;
        Ok(Traffic { model, class, arrivals, deadline, exclusive_ratio, sequences })
    }
}

fn index_of(name: &str, models: &[FleetModel]) -> Result<usize, Error> {
    let known = || models.iter().map(|model| model.profile.id().name.as_str()).collect::<Vec<_>>().join(", ");
    let index = models.iter().position(|model| model.profile.id().name.as_str() == name);
    index.ok_or_else(|| Fault::Unknown { what: "model", name: name.to_owned(), known: known() }.into())
}

/// The requests of a trace in order of time, the first at once.
fn read(path: &Path, model: usize, class: u32, models: &[FleetModel]) -> Result<Vec<RecordedRequest>, Error> {
    let fault = |error: std::io::Error| Error::from(Fault::File { doing: "read", path: path.display().to_string() }).because(error);
    let mut requests = Vec::new();
    for (number, line) in (1_u64..).zip(BufReader::new(File::open(path).map_err(fault)?).lines().take(LINES_MAX)) {
        let line = line.map_err(fault)?;
        if line.trim().is_empty() {
            continue;
        }
        let wrong = |reason: String| Error::from(Fault::Config { faults: vec![format!("{}: line {number}: {reason}", path.display())] });
        requests.extend(request(&line, model, class, models).map_err(wrong)?);
    }
    requests.sort_by(|one, other| one.at.0.total_cmp(&other.at.0));
    let first = requests.first().map_or(Millis::ZERO, |request| request.at);
    requests.iter_mut().for_each(|request| request.at = request.at - first);
    Ok(requests)
}

/// What one line says; none for what is no request, in a recording of a host.
fn request(line: &str, model: usize, class: u32, models: &[FleetModel]) -> Result<Option<RecordedRequest>, String> {
    let value: Value = serde_json::from_str(line).map_err(|error| error.to_string())?;
    if value.get("line").is_some() {
        let recorded: Line = serde_json::from_str(line).map_err(|error| error.to_string())?;
        return Ok(match recorded {
            Line::Decision(decision) => match decision.question {
                Question::Admit { arrival } => Some(RecordedRequest { at: arrival.now_ms.into(), model, class: arrival.class, input: None }),
                _ => None,
            },
            _ => None,
        });
    }
    let number = |key: &str| value.get(key).map(|found| found.as_f64().ok_or_else(|| format!("{key} is {found}, it must be a number"))).transpose();
    let at = number("at_ms")?.filter(|at| TIME_MS.contains(at)).ok_or_else(|| format!("at_ms must be a number from 0 to {}", TIME_MS.end()))?;
    let named = value.get("model").and_then(Value::as_str).map(|name| index_of(name, models).map_err(|error| error.to_string())).transpose()?;
    let stated = value.get("priority").and_then(Value::as_u64).filter(|priority| PRIORITIES.contains(priority)).map(class_of);
    let input = value.get("input_bytes").and_then(Value::as_u64).map(Bytes);
    Ok(Some(RecordedRequest { at: Millis(at), model: named.unwrap_or(model), class: stated.unwrap_or(class), input }))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use host_core::{
        ids::ModelId,
        model::{Block, ModelProfile},
        problem::Placement,
    };

    use super::*;

    fn models() -> Vec<FleetModel> {
        let model = |name: &str| {
            let id = ModelId { name: ModelName::parse(name).expect("a name"), version: 1 };
            let profile = ModelProfile::new(id, vec![Block::default()], Vec::new(), Bytes(8)).expect("sound");
            FleetModel { profile: Arc::new(profile), placement: Placement::default() }
        };
        vec![model("a"), model("b")]
    }

    #[test]
    fn a_line_of_a_trace_names_a_moment_and_what_else_it_likes() {
        let read = |line: &str| request(line, 0, 1, &models());
        let plain = RecordedRequest { at: Millis(2.5), model: 0, class: 1, input: None };
        assert_eq!(read(r#"{"at_ms": 2.5}"#), Ok(Some(plain)));
        let full = RecordedRequest { model: 1, class: 0, input: Some(Bytes(9)), ..plain };
        assert_eq!(read(r#"{"at_ms": 2.5, "model": "b", "priority": 1, "input_bytes": 9}"#), Ok(Some(full)));
        for (line, reason) in [
            (r#"{"at_ms": -1}"#, "at_ms must be a number from 0"),
            (r#"{"at_ms": "soon"}"#, "at_ms is \"soon\", it must be a number"),
            ("{}", "at_ms must be a number"),
            ("no json", "expected"),
        ] {
            let error = read(line).expect_err(line);
            assert!(error.contains(reason), "{error}");
        }
        assert!(read(r#"{"at_ms": 1, "model": "c"}"#).is_err(), "there is no such model");
    }

    #[test]
    fn what_a_host_recorded_is_a_trace_of_its_arrivals() {
        let arrival = r#"{"ordinal":0,"class":2,"now_ms":71.25,"deadline_ms":5.0,"expected_ms":1.0,"classes":[[0,0.0]],"depth_max":4}"#;
        let question = format!(r#"{{"kind":"admit","arrival":{arrival}}}"#);
        let head = r#""line":"decision","ordinal":0,"slot":"queueing","plugin":"p","generation":1,"digest":"00""#;
        let line = format!(r#"{{{head},"question":{question},"answer":{{"kind":"rank","rank":0.5}}}}"#);
        let request = request(&line, 0, 1, &models()).expect("a line of a recording");
        assert_eq!(request, Some(RecordedRequest { at: Millis(71.25), model: 0, class: 2, input: None }));
    }
}
