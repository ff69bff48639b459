//! `POST …/infer`: a body becomes a request, the service answers it, the answer becomes a body. Counted once, at the end.

use std::{collections::hash_map::DefaultHasher, hash::Hasher, sync::Arc, time::Instant};

use axum::{
    body::Body,
    extract::{Path, RawQuery, State},
    http::{HeaderMap, HeaderName, HeaderValue, header},
    response::Response,
};
use bytes::Bytes;
use host_core::{reservations::Access, units::Millis};
use host_engine::Tensor;
use host_wire::oip::{self, Parameter, Parameters, RequestedOutput};

use super::{Door, body, metadata::find, preprocess, render};
use crate::{
    clock,
    error::{Error, Fault},
    metrics::{Metrics, Outcome},
    models::Model,
    request::{Request, Signature},
    telemetry::traces::Trace,
};

/// Says which routing plugin chose the path of an answer.
pub(super) const POLICY_HEADER: HeaderName = HeaderName::from_static("x-host-policy");
/// Names the routing policy that shall choose the path, for clients and bodies that have no parameters.
const ROUTING_HEADER: HeaderName = HeaderName::from_static("x-host-routing");
/// Bodies above this are read on a thread for work that takes long; below, changing threads costs more than reading.
const INLINE_BYTES_MAX: usize = 256 << 10;
/// Content types that are no pictures.
const TYPES: &str = "application/json, application/octet-stream, image/png, image/jpeg";

pub(super) async fn infer(state: State<Door>, Path(name): Path<String>, query: RawQuery, headers: HeaderMap, body: Body) -> Result<Response, Error> {
    let model = find(&state.0, &name, None)?;
    answer(&state.0, model, query, &headers, body).await
}

pub(super) async fn infer_version(
    state: State<Door>,
    Path((name, version)): Path<(String, String)>,
    query: RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Error> {
    let model = find(&state.0, &name, Some(&version))?;
    answer(&state.0, model, query, &headers, body).await
}

async fn answer(door: &Door, model: Arc<Model>, RawQuery(query): RawQuery, headers: &HeaderMap, body: Body) -> Result<Response, Error> {
    let trace = door.traces.request(headers, &model.id);
    let count = Count { metrics: &door.metrics, trace, model: &model, started: clock::now(), outcome: Outcome::Cancelled };
    let done = attempt(door, &count.trace, &model, query.as_deref(), headers, body).await;
    count.done(done.as_ref().map_or_else(Outcome::of, |_| Outcome::Success));
    done
}

async fn attempt(door: &Door, trace: &Trace, model: &Arc<Model>, query: Option<&str>, headers: &HeaderMap, body: Body) -> Result<Response, Error> {
    let form = BodyForm::of(headers)?;
    let stated: oip::InferQuery = if query.is_some() { body::query(query)? } else { oip::InferQuery::default() };
    let body = body::read(body, door.body_bytes_max).await?;
    let asked = match form {
        BodyForm::Picture => picture(door, model.clone(), query, body).await?,
        BodyForm::Protocol { header_length } if body.len() > INLINE_BYTES_MAX => {
            let model = model.clone();
            blocking(move || protocol(&model, &body, header_length)).await?
        }
        BodyForm::Protocol { header_length } => protocol(model, &body, header_length)?,
    };
    let request = asked.request(door, trace, model.clone(), stated, routing_header(headers)?)?;
    let answer = door.service.infer(request).await?;
    let policy = answer.policy.clone();
    trace.policy(&policy);
    let encoded = render::encode(model, &asked, answer)?;
    let mut response = Response::new(Body::from(encoded.body));
    let types = if encoded.header_length.is_some() { "application/octet-stream" } else { "application/json" };
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(types));
    if let Some(length) = encoded.header_length {
        response.headers_mut().insert(HeaderName::from_static(oip::LENGTH_HEADER), HeaderValue::from(length));
    }
    if let Ok(policy) = HeaderValue::from_str(&policy) {
        response.headers_mut().insert(POLICY_HEADER, policy);
    }
    Ok(response)
}

