//! A client of a host's HTTP door and of its admin socket: one connection that stays open, and no more work for a request than to
//! write it and to read its answer, so that a measurement hardly measures the client.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::TcpStream,
    os::unix::net::UnixStream,
    path::Path,
    time::Duration,
};

use serde::de::DeserializeOwned;

/// A connection on which nothing comes for so long is given up; no request may take as long.
const SILENCE_MAX: Duration = Duration::from_secs(120);
/// Bodies up to this size go out together with their head.
const TOGETHER_BYTES_MAX: usize = 16 << 10;

/// A connection to a host, for one request after another.
#[derive(Debug)]
pub struct Connection<S> {
    requests: S,
    answers: BufReader<S>,
}

/// What a host answered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// By name, in small letters.
    headers: Vec<(String, String)>,
    /// Its body.
    pub body: Vec<u8>,
}

impl Connection<TcpStream> {
    /// To the HTTP door at `127.0.0.1:PORT`.
    pub fn to_door(address: &str) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(SILENCE_MAX))?;
        Ok(Self { requests: stream.try_clone()?, answers: BufReader::new(stream) })
    }

    /// Whether the host says anything that nobody asked for within this time.
    pub fn says_more(&mut self, within: Duration) -> io::Result<bool> {
        self.requests.set_read_timeout(Some(within))?;
        let more = match self.answers.fill_buf() {
            Ok(bytes) => Ok(!bytes.is_empty()),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => Ok(false),
            Err(error) => Err(error),
        };
        self.requests.set_read_timeout(Some(SILENCE_MAX))?;
        more
    }
}

impl Connection<UnixStream> {
    /// To the admin socket of the host with this data directory.
    pub fn to_admin(data: &Path) -> io::Result<Self> {
        let stream = UnixStream::connect(data.join("admin.sock"))?;
        stream.set_read_timeout(Some(SILENCE_MAX))?;
        Ok(Self { requests: stream.try_clone()?, answers: BufReader::new(stream) })
    }

    /// What the host says about something, such as `/devices`.
    pub fn look<T: DeserializeOwned>(&mut self, path: &str) -> Result<T, String> {
        self.get(path)?.json()
    }

    /// The same of something that is no JSON.
    pub fn text(&mut self, path: &str) -> Result<String, String> {
        Ok(String::from_utf8_lossy(&self.get(path)?.body).into_owned())
    }

    fn get(&mut self, path: &str) -> Result<Answer, String> {
        self.ask("GET", path, &[], &[]).map_err(|error| format!("{path}: {error}"))
    }
}

impl<S: Read + Write> Connection<S> {
    /// Posts a body and waits for the answer.
    pub fn post(&mut self, path: &str, headers: &[(&str, &str)], body: &[u8]) -> io::Result<Answer> {
        self.ask("POST", path, headers, body)
    }

    fn ask(&mut self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> io::Result<Answer> {
        let mut head = format!("{method} {path} HTTP/1.1\r\nhost: host\r\ncontent-length: {}\r\n", body.len());
        for (name, value) in headers {
            head += &format!("{name}: {value}\r\n");
        }
        head += "\r\n";
        let mut bytes = head.into_bytes();
        if body.len() <= TOGETHER_BYTES_MAX {
            bytes.extend_from_slice(body);
            self.requests.write_all(&bytes)?;
        } else {
            self.requests.write_all(&bytes)?;
            self.requests.write_all(body)?;
        }
        Answer::read(&mut self.answers)
    }
}

impl Answer {
    fn read(stream: &mut impl BufRead) -> io::Result<Self> {
        let malformed = |line: &str| io::Error::new(io::ErrorKind::InvalidData, format!("`{line}` is no status line"));
        let first = line(stream)?;
        let status = first.split(' ').nth(1).and_then(|word| word.parse().ok()).ok_or_else(|| malformed(&first))?;
        let mut headers = Vec::new();
        while let Some((name, value)) = line(stream)?.split_once(':') {
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        let mut answer = Self { status, headers, body: Vec::new() };
        let length = answer.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
        answer.body.resize(length, 0);
        stream.read_exact(&mut answer.body)?;
        Ok(answer)
    }

    /// The value of a header, named in small letters.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// What the body says in JSON. The error is what the host says instead.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, String> {
        let said = || String::from_utf8_lossy(&self.body).into_owned();
        if self.status != 200 {
            return Err(format!("status {}: {}", self.status, said()));
        }
        serde_json::from_slice(&self.body).map_err(|error| format!("{error} in {}", said()))
    }
}

/// A line without its end. A stream that is over is an error.
fn line(stream: &mut impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    if stream.read_line(&mut line)? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    line.truncate(line.trim_end().len());
    Ok(line)
}
