//! The larger parts of messages: shards and how to load them, what engines say of themselves, and why something cannot be.

use std::collections::BTreeMap;

use host_core::{
    ids::{ModelId, ModelName},
    shard::{BlockRange, ShardId},
    units,
};
use host_engine::{Digest, Dimension, ElementType, EngineInfo, Error, Fault, LoadOptions, OpenDimensions, Shard, TensorSpec};

use crate::codec::{Garbage, Reader, Writer};

/// What a shard is, without its bytes: they lie one behind the other in memory that comes with the connection, first those of the ONNX
/// file and then those of each artefact.
#[derive(Clone, PartialEq, Debug)]
pub struct Order {
    /// Model, version and range.
    pub id: ShardId,
    /// SHA-256 of the ONNX file.
    pub digest: Digest,
    /// Its inputs, in order.
    pub inputs: Vec<TensorSpec>,
    /// Its outputs, in order.
    pub outputs: Vec<TensorSpec>,
    /// The input that the shard before makes.
    pub border_in: Option<String>,
    /// The output that the shard after reads.
    pub border_out: Option<String>,
    /// Operators that it uses.
    pub operators: Vec<String>,
    /// Bytes of its weights.
    pub weight_bytes: units::Bytes,
    /// Bytes of the ONNX file.
    pub file_bytes: u64,
    /// What it was converted to.
    pub artefacts: Vec<ArtefactOrder>,
    /// How it is to be loaded.
    pub options: LoadOptions,
}

/// What an artefact is, without its bytes.
#[derive(Clone, PartialEq, Debug)]
pub struct ArtefactOrder {
    pub target: String,
    pub digest: Digest,
    pub bytes: u64,
    pub inputs: Vec<TensorSpec>,
    pub outputs: Vec<TensorSpec>,
}

impl Order {
    /// How a shard is to be loaded.
    pub(crate) fn of(shard: &Shard, options: &LoadOptions) -> Self {
        let artefacts = shard.artefacts.iter().map(|artefact| ArtefactOrder {
            target: artefact.target.clone(),
            digest: artefact.digest,
            bytes: artefact.data.len() as u64,
            inputs: artefact.inputs.clone(),
            outputs: artefact.outputs.clone(),
        });
        Self {
            id: shard.id.clone(),
            digest: shard.digest,
            inputs: shard.inputs.clone(),
            outputs: shard.outputs.clone(),
            border_in: shard.border_in.clone(),
            border_out: shard.border_out.clone(),
            operators: shard.operators.clone(),
            weight_bytes: shard.weight_bytes,
            file_bytes: shard.file.len() as u64,
            artefacts: artefacts.collect(),
            options: options.clone(),
        }
    }

    pub(super) fn write(&self, writer: &mut Writer) {
        writer.text(self.id.model.name.as_str());
        writer.u32(self.id.model.version);
        writer.u32(self.id.range.start());
        writer.u32(self.id.range.end());
        writer.data(&self.digest.0);
        write_specs(writer, &self.inputs);
        write_specs(writer, &self.outputs);
        writer.optional(self.border_in.as_deref(), Writer::text);
        writer.optional(self.border_out.as_deref(), Writer::text);
        writer.list(self.operators.iter(), |writer, operator| writer.text(operator));
        writer.u64(self.weight_bytes.0);
        writer.u64(self.file_bytes);
        writer.list(self.artefacts.iter(), |writer, artefact| {
            writer.text(&artefact.target);
            writer.data(&artefact.digest.0);
            writer.u64(artefact.bytes);
            write_specs(writer, &artefact.inputs);
            write_specs(writer, &artefact.outputs);
        });
        writer.u64(self.options.threads as u64);
        writer.u8(match self.options.open {
            OpenDimensions::All => 0,
            OpenDimensions::Past => 1,
            OpenDimensions::None => 2,
        });
        writer.list(self.options.settings.iter(), write_pair);
    }

    pub(super) fn read(reader: &mut Reader) -> Result<Self, Garbage> {
        let name = reader.text()?;
        let name = ModelName::parse(&name).map_err(|error| Garbage(error.to_string()))?;
        let model = ModelId { name, version: reader.u32()? };
        let range = BlockRange::new(reader.u32()?, reader.u32()?).map_err(|error| Garbage(error.to_string()))?;
        Ok(Self {
            id: ShardId { model, range },
            digest: read_digest(reader)?,
            inputs: read_specs(reader)?,
            outputs: read_specs(reader)?,
            border_in: reader.optional(Reader::text)?,
            border_out: reader.optional(Reader::text)?,
            operators: reader.list(Reader::text)?,
            weight_bytes: units::Bytes(reader.u64()?),
            file_bytes: reader.u64()?,
            artefacts: reader.list(read_artefact)?,
            options: read_options(reader)?,
        })
    }
}

fn read_artefact(reader: &mut Reader) -> Result<ArtefactOrder, Garbage> {
    Ok(ArtefactOrder { target: reader.text()?, digest: read_digest(reader)?, bytes: reader.u64()?, inputs: read_specs(reader)?, outputs: read_specs(reader)? })
}

fn read_options(reader: &mut Reader) -> Result<LoadOptions, Garbage> {
    let threads = reader.size()?;
    let open = match reader.u8()? {
        0 => OpenDimensions::All,
        1 => OpenDimensions::Past,
        2 => OpenDimensions::None,
        other => return Err(Garbage(format!("{other} does not say which dimensions stay open"))),
    };
    Ok(LoadOptions { threads, open, settings: reader.list(read_pair)?.into_iter().collect::<BTreeMap<_, _>>() })
}

