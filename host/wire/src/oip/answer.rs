//! Inference answers: written by the host, read by the command line.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{
    Datatype, Parameter, Parameters, Tensor,
    binary::Parts,
    request::{RawTensor, check_count, from_json, with_named_elements},
    write,
};
use crate::error::Error;

/// How an output travels.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Form {
    /// As a JSON array.
    Json,
    /// As bytes behind the JSON.
    Binary,
}

/// An output with the form that was asked for.
#[derive(Clone, PartialEq, Debug)]
pub struct Output {
    /// Its tensor.
    pub tensor: Tensor,
    /// How it travels.
    pub form: Form,
}

/// An answer.
#[derive(Clone, PartialEq, Debug)]
pub struct Answer {
    /// The model that answered.
    pub model_name: String,
    /// Its version.
    pub model_version: String,
    /// The request's id.
    pub id: Option<String>,
    /// What the host says of the answer.
    pub parameters: Parameters,
    /// The outputs.
    pub outputs: Vec<Output>,
}

/// An answer as bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Encoded {
    /// The JSON, and behind it the binary outputs.
    pub body: Bytes,
    /// The value of the length header, when there is a binary output.
    pub header_length: Option<usize>,
}

impl Answer {
    /// Writes the answer. Fails where JSON has no number for an element.
    pub fn encode(&self) -> Result<Encoded, Error> {
        let size: usize = self.outputs.iter().map(|output| output.tensor.data.len()).sum();
        let mut body = Vec::with_capacity(256 + size * 3);
        let head = Head { model_name: &self.model_name, model_version: &self.model_version, id: self.id.as_deref(), parameters: &self.parameters };
        to_json(&head, &mut body);
        // The head is an object; its closing bracket makes room for the outputs, whose data is written without values in between.
        body.pop();
        body.extend_from_slice(b",\"outputs\":[");
        for (index, output) in self.outputs.iter().enumerate() {
            if index > 0 {
                body.push(b',');
            }
            encode_output(output, &mut body)?;
        }
        body.extend_from_slice(b"]}");
        let binary = || self.outputs.iter().filter(|output| output.form == Form::Binary);
        let header_length = binary().next().map(|_| body.len());
        binary().for_each(|output| body.extend_from_slice(&output.tensor.data));
        Ok(Encoded { body: body.into(), header_length })
    }

    /// Reads an answer.
    pub fn parse(body: &Bytes, header_length: Option<usize>) -> Result<Self, Error> {
        let parts = Parts::split(body, header_length)?;
        let json = parts.json.clone();
        with_named_elements(&json, |json| Self::read(json, parts.clone()))
    }

    fn read(json: &[u8], mut parts: Parts) -> Result<Self, Error> {
        let raw: RawAnswer<'_> = from_json("the answer", json)?;
        check_count("outputs", raw.outputs.len())?;
        let output = |raw: RawTensor<'_>| {
            let form = if raw.is_binary() { Form::Binary } else { Form::Json };
            Ok(Output { tensor: raw.tensor(&mut parts)?, form })
        };
        let outputs = raw.outputs.into_iter().map(output).collect::<Result<Vec<_>, Error>>()?;
        parts.finish()?;
        Ok(Self { model_name: raw.model_name, model_version: raw.model_version.unwrap_or_default(), id: raw.id, parameters: raw.parameters, outputs })
    }
}

#[derive(Serialize)]
struct Head<'a> {
    model_name: &'a str,
    model_version: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    #[serde(skip_serializing_if = "Parameters::is_empty")]
    parameters: &'a Parameters,
}

#[derive(Serialize)]
struct OutputHead<'a> {
    name: &'a str,
    datatype: &'a str,
    shape: &'a [usize],
    #[serde(skip_serializing_if = "Parameters::is_empty")]
    parameters: Parameters,
}

#[derive(Deserialize)]
struct RawAnswer<'a> {
    model_name: String,
    model_version: Option<String>,
    id: Option<String>,
    #[serde(default)]
    parameters: Parameters,
    #[serde(borrow)]
    outputs: Vec<RawTensor<'a>>,
}

fn encode_output(output: &Output, body: &mut Vec<u8>) -> Result<(), Error> {
    let tensor = &output.tensor;
    let size = i64::try_from(tensor.data.len()).unwrap_or(i64::MAX);
    let parameters = match output.form {
        Form::Json => Parameters::new(),
        Form::Binary => Parameters::from([("binary_data_size".to_owned(), Parameter::Integer(size))]),
    };
    to_json(&OutputHead { name: &tensor.name, datatype: tensor.datatype.name(), shape: &tensor.shape, parameters }, body);
    if output.form == Form::Json {
        body.pop();
        body.extend_from_slice(b",\"data\":");
        write::array(&tensor.name, tensor.datatype, &tensor.data, body)?;
        body.push(b'}');
    }
    Ok(())
}

fn to_json(value: &impl Serialize, body: &mut Vec<u8>) {
    serde_json::to_writer(body, value).expect("names, numbers and texts are written to memory, which cannot fail");
}

impl Tensor {
    /// A `BYTES` tensor of texts.
    pub fn from_texts(name: &str, shape: Vec<usize>, texts: &[String]) -> Self {
        let mut data = Vec::new();
        for text in texts {
            data.extend_from_slice(&u32::try_from(text.len()).unwrap_or(u32::MAX).to_le_bytes());
            data.extend_from_slice(text.as_bytes());
        }
        Self { name: name.to_owned(), datatype: Datatype::Bytes, shape, data: data.into() }
    }
}

#[cfg(test)]
mod tests;
