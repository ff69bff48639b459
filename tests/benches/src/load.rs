//! Requests with a picture as a tensor, one at a time or so many at once without pause.

use std::{
    io,
    net::TcpStream,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use serde_json::json;

use crate::http::{Answer, Connection};

/// The header that says how many bytes of a body are JSON.
const LENGTH_HEADER: &str = "inference-header-content-length";

/// A request for a model that takes one picture of three channels and gives one tensor of floats. It goes out and comes back in
/// the binary form of the protocol.
#[derive(Clone, Debug)]
pub struct PictureRequest {
    path: String,
    json_bytes: String,
    body: Vec<u8>,
}

/// How many were answered, and in what time.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Answered {
    /// Requests.
    pub requests: u64,
    /// Time that they were counted for.
    pub seconds: f64,
}

impl Answered {
    /// Requests per second.
    pub fn per_second(&self) -> f64 {
        self.requests as f64 / self.seconds
    }
}

impl PictureRequest {
    /// Of a square picture; the same in each run.
    pub fn new(model: &str, pixels: usize) -> Self {
        let count = 3 * pixels * pixels;
        let tensor: Vec<u8> = (0..count).flat_map(|index| ((index % 255) as f32 / 255.0).to_le_bytes()).collect();
        let input = json!({ "name": "input", "shape": [1, 3, pixels, pixels], "datatype": "FP32", "parameters": { "binary_data_size": tensor.len() } });
        let head = json!({ "inputs": [input], "parameters": { "binary_data_output": true } }).to_string();
        let body = [head.as_bytes(), &tensor].concat();
        Self { path: format!("/v2/models/{model}/infer"), json_bytes: head.len().to_string(), body }
    }

    /// Asks and waits for the output.
    pub fn ask(&self, connection: &mut Connection<TcpStream>) -> Result<Vec<f32>, String> {
        let headers = [("content-type", "application/octet-stream"), (LENGTH_HEADER, self.json_bytes.as_str())];
        let answer = connection.post(&self.path, &headers, &self.body).map_err(|error: io::Error| error.to_string())?;
        output(&answer)
    }

    /// Keeps so many requests in flight, and counts for the length of `window`, after `warm_up`, those that are answered. Every
    /// answer must pass `check`.
    pub fn keep_in_flight(
        &self,
        door: &str,
        at_once: usize,
        [warm_up, window]: [Duration; 2],
        check: impl Fn(&[f32]) -> Result<(), String> + Sync,
    ) -> Result<Answered, String> {
        let (over, answered) = (AtomicBool::new(false), AtomicU64::new(0));
        let client = || -> Result<(), String> {
            let mut connection = Connection::to_door(door).map_err(|error| error.to_string())?;
            while !over.load(Ordering::Relaxed) {
                check(&self.ask(&mut connection)?)?;
                answered.fetch_add(1, Ordering::Relaxed);
            }
            Ok(())
        };
        thread::scope(|scope| {
            let clients: Vec<_> = (0..at_once).map(|_| scope.spawn(client)).collect();
            thread::sleep(warm_up);
            let (before, started) = (answered.load(Ordering::Relaxed), Instant::now());
            thread::sleep(window);
            let (after, seconds) = (answered.load(Ordering::Relaxed), started.elapsed().as_secs_f64());
            over.store(true, Ordering::Relaxed);
            for client in clients {
                client.join().map_err(|_| "a client's thread failed".to_owned())??;
            }
            Ok(Answered { requests: after - before, seconds })
        })
    }
}

/// The floats behind the JSON of an answer.
fn output(answer: &Answer) -> Result<Vec<f32>, String> {
    let said = || format!("status {}: {}", answer.status, String::from_utf8_lossy(&answer.body));
    let length: usize = answer.header(LENGTH_HEADER).and_then(|length| length.parse().ok()).filter(|_| answer.status == 200).ok_or_else(said)?;
    let tensor = answer.body.get(length..).ok_or_else(said)?;
    Ok(tensor.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect())
}

/// How far two outputs lie apart, as a part of the largest value of the first; infinite where their lengths differ.
pub fn difference(one: &[f32], other: &[f32]) -> f64 {
    if one.len() != other.len() {
        return f64::INFINITY;
    }
    let largest = one.iter().fold(0.0, |largest: f64, value| largest.max(f64::from(value.abs())));
    let apart = one.iter().zip(other).map(|(one, other)| f64::from((one - other).abs()));
    apart.fold(0.0, f64::max) / largest.max(f64::MIN_POSITIVE)
}
