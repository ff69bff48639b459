//! Constant load on the model `digits`: clients that ask about one picture after another, know each answer by its id, and hold its
//! label against the one that the model gave when nothing was wrong.

use std::{
    fs, io,
    net::TcpStream,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::http::Connection;

/// How long a client listens, when all is over, for an answer that it has had already.
const LISTEN: Duration = Duration::from_millis(200);

/// A picture of a digit.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Picture {
    /// The digit, as its file is called.
    pub digit: String,
    /// What the model says that it is; empty until it was asked.
    pub label: String,
    file: Vec<u8>,
}

/// How clients ask.
#[derive(Clone, Copy, Debug)]
pub struct Asking<'a> {
    /// The HTTP door, `127.0.0.1:PORT`.
    pub door: &'a str,
    /// What they ask about, one after another, each client from another one on.
    pub pictures: &'a [Picture],
    /// From one request of a client to its next, unless its answer takes longer.
    pub every: Duration,
    /// Set when they shall stop.
    pub over: &'a AtomicBool,
}

/// What a client saw. Each of its requests is in exactly one of the first three.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// When a request that was answered rightly was sent, and when its answer was there; in this order.
    pub right: Vec<(Instant, Instant)>,
    /// Requests that got no answer, or an error, and what was said.
    pub lost: Vec<String>,
    /// Requests whose answer has another label than before, and both.
    pub wrong: Vec<String>,
    /// Answers that nobody waited for: to a request that had its answer, or to another client's.
    pub unasked: Vec<String>,
}

impl Seen {
    /// How many requests were sent.
    pub fn requests(&self) -> usize {
        self.right.len() + self.lost.len() + self.wrong.len()
    }

    /// Whether every request was answered rightly, once.
    pub fn is_sound(&self) -> bool {
        self.lost.is_empty() && self.wrong.is_empty() && self.unasked.is_empty()
    }
}

/// The pictures of a folder, in the order of their names, which are such as `017_3.png`.
pub fn read(folder: &Path) -> io::Result<Vec<Picture>> {
    let mut files = fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<Vec<_>>>()?;
    files.sort();
    files.iter().map(|file| picture(file)).collect()
}

fn picture(path: &Path) -> io::Result<Picture> {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let digit = stem.split_once('_').map_or("", |(_, digit)| digit).to_owned();
    Ok(Picture { digit, label: String::new(), file: fs::read(path)? })
}

/// Asks about each picture once and notes what the model says.
pub fn learn(door: &str, pictures: &mut [Picture]) -> Result<(), String> {
    let mut held = None;
    for (index, picture) in pictures.iter_mut().enumerate() {
        (_, picture.label) = asked(&mut held, door, &format!("first-{index}"), picture)?;
    }
    Ok(())
}

/// Asks until it is over. `number` tells clients apart.
pub fn client(asking: Asking<'_>, number: usize) -> Seen {
    let (mut seen, mut held, mut due) = (Seen::default(), None, Instant::now());
    // The first pictures of clients lie apart, so that at any moment they ask about different ones.
    let pictures = asking.pictures.iter().cycle().skip(number * 17);
    for (count, picture) in pictures.enumerate() {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        if asking.over.load(Ordering::Relaxed) {
            break;
        }
        let (id, sent) = (format!("{number}-{count}"), Instant::now());
        due = sent + asking.every;
        match asked(&mut held, asking.door, &id, picture) {
            Ok((found, _)) if found != id => {
                seen.unasked.push(format!("an answer to {found} came for {id}"));
                seen.lost.push(format!("{id}: it got the answer to {found}"));
                held = None;
            }
            Ok((_, label)) if label != picture.label => seen.wrong.push(format!("{id}: `{label}`, and `{}` before", picture.label)),
            Ok(_) => seen.right.push((sent, Instant::now())),
            Err(reason) => seen.lost.push(format!("{id}: {reason}")),
        }
    }
    // A connection that ends here has nothing more to say.
    if held.is_some_and(|mut connection: Connection<TcpStream>| connection.says_more(LISTEN).unwrap_or(false)) {
        seen.unasked.push(format!("something came to client {number} after its last answer"));
    }
    seen
}

/// The id and the label of an answer. A connection that failed is not used again.
fn asked(held: &mut Option<Connection<TcpStream>>, door: &str, id: &str, picture: &Picture) -> Result<(String, String), String> {
    let mut connection = match held.take() {
        Some(connection) => connection,
        None => Connection::to_door(door).map_err(|error| error.to_string())?,
    };
    let path = format!("/v2/models/digits/infer?classification=1&id={id}");
    let answer = connection.post(&path, &[("content-type", "image/png")], &picture.file).map_err(|error| error.to_string())?;
    let answer: Value = answer.json()?;
    *held = Some(connection);
    // `score:index:label`
    let class = answer["outputs"][0]["data"][0].as_str().unwrap_or_default();
    let label = class.splitn(3, ':').nth(2).ok_or_else(|| format!("no class in {answer}"))?;
    Ok((answer["id"].as_str().unwrap_or_default().to_owned(), label.to_owned()))
}
