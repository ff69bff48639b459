//! Inference requests: the body of `POST /v2/models/NAME/infer`.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{AXES_MAX, Datatype, TENSORS_MAX, binary, binary::Parts, elements};
use crate::error::{Error, Fault};

/// A value of a `parameters` object.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Parameter {
    /// `true` or `false`.
    Boolean(bool),
    /// A whole number.
    Integer(i64),
    /// Any other number.
    Number(f64),
    /// A text.
    Text(String),
}

/// A `parameters` object.
pub type Parameters = BTreeMap<String, Parameter>;

/// A tensor with its name. The bytes are little endian, row major, and fit shape and datatype.
#[derive(Clone, PartialEq, Debug)]
pub struct Tensor {
    /// The name of the input or output.
    pub name: String,
    /// What its elements are.
    pub datatype: Datatype,
    /// Its shape; empty for a scalar.
    pub shape: Vec<usize>,
    /// Its elements.
    pub data: Bytes,
}

/// An output that a request names.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RequestedOutput {
    /// Its name.
    pub name: String,
    /// Whether it should come as binary data; without it, what the request says.
    pub binary: Option<bool>,
    /// Answer with this many best classes instead of the tensor.
    pub classification: Option<u32>,
}

/// An inference request.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Request {
    /// Echoed in the answer.
    pub id: Option<String>,
    /// Parameters of the request.
    pub parameters: Parameters,
    /// The tensors to compute with.
    pub inputs: Vec<Tensor>,
    /// What is asked for; empty for everything.
    pub outputs: Vec<RequestedOutput>,
}

/// What a body may be.
#[derive(Clone, PartialEq, Debug)]
pub enum Body {
    /// A request.
    Request(Request),
    /// The bytes of the only input, when the length header is 0.
    Raw(Bytes),
}

impl Body {
    /// Reads a body. `header_length` is the value of the length header, if it was sent.
    pub fn parse(body: &Bytes, header_length: Option<usize>) -> Result<Self, Error> {
        if header_length == Some(0) {
            return Ok(Self::Raw(body.clone()));
        }
        Ok(Self::Request(Request::parse(Parts::split(body, header_length)?)?))
    }
}

impl Request {
    /// Reads a request in its two parts.
    pub fn parse(parts: Parts) -> Result<Self, Error> {
        let json = parts.json.clone();
        with_named_elements(&json, |json| Self::read(json, parts.clone()))
    }

    /// Whether outputs come as binary data unless they say otherwise.
    pub fn binary_output(&self) -> bool {
        self.parameters.get("binary_data_output") == Some(&Parameter::Boolean(true))
    }

    fn read(json: &[u8], mut parts: Parts) -> Result<Self, Error> {
        let raw: RawRequest<'_> = from_json("the request", json)?;
        check_count("inputs", raw.inputs.len())?;
        check_count("outputs", raw.outputs.len())?;
        let inputs = raw.inputs.into_iter().map(|input| input.tensor(&mut parts)).collect::<Result<Vec<_>, _>>()?;
        parts.finish()?;
        let outputs = raw.outputs.into_iter().map(RawOutput::requested).collect::<Result<Vec<_>, _>>()?;
        check_names("input", inputs.iter().map(|tensor| tensor.name.as_str()))?;
        check_names("output", outputs.iter().map(|output| output.name.as_str()))?;
        boolean(&raw.parameters, "the request", "binary_data_output")?;
        Ok(Self { id: raw.id, parameters: raw.parameters, inputs, outputs })
    }
}

#[derive(Deserialize)]
struct RawRequest<'a> {
    id: Option<String>,
    #[serde(default)]
    parameters: Parameters,
    #[serde(borrow)]
    inputs: Vec<RawTensor<'a>>,
    #[serde(default)]
    outputs: Vec<RawOutput>,
}

#[derive(Deserialize)]
struct RawOutput {
    name: String,
    #[serde(default)]
    parameters: Parameters,
}

/// A tensor as it stands in the JSON of a request or an answer.
#[derive(Deserialize)]
pub(super) struct RawTensor<'a> {
    name: String,
    datatype: String,
    shape: Vec<i64>,
    #[serde(default)]
    parameters: Parameters,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

impl RawOutput {
    fn requested(self) -> Result<RequestedOutput, Error> {
        let owner = format!("output `{}`", self.name);
        let binary = boolean(&self.parameters, &owner, "binary_data")?;
        let classification = count(&self.parameters, &owner, "classification")?;
        let classification = classification.map(|count| u32::try_from(count).unwrap_or(u32::MAX)).filter(|&count| count > 0);
        Ok(RequestedOutput { name: self.name, binary, classification })
    }
}