fn read_digest(reader: &mut Reader) -> Result<Digest, Garbage> {
    let data = reader.data()?;
    let bytes = data.as_ref().try_into().map_err(|_| Garbage(format!("a digest of {} bytes", data.len())))?;
    Ok(Digest(bytes))
}

fn write_pair(writer: &mut Writer, (name, value): (&String, &String)) {
    writer.text(name);
    writer.text(value);
}

fn read_pair(reader: &mut Reader) -> Result<(String, String), Garbage> {
    Ok((reader.text()?, reader.text()?))
}

/// The place of a type among all.
pub(super) fn write_type(writer: &mut Writer, element_type: ElementType) {
    let place = ElementType::all().position(|one| one == element_type).unwrap_or(usize::MAX);
    writer.u8(u8::try_from(place).unwrap_or(u8::MAX));
}

pub(super) fn read_type(reader: &mut Reader) -> Result<ElementType, Garbage> {
    let place = reader.u8()?;
    ElementType::all().nth(place.into()).ok_or_else(|| Garbage(format!("there is no element type {place}")))
}

pub(super) fn write_specs(writer: &mut Writer, specs: &[TensorSpec]) {
    writer.list(specs.iter(), |writer, spec| {
        writer.text(&spec.name);
        write_type(writer, spec.element_type);
        writer.list(spec.shape.iter(), |writer, dimension| match dimension {
            Dimension::Fixed(length) => {
                writer.u8(0);
                writer.u64(*length as u64);
            }
            Dimension::Symbol(name) => {
                writer.u8(1);
                writer.text(name);
            }
        });
    });
}

pub(super) fn read_specs(reader: &mut Reader) -> Result<Vec<TensorSpec>, Garbage> {
    let dimension = |reader: &mut Reader| Ok(if reader.flag()? { Dimension::Symbol(reader.text()?) } else { Dimension::Fixed(reader.size()?) });
    reader.list(|reader| Ok(TensorSpec { name: reader.text()?, element_type: read_type(reader)?, shape: reader.list(dimension)? }))
}

pub(super) fn write_info(writer: &mut Writer, info: &EngineInfo) {
    writer.text(&info.name);
    writer.text(&info.version);
    writer.text(&info.accelerator);
    writer.optional(info.memory, |writer, memory| writer.u64(memory.0));
    writer.f64(info.weight_factor);
    writer.u64(info.fixed_bytes.0);
    writer.list(info.element_types.iter(), |writer, element_type| write_type(writer, *element_type));
    writer.list(info.attributes.iter(), |writer, (name, value)| write_pair(writer, (name, value)));
}

pub(super) fn read_info(reader: &mut Reader) -> Result<EngineInfo, Garbage> {
    let info = EngineInfo {
        name: reader.text()?,
        version: reader.text()?,
        accelerator: reader.text()?,
        memory: reader.optional(Reader::u64)?.map(units::Bytes),
        weight_factor: reader.f64()?,
        fixed_bytes: units::Bytes(reader.u64()?),
        element_types: reader.list(read_type)?,
        attributes: reader.list(read_pair)?,
    };
    if !info.weight_factor.is_finite() || info.weight_factor < 0.0 {
        return Err(Garbage(format!("weights take {} times their bytes", info.weight_factor)));
    }
    Ok(info)
}

/// Why an engine could not do what it was asked for, with as much of the fault as callers go by.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refusal {
    kind: RefusalKind,
    text: String,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum RefusalKind {
    /// What was handed in is wrong.
    Invalid,
    /// It is right, and the engine does not take it.
    Unsupported,
    /// The engine failed.
    Failed,
    /// Nothing is left for it now.
    Exhausted,
}

impl Refusal {
    /// In words, of an engine that failed.
    pub(crate) fn failed(text: String) -> Self {
        Self { kind: RefusalKind::Failed, text }
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// As an error of the engine of this name.
    pub(crate) fn into_error(self, engine: &str, doing: &'static str) -> Error {
        match self.kind {
            RefusalKind::Invalid => Fault::Graph { reason: self.text }.into(),
            RefusalKind::Unsupported => Fault::Unsupported { reason: self.text }.into(),
            RefusalKind::Failed => Fault::Engine { engine: engine.to_owned(), doing, reason: self.text }.into(),
            RefusalKind::Exhausted => Fault::Exhausted { engine: engine.to_owned(), doing, reason: self.text }.into(),
        }
    }

    pub(super) fn write(&self, writer: &mut Writer) {
        writer.u8(self.kind as u8);
        writer.text(&self.text);
    }

    pub(super) fn read(reader: &mut Reader) -> Result<Self, Garbage> {
        let kinds = [RefusalKind::Invalid, RefusalKind::Unsupported, RefusalKind::Failed, RefusalKind::Exhausted];
        let kind = reader.u8()?;
        let kind = *kinds.get(usize::from(kind)).ok_or_else(|| Garbage(format!("there is no refusal {kind}")))?;
        Ok(Self { kind, text: reader.text()? })
    }
}

impl From<&Error> for Refusal {
    fn from(error: &Error) -> Self {
        match error.fault() {
            Fault::Engine { reason, .. } => Self { kind: RefusalKind::Failed, text: reason.clone() },
            Fault::Exhausted { reason, .. } => Self { kind: RefusalKind::Exhausted, text: reason.clone() },
            Fault::File { .. } | Fault::UnknownEngine { .. } | Fault::Driver { .. } => Self { kind: RefusalKind::Failed, text: error.to_string() },
            Fault::Unsupported { .. } | Fault::TooLarge { .. } => Self { kind: RefusalKind::Unsupported, text: error.to_string() },
            _ => Self { kind: RefusalKind::Invalid, text: error.to_string() },
        }
    }
}