/// What a body asks for, before it is known when it must be answered.
#[derive(Debug, Default)]
pub(super) struct Asked {
    pub id: Option<String>,
    pub inputs: Vec<(String, Tensor)>,
    /// Empty for all.
    pub outputs: Vec<RequestedOutput>,
    pub binary_output: bool,
    parameters: Parameters,
}

impl Asked {
    fn request(&self, door: &Door, trace: &Trace, model: Arc<Model>, query: oip::InferQuery, policy: Option<&str>) -> Result<Request, Error> {
        let fault = |what, reason: &str| Error::from(Fault::Query { what, reason: reason.to_owned() });
        let timeout = match self.parameters.get("timeout") {
            None | Some(Parameter::Integer(0)) => None,
            Some(Parameter::Integer(us)) if *us > 0 => Some(Millis(*us as f64 / 1e3)),
            Some(_) => return Err(fault("parameter `timeout`", "it must be a whole number of microseconds")),
        };
        let priority = match self.parameters.get("priority") {
            None | Some(Parameter::Integer(0)) => None,
            Some(Parameter::Integer(level)) => Some(*level),
            Some(_) => return Err(fault("parameter `priority`", "it must be a whole number")),
        };
        let exclusive = match self.parameters.get("exclusive") {
            None => query.exclusive,
            Some(Parameter::Boolean(exclusive)) => *exclusive || query.exclusive,
            Some(_) => return Err(fault("parameter `exclusive`", "it must be true or false")),
        };
        let policy = match (self.parameters.get("routing"), policy) {
            (None, policy) => policy,
            (Some(Parameter::Text(name)), Some(policy)) if name != policy => {
                return Err(fault("header `x-host-routing`", &format!("it is `{policy}`, but parameter `routing` is `{name}`")));
            }
            (Some(Parameter::Text(name)), _) => Some(name.as_str()),
            (Some(_), _) => return Err(fault("parameter `routing`", "it must be the name of a routing policy")),
        };
        let routing = door.service.routing(&model, policy)?;
        Ok(Request {
            model,
            inputs: self.inputs.clone(),
            deadline: door.service.deadline(timeout),
            class: door.service.class(priority)?,
            access: if exclusive { Access::Exclusive } else { Access::Shared },
            sequence_key: self.parameters.get("sequence_id").map_or(0, sequence_key),
            routing,
            trace: trace.clone(),
        })
    }
}

/// The routing policy that the header names.
fn routing_header(headers: &HeaderMap) -> Result<Option<&str>, Error> {
    let unread = |_| Fault::Query { what: "header `x-host-routing`", reason: "it must be the name of a routing policy".to_owned() };
    Ok(headers.get(ROUTING_HEADER).map(HeaderValue::to_str).transpose().map_err(unread)?)
}

/// How a body is to be read.
enum BodyForm {
    Protocol { header_length: Option<usize> },
    Picture,
}

impl BodyForm {
    fn of(headers: &HeaderMap) -> Result<Self, Error> {
        let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
        let header_length = oip::header_length(text(oip::LENGTH_HEADER))?;
        let stated = text("content-type").unwrap_or("application/json");
        match stated.split(';').next().unwrap_or_default().trim().to_ascii_lowercase().as_str() {
            // What curl sends when nobody says anything.
            "application/json" | "application/octet-stream" | "application/vnd.sagemaker-triton.binary+json" | "application/x-www-form-urlencoded" | "" => {
                Ok(Self::Protocol { header_length })
            }
            "image/png" | "image/jpeg" | "image/jpg" => Ok(Self::Picture),
            _ => Err(Fault::ContentType { found: stated.chars().take(80).collect(), known: TYPES }.into()),
        }
    }
}

fn protocol(model: &Model, body: &Bytes, header_length: Option<usize>) -> Result<Asked, Error> {
    let signature = Signature::of(model);
    match oip::Body::parse(body, header_length)? {
        oip::Body::Raw(data) => Ok(Asked { inputs: signature.raw(data)?, ..Asked::default() }),
        oip::Body::Request(request) => {
            signature.check_outputs(request.outputs.iter().map(|output| output.name.as_str()))?;
            let binary_output = request.binary_output();
            Ok(Asked { id: request.id, inputs: signature.inputs(request.inputs)?, outputs: request.outputs, binary_output, parameters: request.parameters })
        }
    }
}