impl RawTensor<'_> {
    /// Whether its bytes are behind the JSON.
    pub(super) fn is_binary(&self) -> bool {
        self.data.is_none()
    }

    /// Checks shape and data and takes the bytes, from JSON or from the binary part.
    pub(super) fn tensor(self, parts: &mut Parts) -> Result<Tensor, Error> {
        let datatype = Datatype::parse(&self.datatype)?;
        if self.shape.len() > AXES_MAX {
            return Err(Fault::TooMany { what: "axes of a shape", count: self.shape.len(), max: AXES_MAX }.into());
        }
        let length = |&value: &i64| usize::try_from(value).map_err(|_| Fault::Dimension { tensor: self.name.clone(), value });
        let shape = self.shape.iter().map(length).collect::<Result<Vec<_>, _>>()?;
        let too_large = || Fault::ShapeTooLarge { tensor: self.name.clone(), shape: shape.clone() };
        let elements = shape.iter().try_fold(1usize, |product, &length| product.checked_mul(length)).ok_or_else(too_large)?;
        let size = count(&self.parameters, &format!("`{}`", self.name), "binary_data_size")?;
        let data = match (size, self.data) {
            (Some(_), Some(_)) => return Err(Fault::TwoData { tensor: self.name }.into()),
            (None, None) => return Err(Fault::NoData { tensor: self.name }.into()),
            (None, Some(json)) => elements::read(&self.name, datatype, &shape, elements, json.get())?.into(),
            (Some(size), None) => {
                let data = parts.take(&self.name, size)?;
                binary::check(&self.name, datatype, &shape, elements, &data)?;
                data
            }
        };
        Ok(Tensor { name: self.name, datatype, shape, data })
    }
}

/// The elements of a `BYTES` tensor.
pub fn text_elements(mut data: &[u8]) -> Vec<&[u8]> {
    let mut texts = Vec::new();
    while let Some((length, rest)) = data.split_first_chunk::<4>() {
        let Some((text, rest)) = rest.split_at_checked(u32::from_le_bytes(*length) as usize) else { break };
        texts.push(text);
        data = rest;
    }
    texts
}

pub(super) fn check_count(what: &'static str, count: usize) -> Result<(), Error> {
    if count <= TENSORS_MAX { Ok(()) } else { Err(Fault::TooMany { what, count, max: TENSORS_MAX }.into()) }
}

fn check_names<'a>(what: &'static str, names: impl Iterator<Item = &'a str>) -> Result<(), Error> {
    let mut seen = BTreeSet::new();
    for name in names {
        if !seen.insert(name) {
            return Err(Fault::Twice { what, name: name.to_owned() }.into());
        }
    }
    Ok(())
}

fn wrong(owner: &str, name: &'static str, found: &Parameter, expected: &'static str) -> Error {
    let found = serde_json::to_string(found).unwrap_or_default().chars().take(40).collect();
    Fault::Parameter { owner: owner.to_owned(), name, found, expected }.into()
}

fn boolean(parameters: &Parameters, owner: &str, name: &'static str) -> Result<Option<bool>, Error> {
    match parameters.get(name) {
        None => Ok(None),
        Some(Parameter::Boolean(value)) => Ok(Some(*value)),
        Some(other) => Err(wrong(owner, name, other, "true or false")),
    }
}

fn count(parameters: &Parameters, owner: &str, name: &'static str) -> Result<Option<usize>, Error> {
    let expected = "a whole number, 0 or more";
    match parameters.get(name) {
        None => Ok(None),
        Some(found @ Parameter::Integer(value)) => usize::try_from(*value).map(Some).map_err(|_| wrong(owner, name, found, expected)),
        Some(other) => Err(wrong(owner, name, other, expected)),
    }
}

pub(super) fn from_json<'a, T: Deserialize<'a>>(what: &'static str, json: &'a [u8]) -> Result<T, Error> {
    serde_json::from_slice(json).map_err(|error| Fault::Json { what, detail: error.to_string() }.into())
}

/// Reads JSON; where it fails over `NaN` or `Infinity`, which JSON does not have, it reads once more with `null` in their place,
/// so that the error names the tensor and the element instead of a column.
pub(super) fn with_named_elements<T>(json: &[u8], read: impl Fn(&[u8]) -> Result<T, Error>) -> Result<T, Error> {
    let error = match read(json) {
        Err(error) if matches!(error.fault(), Fault::Json { .. }) => error,
        done => return done,
    };
    let named = nulled(json).and_then(|json| read(&json).err());
    match named.as_ref().map(Error::fault) {
        Some(Fault::Element { tensor, index, datatype, problem, .. }) => {
            let text = "NaN, infinite or null".to_owned();
            Err(Fault::Element { tensor: tensor.clone(), index: *index, text, datatype: *datatype, problem: *problem }.into())
        }
        _ => Err(error),
    }
}

/// The JSON with `null` for each `NaN`, `Infinity` and `-Infinity` outside texts, if there is any.
fn nulled(json: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(json.len());
    let (mut at, mut quoted, mut found) = (0, false, false);
    while let Some(&byte) = json.get(at) {
        let rest = json.get(at..).unwrap_or_default();
        let word = [&b"NaN"[..], b"-NaN", b"-Infinity", b"Infinity"].into_iter().find(|word| !quoted && rest.starts_with(word));
        if let Some(word) = word {
            out.extend_from_slice(b"null");
            at += word.len();
            found = true;
            continue;
        }
        let step = if quoted && byte == b'\\' { 2 } else { 1 };
        quoted ^= byte == b'"';
        out.extend_from_slice(rest.get(..step).unwrap_or(rest));
        at += step;
    }
    found.then_some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str) -> Result<Request, String> {
        match Body::parse(&Bytes::copy_from_slice(json.as_bytes()), None) {
            Ok(Body::Request(request)) => Ok(request),
            Ok(Body::Raw(_)) => Err("raw".into()),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn a_request_keeps_all_that_it_says() {
        let request = parse(
            r#"{"id":"7","parameters":{"priority":2,"binary_data_output":true,"name":"x"},
                "inputs":[{"name":"x","shape":[1,2],"datatype":"INT32","data":[[1,-2]]}],
                "outputs":[{"name":"y","parameters":{"classification":3,"binary_data":false}}]}"#,
        )
        .expect("a request as the protocol has it");
        assert_eq!(request.id.as_deref(), Some("7"));
        assert!(request.binary_output());
        assert_eq!(request.parameters.get("priority"), Some(&Parameter::Integer(2)));
        assert_eq!(
            request.inputs,
            [Tensor { name: "x".into(), datatype: Datatype::Int32, shape: vec![1, 2], data: Bytes::from_static(&[1, 0, 0, 0, 254, 255, 255, 255]) }]
        );
        assert_eq!(request.outputs, [RequestedOutput { name: "y".into(), binary: Some(false), classification: Some(3) }]);
    }

    #[test]
    fn what_is_wrong_with_a_request_is_named() {
        let cases = [
            (
                r#"{"inputs":[{"name":"x","shape":[2],"datatype":"FP32","data":[1,NaN]}]}"#,
                "`x` is FP32, but its element 1 is NaN, infinite or null, which JSON has no number for; binary data can hold it",
            ),
            (r#"{"inputs":[{"name":"x","shape":[-1],"datatype":"FP32","data":[1]}]}"#, "`x`: its shape holds -1, a length must be 0 or more"),
            (r#"{"inputs":[{"name":"x","shape":[1],"datatype":"FP32"}]}"#, "`x` has neither `data` nor the parameter `binary_data_size`"),
            (
                r#"{"inputs":[{"name":"x","shape":[1],"datatype":"FP32","parameters":{"binary_data_size":4}}]}"#,
                "`x` needs 4 bytes of binary data, there are 0 left",
            ),
            (
                r#"{"inputs":[{"name":"x","shape":[1],"datatype":"FP32","parameters":{"binary_data_size":-4}}]}"#,
                "`x`: parameter `binary_data_size` is -4, it must be a whole number, 0 or more",
            ),
            (
                r#"{"inputs":[{"name":"x","shape":[1],"datatype":"FP32","data":[1]},{"name":"x","shape":[1],"datatype":"FP32","data":[1]}]}"#,
                "input `x` is there twice",
            ),
            (r#"{"inputs":[],"outputs":[{"name":"y","parameters":{"binary_data":1}}]}"#, "output `y`: parameter `binary_data` is 1, it must be true or false"),
        ];
        for (json, message) in cases {
            assert_eq!(parse(json), Err(message.to_owned()), "{json}");
        }
        assert!(parse("{}").expect_err("no inputs").contains("missing field `inputs`"));
        assert!(parse("[1").is_err());
        assert!(parse(r#"{"inputs":[{"name":"NaN","shape":[1],"datatype":"FP32","data":[1]}]}"#).is_ok());
        let huge = format!(r#"{{"inputs":[{{"name":"x","shape":[{0},{0}],"datatype":"FP32","data":[]}}]}}"#, i64::MAX);
        assert!(parse(&huge).expect_err("cannot be counted").contains("more elements than can be counted"));
    }

    #[test]
    fn binary_tensors_are_taken_in_order_and_nothing_may_be_left() {
        let json = br#"{"inputs":[{"name":"a","shape":[1],"datatype":"UINT16","parameters":{"binary_data_size":2}},{"name":"b","shape":[1],"datatype":"UINT8","parameters":{"binary_data_size":1}}]}"#;
        let body = |binary: &[u8]| Bytes::from([json.as_slice(), binary].concat());
        let Ok(Body::Request(request)) = Body::parse(&body(&[1, 2, 3]), Some(json.len())) else { panic!("three bytes are right") };
        assert_eq!(request.inputs.iter().map(|input| input.data.to_vec()).collect::<Vec<_>>(), [vec![1, 2], vec![3]]);
        let error = Body::parse(&body(&[1, 2, 3, 4]), Some(json.len())).expect_err("one byte too many");
        assert_eq!(error.to_string(), "the tensors take 3 bytes of binary data, but 4 were sent");
        assert_eq!(Body::parse(&Bytes::from_static(&[9, 9]), Some(0)), Ok(Body::Raw(Bytes::from_static(&[9, 9]))));
    }
}