/// A picture, and in the query how many classes are wanted instead of the tensor.
async fn picture(door: &Door, model: Arc<Model>, query: Option<&str>, body: Bytes) -> Result<Asked, Error> {
    let query: oip::PictureQuery = body::query(query)?;
    let pixels_max = door.image_pixels_max;
    let name = model.outputs.first().map(|spec| spec.name.clone()).unwrap_or_default();
    let outputs = query.classification.map(|count| RequestedOutput { name, binary: None, classification: Some(count) });
    let inputs = blocking(move || {
        let missing = || Error::from(Fault::NoPreprocess { model: model.id.clone() });
        let (Some(steps), Some(spec)) = (&model.manifest.preprocess, model.inputs.first()) else { return Err(missing()) };
        let tensor = preprocess::tensor(steps, spec.element_type, &body, pixels_max)?;
        Signature::of(&model).fitted(&spec.name, tensor)
    });
    Ok(Asked { id: query.id, inputs: inputs.await?, outputs: outputs.into_iter().collect(), ..Asked::default() })
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Error> + Send + 'static) -> Result<T, Error> {
    let failed = |error: tokio::task::JoinError| Error::from(crate::stage_fault::StageFault::Thread { reason: error.to_string() });
    tokio::task::spawn_blocking(work).await.map_err(failed)?
}

/// The key of a sequence that a query names: the same as that of a parameter, whether it is a number there or a text.
pub(super) fn sequence_key_of(text: &str) -> u32 {
    sequence_key(&text.parse::<i64>().map_or_else(|_| Parameter::Text(text.to_owned()), Parameter::Integer))
}

/// Below 2^31; 0 for no sequence, which protocols say with 0 or an empty text.
fn sequence_key(id: &Parameter) -> u32 {
    let mut hasher = DefaultHasher::new();
    match id {
        Parameter::Integer(0) => return 0,
        Parameter::Text(text) if text.is_empty() => return 0,
        Parameter::Integer(number) => hasher.write_i64(*number),
        Parameter::Text(text) => hasher.write(text.as_bytes()),
        Parameter::Number(number) => hasher.write_u64(number.to_bits()),
        Parameter::Boolean(_) => return 0,
    }
    u32::try_from(hasher.finish() % 0x7fff_ffff).map_or(1, |key| key + 1)
}

/// Counts a request when it is over, also when its client goes away.
struct Count<'a> {
    metrics: &'a Metrics,
    trace: Trace,
    model: &'a Model,
    started: Instant,
    outcome: Outcome,
}

impl Count<'_> {
    fn done(mut self, outcome: Outcome) {
        self.outcome = outcome;
    }
}

impl Drop for Count<'_> {
    fn drop(&mut self) {
        self.metrics.request(&self.model.id, self.outcome, self.started.elapsed());
        self.trace.end(self.outcome);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_that_is_no_text_names_no_policy() {
        let mut headers = HeaderMap::new();
        assert!(routing_header(&headers).is_ok_and(|policy| policy.is_none()));
        headers.insert(ROUTING_HEADER, HeaderValue::from_bytes(b"st\xe9cky").expect("bytes that HTTP takes"));
        let error = routing_header(&headers).expect_err("no text").to_string();
        assert_eq!(error, "header `x-host-routing` is not understood: it must be the name of a routing policy");
    }

    #[test]
    fn a_sequence_has_one_key_and_no_sequence_has_none() {
        let text = |text: &str| sequence_key(&Parameter::Text(text.to_owned()));
        assert_eq!([sequence_key(&Parameter::Integer(0)), text(""), sequence_key_of(""), sequence_key_of("0")], [0; 4]);
        assert_eq!((sequence_key_of("7"), sequence_key_of("chat-7")), (sequence_key(&Parameter::Integer(7)), text("chat-7")));
        let keys: std::collections::BTreeSet<u32> = (1..=1_000).map(|id| sequence_key(&Parameter::Integer(id))).collect();
        assert!(keys.len() == 1_000 && keys.iter().all(|key| (1..1 << 31).contains(key)));
    }
}
